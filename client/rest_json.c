// SPDX-License-Identifier: Apache-2.0
// rest_json.c: see rest_json.h.
#include "client/rest_json.h"

#include <stdlib.h>
#include <string.h>

void kd_rest_answer_wipe(struct kd_rest_answer *a) {
    json_decref(a->json);
    *a = KD_REST_ANSWER_INIT;
}

static enum kd_err take_reply(struct kd_rest *r, const struct kd_rest_reply *reply,
                              struct kd_rest_answer *out) {
    json_error_t error;
    json_t *json = NULL;
    if (reply->is_json) {
        json =
            json_loadb((const char *)reply->text.p, reply->text.n, JSON_REJECT_DUPLICATES, &error);
        if (json == NULL && json_error_code(&error) == json_error_out_of_memory) {
            return kd_rest_fail(r, KD_ERR_NO_MEMORY, "There is not enough memory for the answer.");
        }
        if (json == NULL) {
            return kd_rest_fail(r, KD_ERR_MALFORMED, "The answer from %s (status %u) is no JSON.",
                                kd_rest_place(r), reply->status);
        }
    }
    kd_rest_answer_wipe(out);
    *out = (struct kd_rest_answer) { reply->status, reply->retry_after_sec, json };
    return KD_OK;
}

enum kd_err kd_rest_call(struct kd_rest *r, const char *method, const char *path,
                         const json_t *body, struct kd_rest_answer *out) {
    kd_auto(rest_reply) struct kd_rest_reply reply = KD_REST_REPLY_INIT;
    if (path[0] != '/') { // kd_buf_get_text of one that was not written whole
        return kd_rest_fail(r, KD_ERR_NO_MEMORY, "There is not enough memory for the request.");
    }
    char *body_text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    if (body != NULL && body_text == NULL) {
        return kd_rest_fail(r, KD_ERR_NO_MEMORY, "There is not enough memory for the request.");
    }
    const struct kd_rest_request q = { .method = method,
                                       .path = path,
                                       .type = body == NULL ? NULL : "application/json",
                                       .body = body == NULL ? KD_BYTES_NONE
                                                            : kd_bytes_of_text(body_text) };
    const enum kd_err e = kd_rest_exchange(r, &q, &reply);
    if (body_text != NULL) {
        kd_wipe(body_text, strlen(body_text));
        free(body_text);
    }
    return e == KD_OK ? take_reply(r, &reply, out) : e;
}
