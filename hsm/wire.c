// SPDX-License-Identifier: Apache-2.0
// wire.c: requests, replies and their items as bytes.  Which fields an
// operation's item and result have stands in one table; the parts of the channel
// are in wire_channel.c, hello and status in wire_hello.c.
#include "hsm/hsm.h"
#include "hsm/wire.h"

#include <assert.h>

enum field {
    F_DATA = 1,
    F_AAD = 2,
    F_IV = 4,
    F_TAG = 8,
    F_N = 16,
    F_USAGES = 32,
    F_KEY = 64,
    F_RECIPE = 128,
    // of results
    F_OK = 256,
    F_WHICH = 512,
    F_OUT = 1024,
    F_OBJECT = 2048,
    // of the channel: wire_channel.c
    F_HANDSHAKE = 4096,
    F_SESSION = 8192,
    F_TERMS = 16384,
    F_RECORD = 32768,
    F_TICKET = 65536,
    F_ID_CRED = 131072,
    F_AGREED = 262144,
};

static const struct {
    unsigned item;
    unsigned result;
    unsigned failure; // what a result has beside its error
} fields[KD_HSM_OP_LAST + 1] = {
    [KD_HSM_GENERATE] = { F_KEY | F_USAGES, F_OBJECT, 0 },
    [KD_HSM_FIND] = { F_DATA | F_N, F_OBJECT, 0 },
    [KD_HSM_DESTROY] = { F_KEY, 0, 0 },
    [KD_HSM_FORGET] = { F_DATA, 0, 0 },
    [KD_HSM_SIGN] = { F_DATA, F_OUT, 0 },
    [KD_HSM_VERIFY] = { F_DATA | F_TAG, F_OK | F_WHICH, 0 },
    [KD_HSM_MAC] = { F_DATA, F_OUT, 0 },
    [KD_HSM_MAC_VERIFY] = { F_DATA | F_TAG, F_OK | F_WHICH, 0 },
    [KD_HSM_ENCRYPT] = { F_DATA | F_AAD, F_IV | F_OUT, 0 },
    [KD_HSM_DECRYPT] = { F_DATA | F_AAD | F_IV, F_WHICH | F_OUT, 0 },
    [KD_HSM_DERIVE] = { F_RECIPE, 0, 0 },
    [KD_HSM_RELEASE] = { F_RECIPE, F_OUT, 0 },
    [KD_HSM_RANDOM] = { F_N, F_OUT, 0 },
    [KD_HSM_HS_START] = { F_HANDSHAKE, F_OUT | F_AGREED, F_OUT },
    [KD_HSM_HS_READ] = { F_HANDSHAKE, F_ID_CRED | F_AGREED, F_OUT },
    [KD_HSM_HS_FINISH] = { F_HANDSHAKE, F_OUT | F_TICKET, F_OUT },
    [KD_HSM_HS_CONFIRM] = { F_HANDSHAKE, F_TICKET, F_OUT },
    [KD_HSM_HS_DROP] = { F_HANDSHAKE, 0, 0 },
    [KD_HSM_RECORD_SEAL] = { F_SESSION | F_RECORD | F_DATA | F_AAD, F_OUT, 0 },
    [KD_HSM_RECORD_OPEN] = { F_SESSION | F_DATA | F_AAD, F_WHICH | F_OUT, 0 },
    [KD_HSM_TICKET_READ] = { F_DATA, F_TERMS, 0 },
    [KD_HSM_TICKET_UPDATE] = { F_SESSION | F_TERMS | F_DATA, F_OUT, 0 },
    [KD_HSM_ENVELOPE_OPEN] = { F_DATA | F_IV | F_AAD, F_OUT, 0 },
    [KD_HSM_SESSION_RELEASE] = { F_SESSION, F_OUT, 0 },
    [KD_HSM_REWRAP] = { F_DATA | F_AAD | F_IV | F_KEY, F_IV | F_WHICH | F_OUT, 0 },
};

// ---- checked reading -------------------------------------------------------

uint8_t kd_wire_read_enum(struct kd_reader *in, uint8_t low, uint8_t high) {
    const uint8_t v = kd_read_u8(in);
    if (v < low || v > high) {
        in->failed = true;
        return low;
    }
    return v;
}

bool kd_wire_read_bool(struct kd_reader *in) {
    return kd_wire_read_enum(in, 0, 1) == 1;
}

enum kd_err kd_wire_read_err(struct kd_reader *in) {
    const uint8_t v = kd_read_u8(in);
    if (!kd_err_is_known(v)) {
        in->failed = true;
        return KD_ERR_MALFORMED;
    }
    return (enum kd_err)v;
}

struct kd_bytes kd_wire_read_sized(struct kd_reader *in, struct kd_bytes block, size_t low,
                                   size_t high) {
    if (block.n < low || block.n > high) {
        in->failed = true;
        return KD_BYTES_NONE;
    }
    return block;
}

static enum kd_err read_result(const struct kd_reader *in) {
    return in->failed ? KD_ERR_MALFORMED : KD_OK;
}

// ---- frames ----------------------------------------------------------------

size_t kd_hsm_frame_begin(struct kd_buf *out) {
    const size_t start = out->n;
    kd_buf_u32(out, 0);
    return start;
}

void kd_hsm_frame_end(struct kd_buf *out, size_t start) {
    if (kd_buf_finish(out) != KD_OK) {
        return;
    }
    const size_t n = out->n - start - 4;
    if (n > KD_HSM_FRAME_MAX_BYTES) {
        out->err = KD_ERR_ITEM_TOO_LARGE;
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        out->p[start + i] = (uint8_t)(n >> (24 - 8 * i));
    }
}

enum kd_err kd_hsm_frame_next(struct kd_bytes input, struct kd_bytes *frame, size_t *taken) {
    *frame = KD_BYTES_NONE;
    *taken = 0;
    struct kd_reader in = kd_reader_of(input);
    const uint32_t n = kd_read_u32(&in);
    if (in.failed) {
        return KD_OK;
    }
    if (n > KD_HSM_FRAME_MAX_BYTES) {
        return KD_ERR_TOO_MANY;
    }
    const struct kd_bytes body = kd_read_bytes(&in, n);
    if (in.failed) {
        return KD_OK;
    }
    *frame = body;
    *taken = 4 + (size_t)n;
    return KD_OK;
}

// ---- keys and recipes ------------------------------------------------------

static void put_key(struct kd_buf *out, const struct kd_key_ref *key) {
    kd_buf_u8(out, (uint8_t)key->type);
    kd_buf_block8(out, key->id);
    kd_buf_block8(out, key->label);
    kd_buf_block8(out, key->proof);
}

// The type may be 0 only in a description of an object that keyd does not use.
static void get_key(struct kd_reader *in, struct kd_key_ref *key, bool may_be_foreign) {
    const size_t id_least = may_be_foreign ? 0 : 1;
    const uint8_t type = kd_wire_read_enum(in, may_be_foreign ? 0 : 1, KD_KEY_TYPE_LAST);
    key->type = (enum kd_key_type)type;
    key->id = kd_wire_read_sized(in, kd_read_block8(in), id_least, KD_HSM_ID_MAX_BYTES);
    key->label = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_HSM_LABEL_MAX_BYTES);
    key->proof = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_HSM_POINT_MAX_BYTES);
}

static void put_recipe(struct kd_buf *out, const struct kd_recipe *r) {
    kd_buf_put(out, r->id, sizeof(r->id));
    put_key(out, &r->base);
    kd_buf_block8(out, r->peer);
    kd_buf_u8(out, r->n_steps);
    for (size_t i = 0; i < r->n_steps && i < KD_HSM_STEPS_MAX; i++) {
        kd_buf_u8(out, (uint8_t)r->steps[i].kdf);
        kd_buf_block16(out, r->steps[i].salt);
        kd_buf_block16(out, r->steps[i].info);
        kd_buf_u16(out, r->steps[i].out_len);
    }
    kd_buf_u8(out, (uint8_t)r->type);
}

static void get_recipe(struct kd_reader *in, struct kd_recipe *r) {
    const struct kd_bytes id = kd_read_bytes(in, sizeof(r->id));
    for (size_t i = 0; i < id.n; i++) {
        r->id[i] = id.p[i];
    }
    get_key(in, &r->base, false);
    r->peer = kd_wire_read_sized(in, kd_read_block8(in), 0, KD_HSM_POINT_MAX_BYTES);
    r->n_steps = kd_wire_read_enum(in, 0, KD_HSM_STEPS_MAX);
    for (size_t i = 0; i < r->n_steps; i++) {
        struct kd_derive_step *step = &r->steps[i];
        step->kdf = (enum kd_kdf)kd_wire_read_enum(in, 1, KD_KDF_LAST);
        step->salt = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_HSM_INFO_MAX_BYTES);
        step->info = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_HSM_INFO_MAX_BYTES);
        step->out_len = kd_read_u16(in);
    }
    r->type = (enum kd_key_type)kd_wire_read_enum(in, 1, KD_KEY_TYPE_LAST);
}

// ---- requests --------------------------------------------------------------

void kd_hsm_put_request(struct kd_buf *out, const struct kd_hsm_request *q) {
    assert(q->n_keys <= KD_HSM_KEYS_MAX && q->n_items <= KD_HSM_BATCH_MAX_ITEMS);
    kd_buf_u8(out, (uint8_t)q->op);
    kd_buf_u32(out, q->id);
    kd_buf_u8(out, (uint8_t)q->hash);
    kd_buf_u8(out, q->n_keys);
    for (size_t i = 0; i < q->n_keys; i++) {
        put_key(out, &q->keys[i]);
    }
    kd_buf_u8(out, q->has_recipe ? 1 : 0);
    if (q->has_recipe) {
        put_recipe(out, &q->recipe);
    }
    kd_buf_u16(out, q->n_items);
}

enum kd_err kd_hsm_get_request(struct kd_reader *in, struct kd_hsm_request *q) {
    q->op = (enum kd_hsm_op)kd_wire_read_enum(in, KD_HSM_PING, KD_HSM_OP_LAST);
    q->id = kd_read_u32(in);
    q->hash = (enum kd_hash)kd_wire_read_enum(in, KD_HASH_NONE, KD_HASH_SHA384);
    q->n_keys = kd_wire_read_enum(in, 0, KD_HSM_KEYS_MAX);
    for (size_t i = 0; i < q->n_keys; i++) {
        get_key(in, &q->keys[i], false);
    }
    q->has_recipe = kd_wire_read_bool(in);
    if (q->has_recipe) {
        get_recipe(in, &q->recipe);
    }
    q->n_items = kd_read_u16(in);
    if (q->n_items > KD_HSM_BATCH_MAX_ITEMS) {
        return KD_ERR_TOO_MANY;
    }
    return read_result(in);
}

void kd_hsm_put_item(struct kd_buf *out, enum kd_hsm_op op, const struct kd_hsm_item *item) {
    const unsigned has = fields[op].item;
    if (has & F_DATA) {
        kd_buf_block32(out, item->data);
    }
    if (has & F_AAD) {
        kd_buf_block32(out, item->aad);
    }
    if (has & F_IV) {
        kd_buf_block8(out, item->iv);
    }
    if (has & F_TAG) {
        kd_buf_block16(out, item->tag);
    }
    if (has & F_N) {
        kd_buf_u16(out, item->n);
    }
    if (has & F_USAGES) {
        kd_buf_u8(out, (uint8_t)item->usages);
    }
    if (has & F_KEY) {
        put_key(out, &item->key);
    }
    if (has & F_RECIPE) {
        put_recipe(out, &item->recipe);
    }
    if (has & F_HANDSHAKE) {
        kd_wire_put_handshake(out, op, item->handshake);
    }
    if (has & F_SESSION) {
        kd_wire_put_session(out, item->session);
    }
    if (has & F_TERMS) {
        kd_wire_put_terms(out, item->terms);
    }
    if (has & F_RECORD) {
        kd_buf_u8(out, item->record_type);
        kd_buf_u64(out, item->sequence);
    }
}

static void get_channel_parts(struct kd_reader *in, enum kd_hsm_op op, struct kd_hsm_item *item) {
    const unsigned has = fields[op].item;
    if (has & F_HANDSHAKE) {
        kd_wire_get_handshake(in, op, item->handshake);
    }
    if (has & F_SESSION) {
        kd_wire_get_session(in, item->session);
    }
    if (has & F_TERMS) {
        kd_wire_get_terms(in, item->terms);
    }
    if (has & F_RECORD) {
        item->record_type = kd_wire_read_enum(in, 0, KD_RECORD_TYPE_LAST);
        item->sequence = kd_read_u64(in);
    }
}

enum kd_err kd_hsm_get_item(struct kd_reader *in, enum kd_hsm_op op, struct kd_hsm_item *item) {
    const unsigned has = fields[op].item;
    if (has & F_DATA) {
        item->data = kd_read_block32(in);
    }
    if (has & F_AAD) {
        item->aad = kd_read_block32(in);
    }
    if (has & F_IV) {
        item->iv = kd_read_block8(in);
    }
    if (has & F_TAG) {
        item->tag = kd_read_block16(in);
    }
    if (has & F_N) {
        item->n = kd_read_u16(in);
    }
    if (has & F_USAGES) {
        item->usages = kd_wire_read_enum(in, 0, KD_USE_ALL);
    }
    if (has & F_KEY) {
        get_key(in, &item->key, false);
    }
    if (has & F_RECIPE) {
        get_recipe(in, &item->recipe);
    }
    get_channel_parts(in, op, item);
    return read_result(in);
}

// ---- replies ---------------------------------------------------------------

enum object_flag {
    O_TYPE = 1,
    O_PRIVATE = 2,
    O_SENSITIVE = 4,
    O_EXTRACTABLE = 8,
    O_LOCAL = 16,
    O_ALL = 31,
};

static void put_object(struct kd_buf *out, const struct kd_hsm_object *o) {
    put_key(out, &o->ref);
    kd_buf_u8(out, (uint8_t)o->usages);
    kd_buf_u8(out,
              (uint8_t)((o->has_type ? O_TYPE : 0) | (o->is_private ? O_PRIVATE : 0) |
                        (o->is_sensitive ? O_SENSITIVE : 0) |
                        (o->is_extractable ? O_EXTRACTABLE : 0) | (o->is_local ? O_LOCAL : 0)));
}

static void get_object(struct kd_reader *in, struct kd_hsm_object *o) {
    get_key(in, &o->ref, true);
    o->usages = kd_wire_read_enum(in, 0, KD_USE_ALL);
    const uint8_t flags = kd_wire_read_enum(in, 0, O_ALL);
    o->has_type = (flags & O_TYPE) != 0;
    o->is_private = (flags & O_PRIVATE) != 0;
    o->is_sensitive = (flags & O_SENSITIVE) != 0;
    o->is_extractable = (flags & O_EXTRACTABLE) != 0;
    o->is_local = (flags & O_LOCAL) != 0;
    if (o->has_type != (o->ref.type != 0)) {
        in->failed = true;
    }
}

void kd_hsm_put_reply(struct kd_buf *out, const struct kd_hsm_reply *a) {
    kd_buf_u32(out, a->id);
    kd_buf_u8(out, (uint8_t)a->err);
    kd_buf_block8(out, a->detail);
    kd_buf_u32(out, a->token_us);
    kd_buf_u16(out, a->err == KD_OK ? a->n_items : 0);
}

enum kd_err kd_hsm_get_reply(struct kd_reader *in, struct kd_hsm_reply *a) {
    a->id = kd_read_u32(in);
    a->err = kd_wire_read_err(in);
    a->detail = kd_read_block8(in);
    a->token_us = kd_read_u32(in);
    a->n_items = kd_read_u16(in);
    if (a->n_items > KD_HSM_BATCH_MAX_ITEMS) {
        return KD_ERR_TOO_MANY;
    }
    if (a->err != KD_OK && a->n_items != 0) {
        return KD_ERR_MALFORMED;
    }
    return read_result(in);
}

void kd_hsm_put_result(struct kd_buf *out, enum kd_hsm_op op, const struct kd_hsm_result *item) {
    const unsigned has = item->err == KD_OK ? fields[op].result : fields[op].failure;
    kd_buf_u8(out, (uint8_t)item->err);
    if (has & F_OK) {
        kd_buf_u8(out, item->ok ? 1 : 0);
    }
    if (has & F_WHICH) {
        kd_buf_u8(out, item->which);
    }
    if (has & F_IV) {
        kd_buf_block8(out, item->iv);
    }
    if (has & F_OUT) {
        kd_buf_block32(out, item->out);
    }
    if (has & F_OBJECT) {
        put_object(out, &item->object);
    }
    if (has & F_TICKET) {
        kd_buf_block16(out, item->ticket);
    }
    if (has & F_ID_CRED) {
        kd_buf_block16(out, item->id_cred);
    }
    if (has & F_AGREED) {
        kd_wire_put_agreed(out, item);
    }
    if (has & F_TERMS) {
        kd_wire_put_terms(out, item->terms);
    }
}

static void get_channel_result(struct kd_reader *in, unsigned has, struct kd_hsm_result *item) {
    if (has & F_TICKET) {
        item->ticket = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_HSM_TICKET_MAX_BYTES);
    }
    if (has & F_ID_CRED) {
        item->id_cred = kd_wire_read_sized(in, kd_read_block16(in), 0, KD_EDHOC_MESSAGE_MAX_BYTES);
    }
    if (has & F_AGREED) {
        kd_wire_get_agreed(in, item);
    }
    if (has & F_TERMS) {
        kd_wire_get_terms(in, item->terms);
    }
}

enum kd_err kd_hsm_get_result(struct kd_reader *in, enum kd_hsm_op op, struct kd_hsm_result *item) {
    // The one part that a slice cannot hold: only where it is expected, else anything.
    struct kd_hsm_session_terms *terms = (fields[op].result & F_TERMS) ? item->terms : NULL;
    *item = (struct kd_hsm_result) { .err = kd_wire_read_err(in), .terms = terms };
    const unsigned has = item->err == KD_OK ? fields[op].result : fields[op].failure;
    if (has & F_OK) {
        item->ok = kd_wire_read_bool(in);
    }
    if (has & F_WHICH) {
        item->which = kd_wire_read_enum(in, 0, KD_HSM_KEYS_MAX - 1);
    }
    if (has & F_IV) {
        item->iv = kd_read_block8(in);
    }
    if (has & F_OUT) {
        item->out = kd_read_block32(in);
    }
    if (has & F_OBJECT) {
        get_object(in, &item->object);
    }
    get_channel_result(in, has, item);
    return read_result(in);
}
