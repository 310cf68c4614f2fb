// SPDX-License-Identifier: Apache-2.0
// test_api_sources.c: TLS handshakes in a second, of all and of each source.
#include "api/sources.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { MAX = 8, SHARE = 3, SECOND = 1000 };

static struct kd_sources s;

static void set_up(void) {
    s = (struct kd_sources) { .n = 0 };
}

static void tear_down(void) {
    kd_sources_wipe(&s);
    ck_assert_uint_eq(kd_map_count(&s.each), 0);
}

// Whether one more is let through.
static bool take_at(uint64_t second, const char *address) {
    struct sockaddr_storage a;
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
        memcpy(&a, &in, sizeof(in));
    } else {
        ck_assert_int_eq(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
        memcpy(&a, &in6, sizeof(in6));
    }
    return kd_sources_take(&s, second, (const struct sockaddr *)&a, MAX, SHARE);
}

static bool take(const char *address) {
    return take_at(SECOND, address);
}

static void take_share(const char *address) {
    for (int i = 0; i < SHARE; i++) {
        ck_assert(take(address));
    }
    ck_assert(!take(address));
}

START_TEST(source_has_its_share_and_what_is_refused_takes_none_of_the_others) {
    take_share("192.0.2.1");
    for (int i = 0; i < 10 * MAX; i++) {
        ck_assert(!take("192.0.2.1"));
    }
    take_share("192.0.2.2");
    ck_assert(!take("192.0.2.1"));
    for (int i = 2 * SHARE; i < MAX; i++) {
        ck_assert(take("192.0.2.3"));
    }
    ck_assert(!take("192.0.2.3")); // it has less than its share, and there are as many as may be
    ck_assert(!take("192.0.2.4"));
    ck_assert_uint_eq(kd_map_count(&s.each), 3);
}
END_TEST

START_TEST(another_second_has_room_for_all) {
    take_share("192.0.2.1");
    ck_assert(take_at(SECOND + 1, "192.0.2.1"));
    ck_assert_uint_eq(kd_map_count(&s.each), 1);
    ck_assert_uint_eq(s.n, 1);
    ck_assert(take_at(SECOND + 2, "192.0.2.2"));
    ck_assert_uint_eq(kd_map_count(&s.each), 1);
}
END_TEST

START_TEST(source_of_ipv6_is_its_first_64_bits) {
    ck_assert(take("2001:db8:0:1::1"));
    ck_assert(take("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    ck_assert(take("2001:db8:0:1::"));
    ck_assert(!take("2001:db8:0:1:8000::"));
    take_share("2001:db8:0:2::1"); // one bit further
    ck_assert(take("0.0.0.1"));
}
END_TEST

START_TEST(none_is_let_through_uncounted_without_memory) {
    unsigned n_failed = 0;
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        const bool is_let = take("192.0.2.1");
        ck_assert_int_eq(is_let, !memory_has_failed());
        ck_assert_uint_eq(s.n, is_let ? 1 : 0);
        n_failed += !is_let;
        kd_sources_wipe(&s);
    }
    ck_assert_uint_gt(n_failed, 0);
}
END_TEST

static TCase *tcase_sources(void) {
    TCase *c = tcase_create("sources");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, source_has_its_share_and_what_is_refused_takes_none_of_the_others);
    tcase_add_test(c, another_second_has_room_for_all);
    tcase_add_test(c, source_of_ipv6_is_its_first_64_bits);
    tcase_add_test(c, none_is_let_through_uncounted_without_memory);
    return c;
}

UNIT_MAIN("api_sources", tcase_sources())
