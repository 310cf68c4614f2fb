// SPDX-License-Identifier: Apache-2.0
// What keyd-fetch may be asked for, where it may connect to, and its messages.
#include "fetch/address.h"
#include "fetch/fetch.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

// ---- URIs ------------------------------------------------------------------

START_TEST(uris_that_can_be_read_in_two_ways_are_refused) {
    static const char *const bad[] = {
        "",
        "https://",
        "https:///c",
        "https://../c",
        "https://:443/c",
        "https://]/c",
        "https://-a/c",
        "https://a.example",
        "http://a.example/c",
        "HTTPS://a.example/c",
        "ftp://a.example/c",
        "file:///etc/passwd",
        "https://user@a.example/c",
        "https://user:pass@a.example/c",
        "https://a.example@b/c",
        "https://a.example\\@b/c",
        "https://a.example/c?x=1",
        "https://a.example/c#x",
        "https://a.example/../c",
        "https://a.example/c/..",
        "https://a.example/./c",
        "https://a.example/c/.",
        "https://a.example//c",
        "https://a.example/c//d",
        "https://a.example/%2e%2e/c",
        "https://a.example/%2E/c",
        "https://a.example/c%2fd",
        "https://a.example/c%5cd",
        "https://a.example/%252e",
        "https://a.example/%00",
        "https://a.example/%0d%0aHost:b",
        "https://a.example/%7f",
        "https://a.example/%",
        "https://a.example/%4",
        "https://a.example/%zz",
        "https://a.example/c d",
        "https://a.example/c\r\n",
        "https://a.example/\xc3\xa4",
        "https://a\xc3\xa4.example/c",
        "https://a.exa%6dple/c",
        "https://a.example/c\\d",
        "https://a.example/<c>",
        " https://a.example/c",
    };
    static const char *const good[] = {
        "https://a.example/c",
        "https://a.example:8443/c/7f/3a.cer",
        "https://[2001:db8::1]:1/c",
        "https://192.0.2.1/c",
        "https://a.example/",
        "https://a.example/c/",
        "https://a.example/%41",
        "https://a.example/a..b/.c/c.",
        "https://a.example/~a/!$&'()*+,;=:@-_",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(!kd_fetch_uri_is_plain(kd_bytes_of_text(bad[i])), "%s", bad[i]);
    }
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        ck_assert_msg(kd_fetch_uri_is_plain(kd_bytes_of_text(good[i])), "%s", good[i]);
    }
    const struct kd_bytes zero = { (const uint8_t *)"https://a.example/c\0d", 21 };
    ck_assert(!kd_fetch_uri_is_plain(zero));
    char longest[KD_FETCH_URI_MAX_BYTES + 2] = "https://a.example/";
    memset(longest + 18, 'c', sizeof(longest) - 19);
    ck_assert(!kd_fetch_uri_is_plain(kd_bytes_of_text(longest)));
    longest[KD_FETCH_URI_MAX_BYTES] = '\0';
    ck_assert(kd_fetch_uri_is_plain(kd_bytes_of_text(longest)));
}
END_TEST

START_TEST(prefixes_end_where_a_name_ends) {
    ck_assert(!kd_fetch_prefix_is_valid("https://a.example"));
    ck_assert(!kd_fetch_prefix_is_valid("https://a.example/c"));
    ck_assert(!kd_fetch_prefix_is_valid("http://a.example/"));
    ck_assert(!kd_fetch_prefix_is_valid("https://"));
    ck_assert(kd_fetch_prefix_is_valid("https://a.example/"));
    ck_assert(kd_fetch_prefix_is_valid("https://a.example:443/c/"));
    const struct kd_fetch_prefix list[] = { { kd_bytes_of_text("https://a.example/c/"), false },
                                            { kd_bytes_of_text("https://b.example/"), true } };
    static const struct {
        const char *uri;
        int which;
    } cases[] = {
        { "https://a.example/c/1", 0 },     { "https://b.example/1", 1 },
        { "https://a.example/c/", -1 },     { "https://a.example/c", -1 },
        { "https://a.example/d/1", -1 },    { "https://a.example.evil/c/1", -1 },
        { "https://b.example.evil/1", -1 }, { "https://b.example:8443/1", -1 },
        { "https://A.example/c/1", -1 },    { "", -1 },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        const struct kd_fetch_prefix *p =
            kd_fetch_find_prefix(list, 2, kd_bytes_of_text(cases[i].uri));
        ck_assert_msg(p == (cases[i].which < 0 ? NULL : &list[cases[i].which]), "%s", cases[i].uri);
    }
}
END_TEST

// ---- addresses -------------------------------------------------------------

static bool is_public(const char *text) {
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        return kd_address_is_public((const struct sockaddr *)&v4, sizeof(v4));
    }
    ck_assert_int_eq(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return kd_address_is_public((const struct sockaddr *)&v6, sizeof(v6));
}

START_TEST(addresses_that_are_not_public_are_known) {
    static const char *const bad[] = {
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "::8.8.8.8",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "3fff:fff::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
    };
    static const char *const good[] = {
        "1.1.1.1",         "9.255.255.255",   "11.0.0.0",        "100.63.255.255",
        "100.128.0.0",     "126.255.255.255", "128.0.0.1",       "169.253.255.255",
        "169.255.0.0",     "172.15.255.255",  "172.32.0.0",      "192.0.1.0",
        "192.0.3.0",       "192.88.98.255",   "192.167.255.255", "192.169.0.0",
        "198.17.255.255",  "198.20.0.0",      "223.255.255.255", "2000::1",
        "2001:200::1",     "2001:db7::1",     "2001:db9::1",     "2003::1",
        "2606:4700::1111", "3ffe::1",         "3fff:1000::1",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(!is_public(bad[i]), "%s", bad[i]);
    }
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        ck_assert_msg(is_public(good[i]), "%s", good[i]);
    }
    const struct sockaddr_un other = { .sun_family = AF_UNIX };
    ck_assert(!kd_address_is_public((const struct sockaddr *)&other, sizeof(other)));
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x01010101) };
    ck_assert(!kd_address_is_public((const struct sockaddr *)&v4, sizeof(v4) - 1));
}
END_TEST

// ---- messages --------------------------------------------------------------

static struct kd_bytes frame_of(const struct kd_buf *b) {
    struct kd_bytes frame;
    size_t n = 0;
    ck_assert_err(kd_buf_finish(b), KD_OK);
    ck_assert_err(kd_fetch_next_frame(kd_buf_get(b), 1 << 20, &frame, &n), KD_OK);
    ck_assert_uint_eq(n, b->n);
    return frame;
}

// Each frame cut or longer by a byte is refused.
#define REFUSES_OTHER_LENGTHS(frame, type, get)                                                    \
    do {                                                                                           \
        uint8_t copy_[4096];                                                                       \
        type out_;                                                                                 \
        memset(copy_, 0, sizeof(copy_));                                                           \
        memcpy(copy_, (frame).p, (frame).n);                                                       \
        for (size_t n_ = 0; n_ < (frame).n; n_++) {                                                \
            ck_assert_err(get((struct kd_bytes) { copy_, n_ }, &out_), KD_ERR_MALFORMED);          \
        }                                                                                          \
        ck_assert_err(get((struct kd_bytes) { copy_, (frame).n + 1 }, &out_), KD_ERR_MALFORMED);   \
        ck_assert_err(get((struct kd_bytes) { copy_, (frame).n }, &out_), KD_OK);                  \
    } while (0)

START_TEST(messages_come_back_as_they_were) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    const struct kd_fetch_hello hello = { .timeout_ms = 3000,
                                          .bytes_max = 16384,
                                          .pending_max = 64,
                                          .ca_file = kd_bytes_of_text("/etc/ca.pem"),
                                          .n_prefixes = 2,
                                          .prefixes = {
                                              { kd_bytes_of_text("https://a/"), false },
                                              { kd_bytes_of_text("https://b/"), true } } };
    struct kd_fetch_hello h;
    kd_fetch_put_hello(&b, &hello);
    struct kd_bytes frame = frame_of(&b);
    ck_assert_err(kd_fetch_get_hello(frame, &h), KD_OK);
    ck_assert_uint_eq(h.timeout_ms, 3000);
    ck_assert_uint_eq(h.bytes_max, 16384);
    ck_assert_uint_eq(h.pending_max, 64);
    ck_assert_uint_eq(h.ca_file.n, 11);
    ck_assert_uint_eq(h.n_prefixes, 2);
    ck_assert(!h.prefixes[0].is_private && h.prefixes[1].is_private);
    ck_assert(kd_bytes_equal(h.prefixes[1].text, kd_bytes_of_text("https://b/")));
    REFUSES_OTHER_LENGTHS(frame, struct kd_fetch_hello, kd_fetch_get_hello);

    kd_buf_reset(&b);
    struct kd_fetch_request q = { .id = 7, .uri = kd_bytes_of_text("https://a/c") };
    kd_fetch_put_request(&b, &q);
    frame = frame_of(&b);
    REFUSES_OTHER_LENGTHS(frame, struct kd_fetch_request, kd_fetch_get_request);
    ck_assert_err(kd_fetch_get_request(frame, &q), KD_OK);
    ck_assert_uint_eq(q.id, 7);
    ck_assert(kd_bytes_equal(q.uri, kd_bytes_of_text("https://a/c")));

    kd_buf_reset(&b);
    struct kd_fetch_answer a = { .id = 9,
                                 .result = KD_FETCH_CHAIN,
                                 .body = kd_bytes_of_text("xyz") };
    kd_fetch_put_answer(&b, &a);
    frame = frame_of(&b);
    REFUSES_OTHER_LENGTHS(frame, struct kd_fetch_answer, kd_fetch_get_answer);
    ck_assert_err(kd_fetch_get_answer(frame, &a), KD_OK);
    ck_assert_int_eq(a.result, KD_FETCH_CHAIN);
    ck_assert(kd_bytes_equal(a.body, kd_bytes_of_text("xyz")));
}
END_TEST

static enum kd_err get_answer(unsigned result, const char *body) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    struct kd_fetch_answer a = { .id = 1,
                                 .result = (enum kd_fetch_result)result,
                                 .body = kd_bytes_of_text(body) };
    kd_fetch_put_answer(&b, &a);
    return kd_fetch_get_answer(frame_of(&b), &a);
}

START_TEST(messages_that_make_no_sense_are_refused) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1 << 20);
    struct kd_bytes frame;
    size_t n = 1;
    ck_assert_err(get_answer(0, ""), KD_ERR_MALFORMED);
    ck_assert_err(get_answer(KD_FETCH_RESULTS, ""), KD_ERR_MALFORMED);
    ck_assert_err(get_answer(KD_FETCH_CERTIFICATE, ""), KD_ERR_MALFORMED);
    ck_assert_err(get_answer(KD_FETCH_TLS, "x"), KD_ERR_MALFORMED);
    ck_assert_err(get_answer(KD_FETCH_TLS, ""), KD_OK);
    kd_buf_u32(&b, 5);
    kd_buf_u32(&b, 0);
    ck_assert_err(kd_fetch_next_frame(kd_buf_get(&b), 4, &frame, &n), KD_ERR_MALFORMED);
    ck_assert_err(kd_fetch_next_frame(kd_buf_get(&b), 5, &frame, &n), KD_OK); // not all there
    ck_assert_uint_eq(n, 0);
    const struct kd_bytes start = { b.p, 3 };
    ck_assert_err(kd_fetch_next_frame(start, 5, &frame, &n), KD_OK);
    ck_assert_uint_eq(n, 0);
    kd_buf_reset(&b);
    kd_buf_u32(&b, 0);
    ck_assert_err(kd_fetch_next_frame(kd_buf_get(&b), 5, &frame, &n), KD_ERR_MALFORMED);
}
END_TEST

static TCase *tcase_fetch(void) {
    TCase *t = tcase_create("fetch");
    tcase_add_test(t, uris_that_can_be_read_in_two_ways_are_refused);
    tcase_add_test(t, prefixes_end_where_a_name_ends);
    tcase_add_test(t, addresses_that_are_not_public_are_known);
    tcase_add_test(t, messages_come_back_as_they_were);
    tcase_add_test(t, messages_that_make_no_sense_are_refused);
    return t;
}

UNIT_MAIN("fetch", tcase_fetch())
