// SPDX-License-Identifier: Apache-2.0
// rest_json.h: calls of the HTTP API in JSON, both ways, by jansson: for keydctl.
#ifndef KD_CLIENT_REST_JSON_H
#define KD_CLIENT_REST_JSON_H

#include "client/rest.h"

#include <jansson.h>

KD_AUTO_DEFINE(json, json_t *, json_decref)

struct kd_rest_answer {
    unsigned status;
    unsigned retry_after_sec;
    json_t *json; // NULL: the body is none
};
#define KD_REST_ANSWER_INIT ((struct kd_rest_answer) { .json = NULL })
void kd_rest_answer_wipe(struct kd_rest_answer *a);
KD_AUTO_DEFINE_IN_PLACE(rest_answer, struct kd_rest_answer, kd_rest_answer_wipe)

// As kd_rest_exchange; body may be NULL.
KD_MUST_CHECK enum kd_err kd_rest_call(struct kd_rest *r, const char *method, const char *path,
                                       const json_t *body, struct kd_rest_answer *out);

#endif
