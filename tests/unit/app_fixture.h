// SPDX-License-Identifier: Apache-2.0
// app_fixture.h: a program that uses libkeyd-service, for the tests of its calls: a service that
// answers as it is told, right or wrong, and memory that is not there (failing_memory.h).
#ifndef KD_TESTS_APP_FIXTURE_H
#define KD_TESTS_APP_FIXTURE_H

#include "client/keyd_service.h"

#include "base/base.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/keyd_assert.h"
#include "tests/unit/unit.h"

extern struct fake_http fake;
extern struct keyd_service *service;
extern const struct keyd_with with_key;
extern const struct keyd_bytes data; // "data"

#define PROBLEM(status, name)                                                                      \
    FAKE_PROBLEM(status, "{\"type\":\"urn:keyd:problem:" name "\",\"title\":\"A title.\","         \
                         "\"status\":" #status ",\"detail\":\"A detail.\",\"field\":\"data\"}")
// One answer is given without its headers.
#define RAW(headers, body) "HTTP/1.1 200 X\r\n" headers "Content-Length: " body

// `service` is opened on a server with this answer.
void app_start(const char *answer);
void app_stop(void);

typedef enum keyd_err app_call_fn(void);
// The call has this end at this answer, and says why where it fails.
void app_gives(app_call_fn *call, const char *answer, enum keyd_err expected);
// Whatever is wrong with an answer that is good, it is KEYD_ERR_SERVER: where it is cut, or a
// member at any depth is missing (but for those of `optional`) or of another type (but for those of
// `unread`), or a text is longer than any that keyd has.  A problem is the call's.  Both are names
// with a blank before and behind each.
void app_judges(app_call_fn *call, const char *good, const char *optional, const char *unread);

// Each allocation of this thread fails in turn: KEYD_ERR_MEMORY, until the call succeeds.
void app_each_in_turn(app_call_fn *call);

#endif
