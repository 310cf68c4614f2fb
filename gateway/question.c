// SPDX-License-Identifier: Apache-2.0
// question.c: a frame of a device from its coming to its answer.
#include "gateway/gateway.h"

#include <stdlib.h>
#include <string.h>

enum { BUSY_AFTER_S = 1, FAILURE_MAX_BYTES = KD_FRAME_COOKIE_MAX_BYTES + 8 };

// ---- how a question ends -----------------------------------------------------

static void free_question(struct kd_question *q) {
    kd_buf_wipe(&q->bytes);
    kd_buf_wipe(&q->body);
    free(q);
}

static void end(struct kd_question *q, const struct kd_frame *answer) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_frame_put(&out, answer);
    kd_place_give(q);
    q->done(q->arg, kd_buf_finish(&out) == KD_OK ? kd_buf_get(&out) : KD_BYTES_NONE);
    free_question(q);
}

void kd_question_answer(struct kd_question *q, struct kd_bytes body) {
    const struct kd_frame answer = { .role = q->is_push ? KD_FRAME_REQUEST : KD_FRAME_ANSWER,
                                     .kind = q->frame.kind,
                                     .id = q->frame.id,
                                     .body = body };
    q->g->counts.answered[q->frame.kind]++;
    end(q, &answer);
}

void kd_question_drop(struct kd_question *q) {
    kd_place_give(q);
    q->done(q->arg, KD_BYTES_NONE);
    free_question(q);
}

static void fail(struct kd_question *q, const struct kd_failure_body *why, const char *reason) {
    uint8_t room[FAILURE_MAX_BYTES];
    struct kd_buf body = KD_BUF_OVER(room);
    kd_failure_put(&body, why);
    const struct kd_frame answer = { .role = KD_FRAME_FAILURE,
                                     .id = q->frame.id,
                                     .body = kd_buf_get(&body) };
    q->g->counts.failed[why->code]++;
    kd_log_limited(&q->g->said.failed[why->code], KD_LOG_INFO, "gateway",
                   "a frame was not answered as it asked",
                   "address=%s kind=%d peer=%s code=%d reason=%s", q->address, (int)q->frame.kind,
                   q->peer, (int)why->code, reason);
    end(q, &answer);
}

void kd_question_fail(struct kd_question *q, enum kd_failure code, uint32_t after_s,
                      const char *reason) {
    fail(q, &(struct kd_failure_body) { .code = code, .after_s = after_s }, reason);
}

void kd_question_retry(struct kd_question *q, struct kd_bytes cookie) {
    fail(q, &(struct kd_failure_body) { .code = KD_FAILURE_RETRY, .cookie = cookie },
         "handshake-retry");
}

// The device learns as little as it needs to go on; why is in the log.
void kd_question_fail_by(struct kd_question *q, unsigned status, const char *error) {
    if (strcmp(error, "no-such-session") == 0 || strcmp(error, "session-expired") == 0 ||
        strcmp(error, "no-such-handshake") == 0) {
        kd_question_fail(q, KD_FAILURE_UNKNOWN_SESSION, 0, error);
    } else if (!kd_client_is_answer(status) || status >= 500 || status == 429 || status == 401 ||
               status == 403) {
        kd_question_fail(q, KD_FAILURE_BUSY, BUSY_AFTER_S, error);
    } else if (status == 413) {
        kd_question_fail(q, KD_FAILURE_TOO_LARGE, 0, error);
    } else {
        kd_question_fail(q, KD_FAILURE_REFUSED, 0, error);
    }
}

// ---- coming in -------------------------------------------------------------

// Where there is no question yet.
static void refuse(struct kd_gateway *g, uint32_t id, enum kd_failure code, uint32_t after_s,
                   kd_question_done *done, void *arg) {
    uint8_t room[KD_FRAME_HEAD_BYTES + FAILURE_MAX_BYTES];
    struct kd_buf out = KD_BUF_OVER(room);
    kd_frame_put_failure(&out, id, &(struct kd_failure_body) { .code = code, .after_s = after_s });
    g->counts.failed[code]++;
    done(arg, kd_buf_get(&out));
}

static struct kd_question *new_question(struct kd_gateway *g, struct kd_bytes frame) {
    struct kd_question *q = calloc(1, sizeof(*q));
    if (q == NULL) {
        return NULL;
    }
    q->g = g;
    q->bytes = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    q->body = KD_BUF_INIT(KD_RECORD_BODY_MAX_BYTES + 1);
    kd_buf_put(&q->bytes, frame.p, frame.n);
    if (kd_buf_finish(&q->bytes) != KD_OK ||
        kd_frame_parse(kd_buf_get(&q->bytes), &q->frame) != KD_OK) {
        free_question(q);
        return NULL;
    }
    return q;
}

static void begin(struct kd_question *q) {
    const struct kd_frame answer = { .role = KD_FRAME_ANSWER,
                                     .kind = q->frame.kind,
                                     .id = q->frame.id };
    kd_frame_head(&q->frame, q->head);
    kd_frame_head(&answer, q->answer_head);
    q->g->counts.frames[q->frame.kind]++;
    switch (q->frame.kind) {
    case KD_FRAME_MESSAGE:
    case KD_FRAME_TICKET:
    case KD_FRAME_UPDATE:
    case KD_FRAME_CLOSE:
        kd_records_open(q);
        break;
    case KD_FRAME_HANDSHAKE:
    case KD_FRAME_RESUME:
    case KD_FRAME_ENVELOPE:
        kd_control_ask(q);
        break;
    case KD_FRAME_PUSH: // ours to send, and the device's to acknowledge
        q->is_acknowledgement = q->frame.role == KD_FRAME_ANSWER;
        if (q->is_acknowledgement) {
            kd_records_open(q);
        } else {
            kd_question_fail(q, KD_FAILURE_MALFORMED, 0, "push");
        }
        break;
    }
}

// Only what came by a way to the device can be an answer to us: to a push.
static bool is_taken(const struct kd_frame *frame, const struct kd_origin *origin) {
    return frame->role == KD_FRAME_REQUEST ||
           (frame->role == KD_FRAME_ANSWER && frame->kind == KD_FRAME_PUSH &&
            origin->route != NULL);
}

static bool is_known(const struct kd_origin *origin) {
    return origin->route != NULL && origin->route->peer[0] != '\0';
}

void kd_gateway_ask(struct kd_gateway *g, struct kd_bytes bytes, const struct kd_origin *origin,
                    kd_question_done *done, void *arg) {
    struct kd_frame frame;
    if (kd_frame_parse(bytes, &frame) != KD_OK || !is_taken(&frame, origin)) {
        refuse(g, 0, KD_FAILURE_MALFORMED, 0, done, arg);
        return;
    }
    struct kd_question *q =
        kd_gateway_has_place(g, !is_known(origin)) ? new_question(g, bytes) : NULL;
    if (q == NULL) {
        refuse(g, frame.id, KD_FAILURE_BUSY, BUSY_AFTER_S, done, arg);
        return;
    }
    q->done = done;
    q->arg = arg;
    q->is_stream = origin->is_stream;
    q->route = origin->route;
    strncpy(q->address, origin->address, sizeof(q->address) - 1);
    if (!kd_place_take(q)) {
        free_question(q);
        refuse(g, frame.id, KD_FAILURE_BUSY, BUSY_AFTER_S, done, arg);
        return;
    }
    begin(q);
}

struct kd_question *kd_gateway_new_push(struct kd_gateway *g, uint32_t id, kd_question_done *done,
                                        void *arg) {
    kd_auto(buf) struct kd_buf bytes = KD_BUF_INIT(64);
    const struct kd_frame frame = { .kind = KD_FRAME_PUSH, .id = id };
    kd_frame_put(&bytes, &frame);
    struct kd_question *q =
        kd_gateway_has_place(g, false) ? new_question(g, kd_buf_get(&bytes)) : NULL;
    if (q == NULL) {
        return NULL;
    }
    q->is_push = true;
    q->done = done;
    q->arg = arg;
    kd_frame_head(&q->frame, q->answer_head);
    (void)kd_place_take(q); // ours are of no share
    return q;
}
