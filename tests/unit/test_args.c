// SPDX-License-Identifier: Apache-2.0
// test_args.c: what the command line may not be, then what it may.
#include "client/args.h"
#include "tests/unit/unit.h"

static const struct kd_option first[] = {
    { "in", "FILE", "" },
    { "digest", NULL, "" },
    { NULL, NULL, NULL },
};
static const struct kd_option second[] = {
    { "json", NULL, "" },
    { "help", NULL, "" },
    { NULL, NULL, NULL },
};

static struct kd_args args;
static char why[KD_WHY_BYTES];

static enum kd_err read_words(const char *const *words, int n) {
    args = (struct kd_args) { 0 };
    why[0] = '\0';
    return kd_args_read(n, (char *const *)(uintptr_t)words, first, second, &args, why);
}
#define READ(...)                                                                                  \
    read_words((const char *const[]) { __VA_ARGS__ },                                              \
               (int)KD_COUNT_OF(((const char *const[]) { __VA_ARGS__ })))

static void refused(enum kd_err e, const char *part) {
    ck_assert_err(e, KD_ERR_BAD_REQUEST);
    ck_assert_msg(strstr(why, part) != NULL, "\"%s\" lacks \"%s\"", why, part);
}

START_TEST(refuses_what_no_table_has) {
    refused(READ("--bogus"), "no option --bogus");
    refused(READ("--bogus=1"), "no option --bogus ");
    refused(READ("--"
                 "digest2"),
            "no option --digest2");
    refused(READ("--dig"), "no option --dig ");
    refused(READ("-x"), "no option -x");
    refused(READ("-json"), "two dashes");
    refused(READ("--=x"), "no option");
}
END_TEST

START_TEST(refuses_wrong_values) {
    refused(READ("--in"), "needs a value");
    refused(READ("--digest=yes"), "takes no value");
    refused(READ("--in", "a", "--in", "b"), "twice");
    refused(READ("--digest", "--digest"), "twice");
    const char *many[KD_WORDS_MAX + 1];
    for (size_t i = 0; i < KD_COUNT_OF(many); i++) {
        many[i] = "a";
    }
    ck_assert_err(read_words(many, KD_WORDS_MAX), KD_OK);
    refused(read_words(many, KD_WORDS_MAX + 1), "too many words");
}
END_TEST

START_TEST(refuses_bad_numbers_and_leaves_the_value) {
    static const char *const bad[] = {
        "", "0", "-1", "11", "1x", "01", " 1", "99999999999999999999"
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        uint64_t v = 77;
        ck_assert_err(READ("--in", bad[i]), KD_OK);
        ck_assert_err(kd_args_number(&args, "in", 1, 10, &v, why), KD_ERR_FIELD_INVALID);
        ck_assert_uint_eq(v, 77);
        ck_assert_str_eq(why, "--in takes a number from 1 to 10.");
    }
    uint64_t v = 77;
    ck_assert_err(kd_args_number(&args, "digest", 1, 10, &v, why), KD_OK);
    ck_assert_uint_eq(v, 77);
}
END_TEST

START_TEST(reads_words_options_and_their_ends) {
    ck_assert_err(READ("one", "--in", "f", "--json", "-", "--", "--digest"), KD_OK);
    ck_assert_uint_eq(args.n_words, 3);
    ck_assert_str_eq(args.words[1], "-");
    ck_assert_str_eq(args.words[2], "--digest");
    ck_assert_str_eq(kd_args_text(&args, "in"), "f");
    ck_assert(kd_args_has(&args, "json"));
    ck_assert(!kd_args_has(&args, "digest"));
    ck_assert_err(READ("--in=a=b"), KD_OK);
    ck_assert_str_eq(kd_args_text(&args, "in"), "a=b");
    ck_assert_err(READ("--in", "--json"), KD_OK); // a value may look like an option
    ck_assert_str_eq(kd_args_text(&args, "in"), "--json");
    ck_assert_err(READ("-h"), KD_OK);
    ck_assert(kd_args_has(&args, "help"));
}
END_TEST

START_TEST(reads_up_to_the_first_word) {
    const char *const words[] = { "--json", "sign", "--unknown" };
    int n = -1;
    args = (struct kd_args) { 0 };
    ck_assert_err(
        kd_args_read_to_word(3, (char *const *)(uintptr_t)words, NULL, second, &args, &n, why),
        KD_OK);
    ck_assert_int_eq(n, 1);
    ck_assert(kd_args_has(&args, "json"));
    ck_assert_uint_eq(args.n_words, 0);
}
END_TEST

static TCase *tcase_args(void) {
    TCase *t = tcase_create("args");
    tcase_add_test(t, refuses_what_no_table_has);
    tcase_add_test(t, refuses_wrong_values);
    tcase_add_test(t, refuses_bad_numbers_and_leaves_the_value);
    tcase_add_test(t, reads_words_options_and_their_ends);
    tcase_add_test(t, reads_up_to_the_first_word);
    return t;
}

UNIT_MAIN("args", tcase_args())
