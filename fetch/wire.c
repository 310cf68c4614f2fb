// SPDX-License-Identifier: Apache-2.0
// wire.c: the messages between keyd and keyd-fetch; see fetch.h.
#include "fetch/fetch.h"

#include <string.h>

enum { HEAD_BYTES = 4, VERSION = 1 };

// ---- writing ---------------------------------------------------------------

static size_t begin(struct kd_buf *out) {
    const size_t start = out->n;
    kd_buf_u32(out, 0);
    return start;
}

static void end(struct kd_buf *out, size_t start) {
    if (kd_buf_finish(out) == KD_OK) {
        const size_t n = out->n - start - HEAD_BYTES;
        for (size_t i = 0; i < HEAD_BYTES; i++) {
            out->p[start + i] = (uint8_t)(n >> (8 * (HEAD_BYTES - 1 - i)));
        }
    }
}

void kd_fetch_put_hello(struct kd_buf *out, const struct kd_fetch_hello *h) {
    const size_t start = begin(out);
    kd_buf_u8(out, VERSION);
    kd_buf_u32(out, h->timeout_ms);
    kd_buf_u32(out, h->bytes_max);
    kd_buf_u32(out, h->pending_max);
    kd_buf_block16(out, h->ca_file);
    kd_buf_u8(out, (uint8_t)h->n_prefixes);
    for (size_t i = 0; i < h->n_prefixes; i++) {
        kd_buf_u8(out, h->prefixes[i].is_private ? 1 : 0);
        kd_buf_block8(out, h->prefixes[i].text);
    }
    end(out, start);
}

void kd_fetch_put_request(struct kd_buf *out, const struct kd_fetch_request *q) {
    const size_t start = begin(out);
    kd_buf_u32(out, q->id);
    kd_buf_block8(out, q->uri);
    end(out, start);
}

void kd_fetch_put_answer(struct kd_buf *out, const struct kd_fetch_answer *a) {
    const size_t start = begin(out);
    kd_buf_u32(out, a->id);
    kd_buf_u8(out, (uint8_t)a->result);
    kd_buf_block32(out, a->body);
    end(out, start);
}

// ---- reading ---------------------------------------------------------------

enum kd_err kd_fetch_next_frame(struct kd_bytes in, size_t max, struct kd_bytes *frame, size_t *n) {
    struct kd_reader r = kd_reader_of(in);
    const uint32_t length = kd_read_u32(&r);
    *frame = KD_BYTES_NONE;
    *n = 0;
    if (r.failed) {
        return KD_OK;
    }
    if (length == 0 || length > max) {
        return KD_ERR_MALFORMED;
    }
    const struct kd_bytes body = kd_read_bytes(&r, length);
    if (!r.failed) {
        *frame = body;
        *n = HEAD_BYTES + (size_t)length;
    }
    return KD_OK;
}

static bool get_prefixes(struct kd_reader *r, struct kd_fetch_hello *h) {
    h->n_prefixes = kd_read_u8(r);
    if (h->n_prefixes > KD_FETCH_PREFIXES_MAX) {
        return false;
    }
    for (size_t i = 0; i < h->n_prefixes; i++) {
        const uint8_t is_private = kd_read_u8(r);
        h->prefixes[i] =
            (struct kd_fetch_prefix) { .text = kd_read_block8(r), .is_private = is_private == 1 };
        if (is_private > 1 || h->prefixes[i].text.n == 0) {
            return false;
        }
    }
    return true;
}

enum kd_err kd_fetch_get_hello(struct kd_bytes frame, struct kd_fetch_hello *out) {
    struct kd_reader r = kd_reader_of(frame);
    const bool is_known = kd_read_u8(&r) == VERSION;
    struct kd_fetch_hello h = { .timeout_ms = kd_read_u32(&r) };
    h.bytes_max = kd_read_u32(&r);
    h.pending_max = kd_read_u32(&r);
    h.ca_file = kd_read_block16(&r);
    if (!is_known || !get_prefixes(&r, &h) || kd_reader_finish(&r) != KD_OK || h.timeout_ms == 0 ||
        h.bytes_max == 0 || h.bytes_max > KD_FETCH_BODY_MAX_BYTES || h.pending_max == 0 ||
        h.ca_file.n > KD_FETCH_PATH_MAX_BYTES ||
        (h.ca_file.n > 0 && memchr(h.ca_file.p, 0, h.ca_file.n) != NULL)) {
        return KD_ERR_MALFORMED;
    }
    *out = h;
    return KD_OK;
}

enum kd_err kd_fetch_get_request(struct kd_bytes frame, struct kd_fetch_request *out) {
    struct kd_reader r = kd_reader_of(frame);
    struct kd_fetch_request q = { .id = kd_read_u32(&r) };
    q.uri = kd_read_block8(&r);
    enum kd_err err = kd_reader_finish(&r);
    if (err == KD_OK) {
        *out = q;
    }
    return err;
}

enum kd_err kd_fetch_get_answer(struct kd_bytes frame, struct kd_fetch_answer *out) {
    struct kd_reader r = kd_reader_of(frame);
    struct kd_fetch_answer a = { .id = kd_read_u32(&r) };
    const unsigned result = kd_read_u8(&r);
    a.body = kd_read_block32(&r);
    const bool has_body = result == KD_FETCH_CERTIFICATE || result == KD_FETCH_CHAIN;
    if (kd_reader_finish(&r) != KD_OK || result == 0 || result >= KD_FETCH_RESULTS ||
        has_body != (a.body.n > 0) || a.body.n > KD_FETCH_BODY_MAX_BYTES) {
        return KD_ERR_MALFORMED;
    }
    a.result = (enum kd_fetch_result)result;
    *out = a;
    return KD_OK;
}
