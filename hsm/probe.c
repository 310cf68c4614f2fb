// SPDX-License-Identifier: Apache-2.0
// probe.c: a module's list of mechanisms is a claim.  Each ability is tried on
// session objects and held against OpenSSL or a published answer, and HKDF's
// strategy is the best one that gave the right bytes.
#include "hsm/probe.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { KEY_BYTES = 32, LONG_KEY_BYTES = 48, OUT_MAX_BYTES = 64 };

static const uint8_t key_bytes[LONG_KEY_BYTES] = "keyd probe: this is no secret, it stands here";
static const char text[] = "keyd probe";

// Not asked for derivations: NSS has some that it does not list.
static bool is_offered(struct kd_session *s, CK_MECHANISM_TYPE type) {
    CK_MECHANISM_INFO info;
    return s->token->p11->C_GetMechanismInfo(s->token->slot, type, &info) == CKR_OK;
}

static enum kd_hsm_probe verdict(enum kd_err r, bool is_right) {
    if (r == KD_ERR_LACKING) {
        return KD_HSM_PROBE_MISSING;
    }
    return r == KD_OK && is_right ? KD_HSM_PROBE_VERIFIED : KD_HSM_PROBE_WRONG;
}

// A test key as a session object.  A token that takes no keys from outside
// leaves the ability untried.
static bool import_bytes(struct kd_session *s, size_t n, CK_KEY_TYPE type, unsigned usages,
                         bool is_readable, CK_OBJECT_HANDLE *out) {
    const struct kd_secret_form form = { type, n, usages, is_readable };
    return kd_derive_import(s, (struct kd_bytes) { key_bytes, n }, &form, out) == KD_OK;
}

static bool import_key(struct kd_session *s, CK_KEY_TYPE type, unsigned usages, bool is_readable,
                       CK_OBJECT_HANDLE *out) {
    return import_bytes(s, KEY_BYTES, type, usages, is_readable, out);
}

static struct kd_bytes read_result(struct kd_session *s, CK_OBJECT_HANDLE handle, enum kd_err *r) {
    kd_buf_reset(&s->out);
    *r = kd_read_value(s, handle);
    return kd_buf_get(&s->out);
}

// ---- elliptic curves -------------------------------------------------------

static enum kd_err make_pair(struct kd_session *s, enum kd_key_type type, bool can_sign,
                             CK_OBJECT_HANDLE pair[static 2]) {
    const struct kd_bytes oid = kd_host_curve_oid(type);
    const CK_BBOOL no = CK_FALSE;
    const CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE public[] = { KD_ATTRIBUTE(CKA_TOKEN, no), KD_ATTRIBUTE_BYTES(CKA_EC_PARAMS, oid) };
    CK_ATTRIBUTE private[] = { KD_ATTRIBUTE(CKA_TOKEN, no),
                               KD_ATTRIBUTE(CKA_SENSITIVE, yes),
                               KD_ATTRIBUTE(CKA_EXTRACTABLE, no),
                               { can_sign ? CKA_SIGN : CKA_DERIVE, kd_p11_bytes(&yes),
                                 sizeof(yes) } };
    return kd_generate_pair(s, public, KD_COUNT_OF(public), private, KD_COUNT_OF(private), &pair[0],
                            &pair[1]);
}

// The uncompressed point of a public key, in s->out.
static struct kd_bytes read_point(struct kd_session *s, CK_OBJECT_HANDLE public,
                                  enum kd_key_type type) {
    uint8_t value[KD_HSM_POINT_MAX_BYTES + 8];
    CK_ATTRIBUTE a = { CKA_EC_POINT, value, sizeof(value) };
    const size_t n = kd_key_type_point_bytes(type);
    kd_buf_reset(&s->out);
    if (s->token->p11->C_GetAttributeValue(s->handle, public, &a, 1) == CKR_OK &&
        a.ulValueLen >= n && a.ulValueLen <= n + 2) {
        kd_buf_put(&s->out, value + a.ulValueLen - n, n);
    }
    return kd_buf_get(&s->out);
}

static enum kd_hsm_probe probe_sign(struct kd_session *s, enum kd_key_type type) {
    CK_OBJECT_HANDLE pair[2] = { 0 };
    uint8_t digest[48] = "keyd probe: a digest to sign";
    uint8_t signature[96];
    CK_ULONG n = sizeof(signature);
    const size_t size = type == KD_KEY_EC_P256 ? 32 : 48;
    CK_MECHANISM ecdsa = { CKM_ECDSA, NULL, 0 };
    CK_FUNCTION_LIST *p11 = s->token->p11;
    bool is_valid = false;
    enum kd_err r = make_pair(s, type, true, pair);
    if (r == KD_OK &&
        (r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &ecdsa, pair[1]))) == KD_OK &&
        (r = kd_ckr("C_Sign", p11->C_Sign(s->handle, digest, size, signature, &n))) == KD_OK) {
        r = kd_host_ecdsa_verify(type, read_point(s, pair[0], type),
                                 (struct kd_bytes) { digest, size },
                                 (struct kd_bytes) { signature, n }, &is_valid);
    }
    kd_destroy(s, pair[0]);
    kd_destroy(s, pair[1]);
    return verdict(r, is_valid);
}

// ECDH with the generator must give the x coordinate of the own public key.
static enum kd_hsm_probe probe_ecdh(struct kd_session *s) {
    const enum kd_key_type type = KD_KEY_EC_P256;
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, KEY_BYTES, 0, true };
    CK_OBJECT_HANDLE pair[2] = { 0 };
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    uint8_t x[KEY_BYTES] = { 0 };
    bool is_right = false;
    enum kd_err r = make_pair(s, type, false, pair);
    if (r == KD_OK) {
        const struct kd_bytes point = read_point(s, pair[0], type);
        if (point.n == 65) {
            memcpy(x, point.p + 1, KEY_BYTES);
        }
        r = kd_derive_ecdh(s, pair[1], type, kd_host_generator(type), &form, &secret);
    }
    if (r == KD_OK) {
        const struct kd_bytes got = read_result(s, secret, &r);
        is_right = kd_ct_equal(got, (struct kd_bytes) { x, KEY_BYTES });
    }
    kd_destroy(s, secret);
    kd_destroy(s, pair[0]);
    kd_destroy(s, pair[1]);
    // Derived, and only not readable: nothing wrong was seen.
    return secret != CK_INVALID_HANDLE && r == KD_ERR_LACKING ? KD_HSM_PROBE_UNTRIED
                                                              : verdict(r, is_right);
}

// ---- secret keys -----------------------------------------------------------

static enum kd_hsm_probe probe_hmac(struct kd_session *s, CK_MECHANISM_TYPE type,
                                    const EVP_MD *md) {
    CK_OBJECT_HANDLE key;
    // A key as long as the hash: SoftHSM takes no shorter one.
    const size_t key_len = type == CKM_SHA256_HMAC ? KEY_BYTES : LONG_KEY_BYTES;
    if (!is_offered(s, type)) {
        return KD_HSM_PROBE_MISSING;
    }
    if (!import_bytes(s, key_len, CKK_GENERIC_SECRET, KD_USE_SIGN, false, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM hmac = { type, NULL, 0 };
    uint8_t got[OUT_MAX_BYTES] = { 0 };
    uint8_t want[OUT_MAX_BYTES];
    CK_ULONG n = sizeof(got);
    unsigned want_len = 0;
    enum kd_err r;
    if ((r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &hmac, key))) == KD_OK) {
        r = kd_ckr("C_Sign", p11->C_Sign(s->handle, kd_p11_bytes(text), sizeof(text) - 1, got, &n));
    }
    kd_destroy(s, key);
    HMAC(md, key_bytes, (int)key_len, (const uint8_t *)text, sizeof(text) - 1, want, &want_len);
    return verdict(r,
                   kd_ct_equal((struct kd_bytes) { got, n }, (struct kd_bytes) { want, want_len }));
}

// Encrypts in the token, decrypts there, and sees that a changed tag is refused.
static enum kd_hsm_probe probe_gcm(struct kd_session *s) {
    CK_OBJECT_HANDLE key;
    if (!is_offered(s, CKM_AES_GCM)) {
        return KD_HSM_PROBE_MISSING;
    }
    if (!import_key(s, CKK_AES, KD_USE_ENCRYPT | KD_USE_DECRYPT, false, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    CK_FUNCTION_LIST *p11 = s->token->p11;
    uint8_t iv[KD_HSM_GCM_IV_BYTES] = { 1 };
    uint8_t sealed[OUT_MAX_BYTES];
    uint8_t opened[OUT_MAX_BYTES];
    CK_ULONG n = sizeof(sealed);
    CK_ULONG n_opened = sizeof(opened);
    CK_GCM_PARAMS params = { iv, sizeof(iv), sizeof(iv) * 8, NULL, 0, KD_HSM_GCM_TAG_BYTES * 8 };
    CK_MECHANISM gcm = { CKM_AES_GCM, &params, sizeof(params) };
    bool is_right = false;
    enum kd_err r;
    if ((r = kd_ckr("C_EncryptInit", p11->C_EncryptInit(s->handle, &gcm, key))) == KD_OK &&
        (r = kd_ckr("C_Encrypt", p11->C_Encrypt(s->handle, kd_p11_bytes(text), sizeof(text) - 1,
                                                sealed, &n))) == KD_OK &&
        (r = kd_ckr("C_DecryptInit", p11->C_DecryptInit(s->handle, &gcm, key))) == KD_OK &&
        (r = kd_ckr("C_Decrypt", p11->C_Decrypt(s->handle, sealed, n, opened, &n_opened))) ==
            KD_OK) {
        is_right = kd_ct_equal((struct kd_bytes) { opened, n_opened }, kd_bytes_of_text(text));
        sealed[n - 1] ^= 1;
        n_opened = sizeof(opened);
        r = kd_ckr("C_DecryptInit", p11->C_DecryptInit(s->handle, &gcm, key));
        is_right = is_right && r == KD_OK &&
                   p11->C_Decrypt(s->handle, sealed, n, opened, &n_opened) != CKR_OK;
    }
    kd_destroy(s, key);
    return verdict(r, is_right);
}

// ---- derivation ------------------------------------------------------------

static bool cbc_by_host(const uint8_t data[static KEY_BYTES], uint8_t out[static KEY_BYTES]) {
    static const uint8_t iv[16] = { 0 };
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    const bool ok = ctx != NULL &&
                    EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, key_bytes, iv) == 1 &&
                    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
                    EVP_EncryptUpdate(ctx, out, &n, data, KEY_BYTES) == 1 && n == KEY_BYTES;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static enum kd_hsm_probe probe_cbc_data(struct kd_session *s) {
    static const uint8_t data[KEY_BYTES] = "keyd probe: data that is mixed..";
    CK_OBJECT_HANDLE key;
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    uint8_t want[KEY_BYTES];
    if (!import_key(s, CKK_AES, KD_USE_DERIVE, true, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, KEY_BYTES, 0, true };
    bool is_right = false;
    enum kd_err r = kd_derive_cbc_data(s, key, (struct kd_bytes) { data, KEY_BYTES }, &form, &made);
    if (r == KD_OK) {
        const struct kd_bytes got = read_result(s, made, &r);
        is_right =
            cbc_by_host(data, want) && kd_ct_equal(got, (struct kd_bytes) { want, KEY_BYTES });
    }
    kd_destroy(s, made);
    kd_destroy(s, key);
    return verdict(r, is_right);
}

// HKDF of the test key, by HMAC twice (RFC 5869 2.2, 2.3; one block).
static void hkdf_by_host(struct kd_bytes salt, struct kd_bytes info,
                         uint8_t out[static KEY_BYTES]) {
    uint8_t prk[KEY_BYTES];
    uint8_t block[OUT_MAX_BYTES];
    memcpy(block, info.p, info.n);
    block[info.n] = 1;
    HMAC(EVP_sha256(), salt.p, (int)salt.n, key_bytes, KEY_BYTES, prk, NULL);
    HMAC(EVP_sha256(), prk, KEY_BYTES, block, info.n + 1, out, NULL);
}

// The result is an HMAC key that nobody can read: its MAC of the text shows it.
static enum kd_err hkdf_inside(struct kd_session *s, enum kd_hsm_hkdf strategy,
                               CK_OBJECT_HANDLE key, const struct kd_derive_step *step,
                               const uint8_t want[static KEY_BYTES], bool *is_right) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, KEY_BYTES, KD_USE_SIGN, false };
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM hmac = { CKM_SHA256_HMAC, NULL, 0 };
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    uint8_t got[KEY_BYTES] = { 0 };
    uint8_t want_mac[KEY_BYTES];
    CK_ULONG n = sizeof(got);
    enum kd_err r;
    if ((r = kd_hkdf(s, strategy, key, step, &form, &made)) == KD_OK &&
        (r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &hmac, made))) == KD_OK) {
        r = kd_ckr("C_Sign", p11->C_Sign(s->handle, kd_p11_bytes(text), sizeof(text) - 1, got, &n));
    }
    kd_destroy(s, made);
    HMAC(EVP_sha256(), want, KEY_BYTES, (const uint8_t *)text, sizeof(text) - 1, want_mac, NULL);
    *is_right =
        kd_ct_equal((struct kd_bytes) { got, n }, (struct kd_bytes) { want_mac, KEY_BYTES });
    return r;
}

static enum kd_hsm_probe try_hkdf(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                  bool is_released) {
    const struct kd_derive_step step = { .kdf = KD_KDF_HKDF_SHA256,
                                         .salt = kd_bytes_of_text("salt"),
                                         .info = kd_bytes_of_text("info"),
                                         .out_len = KEY_BYTES };
    const bool is_readable = strategy == KD_HSM_HKDF_EXTRACT;
    CK_OBJECT_HANDLE key;
    uint8_t want[KEY_BYTES];
    bool is_right = false;
    enum kd_err r;
    if (!import_key(s, CKK_GENERIC_SECRET, KD_USE_DERIVE, is_readable, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    hkdf_by_host(step.salt, step.info, want);
    if (is_released) {
        kd_buf_reset(&s->out);
        r = kd_hkdf_release(s, strategy, key, &step);
        is_right = kd_ct_equal(kd_buf_get(&s->out), (struct kd_bytes) { want, KEY_BYTES });
    } else {
        r = hkdf_inside(s, strategy, key, &step, want, &is_right);
    }
    kd_destroy(s, key);
    return verdict(r, is_right);
}

// The best strategy that gives the right answer.  NSS derives natively, but
// makes nothing readable of a key that is not: its releases go another way.
static enum kd_hsm_probe choose_hkdf(struct kd_session *s, bool is_released,
                                     enum kd_hsm_hkdf *out) {
    static const enum kd_hsm_hkdf by_merit[] = { KD_HSM_HKDF_NATIVE, KD_HSM_HKDF_DIGEST,
                                                 KD_HSM_HKDF_EXTRACT };
    enum kd_hsm_probe found = KD_HSM_PROBE_MISSING;
    *out = KD_HSM_HKDF_NONE;
    for (size_t i = 0; i < KD_COUNT_OF(by_merit); i++) {
        if (by_merit[i] == KD_HSM_HKDF_EXTRACT && !s->token->may_extract) {
            continue;
        }
        found = try_hkdf(s, by_merit[i], is_released);
        if (found == KD_HSM_PROBE_VERIFIED) {
            *out = by_merit[i];
            break;
        }
    }
    return found;
}

static enum kd_hsm_probe probe_hkdf(struct kd_session *s) {
    const enum kd_hsm_probe released = choose_hkdf(s, true, &s->token->hkdf_release);
    const enum kd_hsm_probe inside = choose_hkdf(s, false, &s->token->hkdf);
    return inside == KD_HSM_PROBE_VERIFIED ? released : inside;
}

static enum kd_hsm_probe probe_random(struct kd_session *s) {
    uint8_t a[16] = { 0 };
    uint8_t b[16] = { 0 };
    enum kd_err r;
    if ((r = kd_ckr("C_GenerateRandom",
                    s->token->p11->C_GenerateRandom(s->handle, a, sizeof(a)))) == KD_OK) {
        r = kd_ckr("C_GenerateRandom", s->token->p11->C_GenerateRandom(s->handle, b, sizeof(b)));
    }
    return verdict(r, memcmp(a, b, sizeof(a)) != 0);
}

void kd_probe(struct kd_session *s) {
    enum kd_hsm_probe *found = s->token->probe;
    kd_ckr_quiet(true);
    found[KD_HSM_CAN_EC_P256] = probe_sign(s, KD_KEY_EC_P256);
    found[KD_HSM_CAN_EC_P384] = probe_sign(s, KD_KEY_EC_P384);
    found[KD_HSM_CAN_ECDSA] = found[KD_HSM_CAN_EC_P256];
    found[KD_HSM_CAN_ECDH] = probe_ecdh(s);
    found[KD_HSM_CAN_HMAC_SHA256] = probe_hmac(s, CKM_SHA256_HMAC, EVP_sha256());
    found[KD_HSM_CAN_HMAC_SHA384] = probe_hmac(s, CKM_SHA384_HMAC, EVP_sha384());
    found[KD_HSM_CAN_AES_GCM] = probe_gcm(s);
    found[KD_HSM_CAN_AES_CBC_DATA] = probe_cbc_data(s);
    found[KD_HSM_CAN_HKDF] = probe_hkdf(s);
    found[KD_HSM_CAN_RANDOM] = probe_random(s);
    kd_ckr_quiet(false);
    kd_buf_reset(&s->out);
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        kd_log(found[i] == KD_HSM_PROBE_WRONG ? KD_LOG_WARN : KD_LOG_DEBUG, "probe",
               "an ability of the token was tried", "ability=%s result=%s",
               kd_hsm_ability_name((enum kd_hsm_ability)i), kd_hsm_probe_name(found[i]));
    }
}
