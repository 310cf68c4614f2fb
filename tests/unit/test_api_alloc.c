// SPDX-License-Identifier: Apache-2.0
// test_api_alloc.c: the n-th allocation of the server's thread fails, for n =
// 1, 2, 3 ... until a request of each kind passes.  Whatever the answer, the
// server goes on and serves the next request.
#include "api/route.h"
#include "tests/unit/api_fixture.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/pki.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- the sweep -------------------------------------------------------------

static struct fixture f;
static struct pki_cert ca;

static void mark_server(struct fixture *fixture KD_UNUSED) {
    memory_choose_thread();
}

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
    fixture_call(&f, mark_server);
}

static void setup_ca(void) {
    fixture_init(&f);
    ca = pki_ca("CA", NULL);
    f.service.ca = pki_der(&ca);
    fixture_start_audited(&f);
    fixture_call(&f, mark_server);
}

static void setup_bootstrap(void) {
    fixture_init(&f);
    ca = pki_ca("CA", NULL);
    f.service.ca = pki_der(&ca);
    f.config.is_bootstrap = true;
    fixture_start_audited(&f);
    fixture_call(&f, mark_server);
}

static void setup_audited(void) {
    fixture_init(&f);
    fixture_start_audited(&f);
    fixture_call(&f, mark_server);
}

static void teardown(void) {
    fixture_stop(&f);
}

static void teardown_ca(void) {
    fixture_stop(&f);
    pki_wipe(&ca);
}

struct row {
    const char *method;
    const char *target;
    const char *headers;
    const char *body; // NULL: none
    int status;
    bool varies; // no two answers are the same
};

// With memory each answer is as it should be; without, it is that or an error of ours, and a good
// one is whole.
static void sweep_row(const struct row *row) {
    unsigned n_failed = 0;
    kd_auto(answer) struct answer good = { 0 };
    ask(&f, row->method, row->target, row->headers, row->body, &good);
    ck_assert_msg(good.status == row->status, "%s %s: %d %s", row->method, row->target, good.status,
                  good.body);
    fixture_settle(&f);
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        kd_auto(answer) struct answer a = { 0 };
        ask(&f, row->method, row->target, row->headers, row->body, &a);
        const bool fails = memory_has_failed();
        n_failed += fails;
        const bool is_good = a.status == row->status &&
                             (row->varies || a.status >= 300 ||
                              (a.n == good.n && (a.n == 0 || memcmp(a.body, good.body, a.n) == 0)));
        ck_assert_msg(is_good || (fails && (a.status == 0 || a.status == 500)),
                      "%s %s, turn %u: %d %s", row->method, row->target, turn, a.status,
                      a.body == NULL ? "" : a.body);
        fixture_settle(&f);
    }
    ck_assert_uint_gt(n_failed, 0);
}

static void sweep(const char *method, const char *target, const char *body, int status) {
    const struct row row = { method, target, body == NULL ? "" : JSON_BODY, body, status, true };
    sweep_row(&row);
}

#define ITEMS(item) "{\"items\":[" item "," item "]}"
#define KEY "/v1/keys/k"
#define SECRET "/v1/secrets/" FAKE_SECRET
#define HANDSHAKE "/v1/handshakes/" FAKE_SESSION
#define SESSION "/v1/sessions/" FAKE_SESSION
#define X "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\""
#define Y "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\""
#define JWK "{\"kty\":\"EC\",\"crv\":\"P-256\"," X "," Y "}"
#define EDHOC "Content-Type: application/edhoc+cbor-seq\r\n"
#define COSE "Content-Type: application/cose\r\n"
#define BYTES "Content-Type: application/octet-stream\r\n"
#define CBOR "Content-Type: application/cbor\r\n"
#define CBOR_SEQUENCE "Content-Type: application/cbor-seq\r\n"
#define PKCS10 "Content-Type: application/pkcs10\r\n"
#define PROOF "Authorization: Basic ZDpvbmNl\r\n" // d:once
#define SIXTEEN                                                                                    \
    "\x70"                                                                                         \
    "00112233445566aa" // a session's id in CBOR

// clang-format off
static const struct row rows[] = {
    { "GET", "/healthz", "", NULL, 200, false },
    { "GET", "/readyz", "", NULL, 200, false },
    { "GET", "/openapi.json", "", NULL, 200, false },
    { "GET", "/metrics", "", NULL, 200, true },
    { "GET", "/v1/status", "", NULL, 200, true },
    { "GET", "/v1/audit", "", NULL, 200, true },
    { "POST", "/v1/backup", "", NULL, 200, false },
    { "POST", "/v1/random", JSON_BODY, "{\"length\":8}", 200, false },
    { "POST", "/v1/random", JSON_BODY, ITEMS("{\"length\":8}"), 200, false },

    { "GET", "/v1/keys?limit=2", "", NULL, 200, false },
    { "POST", "/v1/keys", JSON_BODY, "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}", 201, false },
    { "POST", "/v1/keys", JSON_BODY, "{\"name\":\"n\",\"uri\":\"pkcs11:object=x\"}", 201, false },
    { "POST", "/v1/keys", JSON_BODY, "{\"name\":\"n\",\"jwk\":" JWK "}", 201, false },
    { "GET", "/v1/keys/ec", "", NULL, 200, false },
    { "DELETE", KEY, "", NULL, 204, false },
    { "DELETE", KEY "/versions/2", "", NULL, 204, false },
    { "POST", KEY "/rotate", JSON_BODY, "{}", 201, false },
    { "POST", KEY "/disable", JSON_BODY, "{\"version\":1}", 200, false },
    { "POST", KEY "/enable", "", NULL, 200, false },
    { "POST", KEY "/sign", JSON_BODY, "{\"data\":\"aGk\",\"prehashed\":true,\"format\":\"der\"}", 200, false },
    { "POST", KEY "/sign", JSON_BODY, ITEMS("{\"data\":\"aGk\"}"), 200, false },
    { "POST", KEY "/verify", JSON_BODY, "{\"data\":\"aGk\",\"signature\":\"U2hp\"}", 200, false },
    { "POST", KEY "/mac", JSON_BODY, "{\"data\":\"aGk\",\"version\":1}", 200, false },
    { "POST", KEY "/mac", JSON_BODY, ITEMS("{\"data\":\"aGk\"}"), 200, false },
    { "POST", KEY "/mac-verify", JSON_BODY, "{\"data\":\"aGk\",\"mac\":\"TWhp\"}", 200, false },
    { "POST", KEY "/encrypt", JSON_BODY, "{\"plaintext\":\"aGk\",\"aad\":\"aGk\"}", 200, false },
    { "POST", KEY "/decrypt", JSON_BODY, "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RWhp\"}", 200, false },
    { "POST", KEY "/rewrap", JSON_BODY, "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RWhp\"}", 200, false },
    { "POST", KEY "/ecdh", JSON_BODY, "{\"peer\":\"aGk\",\"kdf\":\"hkdf-sha256\"}", 200, false },
    { "POST", KEY "/ecdh", JSON_BODY, ITEMS("{\"peer\":\"aGk\",\"release\":true}"), 200, false },
    { "POST", KEY "/derive", JSON_BODY, "{\"type\":\"aes-256\",\"kdf\":\"hkdf-sha256\"}", 200, false },

    { "GET", "/v1/secrets", "", NULL, 200, false },
    { "GET", SECRET, "", NULL, 200, false },
    { "DELETE", SECRET, "", NULL, 204, false },
    { "POST", SECRET "/mac", JSON_BODY, "{\"data\":\"aGk\"}", 200, false },
    { "POST", SECRET "/mac-verify", JSON_BODY, "{\"data\":\"aGk\",\"mac\":\"TWhp\"}", 200, false },
    { "POST", SECRET "/encrypt", JSON_BODY, "{\"plaintext\":\"aGk\"}", 200, false },
    { "POST", SECRET "/decrypt", JSON_BODY, "{\"iv\":\"BwcHBwcHBwcHBwcH\",\"ciphertext\":\"RWhp\"}", 200, false },
    { "POST", SECRET "/derive", JSON_BODY, "{\"type\":\"aes-256\",\"kdf\":\"hkdf-sha256\"}", 200, false },

    { "GET", "/v1/peers", "", NULL, 200, false },
    { "POST", "/v1/peers", JSON_BODY, "{\"name\":\"n\",\"kid\":\"AA\",\"public_key\":" JWK "}", 201, false },
    { "GET", "/v1/peers/sensor", "", NULL, 200, false },
    { "DELETE", "/v1/peers/sensor", "", NULL, 204, false },
    { "POST", "/v1/handshakes", JSON_BODY, "{\"message\":\"aGk\"}", 201, false },
    { "POST", "/v1/handshakes", EDHOC "Keyd-Cookie: aGk\r\n", "m1", 201, false },
    { "POST", HANDSHAKE, JSON_BODY, "{\"message\":\"aGk\"}", 200, false },
    { "POST", HANDSHAKE, EDHOC, "m3", 200, false },
    { "DELETE", HANDSHAKE, "", NULL, 204, false },
    { "GET", "/v1/sessions", "", NULL, 200, false },
    { "POST", "/v1/sessions/resume", JSON_BODY, "{\"ticket\":\"aGk\",\"client_nonce\":\"aGk\"}", 201, false },
    { "GET", SESSION, "", NULL, 200, false },
    { "DELETE", SESSION, "", NULL, 204, false },
    { "GET", SESSION "/ticket", "", NULL, 200, false },
    { "POST", SESSION "/key-update", "", NULL, 200, false },
    { "POST", SESSION "/release", "", NULL, 200, false },
    { "POST", "/v1/records/seal", JSON_BODY, "{\"session\":\"" FAKE_SESSION "\",\"data\":\"aGk\"}", 200, false },
    { "POST", "/v1/records/seal", BYTES "Keyd-Session: " FAKE_SESSION "\r\n", "hi", 200, false },
    { "POST", "/v1/records/seal", CBOR_SEQUENCE, "\x83" SIXTEEN "\x04\x41\x07", 200, false },
    { "POST", "/v1/records/open", JSON_BODY, "{\"items\":[{\"record\":\"MGhp\"},{\"record\":\"MA\"}]}", 200, false },
    { "POST", "/v1/records/open", COSE, "0hi", 200, false },
    { "POST", "/v1/records/open", CBOR_SEQUENCE, "\x81\x43" "0hi\x81\x43" "0ho", 200, false },
    { "GET", "/v1/envelopes/key", "", NULL, 200, false },
    { "POST", "/v1/envelopes/open", JSON_BODY, "{\"envelope\":\"aGk\"}", 200, false },
    { "POST", "/v1/envelopes/open", CBOR, "hi", 200, false },

    { "GET", "/v1/devices", "", NULL, 200, false },
    { "POST", "/v1/devices", JSON_BODY, "{\"id\":\"d\",\"relation\":\"site\"}", 201, false },
    { "GET", "/v1/devices/d", "", NULL, 200, false },
    { "POST", "/v1/devices/d/secret", JSON_BODY, "{\"secret_lifetime\":60}", 200, false },
    { "POST", "/v1/devices/d/revoke", "", NULL, 200, false },
    { "DELETE", "/v1/devices/d", "", NULL, 204, false },
    { "GET", "/v1/ca", "", NULL, 200, false },
    { "POST", "/v1/ca/root", JSON_BODY, "{\"subject\":\"CA\"}", 200, false },
    { "POST", "/v1/ca/request", JSON_BODY, "{\"subject\":\"CA\"}", 200, false },
    { "POST", "/v1/ca/server-certificate", "", NULL, 200, false },

    { "POST", KEY "/mac", JSON_BODY, "{\"data\":\"aGk\",\"what\":1}", 400, false },
    { "PUT", "/v1/keys", "", NULL, 405, false },
};

// What devices ask the bootstrap server for.
static const struct row device_rows[] = {
    { "GET", "/.well-known/est/cacerts", "", NULL, 200, false },
    { "GET", "/.well-known/est/csrattrs", "", NULL, 200, false },
    { "POST", "/.well-known/est/simpleenroll", PROOF PKCS10, "MAA=", 200, false },
    { "POST", "/.well-known/est/simplereenroll", PROOF PKCS10, "MAA=", 200, false },
    { "GET", "/c/k/k", "", NULL, 200, false },
    { "GET", "/provision", PROOF, NULL, 200, true },
    { "GET", "/provision", PROOF "Accept: application/cbor\r\n", NULL, 200, true },
};
// clang-format on

START_TEST(each_request_survives_each_failing_allocation) {
    sweep_row(&rows[_i]);
}
END_TEST

START_TEST(each_device_s_request_survives_each_failing_allocation) {
    sweep_row(&device_rows[_i]);
}
END_TEST

static bool is_swept(const struct kd_route *route, const struct row *of, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct kd_route *path = NULL;
        char param[KD_NAME_MAX_BYTES + 1];
        uint32_t version;
        if (kd_route_find(of[i].target, &path, param, &version) == KD_OK &&
            kd_route_for(path, of[i].method) == route) {
            return true;
        }
    }
    return false;
}

START_TEST(no_route_is_left_out) {
    for (size_t i = 0; i < kd_route_count(); i++) {
        const struct kd_route *r = kd_route_at(i);
        ck_assert_msg(is_swept(r, rows, KD_COUNT_OF(rows)) ||
                          is_swept(r, device_rows, KD_COUNT_OF(device_rows)),
                      "%s %s", r->method, r->path);
    }
}
END_TEST

START_TEST(long_value_is_whole_or_refused) {
    static const char body[] = "{\"data\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIj\"}";
    fixture_settle(&f);
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        kd_auto(answer) struct answer a = { 0 };
        char text[256];
        ask(&f, "POST", "/v1/keys/k/mac", JSON_BODY, body, &a);
        const bool fails = memory_has_failed();
        ck_assert_msg(a.status == 200 || (fails && (a.status == 0 || a.status == 500)),
                      "turn %u: %d", turn, a.status);
        if (a.status == 200) { // 'M', then all that was sent
            ck_assert_str_eq(text_of(&a, "mac", text),
                             "TQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIw");
        }
        fixture_settle(&f);
    }
}
END_TEST

static void open_in_turns(struct fixture *g) {
    unsigned turn = 0;
    memory_choose_thread();
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        struct kd_loop *loop = NULL;
        ck_assert_err(kd_loop_new(&loop), KD_OK);
        struct kd_http *h = NULL;
        memory_resume();
        const enum kd_err err = kd_http_open(loop, &g->service, &g->config, &h);
        const bool fails = memory_has_failed();
        ck_assert_msg((err == KD_OK) == (h != NULL), "turn %u", turn);
        ck_assert(fails || err == KD_OK);
        kd_http_close(h);
        kd_loop_free(loop);
        ck_assert_int_ne(access(g->path, F_OK), 0);
    }
    ck_assert_uint_gt(turn, 3);
}

START_TEST(opening_survives_each_failing_allocation) {
    struct fixture g;
    fixture_init(&g);
    open_in_turns(&g);
    g.config.tcp_address = "127.0.0.1";
    open_in_turns(&g);
    fixture_stop(&g);
}
END_TEST

static void reload_in_turns(struct fixture *g) {
    unsigned turn = 0;
    struct kd_http *h = NULL;
    ck_assert_err(kd_http_open(g->loop, &g->service, &g->config, &h), KD_OK);
    memory_choose_thread();
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        const struct kd_tls *before = h->listeners[1].tls;
        memory_resume();
        kd_http_reload(h);
        const bool fails = memory_has_failed();
        const bool is_valid = kd_http_tls_error(h)[0] == '\0';
        ck_assert(fails || is_valid);
        ck_assert_msg(is_valid || h->listeners[1].tls == before, "turn %u", turn);
    }
    ck_assert_uint_gt(turn, 3);
    kd_http_close(h);
}

START_TEST(opening_and_reloading_tls_survives_each_failing_allocation) {
    struct fixture g;
    char certificate[128];
    char key[128];
    fixture_init(&g);
    snprintf(certificate, sizeof(certificate), "%s/server.pem", g.directory);
    snprintf(key, sizeof(key), "%s/server.key", g.directory);
    struct pki_cert server = pki_make(&(struct pki_spec) { .name = "server" }, NULL);
    pki_write_pem(certificate, &server, 1);
    FILE *file = fopen(key, "w");
    fchmod(fileno(file), 0600);
    PEM_write_PrivateKey(file, server.key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    g.config.tcp_address = "127.0.0.1";
    g.config.tls_certificate = certificate;
    g.config.tls_key = key;
    g.config.tls_client_ca = certificate;
    open_in_turns(&g);
    reload_in_turns(&g);
    unlink(certificate);
    unlink(key);
    pki_wipe(&server);
    fixture_stop(&g);
}
END_TEST

START_TEST(audit_log_survives_each_failing_allocation) {
    sweep("DELETE", "/v1/keys/k", NULL, 204);
    sweep("DELETE", "/v1/keys/k/versions/2", NULL, 204);
    sweep("POST", "/v1/keys", "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}",
          201);
    sweep("POST", "/v1/handshakes/" FAKE_SESSION, "{\"message\":\"aGk\"}", 200);
    sweep("GET", "/v1/audit", NULL, 200);
}
END_TEST

START_TEST(what_is_asked_stands_whole_in_the_audit_log_or_is_not_begun) {
    char line[4096];
    unsigned n_asked = 0;
    sweep("POST", "/v1/keys", "{\"name\":\"n\",\"type\":\"aes-256\",\"usages\":[\"encrypt\"]}",
          201);
    FILE *in = fopen(f.audit_path, "r");
    ck_assert_ptr_nonnull(in);
    while (fgets(line, sizeof(line), in) != NULL) {
        if (strstr(line, "\"phase\":\"asked\"") != NULL) {
            n_asked++;
            ck_assert_ptr_nonnull(strstr(line, "\"input\":{\"name\":\"n\",\"type\":\"aes-256\"}"));
        }
    }
    fclose(in);
    ck_assert_uint_gt(n_asked, 1);
}
END_TEST

static TCase *tcase_alloc(void) {
    TCase *c = tcase_create("alloc");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, long_value_is_whole_or_refused);
    tcase_add_test(c, opening_survives_each_failing_allocation);
    tcase_add_test(c, opening_and_reloading_tls_survives_each_failing_allocation);
    return c;
}

static TCase *tcase_requests(void) {
    TCase *c = tcase_create("requests");
    tcase_add_checked_fixture(c, setup_ca, teardown_ca);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_request_survives_each_failing_allocation, 0, KD_COUNT_OF(rows));
    tcase_add_test(c, no_route_is_left_out);
    return c;
}

static TCase *tcase_devices(void) {
    TCase *c = tcase_create("devices");
    tcase_add_checked_fixture(c, setup_bootstrap, teardown_ca);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, each_device_s_request_survives_each_failing_allocation, 0,
                        KD_COUNT_OF(device_rows));
    return c;
}

static TCase *tcase_audited(void) {
    TCase *c = tcase_create("audited");
    tcase_add_checked_fixture(c, setup_audited, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, audit_log_survives_each_failing_allocation);
    tcase_add_test(c, what_is_asked_stands_whole_in_the_audit_log_or_is_not_begun);
    return c;
}

UNIT_MAIN("api_alloc", tcase_alloc(), tcase_requests(), tcase_devices(), tcase_audited())
