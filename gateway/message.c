// SPDX-License-Identifier: Apache-2.0
// message.c: an opened message goes to the backend, and its answer back to the device
// (docs/gateway.md).
#include "gateway/gateway.h"

#include <stdio.h>
#include <string.h>

// What a device is told where the backend has given no answer.
static unsigned status_of_none(unsigned why) {
    return why == KD_CLIENT_LATE ? 504 : why == KD_CLIENT_LOST ? 502 : 503;
}

// An error record, whose body is the status as a number in CBOR.
static void seal_error(struct kd_question *q, unsigned status) {
    kd_buf_reset(&q->body);
    kd_cbor_put_uint(&q->body, status);
    q->type = KD_RECORD_ERROR;
    kd_records_seal(q);
}

static void on_answer(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    q->g->counts.backend[status < 600 ? status / 100 : 0]++;
    if (status < 200 || status > 299) {
        const bool is_answer = kd_client_is_answer(status);
        status = is_answer ? status : status_of_none(status);
        kd_log_limited(&q->g->said.message, KD_LOG_INFO, "gateway",
                       "the backend did not take a message",
                       "peer=%s session=%s status=%u reason=%.*s", q->peer, q->session, status,
                       is_answer ? 0 : (int)body.n, (const char *)body.p);
        seal_error(q, status);
        return;
    }
    kd_buf_wipe(&q->body);
    q->body = KD_BUF_INIT(KD_RECORD_BODY_MAX_BYTES + 1);
    kd_buf_put(&q->body, body.p, body.n);
    if (kd_buf_finish(&q->body) != KD_OK) {
        kd_question_fail_by(q, 503, "no-memory");
        return;
    }
    q->type = KD_RECORD_DATA;
    kd_records_seal(q);
}

void kd_message_opened(struct kd_question *q) {
    char peer[96], session[48], sequence[48], message[48], relation[96];
    const char *registered = q->is_registered ? "Keyd-Registered: yes" : "Keyd-Registered: no";
    const char *const headers[] = { peer, registered, session, sequence, message, relation };
    const bool has_relation = q->relation[0] != '\0';
    snprintf(peer, sizeof(peer), "Keyd-Peer: %s", q->peer);
    snprintf(session, sizeof(session), "Keyd-Session: %s", q->session);
    snprintf(sequence, sizeof(sequence), "Keyd-Sequence: %llu", (unsigned long long)q->sequence);
    snprintf(message, sizeof(message), "Keyd-Message: %u", q->frame.id);
    snprintf(relation, sizeof(relation), "Keyd-Relation: %s", q->relation);
    const struct kd_client_request request = {
        .type = "application/octet-stream",
        .body = kd_buf_get(&q->body),
        .headers = headers,
        .n_headers = KD_COUNT_OF(headers) - !has_relation,
        .who = q->peer,
    };
    if (kd_client_send(q->g->backend, &request, on_answer, q) != KD_OK) {
        seal_error(q, 503);
    }
}
