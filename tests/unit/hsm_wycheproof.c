// SPDX-License-Identifier: Apache-2.0
// Wycheproof's vectors through the worker's functions, on a real token.  Given
// keys become session objects.  tests/vectors/wycheproof/README.md.
#include "exec_call.h"
#include "hsm_token_cases.h"
#include "token_fixture.h"
#include "unit.h"

#include <jansson.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>
#include <stdio.h>
#include <string.h>

enum { BYTES_MAX = 8192 };

// CKA_NSS_DB: where NSS wants the public point of a private key that is brought.
#define NSS_CKA_DB 0xd5a0db00UL

// The bytes of a hexadecimal member; they live until the next call for `slot`.
static struct kd_bytes get(const json_t *object, const char *name, size_t slot) {
    static uint8_t bytes[6][BYTES_MAX];
    const char *text = json_string_value(json_object_get(object, name));
    ck_assert_ptr_nonnull(text);
    const size_t n = strlen(text) / 2;
    ck_assert_uint_le(n, BYTES_MAX);
    ck_assert_err(kd_hex_decode(text, bytes[slot], n), KD_OK);
    return (struct kd_bytes) { bytes[slot], n };
}

static bool is_result(const json_t *test, const char *result) {
    return strcmp(json_string_value(json_object_get(test, "result")), result) == 0;
}

static json_int_t number(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

// Whether the vector was one that the worker takes; asserts what it says of it.
typedef bool vector_fn(struct kd_session *s, const json_t *group, const json_t *test);

static void run_file(const char *name, vector_fn *fn, size_t least) {
    char path[4096];
    const char *source = getenv("KD_SRCDIR");
    json_error_t error;
    json_t *group;
    json_t *test;
    size_t i;
    size_t j;
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/tests/vectors/wycheproof/%s", source == NULL ? "." : source,
             name);
    json_t *all = json_load_file(path, 0, &error);
    ck_assert_msg(all != NULL, "%s: %s", path, error.text);
    json_array_foreach(json_object_get(all, "testGroups"), i, group) {
        json_array_foreach(json_object_get(group, "tests"), j, test) {
            n += fn(token_session(), group, test);
            kd_buf_reset(&token_session()->out);
        }
    }
    ck_assert_msg(n >= least, "%s: only %zu vectors were tried", name, n);
    json_decref(all);
}

#define ck_assert_vector(test, condition)                                                          \
    ck_assert_msg(condition, "tcId %d", (int)number(test, "tcId"))

static CK_OBJECT_HANDLE import(struct kd_session *s, struct kd_bytes value, CK_KEY_TYPE type,
                               unsigned usages) {
    const struct kd_secret_form form = { type, value.n, usages, false };
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    ck_assert_err(kd_derive_import(s, value, &form, &handle), KD_OK);
    return handle;
}

// ---- ecdsa -------------------------------------------------------------------

static bool try_ecdsa(struct kd_session *s, const json_t *group, const json_t *test) {
    const json_t *key = json_object_get(group, "publicKey");
    uint8_t digest[48];
    size_t n = 0;
    bool is_valid = true;
    (void)s;
    ck_assert_err(kd_host_digest(KD_HASH_SHA256, get(test, "msg", 0), digest, &n), KD_OK);
    ck_assert_err(kd_host_ecdsa_verify(KD_KEY_EC_P256, get(key, "uncompressed", 1),
                                       (struct kd_bytes) { digest, n }, get(test, "sig", 2),
                                       &is_valid),
                  KD_OK);
    ck_assert_vector(test, is_valid == is_result(test, "valid"));
    return true;
}

START_TEST(wycheproof_ecdsa_p256) {
    run_file("ecdsa_secp256r1_sha256_p1363_test.json", try_ecdsa, 262);
}
END_TEST

// ---- ecdh --------------------------------------------------------------------

static size_t point_of(const uint8_t scalar[static 32], uint8_t out[static 65]) {
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = EC_POINT_new(group);
    BIGNUM *d = BN_bin2bn(scalar, 32, NULL);
    ck_assert_int_eq(EC_POINT_mul(group, point, d, NULL, NULL, NULL), 1);
    const size_t n = EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, out, 65, NULL);
    BN_free(d);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return n;
}

static CK_OBJECT_HANDLE import_private(struct kd_session *s, struct kd_bytes given) {
    const CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    const CK_KEY_TYPE type = CKK_EC;
    const CK_BBOOL yes = CK_TRUE;
    const CK_BBOOL no = CK_FALSE;
    uint8_t scalar[32] = { 0 };
    uint8_t point[2 + 65] = { 0x04, 65 };
    const size_t n = given.n > 32 ? 32 : given.n; // some have a zero before them
    memcpy(scalar + 32 - n, given.p + given.n - n, n);
    ck_assert_uint_eq(point_of(scalar, point + 2), 65);
    const struct kd_bytes oid = kd_host_curve_oid(KD_KEY_EC_P256);
    CK_ATTRIBUTE list[] = {
        KD_ATTRIBUTE(CKA_CLASS, class),   KD_ATTRIBUTE(CKA_KEY_TYPE, type),
        KD_ATTRIBUTE(CKA_TOKEN, no),      KD_ATTRIBUTE(CKA_PRIVATE, yes),
        KD_ATTRIBUTE(CKA_SENSITIVE, yes), KD_ATTRIBUTE(CKA_EXTRACTABLE, no),
        KD_ATTRIBUTE(CKA_DERIVE, yes),    KD_ATTRIBUTE_BYTES(CKA_EC_PARAMS, oid),
        KD_ATTRIBUTE(CKA_VALUE, scalar),  { NSS_CKA_DB, point + 2, 65 }
    };
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    const CK_ULONG count = KD_COUNT_OF(list) - (token_is_nss() ? 0 : 1);
    ck_assert_err(
        kd_ckr("C_CreateObject", s->token->p11->C_CreateObject(s->handle, list, count, &handle)),
        KD_OK);
    return handle;
}

static bool try_ecdh(struct kd_session *s, const json_t *group, const json_t *test) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, 32, 0, true };
    const CK_OBJECT_HANDLE base = import_private(s, get(test, "private", 0));
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    (void)group;
    const enum kd_err r =
        kd_derive_ecdh(s, base, KD_KEY_EC_P256, get(test, "public", 1), &form, &secret);
    // Compressed points (the acceptable one) are not taken.
    ck_assert_vector(test, r == (is_result(test, "valid") ? KD_OK : KD_ERR_BAD_POINT));
    if (r == KD_OK) {
        ck_assert_err(kd_read_value(s, secret), KD_OK);
        ck_assert_vector(test, kd_bytes_equal(kd_buf_get(&s->out), get(test, "shared", 2)));
    }
    kd_destroy(s, secret);
    kd_destroy(s, base);
    return true;
}

START_TEST(wycheproof_ecdh_p256) {
    run_file("ecdh_secp256r1_ecpoint_test.json", try_ecdh, 355);
}
END_TEST

// ---- hmac --------------------------------------------------------------------

static bool try_hmac(struct kd_session *s, const json_t *group, const json_t *test) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    CK_MECHANISM hmac = { CKM_SHA256_HMAC, NULL, 0 };
    const struct kd_bytes data = get(test, "msg", 1);
    uint8_t mac[32];
    CK_ULONG n = sizeof(mac);
    if (number(group, "keySize") < 256) {
        return false; // keyd has no such keys, and SoftHSM takes none
    }
    const CK_OBJECT_HANDLE key = import(s, get(test, "key", 0), CKK_GENERIC_SECRET, KD_USE_SIGN);
    ck_assert_err(kd_ckr("C_SignInit", p11->C_SignInit(s->handle, &hmac, key)), KD_OK);
    ck_assert_err(kd_ckr("C_Sign", p11->C_Sign(s->handle, kd_p11_bytes(data.p), data.n, mac, &n)),
                  KD_OK);
    const size_t tag_len = (size_t)number(group, "tagSize") / 8;
    const bool is_same = kd_ct_equal((struct kd_bytes) { mac, tag_len }, get(test, "tag", 2));
    ck_assert_vector(test, is_same == is_result(test, "valid"));
    kd_destroy(s, key);
    return true;
}

START_TEST(wycheproof_hmac_sha256) {
    run_file("hmac_sha256_test.json", try_hmac, 100);
}
END_TEST

// ---- hkdf --------------------------------------------------------------------

static bool try_hkdf(struct kd_session *s, const json_t *group, const json_t *test) {
    const json_int_t size = number(test, "size");
    const struct kd_derive_step step = { .kdf = KD_KDF_HKDF_SHA256,
                                         .salt = get(test, "salt", 1),
                                         .info = get(test, "info", 2),
                                         .out_len = (uint16_t)size };
    (void)group;
    if (size > 255) {
        return false; // more than keyd releases
    }
    const CK_OBJECT_HANDLE key = import(s, get(test, "ikm", 0), CKK_GENERIC_SECRET, KD_USE_DERIVE);
    ck_assert_vector(test, kd_hkdf_release(s, KD_HSM_HKDF_DIGEST, key, &step) == KD_OK);
    ck_assert_vector(test, kd_bytes_equal(kd_buf_get(&s->out), get(test, "okm", 3)));
    kd_destroy(s, key);
    return true;
}

START_TEST(wycheproof_hkdf_sha256_by_digest_key) {
    run_file("hkdf_sha256_test.json", try_hkdf, 70);
}
END_TEST

// ---- aes-gcm -----------------------------------------------------------------

static bool try_gcm(struct kd_session *s, const json_t *group, const json_t *test) {
    if (number(group, "ivSize") != 96 || number(group, "keySize") != 256 ||
        number(group, "tagSize") != 128) {
        return false;
    }
    const CK_BBOOL yes = CK_TRUE;
    const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    const CK_KEY_TYPE type = CKK_AES;
    const struct kd_bytes value = get(test, "key", 0);
    struct call_key key = { .id = "gcm" };
    key.ref = (struct kd_key_ref) { .type = KD_KEY_AES_256, .id = { key.id, 3 } };
    CK_ATTRIBUTE list[] = {
        KD_ATTRIBUTE(CKA_CLASS, class),         KD_ATTRIBUTE(CKA_KEY_TYPE, type),
        KD_ATTRIBUTE(CKA_TOKEN, yes),           KD_ATTRIBUTE(CKA_DECRYPT, yes),
        KD_ATTRIBUTE_BYTES(CKA_ID, key.ref.id), KD_ATTRIBUTE_BYTES(CKA_VALUE, value)
    };
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    ck_assert_err(kd_ckr("C_CreateObject", s->token->p11->C_CreateObject(
                                               s->handle, list, KD_COUNT_OF(list), &handle)),
                  KD_OK);
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(buf) struct kd_buf sealed = KD_BUF_INIT(BYTES_MAX);
    const struct kd_bytes ct = get(test, "ct", 1);
    const struct kd_bytes tag = get(test, "tag", 2);
    kd_buf_put(&sealed, ct.p, ct.n);
    kd_buf_put(&sealed, tag.p, tag.n);
    const enum kd_err r = call_decrypt(s, &key, NULL, get(test, "iv", 3), kd_buf_get(&sealed),
                                       get(test, "aad", 4), &c);
    ck_assert_vector(test, r == (is_result(test, "valid") ? KD_OK : KD_ERR_NOT_AUTHENTIC));
    ck_assert_vector(test, r != KD_OK || kd_bytes_equal(c.result.out, get(test, "msg", 5)));
    ck_assert_err(call_destroy(s, &key), KD_OK);
    return true;
}

START_TEST(wycheproof_aes_256_gcm_opens) {
    run_file("aes_gcm_test.json", try_gcm, 60);
}
END_TEST

TCase *tcase_token_vectors(void) {
    TCase *c = tcase_create("vectors");
    tcase_set_timeout(c, 100);
    tcase_add_checked_fixture(c, token_setup, token_teardown);
    tcase_add_test(c, wycheproof_ecdsa_p256);
    tcase_add_test(c, wycheproof_ecdh_p256);
    tcase_add_test(c, wycheproof_hmac_sha256);
    tcase_add_test(c, wycheproof_hkdf_sha256_by_digest_key);
    tcase_add_test(c, wycheproof_aes_256_gcm_opens);
    return c;
}
