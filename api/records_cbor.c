// SPDX-License-Identifier: Apache-2.0
// records_cbor.c: batches of records without JSON and base64: a sequence of CBOR
// items each way (RFC 8742), in the order of the request (docs/channel.md).
#include "api/json_in.h"
#include "api/problem.h"
#include "api/records.h"
#include "api/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- reading ---------------------------------------------------------------

static enum kd_err blame_item(struct kd_request *q, size_t i, const char *name, enum kd_err err,
                              const char *detail) {
    const struct kd_json_in in = { NULL, &q->arena, &q->why, true, i };
    return kd_json_blame(&in, name, err, detail);
}

static enum kd_err count_items(struct kd_request *q, size_t *n) {
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&q->body));
    for (*n = 0; kd_cbor_has_more(&c) && *n <= KD_HSM_BATCH_MAX_ITEMS; (*n)++) {
        (void)kd_cbor_read_whole(&c);
    }
    if (*n > KD_HSM_BATCH_MAX_ITEMS) {
        return KD_ERR_BATCH_TOO_LARGE;
    }
    const enum kd_err err = kd_cbor_finish(&c);
    return err == KD_OK ? KD_OK : blame_item(q, *n - 1, "", err, "");
}

// As the service wants it: text with a NUL; the arena has the room.
static const char *keep_text(struct kd_request *q, struct kd_bytes text) {
    const size_t at = q->arena.n;
    kd_buf_put(&q->arena, text.p, text.n);
    kd_buf_u8(&q->arena, 0);
    return (const char *)q->arena.p + at;
}

static enum kd_err read_seal(struct kd_request *q, struct kd_cbor *c, size_t i, size_t n_members,
                             struct kd_record_item *item) {
    const struct kd_bytes session = kd_cbor_read_text(c);
    const uint64_t type = kd_cbor_read_uint(c);
    item->data = kd_cbor_read_bytes(c);
    item->aad = n_members == 4 ? kd_cbor_read_bytes(c) : KD_BYTES_NONE;
    if (c->err != KD_OK || n_members < 3 || n_members > 4) {
        return blame_item(q, i, "", KD_ERR_FIELD_INVALID,
                          "[session (text), type, body, aad (may be missing)] is expected.");
    }
    if (session.n > KD_NAME_MAX_BYTES ||
        !kd_channel_is_session(item->session = keep_text(q, session))) {
        return blame_item(q, i, "session", KD_ERR_FIELD_INVALID,
                          "The id of a session is expected: 16 digits in hexadecimal.");
    }
    if (!kd_record_type_is_callers(type)) {
        return blame_item(q, i, "type", KD_ERR_FIELD_INVALID, "0, 3 or 4 is expected.");
    }
    item->type = (uint8_t)type;
    const char *wrong = kd_record_wrong_with_data(item);
    return wrong == NULL ? KD_OK : blame_item(q, i, "data", KD_ERR_FIELD_INVALID, wrong);
}

static enum kd_err read_open(struct kd_request *q, struct kd_cbor *c, size_t i, size_t n_members,
                             struct kd_record_item *item) {
    item->data = kd_cbor_read_bytes(c);
    item->aad = n_members == 2 ? kd_cbor_read_bytes(c) : KD_BYTES_NONE;
    if (c->err != KD_OK || n_members < 1 || n_members > 2) {
        return blame_item(q, i, "", KD_ERR_FIELD_INVALID,
                          "[record, aad (may be missing)] is expected.");
    }
    return KD_OK;
}

enum kd_err kd_records_cbor_read(struct kd_request *q, struct kd_record_work *work) {
    enum kd_err err = count_items(q, &work->n_items);
    if (err != KD_OK) {
        return err;
    }
    struct kd_record_item *items = calloc(work->n_items, sizeof(*items));
    q->work = items; // freed with the request
    (void)kd_buf_extend(&q->arena, work->n_items * (KD_NAME_MAX_BYTES + 1));
    q->arena.n = 0;
    if (items == NULL || kd_buf_finish(&q->arena) != KD_OK) {
        return KD_ERR_NO_MEMORY;
    }
    work->items = items;
    q->is_batch = true;
    struct kd_cbor c = kd_cbor_of(kd_buf_get(&q->body));
    for (size_t i = 0; i < work->n_items && err == KD_OK; i++) {
        const size_t n_members = kd_cbor_read_array(&c);
        err = work->is_open ? read_open(q, &c, i, n_members, &items[i])
                            : read_seal(q, &c, i, n_members, &items[i]);
    }
    return err;
}

// ---- answering -------------------------------------------------------------

void kd_records_cbor_put(struct kd_request *q, bool is_open, const struct kd_record_result *results,
                         size_t n) {
    for (const struct kd_record_result *r = results; r < results + n; r++) {
        if (r->err != KD_OK) {
            kd_cbor_put_array(&q->out, 2);
            kd_cbor_put_text(&q->out, kd_err_name(r->err));
            kd_cbor_put_bytes(&q->out, r->answer);
        } else if (is_open) {
            kd_cbor_put_array(&q->out, 7);
            kd_cbor_put_text(&q->out, r->session);
            kd_cbor_put_text(&q->out, r->peer);
            kd_cbor_put_text(&q->out, r->relation);
            kd_cbor_put_bool(&q->out, r->is_registered);
            kd_cbor_put_uint(&q->out, r->type);
            kd_cbor_put_uint(&q->out, r->sequence);
            kd_cbor_put_bytes(&q->out, r->out);
        } else {
            kd_cbor_put_array(&q->out, 1);
            kd_cbor_put_bytes(&q->out, r->out);
        }
    }
    q->content_type = KD_MEDIA_CBOR_SEQUENCE;
}
