// SPDX-License-Identifier: Apache-2.0
// device_server.c: see device_server.h.
#include "tests/unit/device_server.h"

#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <openssl/pem.h>
#include <string.h>

enum { EAD_LABEL = 32768, PROFILE_RELEASED = 2, LIFETIME_SEC = 3600 };

static const struct kd_keys software = { &kd_keyops_openssl, NULL };
static const uint8_t session_id[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
static const uint8_t node_nonce[16] = { 9 };
static const char conn_id[] = "c-r";
static const char ticket[] = "a ticket";

static struct kd_bytes bytes(const void *p, size_t n) {
    return (struct kd_bytes) { p, n };
}

static uint64_t now_ms(const struct device_server *s) {
    return (uint64_t)((int64_t)kd_clock_wall_ms() + s->ahead_ms);
}

// ---- keys ------------------------------------------------------------------

static void make_keys(struct device_server *s, struct kd_attachment attachment) {
    kd_auto(secret) struct kd_secret *exported = NULL;
    ck_assert_err(kd_secret_new(kd_md_bytes(s->md), &exported), KD_OK);
    ck_assert_err(
        kd_exporter_export(s->md, s->prk_out, KD_SESSION_EXPORT_LABEL, KD_BYTES_NONE, exported),
        KD_OK);
    kd_kept_traffic_wipe(&s->traffic);
    kd_kept_traffic_init(&s->traffic, false, NULL);
    s->sequence = 0;
    ck_assert_err(kd_schedule_run(s->md, exported, &attachment, kd_kept_traffic_install,
                                  &s->traffic, &s->ivs),
                  KD_OK);
}

static struct kd_record_end end_of(struct device_server *s) {
    return (struct kd_record_end) { .ops = &kd_traffic_ops_kept,
                                    .ctx = &s->traffic,
                                    .id = { session_id, sizeof(session_id) },
                                    .ivs = s->ivs,
                                    .otp = KD_OTP_DEFAULT };
}

static void seal(struct device_server *s, enum kd_record_type type, struct kd_bytes body,
                 struct kd_bytes aad, struct kd_buf *out) {
    const struct kd_record_end end = end_of(s);
    const struct kd_record record = { type, body };
    ck_assert_err(kd_record_seal(&end, s->sequence++, now_ms(s), aad, &record, out), KD_OK);
}

// ---- handshakes ------------------------------------------------------------

static enum kd_err find_device(void *server, const struct kd_idcred *id KD_UNUSED,
                               struct kd_peer *peer) {
    struct device_server *s = server;
    *peer = (struct kd_peer) { s->device, kd_buf_get(&s->device_cred) };
    return KD_OK;
}

static void begin_handshake(struct device_server *s, struct kd_bytes message, struct kd_buf *out) {
    const struct kd_edhoc_config config = { .role = KD_EDHOC_RESPONDER,
                                            .keys = software,
                                            .identities = &s->identity,
                                            .n_identities = 1,
                                            .methods = 1,
                                            .suites = { 2, { 3, 2 } },
                                            .conn_id = kd_bytes_of_text(conn_id),
                                            .ead_labels = { 1, { EAD_LABEL } },
                                            .ead_messages = 1u << 4 };
    kd_edhoc_free(s->edhoc);
    ck_assert_err(kd_edhoc_new(&config, &s->edhoc), KD_OK);
    ck_assert_err(kd_edhoc_read_1(s->edhoc, message), KD_OK);
    ck_assert_err(kd_edhoc_write_2(s->edhoc, NULL, out), KD_OK);
}

static void end_handshake(struct device_server *s, struct kd_bytes message, struct kd_buf *out) {
    uint8_t room[64];
    struct kd_buf terms = KD_BUF_OVER(room);
    kd_cbor_put_array(&terms, 4);
    kd_cbor_put_uint(&terms, now_ms(s));
    kd_cbor_put_bytes(&terms, bytes(session_id, sizeof(session_id)));
    kd_cbor_put_uint(&terms, LIFETIME_SEC);
    kd_cbor_put_uint(&terms, PROFILE_RELEASED);
    const struct kd_ead ead = {
        1, { { .label = EAD_LABEL, .has_value = true, .value = kd_buf_get(&terms) } }
    };
    ck_assert_ptr_nonnull(s->edhoc);
    ck_assert_err(kd_edhoc_read_3(s->edhoc, message), KD_OK);
    ck_assert_err(kd_edhoc_authenticate_by(s->edhoc, find_device, s), KD_OK);
    ck_assert_err(kd_edhoc_write_4(s->edhoc, &ead, out), KD_OK);
    s->md = kd_edhoc_suite(s->edhoc)->md;
    kd_secret_free(s->prk_out);
    s->prk_out = NULL;
    ck_assert_err(kd_edhoc_take_prk_out(s->edhoc, &s->prk_out), KD_OK);
    kd_edhoc_free(s->edhoc);
    s->edhoc = NULL;
    s->update = 0;
    s->n_sessions++;
    make_keys(s, (struct kd_attachment) { KD_BYTES_NONE, KD_BYTES_NONE });
}

static void handshake(struct device_server *s, struct kd_bytes body, struct kd_buf *out) {
    enum { HEAD = 1 + sizeof(conn_id) - 1 };
    if (body.n > 0 && body.p[0] == 0xf5) { // RFC 9528 A.2
        begin_handshake(s, bytes(body.p + 1, body.n - 1), out);
    } else {
        ck_assert_uint_gt(body.n, HEAD);
        end_handshake(s, bytes(body.p + HEAD, body.n - HEAD), out);
    }
}

static void resume(struct device_server *s, struct kd_bytes body, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(256);
    struct kd_cbor c = kd_cbor_of(body);
    ck_assert_uint_eq(kd_cbor_read_array(&c), 2);
    ck_assert(kd_bytes_equal(kd_cbor_read_bytes(&c), kd_bytes_of_text(ticket)));
    const struct kd_bytes nonce = kd_cbor_read_bytes(&c);
    make_keys(s, (struct kd_attachment) { nonce, bytes(node_nonce, sizeof(node_nonce)) });
    seal(s, KD_RECORD_DATA, KD_BYTES_NONE, KD_BYTES_NONE, &record);
    kd_cbor_put_array(out, 3);
    kd_cbor_put_bytes(out, bytes(session_id, sizeof(session_id)));
    kd_cbor_put_bytes(out, bytes(node_nonce, sizeof(node_nonce)));
    kd_cbor_put_bytes(out, kd_buf_get(&record));
    s->n_resumed++;
}

// ---- records ---------------------------------------------------------------

static void update(struct device_server *s, struct kd_buf *out) {
    uint8_t room[16];
    struct kd_buf number = KD_BUF_OVER(room);
    kd_record_put_number(&number, ++s->update);
    seal(s, KD_RECORD_KEY_UPDATE, kd_buf_get(&number), KD_BYTES_NONE, out);
    ck_assert_err(kd_exporter_update(s->md, s->prk_out, kd_buf_get(&number)), KD_OK);
    make_keys(s, (struct kd_attachment) { KD_BYTES_NONE, KD_BYTES_NONE });
}

static bool take_record(struct device_server *s, const struct kd_frame *q, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_frame a = { .role = KD_FRAME_ANSWER, .kind = q->kind, .id = q->id };
    const struct kd_record_end end = end_of(s);
    struct kd_record_head head;
    struct kd_record record;
    uint8_t asked[KD_FRAME_HEAD_BYTES], answered[KD_FRAME_HEAD_BYTES];
    kd_frame_head(q, asked);
    kd_frame_head(&a, answered);
    const struct kd_bytes aad = bytes(answered, sizeof(answered));
    if (s->prk_out == NULL || kd_record_parse(q->body, &head) != KD_OK ||
        kd_record_open(&end, &head, bytes(asked, sizeof(asked)), now_ms(s), &text, &record) !=
            KD_OK) {
        return false;
    }
    if (q->kind == KD_FRAME_MESSAGE && s->status != 0) {
        uint8_t room[16];
        struct kd_buf number = KD_BUF_OVER(room);
        kd_record_put_number(&number, s->status);
        seal(s, KD_RECORD_ERROR, kd_buf_get(&number), aad, out);
    } else if (q->kind == KD_FRAME_MESSAGE) {
        s->n_messages++;
        seal(s, KD_RECORD_DATA, record.body, aad, out);
    } else if (q->kind == KD_FRAME_TICKET) {
        seal(s, KD_RECORD_DATA, kd_bytes_of_text(ticket), aad, out);
    } else if (q->kind == KD_FRAME_UPDATE) {
        update(s, out);
    }
    return true;
}

void device_server_push(struct device_server *s, uint32_t id, const char *text,
                        struct kd_buf *frame) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_frame push = { .role = KD_FRAME_REQUEST, .kind = KD_FRAME_PUSH, .id = id };
    uint8_t head[KD_FRAME_HEAD_BYTES];
    kd_frame_head(&push, head);
    seal(s, KD_RECORD_DATA, kd_bytes_of_text(text), bytes(head, sizeof(head)), &record);
    push.body = kd_buf_get(&record);
    kd_frame_put(frame, &push);
    ck_assert_err(kd_buf_finish(frame), KD_OK);
}

// ---- the transport ---------------------------------------------------------

// KD_FAILURE_...; 0: `out` has the answer.
static int answer(struct device_server *s, const struct kd_frame *q, struct kd_buf *out) {
    if (q->kind == KD_FRAME_HANDSHAKE) {
        handshake(s, q->body, out);
        return 0;
    }
    if (q->kind == KD_FRAME_RESUME) {
        resume(s, q->body, out);
        return 0;
    }
    if (s->forgets) {
        s->forgets = false;
        return KD_FAILURE_UNKNOWN_SESSION;
    }
    if (s->fails != 0) {
        const int failure = s->fails;
        s->fails = 0;
        return failure;
    }
    return take_record(s, q, out) ? 0 : KD_FAILURE_REFUSED;
}

static void take_ack(struct device_server *s, struct kd_bytes frame) {
    ck_assert_uint_le(frame.n, sizeof(s->ack));
    memcpy(s->ack, frame.p, frame.n);
    s->n_ack = frame.n;
    s->n_acks++;
}

static void take_frame(struct device_server *s, struct kd_bytes bytes_of_frame) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    struct kd_buf out = KD_BUF_OVER(s->out);
    struct kd_frame q;
    ck_assert_err(kd_frame_parse(bytes_of_frame, &q), KD_OK);
    if (q.role == KD_FRAME_ANSWER && q.kind == KD_FRAME_PUSH) {
        take_ack(s, bytes_of_frame);
        return;
    }
    const int failure = answer(s, &q, &body);
    if (failure != 0) {
        kd_frame_put_failure(&out, q.id, &(struct kd_failure_body) { .code = (unsigned)failure });
    } else {
        kd_frame_put(&out, &(struct kd_frame) { KD_FRAME_ANSWER, q.kind, q.id, kd_buf_get(&body) });
    }
    ck_assert_err(kd_buf_finish(&out), KD_OK);
    s->n_out = out.n;
}

int device_server_send(void *server, const uint8_t *frame, size_t n,
                       unsigned timeout_ms KD_UNUSED) {
    memory_pause();
    take_frame(server, bytes(frame, n));
    memory_resume();
    return 0;
}

int device_server_receive(void *server, uint8_t *frame, size_t max, size_t *n,
                          unsigned timeout_ms KD_UNUSED) {
    struct device_server *s = server;
    if (s->n_out == 0 || s->n_out > max) {
        return s->n_out == 0 ? 1 : -1;
    }
    memcpy(frame, s->out, s->n_out);
    *n = s->n_out;
    s->n_out = 0;
    return 0;
}

// ---- life ------------------------------------------------------------------

static void load_key(const struct pki_cert *own, uint64_t *key) {
    char *pem = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, own->key, NULL, NULL, 0, NULL, NULL), 1);
    const long n = BIO_get_mem_data(bio, &pem);
    ck_assert_err(kd_openssl_key_load(bytes(pem, (size_t)n), key), KD_OK);
    BIO_free(bio);
}

void device_server_open(struct device_server *s, const struct pki_cert *own,
                        const struct pki_cert *device) {
    const ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(device->x);
    memset(s, 0, sizeof(*s));
    s->id_cred = s->cred = s->device_cred = KD_BUF_INIT(4096);
    ck_assert_err(kd_idcred_put_x5t(&s->id_cred, KD_COSE_SHA256_64, pki_der(own)), KD_OK);
    kd_cred_put_certificate(&s->cred, pki_der(own));
    kd_cred_put_certificate(&s->device_cred, pki_der(device));
    ck_assert_err(kd_point_read(KD_CURVE_P256,
                                bytes(ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key)),
                                &s->device),
                  KD_OK);
    s->identity = (struct kd_identity) { .curve = KD_CURVE_P256,
                                         .id_cred = kd_buf_get(&s->id_cred),
                                         .cred = kd_buf_get(&s->cred) };
    load_key(own, &s->identity.key);
}

void device_server_know(struct device_server *s, const struct pki_cert *device) {
    kd_buf_reset(&s->device_cred);
    kd_cred_put_certificate(&s->device_cred, pki_der(device));
    ck_assert_err(kd_buf_finish(&s->device_cred), KD_OK);
}

void device_server_close(struct device_server *s) {
    kd_edhoc_free(s->edhoc);
    kd_secret_free(s->prk_out);
    kd_kept_traffic_wipe(&s->traffic);
    software.ops->destroy(software.ctx, s->identity.key);
    kd_buf_wipe(&s->id_cred);
    kd_buf_wipe(&s->cred);
    kd_buf_wipe(&s->device_cred);
}
