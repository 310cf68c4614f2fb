// SPDX-License-Identifier: Apache-2.0
// The service on the fake worker: operations and derived secrets.
#include "tests/unit/service_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- operations ------------------------------------------------------------

START_TEST(operations_that_do_not_fit_are_refused) {
    service_start("start ok\n");
    static const uint8_t bytes[64];
    const struct kd_hsm_item item = { .data = { bytes, 33 }, .iv = { bytes, 12 } };
    ck_assert_err(service_create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_VERIFY), KD_OK);
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT), KD_OK);
    ck_assert_err(service_create(7, "e", KD_KEY_EC_P384, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_mac("none", "x"), KD_ERR_NO_KEY);
    ck_assert_err(service_mac("h", "x"), KD_ERR_KEY_USAGE);
    ck_assert_err(service_mac("a", "x"), KD_ERR_KEY_TYPE);
    ck_assert_err(service_mac("e", "x"), KD_ERR_KEY_TYPE);
    struct kd_work w = { .operation = KD_OPERATION_SIGN, .key = "e", .prehashed = true };
    ck_assert_err(service_work(w, &item, 1), KD_ERR_FIELD_INVALID); // P-384: 48 bytes
    w.prehashed = false;
    ck_assert_err(service_work(w, &item, 0), KD_ERR_BATCH_EMPTY);
    ck_assert_err(service_work(w, &item, KD_HSM_BATCH_MAX_ITEMS + 1), KD_ERR_BATCH_TOO_LARGE);
    w.version = 2;
    ck_assert_err(service_work(w, &item, 1), KD_ERR_NO_VERSION);
    const struct kd_hsm_item short_iv = { .data = { bytes, 33 }, .iv = { bytes, 11 } };
    w = (struct kd_work) { .operation = KD_OPERATION_DECRYPT, .key = "a" };
    ck_assert_err(service_work(w, &short_iv, 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(service_work(w, &item, 1), KD_OK);
    const struct kd_hsm_item big = { .data = { bytes, 4u << 20 } };
    w.operation = KD_OPERATION_ENCRYPT;
    ck_assert_err(service_work(w, &big, 1), KD_ERR_ITEM_TOO_LARGE);
    const struct kd_hsm_item amounts[] = { { .n = 0 }, { .n = 4097 }, { .n = 4096 }, { .n = 1 } };
    w = (struct kd_work) { .operation = KD_OPERATION_RANDOM };
    ck_assert_err(service_work(w, &amounts[0], 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(service_work(w, &amounts[1], 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(service_work(w, &amounts[2], 2), KD_OK);
    ck_assert_uint_eq(sx.n_results, 2);
    w = (struct kd_work) { .operation = KD_OPERATION_MAC, .secret = "AAAAAAAAAAAAAAAAAAAAAA" };
    ck_assert_err(service_work(w, &item, 1), KD_ERR_NO_SECRET);
}
END_TEST

START_TEST(verify_tries_the_newest_first_and_says_which) {
    service_start("start ok\n");
    ck_assert_err(service_create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY), KD_OK);
    ck_assert_err(service_rotate("h"), KD_OK);
    ck_assert_err(service_rotate("h"), KD_OK);
    ck_assert_err(service_set_state("h", 2, false), KD_OK);
    // The fake's tag says which of the keys verifies.
    const uint8_t tags[] = { 0, 1, 2 };
    const struct kd_work w = { .operation = KD_OPERATION_MAC_VERIFY, .key = "h" };
    struct kd_hsm_item items[] = { { .tag = { &tags[0], 1 } },
                                   { .tag = { &tags[1], 1 } },
                                   { .tag = KD_BYTES_NONE } };
    ck_assert_err(service_work(w, items, 3), KD_OK);
    ck_assert(sx.results[0].ok && sx.results[1].ok && !sx.results[2].ok);
    ck_assert_uint_eq(sx.results[0].version, 3);
    ck_assert_uint_eq(sx.results[1].version, 1);
    ck_assert_uint_eq(sx.results[2].version, 0);
    const struct kd_hsm_item beyond = { .tag = { &tags[2], 1 } }; // there are two keys
    ck_assert_err(service_work(w, &beyond, 1), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(rewrap_is_by_the_primary_and_needs_both_usages) {
    service_start("start ok\n");
    static const uint8_t iv[KD_HSM_GCM_IV_BYTES];
    const uint8_t which[] = { 0, 1, 2 }; // the fake says that this key opened it
    const struct kd_hsm_item items[] = { { .data = { &which[0], 1 }, .iv = { iv, 12 } },
                                         { .data = { &which[1], 1 }, .iv = { iv, 12 } } };
    const struct kd_hsm_item short_iv = { .data = { which, 1 }, .iv = { iv, 11 } };
    ck_assert_err(service_create(7, "d", KD_KEY_AES_256, KD_USE_DECRYPT), KD_OK);
    ck_assert_err(service_create(7, "e", KD_KEY_AES_256, KD_USE_ENCRYPT), KD_OK);
    ck_assert_err(service_create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_create(7, "a", KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT), KD_OK);
    ck_assert_err(service_rotate("a"), KD_OK);
    ck_assert_err(service_rotate("a"), KD_OK);
    struct kd_work w = { .operation = KD_OPERATION_REWRAP, .key = "d" };
    ck_assert_err(service_work(w, items, 1), KD_ERR_KEY_USAGE);
    w.key = "e";
    ck_assert_err(service_work(w, items, 1), KD_ERR_KEY_USAGE);
    w.key = "h";
    ck_assert_err(service_work(w, items, 1), KD_ERR_KEY_TYPE);
    w.key = "a";
    ck_assert_err(service_work(w, &short_iv, 1), KD_ERR_FIELD_INVALID);
    ck_assert_err(service_work(w, items, 2), KD_OK);
    ck_assert_str_eq(sx.last_out, "a.v3");
    ck_assert_uint_eq(sx.results[0].version, 3);
    ck_assert_uint_eq(sx.results[1].version, 3); // not that of what opened it
    w.version = 1;
    ck_assert_err(service_work(w, items, 1), KD_OK);
    ck_assert_str_eq(sx.last_out, "a.v3");
    ck_assert_uint_eq(sx.results[0].version, 3);
    ck_assert_err(service_set_state("a", 1, false), KD_OK);
    ck_assert_err(service_work(w, items, 1), KD_ERR_VERSION_DISABLED);
    w.version = 4;
    ck_assert_err(service_work(w, items, 1), KD_ERR_NO_VERSION);
    ck_assert_err(service_set_state("a", 3, false), KD_OK);
    w.version = 0;
    ck_assert_err(service_work(w, items, 1), KD_OK);
    ck_assert_str_eq(sx.last_out, "a.v2");
    const struct kd_hsm_item beyond = { .data = { &which[2], 1 }, .iv = { iv, 12 } };
    ck_assert_err(service_work(w, &beyond, 1), KD_ERR_MALFORMED); // one key is tried
}
END_TEST

START_TEST(signatures_are_given_and_taken_in_der) {
    service_start("start ok\n");
    ck_assert_err(service_create(7, "e", KD_KEY_EC_P256, KD_USE_SIGN), KD_OK);
    uint8_t data[64] = { [32] = 'a', [0] = 'b' }; // the fake's signature: its bytes backwards
    const struct kd_hsm_item items[] = { { .data = { data, 64 } }, { .data = { data, 64 } } };
    struct kd_work w = { .operation = KD_OPERATION_SIGN, .key = "e", .is_der = true };
    ck_assert_err(service_work(w, items, 2), KD_OK);
    ck_assert_str_eq(sx.last_out, "0\x06\x02\x01"
                                  "a\x02\x01"
                                  "b");
    ck_assert_uint_eq(sx.results[1].out.n, 8);
    // The fake takes any signature but an empty one.
    static const uint8_t good[] = { 0x30, 6, 2, 1, 1, 2, 1, 2 };
    const struct kd_hsm_item taken[] = { { .tag = { good, 7 } },
                                         { .tag = { data, 64 } },
                                         { .tag = { good, 8 } } };
    w.operation = KD_OPERATION_VERIFY;
    ck_assert_err(service_work(w, taken, 3), KD_OK);
    ck_assert(!sx.results[0].ok && !sx.results[1].ok && sx.results[2].ok);
    w.operation = KD_OPERATION_SIGN;
    const struct kd_hsm_item odd = { .data = { data, 63 } };
    ck_assert_err(service_work(w, &odd, 1), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(error_of_the_token_comes_with_its_detail) {
    service_start("on mac error token\n");
    ck_assert_err(service_create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_mac("h", "x"), KD_ERR_TOKEN);
    ck_assert_str_eq(sx.last_detail, "as the script says");
}
END_TEST

START_TEST(stopping_refuses_the_new_and_finishes_the_old) {
    service_start("start ok\n");
    ck_assert_err(service_create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    const struct kd_caller c = service_caller_of(7);
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("ab") };
    const struct kd_work w = {
        .operation = KD_OPERATION_MAC, .key = "h", .n_items = 1, .items = &item
    };
    ck_assert_err(kd_service_work(sx.service, &c, &w, service_on_work, NULL), KD_OK);
    kd_service_stop(sx.service);
    ck_assert_err(kd_service_work(sx.service, &c, &w, service_on_work, NULL), KD_ERR_STOPPING);
    ck_assert_uint_eq(kd_service_pending(sx.service), 1);
    ck_assert_err(service_wait_for(KD_OK), KD_OK);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(closing_answers_what_is_under_way) {
    service_start("on mac hang\n");
    ck_assert_err(service_create(7, "h", KD_KEY_HMAC_SHA256, KD_USE_SIGN), KD_OK);
    const struct kd_caller c = service_caller_of(7);
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("ab") };
    const struct kd_work w = {
        .operation = KD_OPERATION_MAC, .key = "h", .n_items = 1, .items = &item
    };
    ck_assert_err(kd_service_work(sx.service, &c, &w, service_on_work, NULL), KD_OK);
    kd_service_close(sx.service);
    sx.service = NULL;
    ck_assert(sx.is_done);
    ck_assert_err(sx.last_err, KD_ERR_STOPPING);
}
END_TEST

// ---- secrets ---------------------------------------------------------------

static void make_keys(void) {
    ck_assert_err(service_create(7, "ec", KD_KEY_EC_P256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(service_create(7, "aes", KD_KEY_AES_256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(service_create(7, "hmac", KD_KEY_HMAC_SHA256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(service_create(7, "sign", KD_KEY_EC_P256, KD_USE_SIGN), KD_OK);
}

START_TEST(derivations_that_do_not_fit_are_refused) {
    service_start("start ok\n");
    make_keys();
    uint8_t p[97];
    const struct kd_bytes peer = service_point(p);
    static const uint8_t long_info[KD_HSM_INFO_MAX_BYTES + 1];
    const struct kd_bytes cut = { p, 64 };
    const struct {
        struct kd_derivation d;
        enum kd_err err;
    } rows[] = {
        { { .key = "none", .peer = peer, .type = KD_KEY_AES_256 }, KD_ERR_NO_KEY },
        { { .key = "sign", .peer = peer, .type = KD_KEY_AES_256 }, KD_ERR_KEY_USAGE },
        { { .key = "ec", .type = KD_KEY_AES_256 }, KD_ERR_FIELD_MISSING },
        { { .key = "ec", .peer = cut, .type = KD_KEY_AES_256 }, KD_ERR_BAD_POINT },
        { { .key = "aes", .peer = peer, .type = KD_KEY_AES_256 }, KD_ERR_KEY_TYPE },
        { { .key = "aes", .type = KD_KEY_AES_256 }, KD_ERR_FIELD_MISSING }, // no kdf
        { { .key = "ec", .peer = peer, .type = KD_KEY_EC_P256 }, KD_ERR_KEY_TYPE },
        { { .key = "ec", .peer = peer, .type = KD_KEY_HMAC_SHA384 }, KD_ERR_FIELD_INVALID },
        { { .key = "ec", .peer = peer, .version = 2, .type = KD_KEY_AES_256 }, KD_ERR_NO_VERSION },
        { { .key = "ec", .peer = peer, .type = KD_KEY_AES_256, .lifetime_sec = 86401 },
          KD_ERR_FIELD_INVALID },
        { { .key = "hmac", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256 },
          KD_ERR_KEY_TYPE },
        { { .key = "aes", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_HMAC_SHA384 },
          KD_ERR_FIELD_INVALID },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .type = KD_KEY_AES_256,
            .info = { long_info, sizeof(long_info) } },
          KD_ERR_ITEM_TOO_LARGE },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .type = KD_KEY_AES_256,
            .salt = { long_info, sizeof(long_info) } },
          KD_ERR_ITEM_TOO_LARGE },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .release = true,
            .out_len = 15 },
          KD_ERR_FIELD_INVALID },
        { { .key = "aes",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .release = true,
            .out_len = 256 },
          KD_ERR_FIELD_INVALID },
        { { .secret = "AAAAAAAAAAAAAAAAAAAAAA",
            .has_kdf = true,
            .kdf = KD_KDF_HKDF_SHA256,
            .type = KD_KEY_AES_256 },
          KD_ERR_NO_SECRET },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        const enum kd_err r = service_derive(&rows[i].d, 1);
        ck_assert_msg(r == rows[i].err, "row %zu: %s", i, kd_err_name(r));
    }
    struct kd_service_report report;
    kd_service_report(sx.service, &report);
    ck_assert_uint_eq(report.n_secrets, 0);
}
END_TEST

START_TEST(secret_is_its_makers_and_dies_with_its_key) {
    service_start("start ok\n");
    make_keys();
    uint8_t p[97];
    const struct kd_derivation d = { .key = "ec",
                                     .peer = service_point(p),
                                     .has_kdf = true,
                                     .kdf = KD_KDF_HKDF_SHA256,
                                     .type = KD_KEY_AES_256 };
    ck_assert_err(service_derive(&d, 1), KD_OK);
    char id[KD_SECRET_ID_TEXT_BYTES];
    memcpy(id, sx.derived[0].secret, sizeof(id));
    ck_assert_str_eq(sx.derived[0].residence, "worker"); // the fake has no HKDF of its own
    const struct kd_caller app = service_caller_of(7);
    const struct kd_caller reader = service_caller_of(8);
    struct kd_secret_info info;
    ck_assert_err(kd_service_secret(sx.service, &reader, id, &info), KD_ERR_NO_SECRET);
    ck_assert_err(kd_service_secret_delete(sx.service, &reader, id), KD_ERR_NO_SECRET);
    ck_assert_uint_eq(kd_service_secrets(sx.service, &reader, NULL, &info, 1), 0);
    ck_assert_err(kd_service_secret(sx.service, &app, id, &info), KD_OK);
    ck_assert_str_eq(info.key, "ec");
    ck_assert_uint_eq(info.expires_ms - info.created_ms, 3600000);
    const struct kd_hsm_item item = { .data = kd_bytes_of_text("plain") };
    struct kd_work w = { .operation = KD_OPERATION_ENCRYPT, .secret = id };
    ck_assert_err(service_work(w, &item, 1), KD_OK);
    ck_assert_uint_eq(sx.results[0].version, 0);
    w.operation = KD_OPERATION_MAC;
    ck_assert_err(service_work(w, &item, 1), KD_ERR_KEY_TYPE);
    ck_assert_err(service_set_state("ec", 1, false), KD_OK);
    w.operation = KD_OPERATION_ENCRYPT;
    ck_assert_err(service_work(w, &item, 1), KD_ERR_VERSION_DISABLED);
    ck_assert_err(service_set_state("ec", 1, true), KD_OK);
    ck_assert_err(service_work(w, &item, 1), KD_OK);
    ck_assert_err(service_delete("ec"), KD_OK);
    ck_assert_err(service_work(w, &item, 1), KD_ERR_NO_SECRET);
}
END_TEST

START_TEST(steps_add_up_to_their_limit) {
    service_start("start ok\n");
    make_keys();
    char id[KD_SECRET_ID_TEXT_BYTES] = "";
    struct kd_derivation d = {
        .key = "aes", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256
    };
    for (unsigned i = 0; i < KD_HSM_STEPS_MAX; i++) {
        ck_assert_err(service_derive(&d, 1), KD_OK);
        ck_assert_str_eq(sx.derived[0].residence, "token");
        memcpy(id, sx.derived[0].secret, sizeof(id));
        d.key = NULL;
        d.secret = id;
    }
    ck_assert_err(service_derive(&d, 1), KD_ERR_TOO_MANY);
}
END_TEST

START_TEST(batch_keeps_releases_and_refuses_side_by_side) {
    service_start("start ok\n");
    make_keys();
    const struct kd_derivation items[] = {
        { .key = "aes", .has_kdf = true, .kdf = KD_KDF_HKDF_SHA256, .type = KD_KEY_HMAC_SHA384 },
        { .key = "none", .has_kdf = true, .kdf = KD_KDF_HKDF_SHA256, .type = KD_KEY_AES_256 },
        { .key = "aes",
          .has_kdf = true,
          .kdf = KD_KDF_HKDF_SHA256,
          .release = true,
          .out_len = 20 },
    };
    ck_assert_err(service_derive(items, 3), KD_OK);
    ck_assert_uint_eq(sx.n_derived, 3);
    ck_assert_err(sx.derived[0].err, KD_OK);
    ck_assert_err(sx.derived[1].err, KD_ERR_NO_KEY);
    ck_assert_err(sx.derived[2].err, KD_OK);
    ck_assert_uint_eq(sx.released_bytes, 20);
    ck_assert_str_eq(sx.derived[2].secret, "");
    ck_assert_str_ne(sx.derived[0].secret, "");
}
END_TEST

START_TEST(derivation_that_fails_in_the_token_leaves_no_secret) {
    service_start("on derive error token\n");
    make_keys();
    const struct kd_derivation d = {
        .key = "aes", .has_kdf = true, .kdf = KD_KDF_AES_CBC_DATA, .type = KD_KEY_AES_256
    };
    ck_assert_err(service_derive(&d, 1), KD_ERR_TOKEN);
    struct kd_service_report report;
    kd_service_report(sx.service, &report);
    ck_assert_uint_eq(report.n_secrets, 0);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}
END_TEST

START_TEST(metrics_name_what_was_promised) {
    service_start("start ok\n");
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1 << 20);
    kd_service_metrics(sx.service, &out);
    static const char *const names[] = { "keyd_token_operations_total",
                                         "keyd_token_operation_seconds_bucket",
                                         "keyd_worker_restarts_total{worker=\"0\"} 0",
                                         "keyd_worker_in_flight{worker=\"0\"} 0",
                                         "keyd_queue_length 0",
                                         "keyd_keys 0",
                                         "keyd_secrets 0" };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        ck_assert_msg(strstr(kd_buf_get_text(&out), names[i]) != NULL, "%s", names[i]);
    }
}
END_TEST

static TCase *tcase_operations(void) {
    TCase *t = tcase_create("operations");
    tcase_add_checked_fixture(t, service_setup, service_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, operations_that_do_not_fit_are_refused);
    tcase_add_test(t, verify_tries_the_newest_first_and_says_which);
    tcase_add_test(t, rewrap_is_by_the_primary_and_needs_both_usages);
    tcase_add_test(t, signatures_are_given_and_taken_in_der);
    tcase_add_test(t, error_of_the_token_comes_with_its_detail);
    tcase_add_test(t, stopping_refuses_the_new_and_finishes_the_old);
    tcase_add_test(t, closing_answers_what_is_under_way);
    tcase_add_test(t, derivations_that_do_not_fit_are_refused);
    tcase_add_test(t, secret_is_its_makers_and_dies_with_its_key);
    tcase_add_test(t, steps_add_up_to_their_limit);
    tcase_add_test(t, batch_keeps_releases_and_refuses_side_by_side);
    tcase_add_test(t, derivation_that_fails_in_the_token_leaves_no_secret);
    tcase_add_test(t, metrics_name_what_was_promised);
    return t;
}

UNIT_MAIN("service-work", tcase_operations())
