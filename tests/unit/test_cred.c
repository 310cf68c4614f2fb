// SPDX-License-Identifier: Apache-2.0
// ID_CRED_x: each kind is read as it is written; other kinds and forms are refused.
#include "channel/cred.h"

#include "unit.h"
#include "vectors.h"

#include <string.h>

static enum kd_err parse_hex(const char *hex) {
    kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(hex);
    struct kd_idcred id;
    return kd_idcred_parse(vectors_get(in), &id);
}

static const struct {
    const char *hex;
    enum kd_err err;
} rows[] = {
    { "a1044132", KD_OK }, // kid
    { "a104410040", KD_ERR_CBOR_TRAILING },
    { "a1182181", KD_ERR_CBOR_TRUNCATED },
    { "a118214101", KD_OK }, // x5chain of one
    { "a118218141", KD_ERR_CBOR_TRUNCATED },
    { "a11821814101", KD_ERR_HS_CREDENTIAL }, // an array of one
    { "a118218241014102", KD_OK },
    { "a118218541014102410341044105", KD_ERR_HS_CREDENTIAL }, // too long a chain
    { "a1182140", KD_ERR_HS_CREDENTIAL },                     // empty certificate
    { "a11822822e480102030405060708", KD_OK },                // x5t, SHA-256/64
    { "a11822822e4701020304050607", KD_ERR_HS_CREDENTIAL },   // one byte short
    { "a11822822e49010203040506070809", KD_ERR_HS_CREDENTIAL },
    { "a11822822e40", KD_ERR_HS_CREDENTIAL },
    { "a11822822d540102030405060708090a0b0c0d0e0f1011121314", KD_ERR_HS_CREDENTIAL }, // SHA-1
    { "a11822832e48010203040506070800", KD_ERR_HS_CREDENTIAL },
    { "a1182282617848010203040506070800", KD_ERR_CBOR_TYPE },
    { "a11823d8206568747470733a", KD_ERR_CBOR_TRAILING },
    { "a11823d820656874747073", KD_OK },                // x5u
    { "a11823d820656874007073", KD_ERR_HS_CREDENTIAL }, // x5u with a NUL inside
    { "a11823656874747073", KD_ERR_CBOR_TYPE },         // without its tag
    { "a11823d821656874747073", KD_ERR_HS_CREDENTIAL }, // another tag
    { "a11823d82060", KD_ERR_HS_CREDENTIAL },           // empty
    { "a21822822e4801020304050607081823d820656874747073", KD_OK },
    { "a21823d8206568747470731822822e480102030405060708", KD_ERR_CBOR_MAP_ORDER },
    { "a20441321822822e480102030405060708", KD_ERR_HS_CREDENTIAL }, // kid and x5t
    { "a2182141011822822e480102030405060708", KD_ERR_HS_CREDENTIAL },
    { "a0", KD_ERR_HS_CREDENTIAL },
    { "a10e41aa", KD_ERR_HS_CREDENTIAL }, // kcwt and others
    { "a1617841aa", KD_ERR_CBOR_TYPE },
    { "4132", KD_ERR_CBOR_TYPE },
    { "f6", KD_ERR_CBOR_TYPE },
    { "", KD_ERR_CBOR_TRUNCATED },
};

START_TEST(maps_are_accepted_or_refused_for_their_reason) {
    const char *got = kd_err_name(parse_hex(rows[_i].hex));
    ck_assert_msg(strcmp(got, kd_err_name(rows[_i].err)) == 0, "%s: %s", rows[_i].hex, got);
}
END_TEST

START_TEST(a_long_uri_is_refused) {
    char uri[KD_X5U_MAX_BYTES + 2];
    memset(uri, 'a', sizeof(uri));
    for (size_t n = KD_X5U_MAX_BYTES; n <= KD_X5U_MAX_BYTES + 1; n++) {
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1024);
        kd_idcred_put_x5u(&b, (struct kd_bytes) { (const uint8_t *)uri, n });
        struct kd_idcred id;
        ck_assert_err(kd_idcred_parse(kd_buf_get(&b), &id),
                      n == KD_X5U_MAX_BYTES ? KD_OK : KD_ERR_HS_CREDENTIAL);
    }
}
END_TEST

// A06, A07: by fingerprint, with the hashes that are allowed and with no weak one.
START_TEST(a_fingerprint_fits_its_certificate_only) {
    static const struct {
        int hash;
        const char *value; // of "certificate", by python3's hashlib
    } all[] = {
        { KD_COSE_SHA256_64, "03d66dd08835c1ca" },
        { KD_COSE_SHA256, "03d66dd08835c1ca3f128cceacd1f31ac94163096b20f445ae84285bc0832d72" },
        { KD_COSE_SHA512_256, "031c7300171c7730b9f20a42f90cf559355cfa4fd976797ec4c46d749b206c65" },
        { KD_COSE_SHAKE128, "360ce908f1fd2c56a1c194b423e9f547cbb0cb63e0efcb892cb7b92277cdbb7a" },
        { KD_COSE_SHA384, "e6c15e58c149c828fb5f13609c3f8d4d4fee3bc69e6ff93bfaabc8bbf2f64560"
                          "641e6d4818e5c76349512951201af82a" },
        { KD_COSE_SHA512, "3d9e7bd9a4cb0b591c367461e6e8f625181d65bd6f45c1695de3c4e5f1a6b2dc"
                          "5be58e8f22f9d8e7d16057adef058743ce9b22dd7d33f3db6374c05be0efd982" },
        { KD_COSE_SHAKE256, "63eeb9865aa5e06a8b3b28dbf51e55d6fa8a5f9fed70cdf67bceafadc13cb8e8"
                            "87a4fa7013d07f8c796bc67ad024c6921ba1b60cbd61ff95677bca4b0da1cf12" },
    };
    struct kd_bytes cert = kd_bytes_of_text("certificate");
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf other = KD_BUF_INIT(64);
    kd_cred_put_certificate(&cred, cert);
    kd_cred_put_certificate(&other, kd_bytes_of_text("Certificate"));
    for (size_t i = 0; i < KD_COUNT_OF(all); i++) {
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(256);
        ck_assert_err(kd_idcred_put_x5t(&b, all[i].hash, cert), KD_OK);
        struct kd_idcred id;
        ck_assert_err(kd_idcred_parse(kd_buf_get(&b), &id), KD_OK);
        ck_assert_int_eq(id.kind, KD_IDCRED_X5T);
        kd_auto(vectors_bytes) struct vectors_bytes value = vectors_from_hex(all[i].value);
        vectors_same("hash", id.x5t, vectors_get(value));
        ck_assert_err(kd_idcred_fits(&id, kd_buf_get(&cred)), KD_OK);
        ck_assert_err(kd_idcred_fits(&id, kd_buf_get(&other)), KD_ERR_HS_CREDENTIAL);
        ck_assert_err(kd_idcred_fits(&id, cert), KD_ERR_HS_CREDENTIAL); // not a byte string
    }
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(256);
    ck_assert_err(kd_idcred_put_x5t(&b, -14, cert), KD_ERR_HS_CREDENTIAL); // SHA-1
    ck_assert_err(kd_idcred_put_x5t(&b, -3, cert), KD_ERR_HS_CREDENTIAL);
}
END_TEST

START_TEST(each_kind_is_read_as_it_is_written) {
    const struct kd_bytes certs[] = { kd_bytes_of_text("one"), kd_bytes_of_text("two") };
    struct kd_bytes uri = kd_bytes_of_text("https://pki.example/c/7f/3a.cer");
    struct kd_idcred id;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(256);
    ck_assert_err(kd_idcred_put_x5u_x5t(&b, uri, KD_COSE_SHA256, certs[0]), KD_OK);
    ck_assert_err(kd_idcred_parse(kd_buf_get(&b), &id), KD_OK);
    ck_assert_int_eq(id.kind, KD_IDCRED_X5U_X5T);
    vectors_same("uri", id.x5u, uri);
    vectors_same("whole", id.encoded, kd_buf_get(&b));
    kd_buf_reset(&b);
    kd_idcred_put_x5chain(&b, certs, 2);
    ck_assert_err(kd_idcred_parse(kd_buf_get(&b), &id), KD_OK);
    ck_assert_int_eq(id.kind, KD_IDCRED_X5CHAIN);
    ck_assert_uint_eq(id.n_chain, 2);
    vectors_same("second", id.chain[1], certs[1]);
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(64);
    kd_cred_put_certificate(&cred, certs[1]); // the first is the end entity's
    ck_assert_err(kd_idcred_fits(&id, kd_buf_get(&cred)), KD_ERR_HS_CREDENTIAL);
}
END_TEST

// RFC 9528 3.3.2: all identifiers of one byte, and some of others.
START_TEST(identifiers_have_one_form_each) {
    for (int v = 0; v < 256; v++) {
        uint8_t byte = (uint8_t)v;
        bool is_int = v <= 0x17 || (v >= 0x20 && v <= 0x37);
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(16);
        kd_identifier_put(&b, (struct kd_bytes) { &byte, 1 });
        ck_assert_uint_eq(b.n, is_int ? 1 : 2);
        struct kd_cbor c = kd_cbor_of(kd_buf_get(&b));
        struct kd_bytes id = kd_identifier_read(&c);
        ck_assert_err(kd_cbor_finish(&c), KD_OK);
        vectors_same("id", id, (struct kd_bytes) { &byte, 1 });
        const uint8_t longer[] = { 0x41, byte };
        c = kd_cbor_of((struct kd_bytes) { longer, 2 });
        (void)kd_identifier_read(&c);
        ck_assert_err(kd_cbor_finish(&c), is_int ? KD_ERR_HS_MESSAGE : KD_OK);
    }
    static const struct {
        const char *hex;
        enum kd_err err;
    } more[] = { { "40", KD_OK },
                 { "420000", KD_OK },
                 { "1818", KD_ERR_HS_MESSAGE }, // 24 is no small integer
                 { "3818", KD_ERR_HS_MESSAGE },
                 { "60", KD_ERR_CBOR_TYPE },
                 { "", KD_ERR_CBOR_TRUNCATED } };
    for (size_t i = 0; i < KD_COUNT_OF(more); i++) {
        kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(more[i].hex);
        struct kd_cbor c = kd_cbor_of(vectors_get(in));
        (void)kd_identifier_read(&c);
        ck_assert_err(kd_cbor_finish(&c), more[i].err);
    }
}
END_TEST

static TCase *tcase_cred(void) {
    TCase *t = tcase_create("cred");
    tcase_add_loop_test(t, maps_are_accepted_or_refused_for_their_reason, 0, KD_COUNT_OF(rows));
    tcase_add_test(t, a_long_uri_is_refused);
    tcase_add_test(t, a_fingerprint_fits_its_certificate_only);
    tcase_add_test(t, each_kind_is_read_as_it_is_written);
    tcase_add_test(t, identifiers_have_one_form_each);
    return t;
}

UNIT_MAIN("cred", tcase_cred())
