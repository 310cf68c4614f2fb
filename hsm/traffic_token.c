// SPDX-License-Identifier: Apache-2.0
// traffic_token.c: see traffic_token.h; what the keys are made of stands in
// channel/schedule.h.
#include "hsm/traffic_token.h"

#include "hsm/gcm.h"
#include "hsm/token_keys.h"

#include <stdlib.h>
#include <string.h>

// ---- resident --------------------------------------------------------------

static enum kd_err derive_key(struct kd_session *s, struct kd_traffic_keys *k,
                              enum kd_traffic which, const struct kd_key32 *d) {
    const bool is_otp = which == KD_TRAFFIC_OTP;
    const struct kd_secret_form form = {
        .type = is_otp ? CKK_GENERIC_SECRET : CKK_AES,
        .n = sizeof(d->bytes),
        .usages = is_otp ? KD_USE_SIGN : KD_USE_ENCRYPT | KD_USE_DECRYPT,
    };
    return kd_derive_cbc_data(s, k->share, (struct kd_bytes) { d->bytes, sizeof(d->bytes) }, &form,
                              &k->handles[which]);
}

static enum kd_err install_in_token(void *ctx, enum kd_traffic which, const struct kd_key32 *d) {
    const struct kd_traffic_use *u = ctx;
    if (which == KD_TRAFFIC_OTP) { // each record has one
        return derive_key(u->session, u->keys, which, d);
    }
    u->keys->secrets->data[which] = *d;
    return KD_OK;
}

static enum kd_err derive_direction(struct kd_session *s, struct kd_traffic_keys *k,
                                    enum kd_traffic which) {
    struct kd_key32 *d = &k->secrets->data[which];
    enum kd_err r = derive_key(s, k, which, d);
    if (r != KD_OK) {
        return r;
    }
    kd_wipe(d, sizeof(*d));
    if (k->handles[KD_TRAFFIC_C2S] != 0 && k->handles[KD_TRAFFIC_S2C] != 0) {
        kd_destroy(s, k->share);
        k->share = 0;
    }
    return KD_OK;
}

enum kd_err kd_traffic_ready(struct kd_session *s, struct kd_traffic_keys *k, bool is_seal) {
    const enum kd_traffic which = is_seal == k->is_client ? KD_TRAFFIC_C2S : KD_TRAFFIC_S2C;
    enum kd_err r = KD_OK;
    if (k->profile == KD_PROFILE_RELEASED) {
        return KD_OK;
    }
    pthread_mutex_lock(&k->derive_lock);
    if (k->handles[which] == 0) {
        r = derive_direction(s, k, which);
    }
    pthread_mutex_unlock(&k->derive_lock);
    return r;
}

// R = ECDH of the channel root and the client's ephemeral key.
static enum kd_err derive_share(struct kd_session *s, const struct kd_key_ref *root,
                                const struct kd_ticket *t, CK_OBJECT_HANDLE *out) {
    const struct kd_secret_form form = { .type = CKK_AES, .n = 32, .usages = KD_USE_DERIVE };
    CK_OBJECT_HANDLE handle;
    if (root == NULL || root->type != kd_key_type_of(t->client.curve) || t->terms.is_client) {
        return KD_ERR_KEY_TYPE;
    }
    enum kd_err r = kd_object_get(s, root, &handle);
    if (r != KD_OK) {
        return r;
    }
    r = kd_derive_ecdh(s, handle, root->type, kd_point_get(&t->client), &form, out);
    if (r == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, root);
    }
    return r;
}

static enum kd_err schedule(struct kd_session *s, const struct kd_key_ref *root,
                            const struct kd_attachment *attachment, struct kd_ticket *t,
                            struct kd_secret *secret, struct kd_traffic_keys *k) {
    if (k->profile == KD_PROFILE_RELEASED) {
        kd_soft_traffic_init(&k->secrets->soft, NULL);
        return kd_schedule_run(t->md, secret, attachment, kd_soft_traffic_install,
                               &k->secrets->soft, &k->ivs);
    }
    struct kd_traffic_use use = { .session = s, .keys = k };
    enum kd_err r = derive_share(s, root, t, &k->share);
    return r == KD_OK ? kd_schedule_run(t->md, secret, attachment, install_in_token, &use, &k->ivs)
                      : r;
}

// ---- make and free ---------------------------------------------------------

static enum kd_err fill(struct kd_session *s, const struct kd_key_ref *root,
                        const struct kd_hsm_session *request, struct kd_ticket *t,
                        struct kd_traffic_keys *k) {
    kd_auto(secret) struct kd_secret *secret = NULL; // S
    const struct kd_attachment attachment = { request->client_nonce, request->node_nonce };
    memcpy(k->pinned.id, request->cache, sizeof(k->pinned.id));
    memcpy(k->session_id, t->terms.id, sizeof(k->session_id));
    k->profile = t->terms.profile;
    k->is_client = t->terms.is_client;
    k->expires_ms = t->terms.expires_ms;
    k->otp = t->terms.otp;
    void *cell = NULL;
    enum kd_err r = kd_cells_get(&s->token->cells, &cell);
    k->secrets = cell;
    if (r != KD_OK || (r = kd_secret_new(kd_md_bytes(t->md), &secret)) != KD_OK ||
        (r = kd_exporter_export(t->md, t->prk_out, KD_SESSION_EXPORT_LABEL, KD_BYTES_NONE,
                                secret)) != KD_OK) {
        return r;
    }
    return schedule(s, root, &attachment, t, secret, k);
}

enum kd_err kd_traffic_make(struct kd_session *s, const struct kd_key_ref *ticket_key,
                            const struct kd_key_ref *root, const struct kd_hsm_session *request,
                            struct kd_traffic_keys **out) {
    kd_auto(ticket) struct kd_ticket t = { .prk_out = NULL };
    enum kd_err r = kd_ticket_open(s, ticket_key, request->ticket, &t);
    if (r != KD_OK) {
        return r;
    }
    struct kd_traffic_keys *k = calloc(1, sizeof(*k));
    if (k == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    pthread_mutex_init(&k->derive_lock, NULL);
    r = fill(s, root, request, &t, k);
    if (r != KD_OK) {
        kd_traffic_destroy(s, k);
        kd_traffic_free(s->token, k);
        return r;
    }
    *out = k;
    return KD_OK;
}

void kd_traffic_free(struct kd_token *t, struct kd_traffic_keys *k) {
    kd_cells_put(&t->cells, k->secrets);
    pthread_mutex_destroy(&k->derive_lock);
    free(k);
}

void kd_traffic_destroy(struct kd_session *s, struct kd_traffic_keys *k) {
    kd_destroy(s, k->share);
    for (size_t i = 0; i < KD_TRAFFIC_KEYS; i++) {
        kd_destroy(s, k->handles[i]);
    }
}

// ---- the table -------------------------------------------------------------

// Tokens take the text as one.
static enum kd_err seal_in_token(const struct kd_traffic_use *u, enum kd_traffic key,
                                 const uint8_t *nonce, struct kd_bytes aad, struct kd_bytes head,
                                 struct kd_bytes body, uint8_t *out) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(head.n + body.n);
    kd_buf_put(&text, head.p, head.n);
    kd_buf_put(&text, body.p, body.n);
    enum kd_err r = kd_buf_finish(&text);
    return r == KD_OK
               ? kd_gcm_seal(u->session, u->keys->handles[key], nonce, aad, kd_buf_get(&text), out)
               : r;
}

static enum kd_err seal(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes head, struct kd_bytes body, uint8_t *out) {
    const struct kd_traffic_use *u = ctx;
    if (u->keys->profile == KD_PROFILE_RELEASED) {
        return kd_traffic_ops_soft.seal(&u->keys->secrets->soft, key, nonce, aad, head, body, out);
    }
    return seal_in_token(u, key, nonce, aad, head, body, out);
}

// By way of the session's buffer, because tokens want more room than the text takes.
static enum kd_err open_in_token(const struct kd_traffic_use *u, enum kd_traffic key,
                                 const uint8_t *nonce, struct kd_bytes aad, struct kd_bytes sealed,
                                 uint8_t *out) {
    struct kd_buf *room = &u->session->out;
    const size_t start = room->n;
    uint8_t *at = kd_buf_extend(room, sealed.n);
    if (at == NULL) {
        return kd_buf_finish(room);
    }
    enum kd_err r = kd_gcm_open(u->session, u->keys->handles[key], nonce, aad, sealed, at);
    if (r == KD_OK && sealed.n > KD_RECORD_TAG_BYTES) {
        memcpy(out, at, sealed.n - KD_RECORD_TAG_BYTES);
    }
    kd_wipe(at, sealed.n);
    room->n = start;
    return r;
}

static enum kd_err open(void *ctx, enum kd_traffic key,
                        const uint8_t nonce[static KD_RECORD_IV_BYTES], struct kd_bytes aad,
                        struct kd_bytes sealed, uint8_t *out) {
    const struct kd_traffic_use *u = ctx;
    if (u->keys->profile == KD_PROFILE_RELEASED) {
        return kd_traffic_ops_soft.open(&u->keys->secrets->soft, key, nonce, aad, sealed, out);
    }
    return open_in_token(u, key, nonce, aad, sealed, out);
}

static enum kd_err hmac_in_token(void *ctx, struct kd_bytes message,
                                 uint8_t mac[static KD_OTP_MAC_BYTES]) {
    const struct kd_traffic_use *u = ctx;
    CK_FUNCTION_LIST *p11 = u->session->token->p11;
    const CK_SESSION_HANDLE session = u->session->handle;
    CK_MECHANISM hmac = { CKM_SHA256_HMAC, NULL, 0 };
    CK_ULONG n = KD_OTP_MAC_BYTES;
    enum kd_err r;
    if ((r = kd_ckr("C_SignInit",
                    p11->C_SignInit(session, &hmac, u->keys->handles[KD_TRAFFIC_OTP]))) != KD_OK ||
        (r = kd_ckr("C_Sign", p11->C_Sign(session, kd_p11_bytes(message.p), message.n, mac, &n))) !=
            KD_OK) {
        return r;
    }
    return n == KD_OTP_MAC_BYTES ? KD_OK : KD_ERR_TOKEN;
}

static bool recall(const struct kd_traffic_use *u, uint64_t step, struct kd_otp_code *out) {
    const struct kd_traffic_secrets *known = u->keys->secrets;
    pthread_mutex_lock(&u->session->token->lock);
    const bool is_known = known->has_otp && known->otp_step == step;
    if (is_known) {
        *out = known->otp_code;
    }
    pthread_mutex_unlock(&u->session->token->lock);
    return is_known;
}

static void remember(const struct kd_traffic_use *u, uint64_t step,
                     const struct kd_otp_code *code) {
    struct kd_traffic_secrets *known = u->keys->secrets;
    pthread_mutex_lock(&u->session->token->lock);
    known->has_otp = true;
    known->otp_step = step;
    known->otp_code = *code;
    pthread_mutex_unlock(&u->session->token->lock);
}

// Codes of steps other than our own are not worth keeping.
static enum kd_err otp_code(void *ctx, const struct kd_otp_params *p, uint64_t step,
                            struct kd_otp_code *out) {
    const struct kd_traffic_use *u = ctx;
    if (u->keys->profile == KD_PROFILE_RELEASED) {
        return kd_traffic_ops_soft.otp_code(&u->keys->secrets->soft, p, step, out);
    }
    const bool is_own = step == kd_otp_step(p, kd_clock_wall_about_ms());
    if (is_own && recall(u, step, out)) {
        return KD_OK;
    }
    const enum kd_err r = kd_otp_compute(p, hmac_in_token, ctx, step, out);
    if (r == KD_OK && is_own) {
        remember(u, step, out);
    }
    return r;
}

const struct kd_traffic_ops kd_traffic_ops_token = {
    .seal = seal,
    .open = open,
    .otp_code = otp_code,
};
