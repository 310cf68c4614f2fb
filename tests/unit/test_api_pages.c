// SPDX-License-Identifier: Apache-2.0
// Pages of keys with as many versions as a key can have: none is too long for an answer.
#include "tests/unit/api_fixture.h"

#include <stdio.h>
#include <string.h>

enum {
    KEYS = 40,             // of 0.6 MiB each: several pages
    MORE_VERSIONS = 22000, // than can be made: nearly an answer
    TOO_MANY_VERSIONS = 40000,
};

static struct fixture f;
static struct kd_key keys[KEYS];
static struct kd_key_version versions[TOO_MANY_VERSIONS];

static void setup(void) {
    static uint8_t point[97] = { 0x04 };
    for (size_t i = 0; i < TOO_MANY_VERSIONS; i++) {
        versions[i] = (struct kd_key_version) {
            .number = UINT32_MAX - TOO_MANY_VERSIONS + (uint32_t)i,
            .state = KD_VERSION_DISABLED,
            .created_ms = 1,
            .ref = { .type = KD_KEY_EC_P384, .proof = { point, sizeof(point) } },
        };
    }
    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = (struct kd_key) {
            .type = KD_KEY_EC_P384,
            .usages = KD_USE_SIGN,
            .n_versions = KD_KEY_VERSIONS_MAX,
            .versions = versions,
        };
        snprintf(keys[i].name, sizeof(keys[i].name), "k%02zu", i);
    }
    fixture_init(&f);
    f.service.listed = keys;
    f.service.n_listed = KEYS;
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

// How many keys stand in the page behind this one, which begins with the one after it.
static size_t count(const struct answer *a, size_t first) {
    char begin[64];
    size_t n = 0;
    ck_assert_int_eq(a->status, 200);
    for (const char *at = a->body; (at = strstr(at, "{\"name\":\"")) != NULL; at++) {
        snprintf(begin, sizeof(begin), "{\"name\":\"k%02zu\",", first + n++);
        ck_assert_msg(strncmp(at, begin, strlen(begin)) == 0, "not %s", begin);
    }
    return n;
}

// And where it says to go on; 0: nowhere.
static size_t next_of(const struct answer *a) {
    unsigned number = 0;
    const char *next = strstr(a->body, "}],\"next\":");
    ck_assert_ptr_nonnull(next);
    if (strcmp(next, "}],\"next\":null}") != 0) {
        ck_assert_int_eq(sscanf(next, "}],\"next\":\"k%2u\"}", &number), 1);
        number++;
    }
    return number;
}

static size_t get_page(size_t first, size_t limit, size_t *next) {
    kd_auto(answer) struct answer a = { 0 };
    char target[64];
    snprintf(target, sizeof(target), "/v1/keys?limit=%zu", limit);
    if (first > 0) {
        snprintf(target, sizeof(target), "/v1/keys?limit=%zu&after=k%02zu", limit, first - 1);
    }
    ask(&f, "GET", target, "", NULL, &a);
    const size_t n = count(&a, first);
    *next = next_of(&a);
    return n;
}

START_TEST(page_ends_before_it_is_too_long_and_says_where_to_go_on) {
    size_t first = 0;
    size_t next = 0;
    unsigned pages = 0;
    do {
        const size_t n = get_page(first, 1000, &next);
        ck_assert_uint_gt(n, 1);
        ck_assert_uint_eq(next, first + n == KEYS ? 0 : first + n);
        first += n;
        pages++;
    } while (next > 0);
    ck_assert_uint_eq(first, KEYS); // each of them once
    ck_assert_uint_gt(pages, 2);
}
END_TEST

START_TEST(page_that_is_short_enough_is_as_long_as_was_asked) {
    size_t next = 0;
    ck_assert_uint_eq(get_page(0, 3, &next), 3);
    ck_assert_uint_eq(next, 3);
    ck_assert_uint_eq(get_page(KEYS - 3, 3, &next), 3);
    ck_assert_uint_eq(next, 0);
}
END_TEST

// Of a registry from before there was a limit.
START_TEST(key_with_more_versions_than_can_be_made_has_a_page_of_its_own) {
    size_t next = 0;
    keys[2].n_versions = MORE_VERSIONS;
    keys[3].n_versions = MORE_VERSIONS;
    ck_assert_uint_eq(get_page(0, 1000, &next), 2);
    ck_assert_uint_eq(next, 2);
    ck_assert_uint_eq(get_page(2, 1000, &next), 1);
    ck_assert_uint_eq(next, 3);
    ck_assert_uint_eq(get_page(3, 1000, &next), 1);
    ck_assert_uint_eq(next, 4);
    ck_assert_uint_gt(get_page(4, 1000, &next), 1);
}
END_TEST

// The bytes of an answer with one key; 0: there is none, and why is said.
static size_t length(size_t n_versions) {
    kd_auto(answer) struct answer a = { 0 };
    keys[0].n_versions = n_versions;
    ask(&f, "GET", "/v1/keys?limit=1", "", NULL, &a);
    if (a.status != 200) {
        ck_assert_problem(&a, 500, "bug");
        return 0;
    }
    return strlen(a.body);
}

// By numbers of fewer digits than the ten that all have.
static void shorten(size_t bytes) {
    for (size_t i = 0; bytes > 0; i++) {
        const size_t less = bytes < 9 ? bytes : 9;
        versions[i].number = 1;
        for (size_t digits = 1; digits < 10 - less; digits++) {
            versions[i].number *= 10;
        }
        bytes -= less;
    }
}

START_TEST(answer_is_as_long_as_one_may_be_and_no_longer) {
    const size_t each = length(1001) - length(1000);
    const size_t others = length(1000) - 1000 * each;
    const size_t n = (KD_HTTP_ANSWER_MAX_BYTES - others) / each + 1;
    const size_t excess = others + n * each - KD_HTTP_ANSWER_MAX_BYTES;
    ck_assert_uint_lt(n, TOO_MANY_VERSIONS);
    ck_assert_uint_eq(length(n), 0);
    shorten(excess - 1);
    ck_assert_uint_eq(length(n), 0);
    shorten(excess);
    ck_assert_uint_eq(length(n), KD_HTTP_ANSWER_MAX_BYTES);
}
END_TEST

static TCase *tcase_pages(void) {
    TCase *t = tcase_create("pages");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, page_ends_before_it_is_too_long_and_says_where_to_go_on);
    tcase_add_test(t, page_that_is_short_enough_is_as_long_as_was_asked);
    tcase_add_test(t, answer_is_as_long_as_one_may_be_and_no_longer);
    tcase_add_test(t, key_with_more_versions_than_can_be_made_has_a_page_of_its_own);
    return t;
}

UNIT_MAIN("api_pages", tcase_pages())
