// SPDX-License-Identifier: Apache-2.0
// records.c: records go to keyd in batches, in CBOR (docs/channel.md).  While one batch of
// a kind is under way the next gathers, so that batches grow with the load and an idle
// gateway waits for nobody.
#include "gateway/released.h"

#include <stdlib.h>
#include <string.h>

enum { UNDER_WAY_MAX = 2, BODY_MAX_BYTES = (1u << 20) - (1u << 16) };

#define CBOR_SEQUENCE "application/cbor-seq"

struct kd_record_batch {
    struct kd_gateway *g;
    bool is_open;
    struct kd_question *first, **last; // waiting
    size_t n;
    unsigned under_way;
};

// One request.
struct round {
    struct kd_record_batch *b;
    size_t n;
    struct kd_question *questions[];
};

// ---- answers ---------------------------------------------------------------

static bool copy_text(char *out, size_t size, struct kd_bytes text) {
    if (text.n >= size || memchr(text.p, 0, text.n) != NULL) {
        return false;
    }
    memcpy(out, text.p, text.n);
    out[text.n] = '\0';
    return true;
}

// The body is moved once: what is opened leaves no second copy behind.
bool kd_records_keep_body(struct kd_question *q, struct kd_bytes body) {
    kd_buf_wipe(&q->body);
    q->body = KD_BUF_INIT(KD_RECORD_BODY_MAX_BYTES + 1);
    (void)kd_buf_extend(&q->body, body.n + 1);
    q->body.n = 0;
    kd_buf_put(&q->body, body.p, body.n);
    return kd_buf_finish(&q->body) == KD_OK;
}

void kd_records_opened(struct kd_question *q) {
    q->is_opened = true;
    if (q->route != NULL) {
        kd_route_prove(q->route, q->peer, q->session);
    }
    if (q->is_acknowledgement) {
        kd_push_acknowledged(q);
    } else if (q->type != KD_RECORD_CLOSE && !kd_place_prove(q)) { // what is closed is closed
        kd_question_fail_by(q, 503, "pending-per-peer");
    } else if (q->frame.kind == KD_FRAME_MESSAGE && q->type == KD_RECORD_DATA) {
        kd_message_opened(q);
    } else {
        kd_control_opened(q);
    }
}

static void take_opened(struct kd_question *q, struct kd_cbor *c, size_t n_members) {
    const struct kd_bytes session = kd_cbor_read_text(c);
    const struct kd_bytes peer = kd_cbor_read_text(c);
    const struct kd_bytes relation = kd_cbor_read_text(c);
    q->is_registered = kd_cbor_read_bool(c);
    const uint64_t type = kd_cbor_read_uint(c);
    q->sequence = kd_cbor_read_uint(c);
    const struct kd_bytes body = kd_cbor_read_bytes(c);
    if (c->err != KD_OK || n_members != 7 || type > KD_RECORD_TYPE_LAST ||
        !copy_text(q->session, sizeof(q->session), session) ||
        !copy_text(q->peer, sizeof(q->peer), peer) ||
        !copy_text(q->relation, sizeof(q->relation), relation) || !kd_records_keep_body(q, body)) {
        kd_question_fail_by(q, 500, "keyd-answer");
        return;
    }
    q->type = (uint8_t)type;
    kd_released_forget(q->g, q->session);
    kd_records_opened(q);
}

static void take_error(struct kd_question *q, struct kd_cbor *c) {
    char name[48] = "";
    const struct kd_bytes text = kd_cbor_read_text(c);
    const struct kd_bytes answer = kd_cbor_read_bytes(c);
    if (c->err != KD_OK || !copy_text(name, sizeof(name), text)) {
        kd_question_fail_by(q, 500, "keyd-answer");
    } else if (answer.n > 0) {
        kd_question_answer(q, answer); // a sealed expire record
    } else if (strcmp(name, "session-released") == 0 && !kd_released_has(q)) {
        kd_question_fail_by(q, 404,
                            "no-such-session"); // who had the keys has gone: a resume has new
    } else if (strcmp(name, "busy") == 0 || strcmp(name, "change-under-way") == 0 ||
               strncmp(name, "token", 5) == 0 || strcmp(name, "deadline") == 0) {
        kd_question_fail_by(q, 503, name);
    } else {
        kd_question_fail_by(q, 422, name);
    }
}

static void take_result(struct kd_question *q, bool is_open, struct kd_cbor *c) {
    const size_t n_members = kd_cbor_read_array(c);
    if (c->err != KD_OK) {
        kd_question_fail_by(q, 500, "keyd-answer");
    } else if (n_members == 2) {
        take_error(q, c);
    } else if (is_open) {
        take_opened(q, c, n_members);
    } else {
        const struct kd_bytes record = kd_cbor_read_bytes(c);
        if (c->err != KD_OK || n_members != 1) {
            kd_question_fail_by(q, 500, "keyd-answer");
        } else {
            kd_question_answer(q, record);
        }
    }
}

static void on_answer(void *arg, unsigned status, struct kd_bytes body) {
    struct round *r = arg;
    struct kd_record_batch *b = r->b;
    b->under_way--;
    struct kd_cbor c = kd_cbor_of(body);
    for (size_t i = 0; i < r->n; i++) {
        if (status == 200) {
            take_result(r->questions[i], b->is_open, &c);
        } else {
            kd_question_fail_by(r->questions[i], status,
                                kd_client_is_answer(status) ? "keyd" : "keyd-away");
        }
    }
    if (status != 200) {
        kd_log(KD_LOG_WARN, "gateway", "keyd did not take a batch", "status=%u n=%zu answer=%.*s",
               kd_client_status(status), r->n, (int)(body.n < 200 ? body.n : 200),
               (const char *)body.p);
    }
    free(r);
}

// ---- requests --------------------------------------------------------------

static void put_item(struct kd_buf *out, bool is_open, const struct kd_question *q) {
    if (is_open) {
        kd_cbor_put_array(out, 2);
        kd_cbor_put_bytes(out, q->frame.body);
        kd_cbor_put_bytes(out, (struct kd_bytes) { q->head, sizeof(q->head) });
        return;
    }
    kd_cbor_put_array(out, 4);
    kd_cbor_put_text(out, q->session);
    kd_cbor_put_uint(out, q->type);
    kd_cbor_put_bytes(out, kd_buf_get(&q->body));
    kd_cbor_put_bytes(out, (struct kd_bytes) { q->answer_head, sizeof(q->answer_head) });
}

static size_t bytes_of(const struct kd_record_batch *b, const struct kd_question *q) {
    return (b->is_open ? q->frame.body.n : q->body.n) + 64;
}

static struct kd_question *take_first(struct kd_record_batch *b) {
    struct kd_question *q = b->first;
    b->first = q->next;
    b->last = b->first == NULL ? &b->first : b->last;
    b->n--;
    return q;
}

static void send_batch(struct kd_record_batch *b) {
    const size_t max = b->n < b->g->config->batch_max ? b->n : b->g->config->batch_max;
    struct round *r = calloc(1, sizeof(*r) + max * sizeof(struct kd_question *));
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(BODY_MAX_BYTES);
    if (r == NULL) {
        kd_question_fail_by(take_first(b), 503, "no-memory");
        return;
    }
    r->b = b;
    for (size_t room = BODY_MAX_BYTES; r->n < max && (r->n == 0 || bytes_of(b, b->first) <= room);
         r->n++) {
        struct kd_question *q = take_first(b);
        const size_t need = bytes_of(b, q);
        room -= need < room ? need : room;
        put_item(&body, b->is_open, q);
        r->questions[r->n] = q;
    }
    const struct kd_client_request request = {
        .path = b->is_open ? "/v1/records/open" : "/v1/records/seal",
        .type = CBOR_SEQUENCE,
        .body = kd_buf_get(&body),
    };
    b->g->counts.batches++;
    b->g->counts.batched += r->n;
    b->under_way++;
    if (kd_buf_finish(&body) != KD_OK ||
        kd_client_send(b->g->keyd, &request, on_answer, r) != KD_OK) {
        on_answer(r, 0, kd_bytes_of_text("there is not enough memory"));
    }
}

static void add(struct kd_record_batch *b, struct kd_question *q) {
    q->next = NULL;
    *b->last = q;
    b->last = &q->next;
    b->n++;
}

void kd_records_send_open(struct kd_question *q) {
    add(q->g->open, q);
}

// keyd refuses a batch as a whole in which anything is too long for a record: it would be refused
// to all whose records are in it.
void kd_records_open(struct kd_question *q) {
    if (q->frame.body.n > KD_RECORD_MAX_BYTES) {
        kd_question_fail(q, KD_FAILURE_TOO_LARGE, 0, "record");
    } else if (!kd_released_open(q)) {
        kd_records_send_open(q);
    }
}

void kd_records_seal(struct kd_question *q) {
    if (!kd_released_seal(q)) {
        add(q->g->seal, q);
    }
}

static bool is_due(const struct kd_record_batch *b) {
    return b->n > 0 && b->under_way < UNDER_WAY_MAX;
}

uint64_t kd_records_flush(void *gateway) {
    struct kd_gateway *g = gateway;
    struct kd_record_batch *both[] = { g->open, g->seal };
    for (size_t i = 0; i < KD_COUNT_OF(both); i++) {
        while (is_due(both[i])) {
            send_batch(both[i]);
        }
    }
    return KD_LOOP_NO_LIMIT;
}

uint64_t kd_records_wait(const struct kd_gateway *g) {
    return is_due(g->open) || is_due(g->seal) ? 0 : KD_LOOP_NO_LIMIT;
}

// ---- life ------------------------------------------------------------------

static struct kd_record_batch *new_batch(struct kd_gateway *g, bool is_open) {
    struct kd_record_batch *b = calloc(1, sizeof(*b));
    if (b != NULL) {
        b->g = g;
        b->is_open = is_open;
        b->last = &b->first;
    }
    return b;
}

enum kd_err kd_records_new(struct kd_gateway *g) {
    g->open = new_batch(g, true);
    g->seal = new_batch(g, false);
    return g->open == NULL || g->seal == NULL ? KD_ERR_NO_MEMORY
                                              : kd_loop_prepare(g->loop, kd_records_flush, g);
}

void kd_records_free(struct kd_gateway *g) {
    free(g->open);
    free(g->seal);
}
