// SPDX-License-Identifier: Apache-2.0
// records.c: /v1/records/seal and open: messages of the channel, one or a
// batch, also of different sessions; in JSON, or one as it is.  Batches in CBOR are
// in records_cbor.c.
#include "api/problem.h"
#include "api/records.h"
#include "api/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESULT_BYTES = 512 };      // of an answer, but for record, body and answer
enum { RECORD_MORE_BYTES = 128 }; // a record is at most so much longer than its body

static const char *const type_names[KD_RECORD_TYPE_LAST + 1] = {
    [KD_RECORD_DATA] = "data",
    [KD_RECORD_EXPIRE] = "expire",
    [KD_RECORD_KEY_UPDATE] = "key-update",
    [KD_RECORD_CLOSE] = "close",
    [KD_RECORD_ERROR] = "error",
};

static const char *type_name(uint8_t type) {
    return type <= KD_RECORD_TYPE_LAST ? type_names[type] : "";
}

// ---- reading JSON ----------------------------------------------------------

static const char type_expected[] = "One of data, close, error is expected.";

bool kd_record_type_is_callers(uint64_t type) {
    return type == KD_RECORD_DATA || type == KD_RECORD_CLOSE || type == KD_RECORD_ERROR;
}

static bool find_type(const char *name, uint8_t *out) {
    for (unsigned type = 0; type <= KD_RECORD_TYPE_LAST; type++) {
        if (kd_record_type_is_callers(type) && strcmp(name, type_names[type]) == 0) {
            *out = (uint8_t)type;
            return true;
        }
    }
    return false;
}

static enum kd_err read_type(const struct kd_json_in *in, uint8_t *out) {
    const char *name = type_names[KD_RECORD_DATA];
    enum kd_err err = kd_json_text(in, "type", false, &name);
    if (err != KD_OK) {
        return err;
    }
    return find_type(name, out) ? KD_OK
                                : kd_json_blame(in, "type", KD_ERR_FIELD_INVALID, type_expected);
}

const char *kd_record_wrong_with_data(const struct kd_record_item *item) {
    if (item->type == KD_RECORD_CLOSE && item->data.n > 0) {
        return "A close record has no body.";
    }
    if (item->type == KD_RECORD_ERROR) {
        struct kd_cbor c = kd_cbor_of(item->data);
        (void)kd_cbor_read_uint(&c);
        if (kd_cbor_finish(&c) != KD_OK) {
            return "The body of an error record is one unsigned integer in CBOR.";
        }
    }
    return NULL;
}

static enum kd_err check_data(const struct kd_json_in *in, const struct kd_record_item *item) {
    const char *wrong = kd_record_wrong_with_data(item);
    return wrong == NULL ? KD_OK : kd_json_blame(in, "data", KD_ERR_FIELD_INVALID, wrong);
}

static enum kd_err read_aad(const struct kd_json_in *in, struct kd_record_item *item) {
    return kd_json_bytes_upto(in, "aad", false, KD_RECORD_AAD_MAX_BYTES, &item->aad);
}

static enum kd_err read_seal(const struct kd_json_in *in, struct kd_record_item *item) {
    static const char *const names[] = { "session", "data", "aad", "type" };
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    if (err != KD_OK || (err = kd_channel_read_session(in, "session", &item->session)) != KD_OK ||
        (err = read_type(in, &item->type)) != KD_OK) {
        return err;
    }
    const bool is_needed = item->type != KD_RECORD_CLOSE;
    if ((err = kd_json_bytes_upto(in, "data", is_needed, KD_RECORD_BODY_MAX_BYTES, &item->data)) !=
            KD_OK ||
        (err = check_data(in, item)) != KD_OK) {
        return err;
    }
    return read_aad(in, item);
}

static enum kd_err read_open(const struct kd_json_in *in, struct kd_record_item *item) {
    static const char *const names[] = { "record", "aad" };
    enum kd_err err = kd_json_only(in, names, KD_COUNT_OF(names));
    if (err != KD_OK ||
        (err = kd_json_bytes_upto(in, "record", true, KD_RECORD_MAX_BYTES, &item->data)) != KD_OK) {
        return err;
    }
    return read_aad(in, item);
}

static enum kd_err read_items(const struct kd_json_in *batch, const struct kd_json *array,
                              bool is_open, struct kd_record_item *items) {
    const struct kd_json *at = kd_json_first(array);
    for (size_t i = 0; i < array->n; i++) {
        struct kd_json_in in;
        enum kd_err err = kd_json_item(batch, i, &at, &in);
        if (err != KD_OK ||
            (err = is_open ? read_open(&in, &items[i]) : read_seal(&in, &items[i])) != KD_OK) {
            return err;
        }
    }
    return KD_OK;
}

// ---- reading what is not JSON ----------------------------------------------

static enum kd_err read_raw_seal(struct kd_request *q, struct kd_record_item *item) {
    const char *type = NULL;
    enum kd_err err = kd_request_read_header(q, "Keyd-Session", &item->session);
    if (err != KD_OK || (err = kd_request_read_header(q, "Keyd-Type", &type)) != KD_OK) {
        return err;
    }
    if (item->session == NULL) {
        return kd_request_blame_header(q, "Keyd-Session", KD_ERR_FIELD_MISSING, "");
    }
    if (!kd_channel_is_session(item->session)) {
        return kd_request_blame_header(
            q, "Keyd-Session", KD_ERR_FIELD_INVALID,
            "The id of a session is expected: 16 digits in hexadecimal.");
    }
    if (type != NULL && !find_type(type, &item->type)) {
        return kd_request_blame_header(q, "Keyd-Type", KD_ERR_FIELD_INVALID, type_expected);
    }
    const char *wrong = kd_record_wrong_with_data(item);
    return wrong == NULL ? KD_OK : kd_request_blame_header(q, "", KD_ERR_FIELD_INVALID, wrong);
}

// One record or body as it is; what JSON has beside it stands in headers.
static enum kd_err read_raw(struct kd_request *q, struct kd_record_work *work) {
    struct kd_record_item *item = calloc(1, sizeof(*item));
    q->work = item; // freed with the request
    if (item == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    work->items = item;
    work->n_items = 1;
    item->data = kd_buf_get(&q->body);
    enum kd_err err = kd_request_read_header_bytes(q, "Keyd-Aad", &item->aad);
    if (err == KD_OK && item->aad.n > KD_RECORD_AAD_MAX_BYTES) {
        return kd_request_blame_length(q, "Keyd-Aad", KD_RECORD_AAD_MAX_BYTES);
    }
    return err != KD_OK || work->is_open ? err : read_raw_seal(q, item);
}

// ---- reading ---------------------------------------------------------------

static enum kd_err read_body(struct kd_request *q, struct kd_record_work *work) {
    static const char *const only_items[] = { "items" };
    const struct kd_json_in in = kd_channel_input(q);
    const struct kd_json *array = NULL;
    enum kd_err err = kd_json_items(&in, &array, &work->n_items);
    if (err != KD_OK || (array != NULL && (err = kd_json_only(&in, only_items, 1)) != KD_OK)) {
        return err;
    }
    struct kd_record_item *items = calloc(work->n_items, sizeof(*items));
    q->work = items; // freed with the request
    if (items == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    work->items = items;
    q->is_batch = array != NULL;
    if (array != NULL) {
        return read_items(&in, array, work->is_open, items);
    }
    return work->is_open ? read_open(&in, items) : read_seal(&in, items);
}

// ---- answering -------------------------------------------------------------

static void put_opened(struct kd_buf *out, const struct kd_record_result *r) {
    kd_json_member(out, "session");
    kd_json_put_text(out, r->session);
    kd_json_member(out, "peer");
    kd_json_put_text(out, r->peer);
    if (r->relation[0] != '\0') {
        kd_json_member(out, "relation");
        kd_json_put_text(out, r->relation);
    }
    kd_json_member(out, "registered");
    kd_json_put_bool(out, r->is_registered);
    kd_json_member(out, "type");
    kd_json_put_text(out, type_name(r->type));
    kd_json_member(out, "sequence");
    kd_json_put_number(out, r->sequence);
    kd_json_member(out, "data");
    kd_json_put_bytes(out, r->out);
}

static void put_result(struct kd_buf *out, bool is_open, const struct kd_record_result *r) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    if (r->err != KD_OK) {
        kd_json_member(out, "error");
        kd_problem_write_with(out, r->err, "", "", "", "answer", r->answer);
    } else if (is_open) {
        put_opened(out, r);
    } else {
        kd_json_member(out, "record");
        kd_json_put_bytes(out, r->out);
    }
    kd_buf_u8(out, '}');
}

static void put_json(struct kd_request *q, bool is_open, const struct kd_record_result *results,
                     size_t n) {
    if (q->is_batch) {
        kd_buf_text(&q->out, "{\"items\":[");
    }
    for (size_t i = 0; i < n; i++) {
        put_result(&q->out, is_open, &results[i]);
    }
    if (q->is_batch) {
        kd_buf_text(&q->out, "]}");
    }
}

// The bytes alone; who sent them is in headers.
static void put_raw(struct kd_request *q, bool is_open, const struct kd_record_result *r) {
    char sequence[24];
    kd_request_put_header(q, "Keyd-Session", r->session);
    if (is_open) {
        snprintf(sequence, sizeof(sequence), "%llu", (unsigned long long)r->sequence);
        kd_request_put_header(q, "Keyd-Peer", r->peer);
        if (r->relation[0] != '\0') {
            kd_request_put_header(q, "Keyd-Relation", r->relation);
        }
        kd_request_put_header(q, "Keyd-Registered", r->is_registered ? "yes" : "no");
        kd_request_put_header(q, "Keyd-Type", type_name(r->type));
        kd_request_put_header(q, "Keyd-Sequence", sequence);
    }
    q->content_type = q->route->raw_answer;
    kd_buf_put(&q->out, r->out.p, r->out.n);
}

// All the room at once: growing would leave parts of opened bodies behind.
static void make_room(struct kd_buf *out, const struct kd_record_result *results, size_t n) {
    size_t need = 64;
    for (size_t i = 0; i < n; i++) {
        need += RESULT_BYTES + 2 * (results[i].out.n + results[i].answer.n);
    }
    (void)kd_buf_extend(out, need);
    out->n = 0;
}

static void finish(struct kd_request *q, enum kd_err err, const char *detail,
                   const struct kd_record_result *results, size_t n, bool is_open) {
    struct kd_bytes more = KD_BYTES_NONE;
    if (err == KD_OK && !q->is_batch && results[0].err != KD_OK) {
        err = results[0].err; // the only item: its failure is the request's
        more = results[0].answer;
    }
    if (err != KD_OK) {
        kd_request_say(q, detail);
        kd_request_fail_with(q, err, "answer", more);
        kd_request_resume(q);
        return;
    }
    make_room(&q->out, results, n);
    if (q->is_raw) {
        put_raw(q, is_open, &results[0]);
    } else if (q->is_cbor) {
        kd_records_cbor_put(q, is_open, results, n);
    } else {
        put_json(q, is_open, results, n);
    }
    kd_request_end(q, 200);
}

static void on_sealed(void *arg, enum kd_err err, const char *detail,
                      const struct kd_record_result *results, size_t n) {
    finish(arg, err, detail, results, n, false);
}

static void on_opened(void *arg, enum kd_err err, const char *detail,
                      const struct kd_record_result *results, size_t n) {
    finish(arg, err, detail, results, n, true);
}

// ---- the routes ------------------------------------------------------------

static enum kd_err handle(struct kd_request *q, bool is_open) {
    struct kd_record_work work = { .is_open = is_open };
    enum kd_err err = q->is_raw    ? read_raw(q, &work)
                      : q->is_cbor ? kd_records_cbor_read(q, &work)
                                   : read_body(q, &work);
    if (err != KD_OK) {
        return err;
    }
    size_t bytes = 0; // what make_room will take
    for (size_t i = 0; i < work.n_items; i++) {
        bytes += RESULT_BYTES + 2 * (work.items[i].data.n + RECORD_MORE_BYTES);
    }
    if ((err = kd_request_hold(q, bytes)) != KD_OK) {
        return err;
    }
    return kd_channel_wait(q, kd_channel_records(q->http->service, &q->caller, &work,
                                                 is_open ? on_opened : on_sealed, q));
}

enum kd_err kd_handle_record_seal(struct kd_request *q) {
    return handle(q, false);
}

enum kd_err kd_handle_record_open(struct kd_request *q) {
    return handle(q, true);
}
