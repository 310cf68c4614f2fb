// SPDX-License-Identifier: Apache-2.0
// derive.c: walks a recipe: base key, ECDH, derivation steps.  What lies on the
// way is a session object too, and is destroyed before the function returns.
#include "hsm/session.h"

enum { P256_SECRET_BYTES = 32, P384_SECRET_BYTES = 48, AES_BYTES = 32, TEMPLATE_MAX = 13 };
enum { HKDF_LEAST_BYTES = 16, HKDF_MOST_BYTES = 64, RELEASE_MAX_BYTES = 255 };

void kd_destroy(struct kd_session *s, CK_OBJECT_HANDLE handle) {
    if (handle != CK_INVALID_HANDLE) {
        s->token->p11->C_DestroyObject(s->handle, handle);
    }
}

// ---- templates -------------------------------------------------------------

struct template {
    CK_OBJECT_CLASS class;
    CK_BBOOL yes;
    CK_BBOOL no;
    struct kd_secret_form form;
    size_t n;
    CK_ATTRIBUTE list[TEMPLATE_MAX];
};

static void put_usage(struct template *t, CK_ATTRIBUTE_TYPE type, enum kd_key_usage usage) {
    const bool has = (t->form.usages & usage) != 0;
    t->list[t->n++] = (CK_ATTRIBUTE) { type, has ? &t->yes : &t->no, sizeof(CK_BBOOL) };
}

// A session object of this form; has_length: CKA_VALUE_LEN is given (derived,
// not imported).
static void make_template(struct template *t, const struct kd_secret_form *form, bool has_length) {
    *t = (struct template) { .class = CKO_SECRET_KEY, .yes = CK_TRUE, .form = *form };
    t->list[t->n++] = KD_ATTRIBUTE(CKA_CLASS, t->class);
    t->list[t->n++] = KD_ATTRIBUTE(CKA_KEY_TYPE, t->form.type);
    t->list[t->n++] = (CK_ATTRIBUTE) { CKA_TOKEN, &t->no, sizeof(t->no) };
    if (!form->is_readable) { // Luna Cloud HSM wants both
        t->list[t->n++] = (CK_ATTRIBUTE) { CKA_PRIVATE, &t->yes, sizeof(t->yes) };
    }
    t->list[t->n++] =
        (CK_ATTRIBUTE) { CKA_SENSITIVE, form->is_readable ? &t->no : &t->yes, sizeof(t->no) };
    t->list[t->n++] =
        (CK_ATTRIBUTE) { CKA_EXTRACTABLE, form->is_readable ? &t->yes : &t->no, sizeof(t->no) };
    put_usage(t, CKA_SIGN, KD_USE_SIGN);
    put_usage(t, CKA_VERIFY, KD_USE_VERIFY);
    put_usage(t, CKA_ENCRYPT, KD_USE_ENCRYPT);
    put_usage(t, CKA_DECRYPT, KD_USE_DECRYPT);
    put_usage(t, CKA_DERIVE, KD_USE_DERIVE);
    if (has_length) {
        t->list[t->n++] = KD_ATTRIBUTE(CKA_VALUE_LEN, t->form.n);
    }
}

// ---- single steps ----------------------------------------------------------

enum kd_err kd_derive_by(struct kd_session *s, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE input,
                         const struct kd_secret_form *form, CK_OBJECT_HANDLE *out) {
    struct template t;
    make_template(&t, form, true);
    const CK_RV rv = s->token->p11->C_DeriveKey(s->handle, mechanism, input, t.list, t.n, out);
    return kd_ckr_made("C_DeriveKey", rv, out);
}

enum kd_err kd_derive_ecdh(struct kd_session *s, CK_OBJECT_HANDLE base, enum kd_key_type type,
                           struct kd_bytes peer, const struct kd_secret_form *form,
                           CK_OBJECT_HANDLE *out) {
    // Always here: not every token checks the point, and a wrong one gives the
    // peer parts of the private key (PKCS#11 2.3.9 leaves it open).
    enum kd_err r = kd_host_point_check(type, peer);
    if (r != KD_OK) {
        return r;
    }
    CK_ECDH1_DERIVE_PARAMS params = { CKD_NULL, 0, NULL, peer.n, kd_p11_bytes(peer.p) };
    CK_MECHANISM ecdh = { CKM_ECDH1_DERIVE, &params, sizeof(params) };
    return kd_derive_by(s, &ecdh, base, form, out);
}

enum kd_err kd_derive_import(struct kd_session *s, struct kd_bytes value,
                             const struct kd_secret_form *form, CK_OBJECT_HANDLE *out) {
    struct template t;
    make_template(&t, form, false);
    t.list[t.n++] = KD_ATTRIBUTE_BYTES(CKA_VALUE, value);
    return kd_ckr_made("C_CreateObject", s->token->p11->C_CreateObject(s->handle, t.list, t.n, out),
                       out);
}

enum kd_err kd_derive_cbc_data(struct kd_session *s, CK_OBJECT_HANDLE input, struct kd_bytes data,
                               const struct kd_secret_form *form, CK_OBJECT_HANDLE *out) {
    if (data.n != AES_BYTES || form->n != AES_BYTES) {
        return KD_ERR_KEY_TYPE;
    }
    CK_AES_CBC_ENCRYPT_DATA_PARAMS params = { { 0 }, kd_p11_bytes(data.p), data.n };
    CK_MECHANISM cbc = { CKM_AES_CBC_ENCRYPT_DATA, &params, sizeof(params) };
    return kd_derive_by(s, &cbc, input, form, out);
}

enum kd_err kd_read_value(struct kd_session *s, CK_OBJECT_HANDLE handle) {
    CK_ATTRIBUTE value = { CKA_VALUE, kd_secret_get(s->scratch), KD_SCRATCH_BYTES };
    enum kd_err r = kd_ckr("C_GetAttributeValue",
                           s->token->p11->C_GetAttributeValue(s->handle, handle, &value, 1));
    if (r == KD_OK && value.ulValueLen > KD_SCRATCH_BYTES) {
        r = KD_ERR_TOKEN;
    }
    if (r == KD_OK) {
        kd_buf_put(&s->out, value.pValue, value.ulValueLen);
        r = kd_buf_finish(&s->out);
    }
    kd_wipe(kd_secret_get(s->scratch), KD_SCRATCH_BYTES);
    return r;
}

// ---- recipes ---------------------------------------------------------------

static size_t key_bytes(enum kd_key_type type) {
    return type == KD_KEY_HMAC_SHA384 ? 48 : 32;
}

// What step i needs as its input; i == n_steps: the result.
static struct kd_secret_form form_before(const struct kd_recipe *r, size_t i, bool is_readable) {
    const size_t own = r->base.type == KD_KEY_EC_P384 ? P384_SECRET_BYTES : P256_SECRET_BYTES;
    const size_t n = i == 0 ? own : r->steps[i - 1].out_len;
    if (i == r->n_steps && is_readable) {
        return (struct kd_secret_form) { CKK_GENERIC_SECRET, n, 0, true };
    }
    if (i == r->n_steps && r->type == KD_KEY_AES_256) {
        return (struct kd_secret_form) { CKK_AES, AES_BYTES, KD_USE_ENCRYPT | KD_USE_DECRYPT,
                                         false };
    }
    if (i == r->n_steps) {
        return (struct kd_secret_form) { CKK_GENERIC_SECRET, key_bytes(r->type),
                                         KD_USE_SIGN | KD_USE_VERIFY, false };
    }
    if (r->steps[i].kdf == KD_KDF_AES_CBC_DATA) {
        return (struct kd_secret_form) { CKK_AES, AES_BYTES, KD_USE_DERIVE, false };
    }
    return (struct kd_secret_form) { CKK_GENERIC_SECRET, n, KD_USE_DERIVE, false };
}

// How many bytes step i gives: what the next step or the key of the result takes.
static bool is_length_right(const struct kd_recipe *r, size_t i, bool is_readable) {
    const size_t n = r->steps[i].out_len;
    const bool is_last = i + 1 == r->n_steps;
    if (r->steps[i].kdf == KD_KDF_AES_CBC_DATA && n != AES_BYTES) {
        return false;
    }
    if (!is_last) {
        return r->steps[i + 1].kdf == KD_KDF_AES_CBC_DATA
                   ? n == AES_BYTES
                   : n >= HKDF_LEAST_BYTES && n <= HKDF_MOST_BYTES;
    }
    return is_readable ? n > 0 && n <= RELEASE_MAX_BYTES : n == key_bytes(r->type);
}

// Nothing may be cut or stretched on the way without being told, but for a
// P-384 secret that is used as a key as it is: of that the last bytes are.
static enum kd_err check_lengths(const struct kd_recipe *r, bool is_readable) {
    const bool is_ec = kd_key_type_is_ec(r->base.type);
    if (kd_key_type_is_ec(r->type) || (r->n_steps == 0 && !is_ec) || is_ec != (r->peer.n > 0)) {
        return KD_ERR_KEY_TYPE;
    }
    if (r->n_steps == 0) {
        return r->type == KD_KEY_HMAC_SHA384 && r->base.type != KD_KEY_EC_P384 ? KD_ERR_KEY_TYPE
                                                                               : KD_OK;
    }
    if (!is_ec && (r->steps[0].kdf == KD_KDF_AES_CBC_DATA) != (r->base.type == KD_KEY_AES_256)) {
        return KD_ERR_KEY_TYPE; // aes-cbc-data goes with AES keys, HKDF with HMAC keys
    }
    for (size_t i = 0; i < r->n_steps; i++) {
        if (!is_length_right(r, i, is_readable)) {
            return KD_ERR_FIELD_INVALID;
        }
    }
    return KD_OK;
}

// How step i does HKDF, if it does: a result that is released may need another
// strategy than one that stays.
static enum kd_hsm_hkdf strategy_of(const struct kd_session *s, const struct kd_recipe *r, size_t i,
                                    bool is_readable) {
    return is_readable && i + 1 == r->n_steps ? s->token->hkdf_release : s->token->hkdf;
}

// HKDF's input must be readable where the strategy is to read it.
static bool is_read_by_step(const struct kd_session *s, const struct kd_recipe *r, size_t i,
                            bool is_readable) {
    return i < r->n_steps && r->steps[i].kdf != KD_KDF_AES_CBC_DATA &&
           strategy_of(s, r, i, is_readable) == KD_HSM_HKDF_EXTRACT;
}

static enum kd_err run_step(struct kd_session *s, const struct kd_recipe *r, size_t i,
                            CK_OBJECT_HANDLE input, bool is_readable, CK_OBJECT_HANDLE *out) {
    const struct kd_derive_step *step = &r->steps[i];
    const bool is_last = i + 1 == r->n_steps;
    struct kd_secret_form form = form_before(r, i + 1, is_readable);
    if (is_read_by_step(s, r, i + 1, is_readable)) {
        form.is_readable = true;
    }
    if (step->kdf == KD_KDF_AES_CBC_DATA) {
        return kd_derive_cbc_data(s, input, step->info, &form, out);
    }
    const enum kd_hsm_hkdf strategy = strategy_of(s, r, i, is_readable);
    if (is_last && is_readable) {
        return kd_hkdf_release(s, strategy, input, step);
    }
    return kd_hkdf(s, strategy, input, step, &form, out);
}

// The object that the first step starts from.
static enum kd_err open_base(struct kd_session *s, const struct kd_recipe *r, bool is_readable,
                             CK_OBJECT_HANDLE *out, CK_OBJECT_HANDLE *owned) {
    CK_OBJECT_HANDLE base;
    enum kd_err err = kd_object_get(s, &r->base, &base);
    if (err != KD_OK || !kd_key_type_is_ec(r->base.type)) {
        *out = base;
        return err;
    }
    struct kd_secret_form form = form_before(r, 0, is_readable);
    if (is_read_by_step(s, r, 0, is_readable)) {
        form.is_readable = true;
    }
    err = kd_derive_ecdh(s, base, r->base.type, r->peer, &form, owned);
    if (err == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, &r->base);
    }
    *out = *owned;
    return err;
}

static enum kd_err walk(struct kd_session *s, const struct kd_recipe *r, bool is_readable,
                        CK_OBJECT_HANDLE *result) {
    enum kd_err err = check_lengths(r, is_readable);
    if (err != KD_OK) {
        return err;
    }
    CK_OBJECT_HANDLE input = CK_INVALID_HANDLE;
    CK_OBJECT_HANDLE owned = CK_INVALID_HANDLE; // ours to destroy when done with
    err = open_base(s, r, is_readable, &input, &owned);
    for (size_t i = 0; err == KD_OK && i < r->n_steps; i++) {
        CK_OBJECT_HANDLE next = CK_INVALID_HANDLE;
        err = run_step(s, r, i, input, is_readable, &next);
        kd_destroy(s, owned);
        input = owned = next;
    }
    if (err == KD_ERR_NO_OBJECT) {
        kd_object_forget(s, &r->base);
    }
    if (err != KD_OK) {
        kd_destroy(s, owned);
        return err;
    }
    *result = owned;
    return KD_OK;
}

enum kd_err kd_derive(struct kd_session *s, const struct kd_recipe *r, CK_OBJECT_HANDLE *out) {
    return walk(s, r, false, out);
}

enum kd_err kd_derive_release(struct kd_session *s, const struct kd_recipe *r) {
    CK_OBJECT_HANDLE result = CK_INVALID_HANDLE;
    enum kd_err err = walk(s, r, true, &result);
    if (err == KD_OK && result != CK_INVALID_HANDLE) { // HKDF has written its result already
        err = kd_read_value(s, result);
        kd_destroy(s, result);
    }
    return err;
}
