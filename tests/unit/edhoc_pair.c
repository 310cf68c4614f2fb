// SPDX-License-Identifier: Apache-2.0
// edhoc_pair.c: see edhoc_pair.h.
#include "edhoc_pair.h"

#include <stdlib.h>
#include <string.h>

// Not Check's assert: fuzz targets use this file too.
static void must(bool is_right) {
    if (!is_right) {
        abort();
    }
}

// Nobody parses certificates here, so any bytes will do.
static void put_id_cred(struct kd_buf *out, enum kd_idcred_kind kind, bool is_i,
                        struct kd_bytes cert) {
    struct kd_bytes uri = kd_bytes_of_text(is_i ? "https://pki.example/c/7f/3a.cer"
                                                : "https://pki.example/s/01/02.cer");
    const struct kd_bytes chain[] = { cert, kd_bytes_of_text("the certificate of the CA") };
    uri.n = 30;
    switch (kind) {
    case KD_IDCRED_KID:
        kd_idcred_put_kid(out, kd_bytes_of_text(is_i ? "+" : "kid-of-r"));
        return;
    case KD_IDCRED_X5T:
        must(kd_idcred_put_x5t(out, KD_COSE_SHA256_64, cert) == KD_OK);
        return;
    case KD_IDCRED_X5U:
        kd_idcred_put_x5u(out, uri);
        return;
    case KD_IDCRED_X5U_X5T:
        must(kd_idcred_put_x5u_x5t(out, uri, KD_COSE_SHA256, cert) == KD_OK);
        return;
    case KD_IDCRED_X5CHAIN:
        kd_idcred_put_x5chain(out, chain, is_i ? 1 : 2);
        return;
    }
}

static void party_init(struct party *p, const struct pair_shape *shape, bool is_i) {
    const struct kd_suite *suite = kd_suite_get(shape->suite);
    uint8_t cert[300];
    memset(cert, is_i ? 0x11 : 0x22, sizeof(cert));
    p->id_cred = KD_BUF_INIT(4096);
    p->cred = KD_BUF_INIT(4096);
    struct kd_bytes der = { cert, sizeof(cert) };
    put_id_cred(&p->id_cred, is_i ? shape->kind_i : shape->kind_r, is_i, der);
    kd_cred_put_certificate(&p->cred, der);
    must(kd_buf_finish(&p->id_cred) == KD_OK);
    p->identity = (struct kd_identity) {
        .curve = suite->curve,
        .is_static_dh = (shape->method & (is_i ? 2 : 1)) != 0,
        .id_cred = kd_buf_get(&p->id_cred),
        .cred = kd_buf_get(&p->cred),
    };
    must(kd_keyops_openssl.generate(NULL, suite->curve, &p->identity.key, &p->point) == KD_OK);
    p->config = (struct kd_edhoc_config) {
        .role = is_i ? KD_EDHOC_INITIATOR : KD_EDHOC_RESPONDER,
        .keys = { &kd_keyops_openssl, NULL },
        .identities = &p->identity,
        .n_identities = 1,
        .methods = 1u << shape->method,
        .suites = { 1, { shape->suite } },
        .conn_id = kd_bytes_of_text(is_i ? "7" : "c-r"), // an integer, and a byte string
        .ead_labels = { 2, { PAIR_EAD_A, PAIR_EAD_B } },
        .ead_messages = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4,
    };
}

struct pair *pair_new(const struct pair_shape *shape) {
    struct pair *p = calloc(1, sizeof(*p));
    must(p != NULL);
    party_init(&p->i, shape, true);
    party_init(&p->r, shape, false);
    for (size_t n = 0; n < KD_COUNT_OF(p->m); n++) {
        p->m[n] = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    }
    return p;
}

void pair_open(struct pair *p) {
    must(kd_edhoc_new(&p->i.config, &p->i.e) == KD_OK);
    must(kd_edhoc_new(&p->r.config, &p->r.e) == KD_OK);
}

static void party_wipe(struct party *p) {
    kd_edhoc_free(p->e);
    kd_keyops_openssl.destroy(NULL, p->identity.key);
    kd_buf_wipe(&p->id_cred);
    kd_buf_wipe(&p->cred);
}

void pair_free(struct pair *p) {
    if (p == NULL) {
        return;
    }
    party_wipe(&p->i);
    party_wipe(&p->r);
    for (size_t n = 0; n < KD_COUNT_OF(p->m); n++) {
        kd_buf_wipe(&p->m[n]);
    }
    free(p);
}

enum kd_err pair_resolve(void *other, const struct kd_idcred *id, struct kd_peer *peer) {
    const struct party *p = other;
    if (!kd_bytes_equal(id->encoded, p->identity.id_cred)) {
        return KD_ERR_HS_CREDENTIAL;
    }
    *peer = (struct kd_peer) { p->point, p->identity.cred };
    return KD_OK;
}

struct kd_bytes pair_message(const struct pair *p, int n) {
    return kd_buf_get(&p->m[n]);
}

enum kd_err pair_write(struct pair *p, int n, const struct kd_ead *ead) {
    struct kd_buf *out = &p->m[n];
    switch (n) {
    case 1:
        return kd_edhoc_write_1(p->i.e, ead, out);
    case 2:
        return kd_edhoc_write_2(p->r.e, ead, out);
    case 3:
        return kd_edhoc_write_3(p->i.e, ead, out);
    default:
        return kd_edhoc_write_4(p->r.e, ead, out);
    }
}

enum kd_err pair_read(struct pair *p, int n, struct kd_bytes message) {
    enum kd_err r;
    switch (n) {
    case 1:
        return kd_edhoc_read_1(p->r.e, message);
    case 2:
        r = kd_edhoc_read_2(p->i.e, message);
        return r == KD_OK ? kd_edhoc_authenticate_by(p->i.e, pair_resolve, &p->r) : r;
    case 3:
        r = kd_edhoc_read_3(p->r.e, message);
        return r == KD_OK ? kd_edhoc_authenticate_by(p->r.e, pair_resolve, &p->i) : r;
    default:
        return kd_edhoc_read_4(p->i.e, message);
    }
}

enum kd_err pair_run(struct pair *p, int from, int to) {
    for (int n = from; n <= to; n++) {
        enum kd_err r = pair_write(p, n, NULL);
        if (r != KD_OK || (r = pair_read(p, n, pair_message(p, n))) != KD_OK) {
            return r;
        }
    }
    return KD_OK;
}
