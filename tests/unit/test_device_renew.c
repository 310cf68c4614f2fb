// SPDX-License-Identifier: Apache-2.0
// A device's own certificate: it is renewed before it expires, and judged by the server's time.
#include "client/device_credentials.h"
#include "tests/unit/device_pair.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <time.h>

enum { LIFE_S = 27000, PAUSE_MS = 60000 };

static struct device_pair p;
static struct pki_cert next; // of the same key, good for longer
static uint64_t mono_ms, end_s;
static unsigned n_asked;
static bool has_next, gives_the_same;

static int renew(void *arg KD_UNUSED, uint8_t *certificate, size_t max, size_t *n) {
    const struct kd_bytes der = pki_der(gives_the_same ? &p.own : &next);
    n_asked++;
    if ((!has_next && !gives_the_same) || der.n > max) {
        return -1;
    }
    memcpy(certificate, der.p, der.n);
    *n = der.n;
    return 0;
}

static void set_up(void) {
    const struct pki_spec spec = { .name = "d", .from_sec = -LIFE_S / 2, .upto_sec = LIFE_S / 2 };
    int days = 0, seconds = 0;
    device_pair_open(&p, &spec);
    next = (struct pki_cert) { X509_dup(p.own.x), p.own.key };
    ck_assert(X509_gmtime_adj(X509_getm_notAfter(next.x), 100L * LIFE_S) != NULL &&
              X509_sign(next.x, p.own.key, EVP_sha256()) > 0);
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    ck_assert_int_eq(ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(p.own.x)), 1);
    ASN1_TIME_free(epoch);
    end_s = (uint64_t)days * 86400 + (uint64_t)seconds;
    mono_ms = 5000000;
    p.config.renew = renew;
    ck_assert_keyd(keyd_device_new(&p.config, &p.device), KEYD_OK);
}

static void tear_down(void) {
    X509_free(next.x);
    device_pair_close(&p);
    kd_clock_release();
}

// So many seconds before the certificate's end.
static void set_clock(int64_t left_s) {
    kd_clock_hold(mono_ms, (uint64_t)((int64_t)end_s - left_s) * 1000);
}

static void pass(int64_t ms) {
    mono_ms += (uint64_t)ms;
    kd_clock_hold(mono_ms, kd_clock_wall_ms() + (uint64_t)ms);
}

START_TEST(a_certificate_is_renewed_in_the_last_third_of_its_life) {
    set_clock(LIFE_S / KD_DEVICE_LATE_PART + 1);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 0);
    pass(1000);
    has_next = true;
    device_server_know(&p.server, &next);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 1);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK); // which is good for long
    ck_assert_uint_eq(n_asked, 1);
}
END_TEST

START_TEST(a_renewal_that_fails_is_no_error_while_there_is_time) {
    set_clock(PAUSE_MS / 1000 + 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
        ck_assert_str_eq(keyd_detail(), "");
        ck_assert_uint_eq(n_asked, 1);
    }
    pass(PAUSE_MS - 1);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 1);
    pass(1);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 2);
    pass(1000);
    ck_assert_keyd(keyd_connect(p.device), KEYD_ERR_EXPIRED);
    ck_assert_uint_eq(n_asked, 3);
}
END_TEST

START_TEST(a_certificate_that_has_expired_is_not_used) {
    set_clock(0);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_keyd(keyd_connect(p.device), KEYD_ERR_EXPIRED);
        ck_assert_uint_eq(n_asked, i);
    }
    gives_the_same = true;
    ck_assert_keyd(keyd_connect(p.device), KEYD_ERR_EXPIRED);
    gives_the_same = false;
    has_next = true;
    device_server_know(&p.server, &next);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
}
END_TEST

START_TEST(the_same_certificate_is_no_new_one) {
    set_clock(2 * PAUSE_MS / 1000);
    gives_the_same = true;
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 1);
    pass(PAUSE_MS);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 2);
}
END_TEST

START_TEST(the_expiry_is_judged_by_the_servers_time) {
    set_clock(LIFE_S / 2);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    p.server.ahead_ms = -INT64_C(1000) * LIFE_S; // our clock goes wrong
    set_clock(LIFE_S / 2 - LIFE_S);
    ck_assert_keyd(keyd_connect(p.device), KEYD_OK);
    ck_assert_uint_eq(n_asked, 0);
    p.server.ahead_ms = 0; // it stands still, and the time goes on
    mono_ms += UINT64_C(1000) * LIFE_S;
    set_clock(LIFE_S / 2);
    ck_assert_keyd(keyd_connect(p.device), KEYD_ERR_EXPIRED);
}
END_TEST

static TCase *tcase_own(void) {
    TCase *c = tcase_create("own certificate");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_certificate_is_renewed_in_the_last_third_of_its_life);
    tcase_add_test(c, a_renewal_that_fails_is_no_error_while_there_is_time);
    tcase_add_test(c, a_certificate_that_has_expired_is_not_used);
    tcase_add_test(c, the_same_certificate_is_no_new_one);
    tcase_add_test(c, the_expiry_is_judged_by_the_servers_time);
    return c;
}

UNIT_MAIN("device renew", tcase_own())
