// SPDX-License-Identifier: Apache-2.0
// ticket.c: see ticket.h.  The plaintext lives in the session's locked memory only.
#include "hsm/ticket.h"

#include "hsm/gcm.h"

#include <string.h>

enum {
    VERSION = 2,
    FIELDS = 15,
    FIELDS_WITH_OTP,
    FIELDS_OF_STRANGER, // they have both
    OVERHEAD_BYTES = KD_HSM_GCM_IV_BYTES + KD_HSM_GCM_TAG_BYTES,
};

static struct kd_bytes ticket_aad(void) {
    return kd_bytes_of_text("keyd ticket v2");
}

void kd_ticket_wipe(struct kd_ticket *t) {
    kd_secret_free(t->prk_out);
    t->prk_out = NULL;
}

enum kd_err kd_ticket_set_terms(struct kd_ticket *t, const struct kd_hsm_session_terms *terms) {
    if (terms->peer.n == 0 || terms->peer.n > sizeof(t->peer)) {
        return KD_ERR_FIELD_INVALID;
    }
    memmove(t->peer, terms->peer.p, terms->peer.n);
    t->terms = *terms;
    t->terms.peer = (struct kd_bytes) { t->peer, terms->peer.n };
    return KD_OK;
}

// ---- the plaintext ---------------------------------------------------------

static void put_text(struct kd_buf *b, struct kd_ticket *t) {
    const struct kd_hsm_session_terms *terms = &t->terms;
    const bool has_otp = terms->is_stranger || !kd_otp_params_equal(&terms->otp, &KD_OTP_DEFAULT);
    kd_cbor_put_array(b, terms->is_stranger ? FIELDS_OF_STRANGER
                         : has_otp          ? FIELDS_WITH_OTP
                                            : FIELDS);
    kd_cbor_put_uint(b, VERSION);
    kd_cbor_put_bytes(b, (struct kd_bytes) { terms->id, sizeof(terms->id) });
    kd_cbor_put_uint(b, (uint64_t)terms->profile);
    kd_cbor_put_bool(b, terms->is_client);
    kd_cbor_put_bytes(b, terms->peer);
    kd_cbor_put_uint(b, terms->created_ms);
    kd_cbor_put_uint(b, terms->expires_ms);
    kd_cbor_put_uint(b, terms->records_max);
    kd_cbor_put_uint(b, terms->bytes_max);
    kd_cbor_put_uint(b, terms->update);
    kd_cbor_put_uint(b, terms->root_version);
    kd_cbor_put_uint(b, (uint64_t)t->md);
    kd_cbor_put_uint(b, (uint64_t)t->client.curve);
    kd_cbor_put_bytes(b, kd_point_get(&t->client));
    kd_cbor_put_bytes(b,
                      (struct kd_bytes) { kd_secret_get(t->prk_out), kd_secret_len(t->prk_out) });
    if (has_otp) {
        kd_otp_params_put(b, &terms->otp);
    }
    if (terms->is_stranger) {
        kd_cbor_put_bytes(b, (struct kd_bytes) { terms->stranger, sizeof(terms->stranger) });
    }
}

static uint64_t read_within(struct kd_cbor *c, uint64_t low, uint64_t high) {
    const uint64_t v = kd_cbor_read_uint(c);
    if (v < low || v > high) {
        kd_cbor_fail(c, KD_ERR_TICKET);
        return low;
    }
    return v;
}

// Bytes of exactly this length to where they belong.
static void read_fixed(struct kd_cbor *c, uint8_t *to, size_t n) {
    const struct kd_bytes from = kd_cbor_read_bytes(c);
    if (from.n != n) {
        kd_cbor_fail(c, KD_ERR_TICKET);
        return;
    }
    memcpy(to, from.p, n);
}

static void read_peer(struct kd_cbor *c, struct kd_ticket *t) {
    const struct kd_bytes peer = kd_cbor_read_bytes(c);
    if (peer.n == 0 || peer.n > sizeof(t->peer)) {
        kd_cbor_fail(c, KD_ERR_TICKET);
        return;
    }
    memcpy(t->peer, peer.p, peer.n);
    t->terms.peer = (struct kd_bytes) { t->peer, peer.n };
}

static void read_terms(struct kd_cbor *c, struct kd_ticket *t) {
    struct kd_hsm_session_terms *terms = &t->terms;
    read_fixed(c, terms->id, sizeof(terms->id));
    terms->profile = (enum kd_profile)read_within(c, KD_PROFILE_RESIDENT, KD_PROFILE_RELEASED);
    terms->is_client = kd_cbor_read_bool(c);
    read_peer(c, t);
    terms->created_ms = kd_cbor_read_uint(c);
    terms->expires_ms = kd_cbor_read_uint(c);
    terms->records_max = kd_cbor_read_uint(c);
    terms->bytes_max = kd_cbor_read_uint(c);
    terms->update = (uint32_t)read_within(c, 0, UINT32_MAX);
    terms->root_version = (uint32_t)read_within(c, 0, UINT32_MAX);
}

static enum kd_err read_text(struct kd_bytes text, struct kd_ticket *t) {
    struct kd_cbor c = kd_cbor_of(text);
    const size_t n = kd_cbor_read_array(&c);
    if (n < FIELDS || n > FIELDS_OF_STRANGER) {
        return KD_ERR_TICKET;
    }
    read_within(&c, VERSION, VERSION);
    read_terms(&c, t);
    t->md = (enum kd_md)read_within(&c, KD_MD_SHA256, KD_MD_SHA384);
    t->client.curve = (enum kd_curve)read_within(&c, KD_CURVE_P256, KD_CURVE_P384);
    read_fixed(&c, t->client.bytes, kd_point_bytes(t->client.curve));
    enum kd_err r = kd_secret_new(kd_md_bytes(t->md), &t->prk_out);
    if (r != KD_OK) {
        return r;
    }
    read_fixed(&c, kd_secret_get(t->prk_out), kd_secret_len(t->prk_out));
    t->terms.otp = n == FIELDS ? KD_OTP_DEFAULT : kd_otp_params_read(&c);
    if (n == FIELDS_WITH_OTP && kd_otp_params_equal(&t->terms.otp, &KD_OTP_DEFAULT)) {
        return KD_ERR_TICKET; // the default is said by its absence alone
    }
    t->terms.is_stranger = n == FIELDS_OF_STRANGER;
    if (t->terms.is_stranger) {
        read_fixed(&c, t->terms.stranger, sizeof(t->terms.stranger));
    }
    return kd_cbor_finish(&c) == KD_OK ? KD_OK : KD_ERR_TICKET;
}

// ---- sealing ---------------------------------------------------------------

// The handle of the ticket key.
static enum kd_err open_key(struct kd_session *s, const struct kd_key_ref *key,
                            CK_OBJECT_HANDLE *out) {
    return key->type == KD_KEY_AES_256 ? kd_object_get(s, key, out) : KD_ERR_KEY_TYPE;
}

static enum kd_err seal_text(struct kd_session *s, const struct kd_key_ref *key,
                             struct kd_bytes text) {
    CK_OBJECT_HANDLE handle;
    enum kd_err r = open_key(s, key, &handle);
    if (r != KD_OK) {
        return r;
    }
    const size_t start = s->out.n;
    uint8_t *at = kd_buf_extend(&s->out, OVERHEAD_BYTES + text.n);
    if (at == NULL) {
        return kd_buf_finish(&s->out);
    }
    r = kd_gcm_seal_anew(s, handle, at, ticket_aad(), text, at + KD_HSM_GCM_IV_BYTES);
    if (r != KD_OK) {
        s->out.n = start;
    }
    return r;
}

enum kd_err kd_ticket_seal(struct kd_session *s, const struct kd_key_ref *key,
                           struct kd_ticket *t) {
    // Writes in place: never more than its room, so it is never moved out of the
    // locked memory.
    struct kd_buf text = { .p = kd_secret_get(s->scratch),
                           .cap = KD_HSM_TICKET_MAX_BYTES - OVERHEAD_BYTES,
                           .max = KD_HSM_TICKET_MAX_BYTES - OVERHEAD_BYTES };
    put_text(&text, t);
    enum kd_err r = kd_buf_finish(&text);
    if (r == KD_OK) {
        r = seal_text(s, key, kd_buf_get(&text));
    }
    if (r == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, key);
    }
    kd_wipe(kd_secret_get(s->scratch), KD_SCRATCH_BYTES);
    return r;
}

static enum kd_err open_text(struct kd_session *s, const struct kd_key_ref *key,
                             struct kd_bytes sealed, uint8_t *text) {
    CK_OBJECT_HANDLE handle;
    enum kd_err r = open_key(s, key, &handle);
    if (r == KD_OK) {
        const struct kd_bytes body = { sealed.p + KD_HSM_GCM_IV_BYTES,
                                       sealed.n - KD_HSM_GCM_IV_BYTES };
        r = kd_gcm_open(s, handle, sealed.p, ticket_aad(), body, text);
    }
    if (r == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, key);
    }
    return r == KD_ERR_NOT_AUTHENTIC ? KD_ERR_TICKET : r;
}

enum kd_err kd_ticket_open(struct kd_session *s, const struct kd_key_ref *key,
                           struct kd_bytes sealed, struct kd_ticket *out) {
    if (sealed.n <= OVERHEAD_BYTES || sealed.n > KD_HSM_TICKET_MAX_BYTES) {
        return KD_ERR_TICKET;
    }
    uint8_t *text = kd_secret_get(s->scratch);
    struct kd_ticket t = { .prk_out = NULL };
    enum kd_err r = open_text(s, key, sealed, text);
    if (r == KD_OK) {
        r = read_text((struct kd_bytes) { text, sealed.n - OVERHEAD_BYTES }, &t);
    }
    kd_wipe(text, KD_SCRATCH_BYTES);
    if (r != KD_OK) {
        kd_ticket_wipe(&t);
        return r;
    }
    *out = t;
    out->terms.peer.p = out->peer;
    return KD_OK;
}
