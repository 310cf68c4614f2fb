// SPDX-License-Identifier: Apache-2.0
// version.c: a new version of a key: intent in the store, object in the token,
// entry in the registry.  Where it is not known whether the token has made the
// object, the token is asked.
#include "keyd/change.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

// ---- the end: enabled, dropped, or left open -------------------------------

// It stays pending: asked about again when a worker gets ready.
static void leave_open(struct kd_change *c, enum kd_err err) {
    snprintf(c->detail, sizeof(c->detail),
             "it is not known whether the token has made the key; keyd finds out when the token "
             "can be used");
    kd_log(KD_LOG_WARN, "keys", "a key version stays open", "key=%s version=%u error=%s",
           c->entry->key.name, c->entry->pending.number, kd_err_name(err));
    kd_change_end(c, c->err != KD_OK ? c->err : err);
}

static enum kd_err run_enable(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_change *c = (const struct kd_change *)job;
    return kd_store_enable(store, c->entry->key.name, &c->version);
}

static void after_enable(struct kd_change *c, enum kd_err err) {
    if (err == KD_OK) { // else pending in the store, too: it is looked at again
        struct kd_entry *e = c->entry;
        e->pending.state = KD_VERSION_ENABLED;
        kd_entry_take_pending(e);
        kd_log(KD_LOG_INFO, "keys", "a key version was made", "key=%s version=%u", e->key.name,
               c->version.number);
    }
    kd_change_end(c, err);
}

// `object` is as the token made it; its bytes are borrowed, so the entry's
// pending version gets a copy.
static void finish(struct kd_change *c, const struct kd_hsm_object *object) {
    struct kd_key_version v = c->entry->pending;
    v.ref.proof = object->ref.proof;
    v.is_local = true;
    v.is_extractable = object->is_extractable;
    struct kd_entry *e = c->entry;
    struct kd_key_version before = e->pending;
    e->has_pending = false;
    enum kd_err r = kd_entry_set_pending(e, &v); // copies, from `before` too
    struct kd_entry old = { .has_pending = true, .pending = before };
    if (r != KD_OK) {
        e->has_pending = true;
        e->pending = before;
        leave_open(c, r);
        return;
    }
    kd_entry_drop_pending(&old);
    c->version = e->pending;
    kd_change_store(c, run_enable, after_enable);
}

static enum kd_err run_drop(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_change *c = (const struct kd_change *)job;
    return kd_store_drop(store, c->entry->key.name, c->entry->pending.number);
}

static void after_drop(struct kd_change *c, enum kd_err err) {
    if (err == KD_OK) {
        kd_entry_drop_pending(c->entry);
    }
    kd_change_end(c, c->err != KD_OK ? c->err : err);
}

static void drop(struct kd_change *c, enum kd_err err) {
    c->err = err;
    kd_change_store(c, run_drop, after_drop);
}

// ---- looking for it --------------------------------------------------------

// pkcs11:id=%..;object=...;type=private: ours have ids of 16 random bytes.
static void write_uri(const struct kd_key_ref *ref, struct kd_buf *out) {
    kd_buf_text(out, "pkcs11:id=");
    for (size_t i = 0; i < ref->id.n; i++) {
        kd_buf_printf(out, "%%%02x", ref->id.p[i]);
    }
    kd_buf_printf(out, ";type=%s", kd_key_type_is_ec(ref->type) ? "private" : "secret-key");
}

static bool is_it(const struct kd_key_version *v, const struct kd_hsm_object *o) {
    return o->is_private && o->has_type && o->ref.type == v->ref.type &&
           kd_bytes_equal(o->ref.id, v->ref.id);
}

// The object of the pending version among those found.
static enum kd_err read_found(const struct kd_change *c, const struct kd_hsm_reply *reply,
                              struct kd_reader *items, struct kd_hsm_object *out, bool *found) {
    bool any = false;
    for (size_t i = 0; i < reply->n_items; i++) {
        struct kd_hsm_result result;
        enum kd_err r = kd_hsm_get_result(items, KD_HSM_FIND, &result);
        if (r != KD_OK) {
            return r;
        }
        if (result.err == KD_OK && is_it(&c->entry->pending, &result.object)) {
            *out = result.object;
            any = true;
        }
    }
    *found = any;
    return kd_reader_finish(items);
}

static enum kd_err on_found(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct kd_change *c = arg;
    struct kd_hsm_object object = { 0 };
    bool found = false;
    if (reply->err != KD_OK && reply->err != KD_ERR_NO_OBJECT) {
        leave_open(c, reply->err);
        return KD_OK;
    }
    enum kd_err r = reply->err == KD_OK ? read_found(c, reply, items, &object, &found) : KD_OK;
    if (r != KD_OK) {
        leave_open(c, r);
        return KD_ERR_MALFORMED;
    }
    if (found) {
        finish(c, &object);
    } else {
        drop(c, c->err);
    }
    return KD_OK;
}

void kd_change_resolve(struct kd_change *c, enum kd_err err) {
    kd_auto(buf) struct kd_buf uri = KD_BUF_INIT(512);
    write_uri(&c->entry->pending.ref, &uri);
    const struct kd_hsm_item item = { .data = kd_buf_get(&uri) };
    c->err = err;
    enum kd_err r = kd_buf_finish(&uri);
    if (r == KD_OK) {
        r = kd_change_ask(c, KD_HSM_FIND, &item, on_found);
    }
    if (r != KD_OK) {
        leave_open(c, r);
    }
}

// ---- making it -------------------------------------------------------------

static enum kd_err on_generated(void *arg, const struct kd_hsm_reply *reply,
                                struct kd_reader *items) {
    struct kd_change *c = arg;
    struct kd_hsm_result result = { .err = reply->err };
    kd_detail_copy(c->detail, reply->detail);
    enum kd_err r = KD_OK;
    if (reply->err == KD_OK && ((r = kd_hsm_get_result(items, KD_HSM_GENERATE, &result)) != KD_OK ||
                                (r = kd_reader_finish(items)) != KD_OK)) {
        result.err = r;
    }
    if (result.err == KD_OK) {
        finish(c, &result.object);
    } else {
        kd_change_resolve(c, result.err); // an error does not say that nothing was made
    }
    return r == KD_OK ? KD_OK : KD_ERR_MALFORMED;
}

static void after_add(struct kd_change *c, enum kd_err err) {
    struct kd_entry *e = c->entry;
    if (err != KD_OK) {
        kd_entry_drop_pending(e);
        kd_change_end(c, err);
        return;
    }
    const struct kd_hsm_item item = { .key = e->pending.ref, .usages = e->key.usages };
    err = kd_change_ask(c, KD_HSM_GENERATE, &item, on_generated);
    if (err != KD_OK) { // nothing has left
        drop(c, err);
    }
}

enum kd_err kd_change_make_version(struct kd_change *c) {
    struct kd_entry *e = c->entry;
    uint8_t id[KD_OWN_ID_BYTES];
    char label[KD_HSM_LABEL_MAX_BYTES];
    const uint32_t number = kd_entry_last_number(e) + 1;
    if (number == 0) {
        return KD_ERR_TOO_MANY;
    }
    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id)) {
        return KD_ERR_SYSTEM;
    }
    snprintf(label, sizeof(label), "%s.v%u", e->key.name, number);
    const struct kd_key_version v = {
        .number = number,
        .state = KD_VERSION_PENDING,
        .created_ms = kd_clock_wall_ms(),
        .ref = { .type = e->key.type, .id = { id, sizeof(id) }, .label = kd_bytes_of_text(label) },
        .is_local = true,
    };
    enum kd_err r = kd_entry_set_pending(e, &v);
    if (r == KD_OK) {
        kd_change_store_pending(c, after_add);
    }
    return r;
}
