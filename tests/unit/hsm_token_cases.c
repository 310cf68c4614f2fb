// SPDX-License-Identifier: Apache-2.0
// What must hold on every token, held against OpenSSL.
#include "hsm_token_cases.h"

#include "exec_call.h"
#include "token_fixture.h"
#include "unit.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

enum { OUT_MAX_BYTES = 255 };

static struct kd_session *s;
static EVP_PKEY *peers[2]; // P-256, P-384: the other side of ECDH, in OpenSSL
static uint8_t points[2][97];
static const char text[] = "some text that is worked on";

static size_t curve(enum kd_key_type type) {
    return type == KD_KEY_EC_P256 ? 0 : 1;
}

static struct kd_bytes peer_of(enum kd_key_type type) {
    return (struct kd_bytes) { points[curve(type)], kd_key_type_point_bytes(type) };
}

static void setup(void) {
    token_setup();
    s = token_session();
    static const char *const names[] = { "P-256", "P-384" };
    for (size_t i = 0; i < 2; i++) {
        size_t n = 0;
        peers[i] = EVP_EC_gen(names[i]);
        EVP_PKEY_get_octet_string_param(peers[i], OSSL_PKEY_PARAM_PUB_KEY, points[i], 97, &n);
    }
}

static void teardown(void) {
    EVP_PKEY_free(peers[0]);
    EVP_PKEY_free(peers[1]);
    token_teardown();
}

// ---- OpenSSL's answers -------------------------------------------------------

static size_t ecdh_by_host(enum kd_key_type type, struct kd_bytes point, uint8_t *out) {
    EVP_PKEY *own = peers[curve(type)];
    EVP_PKEY *other = EVP_PKEY_new();
    size_t n = OUT_MAX_BYTES;
    ck_assert_int_eq(EVP_PKEY_copy_parameters(other, own), 1);
    ck_assert_int_eq(EVP_PKEY_set1_encoded_public_key(other, point.p, point.n), 1);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    ck_assert_int_eq(EVP_PKEY_derive_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_derive_set_peer(ctx, other), 1);
    ck_assert_int_eq(EVP_PKEY_derive(ctx, out, &n), 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(other);
    return n;
}

static void hkdf_by_host(const struct kd_derive_step *step, const uint8_t *key, size_t key_len,
                         uint8_t *out) {
    static char sha256[] = "SHA256";
    static char sha384[] = "SHA384";
    char *name = step->kdf == KD_KDF_HKDF_SHA256 ? sha256 : sha384;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, kd_p11_bytes(key), key_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, kd_p11_bytes(step->salt.p),
                                          step->salt.n),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, kd_p11_bytes(step->info.p),
                                          step->info.n),
        OSSL_PARAM_construct_end(),
    };
    ck_assert_int_eq(EVP_KDF_derive(ctx, out, step->out_len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

static void cbc_by_host(const uint8_t *key, struct kd_bytes data, uint8_t *out) {
    static const uint8_t iv[16] = { 0 };
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    ck_assert_int_eq(EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, key, iv), 1);
    EVP_CIPHER_CTX_set_padding(ctx, 0);
    ck_assert_int_eq(EVP_EncryptUpdate(ctx, out, &n, data.p, (int)data.n), 1);
    EVP_CIPHER_CTX_free(ctx);
}

// The whole recipe; gives the result's length.
static size_t recipe_by_host(const struct kd_recipe *r, uint8_t *out) {
    uint8_t value[OUT_MAX_BYTES];
    uint8_t next[OUT_MAX_BYTES];
    size_t n = ecdh_by_host(r->base.type, r->base.proof, value);
    for (size_t i = 0; i < r->n_steps; i++) {
        if (r->steps[i].kdf == KD_KDF_AES_CBC_DATA) {
            cbc_by_host(value + n - 32, r->steps[i].info, next); // the last 32 of a P-384 secret
        } else {
            hkdf_by_host(&r->steps[i], value, n, next);
        }
        n = r->steps[i].out_len;
        memcpy(value, next, n);
    }
    memcpy(out, value, n);
    return n;
}

// ---- keys in the token -------------------------------------------------------

START_TEST(each_type_is_made_described_found_and_destroyed) {
    static const struct {
        enum kd_key_type type;
        unsigned usages;
    } rows[] = {
        { KD_KEY_EC_P256, KD_USE_SIGN },
        { KD_KEY_EC_P384, KD_USE_SIGN },
        { KD_KEY_EC_P256, KD_USE_DERIVE },
        { KD_KEY_EC_P384, KD_USE_DERIVE },
        { KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY },
        { KD_KEY_HMAC_SHA384, KD_USE_SIGN },
        { KD_KEY_HMAC_SHA256, KD_USE_DERIVE },
        { KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT },
        { KD_KEY_AES_256, KD_USE_DERIVE },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(call) struct call_result c = { 0 };
        kd_auto(buf) struct kd_buf uri = KD_BUF_INIT(200);
        struct call_key key;
        ck_assert_err(call_generate(s, rows[i].type, rows[i].usages, (uint8_t)(0x61 + i), &key),
                      KD_OK);
        const bool is_ec = kd_key_type_is_ec(rows[i].type);
        ck_assert_uint_eq(key.ref.proof.n, is_ec ? kd_key_type_point_bytes(rows[i].type)
                                           : rows[i].usages == KD_USE_DERIVE ? 0
                                                                             : KD_HSM_CHECK_BYTES);
        kd_buf_text(&uri, "pkcs11:object=test;id=");
        kd_buf_put(&uri, key.id, 16);
        ck_assert_err(call_find(s, kd_buf_get_text(&uri), &c), KD_OK);
        ck_assert_uint_eq(c.head.n_items, 1);
        const struct kd_hsm_object *o = &c.result.object;
        ck_assert(o->has_type && o->ref.type == rows[i].type && o->usages == rows[i].usages);
        ck_assert(o->is_private && o->is_sensitive && !o->is_extractable);
        ck_assert(o->is_local || token_is_nss()); // which does not say
        ck_assert(kd_bytes_equal(o->ref.proof, key.ref.proof));
        CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
        ck_assert_err(kd_object_get(s, &key.ref, &handle), KD_OK);
        ck_assert(kd_read_value(s, handle) != KD_OK);
        ck_assert_err(call_destroy(s, &key), KD_OK);
        ck_assert_err(call_find(s, kd_buf_get_text(&uri), &c), KD_OK);
        ck_assert_uint_eq(c.head.n_items, 0);
        ck_assert_err(call_destroy(s, &key), KD_ERR_NO_OBJECT);
    }
}
END_TEST

struct searcher {
    struct kd_session *session;
    const struct kd_key_ref *ref;
    enum kd_err wrong; // the first
};

static void *search_anew(void *arg) {
    struct searcher *me = arg;
    for (size_t i = 0; i < 200 && me->wrong == KD_OK; i++) {
        CK_OBJECT_HANDLE handle;
        kd_object_forget(me->session, me->ref);
        me->wrong = kd_object_get(me->session, me->ref, &handle);
    }
    return NULL;
}

// A copy that another thread is making is no second object of that name.
START_TEST(threads_that_search_one_key_find_it) {
    struct call_key key;
    struct searcher searchers[2];
    pthread_t threads[2];
    ck_assert_err(call_generate(token_session(), KD_KEY_AES_256, KD_USE_ENCRYPT, 7, &key), KD_OK);
    for (size_t i = 0; i < 2; i++) {
        searchers[i] = (struct searcher) { &token_opened()->sessions[i], &key.ref, KD_OK };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_anew, &searchers[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_err(searchers[i].wrong, KD_OK);
    }
}
END_TEST

START_TEST(derived_secrets_are_not_among_what_is_found) {
    struct call_key base;
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 1, &base), KD_OK);
    const struct kd_recipe r = call_recipe(&base, peer_of(KD_KEY_EC_P256), 1, KD_KEY_AES_256);
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_encrypt(s, NULL, &r, KD_BYTES_NONE, KD_BYTES_NONE, &c), KD_OK);
    ck_assert_uint_eq(kd_cached_count(s->token), 1);
    ck_assert_err(call_find_all(s, "pkcs11:", &c), KD_OK);
    ck_assert_uint_eq(c.head.n_items, 1); // the base
    ck_assert_err(call_find(s, "pkcs11:token=other", &c), KD_OK);
    ck_assert_uint_eq(c.head.n_items, 0);
    ck_assert_err(call_find(s, "pkcs11:object=%zz", &c), KD_ERR_BAD_URI);
    ck_assert_err(call_find(s, "file:/etc/passwd", &c), KD_ERR_BAD_URI);
}
END_TEST

// ---- sign, mac, encrypt ------------------------------------------------------

static bool verify(const struct call_key *key, struct kd_bytes data, struct kd_bytes signature) {
    kd_auto(call) struct call_result c = { 0 };
    struct kd_hsm_request q = { .op = KD_HSM_VERIFY, .n_keys = 1, .keys = { key->ref } };
    q.hash = key->ref.type == KD_KEY_EC_P256 ? KD_HASH_SHA256 : KD_HASH_SHA384;
    const struct kd_hsm_item item = { .data = data, .tag = signature };
    ck_assert_err(call_exec(s, &q, &item, &c), KD_OK);
    return c.result.ok;
}

START_TEST(a_signature_verifies_under_its_key_and_data_alone) {
    static const enum kd_key_type types[] = { KD_KEY_EC_P256, KD_KEY_EC_P384 };
    for (size_t i = 0; i < KD_COUNT_OF(types); i++) {
        kd_auto(call) struct call_result c = { 0 };
        struct call_key key;
        struct call_key other;
        const uint8_t id = (uint8_t)(2 * i + 1);
        ck_assert_err(call_generate(s, types[i], KD_USE_SIGN, id, &key), KD_OK);
        ck_assert_err(call_generate(s, types[i], KD_USE_SIGN, id + 1, &other), KD_OK);
        ck_assert_err(call_sign(s, &key, kd_bytes_of_text(text), &c), KD_OK);
        struct kd_bytes signature = c.result.out;
        ck_assert(verify(&key, kd_bytes_of_text(text), signature));
        ck_assert(!verify(&other, kd_bytes_of_text(text), signature));
        ck_assert(!verify(&key, kd_bytes_of_text("other text"), signature));
        signature.n--;
        ck_assert(!verify(&key, kd_bytes_of_text(text), signature));
        ck_assert(!verify(&key, kd_bytes_of_text(text), KD_BYTES_NONE));
    }
}
END_TEST

START_TEST(a_key_does_not_do_what_it_is_not_for) {
    kd_auto(call) struct call_result c = { 0 };
    struct call_key derive;
    struct call_key mac;
    struct call_key aes;
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 1, &derive), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_HMAC_SHA256, KD_USE_SIGN, 2, &mac), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_AES_256, KD_USE_ENCRYPT, 3, &aes), KD_OK);
    ck_assert(call_sign(s, &derive, kd_bytes_of_text(text), &c) != KD_OK);
    ck_assert_err(call_sign(s, &mac, kd_bytes_of_text(text), &c), KD_ERR_KEY_TYPE);
    ck_assert_err(call_mac(s, &aes, NULL, kd_bytes_of_text(text), &c), KD_ERR_KEY_TYPE);
    ck_assert_err(call_encrypt(s, &mac, NULL, kd_bytes_of_text(text), KD_BYTES_NONE, &c),
                  KD_ERR_KEY_TYPE);
    ck_assert_err(call_encrypt(s, &aes, NULL, kd_bytes_of_text(text), KD_BYTES_NONE, &c), KD_OK);
    kd_auto(call) struct call_result opened = { 0 };
    ck_assert(call_decrypt(s, &aes, NULL, c.result.iv, c.result.out, KD_BYTES_NONE, &opened) !=
              KD_OK);
}
END_TEST

START_TEST(what_was_sealed_opens_and_nothing_else_does) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result c = { 0 };
    struct call_key key;
    const struct kd_bytes aad = kd_bytes_of_text("aad");
    static const size_t sizes[] = { 0, 1, 15, 16, 17, 10000 };
    static const uint8_t data[10000] = { 1, 2, 3 };
    ck_assert_err(call_generate(s, KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT, 1, &key),
                  KD_OK);
    for (size_t i = 0; i < KD_COUNT_OF(sizes); i++) {
        const struct kd_bytes plain = { data, sizes[i] };
        ck_assert_err(call_encrypt(s, &key, NULL, plain, aad, &sealed), KD_OK);
        const struct kd_bytes iv = sealed.result.iv;
        const struct kd_bytes out = sealed.result.out;
        ck_assert_uint_eq(out.n, sizes[i] + KD_HSM_GCM_TAG_BYTES);
        ck_assert_err(call_decrypt(s, &key, NULL, iv, out, aad, &c), KD_OK);
        ck_assert(kd_bytes_equal(c.result.out, plain));
        ck_assert_err(call_decrypt(s, &key, NULL, iv, out, KD_BYTES_NONE, &c),
                      KD_ERR_NOT_AUTHENTIC);
        ck_assert_err(
            call_decrypt(s, &key, NULL, iv, (struct kd_bytes) { out.p, out.n - 1 }, aad, &c),
            KD_ERR_NOT_AUTHENTIC);
        sealed.reply.p[sealed.reply.n - 1] ^= 0x80;
        ck_assert_err(call_decrypt(s, &key, NULL, iv, out, aad, &c), KD_ERR_NOT_AUTHENTIC);
        sealed.reply.p[sealed.reply.n - 1] ^= 0x80;
        ck_assert_err(call_decrypt(s, &key, NULL, iv, out, aad, &c), KD_OK); // and goes on
    }
}
END_TEST

// ---- derived secrets ---------------------------------------------------------

static struct kd_derive_step hkdf_step(enum kd_kdf kdf, const char *salt, const char *info,
                                       uint16_t n) {
    return (struct kd_derive_step) {
        .kdf = kdf, .salt = kd_bytes_of_text(salt), .info = kd_bytes_of_text(info), .out_len = n
    };
}

static const uint8_t cbc_info[32] = "32 bytes that are mixed with it";

static struct kd_derive_step cbc_step(void) {
    return (struct kd_derive_step) { .kdf = KD_KDF_AES_CBC_DATA,
                                     .info = { cbc_info, sizeof(cbc_info) },
                                     .out_len = 32 };
}

static const char long_salt[] = "a salt that is longer than the block of either of the hashes, so "
                                "that it is hashed itself before it becomes the key of the HMAC "
                                "that extracts";

// The recipes that the front can write, for a base of this curve.
static size_t make_recipes(const struct call_key *base, struct kd_recipe *out) {
    const struct kd_derive_step steps[][3] = {
        { { 0 } }, // the shared secret itself
        { hkdf_step(KD_KDF_HKDF_SHA256, "", "", 32) },
        { hkdf_step(KD_KDF_HKDF_SHA256, "salt", "info", 32) },
        { hkdf_step(KD_KDF_HKDF_SHA384, long_salt, "info", 32) },
        { cbc_step() },
        { hkdf_step(KD_KDF_HKDF_SHA256, "salt", "info", 32), cbc_step() },
        { cbc_step(), hkdf_step(KD_KDF_HKDF_SHA256, "salt", "info", 32) },
        { hkdf_step(KD_KDF_HKDF_SHA256, "s1", "i1", 64),
          hkdf_step(KD_KDF_HKDF_SHA384, "s2", "i2", 16),
          hkdf_step(KD_KDF_HKDF_SHA256, long_salt, "i3", 32) },
    };
    const size_t n = KD_COUNT_OF(steps);
    for (size_t i = 0; i < n; i++) {
        out[i] = call_recipe(base, peer_of(base->ref.type), (uint8_t)(i + 1), KD_KEY_HMAC_SHA256);
        for (out[i].n_steps = 0; out[i].n_steps < 3 && steps[i][out[i].n_steps].kdf != 0;) {
            out[i].steps[out[i].n_steps] = steps[i][out[i].n_steps];
            out[i].n_steps++;
        }
    }
    return n;
}

enum { RECIPES_MAX = 8 };

static void check_mac(const struct kd_recipe *r, const uint8_t *key, size_t n, size_t i) {
    kd_auto(call) struct call_result c = { 0 };
    uint8_t want[48];
    unsigned want_len = 0;
    HMAC(EVP_sha256(), key, (int)n, (const uint8_t *)text, strlen(text), want, &want_len);
    const enum kd_err err = call_mac(s, NULL, r, kd_bytes_of_text(text), &c);
    ck_assert_msg(err == KD_OK &&
                      kd_bytes_equal(c.result.out, (struct kd_bytes) { want, want_len }),
                  "recipe %zu: %s", i, kd_err_name(err));
}

static void check_recipes(enum kd_key_type type, uint8_t id) {
    struct call_key base;
    struct kd_recipe recipes[RECIPES_MAX];
    ck_assert_err(call_generate(s, type, KD_USE_DERIVE, id, &base), KD_OK);
    const size_t n = make_recipes(&base, recipes);
    for (size_t i = 0; i < n; i++) {
        kd_auto(call) struct call_result c = { 0 };
        uint8_t want[OUT_MAX_BYTES];
        const size_t want_len = recipe_by_host(&recipes[i], want);
        const enum kd_err r = call_release(s, &recipes[i], &c);
        ck_assert_msg(r == KD_OK, "release by recipe %zu: %s", i, kd_err_name(r));
        ck_assert_msg(kd_bytes_equal(c.result.out, (struct kd_bytes) { want, want_len }),
                      "release by recipe %zu is wrong", i);
        // The key keeps the last 32 bytes of a P-384 secret that is used as it is.
        check_mac(&recipes[i], want + want_len - 32, 32, i);
        memset(recipes[i].id, (int)(i + 0x40), sizeof(recipes[i].id));
        recipes[i].type = KD_KEY_AES_256;
        ck_assert_err(call_encrypt(s, NULL, &recipes[i], kd_bytes_of_text(text), KD_BYTES_NONE, &c),
                      KD_OK);
    }
    ck_assert_uint_le(kd_cached_count(s->token), 2);
}

START_TEST(a_recipe_gives_what_openssl_gives_by_every_strategy) {
    struct kd_token *t = s->token;
    const enum kd_hsm_hkdf best = t->hkdf;
    const enum kd_hsm_hkdf best_release = t->hkdf_release;
    ck_assert_str_eq(kd_hsm_hkdf_name(best), token_is_nss() ? "native" : "digest-key");
    ck_assert_str_eq(kd_hsm_hkdf_name(best_release), "digest-key");
    static const enum kd_key_type types[] = { KD_KEY_EC_P256, KD_KEY_EC_P384 };
    for (size_t i = 0; i < KD_COUNT_OF(types); i++) {
        t->hkdf = best;
        t->hkdf_release = best_release;
        kd_cached_wipe(t);
        check_recipes(types[i], (uint8_t)(3 * i + 1));
        t->hkdf = t->hkdf_release = KD_HSM_HKDF_DIGEST;
        kd_cached_wipe(t);
        check_recipes(types[i], (uint8_t)(3 * i + 2));
        t->hkdf = t->hkdf_release = KD_HSM_HKDF_EXTRACT;
        kd_cached_wipe(t);
        check_recipes(types[i], (uint8_t)(3 * i + 3));
    }
}
END_TEST

START_TEST(hkdf_releases_every_length) {
    struct call_key base;
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 1, &base), KD_OK);
    static const uint16_t lengths[] = { 1, 12, 16, 31, 32, 33, 64, 255 };
    for (size_t i = 0; i < KD_COUNT_OF(lengths); i++) {
        kd_auto(call) struct call_result c = { 0 };
        uint8_t want[OUT_MAX_BYTES];
        struct kd_recipe r = call_recipe(&base, peer_of(KD_KEY_EC_P256), 1, KD_KEY_AES_256);
        r.steps[0].out_len = lengths[i];
        const size_t n = recipe_by_host(&r, want);
        ck_assert_err(call_release(s, &r, &c), KD_OK);
        ck_assert(kd_bytes_equal(c.result.out, (struct kd_bytes) { want, n }));
    }
}
END_TEST

START_TEST(lengths_that_do_not_fit_are_refused) {
    kd_auto(call) struct call_result c = { 0 };
    struct call_key base;
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 1, &base), KD_OK);
    struct kd_recipe r = call_recipe(&base, peer_of(KD_KEY_EC_P256), 1, KD_KEY_AES_256);
    r.steps[0].out_len = 0;
    ck_assert(call_release(s, &r, &c) != KD_OK);
    r.steps[0].out_len = 256;
    ck_assert(call_release(s, &r, &c) != KD_OK);
    r.steps[0].out_len = 16; // an AES-256 key of 16 bytes
    ck_assert(call_encrypt(s, NULL, &r, KD_BYTES_NONE, KD_BYTES_NONE, &c) != KD_OK);
    r.n_steps = 2;
    r.steps[1] = cbc_step(); // behind 16 bytes
    ck_assert(call_release(s, &r, &c) != KD_OK);
    r.steps[0].out_len = 65; // more than an intermediate result may have
    r.steps[1] = hkdf_step(KD_KDF_HKDF_SHA256, "", "", 32);
    ck_assert(call_release(s, &r, &c) != KD_OK);
    r.n_steps = 0;
    r.type = KD_KEY_HMAC_SHA384; // of 32 bytes
    ck_assert(call_mac(s, NULL, &r, KD_BYTES_NONE, &c) != KD_OK);
    r.peer = KD_BYTES_NONE;
    r.type = KD_KEY_AES_256;
    ck_assert(call_release(s, &r, &c) != KD_OK);
    ck_assert_uint_eq(kd_cached_count(s->token), 0);
}
END_TEST

START_TEST(a_point_that_is_not_on_the_curve_never_reaches_the_token) {
    struct call_key base;
    uint8_t p[99];
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 1, &base), KD_OK);
    memcpy(p, points[0], 65);
    const struct kd_bytes good = { p, 65 };
    struct kd_recipe r = call_recipe(&base, good, 1, KD_KEY_AES_256);
    kd_auto(call) struct call_result c = { 0 };
    ck_assert_err(call_release(s, &r, &c), KD_OK);
    p[64] ^= 1; // off the curve
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    p[64] ^= 1;
    r.peer.n = 64;
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    r.peer.n = 66;
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    r.peer = (struct kd_bytes) { points[1], 97 }; // of the other curve
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    static const uint8_t infinity[1] = { 0 };
    r.peer = (struct kd_bytes) { infinity, 1 };
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    static const uint8_t zeros[65] = { 4 };
    r.peer = (struct kd_bytes) { zeros, 65 };
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    p[0] = (uint8_t)(2 + (p[64] & 1)); // compressed
    r.peer = (struct kd_bytes) { p, 33 };
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
    p[0] = (uint8_t)(6 + (p[64] & 1)); // hybrid
    r.peer = good;
    ck_assert_err(call_release(s, &r, &c), KD_ERR_BAD_POINT);
}
END_TEST

START_TEST(a_secret_that_gave_way_is_made_again) {
    struct call_key base;
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 1, &base), KD_OK);
    uint8_t first[5][32];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 5; i++) {
            kd_auto(call) struct call_result c = { 0 };
            struct kd_recipe r =
                call_recipe(&base, peer_of(KD_KEY_EC_P256), (uint8_t)i, KD_KEY_HMAC_SHA256);
            r.steps[0].info = (struct kd_bytes) { r.id, 16 };
            ck_assert_err(call_mac(s, NULL, &r, kd_bytes_of_text(text), &c), KD_OK);
            if (round == 0) {
                memcpy(first[i], c.result.out.p, 32);
            }
            ck_assert(kd_bytes_equal(c.result.out, (struct kd_bytes) { first[i], 32 }));
            ck_assert_uint_le(kd_cached_count(s->token), 2);
        }
    }
    ck_assert(memcmp(first[0], first[1], 32) != 0);
}
END_TEST

// Keys of the token that are secret themselves, as the base.
START_TEST(a_secret_key_is_a_base_for_its_own_kind_of_derivation) {
    kd_auto(call) struct call_result a = { 0 };
    kd_auto(call) struct call_result b = { 0 };
    struct call_key aes;
    struct call_key mac;
    ck_assert_err(call_generate(s, KD_KEY_AES_256, KD_USE_DERIVE, 1, &aes), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_HMAC_SHA256, KD_USE_DERIVE, 2, &mac), KD_OK);
    struct kd_recipe r = call_recipe(&aes, KD_BYTES_NONE, 1, KD_KEY_AES_256);
    ck_assert_err(call_encrypt(s, NULL, &r, KD_BYTES_NONE, KD_BYTES_NONE, &a), KD_ERR_KEY_TYPE);
    r.steps[0] = cbc_step();
    ck_assert_err(call_encrypt(s, NULL, &r, kd_bytes_of_text(text), KD_BYTES_NONE, &a), KD_OK);
    kd_cached_forget(s, (struct kd_bytes) { r.id, sizeof(r.id) });
    ck_assert_err(call_decrypt(s, NULL, &r, a.result.iv, a.result.out, KD_BYTES_NONE, &b), KD_OK);
    ck_assert(kd_bytes_equal(b.result.out, kd_bytes_of_text(text)));
    r = call_recipe(&mac, KD_BYTES_NONE, 2, KD_KEY_AES_256);
    ck_assert_err(call_encrypt(s, NULL, &r, kd_bytes_of_text(text), KD_BYTES_NONE, &a), KD_OK);
    kd_cached_forget(s, (struct kd_bytes) { r.id, sizeof(r.id) });
    ck_assert_err(call_decrypt(s, NULL, &r, a.result.iv, a.result.out, KD_BYTES_NONE, &b), KD_OK);
    ck_assert(kd_bytes_equal(b.result.out, kd_bytes_of_text(text)));
    r.steps[0] = cbc_step();
    ck_assert_err(call_release(s, &r, &a), KD_ERR_KEY_TYPE);
}
END_TEST

// ---- the cases ---------------------------------------------------------------

TCase *tcase_token_keys(void) {
    TCase *c = tcase_create("keys");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_key_does_not_do_what_it_is_not_for);
    tcase_add_test(c, each_type_is_made_described_found_and_destroyed);
    tcase_add_test(c, threads_that_search_one_key_find_it);
    tcase_add_test(c, derived_secrets_are_not_among_what_is_found);
    tcase_add_test(c, a_signature_verifies_under_its_key_and_data_alone);
    tcase_add_test(c, what_was_sealed_opens_and_nothing_else_does);
    return c;
}

TCase *tcase_token_secrets(void) {
    TCase *c = tcase_create("secrets");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_point_that_is_not_on_the_curve_never_reaches_the_token);
    tcase_add_test(c, lengths_that_do_not_fit_are_refused);
    tcase_add_test(c, hkdf_releases_every_length);
    tcase_add_test(c, a_recipe_gives_what_openssl_gives_by_every_strategy);
    tcase_add_test(c, a_secret_that_gave_way_is_made_again);
    tcase_add_test(c, a_secret_key_is_a_base_for_its_own_kind_of_derivation);
    return c;
}
