// SPDX-License-Identifier: Apache-2.0
// test_api_listener.c: sockets that can be served and that cannot, TCP with
// bearer tokens, TLS with and without client certificates.
#include "tests/unit/api_fixture.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

// kd_http_open is refused; it says why at the error level, which is off here.
static void refuse_open(enum kd_err expected) {
    struct kd_http *h = NULL;
    ck_assert_err(kd_http_open(f.loop, &f.service, &f.config, &h), expected);
    ck_assert_ptr_null(h);
}

// ---- Unix ------------------------------------------------------------------

START_TEST(socket_that_nobody_serves_is_replaced) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f.path);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    fixture_start(&f);
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", "/healthz", "", NULL, &a);
    ck_assert_int_eq(a.status, 200);
}
END_TEST

START_TEST(socket_that_somebody_serves_is_left_alone) {
    fixture_start(&f);
    struct kd_http *second = NULL;
    struct kd_loop *loop = NULL;
    ck_assert_err(kd_loop_new(&loop), KD_OK);
    ck_assert_err(kd_http_open(loop, &f.service, &f.config, &second), KD_ERR_CONFIG);
    kd_loop_free(loop);
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", "/healthz", "", NULL, &a);
    ck_assert_int_eq(a.status, 200);
}
END_TEST

START_TEST(path_that_is_not_a_socket_is_left_alone) {
    FILE *file = fopen(f.path, "w");
    fclose(file);
    refuse_open(KD_ERR_CONFIG);
    ck_assert_int_eq(access(f.path, F_OK), 0);
}
END_TEST

START_TEST(socket_in_a_folder_that_is_not_there_is_refused) {
    f.config.unix_path = "/nonexistent/folder/socket";
    refuse_open(KD_ERR_SYSTEM);
    char path[300];
    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    f.config.unix_path = path;
    refuse_open(KD_ERR_CONFIG);
}
END_TEST

START_TEST(socket_has_its_mode_and_goes_with_the_server) {
    f.config.unix_mode = 0640;
    fixture_start(&f);
    struct stat st;
    ck_assert_int_eq(stat(f.path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    kd_loop_stop(f.loop);
    pthread_join(f.thread, NULL);
    kd_http_close(f.http);
    f.http = NULL;
    ck_assert_int_ne(access(f.path, F_OK), 0);
}
END_TEST

START_TEST(group_that_does_not_exist_is_refused) {
    f.config.unix_group = "no-such-group-here";
    refuse_open(KD_ERR_CONFIG);
    ck_assert_int_ne(access(f.path, F_OK), 0);
}
END_TEST

// ---- TCP -------------------------------------------------------------------

static int tcp_connect(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(kd_http_port(f.http)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    const struct timeval limit = { .tv_sec = 5 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

START_TEST(tcp_without_tls_is_for_loopback_only) {
    f.config.unix_path = "";
    static const char *const addresses[] = { "0.0.0.0", "::", "192.0.2.1", "localhost",
                                             "nonsense" };
    for (size_t i = 0; i < KD_COUNT_OF(addresses); i++) {
        f.config.tcp_address = addresses[i];
        refuse_open(KD_ERR_CONFIG);
    }
}
END_TEST

START_TEST(tcp_needs_a_bearer_token) {
    f.config.tcp_address = "127.0.0.1";
    fixture_start(&f);
    int fd = tcp_connect();
    client_send(fd, "GET /v1/keys HTTP/1.1\r\nHost: h\r\n\r\n");
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_problem(&a, 401, "unauthenticated");
    client_send(fd, "GET /v1/keys HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t0ken\r\n\r\n");
    kd_auto(answer) struct answer b = { 0 };
    client_read(fd, &b);
    ck_assert_int_eq(b.status, 200);
    ck_assert(!f.service.credential.has_peer);
    ck_assert_str_eq(f.service.bearer, "t0ken");
    close(fd);
}
END_TEST

#define GET_KEYS "GET /v1/keys HTTP/1.1\r\nHost: h\r\n"

static void expect_known(int fd, const char *authorization) {
    kd_auto(answer) struct answer a = { 0 };
    client_send(fd, GET_KEYS);
    client_send(fd, authorization);
    client_send(fd, "\r\n");
    client_read(fd, &a);
    ck_assert_int_eq(a.status, 200);
}

static uint64_t held_ms;

static void hold_time(struct fixture *fixture KD_UNUSED) {
    kd_clock_hold(held_ms, 1700000000000 + held_ms);
}

static void release_time(struct fixture *fixture KD_UNUSED) {
    kd_clock_release();
}

START_TEST(stranger_makes_room_before_who_is_known) {
    enum { WITHIN_MS = 50000 };
    kd_auto(answer) struct answer busy = { 0 };
    int fds[4];
    f.config.tcp_address = "127.0.0.1";
    f.config.connections_max = KD_COUNT_OF(fds);
    fixture_start(&f);
    held_ms = kd_clock_mono_ms(); // what is half sent for two seconds makes room, too
    fixture_call(&f, hold_time);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        fds[i] = tcp_connect();
    }
    int local = client_connect(&f);
    expect_known(local, "");
    ck_assert(client_is_closed(fds[0], WITHIN_MS)); // the oldest
    expect_known(fds[1], "Authorization: Bearer t0ken\r\n");
    client_send(fds[2], GET_KEYS); // half a request is none
    int another = tcp_connect();
    expect_known(another, "Authorization: Bearer t0ken\r\n");
    ck_assert(client_is_closed(fds[2], WITHIN_MS));
    expect_known(fds[3], "Authorization: Bearer t0ken\r\n");
    int last = tcp_connect(); // no stranger is left: the longest idle one of who has the most
    expect_known(last, "Authorization: Bearer other\r\n");
    ck_assert(client_is_closed(fds[1], WITHIN_MS));
    expect_known(another, "Authorization: Bearer t0ken\r\n");
    int over = client_connect(&f); // the user has one already, and nobody more than two
    client_send(over, GET_KEYS "\r\n");
    client_read(over, &busy);
    ck_assert_problem(&busy, 503, "busy");
    expect_known(local, "");
    expect_known(fds[3], "Authorization: Bearer t0ken\r\n");
    expect_known(last, "Authorization: Bearer other\r\n");
    fixture_call(&f, release_time);
    const int all[] = { fds[0], fds[1], fds[2], fds[3], local, another, last, over };
    for (size_t i = 0; i < KD_COUNT_OF(all); i++) {
        close(all[i]);
    }
}
END_TEST

static int newcomer;
static int longest_idle;

// In the loop's thread: both have happened when the server looks.
static void come_and_ask(struct fixture *fixture) {
    newcomer = client_connect(fixture);
    client_send(longest_idle, GET_KEYS "Authorization: Bearer t0ken\r\n\r\n");
}

START_TEST(idle_connection_that_asks_as_another_comes_keeps_its_place) {
    enum { WITHIN_MS = 50000 };
    kd_auto(answer) struct answer a = { 0 };
    int fds[4];
    f.config.tcp_address = "127.0.0.1";
    f.config.connections_max = KD_COUNT_OF(fds);
    fixture_start(&f);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        fds[i] = tcp_connect();
        expect_known(fds[i], "Authorization: Bearer t0ken\r\n");
    }
    longest_idle = fds[0];
    fixture_call(&f, come_and_ask);
    client_read(fds[0], &a);
    ck_assert_int_eq(a.status, 200);
    ck_assert(client_is_closed(fds[1], WITHIN_MS));
    expect_known(newcomer, "");
    close(newcomer);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

static void expect_local(int status) {
    kd_auto(answer) struct answer a = { 0 };
    ask(&f, "GET", "/v1/keys", "", NULL, &a);
    ck_assert_int_eq(a.status, status);
}

START_TEST(half_a_request_of_who_has_the_most_makes_room_after_two_seconds) {
    enum { WITHIN_MS = 50000, SLOW_MS = 2000 };
    int fds[3];
    f.config.tcp_address = "127.0.0.1";
    f.config.connections_max = KD_COUNT_OF(fds);
    f.config.header_timeout_ms = f.config.idle_timeout_ms = 60000;
    fixture_start(&f);
    held_ms = kd_clock_mono_ms();
    fixture_call(&f, hold_time);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        fds[i] = tcp_connect();
        expect_known(fds[i], "Authorization: Bearer t0ken\r\n");
        client_send(fds[i], GET_KEYS);
    }
    expect_local(503);
    held_ms += SLOW_MS - 1;
    fixture_call(&f, hold_time);
    expect_local(503);
    held_ms++;
    fixture_call(&f, hold_time);
    expect_local(200);
    ck_assert(client_is_closed(fds[0], WITHIN_MS));
    for (size_t i = 1; i < KD_COUNT_OF(fds); i++) {
        kd_auto(answer) struct answer a = { 0 };
        client_send(fds[i], "Authorization: Bearer t0ken\r\n\r\n"); // the other half
        client_read(fds[i], &a);
        ck_assert_int_eq(a.status, 200);
    }
    fixture_call(&f, release_time);
    for (size_t i = 0; i < KD_COUNT_OF(fds); i++) {
        close(fds[i]);
    }
}
END_TEST

START_TEST(port_that_is_taken_is_refused) {
    f.config.tcp_address = "127.0.0.1";
    fixture_start(&f);
    struct kd_http *second = NULL;
    struct kd_loop *loop = NULL;
    ck_assert_err(kd_loop_new(&loop), KD_OK);
    struct kd_http_config config = f.config;
    config.unix_path = "";
    config.tcp_port = kd_http_port(f.http);
    ck_assert_err(kd_http_open(loop, &f.service, &config, &second), KD_ERR_SYSTEM);
    kd_loop_free(loop);
}
END_TEST

// ---- TLS -------------------------------------------------------------------

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
    char certificate_path[128];
    char key_path[128];
};

static struct identity ca;
static struct identity server;
static struct identity client;
static struct identity stranger; // signed by itself

static void add_extension(X509 *x509, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, x509, x509, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ck_assert_ptr_nonnull(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

static void make_identity(struct identity *id, const char *name, const struct identity *issuer,
                          const char *purpose) {
    id->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    id->certificate = X509_new();
    X509_set_version(id->certificate, 2);
    static long serial;
    ASN1_INTEGER_set(X509_get_serialNumber(id->certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(id->certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(id->certificate), 3600);
    X509_NAME *subject = X509_get_subject_name(id->certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(id->certificate, X509_get_subject_name(issuer->certificate));
    X509_set_pubkey(id->certificate, id->key);
    add_extension(id->certificate, NID_basic_constraints,
                  purpose == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (purpose != NULL) {
        add_extension(id->certificate, NID_ext_key_usage, purpose);
    }
    ck_assert_int_gt(X509_sign(id->certificate, issuer->key, EVP_sha256()), 0);
    snprintf(id->certificate_path, sizeof(id->certificate_path), "%s/%s.pem", f.directory, name);
    snprintf(id->key_path, sizeof(id->key_path), "%s/%s.key", f.directory, name);
    FILE *file = fopen(id->certificate_path, "w");
    PEM_write_X509(file, id->certificate);
    fclose(file);
    file = fopen(id->key_path, "w");
    fchmod(fileno(file), 0600);
    PEM_write_PrivateKey(file, id->key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
}

static void drop_identity(struct identity *id) {
    unlink(id->certificate_path);
    unlink(id->key_path);
    X509_free(id->certificate);
    EVP_PKEY_free(id->key);
}

static void setup_tls(void) {
    fixture_init(&f);
    make_identity(&ca, "ca", &ca, NULL);
    make_identity(&server, "server", &ca, "serverAuth");
    make_identity(&client, "client", &ca, "clientAuth");
    make_identity(&stranger, "stranger", &stranger, "clientAuth");
    f.config.tcp_address = "127.0.0.1";
    f.config.tls_certificate = server.certificate_path;
    f.config.tls_key = server.key_path;
    f.config.tls_client_ca = ca.certificate_path;
}

static void teardown_tls(void) {
    drop_identity(&ca);
    drop_identity(&server);
    drop_identity(&client);
    drop_identity(&stranger);
    fixture_stop(&f);
}

// One GET over TLS; returns the status, 0 where the handshake failed.
static int tls_get(const struct identity *id, const char *headers, const char *priorities) {
    gnutls_certificate_credentials_t credentials;
    gnutls_certificate_allocate_credentials(&credentials);
    if (id != NULL) {
        ck_assert_int_ge(gnutls_certificate_set_x509_key_file(credentials, id->certificate_path,
                                                              id->key_path, GNUTLS_X509_FMT_PEM),
                         0);
    }
    gnutls_session_t session;
    // The certificate is sent also where the server did not name its issuer.
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_priority_set_direct(session, priorities, NULL);
    int fd = tcp_connect();
    gnutls_transport_set_int(session, fd);
    gnutls_handshake_set_timeout(session, 50000);
    int status = 0;
    int r;
    do {
        r = gnutls_handshake(session);
    } while (r < 0 && gnutls_error_is_fatal(r) == 0);
    if (r == 0) {
        char text[1024];
        int n = snprintf(text, sizeof(text), "GET /v1/keys HTTP/1.1\r\nHost: h\r\n%s\r\n", headers);
        gnutls_record_send(session, text, (size_t)n);
        ssize_t got;
        do {
            got = gnutls_record_recv(session, text, sizeof(text) - 1);
        } while (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED);
        text[got > 0 ? got : 0] = '\0';
        status = got > 12 ? atoi(text + strlen("HTTP/1.1 ")) : 0;
    }
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    close(fd);
    return status;
}

START_TEST(client_without_a_certificate_needs_a_bearer_token) {
    fixture_start(&f);
    ck_assert_int_eq(tls_get(NULL, "", "NORMAL"), 401);
    ck_assert_int_eq(tls_get(NULL, "Authorization: Bearer x\r\n", "NORMAL"), 200);
    ck_assert_uint_eq(f.service.n_certificate, 0);
}
END_TEST

START_TEST(client_certificate_reaches_the_service_as_a_fingerprint) {
    fixture_start(&f);
    ck_assert_int_eq(tls_get(&client, "", "NORMAL"), 200);
    ck_assert_uint_eq(f.service.n_certificate, 32);
    unsigned char *der = NULL;
    const int n = i2d_X509(client.certificate, &der);
    uint8_t digest[32];
    SHA256(der, (size_t)n, digest);
    OPENSSL_free(der);
    ck_assert_mem_eq(f.service.certificate, digest, sizeof(digest));
}
END_TEST

START_TEST(certificate_that_the_ca_did_not_sign_is_ignored) {
    fixture_start(&f);
    ck_assert_int_eq(tls_get(&stranger, "", "NORMAL"), 401);
    ck_assert_uint_eq(f.service.n_certificate, 0);
}
END_TEST

START_TEST(certificate_for_servers_does_not_name_a_client) {
    fixture_start(&f);
    ck_assert_int_eq(tls_get(&server, "", "NORMAL"), 401);
}
END_TEST

START_TEST(tls_older_than_1_2_is_refused) {
    fixture_start(&f);
    ck_assert_int_eq(tls_get(&client, "", "NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT"), 0);
    ck_assert_int_eq(tls_get(&client, "", "NORMAL:-VERS-ALL:+VERS-TLS1.2"), 200);
    ck_assert_int_eq(tls_get(&client, "", "NORMAL:-VERS-ALL:+VERS-TLS1.3"), 200);
}
END_TEST

START_TEST(without_a_client_ca_no_certificate_counts) {
    f.config.tls_client_ca = "";
    fixture_start(&f);
    ck_assert_int_eq(tls_get(&client, "", "NORMAL"), 401);
}
END_TEST

START_TEST(plain_text_on_the_tls_port_is_closed) {
    fixture_start(&f);
    int fd = tcp_connect();
    client_send(fd, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    kd_auto(answer) struct answer a = { 0 };
    client_read(fd, &a);
    ck_assert_int_eq(a.status, 0);
    close(fd);
}
END_TEST

START_TEST(wrong_tls_files_stop_the_start) {
    const struct kd_http_config good = f.config;
    f.config.tls_certificate = "/nonexistent.pem";
    refuse_open(KD_ERR_CONFIG);
    f.config = good;
    f.config.tls_key = "";
    refuse_open(KD_ERR_CONFIG);
    f.config = good;
    f.config.tls_key = client.key_path; // another's
    refuse_open(KD_ERR_CONFIG);
    f.config = good;
    f.config.tls_certificate = server.key_path;
    refuse_open(KD_ERR_CONFIG);
    f.config = good;
    f.config.tls_client_ca = server.key_path;
    refuse_open(KD_ERR_CONFIG);
    f.config = good;
    f.config.tls_certificate = "";
    refuse_open(KD_ERR_CONFIG);
    f.config = good;
    ck_assert_int_eq(chmod(server.key_path, 0644), 0);
    refuse_open(KD_ERR_CONFIG);
    ck_assert_int_ne(access(f.path, F_OK), 0); // nothing is left behind
}
END_TEST

static TCase *tcase_sockets(void) {
    TCase *c = tcase_create("sockets");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, socket_that_nobody_serves_is_replaced);
    tcase_add_test(c, socket_that_somebody_serves_is_left_alone);
    tcase_add_test(c, path_that_is_not_a_socket_is_left_alone);
    tcase_add_test(c, socket_in_a_folder_that_is_not_there_is_refused);
    tcase_add_test(c, socket_has_its_mode_and_goes_with_the_server);
    tcase_add_test(c, group_that_does_not_exist_is_refused);
    tcase_add_test(c, tcp_without_tls_is_for_loopback_only);
    tcase_add_test(c, tcp_needs_a_bearer_token);
    tcase_add_test(c, stranger_makes_room_before_who_is_known);
    tcase_add_test(c, idle_connection_that_asks_as_another_comes_keeps_its_place);
    tcase_add_test(c, half_a_request_of_who_has_the_most_makes_room_after_two_seconds);
    tcase_add_test(c, port_that_is_taken_is_refused);
    return c;
}

static TCase *tcase_tls(void) {
    TCase *c = tcase_create("tls");
    tcase_add_checked_fixture(c, setup_tls, teardown_tls);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, client_without_a_certificate_needs_a_bearer_token);
    tcase_add_test(c, client_certificate_reaches_the_service_as_a_fingerprint);
    tcase_add_test(c, certificate_that_the_ca_did_not_sign_is_ignored);
    tcase_add_test(c, certificate_for_servers_does_not_name_a_client);
    tcase_add_test(c, tls_older_than_1_2_is_refused);
    tcase_add_test(c, without_a_client_ca_no_certificate_counts);
    tcase_add_test(c, plain_text_on_the_tls_port_is_closed);
    tcase_add_test(c, wrong_tls_files_stop_the_start);
    return c;
}

UNIT_MAIN("api_listener", tcase_sockets(), tcase_tls())
