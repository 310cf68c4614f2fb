// SPDX-License-Identifier: Apache-2.0
// What devices ask the bootstrap server for, byte by byte (est.c): who asks is looked at before
// what he asks, and nothing that is odd reaches the service.
#include "base/cbor.h"
#include "ca/ca.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/pki.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENROLL "/.well-known/est/simpleenroll"
#define REENROLL "/.well-known/est/simplereenroll"
#define PKCS10 "Content-Type: application/pkcs10\r\n"
#define PROOF "Authorization: Basic ZDpvbmNl\r\n" // d:once
#define GOOD "MAA="                               // what the fake service takes for a request

static struct fixture f;
static struct pki_cert ca;

static void setup(void) {
    fixture_init(&f);
    ca = pki_ca("CA", NULL);
    f.config.is_bootstrap = true;
    f.config.body_max_bytes = 8192;
    f.service.ca = pki_der(&ca);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
    pki_wipe(&ca);
}

static void must_refuse(const char *method, const char *target, const char *headers,
                        const char *body, int status, const char *problem) {
    kd_auto(answer) struct answer a = { 0 };
    char name[64];
    ask(&f, method, target, headers, body, &a);
    ck_assert_msg(a.status == status && strcmp(problem_of(&a, name), problem) == 0,
                  "%s %s %s: %d %s", method, target, headers, a.status, a.body);
    ck_assert_uint_eq(f.service.n_calls, 0);
}

static void must_answer(const char *target, const char *headers, const char *body, int status,
                        const char *type, struct answer *a) {
    char value[256];
    ask(&f, body == NULL ? "GET" : "POST", target, headers, body, a);
    ck_assert_int_eq(a->status, status);
    ck_assert_str_eq(answer_header(a, "Content-Type", value), type);
}

// ---- who asks --------------------------------------------------------------

// Each also where no body is needed.
static void must_not_prove(const char *authorization) {
    char headers[1024];
    snprintf(headers, sizeof(headers), "%s" PKCS10, authorization);
    f.service.call[0] = '\0';
    must_refuse("POST", ENROLL, headers, GOOD, 401, "enrolment");
    must_refuse("GET", "/provision", authorization, NULL, 401, "enrolment");
}

START_TEST(an_authorization_that_is_odd_does_not_reach_the_service) {
    static const char *const bad[] = {
        "Authorization: \r\n",
        "Authorization: Basic\r\n",
        "Authorization: BasicZDpvbmNl\r\n",
        "Authorization: Bearer ZDpvbmNl\r\n",
        "Authorization: Digest username=\"d\"\r\n",
        "Authorization: Basic !!!\r\n",
        "Authorization: Basic ZDpvbmNl=\r\n",
        "Authorization: Basic ZDpvbmN\r\n",
        "Authorization: Basic ZDpvbmNlZDpvbmNl!\r\n",
        "Authorization: Basic ZDpvbmNl, Basic ZDpvbmNl\r\n",
        "Authorization: Basic ZA==\r\n",             // no colon
        "Authorization: Basic ZAA6b25jZQ==\r\n",     // d NUL :once
        "Authorization: Basic ZDpvbmNlAA==\r\n",     // d:once NUL
        "Authorization: Basic ZDpvbmNlAHR3aWNl\r\n", // d:once NUL twice
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        must_not_prove(bad[i]);
        ck_assert_msg(f.service.call[0] == '\0', "%s", bad[i]);
    }
}
END_TEST

START_TEST(an_authorization_that_is_too_long_does_not_reach_the_service) {
    char line[512];
    snprintf(line, sizeof(line), "Authorization: Basic ZDpv%0*d\r\n", 256, 0);
    must_not_prove(line);
    ck_assert_str_eq(f.service.call, "");
}
END_TEST

START_TEST(another_secret_or_none_is_refused_by_the_service) {
    static const char *const bad[] = {
        "",
        "Authorization: Basic Og==\r\n",             // :
        "Authorization: Basic ZDo=\r\n",             // d:
        "Authorization: Basic Om9uY2U=\r\n",         // :once
        "Authorization: Basic ZDpvbmNlOm9uY2U=\r\n", // d:once:once
        "Authorization: Basic RDpvbmNl\r\n",         // D:once
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        must_not_prove(bad[i]);
        ck_assert_msg(strcmp(f.service.call, "certify") == 0, "%s", bad[i]);
    }
}
END_TEST

START_TEST(who_asks_is_looked_at_before_what_he_asks) {
    must_refuse("POST", ENROLL, PKCS10, "!!!", 401, "enrolment");
    must_refuse("POST", ENROLL, PROOF PKCS10, "!!!", 400, "bad-csr");
}
END_TEST

// ---- what he asks ----------------------------------------------------------

START_TEST(a_body_that_is_no_request_in_base64_is_refused) {
    static const char *const bad[] = {
        "!",
        "MAA",
        "MAA==",
        "MAA=MAA=",
        "-_8=",
        "M",
        "====",
        "MAA=\x01",
        "{\"csr\":\"MAA=\"}",
        "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        must_refuse("POST", ENROLL, PROOF PKCS10, bad[i], 400, "bad-csr");
        ck_assert_str_eq(f.service.text, "once|"); // an empty request
    }
    must_refuse("POST", ENROLL, PROOF PKCS10, "eHl6", 400, "bad-csr"); // base64 of no DER
    ck_assert_str_eq(f.service.text, "once|xyz");
}
END_TEST

START_TEST(a_body_of_another_type_is_refused) {
    must_refuse("POST", ENROLL, PROOF "Content-Type: application/json\r\n", "{}", 415,
                "media-type");
    must_refuse("POST", ENROLL, PROOF "Content-Type: application/pkcs7-mime\r\n", GOOD, 415,
                "media-type");
    must_refuse("POST", ENROLL, PROOF "Content-Type: application/pkcs10x\r\n", GOOD, 415,
                "media-type");
    must_refuse("POST", ENROLL, PROOF, GOOD, 415, "media-type");
}
END_TEST

START_TEST(a_body_that_is_too_long_is_refused) {
    static char body[8194];
    memset(body, 'A', sizeof(body) - 1);
    must_refuse("POST", ENROLL, PROOF PKCS10, body, 413, "body-too-large");
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(&f, "POST", ENROLL, PROOF PKCS10, body, &a);
    ck_assert_str_eq(text_of(&a, "detail", text),
                     "It may have 8192 bytes: bootstrap.request-max-bytes.");
    body[8192] = '\0';
    must_refuse("POST", ENROLL, PROOF PKCS10, body, 400, "bad-csr");
}
END_TEST

START_TEST(a_request_is_certified_whatever_white_space_it_has) {
    static const char *const good[] = { "MAA=", "M A\r\nA=\r\n", "\n\tMAA=" };
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        kd_auto(answer) struct answer a = { 0 };
        kd_auto(buf) struct kd_buf der = KD_BUF_INIT(65536);
        must_answer(ENROLL, PROOF PKCS10, good[i], 200,
                    "application/pkcs7-mime; smime-type=certs-only", &a);
        ck_assert_err(kd_ca_read_base64((struct kd_bytes) { (const uint8_t *)a.body, a.n }, &der),
                      KD_OK);
        ck_assert_ptr_nonnull(memmem(der.p, der.n, f.service.ca.p, f.service.ca.n));
        ck_assert_str_eq(f.service.call, "certify");
        ck_assert_str_eq(f.service.name, "d");
        ck_assert_str_eq(f.service.text, "once|0");
    }
}
END_TEST

START_TEST(a_scheme_may_be_in_small_letters) {
    kd_auto(answer) struct answer a = { 0 };
    must_answer("/provision", "Authorization: basic ZDpvbmNl\r\n", NULL, 200, "application/json",
                &a);
}
END_TEST

START_TEST(a_renewal_is_told_from_a_first_request) {
    must_refuse("POST", REENROLL, PKCS10, GOOD, 401, "enrolment");
    ck_assert_str_eq(f.service.call, "renew");
}
END_TEST

START_TEST(what_the_service_says_later_is_the_answer) {
    kd_auto(answer) struct answer a = { 0 };
    f.service.later = KD_ERR_BAD_CSR;
    f.service.detail = "The request is signed by another key.";
    ask(&f, "POST", ENROLL, PROOF PKCS10, GOOD, &a);
    ck_assert_problem(&a, 400, "bad-csr");
    ck_assert_ptr_nonnull(strstr(a.body, f.service.detail));
}
END_TEST

START_TEST(a_certificate_that_cannot_be_wrapped_is_no_answer) {
    kd_auto(answer) struct answer a = { 0 };
    f.service.ca = kd_bytes_of_text("0garbage");
    ask(&f, "POST", ENROLL, PROOF PKCS10, GOOD, &a);
    ck_assert_int_ne(a.status, 200);
}
END_TEST

// ---- what everybody may see ------------------------------------------------

START_TEST(a_certificate_is_found_at_its_uri_only) {
    static const char *const bad[] = { "/c/j/k", "/c/kk/k",  "/c/k/j", "/c/k/",   "/c//k",
                                       "/c/k",   "/c/k/k/k", "/c/K/k", "/c/%2e/k" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, "GET", bad[i], "", NULL, &a);
        ck_assert_msg(a.status == 404, "%s: %d", bad[i], a.status);
    }
    kd_auto(answer) struct answer a = { 0 };
    must_answer("/c/k/k", "", NULL, 200, "application/pkix-cert", &a);
    ck_assert_uint_eq(a.n, f.service.ca.n);
    ck_assert_mem_eq(a.body, f.service.ca.p, a.n);
}
END_TEST

START_TEST(a_certificate_that_is_known_is_not_sent_again) {
    kd_auto(answer) struct answer first = { 0 };
    kd_auto(answer) struct answer other = { 0 };
    char etag[256], headers[512];
    must_answer("/c/k/k", "", NULL, 200, "application/pkix-cert", &first);
    ck_assert_uint_eq(strlen(answer_header(&first, "ETag", etag)), 34);
    snprintf(headers, sizeof(headers), "If-None-Match: \"x\", %s\r\n", etag);
    int fd = client_connect(&f);
    char request[1024];
    struct answer again = { 0 };
    snprintf(request, sizeof(request), "GET /c/k/k HTTP/1.1\r\nHost: localhost\r\n%s\r\n", headers);
    client_send(fd, request);
    client_read_head(fd, &again);
    ck_assert_int_eq(again.status, 304);
    answer_free(&again);
    close(fd);
    etag[5] ^= 1;
    snprintf(headers, sizeof(headers), "If-None-Match: %s\r\n", etag);
    must_answer("/c/k/k", headers, NULL, 200, "application/pkix-cert", &other);
}
END_TEST

START_TEST(the_ca_and_the_attributes_need_no_proof) {
    kd_auto(answer) struct answer chain = { 0 };
    kd_auto(answer) struct answer attributes = { 0 };
    must_answer("/.well-known/est/cacerts", "Authorization: Basic !!!\r\n", NULL, 200,
                "application/pkcs7-mime; smime-type=certs-only", &chain);
    must_answer("/.well-known/est/csrattrs", "", NULL, 200, "application/csrattrs", &attributes);
    ck_assert_str_eq(attributes.body, "MAA=\n");
}
END_TEST

START_TEST(without_a_ca_there_is_nothing) {
    f.service.ca = KD_BYTES_NONE;
    must_refuse("GET", "/.well-known/est/cacerts", "", NULL, 400, "config");
    must_refuse("GET", "/.well-known/est/csrattrs", "", NULL, 400, "config");
    must_refuse("GET", "/c/k/k", "", NULL, 404, "no-such-device");
    must_refuse("GET", "/provision", PROOF, NULL, 400, "config");
    must_refuse("POST", ENROLL, PROOF PKCS10, GOOD, 400, "config");
}
END_TEST

// ---- the provisioning answer -----------------------------------------------

START_TEST(the_provisioning_answer_is_cbor_only_where_that_is_asked_for) {
    static const char *const json[] = { "", "Accept: */*\r\n", "Accept: application/json\r\n",
                                        "Accept: application/cborx\r\n", "Accept: \r\n" };
    for (size_t i = 0; i < KD_COUNT_OF(json); i++) {
        kd_auto(answer) struct answer a = { 0 };
        char headers[256];
        snprintf(headers, sizeof(headers), PROOF "%s", json[i]);
        must_answer("/provision", headers, NULL, 200, "application/json", &a);
        ck_assert_ptr_nonnull(strstr(a.body, "\"suites\":[3,2]"));
    }
    kd_auto(answer) struct answer a = { 0 };
    must_answer("/provision", PROOF "Accept: application/CBOR\r\n", NULL, 200, "application/cbor",
                &a);
    struct kd_cbor c = kd_cbor_of((struct kd_bytes) { (const uint8_t *)a.body, a.n });
    ck_assert_uint_eq(kd_cbor_read_array(&c), 13);
    ck_assert_uint_eq(kd_cbor_read_uint(&c), 1);
    ck_assert(kd_bytes_equal(kd_cbor_read_text(&c), kd_bytes_of_text("d")));
}
END_TEST

static TCase *tcase_est(void) {
    TCase *t = tcase_create("est");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_authorization_that_is_odd_does_not_reach_the_service);
    tcase_add_test(t, an_authorization_that_is_too_long_does_not_reach_the_service);
    tcase_add_test(t, another_secret_or_none_is_refused_by_the_service);
    tcase_add_test(t, who_asks_is_looked_at_before_what_he_asks);
    tcase_add_test(t, a_body_that_is_no_request_in_base64_is_refused);
    tcase_add_test(t, a_body_of_another_type_is_refused);
    tcase_add_test(t, a_body_that_is_too_long_is_refused);
    tcase_add_test(t, a_request_is_certified_whatever_white_space_it_has);
    tcase_add_test(t, a_scheme_may_be_in_small_letters);
    tcase_add_test(t, a_renewal_is_told_from_a_first_request);
    tcase_add_test(t, what_the_service_says_later_is_the_answer);
    tcase_add_test(t, a_certificate_that_cannot_be_wrapped_is_no_answer);
    return t;
}

static TCase *tcase_open(void) {
    TCase *t = tcase_create("open");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_certificate_is_found_at_its_uri_only);
    tcase_add_test(t, a_certificate_that_is_known_is_not_sent_again);
    tcase_add_test(t, the_ca_and_the_attributes_need_no_proof);
    tcase_add_test(t, without_a_ca_there_is_nothing);
    tcase_add_test(t, the_provisioning_answer_is_cbor_only_where_that_is_asked_for);
    return t;
}

UNIT_MAIN("api est", tcase_est(), tcase_open())
