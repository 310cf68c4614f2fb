// SPDX-License-Identifier: Apache-2.0
// service_derive.c: secrets by ECDH and derivation: kept in the token, or released where the
// policy says so.
#include "client/service_state.h"

#include <stdio.h>
#include <string.h>

// A value without HKDF is a point's x or two blocks of AES.
enum { FRAME_BYTES = 384, FIELD_MAX_BYTES = 65536, VALUE_BYTES = 48 };

static const char *const kdf_names[] = {
    [KEYD_KDF_NONE] = "",
    [KEYD_KDF_AES_CBC_DATA] = "aes-cbc-data",
    [KEYD_KDF_HKDF_SHA256] = "hkdf-sha256",
    [KEYD_KDF_HKDF_SHA384] = "hkdf-sha384",
};

static const char *const type_names[] = {
    [KEYD_AES_256] = "aes-256",
    [KEYD_HMAC_SHA256] = "hmac-sha256",
    [KEYD_HMAC_SHA384] = "hmac-sha384",
};

static bool is_wrong(const struct keyd_derivation *d) {
    return d == NULL || (size_t)d->kdf >= KD_COUNT_OF(kdf_names) ||
           (size_t)d->type >= KD_COUNT_OF(type_names) || kd_service_is_missing(d->peer) ||
           kd_service_is_missing(d->salt) || kd_service_is_missing(d->info) ||
           d->peer.n > KEYD_POINT_MAX || d->salt.n > FIELD_MAX_BYTES || d->info.n > FIELD_MAX_BYTES;
}

static void put_given(struct kd_buf *b, const char *name, struct keyd_bytes value) {
    if (value.n > 0) {
        kd_service_put_bytes(b, name, kd_service_bytes(value));
    }
}

static void put_derivation(struct kd_buf *b, const struct keyd_with *with,
                           const struct keyd_derivation *d) {
    put_given(b, "peer", d->peer);
    if (d->kdf != KEYD_KDF_NONE) {
        kd_service_put_text(b, "kdf", kdf_names[d->kdf]);
    }
    put_given(b, "salt", d->salt);
    put_given(b, "info", d->info);
    if (with->version != 0 && with->key != NULL) {
        kd_service_put_number(b, "version", with->version);
    }
}

// n_value: 0 but for HKDF.
static enum keyd_err derive(struct keyd_service *s, const struct keyd_with *with,
                            const struct keyd_derivation *d, bool is_released, size_t n_value,
                            struct kd_service_answer *a) {
    char path[KD_SERVICE_PATH_BYTES];
    if (s == NULL || is_wrong(d)) {
        return kd_service_wrong("The derivation");
    }
    const enum keyd_err err = kd_service_path(with, d->peer.n > 0 ? "ecdh" : "derive", path);
    if (err != KEYD_OK) {
        return err;
    }
    kd_auto(buf) struct kd_buf b =
        KD_BUF_INIT(FRAME_BYTES + KD_B64_LEN(d->peer.n + d->salt.n + d->info.n));
    kd_buf_u8(&b, '{');
    put_derivation(&b, with, d);
    if (is_released) {
        kd_service_put_name(&b, "release");
        kd_buf_text(&b, "true");
    } else {
        kd_service_put_text(&b, "type", type_names[d->type]);
    }
    if (n_value != 0) {
        kd_service_put_number(&b, "length", n_value);
    }
    if (!is_released && d->lifetime_s != 0) {
        kd_service_put_number(&b, "lifetime", d->lifetime_s);
    }
    kd_buf_u8(&b, '}');
    return kd_service_post(s, path, &b, is_released, a);
}

static bool read_secret(const json_t *o, struct keyd_secret *out) {
    char residence[16];
    struct keyd_secret secret = { .version = 0 };
    uint64_t version = 0;
    if (!kd_service_get_text(o, "secret", sizeof(secret.id), secret.id) ||
        !kd_service_get_text(o, "residence", sizeof(residence), residence)) {
        return false;
    }
    (void)kd_service_get_number(o, "version", &version);
    secret.version = (unsigned)version;
    secret.is_token_inside = strcmp(residence, "token") == 0;
    *out = secret;
    return true;
}

enum keyd_err keyd_derive(struct keyd_service *s, const struct keyd_with *with,
                          const struct keyd_derivation *d, struct keyd_secret *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (out == NULL) {
        return kd_detail_end(kd_service_wrong("Room for the secret's id"));
    }
    const enum keyd_err err = derive(s, with, d, false, 0, &a);
    return kd_detail_end(err != KEYD_OK || read_secret(a.http.json, out) ? err
                                                                         : kd_service_strange());
}

enum keyd_err keyd_derive_value(struct keyd_service *s, const struct keyd_with *with,
                                const struct keyd_derivation *d, size_t n, struct keyd_room *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    const bool is_hkdf = d != NULL && d->kdf >= KEYD_KDF_HKDF_SHA256;
    if (out == NULL || out->p == NULL || (is_hkdf && n == 0) ||
        out->max < (is_hkdf ? n : VALUE_BYTES)) {
        return kd_detail_end(kd_service_wrong("Room for the value"));
    }
    const enum keyd_err err = derive(s, with, d, true, is_hkdf ? n : 0, &a);
    return kd_detail_end(err != KEYD_OK ||
                                 kd_service_find_bytes(kd_buf_get(&a.http.text), "value", out)
                             ? err
                             : kd_service_strange());
}

enum keyd_err keyd_secret_delete(struct keyd_service *s, const char *id) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    char path[KD_SERVICE_PATH_BYTES];
    kd_service_begin();
    if (s == NULL || !kd_service_is_id(id)) {
        return kd_detail_end(kd_service_wrong("The id of the secret"));
    }
    snprintf(path, sizeof(path), "/v1/secrets/%s", id);
    return kd_detail_end(kd_service_do(s, "DELETE", path, &a));
}
