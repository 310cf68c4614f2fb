// SPDX-License-Identifier: Apache-2.0
// operations.c: sign, verify, mac, mac-verify, encrypt, decrypt, rewrap and
// random, by a key or by a secret, one item or a batch: one table, one way through.
#include "api/json_in.h"
#include "api/problem.h"
#include "api/route.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 3 };
enum { RESULT_BYTES = 384 }; // of an answer, but for what its length depends on

struct field {
    const char *name; // NULL: no more
    size_t offset;    // of its struct kd_bytes in struct kd_hsm_item
    bool is_optional;
};

#define AT(member) offsetof(struct kd_hsm_item, member)

// What an item has, and what its result is called.
struct shape {
    struct field fields[FIELDS_MAX];
    const char *result; // kd_work_result.out; NULL: the result is a yes or no
    bool has_iv;        // and the result's iv
    bool is_signature;  // of data or a digest, raw or in DER
    bool has_length;    // random: a number of bytes and no fields
};

// clang-format off
static const struct shape shapes[KD_OPERATIONS] = {
    [KD_OPERATION_SIGN] = { { { "data", AT(data) } }, "signature", .is_signature = true },
    [KD_OPERATION_VERIFY] = { { { "data", AT(data) }, { "signature", AT(tag) } }, .is_signature = true },
    [KD_OPERATION_MAC] = { { { "data", AT(data) } }, "mac" },
    [KD_OPERATION_MAC_VERIFY] = { { { "data", AT(data) }, { "mac", AT(tag) } } },
    [KD_OPERATION_ENCRYPT] = { { { "plaintext", AT(data) }, { "aad", AT(aad), true } }, "ciphertext", .has_iv = true },
    [KD_OPERATION_DECRYPT] = { { { "iv", AT(iv) }, { "ciphertext", AT(data) }, { "aad", AT(aad), true } }, "plaintext" },
    [KD_OPERATION_REWRAP] = { { { "iv", AT(iv) }, { "ciphertext", AT(data) }, { "aad", AT(aad), true } }, "ciphertext", .has_iv = true },
    [KD_OPERATION_RANDOM] = { .result = "random", .has_length = true },
};
// clang-format on

// ---- reading ---------------------------------------------------------------

// The names that an object may have: an item's, and with it or in its place
// the whole operation's.
struct names {
    const char *list[8];
    size_t n;
};

static void add_name(struct names *names, const char *name) {
    assert(names->n < KD_COUNT_OF(names->list));
    names->list[names->n++] = name;
}

static void add_item_names(struct names *names, const struct shape *shape) {
    for (size_t i = 0; i < FIELDS_MAX && shape->fields[i].name != NULL; i++) {
        add_name(names, shape->fields[i].name);
    }
    if (shape->has_length) {
        add_name(names, "length");
    }
}

// Of a field; that of an iv is fixed.
static size_t max_of(const struct shape *shape, const struct field *f) {
    return f->offset == AT(data)  ? kd_work_data_max_bytes((enum kd_operation)(shape - shapes))
           : f->offset == AT(aad) ? KD_WORK_AAD_MAX_BYTES
           : f->offset == AT(tag) ? KD_WORK_PROOF_MAX_BYTES
                                  : SIZE_MAX;
}

static enum kd_err read_item(const struct kd_json_in *in, const struct shape *shape,
                             struct kd_hsm_item *item) {
    for (size_t i = 0; i < FIELDS_MAX && shape->fields[i].name != NULL; i++) {
        const struct field *f = &shape->fields[i];
        struct kd_bytes *bytes = (struct kd_bytes *)(void *)((char *)item + f->offset);
        enum kd_err err = kd_json_bytes_upto(in, f->name, !f->is_optional, max_of(shape, f), bytes);
        if (err != KD_OK) {
            return err;
        }
        if (f->offset == AT(iv) && bytes->n != KD_HSM_GCM_IV_BYTES) {
            return kd_json_blame(in, f->name, KD_ERR_FIELD_INVALID, "12 bytes are expected.");
        }
    }
    if (!shape->has_length) {
        return KD_OK;
    }
    uint32_t n = 0;
    enum kd_err err = kd_json_number(in, "length", true, 1, KD_HSM_RANDOM_MAX_BYTES, &n);
    item->n = (uint16_t)n;
    return err;
}

static enum kd_err read_items(const struct kd_json_in *batch, const struct shape *shape,
                              const struct kd_json *array, struct kd_hsm_item *items) {
    struct names names = { .n = 0 };
    add_item_names(&names, shape);
    const struct kd_json *at = kd_json_first(array);
    for (size_t i = 0; i < array->n; i++) {
        struct kd_json_in in;
        enum kd_err err = kd_json_item(batch, i, &at, &in);
        if (err != KD_OK || (err = kd_json_only(&in, names.list, names.n)) != KD_OK ||
            (err = read_item(&in, shape, &items[i])) != KD_OK) {
            return err;
        }
    }
    return KD_OK;
}

static enum kd_err read_format(const struct kd_json_in *in, bool *is_der) {
    const char *format = "raw";
    enum kd_err err = kd_json_text(in, "format", false, &format);
    if (err != KD_OK) {
        return err;
    }
    *is_der = strcmp(format, "der") == 0;
    return *is_der || strcmp(format, "raw") == 0
               ? KD_OK
               : kd_json_blame(in, "format", KD_ERR_FIELD_INVALID, "raw or der is expected.");
}

// The members that stand for the whole operation.
static enum kd_err read_common(const struct kd_json_in *in, const struct shape *shape,
                               struct kd_work *work) {
    enum kd_err err = KD_OK;
    if (work->key != NULL) {
        err = kd_json_number(in, "version", false, 1, UINT32_MAX, &work->version);
    }
    if (err == KD_OK && shape->is_signature) {
        err = kd_json_bool(in, "prehashed", false, &work->prehashed);
    }
    return err == KD_OK && shape->is_signature ? read_format(in, &work->is_der) : err;
}

static void add_common_names(struct names *names, const struct shape *shape,
                             const struct kd_work *work) {
    if (work->key != NULL) {
        add_name(names, "version");
    }
    if (shape->is_signature) {
        add_name(names, "prehashed");
        add_name(names, "format");
    }
}

static enum kd_err read_body(struct kd_request *q, const struct shape *shape,
                             struct kd_work *work) {
    const struct kd_json_in in = { q->json.root, &q->arena, &q->why, false, 0 };
    const struct kd_json *array = NULL;
    enum kd_err err = kd_json_items(&in, &array, &work->n_items);
    if (err != KD_OK) {
        return err;
    }
    struct names names = { .n = 0 };
    add_common_names(&names, shape, work);
    if (array != NULL) {
        add_name(&names, "items");
    } else {
        add_item_names(&names, shape);
    }
    struct kd_hsm_item *items = calloc(work->n_items, sizeof(*items));
    q->work = items; // freed with the request
    if (items == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    work->items = items;
    if ((err = kd_json_only(&in, names.list, names.n)) != KD_OK ||
        (err = read_common(&in, shape, work)) != KD_OK) {
        return err;
    }
    q->is_batch = array != NULL;
    return array != NULL ? read_items(&in, shape, array, items) : read_item(&in, shape, items);
}

// ---- answering -------------------------------------------------------------

static void put_result(struct kd_request *q, const struct shape *shape,
                       const struct kd_work_result *r) {
    struct kd_buf *out = &q->out;
    kd_json_element(out);
    kd_buf_u8(out, '{');
    if (r->err != KD_OK) {
        kd_json_member(out, "error");
        kd_problem_write(out, r->err, "", "", "");
        kd_buf_u8(out, '}');
        return;
    }
    if (shape->has_iv) {
        kd_json_member(out, "iv");
        kd_json_put_bytes(out, r->iv);
    }
    if (shape->result != NULL) {
        kd_json_member(out, shape->result);
        kd_json_put_bytes(out, r->out);
    } else {
        kd_json_member(out, "valid");
        kd_json_put_bool(out, r->ok);
    }
    if (r->version != 0 && (shape->result != NULL || r->ok)) {
        kd_json_member(out, "version");
        kd_json_put_number(out, r->version);
    }
    kd_buf_u8(out, '}');
}

// All the room at once: growing would leave parts of plaintexts behind.
static void make_room(struct kd_buf *out, const struct kd_work_result *results, size_t n) {
    size_t need = 64;
    for (size_t i = 0; i < n; i++) {
        need += RESULT_BYTES + 2 * (results[i].out.n + results[i].iv.n);
    }
    (void)kd_buf_extend(out, need);
    out->n = 0;
}

static void note_use(struct kd_request *q, const struct kd_work_result *results, size_t n) {
    size_t failed = 0;
    uint32_t version = 0;
    for (size_t i = 0; q->is_use && i < n; i++) {
        failed += results[i].err != KD_OK;
        version = results[i].version != 0 ? results[i].version : version;
    }
    kd_request_note_use(q, n, failed, version);
}

static void on_done(void *arg, enum kd_err err, const char *detail,
                    const struct kd_work_result *results, size_t n) {
    struct kd_request *q = arg;
    const struct shape *shape = &shapes[q->route->operation];
    if (err == KD_OK && !q->is_batch && results[0].err != KD_OK) {
        err = results[0].err; // the only item: its failure is the request's
    }
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    note_use(q, results, n);
    make_room(&q->out, results, n);
    if (q->is_batch) {
        kd_buf_text(&q->out, "{\"items\":[");
    }
    for (size_t i = 0; i < n; i++) {
        put_result(q, shape, &results[i]);
    }
    if (q->is_batch) {
        kd_buf_text(&q->out, "]}");
    }
    kd_request_end(q, 200);
}

// What make_room will take for the answer.
static size_t answer_bytes(const struct kd_work *work) {
    const bool is_sized =
        work->operation == KD_OPERATION_ENCRYPT || work->operation == KD_OPERATION_DECRYPT ||
        work->operation == KD_OPERATION_REWRAP || work->operation == KD_OPERATION_RANDOM;
    size_t bytes = 0;
    for (size_t i = 0; i < work->n_items; i++) {
        bytes += RESULT_BYTES + (is_sized ? 2 * (work->items[i].data.n + work->items[i].n) : 0);
    }
    return bytes;
}

// What the service alone can say of lengths: the digest's goes with the key.
static void explain(struct kd_request *q, const struct kd_work *work, enum kd_err err) {
    const size_t expected = work->prehashed && err == KD_ERR_FIELD_INVALID
                                ? kd_service_digest_bytes(q->http->service, work)
                                : 0;
    struct kd_json_in in = { .why = &q->why, .is_item = q->is_batch };
    char detail[160];
    if (err == KD_ERR_ITEM_TOO_LARGE) {
        snprintf(detail, sizeof(detail),
                 "All items together, with what is beside the data where they are verified or "
                 "decrypted, have at most %u bytes.",
                 KD_WORK_REQUEST_MAX_BYTES);
        kd_request_say(q, detail);
    }
    for (; expected > 0 && in.index < work->n_items; in.index++) {
        if (work->items[in.index].data.n != expected) {
            snprintf(detail, sizeof(detail), "A digest of %zu bytes is expected.", expected);
            (void)kd_json_blame(&in, "data", err, detail);
            return;
        }
    }
}

enum kd_err kd_handle_work(struct kd_request *q) {
    const struct shape *shape = &shapes[q->route->operation];
    struct kd_work work = {
        .operation = (enum kd_operation)q->route->operation,
        .key = q->route->param == KD_PARAM_KEY ? q->name : NULL,
        .secret = q->route->param == KD_PARAM_SECRET ? q->name : NULL,
    };
    enum kd_err err = read_body(q, shape, &work);
    if (err != KD_OK) {
        return err;
    }
    if ((err = kd_request_hold(q, answer_bytes(&work))) != KD_OK) {
        return err;
    }
    kd_request_note_origin(q);
    err = kd_service_work(q->http->service, &q->caller, &work, on_done, q);
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    } else {
        explain(q, &work, err);
    }
    return err;
}
