// SPDX-License-Identifier: Apache-2.0
// wire_channel.c: what the operations of the channel add to items and results.
// wire.c says which operation has which of these parts.
#include "hsm/channel.h"
#include "hsm/wire.h"

#include <string.h>

// ---- terms -----------------------------------------------------------------

void kd_wire_put_terms(struct kd_buf *out, const struct kd_hsm_session_terms *t) {
    if (t->peer.n == 0 || t->peer.n > KD_HSM_PEER_MAX_BYTES) {
        out->err = KD_ERR_FIELD_INVALID;
        return;
    }
    kd_buf_put(out, t->id, sizeof(t->id));
    kd_buf_u8(out, (uint8_t)t->profile);
    kd_buf_u8(out, t->is_client ? 1 : 0);
    kd_buf_block8(out, t->peer);
    kd_buf_u64(out, t->created_ms);
    kd_buf_u64(out, t->expires_ms);
    kd_buf_u64(out, t->records_max);
    kd_buf_u64(out, t->bytes_max);
    kd_buf_u32(out, t->update);
    kd_buf_u32(out, t->root_version);
    kd_buf_u8(out, t->otp.digits);
    kd_buf_u16(out, t->otp.step_sec);
    kd_buf_u8(out, t->otp.window);
    kd_buf_u8(out, t->is_stranger ? 1 : 0);
    if (t->is_stranger) {
        kd_buf_put(out, t->stranger, sizeof(t->stranger));
    }
}

// Exactly n bytes to where they belong.
static void read_fixed(struct kd_reader *in, uint8_t *to, size_t n) {
    const struct kd_bytes from = kd_read_bytes(in, n);
    if (from.n == n) {
        memcpy(to, from.p, n);
    }
}

void kd_wire_get_terms(struct kd_reader *in, struct kd_hsm_session_terms *t) {
    read_fixed(in, t->id, sizeof(t->id));
    t->profile = (enum kd_profile)kd_wire_read_enum(in, KD_PROFILE_RESIDENT, KD_PROFILE_RELEASED);
    t->is_client = kd_wire_read_bool(in);
    t->peer = kd_wire_read_sized(in, kd_read_block8(in), 1, KD_HSM_PEER_MAX_BYTES);
    t->created_ms = kd_read_u64(in);
    t->expires_ms = kd_read_u64(in);
    t->records_max = kd_read_u64(in);
    t->bytes_max = kd_read_u64(in);
    t->update = kd_read_u32(in);
    t->root_version = kd_read_u32(in);
    t->otp = (struct kd_otp_params) { kd_read_u8(in), 0, 0 };
    t->otp.step_sec = kd_read_u16(in);
    t->otp.window = kd_read_u8(in);
    t->is_stranger = kd_wire_read_bool(in);
    memset(t->stranger, 0, sizeof(t->stranger));
    if (t->is_stranger) {
        read_fixed(in, t->stranger, sizeof(t->stranger));
    }
    in->failed = in->failed || !kd_otp_params_are_valid(&t->otp);
}

static void put_optional_terms(struct kd_buf *out, const struct kd_hsm_session_terms *t) {
    kd_buf_u8(out, t != NULL ? 1 : 0);
    if (t != NULL) {
        kd_wire_put_terms(out, t);
    }
}

// h->terms is room for them, or NULL afterwards.
static void get_optional_terms(struct kd_reader *in, struct kd_hsm_handshake *h) {
    if (!kd_wire_read_bool(in)) {
        h->terms = NULL;
        return;
    }
    if (h->terms == NULL) {
        in->failed = true;
        return;
    }
    kd_wire_get_terms(in, h->terms);
}

// ---- handshakes ------------------------------------------------------------

static void put_suites(struct kd_buf *out, const struct kd_suites *list) {
    kd_buf_u8(out, (uint8_t)list->n);
    for (size_t i = 0; i < list->n && i < KD_SUITES_MAX; i++) {
        kd_buf_u8(out, (uint8_t)list->ids[i]);
    }
}

static void get_suites(struct kd_reader *in, unsigned min, struct kd_suites *list) {
    list->n = kd_wire_read_enum(in, min, KD_SUITES_MAX);
    for (size_t i = 0; i < list->n; i++) {
        list->ids[i] = kd_read_u8(in);
    }
}

static void put_start(struct kd_buf *out, const struct kd_hsm_handshake *h) {
    kd_buf_block16(out, h->message);
    kd_buf_u8(out, h->is_initiator ? 1 : 0);
    kd_buf_u8(out, (uint8_t)h->methods);
    put_suites(out, &h->suites);
    put_suites(out, &h->peer_suites);
    kd_buf_u8(out, h->is_static_dh ? 1 : 0);
    kd_buf_block16(out, h->id_cred);
    kd_buf_block16(out, h->cred);
    kd_buf_block8(out, h->conn_id);
    kd_buf_u32(out, h->timeout_ms);
}

static void get_start(struct kd_reader *in, struct kd_hsm_handshake *h) {
    h->message = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_EDHOC_MESSAGE_MAX_BYTES);
    h->is_initiator = kd_wire_read_bool(in);
    h->methods = kd_wire_read_enum(in, 1, (1u << (KD_EDHOC_METHOD_MAX + 1)) - 1);
    get_suites(in, 1, &h->suites);
    get_suites(in, 0, &h->peer_suites);
    h->is_static_dh = kd_wire_read_bool(in);
    h->id_cred = kd_wire_read_sized(in, kd_read_block16(in), 1, KD_EDHOC_CRED_MAX_BYTES);
    h->cred = kd_wire_read_sized(in, kd_read_block16(in), 1, KD_EDHOC_CRED_MAX_BYTES);
    h->conn_id = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_EDHOC_CONN_ID_MAX_BYTES);
    h->timeout_ms = kd_read_u32(in);
}

static void put_finish(struct kd_buf *out, const struct kd_hsm_handshake *h) {
    kd_buf_block8(out, h->peer_point);
    kd_buf_block16(out, h->peer_cred);
    kd_buf_block16(out, h->ead);
    put_optional_terms(out, h->terms);
}

static void get_finish(struct kd_reader *in, struct kd_hsm_handshake *h) {
    h->peer_point = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_HSM_POINT_MAX_BYTES);
    h->peer_cred = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_EDHOC_CRED_MAX_BYTES);
    h->ead = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_HSM_EAD_MAX_BYTES);
    get_optional_terms(in, h);
}

void kd_wire_put_handshake(struct kd_buf *out, enum kd_hsm_op op,
                           const struct kd_hsm_handshake *h) {
    kd_buf_put(out, h->id, sizeof(h->id));
    if (op == KD_HSM_HS_START) {
        put_start(out, h);
    } else if (op == KD_HSM_HS_READ) {
        kd_buf_block16(out, h->message);
    } else if (op == KD_HSM_HS_FINISH) {
        put_finish(out, h);
    } else if (op == KD_HSM_HS_CONFIRM) {
        kd_buf_block16(out, h->message);
        put_optional_terms(out, h->terms);
    }
}

void kd_wire_get_handshake(struct kd_reader *in, enum kd_hsm_op op, struct kd_hsm_handshake *h) {
    struct kd_hsm_session_terms *room = h->terms;
    *h = (struct kd_hsm_handshake) { .terms = NULL };
    read_fixed(in, h->id, sizeof(h->id));
    if (op == KD_HSM_HS_START) {
        get_start(in, h);
    } else if (op == KD_HSM_HS_READ) {
        h->message = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_EDHOC_MESSAGE_MAX_BYTES);
    } else if (op == KD_HSM_HS_FINISH) {
        h->terms = room;
        get_finish(in, h);
    } else if (op == KD_HSM_HS_CONFIRM) {
        h->terms = room;
        h->message = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_EDHOC_MESSAGE_MAX_BYTES);
        get_optional_terms(in, h);
    }
}

// ---- sessions --------------------------------------------------------------

void kd_wire_put_session(struct kd_buf *out, const struct kd_hsm_session *s) {
    kd_buf_put(out, s->cache, sizeof(s->cache));
    kd_buf_block16(out, s->ticket);
    kd_buf_block8(out, s->client_nonce);
    kd_buf_block8(out, s->node_nonce);
}

void kd_wire_get_session(struct kd_reader *in, struct kd_hsm_session *s) {
    read_fixed(in, s->cache, sizeof(s->cache));
    s->ticket = kd_wire_read_sized(in, kd_read_block16(in), 1, KD_HSM_TICKET_MAX_BYTES);
    s->client_nonce = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_SESSION_NONCE_MAX_BYTES);
    s->node_nonce = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_SESSION_NONCE_MAX_BYTES);
}

// ---- results ---------------------------------------------------------------

void kd_wire_put_agreed(struct kd_buf *out, const struct kd_hsm_result *r) {
    kd_buf_block8(out, r->conn_id);
    kd_buf_u8(out, r->suite);
    kd_buf_u8(out, r->method);
}

void kd_wire_get_agreed(struct kd_reader *in, struct kd_hsm_result *r) {
    r->conn_id = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_EDHOC_CONN_ID_MAX_BYTES);
    r->suite = kd_read_u8(in);
    r->method = kd_wire_read_enum(in, 0, KD_EDHOC_METHOD_MAX);
}
