// SPDX-License-Identifier: Apache-2.0
// app_fixture.c: see app_fixture.h.
#include "tests/unit/app_fixture.h"

#include "tests/unit/failing_memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- a service that answers as it is told ----------------------------------

struct fake_http fake;
struct keyd_service *service;
const struct keyd_with with_key = { .key = "k" };
const struct keyd_bytes data = { "data", 4 };

void app_start(const char *answer) {
    fake = (struct fake_http) { .answers = { answer }, .n_answers = 1 };
    fake_http_start(&fake);
    const struct keyd_service_config config = { .socket = fake.socket, .timeout_ms = 50000 };
    ck_assert_keyd(keyd_service_open(&config, &service), KEYD_OK);
}

void app_stop(void) {
    keyd_service_close(service);
    service = NULL;
    fake_http_stop(&fake);
}

void app_gives(app_call_fn *call, const char *answer, enum keyd_err expected) {
    app_start(answer);
    const enum keyd_err err = call();
    ck_assert_msg(err == expected, "%s, not %s, for %s", keyd_err_name(err),
                  keyd_err_name(expected), strstr(answer, "\r\n\r\n"));
    ck_assert((keyd_detail()[0] == '\0') == (err == KEYD_OK));
    app_stop();
}

// ---- an answer with something wrong ----------------------------------------

static struct {
    app_call_fn *call;
    json_t *whole;
    const char *optional, *unread;
} judged;

static bool is_listed(const char *names, const char *name) {
    char word[64];
    snprintf(word, sizeof(word), " %s ", name);
    return strstr(names, word) != NULL;
}

static void expect_now(enum keyd_err expected, const char *what, const char *name) {
    char *text = json_dumps(judged.whole, 0);
    app_start(FAKE_JSON(200, text));
    const enum keyd_err err = judged.call();
    ck_assert_msg(err == expected, "%s %s: %s, not %s: %s", name, what, keyd_err_name(err),
                  keyd_err_name(expected), text);
    app_stop();
    free(text);
}

// Their rooms take more than the fake server can send.
static const char large[] = " message certificate ";

static json_t *long_text(void) {
    char text[2000];
    memset(text, 'A', sizeof(text));
    return json_stringn(text, sizeof(text));
}

static void change_each_member(json_t *at);

static void change_member(json_t *object, const char *name, json_t *value) {
    const bool is_unread = is_listed(judged.unread, name);
    json_incref(value);
    if (json_is_object(value) || json_is_array(value)) {
        change_each_member(value);
    }
    json_object_set_new(object, name, json_is_string(value) ? json_integer(7) : json_string("!"));
    expect_now(is_unread ? KEYD_OK : KEYD_ERR_SERVER, "is of another type", name);
    if (json_is_string(value) && !is_listed(large, name)) {
        json_object_set_new(object, name, long_text());
        expect_now(is_unread ? KEYD_OK : KEYD_ERR_SERVER, "is too long", name);
    }
    json_object_del(object, name);
    expect_now(is_listed(judged.optional, name) || is_unread ? KEYD_OK : KEYD_ERR_SERVER,
               "is missing", name);
    json_object_set_new(object, name, value);
}

static void change_each_member(json_t *at) {
    size_t i;
    json_t *element;
    json_array_foreach(at, i, element) {
        change_each_member(element);
    }
    // The names are those of a copy, as members come and go.
    json_t *names = json_copy(at);
    const char *name;
    json_t *value;
    json_object_foreach(names, name, value) {
        change_member(at, name, value);
    }
    json_decref(names);
}

static void cut(app_call_fn *call, const char *good) {
    char part[3000];
    const size_t n = strlen(good);
    ck_assert_uint_lt(n, sizeof(part));
    for (size_t to = 0; to < n; to += to + n / 12 < n - 1 && to != n - 1 ? n / 12 : 1) {
        snprintf(part, sizeof(part), "%.*s", (int)to, good);
        app_gives(call, FAKE_JSON(200, part), KEYD_ERR_SERVER);
    }
}

void app_judges(app_call_fn *call, const char *good, const char *optional, const char *unread) {
    app_gives(call, FAKE_JSON(200, good), KEYD_OK);
    app_gives(call, PROBLEM(409, "key-usage"), KEYD_ERR_STATE);
    ck_assert_str_eq(keyd_problem(), "key-usage");
    app_gives(call, fake_answer(200, "text/plain", "x"), KEYD_ERR_SERVER);
    app_gives(call, FAKE_JSON(200, "[]"), KEYD_ERR_SERVER);
    cut(call, good);
    judged.call = call;
    judged.whole = json_loads(good, 0, NULL);
    judged.optional = optional;
    judged.unread = unread;
    change_each_member(judged.whole);
    json_decref(judged.whole);
}

// ---- no memory -------------------------------------------------------------

void app_each_in_turn(app_call_fn *call) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum keyd_err err = call();
        ck_assert_keyd(err, memory_has_failed() ? KEYD_ERR_MEMORY : KEYD_OK);
    }
    ck_assert_uint_gt(turn, 0);
}
