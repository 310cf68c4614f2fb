// SPDX-License-Identifier: Apache-2.0
#include "exec_call.h"

#include <check.h>
#include <string.h>

enum { FRAME_MAX_BYTES = KD_HSM_FRAME_MAX_BYTES + 4 };

void call_wipe(struct call_result *c) {
    kd_buf_wipe(&c->reply);
}

enum kd_err call_exec(struct kd_session *s, const struct kd_hsm_request *q,
                      const struct kd_hsm_item *item, struct call_result *out) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(FRAME_MAX_BYTES);
    struct kd_hsm_request head = *q;
    head.id = 0x1234;
    head.n_items = 1;
    kd_hsm_put_request(&frame, &head);
    kd_hsm_put_item(&frame, q->op, item);
    ck_assert(kd_buf_finish(&frame) == KD_OK);
    kd_buf_wipe(&out->reply);
    *out = (struct call_result) { .reply = KD_BUF_INIT(FRAME_MAX_BYTES) };
    out->end = kd_exec_request(s, kd_buf_get(&frame), &out->reply);
    if (out->end == KD_ERR_MALFORMED) {
        ck_assert(out->reply.n == 0);
        return out->end;
    }
    if (out->end == KD_ERR_NO_MEMORY) {
        ck_assert(out->reply.n == 0);
        return out->end;
    }
    if (out->end == KD_ERR_TOKEN_AWAY && out->reply.n == 0) {
        ck_assert(s->token->is_login_lost);
        return out->end;
    }
    struct kd_bytes body;
    size_t taken;
    ck_assert(kd_hsm_frame_next(kd_buf_get(&out->reply), &body, &taken) == KD_OK);
    ck_assert(taken == out->reply.n);
    struct kd_reader in = kd_reader_of(body);
    ck_assert(kd_hsm_get_reply(&in, &out->head) == KD_OK);
    ck_assert(out->head.id == head.id);
    for (size_t i = 0; i < out->head.n_items; i++) {
        struct kd_hsm_result result = { .terms = &out->terms };
        ck_assert(kd_hsm_get_result(&in, q->op, &result) == KD_OK);
        out->result = i == 0 ? result : out->result;
    }
    ck_assert(kd_reader_finish(&in) == KD_OK);
    const enum kd_err r = out->head.err != KD_OK ? out->head.err : out->result.err;
    ck_assert(r != KD_ERR_TOKEN_AWAY || out->end == KD_ERR_TOKEN_AWAY);
    return r;
}

enum kd_err call_generate(struct kd_session *s, enum kd_key_type type, unsigned usages, uint8_t id,
                          struct call_key *out) {
    kd_auto(call) struct call_result c = { 0 };
    memset(out, 0, sizeof(*out));
    memset(out->id, id, 16);
    out->ref = (struct kd_key_ref) { .type = type,
                                     .id = { out->id, 16 },
                                     .label = kd_bytes_of_text("test") };
    const struct kd_hsm_request q = { .op = KD_HSM_GENERATE };
    const struct kd_hsm_item item = { .key = out->ref, .usages = usages };
    const enum kd_err r = call_exec(s, &q, &item, &c);
    if (r == KD_OK) {
        const struct kd_key_ref *made = &c.result.object.ref;
        ck_assert(made->type == type && kd_bytes_equal(made->id, out->ref.id));
        ck_assert(c.result.object.usages == usages);
        memcpy(out->proof, made->proof.n == 0 ? out->id : made->proof.p, made->proof.n);
        out->ref.proof = (struct kd_bytes) { out->proof, made->proof.n };
    }
    return r;
}

static struct kd_hsm_request request_of(enum kd_hsm_op op, const struct call_key *key,
                                        const struct kd_recipe *recipe) {
    struct kd_hsm_request q = { .op = op };
    if (key != NULL) {
        q.n_keys = 1;
        q.keys[0] = key->ref;
    } else {
        q.has_recipe = true;
        q.recipe = *recipe;
    }
    return q;
}

enum kd_err call_sign(struct kd_session *s, const struct call_key *key, struct kd_bytes data,
                      struct call_result *out) {
    struct kd_hsm_request q = request_of(KD_HSM_SIGN, key, NULL);
    q.hash = KD_HASH_SHA256;
    const struct kd_hsm_item item = { .data = data };
    if (key->ref.type == KD_KEY_EC_P384) {
        q.hash = KD_HASH_SHA384;
    }
    return call_exec(s, &q, &item, out);
}

enum kd_err call_mac(struct kd_session *s, const struct call_key *key,
                     const struct kd_recipe *recipe, struct kd_bytes data,
                     struct call_result *out) {
    const struct kd_hsm_request q = request_of(KD_HSM_MAC, key, recipe);
    const struct kd_hsm_item item = { .data = data };
    return call_exec(s, &q, &item, out);
}

enum kd_err call_encrypt(struct kd_session *s, const struct call_key *key,
                         const struct kd_recipe *recipe, struct kd_bytes data, struct kd_bytes aad,
                         struct call_result *out) {
    const struct kd_hsm_request q = request_of(KD_HSM_ENCRYPT, key, recipe);
    const struct kd_hsm_item item = { .data = data, .aad = aad };
    return call_exec(s, &q, &item, out);
}

enum kd_err call_decrypt(struct kd_session *s, const struct call_key *key,
                         const struct kd_recipe *recipe, struct kd_bytes iv, struct kd_bytes data,
                         struct kd_bytes aad, struct call_result *out) {
    const struct kd_hsm_request q = request_of(KD_HSM_DECRYPT, key, recipe);
    const struct kd_hsm_item item = { .data = data, .aad = aad, .iv = iv };
    return call_exec(s, &q, &item, out);
}

enum kd_err call_rewrap(struct kd_session *s, const struct call_key *from,
                        const struct call_key *to, struct kd_bytes iv, struct kd_bytes data,
                        struct kd_bytes aad, struct call_result *out) {
    const struct kd_hsm_request q = request_of(KD_HSM_REWRAP, from, NULL);
    const struct kd_hsm_item item = { .data = data, .aad = aad, .iv = iv, .key = to->ref };
    return call_exec(s, &q, &item, out);
}

enum kd_err call_release(struct kd_session *s, const struct kd_recipe *recipe,
                         struct call_result *out) {
    const struct kd_hsm_request q = { .op = KD_HSM_RELEASE };
    const struct kd_hsm_item item = { .recipe = *recipe };
    return call_exec(s, &q, &item, out);
}

static enum kd_err find(struct kd_session *s, const char *uri, bool is_one,
                        struct call_result *out) {
    const struct kd_hsm_request q = { .op = KD_HSM_FIND };
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(uri), .n = is_one };
    return call_exec(s, &q, &item, out);
}

enum kd_err call_find(struct kd_session *s, const char *uri, struct call_result *out) {
    return find(s, uri, true, out);
}

enum kd_err call_find_all(struct kd_session *s, const char *uri, struct call_result *out) {
    return find(s, uri, false, out);
}

enum kd_err call_destroy(struct kd_session *s, const struct call_key *key) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = { .op = KD_HSM_DESTROY };
    const struct kd_hsm_item item = { .key = key->ref };
    return call_exec(s, &q, &item, &c);
}

enum kd_err call_forget(struct kd_session *s, const struct kd_recipe *recipe) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = { .op = KD_HSM_FORGET };
    const struct kd_hsm_item item = { .data = { recipe->id, sizeof(recipe->id) } };
    return call_exec(s, &q, &item, &c);
}

struct kd_recipe call_recipe(const struct call_key *base, struct kd_bytes peer, uint8_t id,
                             enum kd_key_type type) {
    struct kd_recipe r = { .base = base->ref, .peer = peer, .n_steps = 1, .type = type };
    memset(r.id, id, sizeof(r.id));
    r.steps[0] = (struct kd_derive_step) { .kdf = KD_KDF_HKDF_SHA256,
                                           .salt = kd_bytes_of_text("salt"),
                                           .info = kd_bytes_of_text("info"),
                                           .out_len = type == KD_KEY_HMAC_SHA384 ? 48 : 32 };
    return r;
}
