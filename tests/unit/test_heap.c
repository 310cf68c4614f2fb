// SPDX-License-Identifier: Apache-2.0
// test_heap.c: what is first is the lowest, whatever comes, goes and changes; each is found by
// its place.
#include "base/base.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { NODES = 40, STEPS = 20000 };

struct thing {
    int number;
    struct kd_heap_node node;
};

static struct kd_heap heap;
static struct thing things[NODES];

static void setup(void) {
    memset(&heap, 0, sizeof(heap));
    memset(things, 0, sizeof(things));
    for (int i = 0; i < NODES; i++) {
        things[i].number = i;
    }
}

static void teardown(void) {
    kd_heap_wipe(&heap);
}

static void check_heap(void) {
    size_t n = 0;
    uint64_t lowest = UINT64_MAX;
    for (int i = 0; i < NODES; i++) {
        const struct kd_heap_node *node = &things[i].node;
        if (node->place != 0) {
            n++;
            lowest = node->rank < lowest ? node->rank : lowest;
            ck_assert_ptr_eq(heap.nodes[node->place - 1], node);
        }
    }
    ck_assert_uint_eq(heap.n, n);
    const struct kd_heap_node *first = kd_heap_first(&heap);
    ck_assert((first == NULL) == (n == 0));
    ck_assert(first == NULL || first->rank == lowest);
}

START_TEST(the_lowest_comes_first_whatever_is_put_moved_and_removed) {
    ck_assert_err(kd_heap_make_room(&heap, NODES), KD_OK);
    uint32_t random = 1;
    for (int i = 0; i < STEPS; i++) {
        random = random * 1664525u + 1013904223u;
        struct kd_heap_node *node = &things[(random >> 8) % NODES].node;
        if (random >> 30 == 0) {
            kd_heap_remove(&heap, node);
            ck_assert_uint_eq(node->place, 0);
        } else {
            kd_heap_put(&heap, node, (random >> 16) % 64); // many are equal
        }
        check_heap();
    }
    for (uint64_t before = 0; kd_heap_first(&heap) != NULL; check_heap()) {
        ck_assert_uint_ge(kd_heap_first(&heap)->rank, before);
        before = kd_heap_first(&heap)->rank;
        kd_heap_remove(&heap, kd_heap_first(&heap));
    }
}
END_TEST

START_TEST(what_a_node_is_part_of_is_found) {
    ck_assert_err(kd_heap_make_room(&heap, 2), KD_OK);
    kd_heap_put(&heap, &things[3].node, 9);
    kd_heap_put(&heap, &things[7].node, UINT64_MAX);
    ck_assert_int_eq(KD_HEAP_OF(struct thing, node, kd_heap_first(&heap))->number, 3);
    kd_heap_remove(&heap, &things[3].node);
    kd_heap_remove(&heap, &things[3].node); // it is not in it any more
    ck_assert_int_eq(KD_HEAP_OF(struct thing, node, kd_heap_first(&heap))->number, 7);
}
END_TEST

START_TEST(without_memory_it_stays_as_it_was) {
    ck_assert_err(kd_heap_make_room(&heap, 1), KD_OK);
    kd_heap_put(&heap, &things[0].node, 1);
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = kd_heap_make_room(&heap, NODES);
        ck_assert_err(r, memory_has_failed() ? KD_ERR_NO_MEMORY : KD_OK);
        check_heap();
    }
    ck_assert_uint_eq(turn, 2); // the one that it needs fails once
    ck_assert_uint_ge(heap.cap, NODES);
    ck_assert_err(kd_heap_make_room(&heap, NODES), KD_OK); // is there already
}
END_TEST

static TCase *tcase_heap(void) {
    TCase *c = tcase_create("heap");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, the_lowest_comes_first_whatever_is_put_moved_and_removed);
    tcase_add_test(c, what_a_node_is_part_of_is_found);
    tcase_add_test(c, without_memory_it_stays_as_it_was);
    return c;
}

UNIT_MAIN("heap", tcase_heap())
