// SPDX-License-Identifier: Apache-2.0
// service_operate.c: operations with a key or a secret: signatures, MACs, encryption; and bytes
// of the token's generator.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { RANDOM_BYTES = 64 }; // of the request

static const char not_valid[] = "not-valid";

// ---- signatures, MACs and their verification -------------------------------

struct made {
    const char *member;
    const struct keyd_bytes *data;
    const struct keyd_bytes *proofs; // to verify
    struct keyd_result *out;
};

// What was signed can be verified: a proof counts only where it is longer than there are any.
static size_t size_made(const void *arg, size_t i) {
    const struct made *m = arg;
    const struct keyd_bytes none = { NULL, 0 };
    const struct keyd_bytes proof = m->proofs == NULL ? none : m->proofs[i];
    const size_t n = kd_service_size(m->data[i], proof);
    return n == SIZE_MAX || proof.n > KEYD_SIGNATURE_MAX ? n : n - proof.n;
}

static void put_made(const void *arg, size_t i, struct kd_buf *b) {
    const struct made *m = arg;
    kd_json_member(b, "data");
    kd_json_put_bytes(b, kd_service_bytes(m->data[i]));
    if (m->proofs != NULL) {
        kd_json_member(b, m->member);
        kd_json_put_bytes(b, kd_service_bytes(m->proofs[i]));
    }
}

static bool take_verdict(const struct kd_json *item, struct keyd_result *out) {
    const struct kd_json *valid = kd_json_get(item, "valid");
    if (kd_json_is(valid, KD_JSON_TRUE)) {
        return true;
    }
    out->err = KEYD_ERR_REFUSED;
    snprintf(out->problem, sizeof(out->problem), "%s", not_valid);
    return kd_json_is(valid, KD_JSON_FALSE);
}

static bool take_made(const void *arg, size_t i, const struct kd_service_result *r) {
    const struct made *m = arg;
    struct keyd_result result = { .err = r->err, .version = r->version };
    struct keyd_room room = { .p = result.bytes, .max = sizeof(result.bytes) };
    memcpy(result.problem, r->problem, sizeof(result.problem));
    const bool good = r->err != KEYD_OK   ? true
                      : m->proofs != NULL ? take_verdict(r->item, &result)
                                          : kd_service_find_bytes(r->item, m->member, &room);
    result.n = room.n;
    if (good) {
        m->out[i] = result;
    }
    return good;
}

// n: 0 for one alone.
static enum keyd_err make(struct keyd_service *s, const struct keyd_with *with, const char *name,
                          const struct made *m, size_t n, int is_digest) {
    const bool is_alone = n == 0;
    const bool is_signature = strcmp(name, "sign") == 0 || strcmp(name, "verify") == 0;
    const struct kd_service_batch q = { .with = with,
                                        .operation = name,
                                        .n = is_alone ? 1 : n,
                                        .is_alone = is_alone,
                                        .is_digest = is_digest != 0,
                                        .is_der = is_signature && with != NULL && with->is_der != 0,
                                        .arg = m,
                                        .size = size_made,
                                        .put = put_made,
                                        .take = take_made };
    kd_service_begin();
    return kd_detail_end(m->data == NULL || m->out == NULL ? kd_service_wrong("The data")
                                                           : kd_service_run(s, &q));
}

enum keyd_err keyd_sign(struct keyd_service *s, const struct keyd_with *with,
                        struct keyd_bytes data, int is_digest, struct keyd_result *out) {
    const struct made m = { "signature", &data, NULL, out };
    return make(s, with, "sign", &m, 0, is_digest);
}

enum keyd_err keyd_mac(struct keyd_service *s, const struct keyd_with *with, struct keyd_bytes data,
                       struct keyd_result *out) {
    const struct made m = { "mac", &data, NULL, out };
    return make(s, with, "mac", &m, 0, 0);
}

static enum keyd_err check(struct keyd_service *s, const struct keyd_with *with, const char *name,
                           struct made m, int is_digest) {
    struct keyd_result verdict = { .err = KEYD_OK };
    m.out = &verdict;
    const enum keyd_err err = make(s, with, name, &m, 0, is_digest);
    return err != KEYD_OK || verdict.err == KEYD_OK
               ? err
               : kd_service_problem(verdict.err, not_valid, "The signature or MAC is not good.");
}

enum keyd_err keyd_verify(struct keyd_service *s, const struct keyd_with *with,
                          struct keyd_bytes data, int is_digest, struct keyd_bytes signature) {
    const struct made m = { "signature", &data, &signature, NULL };
    return check(s, with, "verify", m, is_digest);
}

enum keyd_err keyd_mac_verify(struct keyd_service *s, const struct keyd_with *with,
                              struct keyd_bytes data, struct keyd_bytes proof) {
    const struct made m = { "mac", &data, &proof, NULL };
    return check(s, with, "mac-verify", m, 0);
}

// A batch of none is as wrong as one without data.
static enum keyd_err make_all(struct keyd_service *s, const struct keyd_with *with,
                              const char *name, const struct made *m, size_t n, int is_digest) {
    const struct made none = { .data = NULL };
    return make(s, with, name, n == 0 ? &none : m, n, is_digest);
}

enum keyd_err keyd_sign_all(struct keyd_service *s, const struct keyd_with *with,
                            const struct keyd_bytes *data, size_t n, int is_digest,
                            struct keyd_result *out) {
    const struct made m = { "signature", data, NULL, out };
    return make_all(s, with, "sign", &m, n, is_digest);
}

enum keyd_err keyd_mac_all(struct keyd_service *s, const struct keyd_with *with,
                           const struct keyd_bytes *data, size_t n, struct keyd_result *out) {
    const struct made m = { "mac", data, NULL, out };
    return make_all(s, with, "mac", &m, n, 0);
}

enum keyd_err keyd_verify_all(struct keyd_service *s, const struct keyd_with *with,
                              const struct keyd_bytes *data, const struct keyd_bytes *signatures,
                              size_t n, int is_digest, struct keyd_result *out) {
    const struct made m = { "signature", signatures == NULL ? NULL : data, signatures, out };
    return make_all(s, with, "verify", &m, n, is_digest);
}

enum keyd_err keyd_mac_verify_all(struct keyd_service *s, const struct keyd_with *with,
                                  const struct keyd_bytes *data, const struct keyd_bytes *macs,
                                  size_t n, struct keyd_result *out) {
    const struct made m = { "mac", macs == NULL ? NULL : data, macs, out };
    return make_all(s, with, "mac-verify", &m, n, 0);
}

// ---- encryption ------------------------------------------------------------

struct ciphered {
    const char *operation;
    bool takes_text; // else a ciphertext with its IV
    bool gives_text;
    struct keyd_cipher *items;
};

// What was encrypted can be decrypted: the plaintext counts, and not its tag.
static size_t size_cipher(const void *arg, size_t i) {
    const struct ciphered *c = arg;
    const struct keyd_cipher *item = &c->items[i];
    const size_t n_tag = c->takes_text ? 0 : KEYD_TAG_BYTES;
    if (kd_service_is_missing(item->in) || item->in.n < n_tag) {
        return SIZE_MAX;
    }
    const struct keyd_bytes text = { item->in.p, item->in.n - n_tag };
    const size_t n_out = c->gives_text ? text.n : text.n + KEYD_TAG_BYTES;
    return kd_service_is_room(&item->out, n_out) ? kd_service_size(text, item->aad) : SIZE_MAX;
}

static void put_cipher(const void *arg, size_t i, struct kd_buf *b) {
    const struct ciphered *c = arg;
    const struct keyd_cipher *item = &c->items[i];
    kd_json_member(b, c->takes_text ? "plaintext" : "ciphertext");
    kd_json_put_bytes(b, kd_service_bytes(item->in));
    if (!c->takes_text) {
        kd_json_member(b, "iv");
        kd_json_put_bytes(b, (struct kd_bytes) { item->iv, sizeof(item->iv) });
    }
    kd_service_put_given(b, "aad", item->aad);
}

static bool take_cipher(const void *arg, size_t i, const struct kd_service_result *r) {
    const struct ciphered *c = arg;
    struct keyd_cipher *item = &c->items[i];
    item->err = r->err;
    item->version = r->version;
    item->out.n = 0;
    memcpy(item->problem, r->problem, sizeof(item->problem));
    if (r->err != KEYD_OK) {
        return true;
    }
    return c->gives_text ? kd_service_find_bytes(r->item, "plaintext", &item->out)
                         : kd_service_find_fixed(r->item, "iv", item->iv, sizeof(item->iv)) &&
                               kd_service_find_bytes(r->item, "ciphertext", &item->out);
}

enum what { ENCRYPT, DECRYPT, REWRAP };

static enum keyd_err crypt(struct keyd_service *s, const struct keyd_with *with, enum what what,
                           struct keyd_cipher *items, size_t n, bool is_alone) {
    static const struct ciphered kinds[] = { [ENCRYPT] = { "encrypt", true, false, NULL },
                                             [DECRYPT] = { "decrypt", false, true, NULL },
                                             [REWRAP] = { "rewrap", false, false, NULL } };
    struct ciphered c = kinds[what];
    c.items = items;
    const struct kd_service_batch q = { .with = with,
                                        .operation = c.operation,
                                        .n = n,
                                        .is_alone = is_alone,
                                        .arg = &c,
                                        .size = size_cipher,
                                        .put = put_cipher,
                                        .take = take_cipher };
    kd_service_begin();
    if (what == REWRAP && with != NULL && with->key == NULL) {
        return kd_detail_end(kd_service_wrong("The name of a key"));
    }
    return kd_detail_end(items == NULL ? kd_service_wrong("The batch") : kd_service_run(s, &q));
}

enum keyd_err keyd_encrypt(struct keyd_service *s, const struct keyd_with *with,
                           struct keyd_bytes plaintext, struct keyd_bytes aad,
                           uint8_t iv[KEYD_IV_BYTES], struct keyd_room *out) {
    struct keyd_cipher item = { .in = plaintext, .aad = aad };
    const bool is_wrong = iv == NULL || out == NULL;
    item.out = is_wrong ? item.out : *out;
    const enum keyd_err err = crypt(s, with, ENCRYPT, is_wrong ? NULL : &item, 1, true);
    if (err == KEYD_OK) {
        memcpy(iv, item.iv, sizeof(item.iv));
        out->n = item.out.n;
    }
    return err;
}

enum keyd_err keyd_decrypt(struct keyd_service *s, const struct keyd_with *with,
                           const uint8_t iv[KEYD_IV_BYTES], struct keyd_bytes ciphertext,
                           struct keyd_bytes aad, struct keyd_room *out) {
    struct keyd_cipher item = { .in = ciphertext, .aad = aad };
    const bool is_wrong = iv == NULL || out == NULL;
    if (!is_wrong) {
        memcpy(item.iv, iv, sizeof(item.iv));
        item.out = *out;
    }
    const enum keyd_err err = crypt(s, with, DECRYPT, is_wrong ? NULL : &item, 1, true);
    if (err == KEYD_OK) {
        out->n = item.out.n;
    }
    return err;
}

enum keyd_err keyd_encrypt_all(struct keyd_service *s, const struct keyd_with *with,
                               struct keyd_cipher *items, size_t n) {
    return crypt(s, with, ENCRYPT, items, n, false);
}

enum keyd_err keyd_decrypt_all(struct keyd_service *s, const struct keyd_with *with,
                               struct keyd_cipher *items, size_t n) {
    return crypt(s, with, DECRYPT, items, n, false);
}

enum keyd_err keyd_rewrap(struct keyd_service *s, const struct keyd_with *with,
                          uint8_t iv[KEYD_IV_BYTES], struct keyd_bytes ciphertext,
                          struct keyd_bytes aad, struct keyd_room *out) {
    struct keyd_cipher item = { .in = ciphertext, .aad = aad };
    const bool is_wrong = iv == NULL || out == NULL;
    if (!is_wrong) {
        memcpy(item.iv, iv, sizeof(item.iv));
        item.out = *out;
    }
    const enum keyd_err err = crypt(s, with, REWRAP, is_wrong ? NULL : &item, 1, true);
    if (err == KEYD_OK) {
        memcpy(iv, item.iv, sizeof(item.iv));
        out->n = item.out.n;
    }
    return err;
}

enum keyd_err keyd_rewrap_all(struct keyd_service *s, const struct keyd_with *with,
                              struct keyd_cipher *items, size_t n) {
    return crypt(s, with, REWRAP, items, n, false);
}

// ---- random ----------------------------------------------------------------

enum keyd_err keyd_random(struct keyd_service *s, void *out, size_t n) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(RANDOM_BYTES);
    kd_service_begin();
    if (s == NULL || out == NULL || n == 0 || n > KEYD_RANDOM_MAX) {
        return kd_detail_end(kd_service_wrong("The length"));
    }
    kd_buf_printf(&b, "{\"length\":%zu}", n);
    const enum keyd_err err = kd_service_post(s, "/v1/random", &b, &a);
    return kd_detail_end(err != KEYD_OK ||
                                 kd_service_find_fixed(kd_service_json(&a), "random", out, n)
                             ? err
                             : kd_service_strange());
}
