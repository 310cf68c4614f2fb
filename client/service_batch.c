// SPDX-License-Identifier: Apache-2.0
// service_batch.c: what many calls have in common: an operation on one item or on an array of
// them, a page of a list, and what goes into paths.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { FRAME_BYTES = 256, ITEM_BYTES = 320 }; // of JSON but for the data; with what is not counted

// ---- what goes into paths --------------------------------------------------

bool kd_service_is_name(const char *name) {
    return name != NULL && kd_name_is_valid(kd_bytes_of_text(name));
}

bool kd_service_is_id(const char *id) {
    const size_t n = id == NULL ? 0 : strnlen(id, KEYD_ID_BYTES);
    return n > 0 && n < KEYD_ID_BYTES &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static void make_path(const char *kind, const char *id, const char *more,
                      char path[static KD_SERVICE_PATH_BYTES]) {
    snprintf(path, KD_SERVICE_PATH_BYTES, "/v1/%s/%s%s%s", kind, id, more[0] == '\0' ? "" : "/",
             more);
}

enum keyd_err kd_service_path(const struct keyd_with *with, const char *operation,
                              char path[static KD_SERVICE_PATH_BYTES]) {
    if (with == NULL ||
        (with->key == NULL ? !kd_service_is_id(with->secret) : !kd_service_is_name(with->key))) {
        return kd_service_wrong("The name of a key, or the id of a secret,");
    }
    make_path(with->key == NULL ? "secrets" : "keys", with->key == NULL ? with->secret : with->key,
              operation, path);
    return KEYD_OK;
}

enum keyd_err kd_service_on(struct keyd_service *s, const char *method, const char *kind,
                            const char *id, const char *more, struct kd_service_answer *a) {
    char path[KD_SERVICE_PATH_BYTES];
    if (s == NULL || (!kd_service_is_id(id) && !kd_service_is_name(id))) {
        return kd_service_wrong("The name or id");
    }
    make_path(kind, id, more, path);
    return kd_service_do(s, method, path, a);
}

// ---- an operation: the request ---------------------------------------------

size_t kd_service_size(struct keyd_bytes a, struct keyd_bytes b) {
    const bool is_wrong = kd_service_is_missing(a) || kd_service_is_missing(b) ||
                          a.n > KEYD_DATA_MAX || b.n > KEYD_DATA_MAX;
    return is_wrong ? SIZE_MAX : a.n + b.n;
}

static enum keyd_err measure(const struct kd_service_batch *q, size_t *n_bytes) {
    if (q->n == 0 || q->n > KEYD_BATCH_MAX) {
        return kd_service_wrong("The batch");
    }
    *n_bytes = 0;
    for (size_t i = 0; i < q->n; i++) {
        const size_t n = q->size(q->arg, i);
        if (n > KEYD_DATA_MAX || (*n_bytes += n) > KEYD_DATA_MAX) {
            return kd_service_wrong("The data, or room for the result,");
        }
    }
    return KEYD_OK;
}

static void put_request(const struct kd_service_batch *q, struct kd_buf *b) {
    kd_buf_u8(b, '{');
    if (!q->has_own_version && q->with->version != 0 && q->with->key != NULL) {
        kd_json_member(b, "version");
        kd_json_put_number(b, q->with->version);
    }
    if (q->is_digest) {
        kd_json_member(b, "prehashed");
        kd_json_put_bool(b, true);
    }
    if (q->is_der) {
        kd_json_member(b, "format");
        kd_json_put_text(b, "der");
    }
    if (q->is_alone) {
        q->put(q->arg, 0, b);
        kd_buf_u8(b, '}');
        return;
    }
    kd_json_member(b, "items");
    kd_buf_u8(b, '[');
    for (size_t i = 0; i < q->n; i++) {
        kd_json_element(b);
        kd_buf_u8(b, '{');
        q->put(q->arg, i, b);
        kd_buf_u8(b, '}');
    }
    kd_buf_text(b, "]}");
}

// ---- an operation: the answer ----------------------------------------------

static bool take_error(const struct kd_json *error, struct kd_service_result *r) {
    char type[64];
    uint64_t status = 0;
    if (!kd_service_find_word(error, "type", sizeof(type), type) ||
        !kd_service_find_number(error, "status", &status)) {
        return false;
    }
    const char *colon = strrchr(type, ':');
    const char *name = colon == NULL ? type : colon + 1;
    r->err = kd_service_err_of(kd_bytes_of_text(name), (unsigned)status);
    snprintf(r->problem, sizeof(r->problem), "%.31s", name);
    return true;
}

static bool take_item(void *arg, size_t i, const struct kd_json *item) {
    const struct kd_service_batch *q = arg;
    struct kd_service_result r = { .item = item };
    const struct kd_json *error = q->is_alone ? NULL : kd_json_get(item, "error");
    uint64_t version = 0;
    if (i >= q->n) {
        return false;
    }
    if (error != NULL) {
        return take_error(error, &r) && q->take(q->arg, i, &r);
    }
    (void)kd_service_find_number(item, "version", &version); // a secret has none
    r.version = (unsigned)version;
    return q->take(q->arg, i, &r);
}

// All or none: an answer of another length is none.
static enum keyd_err take_answer(struct kd_service_batch q, const struct kd_json *answer) {
    size_t n = 0;
    const bool good =
        q.is_alone ? take_item(&q, 0, answer)
                   : kd_service_each(kd_json_get(answer, "items"), take_item, &q, &n) && n == q.n;
    return good ? KEYD_OK : kd_service_strange();
}

enum keyd_err kd_service_run(struct keyd_service *s, const struct kd_service_batch *q) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    size_t n_bytes = 0;
    enum keyd_err err = s == NULL ? kd_service_wrong("The service") : measure(q, &n_bytes);
    if (err != KEYD_OK || (err = kd_service_path(q->with, q->operation, path)) != KEYD_OK) {
        return err;
    }
    kd_auto(buf) struct kd_buf b =
        KD_BUF_INIT(FRAME_BYTES + q->n * ITEM_BYTES + KD_B64_LEN(n_bytes));
    put_request(q, &b);
    err = kd_service_post(s, path, &b, &a);
    return err == KEYD_OK ? take_answer(*q, kd_service_json(&a)) : err;
}

// ---- a list ----------------------------------------------------------------

struct filling {
    const struct kd_service_list *list;
    uint8_t *out;
    size_t max;
};

static bool take_element(void *arg, size_t i, const struct kd_json *element) {
    const struct filling *f = arg;
    return i < f->max && f->list->read(element, f->out + i * f->list->size);
}

static bool take_page(const struct kd_json *answer, struct filling *f, struct keyd_page *page) {
    struct keyd_page next = { .n = 0 };
    const struct kd_json *after = kd_json_get(answer, "next");
    if (!kd_service_each(kd_json_get(answer, f->list->kind), take_element, f, &next.n) ||
        after == NULL) {
        return false;
    }
    next.is_more = !kd_json_is(after, KD_JSON_NULL);
    // Without an element the same page would come for ever.
    if (next.is_more &&
        (next.n == 0 || !kd_service_find_word(answer, "next", sizeof(next.after), next.after))) {
        return false;
    }
    *page = next;
    return true;
}

enum keyd_err kd_service_page(struct keyd_service *s, const struct kd_service_list *l,
                              struct keyd_page *page, void *out, size_t max) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    struct filling f = { l, out, max < KEYD_PAGE_MAX ? max : KEYD_PAGE_MAX };
    kd_service_begin();
    if (s == NULL || page == NULL || out == NULL || max == 0 ||
        (page->after[0] != '\0' && !kd_service_is_id(page->after) &&
         !kd_service_is_name(page->after))) {
        return kd_detail_end(kd_service_wrong("The page, or room for its items,"));
    }
    snprintf(path, sizeof(path), "/v1/%s?limit=%zu%s%s", l->kind, f.max,
             page->after[0] == '\0' ? "" : "&after=", page->after);
    const enum keyd_err err = kd_service_do(s, "GET", path, &a);
    return kd_detail_end(
        err != KEYD_OK || take_page(kd_service_json(&a), &f, page) ? err : kd_service_strange());
}
