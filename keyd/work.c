// SPDX-License-Identifier: Apache-2.0
// work.c: operations with a key or a secret: sign, verify, mac, mac-verify,
// encrypt, decrypt, rewrap, random.  One call is one request to one worker; the items
// are written straight into its frame, the results are read from its reply.
#include "keyd/state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { RESULTS_ON_STACK = 16 };

// The request's frame and its reply's stay under the limit.
static_assert(KD_WORK_REQUEST_MAX_BYTES <= KD_HSM_FRAME_MAX_BYTES - 512 * 1024,
              "there is room beside the data");

struct row {
    enum kd_permission permission;
    enum kd_hsm_op op;
    unsigned usages; // one of these
    bool is_ec;      // else HMAC or AES, by is_aes
    bool is_aes;
    bool tries_all; // versions, the newest first
    bool may_hash;  // the digest is made by the worker
    bool is_anew;   // and encrypts with the primary
    // What of the result is given beside the data to the operation that undoes or verifies this
    // one, and by how much the data itself grows: what one call makes, one call takes.
    uint8_t beside, grows;
};

static const struct row rows[KD_OPERATIONS] = {
    [KD_OPERATION_SIGN] = { KD_MAY_SIGN, KD_HSM_SIGN, KD_USE_SIGN, .is_ec = true, .may_hash = true,
                            .beside = KD_ECDSA_DER_MAX_BYTES },
    [KD_OPERATION_VERIFY] = { KD_MAY_VERIFY, KD_HSM_VERIFY, KD_USE_SIGN | KD_USE_VERIFY,
                              .is_ec = true, .tries_all = true, .may_hash = true },
    [KD_OPERATION_MAC] = { KD_MAY_MAC, KD_HSM_MAC, KD_USE_SIGN, .beside = 48 },
    [KD_OPERATION_MAC_VERIFY] = { KD_MAY_MAC_VERIFY, KD_HSM_MAC_VERIFY, KD_USE_VERIFY,
                                  .tries_all = true },
    [KD_OPERATION_ENCRYPT] = { KD_MAY_ENCRYPT, KD_HSM_ENCRYPT, KD_USE_ENCRYPT, .is_aes = true,
                               .beside = KD_HSM_GCM_IV_BYTES, .grows = KD_HSM_GCM_TAG_BYTES },
    [KD_OPERATION_DECRYPT] = { KD_MAY_DECRYPT, KD_HSM_DECRYPT, KD_USE_DECRYPT, .is_aes = true,
                               .tries_all = true },
    [KD_OPERATION_REWRAP] = { KD_MAY_REWRAP, KD_HSM_REWRAP, KD_USE_DECRYPT, .is_aes = true,
                              .tries_all = true, .is_anew = true },
    [KD_OPERATION_RANDOM] = { KD_MAY_RANDOM, KD_HSM_RANDOM, 0 },
};

// A request on its way.
struct work {
    struct kd_service *s;
    kd_work_done *done;
    void *arg;
    enum kd_hsm_op op;
    size_t n_items;
    uint8_t *der; // sign: room for each signature in DER; NULL: they are told as they come
    size_t n_versions;
    uint32_t versions[KD_HSM_KEYS_MAX]; // in the order of the request's keys
    uint32_t made_version;              // rewrap: that its results are of; else 0
};

// What a request is about.
struct subject {
    enum kd_key_type type;
    struct kd_key_ref primary; // rewrap
};

// ---- the reply -------------------------------------------------------------

static struct kd_bytes to_der(const struct work *w, size_t i, struct kd_bytes raw) {
    uint8_t *at = w->der + i * KD_ECDSA_DER_MAX_BYTES;
    return (struct kd_bytes) { at, kd_ecdsa_to_der(raw, at) };
}

static enum kd_err read_results(const struct work *w, struct kd_reader *items,
                                struct kd_work_result *out) {
    for (size_t i = 0; i < w->n_items; i++) {
        struct kd_hsm_result from;
        enum kd_err r = kd_hsm_get_result(items, w->op, &from);
        if (r != KD_OK) {
            return r;
        }
        if (w->n_versions > 0 && from.which >= w->n_versions) {
            return KD_ERR_MALFORMED;
        }
        const bool is_verify = w->op == KD_HSM_VERIFY || w->op == KD_HSM_MAC_VERIFY;
        const bool has_version = w->n_versions > 0 && from.err == KD_OK && (from.ok || !is_verify);
        out[i] = (struct kd_work_result) {
            .err = from.err,
            .ok = from.ok,
            .version = !has_version           ? 0
                       : w->made_version != 0 ? w->made_version
                                              : w->versions[from.which],
            .iv = from.iv,
            .out = from.out,
        };
        if (w->der != NULL && from.err == KD_OK && (out[i].out = to_der(w, i, from.out)).n == 0) {
            return KD_ERR_MALFORMED;
        }
    }
    return kd_reader_finish(items);
}

static void free_work(struct work *w) {
    free(w->der);
    free(w);
}

static void end(struct work *w, enum kd_err err, const char *detail,
                const struct kd_work_result *results) {
    w->done(w->arg, err, detail, results, err == KD_OK ? w->n_items : 0);
    w->s->pending--;
    free_work(w);
}

static enum kd_err read_and_end(struct work *w, struct kd_reader *items,
                                struct kd_work_result *results) {
    const enum kd_err r = read_results(w, items, results);
    end(w, r, "", results);
    return r;
}

static enum kd_err on_reply(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct work *w = arg;
    if (reply->err != KD_OK) {
        char detail[KD_DETAIL_BYTES];
        kd_detail_copy(detail, reply->detail);
        end(w, reply->err, detail, NULL);
        return KD_OK;
    }
    if (reply->n_items != w->n_items) {
        end(w, KD_ERR_MALFORMED, "", NULL);
        return KD_ERR_MALFORMED;
    }
    if (w->n_items <= RESULTS_ON_STACK) {
        struct kd_work_result few[RESULTS_ON_STACK];
        return read_and_end(w, items, few);
    }
    struct kd_work_result *many = calloc(w->n_items, sizeof(*many));
    if (many == NULL) {
        end(w, KD_ERR_NO_MEMORY, "", NULL);
        return KD_OK;
    }
    const enum kd_err r = read_and_end(w, items, many);
    free(many);
    return r;
}

// ---- the subject -----------------------------------------------------------

static enum kd_err check_type(const struct row *row, enum kd_key_type type) {
    const bool fits = row->is_ec    ? kd_key_type_is_ec(type)
                      : row->is_aes ? type == KD_KEY_AES_256
                                    : type == KD_KEY_HMAC_SHA256 || type == KD_KEY_HMAC_SHA384;
    return fits ? KD_OK : KD_ERR_KEY_TYPE;
}

// An imported key has no object and so no id; the wire wants one.  The worker
// verifies with the public point (ref.proof) and looks for no object.
static const uint8_t no_id[1] = { 0 };

static void add_version(struct work *w, struct kd_hsm_request *head,
                        const struct kd_key_version *v) {
    struct kd_key_ref *ref = &head->keys[head->n_keys++];
    *ref = v->ref;
    if (ref->id.n == 0) {
        ref->id = (struct kd_bytes) { no_id, sizeof(no_id) };
    }
    w->versions[w->n_versions++] = v->number;
}

// Every enabled version, the newest first, or the one that was named.
static enum kd_err add_versions(struct work *w, struct kd_hsm_request *head,
                                const struct kd_entry *e, const struct row *row, uint32_t number) {
    const struct kd_key_version *v = NULL;
    enum kd_err r = kd_service_version(e, number, &v);
    if (r != KD_OK) {
        return r;
    }
    add_version(w, head, v);
    if (number != 0 || !row->tries_all) {
        return KD_OK;
    }
    for (size_t i = (size_t)(v - e->key.versions); i > 0 && head->n_keys < KD_HSM_KEYS_MAX; i--) {
        if (e->key.versions[i - 1].state == KD_VERSION_ENABLED) {
            add_version(w, head, &e->key.versions[i - 1]);
        }
    }
    return KD_OK;
}

static enum kd_err add_primary(struct work *w, const struct kd_entry *e, struct subject *subject) {
    const struct kd_key_version *primary = NULL;
    if ((e->key.usages & KD_USE_ENCRYPT) == 0) {
        return KD_ERR_KEY_USAGE;
    }
    const enum kd_err r = kd_service_version(e, 0, &primary);
    if (r == KD_OK) {
        subject->primary = primary->ref;
        w->made_version = primary->number;
    }
    return r;
}

// With the key of the audit log's seals nobody makes a MAC, and whoever may can verify one.
static enum kd_err check_purpose(const struct kd_service *s, const struct kd_work *work) {
    const bool is_seal =
        work->operation == KD_OPERATION_MAC_VERIFY && strcmp(work->key, s->config->audit.key) == 0;
    return is_seal ? KD_OK : kd_service_check_free(s, work->key);
}

static enum kd_err find_key(struct work *w, const struct kd_caller *caller,
                            const struct kd_work *work, const struct row *row,
                            struct kd_hsm_request *head, struct subject *subject) {
    enum kd_err r = kd_service_allows(w->s, caller, row->permission, work->key);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_entry *e = kd_registry_get(&w->s->registry, work->key);
    if (e == NULL || e->key.n_versions == 0) {
        return KD_ERR_NO_KEY;
    }
    if ((r = check_purpose(w->s, work)) != KD_OK || (r = check_type(row, e->key.type)) != KD_OK) {
        return r;
    }
    if ((e->key.usages & row->usages) == 0) {
        return e->key.origin == KD_ORIGIN_IMPORTED ? KD_ERR_PUBLIC_ONLY : KD_ERR_KEY_USAGE;
    }
    subject->type = e->key.type;
    if ((r = add_versions(w, head, e, row, work->version)) == KD_OK && row->is_anew) {
        r = add_primary(w, e, subject);
    }
    return r;
}

static enum kd_err find_secret(struct work *w, const struct kd_caller *caller,
                               const struct kd_work *work, const struct row *row,
                               struct kd_hsm_request *head, struct subject *subject) {
    struct kd_secret_entry *e = NULL;
    enum kd_err r = kd_service_find_secret(w->s, caller, work->secret, &e);
    if (r != KD_OK || (r = kd_service_allows(w->s, caller, row->permission, e->key)) != KD_OK ||
        (r = check_type(row, e->recipe.type)) != KD_OK) {
        return r;
    }
    if (work->version != 0) {
        return KD_ERR_NO_VERSION;
    }
    head->has_recipe = true;
    head->recipe = e->recipe;
    subject->type = e->recipe.type;
    return KD_OK;
}

static enum kd_err find_subject(struct work *w, const struct kd_caller *caller,
                                const struct kd_work *work, const struct row *row,
                                struct kd_hsm_request *head, struct subject *subject) {
    if (work->operation == KD_OPERATION_RANDOM) {
        return kd_service_allows(w->s, caller, row->permission, NULL);
    }
    return work->key != NULL ? find_key(w, caller, work, row, head, subject)
                             : find_secret(w, caller, work, row, head, subject);
}

// ---- the items -------------------------------------------------------------

static size_t digest_bytes(enum kd_key_type type) {
    return type == KD_KEY_EC_P384 ? 48 : 32;
}

size_t kd_work_data_max_bytes(enum kd_operation operation) {
    return KD_WORK_DATA_MAX_BYTES - rows[operation].grows;
}

size_t kd_service_digest_bytes(const struct kd_service *s, const struct kd_work *work) {
    const struct kd_entry *e = work->key == NULL ? NULL : kd_registry_get(&s->registry, work->key);
    return e == NULL ? 0 : digest_bytes(e->key.type);
}

// Lengths that cannot be right are refused here; a tag or signature of a wrong
// length is a wrong tag, which the worker says.
static enum kd_err check_item(const struct kd_work *work, const struct kd_hsm_item *item,
                              enum kd_key_type type, size_t *total) {
    const struct row *row = &rows[work->operation];
    *total += item->data.n + item->aad.n + item->iv.n + item->tag.n + row->beside + row->grows;
    if (item->data.n > kd_work_data_max_bytes(work->operation) ||
        item->aad.n > KD_WORK_AAD_MAX_BYTES || item->tag.n > KD_WORK_PROOF_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    switch (work->operation) {
    case KD_OPERATION_SIGN:
    case KD_OPERATION_VERIFY:
        return work->prehashed && item->data.n != digest_bytes(type) ? KD_ERR_FIELD_INVALID : KD_OK;
    case KD_OPERATION_MAC:
    case KD_OPERATION_MAC_VERIFY:
    case KD_OPERATION_ENCRYPT:
        return KD_OK;
    case KD_OPERATION_DECRYPT:
    case KD_OPERATION_REWRAP:
        return item->iv.n != KD_HSM_GCM_IV_BYTES ? KD_ERR_FIELD_INVALID : KD_OK;
    case KD_OPERATION_RANDOM:
        *total += item->n;
        return item->n < 1 || item->n > KD_HSM_RANDOM_MAX_BYTES ? KD_ERR_FIELD_INVALID : KD_OK;
    }
    return KD_ERR_BUG;
}

static enum kd_err check_items(const struct kd_work *work, enum kd_key_type type) {
    if (work->n_items == 0) {
        return KD_ERR_BATCH_EMPTY;
    }
    if (work->n_items > KD_HSM_BATCH_MAX_ITEMS) {
        return KD_ERR_BATCH_TOO_LARGE;
    }
    size_t total = 0;
    for (size_t i = 0; i < work->n_items; i++) {
        enum kd_err r = check_item(work, &work->items[i], type, &total);
        if (r != KD_OK) {
            return r;
        }
    }
    return total > KD_WORK_REQUEST_MAX_BYTES ? KD_ERR_ITEM_TOO_LARGE : KD_OK;
}

// As the worker takes it: with the key that rewrap encrypts with, and a signature as r then s,
// which of one that is not DER has no byte.
static void put_item(struct kd_call *call, const struct kd_work *work,
                     const struct kd_hsm_item *item, const struct subject *subject) {
    uint8_t raw[KD_ECDSA_RAW_MAX_BYTES];
    if (!work->is_der && work->operation != KD_OPERATION_REWRAP) {
        kd_call_put(call, item);
        return;
    }
    struct kd_hsm_item changed = *item;
    changed.key = subject->primary;
    if (work->is_der && work->operation == KD_OPERATION_VERIFY) {
        const size_t n = kd_key_type_point_bytes(subject->type) - 1;
        changed.tag =
            kd_ecdsa_from_der(item->tag, raw, n) ? (struct kd_bytes) { raw, n } : KD_BYTES_NONE;
    }
    kd_call_put(call, &changed);
}

static enum kd_err send_work(struct work *w, const struct kd_work *work,
                             struct kd_hsm_request *head, const struct subject *subject) {
    struct kd_call *call = NULL;
    enum kd_err r = kd_service_begin(w->s, head, head->has_recipe ? head->recipe.id : NULL, &call);
    if (r != KD_OK) {
        return r;
    }
    for (size_t i = 0; i < work->n_items; i++) {
        put_item(call, work, &work->items[i], subject);
    }
    return kd_call_send(call, on_reply, w);
}

static enum kd_err start(struct work *w, const struct kd_caller *caller,
                         const struct kd_work *work) {
    const struct row *row = &rows[work->operation];
    struct kd_hsm_request head;
    head.op = row->op;
    head.hash = KD_HASH_NONE;
    head.n_keys = 0;
    head.has_recipe = false;
    head.n_items = (uint16_t)work->n_items;
    struct subject subject = { .type = KD_KEY_AES_256 };
    enum kd_err r = find_subject(w, caller, work, row, &head, &subject);
    if (r != KD_OK || (r = check_items(work, subject.type)) != KD_OK) {
        return r;
    }
    if (row->may_hash && !work->prehashed) {
        head.hash = subject.type == KD_KEY_EC_P384 ? KD_HASH_SHA384 : KD_HASH_SHA256;
    }
    if (work->is_der && work->operation == KD_OPERATION_SIGN &&
        (w->der = calloc(work->n_items, KD_ECDSA_DER_MAX_BYTES)) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    return send_work(w, work, &head, &subject);
}

enum kd_err kd_service_work(struct kd_service *s, const struct kd_caller *caller,
                            const struct kd_work *work, kd_work_done *done, void *arg) {
    if (s->is_stopping) {
        return KD_ERR_STOPPING;
    }
    assert((unsigned)work->operation < KD_OPERATIONS);
    struct work *w = malloc(sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->s = s;
    w->done = done;
    w->arg = arg;
    w->op = rows[work->operation].op;
    w->n_items = work->n_items;
    w->n_versions = 0;
    w->made_version = 0;
    w->der = NULL;
    enum kd_err r = start(w, caller, work);
    if (r != KD_OK) {
        free_work(w);
        return r;
    }
    s->pending++;
    return KD_OK;
}
