// SPDX-License-Identifier: Apache-2.0
// test_api_problem.c: every error is a problem with a status.
#include "api/problem.h"

#include "tests/unit/unit.h"

#include <jansson.h>
#include <string.h>

static json_t *written(enum kd_err err, const char *detail, const char *field, const char *id) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    kd_problem_write(&out, err, detail, field, id);
    ck_assert_err(kd_buf_finish(&out), KD_OK);
    json_t *root = json_loadb((const char *)out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(root);
    return root;
}

static const char *text(const json_t *root, const char *name) {
    return json_string_value(json_object_get(root, name));
}

START_TEST(every_class_has_its_status) {
    static const struct {
        enum kd_err err;
        unsigned status;
    } rows[] = {
        { KD_OK, 200 },
        { KD_ERR_FIELD_INVALID, 400 },
        { KD_ERR_UNAUTHENTICATED, 401 },
        { KD_ERR_DENIED, 403 },
        { KD_ERR_NO_KEY, 404 },
        { KD_ERR_METHOD, 405 },
        { KD_ERR_KEY_EXISTS, 409 },
        { KD_ERR_BODY_TOO_LARGE, 413 },
        { KD_ERR_MEDIA_TYPE, 415 },
        { KD_ERR_NOT_AUTHENTIC, 422 },
        { KD_ERR_NO_MEMORY, 500 },
        { KD_ERR_BUG, 500 },
        { KD_ERR_LACKING, 501 },
        { KD_ERR_TOKEN, 502 },
        { KD_ERR_BUSY, 503 },
        { KD_ERR_PIN_REFUSED, 503 },
        { KD_ERR_DEADLINE, 504 },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        ck_assert_uint_eq(kd_problem_status(rows[i].err), rows[i].status);
    }
}
END_TEST

START_TEST(every_error_is_a_problem) {
    for (unsigned e = 1; e < KD_ERR_COUNT; e++) {
        const enum kd_err err = (enum kd_err)e;
        json_t *root = written(err, "d", "f", "r");
        ck_assert_int_eq(strncmp(text(root, "type"), KD_PROBLEM_TYPE, strlen(KD_PROBLEM_TYPE)), 0);
        ck_assert_str_eq(text(root, "type") + strlen(KD_PROBLEM_TYPE), kd_err_name(err));
        ck_assert_str_eq(text(root, "title"), kd_err_sentence(err));
        ck_assert_int_eq(json_integer_value(json_object_get(root, "status")),
                         kd_problem_status(err));
        ck_assert_int_ge(kd_problem_status(err), 400);
        ck_assert_str_eq(text(root, "detail"), "d");
        ck_assert_str_eq(text(root, "field"), "f");
        ck_assert_str_eq(text(root, "request_id"), "r");
        json_decref(root);
    }
}
END_TEST

START_TEST(empty_members_are_left_out) {
    json_t *root = written(KD_ERR_DENIED, "", "", "");
    ck_assert_uint_eq(json_object_size(root), 3);
    json_decref(root);
}
END_TEST

START_TEST(one_member_more_goes_with_a_problem) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(4096);
    kd_problem_write_with(&out, KD_ERR_DENIED, "", "", "", "message", kd_bytes_of_text("hi"));
    ck_assert_err(kd_buf_finish(&out), KD_OK);
    json_t *root = json_loadb((const char *)out.p, out.n, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_str_eq(text(root, "message"), "aGk");
    ck_assert_uint_eq(json_object_size(root), 4);
    json_decref(root);
}
END_TEST

static TCase *tcase_problem(void) {
    TCase *c = tcase_create("problem");
    tcase_add_test(c, every_class_has_its_status);
    tcase_add_test(c, every_error_is_a_problem);
    tcase_add_test(c, empty_members_are_left_out);
    tcase_add_test(c, one_member_more_goes_with_a_problem);
    return c;
}

UNIT_MAIN("api_problem", tcase_problem())
