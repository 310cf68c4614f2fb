// SPDX-License-Identifier: Apache-2.0
// service_records.c: records of the channel, sealed and opened: one as it is, many as a sequence
// of CBOR items (docs/channel.md).
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum {
    BODY_MAX_BYTES = 65536,
    RECORD_MAX_BYTES = BODY_MAX_BYTES + KEYD_RECORD_MORE,
    AAD_MAX_BYTES = 4096,
    ITEM_BYTES = 64, // of CBOR around body, aad and the session's id
    LINES = 4,
};

static const char *const type_names[] = {
    [KEYD_RECORD_DATA] = "data",   [KEYD_RECORD_EXPIRE] = "expire",
    [KEYD_RECORD_CLOSE] = "close", [KEYD_RECORD_KEY_UPDATE] = "key-update",
    [KEYD_RECORD_ERROR] = "error",
};

// ---- what the caller gives -------------------------------------------------

static bool is_wrong(const struct keyd_record *r, bool is_seal) {
    const size_t n_max = is_seal ? BODY_MAX_BYTES : RECORD_MAX_BYTES;
    const size_t room = is_seal ? r->in.n + KEYD_RECORD_MORE : r->in.n;
    return kd_service_is_missing(r->in) || kd_service_is_missing(r->aad) || r->in.n > n_max ||
           r->aad.n > AAD_MAX_BYTES || r->out.p == NULL || r->out.max < room ||
           (is_seal && (!kd_service_is_id(r->session) || r->type >= KD_COUNT_OF(type_names)));
}

// ---- one -------------------------------------------------------------------

static bool read_type(const char *name, unsigned *out) {
    for (unsigned i = 0; name != NULL && i < KD_COUNT_OF(type_names); i++) {
        if (strcmp(type_names[i], name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool read_header(const struct kd_service_answer *a, const char *name, size_t max,
                        char *out) {
    const char *value = kd_rest_header(a->rest, name);
    return value != NULL && kd_service_copy_text(kd_bytes_of_text(value), max, out);
}

static bool take_opened(const struct kd_service_answer *a, struct keyd_record *r) {
    char sequence[24], registered[4];
    if (!read_header(a, "Keyd-Session", sizeof(r->session), r->session) ||
        !read_header(a, "Keyd-Peer", sizeof(r->peer), r->peer) ||
        !read_header(a, "Keyd-Registered", sizeof(registered), registered) ||
        !read_header(a, "Keyd-Sequence", sizeof(sequence), sequence)) {
        return false;
    }
    r->is_registered = strcmp(registered, "yes") == 0;
    r->relation[0] = '\0';
    (void)read_header(a, "Keyd-Relation", sizeof(r->relation), r->relation);
    return kd_number_parse(sequence, 0, UINT64_MAX, &r->sequence) == KD_OK &&
           read_type(kd_rest_header(a->rest, "Keyd-Type"), &r->type);
}

static enum keyd_err take_one(enum keyd_err err, const struct kd_service_answer *a, bool is_seal,
                              struct keyd_record *r) {
    if (err != KEYD_OK) {
        (void)kd_service_find_bytes(kd_service_json(a), "answer", &r->out);
        return err;
    }
    return (is_seal || take_opened(a, r)) && kd_service_copy(kd_service_text(a), &r->out)
               ? KEYD_OK
               : kd_service_strange();
}

static enum keyd_err ask_one(struct keyd_service *s, bool is_seal, struct keyd_record *r,
                             struct kd_service_answer *a) {
    const char *headers[LINES] = { NULL };
    char session[64], type[32];
    size_t n = 0;
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(KD_B64_LEN(AAD_MAX_BYTES) + 16);
    if (is_seal) {
        snprintf(session, sizeof(session), "Keyd-Session: %s", r->session);
        snprintf(type, sizeof(type), "Keyd-Type: %s", type_names[r->type]);
        headers[n++] = session;
        headers[n++] = type;
    }
    if (r->aad.n > 0) {
        kd_buf_text(&aad, "Keyd-Aad: ");
        kd_b64_encode(&aad, kd_service_bytes(r->aad));
        headers[n++] = kd_buf_get_text(&aad);
    }
    const struct kd_rest_request q = {
        .method = "POST",
        .path = is_seal ? "/v1/records/seal" : "/v1/records/open",
        .type = is_seal ? "application/octet-stream" : "application/cose",
        .body = kd_service_bytes(r->in),
        .headers = headers,
    };
    return kd_buf_finish(&aad) == KD_OK ? kd_service_ask(s, &q, a) : KEYD_ERR_MEMORY;
}

static enum keyd_err do_one(struct keyd_service *s, bool is_seal, struct keyd_record *r) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (s == NULL || r == NULL || is_wrong(r, is_seal)) {
        return kd_detail_end(kd_service_wrong("The record, or room for its result,"));
    }
    r->out.n = 0;
    const enum keyd_err err = take_one(ask_one(s, is_seal, r, &a), &a, is_seal, r);
    r->err = err;
    snprintf(r->problem, sizeof(r->problem), "%s", keyd_problem());
    return kd_detail_end(err);
}

enum keyd_err keyd_record_seal(struct keyd_service *s, struct keyd_record *r) {
    return do_one(s, true, r);
}

enum keyd_err keyd_record_open(struct keyd_service *s, struct keyd_record *r) {
    return do_one(s, false, r);
}

// ---- many ------------------------------------------------------------------

static void put_item(struct kd_buf *b, bool is_seal, const struct keyd_record *r) {
    kd_cbor_put_array(b, (is_seal ? 3 : 1) + (r->aad.n > 0));
    if (is_seal) {
        kd_cbor_put_text(b, r->session);
        kd_cbor_put_uint(b, r->type);
    }
    kd_cbor_put_bytes(b, kd_service_bytes(r->in));
    if (r->aad.n > 0) {
        kd_cbor_put_bytes(b, kd_service_bytes(r->aad));
    }
}

static bool take_failed(struct kd_cbor *c, struct keyd_record *r) {
    const struct kd_bytes name = kd_cbor_read_text(c);
    const struct kd_bytes answer = kd_cbor_read_bytes(c);
    r->err = kd_service_err_of(name, 0);
    (void)kd_service_copy_text(name, sizeof(r->problem), r->problem);
    return kd_service_copy(answer, &r->out);
}

static bool take_item(struct kd_cbor *c, bool is_seal, struct keyd_record *r) {
    const size_t n = kd_cbor_read_array(c);
    r->err = KEYD_OK;
    r->problem[0] = '\0';
    r->out.n = 0;
    if (n == 2) {
        return take_failed(c, r);
    }
    if (is_seal) {
        return n == 1 && kd_service_copy(kd_cbor_read_bytes(c), &r->out);
    }
    const bool good = n == 7 &&
                      kd_service_copy_text(kd_cbor_read_text(c), sizeof(r->session), r->session) &&
                      kd_service_copy_text(kd_cbor_read_text(c), sizeof(r->peer), r->peer) &&
                      kd_service_copy_text(kd_cbor_read_text(c), sizeof(r->relation), r->relation);
    r->is_registered = kd_cbor_read_bool(c);
    r->type = (unsigned)kd_cbor_read_uint(c);
    r->sequence = kd_cbor_read_uint(c);
    return good && kd_service_copy(kd_cbor_read_bytes(c), &r->out);
}

static enum keyd_err take_items(struct kd_bytes answer, bool is_seal, struct keyd_record *records,
                                size_t n) {
    struct kd_cbor c = kd_cbor_of(answer);
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        good = take_item(&c, is_seal, &records[i]) && c.err == KD_OK;
    }
    return good && kd_cbor_finish(&c) == KD_OK ? KEYD_OK : kd_service_strange();
}

static enum keyd_err do_all(struct keyd_service *s, bool is_seal, struct keyd_record *records,
                            size_t n) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    size_t n_bytes = 0;
    if (s == NULL || records == NULL || n == 0 || n > KEYD_BATCH_MAX) {
        return kd_service_wrong("The batch");
    }
    for (size_t i = 0; i < n; i++) {
        if (is_wrong(&records[i], is_seal) ||
            (n_bytes += records[i].in.n + records[i].aad.n) > KEYD_RECORDS_MAX) {
            return kd_service_wrong("A record of the batch, or room for its result,");
        }
    }
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(n_bytes + n * ITEM_BYTES);
    for (size_t i = 0; i < n; i++) {
        put_item(&b, is_seal, &records[i]);
    }
    if (kd_buf_finish(&b) != KD_OK) {
        return KEYD_ERR_MEMORY;
    }
    const struct kd_rest_request q = { .method = "POST",
                                       .path = is_seal ? "/v1/records/seal" : "/v1/records/open",
                                       .type = "application/cbor-seq",
                                       .body = kd_buf_get(&b) };
    const enum keyd_err err = kd_service_ask(s, &q, &a);
    return err == KEYD_OK ? take_items(kd_service_text(&a), is_seal, records, n) : err;
}

enum keyd_err keyd_record_seal_all(struct keyd_service *s, struct keyd_record *records, size_t n) {
    kd_service_begin();
    return kd_detail_end(do_all(s, true, records, n));
}

enum keyd_err keyd_record_open_all(struct keyd_service *s, struct keyd_record *records, size_t n) {
    kd_service_begin();
    return kd_detail_end(do_all(s, false, records, n));
}
