// SPDX-License-Identifier: Apache-2.0
// service_derive.c: secrets by ECDH and derivation: kept in the token, or released where the
// policy says so.
#include "client/service_state.h"

#include <string.h>

// A value without HKDF is a point's x or two blocks of AES.
enum { FIELD_MAX_BYTES = 65536, VALUE_BYTES = 48, SECRET_TYPES = KEYD_HMAC_SHA384 + 1 };

static const char *const kdf_names[] = {
    [KEYD_KDF_NONE] = "",
    [KEYD_KDF_AES_CBC_DATA] = "aes-cbc-data",
    [KEYD_KDF_HKDF_SHA256] = "hkdf-sha256",
    [KEYD_KDF_HKDF_SHA384] = "hkdf-sha384",
};

struct derived {
    const struct keyd_with *with;
    const struct keyd_derivation *derivations;
    struct keyd_derived *out;
    bool is_released;
    size_t n_value; // of those with HKDF
};

// ---- requests --------------------------------------------------------------

static bool is_hkdf(const struct keyd_derivation *d) {
    return d->kdf >= KEYD_KDF_HKDF_SHA256;
}

static bool is_wrong(const struct keyd_derivation *d) {
    return (size_t)d->kdf >= KD_COUNT_OF(kdf_names) || (size_t)d->type >= SECRET_TYPES ||
           d->peer.n > KEYD_POINT_MAX || d->salt.n > FIELD_MAX_BYTES || d->info.n > FIELD_MAX_BYTES;
}

static size_t size_derived(const void *arg, size_t i) {
    const struct derived *c = arg;
    const struct keyd_derivation *d = &c->derivations[i];
    const size_t n = kd_service_size(d->salt, d->info);
    // One route is for those with a peer, another for those without.
    if (is_wrong(d) || n == SIZE_MAX || kd_service_is_missing(d->peer) ||
        (d->peer.n > 0) != (c->derivations[0].peer.n > 0)) {
        return SIZE_MAX;
    }
    const size_t room = is_hkdf(d) ? c->n_value : VALUE_BYTES;
    const bool has_room = c->out[i].value.p != NULL && kd_service_is_room(&c->out[i].value, room);
    return c->is_released && (room == 0 || !has_room) ? SIZE_MAX : n + d->peer.n;
}

static void put_derived(const void *arg, size_t i, struct kd_buf *b) {
    const struct derived *c = arg;
    const struct keyd_derivation *d = &c->derivations[i];
    kd_service_put_given(b, "peer", d->peer);
    if (d->kdf != KEYD_KDF_NONE) {
        kd_json_member(b, "kdf");
        kd_json_put_text(b, kdf_names[d->kdf]);
    }
    kd_service_put_given(b, "salt", d->salt);
    kd_service_put_given(b, "info", d->info);
    if (c->with->version != 0 && c->with->key != NULL) {
        kd_json_member(b, "version");
        kd_json_put_number(b, c->with->version);
    }
    if (c->is_released) {
        kd_json_member(b, "release");
        kd_json_put_bool(b, true);
    } else {
        kd_json_member(b, "type");
        kd_json_put_text(b, kd_service_key_types[d->type]);
    }
    if (c->is_released && is_hkdf(d)) {
        kd_json_member(b, "length");
        kd_json_put_number(b, c->n_value);
    }
    if (!c->is_released && d->lifetime_s != 0) {
        kd_json_member(b, "lifetime");
        kd_json_put_number(b, d->lifetime_s);
    }
}

// ---- answers ---------------------------------------------------------------

static const char *const residences[] = { "worker", "token" };

static const struct kd_service_field fields[] = {
    { "secret", KD_SERVICE_PLACE(keyd_secret, id), KD_SERVICE_TEXT },
    { "key", KD_SERVICE_PLACE(keyd_secret, key), KD_SERVICE_TEXT, .is_optional = true },
    { "version", KD_SERVICE_PLACE(keyd_secret, version), KD_SERVICE_NUMBER, .is_optional = true },
    { "type", KD_SERVICE_PLACE(keyd_secret, type), KD_SERVICE_ENUM, false, kd_service_key_types,
      SECRET_TYPES },
    { "created", KD_SERVICE_PLACE(keyd_secret, created_s), KD_SERVICE_TIME, .is_optional = true },
    { "expires", KD_SERVICE_PLACE(keyd_secret, expires_s), KD_SERVICE_TIME },
    { "residence", KD_SERVICE_PLACE(keyd_secret, is_token_inside), KD_SERVICE_ENUM, false,
      residences, KD_COUNT_OF(residences) },
};

static bool read_secret(const struct kd_json *json, void *out) {
    struct keyd_secret secret = { .version = 0 };
    if (!kd_service_read(json, fields, KD_COUNT_OF(fields), &secret)) {
        return false;
    }
    memcpy(out, &secret, sizeof(secret));
    return true;
}

static bool take_derived(const void *arg, size_t i, const struct kd_service_result *r) {
    const struct derived *c = arg;
    struct keyd_derived *out = &c->out[i];
    out->err = r->err;
    memcpy(out->problem, r->problem, sizeof(out->problem));
    if (r->err != KEYD_OK) {
        out->value.n = 0;
        return true;
    }
    return c->is_released ? kd_service_find_bytes(r->item, "value", &out->value)
                          : read_secret(r->item, &out->secret);
}

// ---- calls -----------------------------------------------------------------

static enum keyd_err derive(struct keyd_service *s, const struct derived *c, size_t n,
                            bool is_alone) {
    kd_service_begin();
    if (c->derivations == NULL || c->out == NULL) {
        return kd_detail_end(kd_service_wrong("The derivation"));
    }
    const struct kd_service_batch q = { .with = c->with,
                                        .operation = n > 0 && c->derivations[0].peer.n > 0
                                                         ? "ecdh"
                                                         : "derive",
                                        .n = n,
                                        .is_alone = is_alone,
                                        .has_own_version = true,
                                        .arg = c,
                                        .size = size_derived,
                                        .put = put_derived,
                                        .take = take_derived };
    return kd_detail_end(kd_service_run(s, &q));
}

enum keyd_err keyd_derive(struct keyd_service *s, const struct keyd_with *with,
                          const struct keyd_derivation *d, struct keyd_secret *out) {
    struct keyd_derived derived = { .err = KEYD_OK };
    const struct derived c = { with, d, out == NULL ? NULL : &derived, false, 0 };
    const enum keyd_err err = derive(s, &c, 1, true);
    if (err == KEYD_OK && out != NULL) {
        *out = derived.secret;
    }
    return err;
}

enum keyd_err keyd_derive_value(struct keyd_service *s, const struct keyd_with *with,
                                const struct keyd_derivation *d, size_t n, struct keyd_room *out) {
    struct keyd_derived derived = { .err = KEYD_OK };
    const struct derived c = { with, d, out == NULL ? NULL : &derived, true, n };
    if (out != NULL) {
        derived.value = *out;
    }
    const enum keyd_err err = derive(s, &c, 1, true);
    if (err == KEYD_OK && out != NULL) {
        out->n = derived.value.n;
    }
    return err;
}

enum keyd_err keyd_derive_all(struct keyd_service *s, const struct keyd_with *with,
                              const struct keyd_derivation *derivations, size_t n,
                              struct keyd_derived *out) {
    const struct derived c = { with, derivations, out, false, 0 };
    return derive(s, &c, n, false);
}

enum keyd_err keyd_derive_value_all(struct keyd_service *s, const struct keyd_with *with,
                                    const struct keyd_derivation *derivations, size_t n,
                                    size_t n_value, struct keyd_derived *out) {
    const struct derived c = { with, derivations, out, true, n_value };
    return derive(s, &c, n, false);
}

// ---- what there is ---------------------------------------------------------

enum keyd_err keyd_secret_show(struct keyd_service *s, const char *id, struct keyd_secret *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (out == NULL) {
        return kd_detail_end(kd_service_wrong("Room for the secret"));
    }
    const enum keyd_err err = kd_service_on(s, "GET", "secrets", id, "", &a);
    return kd_detail_end(
        err != KEYD_OK || read_secret(kd_service_json(&a), out) ? err : kd_service_strange());
}

enum keyd_err keyd_secret_list(struct keyd_service *s, struct keyd_page *page,
                               struct keyd_secret *out, size_t max) {
    static const struct kd_service_list list = { "secrets", sizeof(*out), read_secret };
    return kd_service_page(s, &list, page, out, max);
}

enum keyd_err keyd_secret_delete(struct keyd_service *s, const char *id) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(kd_service_on(s, "DELETE", "secrets", id, "", &a));
}
