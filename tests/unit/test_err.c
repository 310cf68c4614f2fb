// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

START_TEST(every_error_has_a_name_a_sentence_and_a_class) {
    for (int e = 0; e < KD_ERR_COUNT; e++) {
        ck_assert_msg(kd_err_name(e) != NULL, "error %d has no row", e);
        ck_assert_ptr_nonnull(kd_err_sentence(e));
        ck_assert((kd_err_class(e) == KD_CLASS_OK) == (e == KD_OK));
    }
}
END_TEST

START_TEST(names_are_unique_and_fit_for_a_urn) {
    for (int e = 0; e < KD_ERR_COUNT; e++) {
        ck_assert_uint_eq(strspn(kd_err_name(e), "abcdefghijklmnopqrstuvwxyz0123456789-"),
                          strlen(kd_err_name(e)));
        for (int other = 0; other < e; other++) {
            ck_assert_str_ne(kd_err_name(e), kd_err_name(other));
        }
    }
}
END_TEST

START_TEST(an_unknown_value_reads_as_a_bug) {
    ck_assert(!kd_err_is_known(KD_ERR_COUNT));
    ck_assert(kd_err_is_known(KD_ERR_COUNT - 1));
    ck_assert_str_eq(kd_err_name((enum kd_err)KD_ERR_COUNT), "bug");
    ck_assert_str_eq(kd_err_name((enum kd_err) - 1), "bug");
}
END_TEST

START_TEST(errno_maps_to_memory_file_or_system) {
    ck_assert_err(kd_err_from_errno(ENOMEM), KD_ERR_NO_MEMORY);
    ck_assert_err(kd_err_from_errno(ENOENT), KD_ERR_NO_FILE);
    ck_assert_err(kd_err_from_errno(EACCES), KD_ERR_SYSTEM);
}
END_TEST

static TCase *tcase_err(void) {
    TCase *t = tcase_create("err");
    tcase_add_test(t, every_error_has_a_name_a_sentence_and_a_class);
    tcase_add_test(t, names_are_unique_and_fit_for_a_urn);
    tcase_add_test(t, an_unknown_value_reads_as_a_bug);
    tcase_add_test(t, errno_maps_to_memory_file_or_system);
    return t;
}

UNIT_MAIN("err", tcase_err())
