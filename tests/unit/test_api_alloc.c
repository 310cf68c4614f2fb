// SPDX-License-Identifier: Apache-2.0
// test_api_alloc.c: the n-th allocation of the server's thread fails, for n =
// 1, 2, 3 ... until a request of each kind passes.  Whatever the answer, the
// server goes on and serves the next request.
#include "tests/unit/api_fixture.h"
#include "tests/unit/failing_memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- the sweep -------------------------------------------------------------

static struct fixture f;

static void mark_server(struct fixture *fixture KD_UNUSED) {
    memory_choose_thread();
}

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
    fixture_call(&f, mark_server);
}

static void setup_audited(void) {
    fixture_init(&f);
    fixture_start_audited(&f);
    fixture_call(&f, mark_server);
}

static void teardown(void) {
    fixture_stop(&f);
}

static void sweep(const char *method, const char *target, const char *body, int status) {
    unsigned n_failed = 0;
    fixture_settle(&f);
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, method, target, body == NULL ? "" : JSON_BODY, body, &a);
        const bool fails = memory_has_failed();
        n_failed += fails;
        ck_assert_msg(a.status == status || (fails && (a.status == 0 || a.status == 500)),
                      "%s %s, turn %u: %d %s", method, target, turn, a.status,
                      a.body == NULL ? "" : a.body);
        fixture_settle(&f);
    }
    ck_assert_uint_gt(n_failed, 0);
}

START_TEST(requests_survive_each_failing_allocation) {
    sweep("POST", "/v1/keys/k/mac", "{\"data\":\"aGk\",\"version\":1}", 200);
    sweep("POST", "/v1/keys/k/mac", "{\"items\":[{\"data\":\"aGk\"},{\"data\":\"aGk\"}]}", 200);
    sweep("POST", "/v1/keys/k/mac", "{\"data\":\"aGk\",\"what\":1}", 400);
    sweep("POST", "/v1/keys/k/ecdh", "{\"peer\":\"aGk\",\"kdf\":\"hkdf-sha256\"}", 200);
    sweep("POST", "/v1/keys", "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}",
          201);
    sweep("DELETE", "/v1/keys/k", NULL, 204);
    sweep("GET", "/v1/keys?limit=2", NULL, 200);
    sweep("GET", "/v1/secrets", NULL, 200);
    sweep("GET", "/v1/status", NULL, 200);
    sweep("GET", "/metrics", NULL, 200);
    sweep("GET", "/openapi.json", NULL, 200);
    sweep("PUT", "/v1/keys", NULL, 405);
}
END_TEST

START_TEST(long_value_is_whole_or_refused) {
    static const char body[] = "{\"data\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj\"}";
    fixture_settle(&f);
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask(&f, "POST", "/v1/keys/k/mac", JSON_BODY, body, &a);
        const bool fails = memory_has_failed();
        ck_assert_msg(a.status == 200 || (fails && (a.status == 0 || a.status == 500)),
                      "turn %u: %d", turn, a.status);
        if (a.status == 200) { // 'M', then all that was sent
            ck_assert_str_eq(text_of(&a, "mac", text),
                             "TQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIw");
        }
        fixture_settle(&f);
    }
}
END_TEST

START_TEST(channel_survives_each_failing_allocation) {
    sweep("POST", "/v1/peers",
          "{\"name\":\"n\",\"public_key\":{\"kty\":\"EC\",\"crv\":\"P-256\","
          "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","
          "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}}",
          201);
    sweep("GET", "/v1/peers", NULL, 200);
    sweep("POST", "/v1/handshakes", "{\"message\":\"aGk\"}", 201);
    sweep("POST", "/v1/handshakes/" FAKE_SESSION, "{\"message\":\"aGk\"}", 200);
    sweep("GET", "/v1/sessions", NULL, 200);
    sweep("POST", "/v1/sessions/resume", "{\"ticket\":\"aGk\",\"client_nonce\":\"aGk\"}", 201);
    sweep("POST", "/v1/sessions/" FAKE_SESSION "/key-update", NULL, 200);
    sweep("POST", "/v1/sessions/" FAKE_SESSION "/release", NULL, 200);
    sweep("POST", "/v1/records/seal", "{\"session\":\"" FAKE_SESSION "\",\"data\":\"aGk\"}", 200);
    sweep("POST", "/v1/records/open", "{\"items\":[{\"record\":\"MGhp\"},{\"record\":\"MA\"}]}",
          200);
}
END_TEST

START_TEST(opening_survives_each_failing_allocation) {
    struct fixture g;
    fixture_init(&g);
    memory_choose_thread();
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        memory_pause();
        struct kd_loop *loop = NULL;
        ck_assert_err(kd_loop_new(&loop), KD_OK);
        struct kd_http *h = NULL;
        memory_resume();
        const enum kd_err err = kd_http_open(loop, &g.service, &g.config, &h);
        const bool fails = memory_has_failed();
        ck_assert_msg((err == KD_OK) == (h != NULL), "turn %u", turn);
        ck_assert(fails || err == KD_OK);
        kd_http_close(h);
        kd_loop_free(loop);
        ck_assert_int_ne(access(g.path, F_OK), 0);
    }
    fixture_stop(&g);
}
END_TEST

START_TEST(audit_log_survives_each_failing_allocation) {
    sweep("DELETE", "/v1/keys/k", NULL, 204);
    sweep("POST", "/v1/keys", "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}",
          201);
    sweep("POST", "/v1/handshakes/" FAKE_SESSION, "{\"message\":\"aGk\"}", 200);
    sweep("GET", "/v1/audit", NULL, 200);
}
END_TEST

START_TEST(what_is_asked_stands_whole_in_the_audit_log_or_is_not_begun) {
    char line[4096];
    unsigned n_asked = 0;
    sweep("POST", "/v1/keys", "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}",
          201);
    FILE *in = fopen(f.audit_path, "r");
    ck_assert_ptr_nonnull(in);
    while (fgets(line, sizeof(line), in) != NULL) {
        if (strstr(line, "\"phase\":\"asked\"") != NULL) {
            n_asked++;
            ck_assert_ptr_nonnull(strstr(line, "\"input\":{\"name\":\"n\",\"type\":\"aes-256\"}"));
        }
    }
    fclose(in);
    ck_assert_uint_gt(n_asked, 1);
}
END_TEST

static TCase *tcase_alloc(void) {
    TCase *c = tcase_create("alloc");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, requests_survive_each_failing_allocation);
    tcase_add_test(c, long_value_is_whole_or_refused);
    tcase_add_test(c, channel_survives_each_failing_allocation);
    tcase_add_test(c, opening_survives_each_failing_allocation);
    return c;
}

static TCase *tcase_audited(void) {
    TCase *c = tcase_create("audited");
    tcase_add_checked_fixture(c, setup_audited, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, audit_log_survives_each_failing_allocation);
    tcase_add_test(c, what_is_asked_stands_whole_in_the_audit_log_or_is_not_begun);
    return c;
}

UNIT_MAIN("api_alloc", tcase_alloc(), tcase_audited())
