// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

struct entry {
    char key[32];
    bool seen;
};

static struct kd_bytes key_of(const struct entry *e) {
    return kd_bytes_of_text(e->key);
}

static struct entry entries[5000];

static void fill(struct kd_map *m, size_t n) {
    for (size_t i = 0; i < n; i++) {
        entries[i].seen = false;
        snprintf(entries[i].key, sizeof(entries[i].key), "key-%zu", i);
        ck_assert_err(kd_map_add(m, key_of(&entries[i]), &entries[i]), KD_OK);
    }
}

START_TEST(an_empty_map_has_nothing) {
    kd_auto(map) struct kd_map m = KD_MAP_INIT;
    size_t cursor = 0;
    ck_assert_ptr_null(kd_map_get(&m, kd_bytes_of_text("a")));
    ck_assert_ptr_null(kd_map_remove(&m, kd_bytes_of_text("a")));
    ck_assert_ptr_null(kd_map_next(&m, &cursor));
    ck_assert_uint_eq(kd_map_count(&m), 0);
}
END_TEST

START_TEST(what_was_added_is_found_and_nothing_else) {
    kd_auto(map) struct kd_map m = KD_MAP_INIT;
    fill(&m, KD_COUNT_OF(entries));
    ck_assert_uint_eq(kd_map_count(&m), KD_COUNT_OF(entries));
    for (size_t i = 0; i < KD_COUNT_OF(entries); i++) {
        ck_assert_ptr_eq(kd_map_get(&m, key_of(&entries[i])), &entries[i]);
    }
    ck_assert_ptr_null(kd_map_get(&m, kd_bytes_of_text("key-5000")));
    ck_assert_ptr_null(kd_map_get(&m, KD_BYTES_NONE));
}
END_TEST

START_TEST(removed_entries_are_gone_and_the_rest_stays) {
    kd_auto(map) struct kd_map m = KD_MAP_INIT;
    fill(&m, 1000);
    for (size_t i = 0; i < 1000; i += 2) {
        ck_assert_ptr_eq(kd_map_remove(&m, key_of(&entries[i])), &entries[i]);
    }
    for (size_t i = 0; i < 1000; i++) {
        ck_assert_ptr_eq(kd_map_get(&m, key_of(&entries[i])), i % 2 == 0 ? NULL : &entries[i]);
    }
    ck_assert_uint_eq(kd_map_count(&m), 500);
}
END_TEST

START_TEST(a_kept_place_is_there_whatever_comes_meanwhile) {
    enum { KEPT = 3 };
    static struct entry late[KEPT] = { { "late-0", false },
                                       { "late-1", false },
                                       { "late-2", false } };
    for (size_t n = 0; n < 200; n++) {
        kd_auto(map) struct kd_map m = KD_MAP_INIT;
        fill(&m, n / 2);
        ck_assert_err(kd_map_keep(&m, KEPT), KD_OK);
        for (size_t i = n / 2; i < n; i++) {
            snprintf(entries[i].key, sizeof(entries[i].key), "key-%zu", i);
            ck_assert_err(kd_map_add(&m, key_of(&entries[i]), &entries[i]), KD_OK);
            ck_assert_ptr_eq(kd_map_remove(&m, key_of(&entries[i])), &entries[i]);
        }
        const struct kd_map_slot *slots = m.slots;
        kd_map_unkeep(&m, KEPT);
        for (size_t i = 0; i < KEPT; i++) {
            ck_assert_err(kd_map_add(&m, key_of(&late[i]), &late[i]), KD_OK);
        }
        ck_assert_ptr_eq(m.slots, slots); // no other room was needed
    }
}
END_TEST

START_TEST(a_walk_sees_each_entry_once_while_it_removes_them) {
    kd_auto(map) struct kd_map m = KD_MAP_INIT;
    fill(&m, 1000);
    size_t cursor = 0;
    size_t n = 0;
    for (struct entry *e; (e = kd_map_next(&m, &cursor)) != NULL; n++) {
        ck_assert(!e->seen);
        e->seen = true;
        ck_assert_ptr_eq(kd_map_remove(&m, key_of(e)), e);
    }
    ck_assert_uint_eq(n, 1000);
    ck_assert_uint_eq(kd_map_count(&m), 0);
}
END_TEST

START_TEST(adding_and_removing_for_long_does_not_grow_it) {
    kd_auto(map) struct kd_map m = KD_MAP_INIT;
    fill(&m, 10);
    for (size_t i = 0; i < 100000; i++) {
        struct entry *e = &entries[i % 10];
        ck_assert_ptr_eq(kd_map_remove(&m, key_of(e)), e);
        ck_assert_err(kd_map_add(&m, key_of(e), e), KD_OK);
    }
    ck_assert_uint_le(m.cap, 64);
}
END_TEST

START_TEST(what_each_name_has_is_made_once_and_gone_when_it_is_freed) {
    struct share {
        char name[KD_NAME_MAX_BYTES + 1];
        size_t n;
    };
    static const char longest[] =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    ck_assert_uint_eq(strlen(longest), KD_NAME_MAX_BYTES);
    kd_auto(map) struct kd_map m = KD_MAP_INIT;
    struct share *a = kd_map_named(&m, "a", sizeof(*a));
    struct share *b = kd_map_named(&m, longest, sizeof(*b));
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_str_eq(a->name, "a");
    ck_assert_str_eq(b->name, longest);
    ck_assert_uint_eq(a->n, 0);
    a->n = 7;
    ck_assert_ptr_eq(kd_map_named(&m, "a", sizeof(*a)), a);
    ck_assert_uint_eq(a->n, 7);
    kd_map_free_named(&m, a);
    ck_assert_ptr_null(kd_map_get(&m, kd_bytes_of_text("a")));
    ck_assert_ptr_eq(kd_map_get(&m, kd_bytes_of_text(longest)), b);
    kd_map_free_named(&m, b);
    ck_assert_uint_eq(kd_map_count(&m), 0);
}
END_TEST

static TCase *tcase_map(void) {
    TCase *t = tcase_create("map");
    tcase_add_test(t, an_empty_map_has_nothing);
    tcase_add_test(t, what_was_added_is_found_and_nothing_else);
    tcase_add_test(t, removed_entries_are_gone_and_the_rest_stays);
    tcase_add_test(t, a_kept_place_is_there_whatever_comes_meanwhile);
    tcase_add_test(t, a_walk_sees_each_entry_once_while_it_removes_them);
    tcase_add_test(t, adding_and_removing_for_long_does_not_grow_it);
    tcase_add_test(t, what_each_name_has_is_made_once_and_gone_when_it_is_freed);
    return t;
}

UNIT_MAIN("map", tcase_map())
