// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SIZE = 200, MANY = 100, NOBODY = 65534 };

static bool is_zero(const uint8_t *p) {
    for (size_t i = 0; i < SIZE; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

START_TEST(cells_are_apart_and_empty_again_after_use) {
    struct kd_cells c;
    void *cells[MANY];
    kd_cells_init(&c, SIZE);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < MANY; i++) {
            ck_assert_err(kd_cells_get(&c, &cells[i]), KD_OK);
            ck_assert(is_zero(cells[i]) && (uintptr_t)cells[i] % 16 == 0);
            memset(cells[i], (int)i + 1, SIZE);
        }
        for (size_t i = 0; i < MANY; i++) {
            const uint8_t *p = cells[i];
            ck_assert(p[0] == i + 1 && p[SIZE - 1] == i + 1);
            kd_cells_put(&c, cells[i]);
        }
        ck_assert_uint_eq(c.n_pages, (MANY + 18) / 19); // 208 bytes each, no page more later
    }
    kd_cells_put(&c, NULL);
    kd_cells_wipe(&c);
}
END_TEST

START_TEST(without_memory_to_lock_there_are_no_more_cells) {
    struct kd_cells c;
    void *cell = NULL;
    kd_cells_init(&c, SIZE);
    const struct rlimit little = { 8192, 8192 };
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &little), 0);
    ck_assert(geteuid() != 0 || setuid(NOBODY) == 0); // root may lock what it likes
    size_t n = 0;
    enum kd_err r;
    while ((r = kd_cells_get(&c, &cell)) == KD_OK && n < 1000) {
        n++;
    }
    ck_assert_err(r, KD_ERR_NO_MEMORY);
    ck_assert_uint_eq(n, 2 * 19);
    kd_cells_put(&c, cell);
    ck_assert_err(kd_cells_get(&c, &cell), KD_OK);
    kd_cells_wipe(&c);
}
END_TEST

static TCase *tcase_cells(void) {
    TCase *c = tcase_create("cells");
    tcase_add_test(c, cells_are_apart_and_empty_again_after_use);
    tcase_add_test(c, without_memory_to_lock_there_are_no_more_cells);
    return c;
}

UNIT_MAIN("cells", tcase_cells())
