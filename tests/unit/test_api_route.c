// SPDX-License-Identifier: Apache-2.0
// test_api_route.c: targets find their rows, and nothing else does.
#include "api/route.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static void expect(const char *target, enum kd_err expected, const char *path, const char *param) {
    const struct kd_route *r = NULL;
    char got[KD_NAME_MAX_BYTES + 1] = "";
    uint32_t version;
    ck_assert_err(kd_route_find(target, &r, got, &version), expected);
    if (path == NULL) {
        ck_assert_ptr_null(r);
    } else {
        ck_assert_str_eq(r->path, path);
        ck_assert_str_eq(got, param);
    }
}

START_TEST(targets_that_are_not_there_are_not_found) {
    static const char *const targets[] = {
        "",
        "/",
        "v1/keys",
        "//v1/keys",
        "/v1/keys/",
        "/v1//keys",
        "/v1/keys/a/",
        "/v1/keys/a//",
        "/v1/keys/a/sign/",
        "/v1/keys//sign",
        "/V1/keys",
        "/v1/key",
        "/v1/keyss",
        "/v1/keys/a/signs",
        "/v1/keys/a/sig",
        "*",
        "/v1/%6beys",
        "/v1/secrets/a/sign",
        "http:/v1/keys",
        "http:///v1/keys",
        "ftp://host/v1/keys",
        "https://host",
        "https://host?x=/v1/keys",
    };
    for (size_t i = 0; i < KD_COUNT_OF(targets); i++) {
        expect(targets[i], KD_ERR_NO_ROUTE, NULL, "");
    }
}
END_TEST

// RFC 9112 3.2.2.
START_TEST(target_may_be_a_whole_uri) {
    expect("http://host/v1/keys", KD_OK, "/v1/keys", "");
    expect("HTTPS://host:8443/v1/keys/a?after=b", KD_OK, "/v1/keys/{name}", "a");
}
END_TEST

START_TEST(names_are_checked_after_one_decoding) {
    expect("/v1/keys/a", KD_OK, "/v1/keys/{name}", "a");
    expect("/v1/keys/%61%2D1", KD_OK, "/v1/keys/{name}", "a-1");
    expect("/v1/keys/sign/sign", KD_OK, "/v1/keys/{name}/sign", "sign");
    expect("/v1/keys/a?after=%zz/sign", KD_OK, "/v1/keys/{name}", "a");
    static const char *const bad[] = { "/v1/keys/.a",     "/v1/keys/a%2fb", "/v1/keys/%25",
                                       "/v1/keys/a%2561", "/v1/keys/%00",   "/v1/keys/a b" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        expect(bad[i], KD_ERR_BAD_NAME, "/v1/keys/{name}", "");
    }
    static const char *const broken[] = { "/v1/keys/%", "/v1/keys/a%6", "/v1/keys/%6/sign",
                                          "/v1/keys/%g1", "/v1/keys/a%6" };
    for (size_t i = 0; i < KD_COUNT_OF(broken); i++) {
        const struct kd_route *r = NULL;
        char got[KD_NAME_MAX_BYTES + 1];
        uint32_t version;
        ck_assert_err(kd_route_find(broken[i], &r, got, &version), KD_ERR_BAD_REQUEST);
    }
}
END_TEST

START_TEST(names_have_64_bytes_and_no_more) {
    char target[512] = "/v1/keys/";
    char name[KD_NAME_MAX_BYTES + 1];
    memset(name, 'n', KD_NAME_MAX_BYTES);
    name[KD_NAME_MAX_BYTES] = '\0';
    strcat(target, name);
    expect(target, KD_OK, "/v1/keys/{name}", name);
    strcat(target, "n");
    expect(target, KD_ERR_BAD_NAME, "/v1/keys/{name}", "");
    strcat(target, "%6e%6e%6e");
    expect(target, KD_ERR_BAD_NAME, "/v1/keys/{name}", "");
}
END_TEST

START_TEST(secret_ids_have_their_form) {
    expect("/v1/secrets/AAAAAAAAAAAAAAAAAAAA_-", KD_OK, "/v1/secrets/{id}",
           "AAAAAAAAAAAAAAAAAAAA_-");
    expect("/v1/secrets/AAAAAAAAAAAAAAAAAAAAA", KD_ERR_NO_SECRET, "/v1/secrets/{id}", "");
    expect("/v1/secrets/AAAAAAAAAAAAAAAAAAAAAAA", KD_ERR_NO_SECRET, "/v1/secrets/{id}", "");
    expect("/v1/secrets/AAAAAAAAAAAAAAAAAAAAA.", KD_ERR_NO_SECRET, "/v1/secrets/{id}", "");
}
END_TEST

START_TEST(ids_of_the_channel_have_their_form) {
    expect("/v1/sessions/0123456789abcdef", KD_OK, "/v1/sessions/{id}", "0123456789abcdef");
    expect("/v1/handshakes/0123456789abcdef", KD_OK, "/v1/handshakes/{id}", "0123456789abcdef");
    static const char *const bad[] = { "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF",
                                       "0123456789abcde%00", "0123456789abcdeg" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        char target[64];
        snprintf(target, sizeof(target), "/v1/sessions/%s", bad[i]);
        expect(target, KD_ERR_NO_SESSION, "/v1/sessions/{id}", "");
        snprintf(target, sizeof(target), "/v1/handshakes/%s", bad[i]);
        expect(target, KD_ERR_NO_HANDSHAKE, "/v1/handshakes/{id}", "");
    }
    expect("/v1/peers/.x", KD_ERR_BAD_NAME, "/v1/peers/{name}", "");
    expect("/v1/sessions/resume", KD_OK, "/v1/sessions/resume", "");
}
END_TEST

START_TEST(versions_are_numbers_of_a_key) {
    static const char path[] = "/v1/keys/{name}/versions/{version}";
    static const char *const bad[] = { "0", "01",         "-1",   "+1",  "1.0",
                                       "x", "4294967296", "1%00", "%20", "18446744073709551617" };
    char target[128];
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        snprintf(target, sizeof(target), "/v1/keys/a/versions/%s", bad[i]);
        expect(target, KD_ERR_NO_VERSION, path, "a");
    }
    expect("/v1/keys/a/versions", KD_ERR_NO_ROUTE, NULL, "");
    expect("/v1/keys/a/versions/", KD_ERR_NO_ROUTE, NULL, "");
    expect("/v1/keys//versions/1", KD_ERR_NO_ROUTE, NULL, "");
    expect("/v1/keys/a/versions/1/", KD_ERR_NO_ROUTE, NULL, "");
    expect("/v1/keys/a/versions/1/sign", KD_ERR_NO_ROUTE, NULL, "");
    expect("/v1/keys/.a/versions/1", KD_ERR_BAD_NAME, path, "");
    expect("/v1/keys/a/versions/%3", KD_ERR_BAD_REQUEST, path, "a");
    const struct kd_route *r = NULL;
    char name[KD_NAME_MAX_BYTES + 1];
    uint32_t version = 0;
    ck_assert_err(kd_route_find("/v1/keys/%61/versions/429496729%35?x=1", &r, name, &version),
                  KD_OK);
    ck_assert_str_eq(name, "a");
    ck_assert_uint_eq(version, UINT32_MAX);
    ck_assert_err(kd_route_find("/v1/keys/a", &r, name, &version), KD_OK);
    ck_assert_uint_eq(version, 0);
}
END_TEST

// What stands for the braces of a row's path.
static const char *value_of(const struct kd_route *row, const char *brace) {
    const bool is_hex = row->param == KD_PARAM_HANDSHAKE || row->param == KD_PARAM_SESSION;
    return strncmp(brace, "{version}", 9) == 0 ? "1"
           : is_hex                            ? "0123456789abcdef"
                                               : "AAAAAAAAAAAAAAAAAAAAAA";
}

START_TEST(every_row_is_found_by_its_path_and_method) {
    for (size_t i = 0; i < kd_route_count(); i++) {
        const struct kd_route *row = kd_route_at(i);
        char target[128] = "";
        const char *at = row->path;
        for (const char *brace; (brace = strchr(at, '{')) != NULL; at = strchr(brace, '}') + 1) {
            const size_t n = strlen(target);
            snprintf(target + n, sizeof(target) - n, "%.*s%s", (int)(brace - at), at,
                     value_of(row, brace));
        }
        const size_t n = strlen(target);
        snprintf(target + n, sizeof(target) - n, "%s", at);
        const struct kd_route *path = NULL;
        char param[KD_NAME_MAX_BYTES + 1];
        uint32_t version;
        ck_assert_err(kd_route_find(target, &path, param, &version), KD_OK);
        ck_assert_ptr_eq(kd_route_for(path, row->method), row);
        ck_assert_uint_eq(kd_route_index(row), i);
        ck_assert_uint_eq(version, row->param == KD_PARAM_VERSION);
    }
    ck_assert_uint_eq(kd_route_index(NULL), kd_route_count());
}
END_TEST

START_TEST(methods_of_a_path_are_told_apart) {
    const struct kd_route *path = NULL;
    char param[KD_NAME_MAX_BYTES + 1];
    uint32_t version;
    ck_assert_err(kd_route_find("/v1/keys", &path, param, &version), KD_OK);
    ck_assert_ptr_nonnull(kd_route_for(path, "HEAD"));
    ck_assert_str_eq(kd_route_for(path, "HEAD")->method, "GET");
    ck_assert_ptr_null(kd_route_for(path, "DELETE"));
    ck_assert_ptr_null(kd_route_for(path, "get"));
    ck_assert_ptr_null(kd_route_for(path, ""));
    kd_auto(buf) struct kd_buf allow = KD_BUF_INIT(64);
    kd_route_allow(path, &allow);
    ck_assert_str_eq(kd_buf_get_text(&allow), "GET, HEAD, POST");
}
END_TEST

static TCase *tcase_route(void) {
    TCase *c = tcase_create("route");
    tcase_add_test(c, targets_that_are_not_there_are_not_found);
    tcase_add_test(c, target_may_be_a_whole_uri);
    tcase_add_test(c, names_are_checked_after_one_decoding);
    tcase_add_test(c, names_have_64_bytes_and_no_more);
    tcase_add_test(c, secret_ids_have_their_form);
    tcase_add_test(c, ids_of_the_channel_have_their_form);
    tcase_add_test(c, versions_are_numbers_of_a_key);
    tcase_add_test(c, every_row_is_found_by_its_path_and_method);
    tcase_add_test(c, methods_of_a_path_are_told_apart);
    return c;
}

UNIT_MAIN("api_route", tcase_route())
