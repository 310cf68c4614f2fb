// SPDX-License-Identifier: Apache-2.0
#include "client/device_session.h"

#include <stdlib.h>
#include <string.h>

enum { EAD_LABEL = 32768, METHOD = 0, TICKET_MAX_BYTES = 4096 };

static const struct kd_keys software = { &kd_keyops_openssl, NULL };

uint64_t kd_device_clock_ms(const struct kd_device_clock *c) {
    return c->is_known ? (uint64_t)((int64_t)kd_clock_boot_ms() + c->ahead_ms) : kd_clock_wall_ms();
}

struct kd_device_session *kd_device_session_new(const struct kd_device_clock *clock) {
    struct kd_device_session *s = calloc(1, sizeof(*s));
    if (s != NULL) {
        s->holds = 1;
        s->clock = *clock;
        s->ticket = KD_BUF_INIT(TICKET_MAX_BYTES);
    }
    return s;
}

static void end_handshake(struct kd_device_session *s) {
    kd_edhoc_free(s->edhoc);
    s->edhoc = NULL;
}

void kd_device_session_free(struct kd_device_session *s) {
    if (s == NULL) {
        return;
    }
    end_handshake(s);
    kd_secret_free(s->prk_out);
    kd_kept_traffic_wipe(&s->traffic);
    kd_window_wipe(&s->window);
    kd_buf_wipe(&s->ticket);
    kd_wipe(s, sizeof(*s));
    free(s);
}

enum kd_err kd_device_session_copy(const struct kd_device_session *from,
                                   struct kd_device_session *to) {
    enum kd_err r = kd_secret_new(kd_secret_len(from->prk_out), &to->prk_out);
    if (r != KD_OK) {
        return r;
    }
    memcpy(kd_secret_get(to->prk_out), kd_secret_get(from->prk_out), kd_secret_len(from->prk_out));
    to->md = from->md;
    to->is_resident = from->is_resident;
    to->share = from->share;
    memcpy(to->id, from->id, sizeof(to->id));
    to->n_id = from->n_id;
    to->update = from->update;
    to->clock = from->clock;
    to->otp = from->otp;
    kd_buf_put(&to->ticket, from->ticket.p, from->ticket.n);
    return kd_buf_finish(&to->ticket);
}

// ---- handshake -------------------------------------------------------------

enum kd_err kd_device_write_1(struct kd_device_session *s, const struct kd_device_credentials *c,
                              struct kd_bytes padding, struct kd_buf *out) {
    const struct kd_ead ead = {
        padding.n > 0 ? 1 : 0,
        { { .label = KD_EAD_PADDING, .has_value = true, .value = padding } },
    };
    const struct kd_edhoc_config config = {
        .role = KD_EDHOC_INITIATOR,
        .keys = software,
        .identities = &c->identity,
        .n_identities = 1,
        .methods = 1u << METHOD,
        .suites = c->identity.curve == KD_CURVE_P256 ? (struct kd_suites) { 2, { 3, 2 } }
                                                     : (struct kd_suites) { 1, { 24 } },
        .conn_id = kd_bytes_of_text("7"), // one byte on the wire
        .ead_labels = { 1, { EAD_LABEL } },
        .ead_messages = 1u << 4,
        .keep_ephemeral = true,
    };
    end_handshake(s);
    enum kd_err r = kd_edhoc_new(&config, &s->edhoc);
    kd_buf_u8(out, 0xf5); // true: message_1 (RFC 9528 A.2)
    return r == KD_OK ? kd_edhoc_write_1(s->edhoc, &ead, out) : r;
}

// The server's certificate is the stored one: what it sends is only its name (A07).
static enum kd_err find_server(void *credentials, const struct kd_idcred *id,
                               struct kd_peer *peer) {
    const struct kd_device_credentials *c = credentials;
    *peer = (struct kd_peer) { c->server_point, kd_buf_get(&c->server_cred) };
    return kd_idcred_fits(id, peer->cred);
}

enum kd_err kd_device_read_2(struct kd_device_session *s, const struct kd_device_credentials *c,
                             struct kd_bytes message, struct kd_buf *out) {
    enum kd_err r = s->edhoc == NULL ? KD_ERR_HS_STATE : kd_edhoc_read_2(s->edhoc, message);
    if (r != KD_OK ||
        (r = kd_edhoc_authenticate_by(s->edhoc, find_server, (void *)(uintptr_t)c)) != KD_OK) {
        return r;
    }
    kd_cbor_put_bytes(out, kd_edhoc_peer_conn_id(s->edhoc));
    return kd_edhoc_write_3(s->edhoc, NULL, out);
}

// ---- keys ------------------------------------------------------------------

static enum kd_err make_keys(struct kd_device_session *s) {
    kd_auto(secret) struct kd_secret *exported = NULL;
    enum kd_err r;
    if ((r = kd_secret_new(kd_md_bytes(s->md), &exported)) != KD_OK ||
        (r = kd_exporter_export(s->md, s->prk_out, KD_SESSION_EXPORT_LABEL, KD_BYTES_NONE,
                                exported)) != KD_OK) {
        return r;
    }
    const struct kd_attachment attachment = { { s->nonces[0], s->n_nonces[0] },
                                              { s->nonces[1], s->n_nonces[1] } };
    kd_kept_traffic_wipe(&s->traffic);
    kd_kept_traffic_init(&s->traffic, true, s->is_resident ? &s->share : NULL);
    kd_window_wipe(&s->window);
    s->window = (struct kd_window) { 0 };
    s->sequence = 0;
    return kd_schedule_run(s->md, exported, &attachment, kd_kept_traffic_install, &s->traffic,
                           &s->ivs);
}

static enum kd_err make_share(struct kd_device_session *s, struct kd_bytes root) {
    struct kd_point point;
    uint64_t secret = KD_HANDLE_NONE;
    enum kd_err r;
    if ((r = kd_point_read(kd_edhoc_suite(s->edhoc)->curve, root, &point)) != KD_OK ||
        (r = kd_edhoc_share(s->edhoc, &point, &secret)) != KD_OK) {
        return r;
    }
    r = kd_openssl_secret_share(secret, &s->share);
    software.ops->destroy(software.ctx, secret);
    return r;
}

// What the server says of the session (docs/protocol.md, EAD): its time sets our clock (J07).
static enum kd_err take_terms(struct kd_device_session *s) {
    const struct kd_ead_item *item = kd_ead_get(kd_edhoc_ead(s->edhoc), EAD_LABEL);
    if (item == NULL) {
        return KD_ERR_HS_EAD;
    }
    struct kd_cbor c = kd_cbor_of(item->value);
    const size_t n = kd_cbor_read_array(&c);
    const uint64_t time_ms = kd_cbor_read_uint(&c);
    const struct kd_bytes id = kd_cbor_read_bytes(&c);
    (void)kd_cbor_read_uint(&c); // lifetime: the server says when it is over
    const uint64_t profile = kd_cbor_read_uint(&c);
    const bool has_root = n == 6 || n == 7;
    struct kd_bytes root = KD_BYTES_NONE;
    if (has_root) {
        (void)kd_cbor_read_uint(&c);
        root = kd_cbor_read_bytes(&c);
    }
    const struct kd_otp_params otp = n % 2 == 0 ? KD_OTP_DEFAULT : kd_otp_params_read(&c);
    if (kd_cbor_finish(&c) != KD_OK || id.n > sizeof(s->id) || id.n == 0 || time_ms > INT64_MAX ||
        (profile == 1) != has_root || profile < 1 || profile > 2) {
        return KD_ERR_HS_EAD;
    }
    memcpy(s->id, id.p, id.n);
    s->n_id = id.n;
    s->is_resident = profile == 1;
    s->otp = otp;
    s->clock = (struct kd_device_clock) { true, (int64_t)time_ms - (int64_t)kd_clock_boot_ms() };
    return s->is_resident ? make_share(s, root) : KD_OK;
}

enum kd_err kd_device_read_4(struct kd_device_session *s, struct kd_bytes message) {
    enum kd_err r = s->edhoc == NULL ? KD_ERR_HS_STATE : kd_edhoc_read_4(s->edhoc, message);
    if (r == KD_OK && (r = take_terms(s)) == KD_OK) {
        s->md = kd_edhoc_suite(s->edhoc)->md;
        r = kd_edhoc_take_prk_out(s->edhoc, &s->prk_out);
    }
    end_handshake(s);
    if (r == KD_OK) {
        r = make_keys(s);
    }
    s->is_open = r == KD_OK;
    return r;
}

// ---- records ---------------------------------------------------------------

static struct kd_record_end end_of(struct kd_device_session *s) {
    return (struct kd_record_end) {
        .ops = &kd_traffic_ops_kept,
        .ctx = &s->traffic,
        .is_client = true,
        .id = { s->id, s->n_id },
        .ivs = s->ivs,
        .otp = s->otp,
    };
}

enum kd_err kd_device_seal(struct kd_device_session *s, enum kd_record_type type,
                           struct kd_bytes body, struct kd_bytes aad, struct kd_buf *out) {
    const struct kd_record_end end = end_of(s);
    const struct kd_record record = { type, body };
    return kd_record_seal(&end, s->sequence++, kd_device_clock_ms(&s->clock), aad, &record, out);
}

enum kd_err kd_device_open(struct kd_device_session *s, struct kd_bytes sealed, struct kd_bytes aad,
                           struct kd_buf *text, struct kd_record *record) {
    const struct kd_record_end end = end_of(s);
    struct kd_record_head head;
    enum kd_err r;
    if ((r = kd_record_parse(sealed, &head)) != KD_OK ||
        (r = kd_window_check(&s->window, head.sequence)) != KD_OK) {
        return r;
    }
    r = kd_record_open(&end, &head, aad, kd_device_clock_ms(&s->clock), text, record);
    if (r == KD_OK) {
        kd_window_take(&s->window, head.sequence);
    }
    return r;
}

// ---- renewed, resumed ------------------------------------------------------

enum kd_err kd_device_take_update(struct kd_device_session *s, struct kd_bytes sealed) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(256);
    uint8_t room[16];
    struct kd_buf context = KD_BUF_OVER(room);
    struct kd_record record;
    uint64_t number = 0;
    enum kd_err r = kd_device_open(s, sealed, KD_BYTES_NONE, &text, &record);
    if (r != KD_OK || record.type != KD_RECORD_KEY_UPDATE ||
        (r = kd_record_get_number(&record, &number)) != KD_OK || number != s->update + 1) {
        return r == KD_OK ? KD_ERR_RECORD_FORM : r;
    }
    kd_cbor_put_uint(&context, number);
    if ((r = kd_exporter_update(s->md, s->prk_out, kd_buf_get(&context))) != KD_OK ||
        (r = make_keys(s)) != KD_OK) {
        s->is_open = false;
        return r;
    }
    s->update = number;
    kd_buf_reset(&s->ticket); // it was of the keys before
    return KD_OK;
}

enum kd_err kd_device_take_resumed(struct kd_device_session *s, struct kd_bytes nonce,
                                   struct kd_bytes answer) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(256);
    struct kd_cbor c = kd_cbor_of(answer);
    const size_t n = kd_cbor_read_array(&c);
    const struct kd_bytes id = kd_cbor_read_bytes(&c);
    const struct kd_bytes node = kd_cbor_read_bytes(&c);
    const struct kd_bytes sealed = kd_cbor_read_bytes(&c);
    struct kd_record record;
    enum kd_err r;
    if (kd_cbor_finish(&c) != KD_OK || n != 3 || node.n > sizeof(s->nonces[1]) ||
        nonce.n > sizeof(s->nonces[0]) ||
        !kd_bytes_equal(id, (struct kd_bytes) { s->id, s->n_id })) {
        return KD_ERR_RECORD_FORM;
    }
    memcpy(s->nonces[0], nonce.p, nonce.n);
    memcpy(s->nonces[1], node.p, node.n);
    s->n_nonces[0] = nonce.n;
    s->n_nonces[1] = node.n;
    if ((r = make_keys(s)) != KD_OK ||
        (r = kd_device_open(s, sealed, KD_BYTES_NONE, &text, &record)) != KD_OK) {
        s->is_open = false; // the keys before are gone
        return r;
    }
    s->is_open = record.type == KD_RECORD_DATA && record.body.n == 0;
    return s->is_open ? KD_OK : KD_ERR_RECORD_FORM;
}
