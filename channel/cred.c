// SPDX-License-Identifier: Apache-2.0
// cred.c: see cred.h.
#include "channel/cred.h"

#include <string.h>

enum {
    // COSE header parameters
    PARAM_KID = 4,
    PARAM_X5CHAIN = 33,
    PARAM_X5T = 34,
    PARAM_X5U = 35,
    TAG_URI = 32,
};

struct hash_row {
    int cose;
    enum kd_md md;
    size_t n_bytes;
};

static const struct hash_row hashes[] = {
    { KD_COSE_SHA256_64, KD_MD_SHA256, 8 },       { KD_COSE_SHA256, KD_MD_SHA256, 32 },
    { KD_COSE_SHA512_256, KD_MD_SHA512_256, 32 }, { KD_COSE_SHAKE128, KD_MD_SHAKE128, 32 },
    { KD_COSE_SHA384, KD_MD_SHA384, 48 },         { KD_COSE_SHA512, KD_MD_SHA512, 64 },
    { KD_COSE_SHAKE256, KD_MD_SHAKE256, 64 },
};

static const struct hash_row *hash_get(int64_t cose) {
    for (size_t i = 0; i < KD_COUNT_OF(hashes); i++) {
        if (hashes[i].cose == cose) {
            return &hashes[i];
        }
    }
    return NULL;
}

// ---- reading ---------------------------------------------------------------

static void read_kid(struct kd_cbor *c, struct kd_idcred *out) {
    out->kid = kd_cbor_read_bytes(c);
}

static void read_x5t(struct kd_cbor *c, struct kd_idcred *out) {
    if (kd_cbor_read_array(c) != 2) {
        kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
        return;
    }
    const struct hash_row *hash = hash_get(kd_cbor_read_int(c));
    out->x5t = kd_cbor_read_bytes(c);
    if (hash == NULL || out->x5t.n != hash->n_bytes) {
        kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
        return;
    }
    out->x5t_hash = hash->cose;
}

static void read_x5u(struct kd_cbor *c, struct kd_idcred *out) {
    if (kd_cbor_read_tag(c) != TAG_URI) { // RFC 9360 2: x5u is a tagged URI
        kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
        return;
    }
    out->x5u = kd_cbor_read_text(c);
    if (out->x5u.n == 0 || out->x5u.n > KD_X5U_MAX_BYTES ||
        memchr(out->x5u.p, 0, out->x5u.n) != NULL) { // RFC 3986 has no NUL, and C ends there
        kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
    }
}

static void read_x5chain(struct kd_cbor *c, struct kd_idcred *out) {
    out->n_chain = 1;
    if (kd_cbor_is_next(c, KD_CBOR_ARRAY)) {
        out->n_chain = kd_cbor_read_array(c);
        if (out->n_chain < 2 || out->n_chain > KD_X5CHAIN_MAX) { // RFC 9360 2: [ 2*certs: bstr ]
            kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
            return;
        }
    }
    for (size_t i = 0; i < out->n_chain; i++) {
        out->chain[i] = kd_cbor_read_bytes(c);
        if (out->chain[i].n == 0) {
            kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
        }
    }
}

struct param_row {
    int64_t param;
    void (*read)(struct kd_cbor *c, struct kd_idcred *out);
};

static const struct param_row params[] = {
    { PARAM_KID, read_kid },
    { PARAM_X5CHAIN, read_x5chain },
    { PARAM_X5T, read_x5t },
    { PARAM_X5U, read_x5u },
};

struct kind_row {
    unsigned set; // bits of params[]
    enum kd_idcred_kind kind;
};

static const struct kind_row kinds[] = {
    { 1u << 0, KD_IDCRED_KID },
    { 1u << 1, KD_IDCRED_X5CHAIN },
    { 1u << 2, KD_IDCRED_X5T },
    { 1u << 3, KD_IDCRED_X5U },
    { 1u << 2 | 1u << 3, KD_IDCRED_X5U_X5T },
};

static unsigned read_param(struct kd_cbor *c, struct kd_idcred *out) {
    int64_t param = kd_cbor_read_int(c);
    for (size_t i = 0; i < KD_COUNT_OF(params); i++) {
        if (params[i].param == param) {
            params[i].read(c, out);
            return 1u << i;
        }
    }
    kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
    return 0;
}

void kd_idcred_read(struct kd_cbor *c, struct kd_idcred *out) {
    struct kd_idcred id = { .encoded.p = c->in.p };
    size_t before = c->in.n;
    size_t n = kd_cbor_read_map(c);
    unsigned set = 0;
    for (size_t i = 0; i < n && c->err == KD_OK; i++) {
        set |= read_param(c, &id);
    }
    id.encoded.n = before - c->in.n;
    for (size_t i = 0; i < KD_COUNT_OF(kinds); i++) {
        if (kinds[i].set == set) {
            id.kind = kinds[i].kind;
        }
    }
    if (id.kind == 0) {
        kd_cbor_fail(c, KD_ERR_HS_CREDENTIAL);
    }
    if (c->err == KD_OK) {
        *out = id;
    }
}

enum kd_err kd_idcred_parse(struct kd_bytes encoded, struct kd_idcred *out) {
    struct kd_cbor c = kd_cbor_of(encoded);
    struct kd_idcred id;
    kd_idcred_read(&c, &id);
    enum kd_err r = kd_cbor_finish(&c);
    if (r == KD_OK) {
        *out = id;
    }
    return r;
}

// ---- building --------------------------------------------------------------

void kd_idcred_put_kid(struct kd_buf *out, struct kd_bytes kid) {
    kd_cbor_put_map(out, 1);
    kd_cbor_put_int(out, PARAM_KID);
    kd_cbor_put_bytes(out, kid);
}

static void put_x5u(struct kd_buf *out, struct kd_bytes uri) {
    kd_cbor_put_int(out, PARAM_X5U);
    kd_cbor_put_tag(out, TAG_URI);
    kd_cbor_put_item(out, &(struct kd_cbor_item) { .type = KD_CBOR_TEXT, .bytes = uri });
}

static enum kd_err put_x5t(struct kd_buf *out, int hash, struct kd_bytes cert) {
    const struct hash_row *row = hash_get(hash);
    if (row == NULL) {
        return KD_ERR_HS_CREDENTIAL;
    }
    uint8_t digest[KD_MD_MAX_BYTES];
    enum kd_err r = kd_host_hash(row->md, &cert, 1, digest);
    if (r != KD_OK) {
        return r;
    }
    kd_cbor_put_int(out, PARAM_X5T);
    kd_cbor_put_array(out, 2);
    kd_cbor_put_int(out, row->cose);
    kd_cbor_put_bytes(out, (struct kd_bytes) { digest, row->n_bytes });
    return KD_OK;
}

void kd_idcred_put_x5u(struct kd_buf *out, struct kd_bytes uri) {
    kd_cbor_put_map(out, 1);
    put_x5u(out, uri);
}

enum kd_err kd_idcred_put_x5t(struct kd_buf *out, int hash, struct kd_bytes cert) {
    kd_cbor_put_map(out, 1);
    return put_x5t(out, hash, cert);
}

enum kd_err kd_idcred_put_x5u_x5t(struct kd_buf *out, struct kd_bytes uri, int hash,
                                  struct kd_bytes cert) {
    kd_cbor_put_map(out, 2);
    enum kd_err r = put_x5t(out, hash, cert); // 34 before 35
    put_x5u(out, uri);
    return r;
}

void kd_idcred_put_x5chain(struct kd_buf *out, const struct kd_bytes *certs, size_t n) {
    kd_cbor_put_map(out, 1);
    kd_cbor_put_int(out, PARAM_X5CHAIN);
    if (n > 1) {
        kd_cbor_put_array(out, n);
    }
    for (size_t i = 0; i < n; i++) {
        kd_cbor_put_bytes(out, certs[i]);
    }
}

void kd_cred_put_certificate(struct kd_buf *out, struct kd_bytes cert) {
    kd_cbor_put_bytes(out, cert);
}

enum kd_err kd_idcred_fits(const struct kd_idcred *id, struct kd_bytes cred) {
    if (id->x5t.n == 0 && id->n_chain == 0) {
        return KD_OK;
    }
    struct kd_cbor c = kd_cbor_of(cred);
    struct kd_bytes cert = kd_cbor_read_bytes(&c);
    if (kd_cbor_finish(&c) != KD_OK) {
        return KD_ERR_HS_CREDENTIAL;
    }
    if (id->n_chain > 0) {
        return kd_bytes_equal(id->chain[0], cert) ? KD_OK : KD_ERR_HS_CREDENTIAL;
    }
    const struct hash_row *row = hash_get(id->x5t_hash);
    uint8_t digest[KD_MD_MAX_BYTES];
    enum kd_err r = kd_host_hash(row->md, &cert, 1, digest);
    if (r != KD_OK) {
        return r;
    }
    return kd_ct_equal(id->x5t, (struct kd_bytes) { digest, row->n_bytes }) ? KD_OK
                                                                            : KD_ERR_HS_CREDENTIAL;
}

// ---- identifiers -----------------------------------------------------------

// One byte that is the encoding of an integer -24..23: 00..17 and 20..37.
static bool is_small_int(struct kd_bytes id) {
    return id.n == 1 && (id.p[0] <= 0x17 || (id.p[0] >= 0x20 && id.p[0] <= 0x37));
}

void kd_identifier_put(struct kd_buf *out, struct kd_bytes id) {
    if (is_small_int(id)) {
        kd_buf_put(out, id.p, id.n);
        return;
    }
    kd_cbor_put_bytes(out, id);
}

struct kd_bytes kd_identifier_read(struct kd_cbor *c) {
    if (kd_cbor_is_next(c, KD_CBOR_BYTES)) {
        struct kd_bytes id = kd_cbor_read_bytes(c);
        if (is_small_int(id)) {
            kd_cbor_fail(c, KD_ERR_HS_MESSAGE);
        }
        return id;
    }
    struct kd_bytes id = { c->in.p, 1 };
    (void)kd_cbor_read_int(c);
    if (c->err == KD_OK && !is_small_int(id)) {
        kd_cbor_fail(c, KD_ERR_HS_MESSAGE);
    }
    return c->err == KD_OK ? id : KD_BYTES_NONE;
}

void kd_idcred_put_compact(struct kd_buf *out, const struct kd_idcred *id) {
    if (id->kind == KD_IDCRED_KID) {
        kd_identifier_put(out, id->kid);
        return;
    }
    kd_buf_put(out, id->encoded.p, id->encoded.n);
}

void kd_idcred_read_compact(struct kd_cbor *c, struct kd_buf *whole, struct kd_idcred *out) {
    if (kd_cbor_is_next(c, KD_CBOR_MAP)) {
        struct kd_idcred id = { .kind = 0 };
        kd_idcred_read(c, &id);
        if (id.kind == KD_IDCRED_KID) { // RFC 9528 3.5.3.2: must have been compact
            kd_cbor_fail(c, KD_ERR_HS_MESSAGE);
        }
        *out = c->err == KD_OK ? id : *out;
        return;
    }
    struct kd_bytes kid = kd_identifier_read(c);
    if (c->err != KD_OK) {
        return;
    }
    kd_buf_reset(whole);
    kd_idcred_put_kid(whole, kid);
    enum kd_err r = kd_buf_finish(whole);
    kd_cbor_fail(c, r != KD_OK ? r : kd_idcred_parse(kd_buf_get(whole), out));
}
