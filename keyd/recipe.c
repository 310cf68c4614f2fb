// SPDX-License-Identifier: Apache-2.0
// recipe.c: checks of a derivation and its recipe.
#include "keyd/recipe.h"

#include <openssl/evp.h>
#include <string.h>

enum { RELEASE_MIN_BYTES = 16, RELEASE_MAX_BYTES = 255, RELEASE_DEFAULT_BYTES = 32 };

static enum kd_err blame(struct kd_plan *p, const char *field, const char *detail, uint32_t bound,
                         enum kd_err err) {
    p->wrong = (struct kd_wrong) { field, detail, bound };
    return err;
}

static bool is_kept_type(enum kd_key_type type) {
    return type == KD_KEY_AES_256 || type == KD_KEY_HMAC_SHA256 || type == KD_KEY_HMAC_SHA384;
}

static uint16_t bytes_of(enum kd_key_type type) {
    return type == KD_KEY_HMAC_SHA384 ? 48 : 32;
}

static enum kd_err check_policy(const struct kd_service *s, const struct kd_caller *caller,
                                const struct kd_derivation *d, const char *key) {
    const enum kd_permission what = d->peer.n > 0 ? KD_MAY_ECDH : KD_MAY_DERIVE;
    enum kd_err r = kd_service_allows(s, caller, what, key);
    return r == KD_OK && d->release ? kd_service_allows(s, caller, KD_MAY_RELEASE, key) : r;
}

// ---- the base --------------------------------------------------------------

// The length and form of a point; whether it is on the curve is checked by the worker.
static enum kd_err check_peer(enum kd_key_type type, struct kd_bytes peer) {
    if (!kd_key_type_is_ec(type)) {
        return peer.n == 0 ? KD_OK : KD_ERR_KEY_TYPE;
    }
    if (peer.n == 0) {
        return KD_ERR_FIELD_MISSING;
    }
    return peer.n == kd_key_type_point_bytes(type) && peer.p[0] == 0x04 ? KD_OK : KD_ERR_BAD_POINT;
}

static enum kd_err take_key(const struct kd_service *s, const struct kd_caller *caller,
                            const struct kd_derivation *d, struct kd_plan *p) {
    enum kd_err r = check_policy(s, caller, d, d->key);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_entry *e = kd_registry_get(&s->registry, d->key);
    const struct kd_key_version *v = NULL;
    if (e == NULL || e->key.n_versions == 0) {
        return KD_ERR_NO_KEY;
    }
    if ((r = kd_service_check_free(s, d->key)) != KD_OK) {
        return r;
    }
    if ((e->key.usages & KD_USE_DERIVE) == 0) {
        return e->key.origin == KD_ORIGIN_IMPORTED ? KD_ERR_PUBLIC_ONLY : KD_ERR_KEY_USAGE;
    }
    if ((r = kd_service_version(e, d->version, &v)) != KD_OK ||
        (r = check_peer(e->key.type, d->peer)) != KD_OK) {
        return r;
    }
    p->recipe = (struct kd_recipe) { .base = v->ref, .peer = d->peer, .type = KD_KEY_AES_256 };
    p->key = e->key.name;
    p->version = v->number;
    p->is_resident = true;
    return KD_OK;
}

static enum kd_err take_secret(const struct kd_service *s, const struct kd_caller *caller,
                               const struct kd_derivation *d, struct kd_plan *p) {
    struct kd_secret_entry *e = NULL;
    enum kd_err r = kd_service_find_secret(s, caller, d->secret, &e);
    if (r != KD_OK || (r = check_policy(s, caller, d, e->key)) != KD_OK) {
        return r;
    }
    if (d->peer.n > 0 || d->version != 0) {
        return KD_ERR_FIELD_INVALID;
    }
    p->recipe = e->recipe;
    p->key = e->key;
    p->version = e->version;
    p->is_resident = e->is_resident;
    return KD_OK;
}

// ---- the step --------------------------------------------------------------

static const char longer_type[] =
    "hmac-sha384 has 48 bytes: it comes of HKDF, or of P-384 without kdf.";

// The data of CKM_AES_CBC_ENCRYPT_DATA: SHA-256(type || 0x00 || info), so that a
// result for one use is never a result for another.
static bool hash_context(enum kd_key_type type, struct kd_bytes info, uint8_t out[static 32]) {
    const char *name = kd_key_type_name(type);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool is_done = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
                         EVP_DigestUpdate(ctx, name, strlen(name) + 1) == 1 && // with its NUL
                         (info.n == 0 || EVP_DigestUpdate(ctx, info.p, info.n) == 1) &&
                         EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return is_done;
}

static enum kd_err add_cbc(const struct kd_derivation *d, enum kd_key_type type,
                           struct kd_plan *p) {
    // What is encrypted under must be an AES key: an ECDH secret or an AES key or secret.
    const bool is_key = p->recipe.n_steps == 0 && p->recipe.peer.n == 0;
    const enum kd_key_type from = is_key ? p->recipe.base.type : p->recipe.type;
    if (from != KD_KEY_AES_256) {
        return KD_ERR_KEY_TYPE;
    }
    if (!d->release && bytes_of(type) != 32) {
        return blame(p, "type", longer_type, 0, KD_ERR_FIELD_INVALID);
    }
    if (d->salt.n > 0 || (d->out_len != 0 && d->out_len != 32)) {
        return KD_ERR_FIELD_INVALID;
    }
    if (!hash_context(type, d->info, p->context)) {
        return KD_ERR_NO_MEMORY;
    }
    p->recipe.steps[p->recipe.n_steps++] = (struct kd_derive_step) {
        .kdf = KD_KDF_AES_CBC_DATA, .info = { p->context, sizeof(p->context) }, .out_len = 32
    };
    return KD_OK;
}

static enum kd_err add_hkdf(const struct kd_service *s, const struct kd_derivation *d,
                            enum kd_key_type type, struct kd_plan *p) {
    const struct kd_hsm_status *token = kd_workers_token(s->workers);
    if (token != NULL && token->hkdf == KD_HSM_HKDF_NONE) {
        return KD_ERR_LACKING;
    }
    uint16_t n = bytes_of(type);
    if (d->release) {
        n = d->out_len == 0 ? RELEASE_DEFAULT_BYTES : d->out_len;
    }
    if (n < RELEASE_MIN_BYTES || n > RELEASE_MAX_BYTES || (!d->release && d->out_len != 0)) {
        return KD_ERR_FIELD_INVALID;
    }
    p->is_resident = p->is_resident && token != NULL && token->hkdf == KD_HSM_HKDF_NATIVE;
    p->recipe.steps[p->recipe.n_steps++] =
        (struct kd_derive_step) { .kdf = d->kdf, .salt = d->salt, .info = d->info, .out_len = n };
    return KD_OK;
}

static enum kd_err add_step(const struct kd_service *s, const struct kd_derivation *d,
                            enum kd_key_type type, struct kd_plan *p) {
    if (!d->has_kdf) {
        // The shared secret itself: ecdh only, and long enough for what it is to be.
        if (d->secret != NULL || p->recipe.peer.n == 0) {
            return KD_ERR_FIELD_MISSING;
        }
        const bool fits =
            d->release || bytes_of(type) == 32 || p->recipe.base.type == KD_KEY_EC_P384;
        if (!fits) {
            return blame(p, "type", longer_type, 0, KD_ERR_FIELD_INVALID);
        }
        return d->salt.n == 0 && d->info.n == 0 && d->out_len == 0 ? KD_OK : KD_ERR_FIELD_INVALID;
    }
    if (p->recipe.n_steps == KD_HSM_STEPS_MAX) {
        return blame(p, NULL, "More derivations than may be behind a secret", KD_HSM_STEPS_MAX,
                     KD_ERR_TOO_MANY);
    }
    if (d->salt.n > KD_HSM_INFO_MAX_BYTES || d->info.n > KD_HSM_INFO_MAX_BYTES) {
        return blame(p, d->salt.n > KD_HSM_INFO_MAX_BYTES ? "salt" : "info",
                     "More bytes than it may have", KD_HSM_INFO_MAX_BYTES, KD_ERR_ITEM_TOO_LARGE);
    }
    switch (d->kdf) {
    case KD_KDF_AES_CBC_DATA:
        return add_cbc(d, type, p);
    case KD_KDF_HKDF_SHA256:
    case KD_KDF_HKDF_SHA384:
        return add_hkdf(s, d, type, p);
    }
    return KD_ERR_FIELD_INVALID;
}

enum kd_err kd_plan_make(const struct kd_service *s, const struct kd_caller *caller,
                         const struct kd_derivation *d, struct kd_plan *out) {
    const struct kd_secrets_config *limits = &s->config->secrets;
    enum kd_err r = d->key != NULL ? take_key(s, caller, d, out) : take_secret(s, caller, d, out);
    if (r != KD_OK) {
        return r;
    }
    const enum kd_key_type type = d->release && !is_kept_type(d->type) ? KD_KEY_AES_256 : d->type;
    if (!is_kept_type(type)) {
        return KD_ERR_KEY_TYPE;
    }
    out->lifetime_sec = d->lifetime_sec == 0 ? limits->lifetime_default_sec : d->lifetime_sec;
    if (out->lifetime_sec > limits->lifetime_max_sec) {
        return blame(out, "lifetime",
                     "More seconds than secrets.lifetime-max of keyd.conf(5) allows",
                     limits->lifetime_max_sec, KD_ERR_FIELD_INVALID);
    }
    if ((r = add_step(s, d, type, out)) != KD_OK) {
        return r;
    }
    out->recipe.type = type;
    return KD_OK;
}
