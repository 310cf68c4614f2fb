// SPDX-License-Identifier: Apache-2.0
// hsm_channel_peer.c: see hsm_channel_peer.h.
#include "hsm_channel_peer.h"

#include "token_fixture.h"
#include "unit.h"

#include <string.h>

#define WORKER_METHOD_BIT(m) ((m)->is_reverse ? 2 : 1)
#define CLIENT_METHOD_BIT(m) ((m)->is_reverse ? 1 : 2)

static void put_credentials(struct meeting *m) {
    uint8_t cert[300];
    for (size_t i = 0; i < 2; i++) {
        m->id_cred[i] = KD_BUF_INIT(1000);
        m->cred[i] = KD_BUF_INIT(1000);
        memset(cert, i == 0 ? 0x22 : 0x11, sizeof(cert)); // nobody parses them here
        const struct kd_bytes der = { cert, sizeof(cert) };
        kd_cred_put_certificate(&m->cred[i], der);
        if (i == 0) {
            ck_assert_err(kd_idcred_put_x5t(&m->id_cred[i], KD_COSE_SHA256_64, der), KD_OK);
        } else {
            kd_idcred_put_x5u(&m->id_cred[i], kd_bytes_of_text("https://pki.example/c/1.cer"));
        }
    }
}

static void make_worker_keys(struct meeting *m, struct kd_session *s) {
    const bool is_p384 = kd_suite_get(m->suite)->curve == KD_CURVE_P384;
    const enum kd_key_type type = is_p384 ? KD_KEY_EC_P384 : KD_KEY_EC_P256;
    const unsigned usage = m->method & WORKER_METHOD_BIT(m) ? KD_USE_DERIVE : KD_USE_SIGN;
    ck_assert_err(call_generate(s, type, usage, 1, &m->identity), KD_OK);
    ck_assert_err(call_generate(s, type, KD_USE_DERIVE, 2, &m->root), KD_OK);
    ck_assert_err(
        call_generate(s, KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT, 3, &m->ticket_key),
        KD_OK);
}

static void begin_client(struct meeting *m) {
    const struct kd_edhoc_config config = {
        .role = m->is_reverse ? KD_EDHOC_RESPONDER : KD_EDHOC_INITIATOR,
        .keys = { &kd_keyops_openssl, NULL },
        .identities = &m->client,
        .n_identities = 1,
        .methods = 1u << m->method,
        .suites = { 1, { m->suite } },
        .conn_id = kd_bytes_of_text("7"),
        .ead_labels = { 1, { KD_CHANNEL_EAD_LABEL } },
        .ead_messages = 1u << 3 | 1u << 4,
        .keep_ephemeral = true,
    };
    ck_assert_err(kd_edhoc_new(&config, &m->e), KD_OK);
}

static void make_client(struct meeting *m) {
    m->client = (struct kd_identity) { .curve = kd_suite_get(m->suite)->curve,
                                       .is_static_dh = (m->method & CLIENT_METHOD_BIT(m)) != 0,
                                       .id_cred = kd_buf_get(&m->id_cred[1]),
                                       .cred = kd_buf_get(&m->cred[1]) };
    ck_assert_err(
        kd_keyops_openssl.generate(NULL, m->client.curve, &m->client.key, &m->client_point), KD_OK);
    begin_client(m);
}

void meeting_init(struct meeting *m, struct kd_session *s) {
    put_credentials(m);
    make_worker_keys(m, s);
    make_client(m);
    m->message = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    m->terms =
        (struct kd_hsm_session_terms) { .id = "session",
                                        .profile = m->profile,
                                        .peer = kd_bytes_of_text("client-1"),
                                        .created_ms = kd_clock_wall_ms(),
                                        .expires_ms = kd_clock_wall_ms() + 60000,
                                        .records_max = 1000,
                                        .bytes_max = 1000000,
                                        .root_version = 1,
                                        .otp = m->otp.digits != 0 ? m->otp : KD_OTP_DEFAULT };
}

void meeting_wipe(struct meeting *m) {
    kd_edhoc_free(m->e);
    kd_keyops_openssl.destroy(NULL, m->client.key);
    kd_soft_traffic_wipe(&m->traffic);
    for (size_t i = 0; i < 2; i++) {
        kd_buf_wipe(&m->id_cred[i]);
        kd_buf_wipe(&m->cred[i]);
    }
    kd_buf_wipe(&m->message);
}

void meeting_again(struct meeting *m) {
    kd_edhoc_free(m->e);
    m->e = NULL;
    kd_soft_traffic_wipe(&m->traffic);
    kd_buf_reset(&m->message);
    begin_client(m);
}

// ---- requests --------------------------------------------------------------

struct kd_hsm_request ask_of(const struct meeting *m, enum kd_hsm_op op) {
    struct kd_hsm_request q = { .op = op };
    if (op == KD_HSM_HS_START) {
        q.n_keys = 1;
        q.keys[0] = m->identity.ref;
    } else if (op != KD_HSM_HS_READ && op != KD_HSM_HS_DROP) {
        q.n_keys = m->profile == KD_PROFILE_RESIDENT ? 2 : 1;
        q.keys[0] = m->ticket_key.ref;
        q.keys[1] = m->root.ref;
    }
    return q;
}

static enum kd_err ask(struct meeting *m, struct kd_session *s, enum kd_hsm_op op,
                       struct kd_hsm_handshake h, struct call_result *out) {
    memcpy(h.id, "meeting", sizeof(h.id));
    const struct kd_hsm_request q = ask_of(m, op);
    const struct kd_hsm_item item = { .handshake = &h };
    return call_exec(s, &q, &item, out);
}

enum kd_err ask_start(struct meeting *m, struct kd_session *s, struct call_result *out) {
    const struct kd_hsm_handshake h = {
        .message = kd_buf_get(&m->message),
        .is_initiator = m->is_reverse,
        .methods = 1u << m->method,
        .suites = { 1, { m->suite } },
        .is_static_dh = (m->method & WORKER_METHOD_BIT(m)) != 0,
        .id_cred = kd_buf_get(&m->id_cred[0]),
        .cred = kd_buf_get(&m->cred[0]),
        .conn_id = kd_bytes_of_text("worker"),
        .timeout_ms = 10000,
    };
    return ask(m, s, KD_HSM_HS_START, h, out);
}

enum kd_err ask_read(struct meeting *m, struct kd_session *s, struct call_result *out) {
    const struct kd_hsm_handshake h = { .message = kd_buf_get(&m->message) };
    return ask(m, s, KD_HSM_HS_READ, h, out);
}

enum kd_err ask_finish(struct meeting *m, struct kd_session *s, struct call_result *out) {
    const struct kd_hsm_handshake h = { .peer_point = kd_point_get(&m->client_point),
                                        .peer_cred = kd_buf_get(&m->cred[1]),
                                        .ead = kd_bytes_of_text("terms"),
                                        .terms = m->is_reverse ? NULL : &m->terms };
    return ask(m, s, KD_HSM_HS_FINISH, h, out);
}

enum kd_err ask_confirm(struct meeting *m, struct kd_session *s, struct call_result *out) {
    const struct kd_hsm_handshake h = { .message = kd_buf_get(&m->message), .terms = &m->terms };
    return ask(m, s, KD_HSM_HS_CONFIRM, h, out);
}

// ---- a whole handshake -----------------------------------------------------

static void authenticate_worker(struct meeting *m) {
    struct kd_peer peer = { .cred = kd_buf_get(&m->cred[0]) };
    ck_assert_err(kd_point_read(m->client.curve, m->identity.ref.proof, &peer.key), KD_OK);
    ck_assert_err(kd_edhoc_authenticate(m->e, &peer), KD_OK);
}

static void check_item(const struct meeting *m) {
    const struct kd_ead_item *item = kd_ead_get(kd_edhoc_ead(m->e), KD_CHANNEL_EAD_LABEL);
    ck_assert_ptr_nonnull(item);
    ck_assert(kd_bytes_equal(item->value, kd_bytes_of_text("terms")));
}

static enum kd_err hold_as_responder(struct meeting *m, struct kd_session *sessions) {
    kd_auto(call) struct call_result c = { 0 };
    enum kd_err r;
    ck_assert_err(kd_edhoc_write_1(m->e, NULL, &m->message), KD_OK);
    if ((r = ask_start(m, &sessions[0], &c)) != KD_OK) {
        return r;
    }
    ck_assert(c.result.suite == m->suite && c.result.method == m->method);
    ck_assert(kd_bytes_equal(c.result.conn_id, kd_bytes_of_text("7")));
    ck_assert_err(kd_edhoc_read_2(m->e, c.result.out), KD_OK);
    authenticate_worker(m);
    kd_buf_reset(&m->message);
    ck_assert_err(kd_edhoc_write_3(m->e, NULL, &m->message), KD_OK);
    if ((r = ask_read(m, &sessions[1], &c)) != KD_OK) {
        return r;
    }
    ck_assert(kd_bytes_equal(c.result.id_cred, m->client.id_cred));
    if ((r = ask_finish(m, &sessions[0], &c)) != KD_OK) {
        return r;
    }
    ck_assert_err(kd_edhoc_read_4(m->e, c.result.out), KD_OK);
    check_item(m);
    meeting_take_ticket(m, c.result.ticket);
    return KD_OK;
}

static enum kd_err hold_as_initiator(struct meeting *m, struct kd_session *sessions) {
    kd_auto(call) struct call_result c = { 0 };
    enum kd_err r = ask_start(m, &sessions[0], &c);
    if (r != KD_OK) {
        return r;
    }
    ck_assert_err(kd_edhoc_read_1(m->e, c.result.out), KD_OK);
    ck_assert_err(kd_edhoc_write_2(m->e, NULL, &m->message), KD_OK);
    if ((r = ask_read(m, &sessions[1], &c)) != KD_OK) {
        return r;
    }
    ck_assert(kd_bytes_equal(c.result.id_cred, m->client.id_cred));
    if ((r = ask_finish(m, &sessions[0], &c)) != KD_OK) {
        return r;
    }
    ck_assert_uint_eq(c.result.ticket.n, 0);
    ck_assert_err(kd_edhoc_read_3(m->e, c.result.out), KD_OK);
    authenticate_worker(m);
    check_item(m);
    kd_buf_reset(&m->message);
    ck_assert_err(kd_edhoc_write_4(m->e, NULL, &m->message), KD_OK);
    if ((r = ask_confirm(m, &sessions[1], &c)) != KD_OK) {
        return r;
    }
    meeting_take_ticket(m, c.result.ticket);
    return KD_OK;
}

enum kd_err meeting_try(struct meeting *m) {
    struct kd_session *sessions = token_opened()->sessions;
    const enum kd_err r =
        m->is_reverse ? hold_as_initiator(m, sessions) : hold_as_responder(m, sessions);
    if (r == KD_OK) {
        meeting_schedule(m);
    }
    return r;
}

void meeting_hold(struct meeting *m) {
    ck_assert_err(meeting_try(m), KD_OK);
}

void meeting_take_ticket(struct meeting *m, struct kd_bytes ticket) {
    ck_assert(ticket.n > 0 && ticket.n <= sizeof(m->ticket));
    memcpy(m->ticket, ticket.p, ticket.n);
    m->session.ticket = (struct kd_bytes) { m->ticket, ticket.n };
    ck_assert_err(kd_host_random(m->session.cache, sizeof(m->session.cache)), KD_OK);
}

void meeting_schedule(struct meeting *m) {
    const enum kd_md md = kd_suite_get(m->suite)->md;
    kd_auto(secret) struct kd_secret *secret = NULL;
    kd_auto(key32) struct kd_key32 share;
    ck_assert_err(kd_secret_new(kd_md_bytes(md), &secret), KD_OK);
    ck_assert_err(kd_edhoc_export(m->e, KD_SESSION_EXPORT_LABEL, KD_BYTES_NONE, secret), KD_OK);
    kd_soft_traffic_init(&m->traffic, NULL);
    if (m->profile == KD_PROFILE_RESIDENT) {
        struct kd_point root;
        uint64_t z = KD_HANDLE_NONE;
        ck_assert_err(kd_point_read(m->client.curve, m->root.ref.proof, &root), KD_OK);
        ck_assert_err(kd_edhoc_share(m->e, &root, &z), KD_OK);
        ck_assert_err(kd_openssl_secret_share(z, &share), KD_OK);
        kd_keyops_openssl.destroy(NULL, z);
        kd_soft_traffic_init(&m->traffic, &share);
    }
    const struct kd_attachment attachment = { m->session.client_nonce, m->session.node_nonce };
    ck_assert_err(
        kd_schedule_run(md, secret, &attachment, kd_soft_traffic_install, &m->traffic, &m->ivs),
        KD_OK);
}

// ---- records ---------------------------------------------------------------

struct kd_record_end client_end(struct meeting *m) {
    return (struct kd_record_end) { .ops = &kd_traffic_ops_soft,
                                    .ctx = &m->traffic,
                                    .is_client = true,
                                    .id = { m->terms.id, sizeof(m->terms.id) },
                                    .ivs = m->ivs,
                                    .otp = m->terms.otp };
}

enum kd_err ask_seal(struct meeting *m, uint64_t sequence, struct kd_bytes body,
                     struct call_result *out) {
    const struct kd_hsm_request q = ask_of(m, KD_HSM_RECORD_SEAL);
    const struct kd_hsm_item item = { .session = &m->session,
                                      .sequence = sequence,
                                      .data = body,
                                      .aad = kd_bytes_of_text("header") };
    return call_exec(&token_opened()->sessions[sequence % 2], &q, &item, out);
}

enum kd_err ask_open(struct meeting *m, struct kd_bytes record, struct call_result *out) {
    const struct kd_hsm_request q = ask_of(m, KD_HSM_RECORD_OPEN);
    const struct kd_hsm_item item = { .session = &m->session,
                                      .data = record,
                                      .aad = kd_bytes_of_text("header") };
    return call_exec(token_session(), &q, &item, out);
}

void check_records(struct meeting *m, uint64_t sequence) {
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_record_end end = client_end(m);
    const struct kd_bytes aad = kd_bytes_of_text("header");
    struct kd_record_head head;
    struct kd_record record;
    ck_assert_err(ask_seal(m, sequence, kd_bytes_of_text("to the client"), &c), KD_OK);
    ck_assert_err(kd_record_parse(c.result.out, &head), KD_OK);
    ck_assert_uint_eq(head.sequence, sequence);
    ck_assert_err(kd_record_open(&end, &head, aad, kd_clock_wall_ms(), &b, &record), KD_OK);
    ck_assert(kd_bytes_equal(record.body, kd_bytes_of_text("to the client")));
    const struct kd_record answer = { KD_RECORD_DATA, kd_bytes_of_text("to the worker") };
    kd_buf_reset(&b);
    ck_assert_err(kd_record_seal(&end, sequence, kd_clock_wall_ms(), aad, &answer, &b), KD_OK);
    ck_assert_err(ask_open(m, kd_buf_get(&b), &c), KD_OK);
    ck_assert_uint_eq(c.result.which, KD_RECORD_DATA);
    ck_assert(kd_bytes_equal(c.result.out, kd_bytes_of_text("to the worker")));
    for (size_t i = 0; i < b.n; i++) { // and only these bytes
        b.p[i] ^= 1;
        ck_assert(ask_open(m, kd_buf_get(&b), &c) != KD_OK);
        b.p[i] ^= 1;
    }
}
