// SPDX-License-Identifier: Apache-2.0
// secrets.c: ecdh and derive, and the secrets that come of them.
#include "api/json_in.h"
#include "api/jwk.h"
#include "api/page.h"
#include "api/problem.h"
#include "api/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESULT_BYTES = 384 }; // of an answer, but for a released value
enum { DETAIL_BYTES = 128 }; // of a problem's detail
enum { RELEASE_MIN_BYTES = 16, RELEASE_MAX_BYTES = 255, RELEASE_DEFAULT_BYTES = 32 };

// ---- reading a derivation --------------------------------------------------

static enum kd_err read_peer(const struct kd_json_in *in, struct kd_bytes *out) {
    if (!kd_json_is(kd_json_get(in->object, "peer"), KD_JSON_OBJECT)) {
        return kd_json_bytes(in, "peer", true, out);
    }
    struct kd_public_key key;
    enum kd_err err = kd_jwk_read(in, "peer", &key);
    if (err != KD_OK) {
        return err;
    }
    const size_t start = in->arena->n;
    if (start + key.n > in->arena->cap) {
        return KD_ERR_BUG; // its two coordinates are longer as text
    }
    kd_buf_put(in->arena, key.point, key.n);
    *out = (struct kd_bytes) { in->arena->p + start, key.n };
    return KD_OK;
}

static enum kd_err read_kdf(const struct kd_json_in *in, bool is_needed, struct kd_derivation *d) {
    const char *name = NULL;
    enum kd_err err = kd_json_text(in, "kdf", is_needed, &name);
    if (err != KD_OK) {
        return err;
    }
    if (name != NULL && !kd_kdf_parse(name, &d->kdf)) {
        return kd_json_blame(in, "kdf", KD_ERR_FIELD_INVALID,
                             "One of aes-cbc-data, hkdf-sha256, hkdf-sha384 is expected.");
    }
    d->has_kdf = name != NULL;
    const bool is_hkdf = d->has_kdf && d->kdf != KD_KDF_AES_CBC_DATA;
    if (!is_hkdf && kd_json_has(in, "salt")) {
        return kd_json_blame(in, "salt", KD_ERR_FIELD_INVALID, "Only HKDF takes a salt.");
    }
    if (!d->has_kdf && kd_json_has(in, "info")) {
        return kd_json_blame(in, "info", KD_ERR_FIELD_INVALID, "Without kdf there is no info.");
    }
    if ((err = kd_json_bytes(in, "salt", false, &d->salt)) != KD_OK ||
        (err = kd_json_bytes(in, "info", false, &d->info)) != KD_OK) {
        return err;
    }
    return KD_OK;
}

static enum kd_err read_released(const struct kd_json_in *in, struct kd_derivation *d) {
    static const char *const others[] = { "type", "lifetime" };
    for (size_t i = 0; i < KD_COUNT_OF(others); i++) {
        if (kd_json_has(in, others[i])) {
            return kd_json_blame(in, others[i], KD_ERR_FIELD_INVALID,
                                 "A released value is not kept.");
        }
    }
    const bool is_hkdf = d->has_kdf && d->kdf != KD_KDF_AES_CBC_DATA;
    uint32_t length = is_hkdf ? RELEASE_DEFAULT_BYTES : 0;
    if (!is_hkdf && kd_json_has(in, "length")) {
        return kd_json_blame(in, "length", KD_ERR_FIELD_INVALID, "Only HKDF takes a length.");
    }
    enum kd_err err =
        kd_json_number(in, "length", false, RELEASE_MIN_BYTES, RELEASE_MAX_BYTES, &length);
    d->out_len = (uint16_t)length;
    return err;
}

static enum kd_err read_kept(const struct kd_json_in *in, struct kd_derivation *d) {
    if (kd_json_has(in, "length")) {
        return kd_json_blame(in, "length", KD_ERR_FIELD_INVALID,
                             "The length of a kept secret is that of its type.");
    }
    const char *type = "aes-256";
    enum kd_err err = kd_json_text(in, "type", false, &type);
    if (err != KD_OK) {
        return err;
    }
    if (!kd_key_type_parse(type, &d->type) || kd_key_type_is_ec(d->type)) {
        return kd_json_blame(in, "type", KD_ERR_FIELD_INVALID,
                             "One of aes-256, hmac-sha256, hmac-sha384 is expected.");
    }
    return kd_json_number(in, "lifetime", false, 1, UINT32_MAX, &d->lifetime_sec);
}

// The base and what may stand beside the others depend on the route.
static enum kd_err read_derivation(const struct kd_request *q, const struct kd_json_in *in,
                                   bool is_ecdh, struct kd_derivation *d) {
    static const char *const names[] = { "kdf",     "salt",   "info",    "type", "lifetime",
                                         "release", "length", "version", "peer" };
    const bool is_key = q->route->param == KD_PARAM_KEY;
    // peer is for ecdh, version for keys; ecdh is always by a key.
    const size_t n_names = KD_COUNT_OF(names) - (is_ecdh ? 0 : is_key ? 1 : 2);
    enum kd_err err = kd_json_only(in, names, n_names);
    if (err != KD_OK) {
        return err;
    }
    d->key = is_key ? q->name : NULL;
    d->secret = is_key ? NULL : q->name;
    if ((err = kd_json_number(in, "version", false, 1, UINT32_MAX, &d->version)) != KD_OK ||
        (is_ecdh && (err = read_peer(in, &d->peer)) != KD_OK) ||
        (err = read_kdf(in, !is_ecdh, d)) != KD_OK ||
        (err = kd_json_bool(in, "release", false, &d->release)) != KD_OK) {
        return err;
    }
    return d->release ? read_released(in, d) : read_kept(in, d);
}

static enum kd_err read_items(struct kd_request *q, const struct kd_json_in *batch,
                              const struct kd_json *array, bool is_ecdh,
                              struct kd_derivation *items) {
    const struct kd_json *at = kd_json_first(array);
    for (size_t i = 0; i < array->n; i++) {
        struct kd_json_in in;
        enum kd_err err = kd_json_item(batch, i, &at, &in);
        if (err != KD_OK || (err = read_derivation(q, &in, is_ecdh, &items[i])) != KD_OK) {
            return err;
        }
    }
    return KD_OK;
}

// ---- answering -------------------------------------------------------------

static void print_wrong(const struct kd_wrong *w, char out[static DETAIL_BYTES]) {
    if (w->bound > 0) {
        snprintf(out, DETAIL_BYTES, "%s: %u.", w->detail, (unsigned)w->bound);
    } else {
        snprintf(out, DETAIL_BYTES, "%s", w->detail == NULL ? "" : w->detail);
    }
}

static void put_result(struct kd_buf *out, const struct kd_derivation *d,
                       const struct kd_derivation_result *r) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    if (r->err != KD_OK) {
        kd_json_member(out, "error");
        char detail[DETAIL_BYTES];
        print_wrong(&r->wrong, detail);
        kd_problem_write(out, r->err, detail, r->wrong.field == NULL ? "" : r->wrong.field, "");
        kd_buf_u8(out, '}');
        return;
    }
    if (d->release) {
        kd_json_member(out, "value");
        kd_json_put_bytes(out, r->out);
    } else {
        kd_json_member(out, "secret");
        kd_json_put_text(out, r->secret);
        kd_json_member(out, "type");
        kd_json_put_text(out, kd_key_type_name(d->type));
        kd_json_member(out, "expires");
        kd_json_put_time(out, r->expires_ms);
        if (r->residence != NULL) {
            kd_json_member(out, "residence");
            kd_json_put_text(out, r->residence);
        }
    }
    if (r->version != 0) {
        kd_json_member(out, "version");
        kd_json_put_number(out, r->version);
    }
    kd_buf_u8(out, '}');
}

// All the room at once: growing would leave parts of released values behind.
static void make_room(struct kd_buf *out, const struct kd_derivation_result *results, size_t n) {
    size_t need = 64;
    for (size_t i = 0; i < n; i++) {
        need += RESULT_BYTES + 2 * results[i].out.n;
    }
    (void)kd_buf_extend(out, need);
    out->n = 0;
}

// For the audit log.
static void note_results(struct kd_request *q, const struct kd_derivation *items,
                         const struct kd_derivation_result *results, size_t n) {
    uint64_t values = 0;
    uint64_t bytes = 0;
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        const bool is_released = items[i].release && results[i].err == KD_OK;
        values += is_released;
        bytes += is_released ? results[i].out.n : 0;
        failed += results[i].err != KD_OK;
    }
    if (values > 0) {
        kd_request_note_number(q, "values", values);
        kd_request_note_number(q, "bytes", bytes);
    }
    kd_request_note_use(q, n, failed, n == 0 ? 0 : results[0].version);
}

static void blame_only_item(struct kd_request *q, const struct kd_wrong *w) {
    char text[DETAIL_BYTES];
    print_wrong(w, text);
    kd_request_say(q, text);
    snprintf(q->why.field, sizeof(q->why.field), "%s", w->field == NULL ? "" : w->field);
}

static void on_done(void *arg, enum kd_err err, const char *detail,
                    const struct kd_derivation_result *results, size_t n) {
    struct kd_request *q = arg;
    const struct kd_derivation *items = q->work;
    if (err == KD_OK && !q->is_batch && results[0].err != KD_OK) {
        err = results[0].err;
        blame_only_item(q, &results[0].wrong);
    }
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    note_results(q, items, results, n);
    make_room(&q->out, results, n);
    if (q->is_batch) {
        kd_buf_text(&q->out, "{\"items\":[");
    }
    for (size_t i = 0; i < n; i++) {
        put_result(&q->out, &items[i], &results[i]);
    }
    if (q->is_batch) {
        kd_buf_text(&q->out, "]}");
    }
    kd_request_end(q, 200);
}

static enum kd_err derive(struct kd_request *q, bool is_ecdh) {
    static const char *const only_items[] = { "items" };
    const struct kd_json_in in = { q->json.root, &q->arena, &q->why, false, 0 };
    const struct kd_json *array = NULL;
    size_t n = 0;
    enum kd_err err = kd_json_items(&in, &array, &n);
    if (err != KD_OK || (array != NULL && (err = kd_json_only(&in, only_items, 1)) != KD_OK)) {
        return err;
    }
    struct kd_derivation *items = calloc(n, sizeof(*items));
    q->work = items; // freed with the request
    if (items == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    q->is_batch = array != NULL;
    err = array != NULL ? read_items(q, &in, array, is_ecdh, items)
                        : read_derivation(q, &in, is_ecdh, items);
    if (err != KD_OK) {
        return err;
    }
    if ((err = kd_request_hold(q, n * (RESULT_BYTES + 2 * RELEASE_MAX_BYTES))) != KD_OK) {
        return err;
    }
    kd_request_note_origin(q);
    err = kd_service_derive(q->http->service, &q->caller, items, n, on_done, q);
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    }
    return err;
}

enum kd_err kd_handle_ecdh(struct kd_request *q) {
    return derive(q, true);
}

enum kd_err kd_handle_derive(struct kd_request *q) {
    return derive(q, false);
}

// ---- /v1/secrets -----------------------------------------------------------

static void put_secret(struct kd_buf *out, const struct kd_secret_info *s) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    kd_json_member(out, "secret");
    kd_json_put_text(out, s->id);
    kd_json_member(out, "key");
    kd_json_put_text(out, s->key);
    kd_json_member(out, "version");
    kd_json_put_number(out, s->version);
    kd_json_member(out, "type");
    kd_json_put_text(out, kd_key_type_name(s->type));
    kd_json_member(out, "created");
    kd_json_put_time(out, s->created_ms);
    kd_json_member(out, "expires");
    kd_json_put_time(out, s->expires_ms);
    kd_json_member(out, "residence");
    kd_json_put_text(out, s->residence);
    kd_buf_u8(out, '}');
}

enum kd_err kd_handle_secret_list(struct kd_request *q) {
    struct kd_page page;
    enum kd_err err = kd_page_read(q, &page);
    if (err != KD_OK) {
        return err;
    }
    struct kd_secret_info *secrets = calloc(page.limit + 1, sizeof(*secrets));
    q->work = secrets; // freed with the request
    if (secrets == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const size_t n =
        kd_service_secrets(q->http->service, &q->caller, page.after, secrets, page.limit + 1);
    const size_t shown = n > page.limit ? page.limit : n;
    kd_buf_text(&q->out, "{\"secrets\":[");
    for (size_t i = 0; i < shown; i++) {
        put_secret(&q->out, &secrets[i]);
    }
    kd_buf_u8(&q->out, ']');
    kd_page_put_next(&q->out, n > shown ? secrets[shown - 1].id : NULL);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_secret_show(struct kd_request *q) {
    struct kd_secret_info info;
    enum kd_err err = kd_service_secret(q->http->service, &q->caller, q->name, &info);
    if (err != KD_OK) {
        return err;
    }
    put_secret(&q->out, &info);
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_secret_delete(struct kd_request *q) {
    enum kd_err err = kd_service_secret_delete(q->http->service, &q->caller, q->name);
    if (err == KD_OK) {
        kd_request_answer(q, 204);
    }
    return err;
}
