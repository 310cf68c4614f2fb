// SPDX-License-Identifier: Apache-2.0
// probe.c: a module's list of mechanisms is a claim.  Each ability is tried on
// session objects and held against OpenSSL or a published answer, and HKDF's
// strategy is the best one that gave the right bytes.
#include "hsm/probe.h"

#include "hsm/gcm.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { KEY_BYTES = 32, LONG_KEY_BYTES = 48, BLOCK_BYTES = 64 };

static const uint8_t key_bytes[LONG_KEY_BYTES] = "keyd probe: this is no secret, it stands here";

// Not asked for derivations: NSS has some that it does not list.
static bool is_offered(struct kd_session *s, CK_MECHANISM_TYPE type) {
    CK_MECHANISM_INFO info;
    return s->token->p11->C_GetMechanismInfo(s->token->slot, type, &info) == CKR_OK;
}

// Only an answer can be wrong.
static enum kd_hsm_probe verdict(enum kd_err r, bool is_right) {
    if (r != KD_OK) {
        return r == KD_ERR_LACKING ? KD_HSM_PROBE_MISSING : KD_HSM_PROBE_REFUSED;
    }
    return is_right ? KD_HSM_PROBE_VERIFIED : KD_HSM_PROBE_WRONG;
}

static enum kd_hsm_probe proof_verdict(enum kd_err r) {
    return r == KD_ERR_OBJECT_CHANGED ? KD_HSM_PROBE_WRONG : verdict(r, true);
}

// ---- elliptic curves -------------------------------------------------------

// Some tokens keep what was to be a session object, and the probe would fill them: it makes no
// second one there.
static bool is_kept(struct kd_session *s, CK_OBJECT_HANDLE handle) {
    CK_BBOOL is_token = CK_FALSE;
    CK_ATTRIBUTE a = KD_ATTRIBUTE(CKA_TOKEN, is_token);
    return s->token->p11->C_GetAttributeValue(s->handle, handle, &a, 1) == CKR_OK &&
           is_token != CK_FALSE;
}

static enum kd_err make_pair(struct kd_session *s, enum kd_key_type type, enum kd_key_usage usage,
                             struct kd_pair *out) {
    const enum kd_err r = kd_session_pair_make(s, type, usage, out);
    if (r == KD_OK && is_kept(s, out->private_key)) {
        s->token->keeps_pairs = true;
        return KD_ERR_LACKING;
    }
    return r;
}

static enum kd_hsm_probe probe_sign(struct kd_session *s, enum kd_key_type type) {
    struct kd_pair pair;
    uint8_t point[KD_HSM_POINT_MAX_BYTES];
    uint8_t digest[48] = "keyd probe: a digest to sign";
    uint8_t signature[96];
    CK_ULONG n = sizeof(signature);
    const size_t size = type == KD_KEY_EC_P256 ? 32 : 48;
    CK_MECHANISM ecdsa = { CKM_ECDSA, NULL, 0 };
    CK_FUNCTION_LIST *p11 = s->token->p11;
    bool is_valid = false;
    enum kd_err r = make_pair(s, type, KD_USE_SIGN, &pair);
    if (r == KD_OK && (r = kd_public_point(s, type, pair.public_key, point)) == KD_OK &&
        (r = kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &ecdsa, pair.private_key))) == KD_OK &&
        (r = kd_ckr("C_Sign", p11->C_Sign(s->handle, digest, size, signature, &n))) == KD_OK) {
        r = kd_host_ecdsa_verify(type, (struct kd_bytes) { point, kd_key_type_point_bytes(type) },
                                 (struct kd_bytes) { digest, size },
                                 (struct kd_bytes) { signature, n }, &is_valid);
    }
    kd_pair_destroy(s, &pair);
    return s->token->keeps_pairs ? KD_HSM_PROBE_UNTRIED : verdict(r, is_valid);
}

static enum kd_hsm_probe probe_ecdh(struct kd_session *s) {
    const enum kd_key_type type = KD_KEY_EC_P256;
    struct kd_pair pair;
    uint8_t point[KD_HSM_POINT_MAX_BYTES];
    bool is_derived = false;
    enum kd_err r = make_pair(s, type, KD_USE_DERIVE, &pair);
    if (r == KD_OK && (r = kd_public_point(s, type, pair.public_key, point)) == KD_OK) {
        r = kd_proof_of_deriver(s, type, (struct kd_bytes) { point, kd_key_type_point_bytes(type) },
                                pair.private_key, &is_derived);
    }
    kd_pair_destroy(s, &pair);
    if (s->token->keeps_pairs || (r == KD_ERR_LACKING && is_derived)) {
        return KD_HSM_PROBE_UNTRIED; // nothing wrong was seen
    }
    return proof_verdict(r);
}

// ---- secret keys -----------------------------------------------------------

// A session object whose value is known here.
struct test_key {
    CK_OBJECT_HANDLE handle;
    struct kd_bytes value;
    uint8_t bytes[KD_HSM_POINT_MAX_BYTES];
};

// ECDH with the generator gives the x coordinate of a public key: for tokens that take no keys from
// outside (Luna, CloudHSM).
static enum kd_err derive_test_key(struct kd_session *s, const struct kd_secret_form *form,
                                   struct test_key *out) {
    const enum kd_key_type type = form->n == KEY_BYTES ? KD_KEY_EC_P256 : KD_KEY_EC_P384;
    struct kd_pair pair;
    uint8_t point[KD_HSM_POINT_MAX_BYTES];
    enum kd_err r = make_pair(s, type, KD_USE_DERIVE, &pair);
    if (r == KD_OK && (r = kd_public_point(s, type, pair.public_key, point)) == KD_OK) {
        memcpy(out->bytes, point + 1, form->n);
        r = kd_derive_ecdh(s, pair.private_key, type, kd_host_generator(type), form, &out->handle);
    }
    kd_pair_destroy(s, &pair);
    return r;
}

// False: the ability stays untried.
static bool make_test_key(struct kd_session *s, size_t n, CK_KEY_TYPE type, unsigned usages,
                          bool is_readable, struct test_key *out) {
    const struct kd_secret_form form = { type, n, usages, is_readable };
    *out = (struct test_key) { .handle = CK_INVALID_HANDLE };
    memcpy(out->bytes, key_bytes, n);
    out->value = (struct kd_bytes) { out->bytes, n };
    return kd_derive_import(s, out->value, &form, &out->handle) == KD_OK ||
           derive_test_key(s, &form, out) == KD_OK;
}

static enum kd_hsm_probe probe_hmac(struct kd_session *s, enum kd_key_type type) {
    const bool is_short = type == KD_KEY_HMAC_SHA256;
    struct test_key key;
    if (!is_offered(s, is_short ? CKM_SHA256_HMAC : CKM_SHA384_HMAC)) {
        return KD_HSM_PROBE_MISSING;
    }
    // A key as long as the hash: SoftHSM takes no shorter one.
    if (!make_test_key(s, is_short ? KEY_BYTES : LONG_KEY_BYTES, CKK_GENERIC_SECRET, KD_USE_SIGN,
                       false, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    const enum kd_err r = kd_proof_by_mac(s, type, key.handle, key.value);
    kd_destroy(s, key.handle);
    return proof_verdict(r);
}

static enum kd_hsm_probe probe_gcm(struct kd_session *s) {
    struct test_key key;
    if (!is_offered(s, CKM_AES_GCM)) {
        return KD_HSM_PROBE_MISSING;
    }
    if (!make_test_key(s, KEY_BYTES, CKK_AES, KD_USE_ENCRYPT | KD_USE_DECRYPT, false, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    bool is_right = false;
    const enum kd_err r = kd_gcm_probe(s, key.handle, key.bytes, &is_right);
    kd_destroy(s, key.handle);
    return verdict(r, is_right);
}

// ---- derivation ------------------------------------------------------------

static bool cbc_by_host(const uint8_t key[static KEY_BYTES], const uint8_t data[static KEY_BYTES],
                        uint8_t out[static KEY_BYTES]) {
    static const uint8_t iv[16] = { 0 };
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    const bool ok = ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, key, iv) == 1 &&
                    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
                    EVP_EncryptUpdate(ctx, out, &n, data, KEY_BYTES) == 1 && n == KEY_BYTES;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

// The results that nobody can read are HMAC keys: their MACs show what they are.
static const struct kd_secret_form mac_form = { CKK_GENERIC_SECRET, KEY_BYTES, KD_USE_SIGN, false };

static enum kd_hsm_probe probe_cbc_data(struct kd_session *s) {
    static const uint8_t data[KEY_BYTES] = "keyd probe: data that is mixed..";
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    struct test_key key;
    uint8_t want[KEY_BYTES];
    if (!make_test_key(s, KEY_BYTES, CKK_AES, KD_USE_DERIVE, false, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    enum kd_err r =
        kd_derive_cbc_data(s, key.handle, (struct kd_bytes) { data, KEY_BYTES }, &mac_form, &made);
    if (r == KD_OK && !cbc_by_host(key.bytes, data, want)) {
        r = KD_ERR_NO_MEMORY;
    }
    if (r == KD_OK) {
        r = kd_proof_by_mac(s, KD_KEY_HMAC_SHA256, made, (struct kd_bytes) { want, KEY_BYTES });
    }
    kd_destroy(s, made);
    kd_destroy(s, key.handle);
    return proof_verdict(r);
}

// HKDF of a key, by HMAC twice (RFC 5869 2.2, 2.3; one block).
static void hkdf_by_host(struct kd_bytes key, struct kd_bytes salt, struct kd_bytes info,
                         uint8_t out[static KEY_BYTES]) {
    uint8_t prk[KEY_BYTES];
    uint8_t block[BLOCK_BYTES];
    memcpy(block, info.p, info.n);
    block[info.n] = 1;
    HMAC(EVP_sha256(), salt.n == 0 ? block : salt.p, (int)salt.n, key.p, key.n, prk, NULL);
    HMAC(EVP_sha256(), prk, KEY_BYTES, block, info.n + 1, out, NULL);
}

static enum kd_err hkdf_inside(struct kd_session *s, enum kd_hsm_hkdf strategy,
                               CK_OBJECT_HANDLE key, const struct kd_derive_step *step,
                               struct kd_bytes want) {
    CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
    enum kd_err r = kd_hkdf(s, strategy, key, step, &mac_form, &made);
    if (r == KD_OK) {
        r = kd_proof_by_mac(s, KD_KEY_HMAC_SHA256, made, want);
    }
    kd_destroy(s, made);
    return r;
}

static enum kd_err hkdf_released(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                 CK_OBJECT_HANDLE key, const struct kd_derive_step *step,
                                 struct kd_bytes want) {
    kd_buf_reset(&s->out);
    const enum kd_err r = kd_hkdf_release(s, strategy, key, step);
    return r == KD_OK && !kd_ct_equal(kd_buf_get(&s->out), want) ? KD_ERR_OBJECT_CHANGED : r;
}

// With a salt and without: those are different parameters of CKM_HKDF_DERIVE.
static enum kd_hsm_probe try_hkdf(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                  bool is_released) {
    const struct kd_bytes salts[] = { kd_bytes_of_text("salt"), KD_BYTES_NONE };
    const bool is_readable = strategy == KD_HSM_HKDF_EXTRACT;
    struct test_key key;
    enum kd_err r = KD_OK;
    if (!make_test_key(s, KEY_BYTES, CKK_GENERIC_SECRET, KD_USE_DERIVE, is_readable, &key)) {
        return KD_HSM_PROBE_UNTRIED;
    }
    for (size_t i = 0; r == KD_OK && i < KD_COUNT_OF(salts); i++) {
        const struct kd_derive_step step = { .kdf = KD_KDF_HKDF_SHA256,
                                             .salt = salts[i],
                                             .info = kd_bytes_of_text("info"),
                                             .out_len = KEY_BYTES };
        uint8_t bytes[KEY_BYTES];
        const struct kd_bytes want = { bytes, sizeof(bytes) };
        hkdf_by_host(key.value, step.salt, step.info, bytes);
        r = is_released ? hkdf_released(s, strategy, key.handle, &step, want)
                        : hkdf_inside(s, strategy, key.handle, &step, want);
    }
    kd_destroy(s, key.handle);
    return proof_verdict(r);
}

// The best strategy that gives the right answer, from the `first` on.  NSS derives natively, but
// makes nothing readable of a key that is not: its releases go another way.
static enum kd_hsm_probe choose_hkdf(struct kd_session *s, bool is_released, enum kd_hsm_hkdf first,
                                     enum kd_hsm_hkdf *out) {
    static const enum kd_hsm_hkdf by_merit[] = { KD_HSM_HKDF_NATIVE, KD_HSM_HKDF_DIGEST,
                                                 KD_HSM_HKDF_EXTRACT };
    enum kd_hsm_probe found = KD_HSM_PROBE_MISSING;
    *out = KD_HSM_HKDF_NONE;
    for (size_t i = 0; i < KD_COUNT_OF(by_merit); i++) {
        if (by_merit[i] < first || (by_merit[i] == KD_HSM_HKDF_EXTRACT && !s->token->may_extract)) {
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

// The channel needs PRK alone, which CKM_HKDF_DERIVE may give to nobody.
static void choose_extract(struct kd_session *s) {
    struct kd_token *t = s->token;
    t->hkdf_extract = t->hkdf_release;
    if (t->hkdf_release == KD_HSM_HKDF_NATIVE) {
        (void)choose_hkdf(s, true, KD_HSM_HKDF_DIGEST, &t->hkdf_extract);
    }
}

static enum kd_hsm_probe probe_hkdf(struct kd_session *s) {
    struct kd_token *t = s->token;
    const enum kd_hsm_probe released = choose_hkdf(s, true, KD_HSM_HKDF_NATIVE, &t->hkdf_release);
    const enum kd_hsm_probe inside = choose_hkdf(s, false, KD_HSM_HKDF_NATIVE, &t->hkdf);
    choose_extract(s);
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

static enum kd_hsm_probe probe_p256(struct kd_session *s) {
    return probe_sign(s, KD_KEY_EC_P256);
}

static enum kd_hsm_probe probe_ecdsa(struct kd_session *s) {
    return s->token->probe[KD_HSM_CAN_EC_P256]; // it was tried with that
}

static enum kd_hsm_probe probe_p384(struct kd_session *s) {
    return probe_sign(s, KD_KEY_EC_P384);
}

static enum kd_hsm_probe probe_hmac_sha256(struct kd_session *s) {
    return probe_hmac(s, KD_KEY_HMAC_SHA256);
}

static enum kd_hsm_probe probe_hmac_sha384(struct kd_session *s) {
    return probe_hmac(s, KD_KEY_HMAC_SHA384);
}

static enum kd_hsm_probe probe_handshake(struct kd_session *s) {
    const struct kd_token *t = s->token;
    return t->keeps_pairs || t->hkdf_extract == KD_HSM_HKDF_NONE ? KD_HSM_PROBE_MISSING
                                                                 : t->probe[KD_HSM_CAN_ECDH];
}

// As the first that it needs and that was not verified.
static enum kd_hsm_probe probe_resident(struct kd_session *s) {
    static const enum kd_hsm_ability needed[] = { KD_HSM_CAN_HANDSHAKE, KD_HSM_CAN_AES_GCM,
                                                  KD_HSM_CAN_AES_CBC_DATA, KD_HSM_CAN_HMAC_SHA256 };
    const struct kd_token *t = s->token;
    enum kd_hsm_probe found =
        t->gcm == KD_GCM_UNDER_GIVEN_IV ? KD_HSM_PROBE_VERIFIED : KD_HSM_PROBE_MISSING;
    for (size_t i = 0; found == KD_HSM_PROBE_VERIFIED && i < KD_COUNT_OF(needed); i++) {
        found = t->probe[needed[i]];
    }
    return found;
}

static enum kd_hsm_probe (*const probes[KD_HSM_ABILITIES])(struct kd_session *s) = {
    [KD_HSM_CAN_EC_P256] = probe_p256,
    [KD_HSM_CAN_EC_P384] = probe_p384,
    [KD_HSM_CAN_ECDSA] = probe_ecdsa,
    [KD_HSM_CAN_ECDH] = probe_ecdh,
    [KD_HSM_CAN_HMAC_SHA256] = probe_hmac_sha256,
    [KD_HSM_CAN_HMAC_SHA384] = probe_hmac_sha384,
    [KD_HSM_CAN_AES_GCM] = probe_gcm,
    [KD_HSM_CAN_AES_CBC_DATA] = probe_cbc_data,
    [KD_HSM_CAN_HKDF] = probe_hkdf,
    [KD_HSM_CAN_RANDOM] = probe_random,
    [KD_HSM_CAN_HANDSHAKE] = probe_handshake,
    [KD_HSM_CAN_RESIDENT] = probe_resident,
};

static void log_ability(enum kd_hsm_ability a, enum kd_hsm_probe found) {
    const struct kd_ckr_said said = kd_ckr_said();
    const bool is_told =
        found == KD_HSM_PROBE_REFUSED || (found == KD_HSM_PROBE_MISSING && said.rv != CKR_OK);
    const enum kd_log_level level = found == KD_HSM_PROBE_WRONG ? KD_LOG_WARN
                                    : is_told                   ? KD_LOG_INFO
                                                                : KD_LOG_DEBUG;
    kd_log(level, "probe", "an ability of the token was tried", "ability=%s result=%s said=%s:%s",
           kd_hsm_ability_name(a), kd_hsm_probe_name(found), said.call, kd_ckr_name(said.rv));
}

void kd_probe(struct kd_session *s) {
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        kd_ckr_quiet(true);
        s->token->probe[i] = probes[i](s);
        log_ability((enum kd_hsm_ability)i, s->token->probe[i]);
    }
    kd_ckr_quiet(false);
    kd_buf_reset(&s->out);
}
