// SPDX-License-Identifier: Apache-2.0
// api_fixture.c: server and client for the tests of api/.
#include "tests/unit/api_fixture.h"

#include "keyd/config.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LOOKS_MAX = 6000, LOOK_MS = 10 };

// ---- server ----------------------------------------------------------------

void fixture_init(struct fixture *f) {
    memset(f, 0, sizeof(*f));
    kd_log_set_level(KD_LOG_ERROR);
    snprintf(f->directory, sizeof(f->directory), "/tmp/keyd-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->directory));
    snprintf(f->path, sizeof(f->path), "%s/s", f->directory);
    f->config = (struct kd_http_config) {
        .unix_path = f->path,
        .unix_mode = 0600,
        .connections_max = 64,
        .tls_handshakes_max = 1000,
        .tls_handshakes_per_source = 1000,
        .principal_max = 64,
        .body_max_bytes = 1 << 20,
        .large_max_bytes = 64 << 20,
        .header_max_bytes = 8192,
        .header_timeout_ms = 60000,
        .body_timeout_ms = 60000,
        .idle_timeout_ms = 60000,
        .retry_after_sec = 3,
    };
    ck_assert_err(kd_loop_new(&f->loop), KD_OK);
    fake_service_init(&f->service, f->loop);
}

static void *run(void *fixture) {
    struct fixture *f = fixture;
    ck_assert_err(kd_loop_run(f->loop), KD_OK);
    return NULL;
}

void fixture_start(struct fixture *f) {
    ck_assert_err(kd_http_open(f->loop, &f->service, &f->config, &f->http), KD_OK);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, run, f), 0);
}

void fixture_start_audited(struct fixture *f) {
    static const struct kd_chain none;
    const struct kd_audit_config config = { .file = f->audit_path, .bytes_max = 1 << 20 };
    snprintf(f->audit_path, sizeof(f->audit_path), "%s/audit.log", f->directory);
    ck_assert_err(kd_audit_open(f->loop, &config, &none, &f->service.audit), KD_OK);
    fixture_start(f);
}

void fixture_stop(struct fixture *f) {
    struct kd_chain last;
    if (f->http != NULL) {
        kd_loop_stop(f->loop);
        pthread_join(f->thread, NULL);
    }
    kd_audit_close(f->service.audit, &last);
    f->service.audit = NULL;
    kd_http_close(f->http);
    kd_loop_free(f->loop);
    unlink(f->audit_path);
    unlink(f->path);
    rmdir(f->directory);
}

struct call {
    struct kd_post post;
    struct fixture *fixture;
    void (*fn)(struct fixture *f);
    sem_t done;
};

static void on_call(struct kd_post *post) {
    struct call *call = (struct call *)post;
    call->fn(call->fixture);
    sem_post(&call->done);
}

void fixture_call(struct fixture *f, void (*fn)(struct fixture *f)) {
    struct call call = { .post = { .fn = on_call }, .fixture = f, .fn = fn };
    sem_init(&call.done, 0, 0);
    kd_loop_post(f->loop, &call.post);
    while (sem_wait(&call.done) != 0 && errno == EINTR) {
    }
    sem_destroy(&call.done);
}

void fixture_release(struct fixture *f) {
    fake_service_release(&f->service);
}

void fixture_hold(struct fixture *f) {
    f->service.holds = true;
}

static unsigned held;

static void read_held(struct fixture *f) {
    held = f->service.n_held;
}

void fixture_wait_held(struct fixture *f, unsigned n) {
    for (int i = 0; i < LOOKS_MAX; i++) {
        fixture_call(f, read_held);
        if (held >= n) {
            ck_assert_uint_eq(held, n);
            return;
        }
        poll(NULL, 0, LOOK_MS);
    }
    ck_abort_msg("the service has not got %u requests", n);
}

static size_t pending;

static void read_pending(struct fixture *f) {
    pending = kd_http_pending(f->http);
}

void fixture_settle(struct fixture *f) {
    for (int i = 0; i < LOOKS_MAX; i++) {
        fixture_call(f, read_pending);
        if (pending == 0) {
            return;
        }
        poll(NULL, 0, LOOK_MS);
    }
    ck_abort_msg("requests are still under way");
}

// ---- client ----------------------------------------------------------------

int client_connect(const struct fixture *f) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    const struct timeval limit = { .tv_sec = 60 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

void client_send_bytes(int fd, const void *p, size_t n) {
    const char *at = p;
    while (n > 0) {
        const ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; // the server has closed; what it said is read next
        }
        at += sent;
        n -= (size_t)sent;
    }
}

void client_send(int fd, const char *text) {
    client_send_bytes(fd, text, strlen(text));
}

bool client_is_closed(int fd, int within_ms) {
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (poll(&p, 1, within_ms) <= 0) {
        return false;
    }
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

// One with a time limit is not begun again by itself where the process was stopped meanwhile.
static ssize_t receive(int fd, void *out, size_t n) {
    ssize_t got;
    do {
        got = recv(fd, out, n, 0);
    } while (got < 0 && errno == EINTR);
    return got;
}

static bool read_byte(int fd, char *out) {
    return receive(fd, out, 1) == 1;
}

void client_read_head(int fd, struct answer *a) {
    *a = (struct answer) { .status = 0 };
    size_t n = 0;
    while (n + 1 < sizeof(a->head) && read_byte(fd, &a->head[n])) {
        n++;
        if (n >= 4 && memcmp(a->head + n - 4, "\r\n\r\n", 4) == 0) {
            a->status = atoi(a->head + strlen("HTTP/1.1 "));
            break;
        }
    }
    a->head[n] = '\0';
}

void client_read(int fd, struct answer *a) {
    client_read_head(fd, a);
    char length[256];
    a->n = (size_t)atol(answer_header(a, "Content-Length", length));
    a->body = calloc(1, a->n + 1);
    for (size_t got = 0; got < a->n;) {
        const ssize_t r = receive(fd, a->body + got, a->n - got);
        if (r <= 0) {
            a->status = 0; // cut off
            return;
        }
        got += (size_t)r;
    }
}

void answer_free(struct answer *a) {
    free(a->body);
    a->body = NULL;
}

const char *answer_header(const struct answer *a, const char *name, char out[static 256]) {
    out[0] = '\0';
    const size_t n = strlen(name);
    for (const char *line = strstr(a->head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            line += n + 1;
            line += strspn(line, " ");
            snprintf(out, 256, "%.*s", (int)strcspn(line, "\r"), line);
            break;
        }
    }
    return out;
}

void ask(const struct fixture *f, const char *method, const char *target, const char *headers,
         const char *body, struct answer *a) {
    int fd = client_connect(f);
    char head[16384];
    int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, target,
                     headers);
    client_send_bytes(fd, head, (size_t)n);
    if (body != NULL) {
        n = snprintf(head, sizeof(head), "Content-Length: %zu\r\n", strlen(body));
        client_send_bytes(fd, head, (size_t)n);
    }
    client_send(fd, "\r\n");
    client_send(fd, body == NULL ? "" : body);
    if (strcmp(method, "HEAD") == 0) {
        client_read_head(fd, a);
    } else {
        client_read(fd, a);
    }
    close(fd);
}

// ---- answers ---------------------------------------------------------------

const char *text_of(const struct answer *a, const char *member, char out[static 256]) {
    out[0] = '\0';
    json_t *root = a->body == NULL ? NULL : json_loads(a->body, JSON_REJECT_DUPLICATES, NULL);
    const json_t *v = json_object_get(root, member);
    if (json_is_string(v)) {
        snprintf(out, 256, "%s", json_string_value(v));
    } else if (json_is_integer(v)) {
        snprintf(out, 256, "%lld", (long long)json_integer_value(v));
    } else if (json_is_boolean(v)) {
        snprintf(out, 256, "%s", json_is_true(v) ? "true" : "false");
    } else if (json_is_null(v)) {
        snprintf(out, 256, "null");
    }
    json_decref(root);
    return out;
}

const char *problem_of(const struct answer *a, char out[static 64]) {
    static const char prefix[] = "urn:keyd:problem:";
    char type[256];
    char media[256];
    text_of(a, "type", type);
    const bool is_problem =
        strcmp(answer_header(a, "Content-Type", media), "application/problem+json") == 0 &&
        strncmp(type, prefix, strlen(prefix)) == 0;
    snprintf(out, 64, "%.63s", is_problem ? type + strlen(prefix) : "");
    return out;
}

void expect_json(const struct fixture *f, const char *method, const char *target, const char *body,
                 int status, const char *expected) {
    kd_auto(answer) struct answer a = { 0 };
    ask(f, method, target, body == NULL ? "" : JSON_BODY, body, &a);
    ck_assert_msg(a.status == status, "%s %s: %d %s", method, target, a.status, a.body);
    if (expected[0] == '\0') {
        ck_assert_uint_eq(a.n, 0);
        return;
    }
    json_t *got = json_loads(a.body, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
    ck_assert_msg(json_equal(got, wanted), "%s %s: %s", method, target, a.body);
    json_decref(got);
    json_decref(wanted);
}

void expect_problem(const struct fixture *f, const char *method, const char *target,
                    const char *body, int status, const char *problem, const char *field) {
    kd_auto(answer) struct answer a = { 0 };
    char text[256];
    ask(f, method, target, body == NULL ? "" : JSON_BODY, body, &a);
    ck_assert_problem(&a, status, problem);
    ck_assert_str_eq(text_of(&a, "field", text), field);
}
