// SPDX-License-Identifier: Apache-2.0
// service_state.h: what the functions of keyd_service.h are made of: a pool of connections, one
// question and its answer, and JSON both ways.  What may be secret is written and read without
// copies that nobody wipes: requests by kd_buf, answers in the place where they came.
#ifndef KD_CLIENT_SERVICE_STATE_H
#define KD_CLIENT_SERVICE_STATE_H

#include "client/device_detail.h"
#include "client/keyd_service.h"
#include "client/rest.h"

#define KD_SERVICE_PATH_BYTES 160

// ---- a question ------------------------------------------------------------

struct kd_service_answer {
    struct keyd_service *service; // `rest` goes back there
    struct kd_rest *rest;         // has the headers
    struct kd_rest_answer http;
};
#define KD_SERVICE_ANSWER_INIT ((struct kd_service_answer) { .http = KD_REST_ANSWER_INIT })
void kd_service_answer_wipe(struct kd_service_answer *a);
KD_AUTO_DEFINE_IN_PLACE(service_answer, struct kd_service_answer, kd_service_answer_wipe)

// At the beginning of each function of keyd_service.h; kd_detail_end is its end.
void kd_service_begin(void);
// KEYD_OK: keyd did it.  Else keyd_detail and keyd_problem are set, and *a may have the problem.
enum keyd_err kd_service_ask(struct keyd_service *s, const struct kd_rest_request *q,
                             struct kd_service_answer *a);
// A POST of JSON; who expects a secret has its answer left as text.
enum keyd_err kd_service_post(struct keyd_service *s, const char *path, const struct kd_buf *json,
                              bool keeps_text, struct kd_service_answer *a);
// GET, DELETE and POST without a body.
enum keyd_err kd_service_do(struct keyd_service *s, const char *method, const char *path,
                            struct kd_service_answer *a);
// By the name of a problem: what it is to the caller.
enum keyd_err kd_service_err_of(struct kd_bytes name, unsigned status);
// A problem that is ours: `name` is in no list of keyd's.  Gives back err.
enum keyd_err kd_service_problem(enum keyd_err err, const char *name, const char *text);
// What came is not what docs/api.md says.
enum keyd_err kd_service_strange(void);
enum keyd_err kd_service_wrong(const char *what); // KEYD_ERR_ARGUMENT

// False: no name of a key, no id.  Nothing else goes into a path.
bool kd_service_is_name(const char *name);
bool kd_service_is_id(const char *id);
// "/v1/keys/NAME/operation", or the secret's; KEYD_ERR_ARGUMENT.
enum keyd_err kd_service_path(const struct keyd_with *with, const char *operation,
                              char path[static KD_SERVICE_PATH_BYTES]);

static inline struct kd_bytes kd_service_bytes(struct keyd_bytes b) {
    return (struct kd_bytes) { b.p, b.n };
}
static inline bool kd_service_is_missing(struct keyd_bytes b) {
    return b.p == NULL && b.n > 0;
}

// ---- JSON ------------------------------------------------------------------

// Members, with the comma before; no text that needs an escape is ever written.
void kd_service_put_name(struct kd_buf *b, const char *name);
void kd_service_put_text(struct kd_buf *b, const char *name, const char *text);
void kd_service_put_number(struct kd_buf *b, const char *name, uint64_t value);
void kd_service_put_bytes(struct kd_buf *b, const char *name, struct kd_bytes value);

// False: it is not there, or of another type, or longer than there is room.
bool kd_service_get_text(const json_t *o, const char *name, size_t max, char *out);
bool kd_service_get_number(const json_t *o, const char *name, uint64_t *out);
bool kd_service_get_bytes(const json_t *o, const char *name, struct keyd_room *out);
// From the text of an object that jansson has not read.
bool kd_service_find_bytes(struct kd_bytes json, const char *name, struct keyd_room *out);
// Into the caller's room.  False: it is too small.
bool kd_service_copy(struct kd_bytes from, struct keyd_room *out);
// "" and false where the name is longer.
bool kd_service_copy_text(struct kd_bytes from, size_t max, char *out);

#endif
