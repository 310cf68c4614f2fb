// SPDX-License-Identifier: Apache-2.0
#include "hsm/hsm.h"
#include "unit.h"

START_TEST(names_that_are_not_there_are_refused) {
    static const char *const wrong[] = { "", "unknown", "EC-P256", "ec-p256 ", "ec-p25", "signs" };
    enum kd_key_type type = KD_KEY_AES_256;
    enum kd_key_usage usage = KD_USE_DERIVE;
    enum kd_kdf kdf = KD_KDF_HKDF_SHA384;
    for (size_t i = 0; i < KD_COUNT_OF(wrong); i++) {
        ck_assert(!kd_key_type_parse(wrong[i], &type));
        ck_assert(!kd_key_usage_parse(wrong[i], &usage));
        ck_assert(!kd_kdf_parse(wrong[i], &kdf));
    }
    ck_assert(type == KD_KEY_AES_256 && usage == KD_USE_DERIVE && kdf == KD_KDF_HKDF_SHA384);
}
END_TEST

START_TEST(each_name_parses_back) {
    for (int i = 1; i <= KD_KEY_TYPE_LAST; i++) {
        enum kd_key_type type = (enum kd_key_type)0;
        ck_assert(kd_key_type_parse(kd_key_type_name((enum kd_key_type)i), &type));
        ck_assert_int_eq(type, i);
    }
    for (unsigned u = 1; u <= KD_USE_ALL; u <<= 1) {
        enum kd_key_usage usage = (enum kd_key_usage)0;
        ck_assert(kd_key_usage_parse(kd_key_usage_name((enum kd_key_usage)u), &usage));
        ck_assert_uint_eq(usage, u);
    }
    for (int i = 1; i <= KD_KDF_LAST; i++) {
        enum kd_kdf kdf = (enum kd_kdf)0;
        ck_assert(kd_kdf_parse(kd_kdf_name((enum kd_kdf)i), &kdf));
        ck_assert_int_eq(kdf, i);
    }
}
END_TEST

START_TEST(values_out_of_range_have_the_name_unknown) {
    ck_assert_str_eq(kd_key_type_name((enum kd_key_type)0), "unknown");
    ck_assert_str_eq(kd_key_type_name((enum kd_key_type)(KD_KEY_TYPE_LAST + 1)), "unknown");
    ck_assert_str_eq(kd_key_usage_name((enum kd_key_usage)3), "unknown");
    ck_assert_str_eq(kd_kdf_name((enum kd_kdf)(KD_KDF_LAST + 1)), "unknown");
    ck_assert_str_eq(kd_hsm_op_name((enum kd_hsm_op)0), "unknown");
    ck_assert_str_eq(kd_hsm_op_name((enum kd_hsm_op)(KD_HSM_OP_LAST + 1)), "unknown");
    ck_assert_str_eq(kd_hsm_hkdf_name((enum kd_hsm_hkdf)(KD_HSM_HKDF_EXTRACT + 1)), "unknown");
    ck_assert_str_eq(kd_hsm_ability_name((enum kd_hsm_ability)KD_HSM_ABILITIES), "unknown");
    ck_assert_str_eq(kd_hsm_probe_name((enum kd_hsm_probe)(KD_HSM_PROBE_WRONG + 1)), "unknown");
}
END_TEST

START_TEST(everything_in_range_has_a_name_of_its_own) {
    for (int i = 1; i <= KD_HSM_OP_LAST; i++) {
        ck_assert_str_ne(kd_hsm_op_name((enum kd_hsm_op)i), "unknown");
        for (int j = 1; j < i; j++) {
            ck_assert_str_ne(kd_hsm_op_name((enum kd_hsm_op)i), kd_hsm_op_name((enum kd_hsm_op)j));
        }
    }
    for (int i = 0; i < KD_HSM_ABILITIES; i++) {
        ck_assert_str_ne(kd_hsm_ability_name((enum kd_hsm_ability)i), "unknown");
    }
}
END_TEST

START_TEST(what_changes_the_token_is_not_repeated) {
    static const enum kd_hsm_op once[] = {
        KD_HSM_GENERATE,  KD_HSM_DESTROY,    KD_HSM_FORGET,  KD_HSM_HS_START,    KD_HSM_HS_READ,
        KD_HSM_HS_FINISH, KD_HSM_HS_CONFIRM, KD_HSM_HS_DROP, KD_HSM_RECORD_SEAL,
    };
    for (size_t i = 0; i < KD_COUNT_OF(once); i++) {
        ck_assert(!kd_hsm_op_is_repeatable(once[i]));
    }
    for (int i = KD_HSM_SIGN; i < KD_HSM_HS_START; i++) {
        ck_assert(kd_hsm_op_is_repeatable((enum kd_hsm_op)i));
    }
    for (int i = KD_HSM_RECORD_OPEN; i <= KD_HSM_OP_LAST; i++) {
        ck_assert(kd_hsm_op_is_repeatable((enum kd_hsm_op)i));
    }
}
END_TEST

START_TEST(what_gives_out_secrets_says_so) {
    static const enum kd_hsm_op secret[] = { KD_HSM_DECRYPT,       KD_HSM_RELEASE,
                                             KD_HSM_RANDOM,        KD_HSM_RECORD_OPEN,
                                             KD_HSM_ENVELOPE_OPEN, KD_HSM_SESSION_RELEASE,
                                             KD_HSM_REWRAP };
    int n = 0;
    for (int i = 1; i <= KD_HSM_OP_LAST; i++) {
        n += kd_hsm_op_is_secret((enum kd_hsm_op)i) ? 1 : 0;
    }
    ck_assert_int_eq(n, KD_COUNT_OF(secret));
    for (size_t i = 0; i < KD_COUNT_OF(secret); i++) {
        ck_assert(kd_hsm_op_is_secret(secret[i]));
    }
}
END_TEST

START_TEST(a_curve_key_signs_or_derives_and_never_both) {
    ck_assert(!kd_key_usages_fit(KD_KEY_EC_P256, KD_USE_SIGN | KD_USE_DERIVE));
    ck_assert(!kd_key_usages_fit(KD_KEY_EC_P384, KD_USE_SIGN | KD_USE_VERIFY));
    ck_assert(!kd_key_usages_fit(KD_KEY_EC_P256, 0));
    ck_assert(kd_key_usages_fit(KD_KEY_EC_P256, KD_USE_SIGN));
    ck_assert(kd_key_usages_fit(KD_KEY_EC_P384, KD_USE_DERIVE));
    ck_assert(!kd_key_usages_fit(KD_KEY_AES_256, KD_USE_SIGN));
    ck_assert(!kd_key_usages_fit(KD_KEY_HMAC_SHA256, KD_USE_ENCRYPT));
    ck_assert(!kd_key_usages_fit(KD_KEY_HMAC_SHA384, 0));
    ck_assert(!kd_key_usages_fit((enum kd_key_type)0, KD_USE_SIGN));
    ck_assert(kd_key_usages_fit(KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT | KD_USE_DERIVE));
}
END_TEST

static TCase *tcase_names(void) {
    TCase *c = tcase_create("names");
    tcase_add_test(c, names_that_are_not_there_are_refused);
    tcase_add_test(c, values_out_of_range_have_the_name_unknown);
    tcase_add_test(c, each_name_parses_back);
    tcase_add_test(c, everything_in_range_has_a_name_of_its_own);
    tcase_add_test(c, what_changes_the_token_is_not_repeated);
    tcase_add_test(c, what_gives_out_secrets_says_so);
    tcase_add_test(c, a_curve_key_signs_or_derives_and_never_both);
    return c;
}

UNIT_MAIN("names", tcase_names())
