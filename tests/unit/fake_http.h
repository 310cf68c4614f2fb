// SPDX-License-Identifier: Apache-2.0
// fake_http.h: a server on a Unix socket in a folder of its own that answers
// every request with prepared bytes, right or wrong, from a thread.
#ifndef KD_TESTS_FAKE_HTTP_H
#define KD_TESTS_FAKE_HTTP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define FAKE_ANSWERS_MAX 8
#define FAKE_CONNECTIONS_MAX 32

struct fake_http {
    char folder[64];
    char socket[96];
    const char *answers[FAKE_ANSWERS_MAX]; // in turn; the last is repeated
    size_t n_answers;
    bool closes;         // after each answer
    bool is_silent;      // takes requests, answers nothing
    bool is_deaf;        // takes nothing more on the first connection when it has answered there
    unsigned dropped;    // which request is read and gets a closed connection; 0: none
    char request[16384]; // the last one; before fake_http_stop: by fake_http_last
    unsigned n_requests; // read these after fake_http_stop
    unsigned n_accepted; // connections
    pthread_mutex_t lock;
    int listener;
    int stop[2];
    pthread_t thread;
};

void fake_http_start(struct fake_http *f); // fields above `request` are set
void fake_http_stop(struct fake_http *f);  // and removes the folder

// The last request, in the caller's memory of the size of `request`, while others may come.
void fake_http_last(struct fake_http *f, char *request);

// A whole answer from its parts.  Static memory, a few at a time.
const char *fake_answer(int status, const char *type, const char *body);
#define FAKE_JSON(status, body) fake_answer(status, "application/json", body)
#define FAKE_PROBLEM(status, body) fake_answer(status, "application/problem+json", body)

#endif
