// SPDX-License-Identifier: Apache-2.0
// A device's provisioning: answers that it could not use are refused before its one-time secret
// is used up.  Each allocation fails in turn: it says that there is no memory, and is complete
// when it is called again.
#include "base/cbor.h"
#include "client/device_credentials.h"
#include "client/keyd.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_tls.h"
#include "tests/unit/folder.h"
#include "tests/unit/keyd_assert.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pki_cert own; // of the device; its key is there before
static struct fake_tls server;
static char folder[64], directory[96], secret_file[96], trusted[96], url[64];
static char enrolled[4096]; // the answers' bodies
static struct kd_buf provision;
static unsigned n_enrolled;

// ---- the bootstrap server --------------------------------------------------

static void make_enrolled(void) {
    PKCS7 *p7 = PKCS7_new();
    unsigned char *der = NULL;
    ck_assert(PKCS7_set_type(p7, NID_pkcs7_signed) == 1 &&
              PKCS7_content_new(p7, NID_pkcs7_data) == 1 && PKCS7_add_certificate(p7, own.x) == 1);
    const int n = i2d_PKCS7(p7, &der);
    ck_assert(n > 0 && n < 3000);
    EVP_ENCODE_CTX *e = EVP_ENCODE_CTX_new();
    int written = 0, rest = 0;
    EVP_EncodeInit(e);
    EVP_EncodeUpdate(e, (unsigned char *)enrolled, &written, der, n);
    EVP_EncodeFinal(e, (unsigned char *)enrolled + written, &rest);
    EVP_ENCODE_CTX_free(e);
    OPENSSL_free(der);
    PKCS7_free(p7);
}

static void put_text(struct kd_bytes text) { // with NUL, too
    kd_cbor_put_item(&provision, &(struct kd_cbor_item) { .type = KD_CBOR_TEXT, .bytes = text });
}

// What of the answer can be spoiled.
struct answered {
    struct kd_bytes device, uri, certificate, envelope;
};

static struct answered good_answer(void) {
    return (struct answered) { .device = kd_bytes_of_text("d"),
                               .uri = kd_bytes_of_text("https://pki.example/c/s/d"),
                               .certificate = pki_der(&own) };
}

static void make_provision(const struct answered *a) {
    kd_buf_wipe(&provision);
    provision = KD_BUF_INIT(16384);
    kd_cbor_put_array(&provision, 13);
    kd_cbor_put_uint(&provision, 1);
    put_text(a->device);
    put_text(a->uri);
    kd_cbor_put_bytes(&provision, KD_BYTES_NONE);
    kd_cbor_put_text(&provision, "s");
    kd_cbor_put_bytes(&provision, a->certificate);
    kd_cbor_put_array(&provision, 0);
    kd_cbor_put_array(&provision, 1);
    kd_cbor_put_uint(&provision, 2);
    kd_cbor_put_array(&provision, 0);
    kd_cbor_put_text(&provision, "sha-256/64");
    kd_cbor_put_bytes(&provision, KD_BYTES_NONE);
    kd_cbor_put_bytes(&provision, a->envelope);
    kd_cbor_put_uint(&provision, 0);
    ck_assert_err(kd_buf_finish(&provision), KD_OK);
}

static const char *first_line = "HTTP/1.1 200 OK";
static bool is_used;               // the secret
static bool is_lost;               // the answer to the next enrolment
static struct kd_bytes published;  // at the certificate's URI; empty: nothing
static bool is_away;               // who serves it
static unsigned n_told_the_secret; // who serves it

static bool begins_with(const char *request, const char *text) {
    return strncmp(request, text, strlen(text)) == 0;
}

static size_t put_answer(const char *line, struct kd_bytes body, char *out, size_t max) {
    const int n = snprintf(out, max, "%s\r\nContent-Length: %zu\r\n\r\n", line, body.n);
    memcpy(out + n, body.n == 0 ? (const uint8_t *)"" : body.p, body.n);
    return (size_t)n + body.n;
}

static size_t answer(void *arg KD_UNUSED, const char *request, char *out, size_t max) {
    const bool is_by_secret = strstr(request, "\r\nAuthorization: Basic ") != NULL;
    if (begins_with(request, "GET /c/s/d ")) {
        n_told_the_secret += is_by_secret ? 1 : 0;
        if (is_away) {
            return 0;
        }
        return put_answer(published.n > 0 ? first_line : "HTTP/1.1 404 No", published, out, max);
    }
    if (is_by_secret && is_used) {
        return put_answer("HTTP/1.1 401 No", kd_bytes_of_text("no"), out, max);
    }
    if (begins_with(request, "GET /provision ")) {
        return put_answer(first_line, kd_buf_get(&provision), out, max);
    }
    n_enrolled++;
    if (is_lost) {
        is_used = true;
        return 0;
    }
    return put_answer(first_line, kd_bytes_of_text(enrolled), out, max);
}

// ---- a device --------------------------------------------------------------

static void put_file(const char *path, const char *text) {
    FILE *f = fdopen(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
    ck_assert_ptr_nonnull(f);
    if (text == NULL) {
        ck_assert_int_eq(PEM_write_PrivateKey(f, own.key, NULL, NULL, 0, NULL, NULL), 1);
    } else {
        fputs(text, f);
    }
    fclose(f);
}

static const char *file(const char *name) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static const struct keyd_bootstrap bootstrap = { .url = url,
                                                 .ca_file = trusted,
                                                 .id = "d",
                                                 .secret_file = secret_file,
                                                 .directory = directory,
                                                 .timeout_ms = 10000 };

static void set_up(void) {
    const struct pki_spec spec = { .name = "server", .uris = "IP:127.0.0.1" };
    struct pki_cert tls = pki_make(&spec, NULL);
    own = pki_make(&(struct pki_spec) { .name = "d" }, NULL);
    make_enrolled();
    const struct answered good = good_answer();
    make_provision(&good);
    n_enrolled = 0;
    strcpy(folder, "/tmp/kd-provision-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(directory, sizeof(directory), "%s/device", folder);
    snprintf(secret_file, sizeof(secret_file), "%s/secret", folder);
    snprintf(trusted, sizeof(trusted), "%s/trusted", folder);
    ck_assert_int_eq(mkdir(directory, 0700), 0);
    put_file(file("key.pem"), NULL);
    put_file(secret_file, "once\n");
    pki_write_pem(trusted, &tls, 1);
    server = (struct fake_tls) { .answer = answer };
    fake_tls_start(&server, &tls);
    pki_wipe(&tls);
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", server.port);
}

static void tear_down(void) {
    fake_tls_stop(&server);
    kd_buf_wipe(&provision);
    pki_wipe(&own);
    folder_remove(folder);
}

static void must_be_refused(const struct answered *a) {
    make_provision(a);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_SERVER);
    ck_assert_uint_eq(n_enrolled, 0);
    ck_assert_int_ne(access(file("certificate.uri"), F_OK), 0);
}

START_TEST(an_answer_for_another_device_does_not_use_the_secret_up) {
    struct answered a = good_answer();
    a.device = kd_bytes_of_text("e");
    must_be_refused(&a);
    a.device = (struct kd_bytes) { (const uint8_t *)"d\0e", 3 };
    must_be_refused(&a);
    a.device = KD_BYTES_NONE;
    must_be_refused(&a);
}
END_TEST

START_TEST(an_answer_without_a_status_is_no_refusal) {
    first_line = "HTTP/20 x";
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_TRANSPORT);
    first_line = "HTTP/1.1 401 No";
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_REFUSED);
}
END_TEST

START_TEST(a_uri_that_would_become_another_does_not_use_the_secret_up) {
    char longest[KD_X5U_MAX_BYTES + 2];
    struct answered a = good_answer();
    a.uri = kd_bytes_of_text("https://pki.example/c\n/s/d");
    must_be_refused(&a);
    a.uri = (struct kd_bytes) { (const uint8_t *)"https://pki.example/c\0/s/d", 25 };
    must_be_refused(&a);
    a.uri = kd_bytes_of_text("https://pki.example/c/s /d");
    must_be_refused(&a);
    a.uri = kd_bytes_of_text("https://pki.example/c/\xc3\xa4/d");
    must_be_refused(&a);
    memset(longest, 'u', sizeof(longest));
    a.uri = (struct kd_bytes) { (const uint8_t *)longest, KD_X5U_MAX_BYTES + 1 };
    must_be_refused(&a);
    a.uri.n--;
    make_provision(&a);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
}
END_TEST

START_TEST(a_key_that_no_suite_has_does_not_use_the_secret_up) {
    struct pki_cert other = pki_make(&(struct pki_spec) { .name = "s", .curve = "P-521" }, NULL);
    uint8_t point[65] = { 4, 1 };
    struct answered a = good_answer();
    a.certificate = pki_der(&other);
    must_be_refused(&a);
    pki_wipe(&other);
    a = good_answer();
    a.envelope = (struct kd_bytes) { point, sizeof(point) }; // not on the curve
    must_be_refused(&a);
    a.envelope.n--;
    must_be_refused(&a);
}
END_TEST

START_TEST(a_certificate_that_no_handshake_takes_does_not_use_the_secret_up) {
    static uint8_t longer[KD_DEVICE_CERTIFICATE_MAX_BYTES + 1];
    struct answered a = good_answer();
    a.certificate.n--;
    must_be_refused(&a);
    a.certificate = KD_BYTES_NONE;
    must_be_refused(&a);
    memcpy(longer, pki_der(&own).p, pki_der(&own).n);
    a.certificate = (struct kd_bytes) { longer, sizeof(longer) };
    must_be_refused(&a);
}
END_TEST

// `enrolled`, with `line_end` in the place of each end of a line.
static void end_lines_with(const char *line_end) {
    char text[sizeof(enrolled)];
    size_t n = 0;
    for (const char *at = enrolled; *at != '\0'; at++) {
        const char one[] = { *at, '\0' };
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", *at == '\n' ? line_end : one);
    }
    memcpy(enrolled, text, n + 1);
}

START_TEST(a_certificate_comes_in_lines_or_in_one) {
    static const char *const ends[] = { "\r\n", "\n \n", "" };
    char as_made[sizeof(enrolled)];
    memcpy(as_made, enrolled, sizeof(enrolled));
    for (size_t i = 0; i < KD_COUNT_OF(ends); i++) {
        memcpy(enrolled, as_made, sizeof(enrolled));
        end_lines_with(ends[i]);
        ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
        ck_assert_int_eq(unlink(file("certificate.pem")), 0);
    }
}
END_TEST

START_TEST(an_answer_without_our_certificate_is_not_taken) {
    static const char *const bad[] = { "", "!", "MAA", "MAA=", "<html>MAA=</html>" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        strcpy(enrolled, bad[i]);
        ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_SERVER);
        ck_assert_int_ne(access(file("certificate.pem"), F_OK), 0);
    }
    struct pki_cert mine = own;
    own = pki_make(&(struct pki_spec) { .name = "d" }, NULL); // of another key
    make_enrolled();
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_SERVER);
    ck_assert_int_ne(access(file("certificate.pem"), F_OK), 0);
    pki_wipe(&own);
    own = mine;
}
END_TEST

START_TEST(a_device_is_provisioned_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum keyd_err r = keyd_provision(&bootstrap);
        ck_assert_keyd(r, memory_has_failed() ? KEYD_ERR_MEMORY : KEYD_OK);
        if (r != KEYD_OK) {
            ck_assert_int_ne(access(file("certificate.pem"), F_OK), 0);
            ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
        }
        ck_assert_int_eq(unlink(file("certificate.pem")), 0);
    }
    ck_assert_uint_gt(turn, 5);
}
END_TEST

START_TEST(a_device_opens_from_its_directory_or_there_is_no_memory) {
    const struct keyd_config config = { .server = "tcp://127.0.0.1:1" };
    unsigned turn = 0;
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    for (; memory_fails_at(turn); turn++) {
        struct keyd_device *d = NULL;
        const enum keyd_err r = keyd_device_open(directory, &config, &d);
        ck_assert_keyd(r, memory_has_failed() ? KEYD_ERR_MEMORY : KEYD_OK);
        ck_assert((d != NULL) == (r == KEYD_OK));
        ck_assert((keyd_detail()[0] != '\0') == (r != KEYD_OK));
        keyd_device_free(d);
    }
    ck_assert_uint_gt(turn, 5);
}
END_TEST

// ---- a directory that is used already ------------------------------------------

// Of all files but those that are not in their places yet.
static void read_all(struct kd_buf *out) {
    static const char *const names[] = { "key.pem",      "certificate.pem", "certificate.uri",
                                         "server.pem",   "envelope.pem",    "bootstrap.url",
                                         "bootstrap.pem" };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        char bytes[4096];
        FILE *f = fopen(file(names[i]), "re");
        const size_t n = f == NULL ? 0 : fread(bytes, 1, sizeof(bytes), f);
        kd_buf_printf(out, "%s %zu\n", names[i], n);
        kd_buf_put(out, bytes, n);
        if (f != NULL) {
            fclose(f);
        }
    }
    ck_assert_err(kd_buf_finish(out), KD_OK);
}

static struct kd_bytes point_of(const struct pki_cert *c) {
    const ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(c->x);
    return (struct kd_bytes) { ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key) };
}

START_TEST(a_provisioning_that_fails_leaves_a_device_as_it_was) {
    kd_auto(buf) struct kd_buf before = KD_BUF_INIT(65536);
    kd_auto(buf) struct kd_buf after = KD_BUF_INIT(65536);
    struct pki_cert other = pki_make(&(struct pki_spec) { .name = "s" }, NULL);
    struct answered a = good_answer();
    char again[96];
    a.envelope = point_of(&own);
    make_provision(&a);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    read_all(&before);
    a.uri = kd_bytes_of_text("https://pki.example/c/other/d");
    a.certificate = pki_der(&other);
    a.envelope = KD_BYTES_NONE;
    make_provision(&a);
    strcpy(enrolled, "!");
    snprintf(again, sizeof(again), "https://127.0.0.1:0%u", server.port);
    struct keyd_bootstrap b = bootstrap;
    b.url = again;
    ck_assert_keyd(keyd_provision(&b), KEYD_ERR_SERVER);
    ck_assert_uint_eq(n_enrolled, 2);
    read_all(&after);
    ck_assert(kd_bytes_equal(kd_buf_get(&before), kd_buf_get(&after)));
    pki_wipe(&other);
}
END_TEST

START_TEST(a_provisioning_leaves_nothing_of_the_one_before) {
    struct answered a = good_answer();
    a.envelope = point_of(&own);
    make_provision(&a);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    ck_assert_int_eq(access(file("envelope.pem"), F_OK), 0);
    ck_assert_int_eq(access(file("envelope.pem.new"), F_OK), -1);
    a.envelope = KD_BYTES_NONE;
    make_provision(&a);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    ck_assert_int_eq(access(file("envelope.pem"), F_OK), -1);
    ck_assert_int_eq(access(file("envelope.pem.new"), F_OK), -1);
    ck_assert_int_eq(access(file("server.pem.new"), F_OK), -1);
}
END_TEST

// ---- an enrolment that was interrupted -------------------------------------------

static void interrupt_enrolment(void) {
    is_lost = true;
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_TRANSPORT);
    ck_assert_int_eq(access(file("certificate.pem"), F_OK), -1);
    ck_assert_uint_eq(n_enrolled, 1);
    published = pki_der(&own);
}

START_TEST(a_secret_that_is_used_up_is_refused_where_no_certificate_is_ours) {
    struct pki_cert other = pki_make(&(struct pki_spec) { .name = "d" }, NULL);
    interrupt_enrolment();
    published = pki_der(&other); // of another key
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_REFUSED);
    published = (struct kd_bytes) { pki_der(&own).p, pki_der(&own).n - 1 };
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_REFUSED);
    published = KD_BYTES_NONE;
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_REFUSED);
    published = pki_der(&own);
    struct keyd_bootstrap b = bootstrap;
    b.id = "e"; // another device
    ck_assert_keyd(keyd_provision(&b), KEYD_ERR_REFUSED);
    ck_assert_int_eq(unlink(file("key.pem")), 0);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_REFUSED);
    ck_assert_int_eq(access(file("certificate.pem"), F_OK), -1);
    ck_assert_int_eq(access(file("key.pem"), F_OK), -1);
    pki_wipe(&other);
}
END_TEST

static void must_open(void) {
    const struct keyd_config config = { .server = "tcp://127.0.0.1:1" };
    struct keyd_device *d = NULL;
    ck_assert_keyd(keyd_device_open(directory, &config, &d), KEYD_OK);
    keyd_device_free(d);
}

START_TEST(an_enrolment_whose_answer_was_lost_is_gone_on_with) {
    interrupt_enrolment();
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    ck_assert_uint_eq(n_enrolled, 1);
    ck_assert_uint_eq(n_told_the_secret, 0);
    must_open();
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK); // it is provisioned
    must_open();
}
END_TEST

START_TEST(a_certificate_that_could_not_be_written_is_found_again) {
    char staged[128];
    interrupt_enrolment();
    snprintf(staged, sizeof(staged), "%s", file("certificate.pem.new"));
    ck_assert_int_eq(mkdir(staged, 0700), 0);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_FILE);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "certificate.pem"));
    ck_assert_int_eq(rmdir(staged), 0);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    must_open();
}
END_TEST

START_TEST(who_cannot_ask_for_its_certificate_is_not_told_that_it_is_refused) {
    interrupt_enrolment();
    is_away = true;
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_ERR_TRANSPORT);
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "/c/s/d"));
    is_away = false;
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
}
END_TEST

// ---- a device of it --------------------------------------------------------------

START_TEST(a_device_finds_its_directory_also_where_the_program_goes_elsewhere) {
    const struct keyd_config config = { .server = "tcp://127.0.0.1:1" };
    const uint64_t two_days_ms = 2 * UINT64_C(86400000);
    struct keyd_device *d = NULL;
    ck_assert_keyd(keyd_device_open(file("nowhere"), &config, &d), KEYD_ERR_FILE);
    ck_assert_keyd(keyd_provision(&bootstrap), KEYD_OK);
    ck_assert_int_eq(chdir(folder), 0);
    ck_assert_keyd(keyd_device_open("device", &config, &d), KEYD_OK);
    ck_assert_int_eq(chdir("/"), 0);
    kd_clock_hold(kd_clock_mono_ms(), kd_clock_wall_ms() + two_days_ms);
    ck_assert_uint_eq(n_enrolled, 1);
    ck_assert_keyd(keyd_connect(d), KEYD_ERR_EXPIRED); // what it is given has expired too
    ck_assert_uint_eq(n_enrolled, 2);
    is_lost = true;
    ck_assert_keyd(keyd_connect(d), KEYD_ERR_TRANSPORT); // not for good
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "expired"));
    ck_assert_ptr_nonnull(strstr(keyd_detail(), "simplereenroll"));
    keyd_device_free(d);
    kd_clock_release();
}
END_TEST

static TCase *tcase_provision(void) {
    TCase *c = tcase_create("provision");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, an_answer_for_another_device_does_not_use_the_secret_up);
    tcase_add_test(c, an_answer_without_a_status_is_no_refusal);
    tcase_add_test(c, a_uri_that_would_become_another_does_not_use_the_secret_up);
    tcase_add_test(c, a_key_that_no_suite_has_does_not_use_the_secret_up);
    tcase_add_test(c, a_certificate_that_no_handshake_takes_does_not_use_the_secret_up);
    tcase_add_test(c, a_certificate_comes_in_lines_or_in_one);
    tcase_add_test(c, an_answer_without_our_certificate_is_not_taken);
    tcase_add_test(c, a_provisioning_that_fails_leaves_a_device_as_it_was);
    tcase_add_test(c, a_provisioning_leaves_nothing_of_the_one_before);
    tcase_add_test(c, a_secret_that_is_used_up_is_refused_where_no_certificate_is_ours);
    tcase_add_test(c, an_enrolment_whose_answer_was_lost_is_gone_on_with);
    tcase_add_test(c, a_certificate_that_could_not_be_written_is_found_again);
    tcase_add_test(c, who_cannot_ask_for_its_certificate_is_not_told_that_it_is_refused);
    tcase_add_test(c, a_device_is_provisioned_or_there_is_no_memory);
    tcase_add_test(c, a_device_finds_its_directory_also_where_the_program_goes_elsewhere);
    tcase_add_test(c, a_device_opens_from_its_directory_or_there_is_no_memory);
    return c;
}

UNIT_MAIN("provision", tcase_provision())
