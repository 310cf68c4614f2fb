// SPDX-License-Identifier: Apache-2.0
// api_fixture.h: a server on a Unix socket in a thread of its own, in front of
// the fake service, and a client that writes requests byte by byte as a test
// wants them.
#ifndef KD_TESTS_API_FIXTURE_H
#define KD_TESTS_API_FIXTURE_H

#include "api/http.h"
#include "tests/unit/fake_service.h"
#include "tests/unit/unit.h"

#include <pthread.h>

struct fixture {
    struct kd_loop *loop;
    struct kd_service service;
    struct kd_http *http;
    struct kd_http_config config;
    pthread_t thread;
    char directory[64];
    char path[96];
    char audit_path[96];
};

struct answer {
    int status;      // 0: the connection was closed without an answer
    char head[4096]; // all header lines
    char *body;      // ends with NUL; owned
    size_t n;
};

// Defaults that tests change before fixture_start.
void fixture_init(struct fixture *f);
void fixture_start(struct fixture *f);
void fixture_start_audited(struct fixture *f); // with a log at audit_path
void fixture_stop(struct fixture *f);
// Runs fn in the loop's thread and waits for it.
void fixture_call(struct fixture *f, void (*fn)(struct fixture *f));
void fixture_release(struct fixture *f); // for fixture_call: fake_service_release
void fixture_hold(struct fixture *f);    // for fixture_call: answers wait for the above
void fixture_wait_held(struct fixture *f, unsigned n); // until so many do
// Waits until the server has no request under way.
void fixture_settle(struct fixture *f);

int client_connect(const struct fixture *f); // reads give up after 5 seconds
void client_send(int fd, const char *text);
void client_send_bytes(int fd, const void *p, size_t n);
bool client_is_closed(int fd, int within_ms);    // the server has closed, nothing unread
void client_read(int fd, struct answer *a);      // one whole answer
void client_read_head(int fd, struct answer *a); // one answer without a body (HEAD)
void answer_free(struct answer *a);
KD_AUTO_DEFINE_IN_PLACE(answer, struct answer, answer_free)
// The value of a header, "" where there is none.
const char *answer_header(const struct answer *a, const char *name, char out[static 256]);

// One request on a connection of its own; `headers` are whole lines, body NULL: none.
void ask(const struct fixture *f, const char *method, const char *target, const char *headers,
         const char *body, struct answer *a);
#define JSON_BODY "Content-Type: application/json\r\n"

// The last part of a problem's type, "" where the answer is not a problem.
const char *problem_of(const struct answer *a, char out[static 64]);
const char *text_of(const struct answer *a, const char *member, char out[static 256]);

// A request whose answer's body is exactly this JSON; "" where there is none.
void expect_json(const struct fixture *f, const char *method, const char *target, const char *body,
                 int status, const char *expected);
// A request that is refused; field "": the problem names none.
void expect_problem(const struct fixture *f, const char *method, const char *target,
                    const char *body, int status, const char *problem, const char *field);

#define ck_assert_problem(answer_, status_, name_)                                                 \
    do {                                                                                           \
        char problem_[64];                                                                         \
        ck_assert_str_eq(problem_of((answer_), problem_), (name_));                                \
        ck_assert_int_eq((answer_)->status, (status_));                                            \
    } while (0)

#endif
