// SPDX-License-Identifier: Apache-2.0
// service_operate.c: operations with a key or a secret: signatures, MACs, encryption; and bytes
// of the token's generator.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

enum { FRAME_BYTES = 256, ITEM_BYTES = 16 }; // of JSON around all, and around each item

// ---- requests --------------------------------------------------------------

// Room for n items of so many bytes together, in base64url.
static struct kd_buf body_for(size_t n, size_t n_bytes) {
    return KD_BUF_INIT(FRAME_BYTES + n * ITEM_BYTES + KD_B64_LEN(n_bytes) + 2 * n);
}

static void put_common(struct kd_buf *b, const struct keyd_with *with, int is_digest) {
    if (with->version != 0 && with->key != NULL) {
        kd_service_put_number(b, "version", with->version);
    }
    if (is_digest) {
        kd_service_put_name(b, "prehashed");
        kd_buf_text(b, "true");
    }
}

static bool is_wrong(struct keyd_service *s, struct keyd_bytes a, struct keyd_bytes b,
                     const void *out) {
    return s == NULL || out == NULL || kd_service_is_missing(a) || kd_service_is_missing(b) ||
           a.n > KEYD_DATA_MAX || b.n > KEYD_DATA_MAX;
}

// ---- results of signatures and MACs ----------------------------------------

static enum keyd_err take_error(const json_t *error, struct keyd_result *out) {
    char type[64];
    uint64_t status = 0;
    if (!kd_service_get_text(error, "type", sizeof(type), type) ||
        !kd_service_get_number(error, "status", &status)) {
        return kd_service_strange();
    }
    const char *colon = strrchr(type, ':');
    const char *name = colon == NULL ? type : colon + 1;
    *out =
        (struct keyd_result) { .err = kd_service_err_of(kd_bytes_of_text(name), (unsigned)status) };
    snprintf(out->problem, sizeof(out->problem), "%.31s", name);
    return KEYD_OK;
}

static enum keyd_err take_result(const json_t *o, const char *member, struct keyd_result *out) {
    const json_t *error = json_object_get(o, "error");
    if (error != NULL) {
        return take_error(error, out);
    }
    struct keyd_result result = { .err = KEYD_OK };
    struct keyd_room room = { .p = result.bytes, .max = sizeof(result.bytes) };
    uint64_t version = 0;
    if (!kd_service_get_bytes(o, member, &room)) {
        return kd_service_strange();
    }
    (void)kd_service_get_number(o, "version", &version);
    result.n = room.n;
    result.version = (unsigned)version;
    *out = result;
    return KEYD_OK;
}

// All or none: an answer of another length is none.
static enum keyd_err take_results(const json_t *o, const char *member, struct keyd_result *out,
                                  size_t n) {
    const json_t *items = json_object_get(o, "items");
    enum keyd_err err = json_array_size(items) == n ? KEYD_OK : kd_service_strange();
    for (size_t i = 0; i < n && err == KEYD_OK; i++) {
        err = take_result(json_array_get(items, i), member, &out[i]);
    }
    return err;
}

// What both have of the request and its answer.
struct operation {
    const char *name, *member;
};
static const struct operation sign = { "sign", "signature" };
static const struct operation mac = { "mac", "mac" };

static enum keyd_err make(struct keyd_service *s, const struct operation *o,
                          const struct keyd_with *with, struct keyd_bytes data, int is_digest,
                          struct keyd_result *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    if (is_wrong(s, data, data, out)) {
        return kd_service_wrong("The data");
    }
    enum keyd_err err = kd_service_path(with, o->name, path);
    if (err != KEYD_OK) {
        return err;
    }
    kd_auto(buf) struct kd_buf b = body_for(1, data.n);
    kd_buf_u8(&b, '{');
    kd_service_put_bytes(&b, "data", kd_service_bytes(data));
    put_common(&b, with, is_digest);
    kd_buf_u8(&b, '}');
    err = kd_service_post(s, path, &b, false, &a);
    return err == KEYD_OK ? take_result(a.http.json, o->member, out) : err;
}

static enum keyd_err make_all(struct keyd_service *s, const struct operation *o,
                              const struct keyd_with *with, const struct keyd_bytes *data, size_t n,
                              int is_digest, struct keyd_result *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    size_t n_bytes = 0;
    if (s == NULL || data == NULL || out == NULL || n == 0 || n > KEYD_BATCH_MAX) {
        return kd_service_wrong("The batch");
    }
    for (size_t i = 0; i < n; i++) {
        if (is_wrong(s, data[i], data[i], out) || (n_bytes += data[i].n) > KEYD_DATA_MAX) {
            return kd_service_wrong("The data of the batch");
        }
    }
    enum keyd_err err = kd_service_path(with, o->name, path);
    if (err != KEYD_OK) {
        return err;
    }
    kd_auto(buf) struct kd_buf b = body_for(n, n_bytes);
    kd_buf_u8(&b, '{');
    put_common(&b, with, is_digest);
    kd_service_put_name(&b, "items");
    for (size_t i = 0; i < n; i++) {
        kd_buf_text(&b, i == 0 ? "[{" : ",{");
        kd_service_put_bytes(&b, "data", kd_service_bytes(data[i]));
        kd_buf_u8(&b, '}');
    }
    kd_buf_text(&b, "]}");
    err = kd_service_post(s, path, &b, false, &a);
    return err == KEYD_OK ? take_results(a.http.json, o->member, out, n) : err;
}

enum keyd_err keyd_sign(struct keyd_service *s, const struct keyd_with *with,
                        struct keyd_bytes data, int is_digest, struct keyd_result *out) {
    kd_service_begin();
    return kd_detail_end(make(s, &sign, with, data, is_digest, out));
}

enum keyd_err keyd_mac(struct keyd_service *s, const struct keyd_with *with, struct keyd_bytes data,
                       struct keyd_result *out) {
    kd_service_begin();
    return kd_detail_end(make(s, &mac, with, data, 0, out));
}

enum keyd_err keyd_sign_all(struct keyd_service *s, const struct keyd_with *with,
                            const struct keyd_bytes *data, size_t n, int is_digest,
                            struct keyd_result *out) {
    kd_service_begin();
    return kd_detail_end(make_all(s, &sign, with, data, n, is_digest, out));
}

enum keyd_err keyd_mac_all(struct keyd_service *s, const struct keyd_with *with,
                           const struct keyd_bytes *data, size_t n, struct keyd_result *out) {
    kd_service_begin();
    return kd_detail_end(make_all(s, &mac, with, data, n, 0, out));
}

// ---- verification ----------------------------------------------------------

static enum keyd_err check(struct keyd_service *s, const char *operation, const char *member,
                           const struct keyd_with *with, struct keyd_bytes data, int is_digest,
                           struct keyd_bytes proof) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    if (is_wrong(s, data, proof, path)) {
        return kd_service_wrong("The data");
    }
    enum keyd_err err = kd_service_path(with, operation, path);
    if (err != KEYD_OK) {
        return err;
    }
    kd_auto(buf) struct kd_buf b = body_for(2, data.n + proof.n);
    kd_buf_u8(&b, '{');
    kd_service_put_bytes(&b, "data", kd_service_bytes(data));
    kd_service_put_bytes(&b, member, kd_service_bytes(proof));
    put_common(&b, with, is_digest);
    kd_buf_u8(&b, '}');
    if ((err = kd_service_post(s, path, &b, false, &a)) != KEYD_OK) {
        return err;
    }
    const json_t *valid = json_object_get(a.http.json, "valid");
    return json_is_true(valid)    ? KEYD_OK
           : json_is_false(valid) ? kd_service_problem(KEYD_ERR_REFUSED, "not-valid",
                                                       "The signature or MAC is not good.")
                                  : kd_service_strange();
}

enum keyd_err keyd_verify(struct keyd_service *s, const struct keyd_with *with,
                          struct keyd_bytes data, int is_digest, struct keyd_bytes signature) {
    kd_service_begin();
    return kd_detail_end(check(s, "verify", "signature", with, data, is_digest, signature));
}

enum keyd_err keyd_mac_verify(struct keyd_service *s, const struct keyd_with *with,
                              struct keyd_bytes data, struct keyd_bytes proof) {
    kd_service_begin();
    return kd_detail_end(check(s, "mac-verify", "mac", with, data, 0, proof));
}

// ---- encryption ------------------------------------------------------------

// Text and aad, and the iv to decrypt.
static enum keyd_err crypt(struct keyd_service *s, const char *operation, const char *member,
                           const struct keyd_with *with, const uint8_t *iv, struct keyd_bytes text,
                           struct keyd_bytes aad, struct kd_service_answer *a) {
    char path[KD_SERVICE_PATH_BYTES];
    enum keyd_err err = kd_service_path(with, operation, path);
    if (err != KEYD_OK) {
        return err;
    }
    kd_auto(buf) struct kd_buf b = body_for(3, text.n + aad.n + KEYD_IV_BYTES);
    kd_buf_u8(&b, '{');
    kd_service_put_bytes(&b, member, kd_service_bytes(text));
    if (iv != NULL) {
        kd_service_put_bytes(&b, "iv", (struct kd_bytes) { iv, KEYD_IV_BYTES });
    }
    if (aad.n > 0) {
        kd_service_put_bytes(&b, "aad", kd_service_bytes(aad));
    }
    put_common(&b, with, 0);
    kd_buf_u8(&b, '}');
    return kd_service_post(s, path, &b, iv != NULL, a);
}

static bool is_room_wrong(const struct keyd_room *out, size_t n) {
    return out == NULL || (out->p == NULL && n > 0) || out->max < n;
}

enum keyd_err keyd_encrypt(struct keyd_service *s, const struct keyd_with *with,
                           struct keyd_bytes plaintext, struct keyd_bytes aad,
                           uint8_t iv[KEYD_IV_BYTES], struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (is_wrong(s, plaintext, aad, iv) || is_room_wrong(out, plaintext.n + KEYD_TAG_BYTES)) {
        return kd_detail_end(kd_service_wrong("The plaintext, or room for the ciphertext,"));
    }
    const enum keyd_err err = crypt(s, "encrypt", "plaintext", with, NULL, plaintext, aad, &a);
    uint8_t iv_made[KEYD_IV_BYTES];
    struct keyd_room iv_room = { .p = iv_made, .max = KEYD_IV_BYTES };
    if (err != KEYD_OK) {
        return kd_detail_end(err);
    }
    if (!kd_service_get_bytes(a.http.json, "iv", &iv_room) || iv_room.n != KEYD_IV_BYTES ||
        !kd_service_get_bytes(a.http.json, "ciphertext", out)) {
        return kd_detail_end(kd_service_strange());
    }
    memcpy(iv, iv_made, KEYD_IV_BYTES);
    return kd_detail_end(KEYD_OK);
}

enum keyd_err keyd_decrypt(struct keyd_service *s, const struct keyd_with *with,
                           const uint8_t iv[KEYD_IV_BYTES], struct keyd_bytes ciphertext,
                           struct keyd_bytes aad, struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (is_wrong(s, ciphertext, aad, iv) || ciphertext.n < KEYD_TAG_BYTES ||
        is_room_wrong(out, ciphertext.n - KEYD_TAG_BYTES)) {
        return kd_detail_end(kd_service_wrong("The ciphertext, or room for the plaintext,"));
    }
    const enum keyd_err err = crypt(s, "decrypt", "ciphertext", with, iv, ciphertext, aad, &a);
    return kd_detail_end(err != KEYD_OK ||
                                 kd_service_find_bytes(kd_buf_get(&a.http.text), "plaintext", out)
                             ? err
                             : kd_service_strange());
}

// ---- random ----------------------------------------------------------------

enum keyd_err keyd_random(struct keyd_service *s, void *out, size_t n) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(FRAME_BYTES);
    struct keyd_room room = { .p = out, .max = n };
    kd_service_begin();
    if (s == NULL || out == NULL || n == 0 || n > KEYD_RANDOM_MAX) {
        return kd_detail_end(kd_service_wrong("The length"));
    }
    kd_buf_printf(&b, "{\"length\":%zu}", n);
    const enum keyd_err err = kd_service_post(s, "/v1/random", &b, true, &a);
    if (err != KEYD_OK) {
        return kd_detail_end(err);
    }
    const bool good = kd_service_find_bytes(kd_buf_get(&a.http.text), "random", &room);
    return kd_detail_end(good && room.n == n ? KEYD_OK : kd_service_strange());
}
