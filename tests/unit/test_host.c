// SPDX-License-Identifier: Apache-2.0
// Host crypto and the OpenSSL keys: known answers, bad points, bad keys.
#include "channel/host.h"

#include "channel/keyops.h"
#include "unit.h"
#include "vectors.h"

#include <openssl/pem.h>
#include <string.h>

static struct kd_bytes bytes_of(const struct vectors_bytes *b) {
    return (struct kd_bytes) { b->p, b->n };
}

// ---- points ----------------------------------------------------------------

static const char p256_prime[] = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";

static enum kd_err from_x(enum kd_curve curve, const char *hex) {
    kd_auto(vectors_bytes) struct vectors_bytes x = vectors_from_hex(hex);
    struct kd_point p;
    return kd_point_from_x(curve, bytes_of(&x), &p);
}

START_TEST(x_that_is_no_point_is_refused) {
    char zero[65];
    memset(zero, '0', 64);
    zero[64] = '\0';
    ck_assert_err(from_x(KD_CURVE_P256, zero), KD_ERR_BAD_POINT);
    ck_assert_err(from_x(KD_CURVE_P256, p256_prime), KD_ERR_BAD_POINT);
    char over[65]; // p + 5: 5 is an x on the curve, but only in its one form
    memcpy(over, p256_prime, 65);
    memcpy(over, "ffffffff00000001000000000000000000000001000000000000000000000004", 65);
    ck_assert_err(from_x(KD_CURVE_P256, over), KD_ERR_BAD_POINT);
    ck_assert_err(from_x(KD_CURVE_P256, ""), KD_ERR_BAD_POINT);
    ck_assert_err(from_x(KD_CURVE_P256, "05"), KD_ERR_BAD_POINT);
    ck_assert_err(from_x(KD_CURVE_P384, p256_prime), KD_ERR_BAD_POINT);
}
END_TEST

// Small x: about half are on the curve; zeros in front belong to the form, and
// both ends agree on the secret.
START_TEST(a_small_x_is_accepted_in_its_full_length_only) {
    uint64_t key = KD_HANDLE_NONE;
    struct kd_point own;
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &key, &own), KD_OK);
    int n_on = 0;
    for (uint8_t v = 1; v < 32; v++) {
        uint8_t x[33] = { 0 };
        x[31] = v;
        struct kd_point p;
        enum kd_err r = kd_point_from_x(KD_CURVE_P256, (struct kd_bytes) { x, 32 }, &p);
        ck_assert(r == KD_OK || r == KD_ERR_BAD_POINT);
        ck_assert_err(kd_point_from_x(KD_CURVE_P256, (struct kd_bytes) { x + 31, 1 }, &p),
                      KD_ERR_BAD_POINT);
        ck_assert_err(kd_point_from_x(KD_CURVE_P256, (struct kd_bytes) { x, 33 }, &p),
                      KD_ERR_BAD_POINT);
        if (r == KD_OK) {
            n_on++;
            uint64_t z = KD_HANDLE_NONE;
            ck_assert_err(kd_keyops_openssl.ecdh(NULL, key, &p, &z), KD_OK);
            kd_keyops_openssl.destroy(NULL, z);
        }
    }
    ck_assert_int_gt(n_on, 5);
    ck_assert_int_lt(n_on, 26);
    kd_keyops_openssl.destroy(NULL, key);
}
END_TEST

START_TEST(infinity_and_points_off_the_curve_are_refused) {
    uint64_t key = KD_HANDLE_NONE;
    struct kd_point good;
    struct kd_point out;
    for (int c = KD_CURVE_P256; c <= KD_CURVE_P384; c++) {
        enum kd_curve curve = (enum kd_curve)c;
        ck_assert_err(kd_keyops_openssl.generate(NULL, curve, &key, &good), KD_OK);
        kd_keyops_openssl.destroy(NULL, key);
        size_t n = kd_point_bytes(curve);
        ck_assert_err(kd_point_read(curve, kd_point_get(&good), &out), KD_OK);
        uint8_t bad[KD_POINT_MAX_BYTES + 1] = { 0 };
        ck_assert_err(kd_point_read(curve, (struct kd_bytes) { bad, 1 }, &out), KD_ERR_BAD_POINT);
        ck_assert_err(kd_point_read(curve, (struct kd_bytes) { bad, n }, &out), KD_ERR_BAD_POINT);
        bad[0] = 4; // (0, 0)
        ck_assert_err(kd_point_read(curve, (struct kd_bytes) { bad, n }, &out), KD_ERR_BAD_POINT);
        memcpy(bad, good.bytes, n);
        bad[n - 1] ^= 1; // off the curve
        ck_assert_err(kd_point_read(curve, (struct kd_bytes) { bad, n }, &out), KD_ERR_BAD_POINT);
        bad[n - 1] ^= 1;
        for (int form = 0; form < 256; form++) { // compressed, hybrid and unknown forms
            bad[0] = (uint8_t)form;
            ck_assert_err(kd_point_read(curve, (struct kd_bytes) { bad, n }, &out),
                          form == 4 ? KD_OK : KD_ERR_BAD_POINT);
        }
        bad[0] = 4;
        for (size_t len = 0; len <= n + 1; len++) {
            ck_assert_err(kd_point_read(curve, (struct kd_bytes) { bad, len }, &out),
                          len == n ? KD_OK : KD_ERR_BAD_POINT);
        }
    }
}
END_TEST

START_TEST(either_y_gives_the_same_secret) {
    uint64_t a = KD_HANDLE_NONE;
    uint64_t b = KD_HANDLE_NONE;
    struct kd_point pa;
    struct kd_point pb;
    struct kd_point pa_x;
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &a, &pa), KD_OK);
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &b, &pb), KD_OK);
    ck_assert_err(kd_point_from_x(KD_CURVE_P256, kd_point_get_x(&pa), &pa_x), KD_OK);
    struct kd_key32 z[2];
    uint64_t s = KD_HANDLE_NONE;
    ck_assert_err(kd_keyops_openssl.ecdh(NULL, a, &pb, &s), KD_OK);
    ck_assert_err(kd_openssl_secret_share(s, &z[0]), KD_OK);
    kd_keyops_openssl.destroy(NULL, s);
    ck_assert_err(kd_keyops_openssl.ecdh(NULL, b, &pa_x, &s), KD_OK);
    ck_assert_err(kd_openssl_secret_share(s, &z[1]), KD_OK);
    kd_keyops_openssl.destroy(NULL, s);
    vectors_same("z", (struct kd_bytes) { z[0].bytes, 32 }, (struct kd_bytes) { z[1].bytes, 32 });
    kd_keyops_openssl.destroy(NULL, a);
    kd_keyops_openssl.destroy(NULL, b);
}
END_TEST

// ---- keys ------------------------------------------------------------------

START_TEST(scalars_outside_the_group_are_refused) {
    static const char *const bad[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", // the order
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "01", "",
    };
    uint64_t key = KD_HANDLE_NONE;
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        kd_auto(vectors_bytes) struct vectors_bytes d = vectors_from_hex(bad[i]);
        ck_assert_err(kd_openssl_key_from_scalar(KD_CURVE_P256, bytes_of(&d), &key),
                      KD_ERR_BAD_PUBLIC_KEY);
    }
    ck_assert_uint_eq(key, KD_HANDLE_NONE);
}
END_TEST

static size_t key_file(const char *group, bool pem, uint8_t *out, size_t cap) {
    EVP_PKEY *k = strcmp(group, "RSA") == 0 ? EVP_RSA_gen(2048) : EVP_EC_gen(group);
    BIO *b = BIO_new(BIO_s_mem());
    ck_assert_int_eq(pem ? PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL)
                         : i2d_PrivateKey_bio(b, k),
                     1);
    int n = BIO_read(b, out, (int)cap);
    ck_assert_int_gt(n, 0);
    BIO_free(b);
    EVP_PKEY_free(k);
    return (size_t)n;
}

START_TEST(key_files_are_loaded_and_others_refused) {
    static uint8_t file[4096];
    static const char *const good[] = { "P-256", "P-384" };
    static const char *const bad[] = { "P-521", "secp256k1", "RSA" };
    for (size_t i = 0; i < 4; i++) {
        size_t n = key_file(good[i % 2], i < 2, file, sizeof(file));
        uint64_t key = KD_HANDLE_NONE;
        struct kd_point point;
        ck_assert_err(kd_openssl_key_load((struct kd_bytes) { file, n }, &key), KD_OK);
        ck_assert_err(kd_openssl_key_point(key, &point), KD_OK);
        ck_assert_int_eq(point.curve, i % 2 == 0 ? KD_CURVE_P256 : KD_CURVE_P384);
        kd_keyops_openssl.destroy(NULL, key);
    }
    uint64_t key = KD_HANDLE_NONE;
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        size_t n = key_file(bad[i], true, file, sizeof(file));
        ck_assert_err(kd_openssl_key_load((struct kd_bytes) { file, n }, &key),
                      KD_ERR_BAD_PUBLIC_KEY);
    }
    ck_assert_err(kd_openssl_key_load(kd_bytes_of_text("not a key"), &key), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_openssl_key_load(KD_BYTES_NONE, &key), KD_ERR_BAD_PUBLIC_KEY);
}
END_TEST

START_TEST(signatures_verify_and_nothing_else_does) {
    static const struct {
        enum kd_curve curve;
        enum kd_md md;
    } rows[] = { { KD_CURVE_P256, KD_MD_SHA256 }, { KD_CURVE_P384, KD_MD_SHA384 } };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        uint64_t key = KD_HANDLE_NONE;
        struct kd_point point;
        struct kd_bytes m = kd_bytes_of_text("message");
        uint8_t sig[KD_SIGNATURE_MAX_BYTES + 1] = { 0 };
        size_t n = 2 * kd_curve_bytes(rows[i].curve);
        ck_assert_err(kd_keyops_openssl.generate(NULL, rows[i].curve, &key, &point), KD_OK);
        ck_assert_err(kd_keyops_openssl.sign(NULL, key, rows[i].md, m, sig, n - 1),
                      KD_ERR_KEY_TYPE);
        ck_assert_err(kd_keyops_openssl.sign(NULL, key, rows[i].md, m, sig, n), KD_OK);
        for (size_t len = 0; len <= n + 1; len++) {
            ck_assert_err(kd_host_verify(rows[i].md, &point, m, (struct kd_bytes) { sig, len }),
                          len == n ? KD_OK : KD_ERR_NOT_AUTHENTIC);
        }
        ck_assert_err(kd_host_verify(rows[i].md, &point, kd_bytes_of_text("Message"),
                                     (struct kd_bytes) { sig, n }),
                      KD_ERR_NOT_AUTHENTIC);
        for (size_t bit = 0; bit < 8 * n; bit += 5) {
            sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
            ck_assert_err(kd_host_verify(rows[i].md, &point, m, (struct kd_bytes) { sig, n }),
                          KD_ERR_NOT_AUTHENTIC);
            sig[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        memset(sig, 0, n); // r = s = 0
        ck_assert_err(kd_host_verify(rows[i].md, &point, m, (struct kd_bytes) { sig, n }),
                      KD_ERR_NOT_AUTHENTIC);
        kd_keyops_openssl.destroy(NULL, key);
    }
}
END_TEST

START_TEST(ecdh_with_a_point_of_another_curve_is_refused) {
    uint64_t key = KD_HANDLE_NONE;
    uint64_t other = KD_HANDLE_NONE;
    uint64_t z = KD_HANDLE_NONE;
    struct kd_point point;
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &key, &point), KD_OK);
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P384, &other, &point), KD_OK);
    ck_assert_err(kd_keyops_openssl.ecdh(NULL, key, &point, &z), KD_ERR_BAD_POINT);
    ck_assert_uint_eq(z, KD_HANDLE_NONE);
    kd_keyops_openssl.destroy(NULL, key);
    kd_keyops_openssl.destroy(NULL, other);
}
END_TEST

// ---- HKDF and AEAD ---------------------------------------------------------

// RFC 5869 A.1 and A.3 (no salt, no info).
START_TEST(hkdf_known_answers) {
    static const struct {
        const char *ikm, *salt, *info, *okm;
    } rows[] = {
        { "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
          "f0f1f2f3f4f5f6f7f8f9",
          "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865" },
        { "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
          "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(vectors_bytes) struct vectors_bytes ikm = vectors_from_hex(rows[i].ikm);
        kd_auto(vectors_bytes) struct vectors_bytes salt = vectors_from_hex(rows[i].salt);
        kd_auto(vectors_bytes) struct vectors_bytes info = vectors_from_hex(rows[i].info);
        kd_auto(vectors_bytes) struct vectors_bytes okm = vectors_from_hex(rows[i].okm);
        uint8_t prk[32];
        uint8_t out[42];
        const struct kd_bytes part = bytes_of(&ikm);
        ck_assert_err(kd_host_hmac(KD_MD_SHA256, bytes_of(&salt), &part, 1, prk), KD_OK);
        ck_assert_err(kd_host_expand(KD_MD_SHA256, (struct kd_bytes) { prk, 32 }, bytes_of(&info),
                                     out, sizeof(out)),
                      KD_OK);
        vectors_same("okm", (struct kd_bytes) { out, sizeof(out) }, bytes_of(&okm));
    }
    static uint8_t big[255 * 32 + 1];
    struct kd_bytes prk = { big, 32 };
    ck_assert_err(kd_host_expand(KD_MD_SHA256, prk, KD_BYTES_NONE, big, 255 * 32), KD_OK);
    ck_assert_err(kd_host_expand(KD_MD_SHA256, prk, KD_BYTES_NONE, big, 255 * 32 + 1),
                  KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

START_TEST(aead_opens_what_it_sealed_and_nothing_else) {
    static const enum kd_aead all[] = { KD_AEAD_CCM_16_64_128, KD_AEAD_CCM_16_128_128,
                                        KD_AEAD_A256GCM };
    static const uint8_t key[KD_AEAD_KEY_MAX_BYTES] = { 1 };
    static const uint8_t nonce[KD_AEAD_NONCE_MAX_BYTES] = { 2 };
    for (size_t k = 0; k < KD_COUNT_OF(all); k++) {
        for (size_t n = 0; n <= 33; n += 11) {
            uint8_t text[33] = "the text";
            uint8_t sealed[64];
            uint8_t out[64];
            size_t tag = kd_aead_tag_bytes(all[k]);
            struct kd_bytes aad = kd_bytes_of_text(n == 11 ? "" : "aad");
            ck_assert_err(
                kd_host_seal(all[k], key, nonce, aad, (struct kd_bytes) { text, n }, sealed),
                KD_OK);
            struct kd_bytes in = { sealed, n + tag };
            ck_assert_err(kd_host_open(all[k], key, nonce, aad, in, out), KD_OK);
            vectors_same("text", (struct kd_bytes) { out, n }, (struct kd_bytes) { text, n });
            ck_assert_err(kd_host_open(all[k], key, nonce, kd_bytes_of_text("aaD"), in, out),
                          KD_ERR_NOT_AUTHENTIC);
            for (size_t bit = 0; bit < 8 * in.n; bit++) {
                sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
                memset(out, 0xee, sizeof(out));
                ck_assert_err(kd_host_open(all[k], key, nonce, aad, in, out), KD_ERR_NOT_AUTHENTIC);
                for (size_t i = 0; i < n; i++) {
                    ck_assert_uint_eq(out[i], 0); // nothing of a forgery is left
                }
                sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            for (size_t len = 0; len < in.n; len++) {
                ck_assert_err(
                    kd_host_open(all[k], key, nonce, aad, (struct kd_bytes) { sealed, len }, out),
                    KD_ERR_NOT_AUTHENTIC);
            }
        }
    }
}
END_TEST

// At each length around a block, and where the way to put head and body together changes.
START_TEST(head_and_body_are_sealed_as_one_text_at_each_length) {
    static const size_t heads[] = { 0, 1, 15, 16, 17, 22, 64, 65 };
    static const size_t bodies[] = { 0, 1, 15, 16, 17, 1024, 4095, 4096, 4097, 4112, 20000 };
    enum { TAG = 16, HEAD = 65, BODY = 20000 };
    static uint8_t text[HEAD + BODY];
    static uint8_t one[HEAD + BODY + TAG];
    static uint8_t two[HEAD + BODY + TAG];
    static uint8_t opened[HEAD + BODY];
    const struct kd_key32 key = { .bytes = { 7 } };
    const uint8_t nonce[12] = { 9 };
    const struct kd_bytes aad = kd_bytes_of_text("aad");
    kd_auto(host_gcm) struct kd_host_gcm *sealing = NULL;
    kd_auto(host_gcm) struct kd_host_gcm *opening = NULL;
    ck_assert_err(kd_host_gcm_new(&key, true, &sealing), KD_OK);
    ck_assert_err(kd_host_gcm_new(&key, false, &opening), KD_OK);
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)(i * 31 + i / 256);
    }
    for (size_t h = 0; h < KD_COUNT_OF(heads); h++) {
        for (size_t b = 0; b < KD_COUNT_OF(bodies); b++) {
            const size_t n = heads[h] + bodies[b];
            const struct kd_bytes whole = { text, n };
            const struct kd_bytes head = { text, heads[h] };
            const struct kd_bytes body = { text + heads[h], bodies[b] };
            ck_assert_err(kd_host_seal(KD_AEAD_A256GCM, key.bytes, nonce, aad, whole, one), KD_OK);
            ck_assert_err(kd_host_gcm_seal(sealing, nonce, aad, head, body, two), KD_OK);
            ck_assert_mem_eq(one, two, n + TAG);
            const struct kd_bytes sealed = { two, n + TAG };
            ck_assert_err(kd_host_gcm_open(opening, nonce, aad, sealed, opened), KD_OK);
            ck_assert(n == 0 || memcmp(opened, text, n) == 0);
            two[n] ^= 1;
            ck_assert_err(kd_host_gcm_open(opening, nonce, aad, sealed, opened),
                          KD_ERR_NOT_AUTHENTIC);
        }
    }
}
END_TEST

static TCase *tcase_points(void) {
    TCase *t = tcase_create("points");
    tcase_add_test(t, x_that_is_no_point_is_refused);
    tcase_add_test(t, a_small_x_is_accepted_in_its_full_length_only);
    tcase_add_test(t, infinity_and_points_off_the_curve_are_refused);
    tcase_add_test(t, either_y_gives_the_same_secret);
    return t;
}

static TCase *tcase_keys(void) {
    TCase *t = tcase_create("keys");
    tcase_add_test(t, scalars_outside_the_group_are_refused);
    tcase_add_test(t, key_files_are_loaded_and_others_refused);
    tcase_add_test(t, signatures_verify_and_nothing_else_does);
    tcase_add_test(t, ecdh_with_a_point_of_another_curve_is_refused);
    return t;
}

static TCase *tcase_symmetric(void) {
    TCase *t = tcase_create("symmetric");
    tcase_add_test(t, hkdf_known_answers);
    tcase_add_test(t, aead_opens_what_it_sealed_and_nothing_else);
    tcase_add_test(t, head_and_body_are_sealed_as_one_text_at_each_length);
    return t;
}

UNIT_MAIN("channel host", tcase_points(), tcase_keys(), tcase_symmetric())
