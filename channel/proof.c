// SPDX-License-Identifier: Apache-2.0
// proof.c: the key schedule of a handshake, the proofs of both sides, and the
// encryption of messages 2 to 4 (RFC 9528 4.1 and 5).
#include "channel/edhoc_state.h"

#include <string.h>

enum { CONTEXT_MAX_BYTES = 3 * KD_EDHOC_MESSAGE_MAX_BYTES };

static struct kd_bytes hash_bytes(const struct kd_edhoc *e, const uint8_t *p) {
    return (struct kd_bytes) { p, kd_edhoc_hash_bytes(e) };
}

// ---- key schedule ----------------------------------------------------------

// prk = HKDF-Extract(salt, key * point); the ECDH secret lives no longer.
static enum kd_err extract(struct kd_edhoc *e, struct kd_bytes salt, uint64_t key,
                           const struct kd_point *point, uint8_t *prk) {
    const struct kd_keys *keys = &e->config.keys;
    uint64_t z = KD_HANDLE_NONE;
    enum kd_err r = keys->ops->ecdh(keys->ctx, key, point, &z);
    if (r != KD_OK) {
        return r;
    }
    r = keys->ops->extract(keys->ctx, e->suite->md, salt, KD_BYTES_NONE, z, prk);
    keys->ops->destroy(keys->ctx, z);
    return r;
}

enum kd_err kd_edhoc_derive_prk_2e(struct kd_edhoc *e) {
    return extract(e, hash_bytes(e, e->th_2), e->ephemeral, &e->peer_point,
                   kd_edhoc_secrets(e)->prk_2e);
}

struct mix {
    enum kd_edhoc_role side;
    enum kd_edhoc_label salt_label;
    const uint8_t *from;
    const uint8_t *th;
    uint8_t *to;
};

static enum kd_err mix(struct kd_edhoc *e, const struct mix *m, const struct kd_point *peer_key) {
    if (!kd_edhoc_is_static(e, m->side)) {
        memcpy(m->to, m->from, kd_edhoc_hash_bytes(e));
        return KD_OK;
    }
    struct kd_bytes salt = hash_bytes(e, kd_edhoc_secrets(e)->salt);
    enum kd_err r = kd_edhoc_kdf(e->suite->md, m->from, (int)m->salt_label, hash_bytes(e, m->th),
                                 kd_edhoc_secrets(e)->salt, salt.n);
    if (r != KD_OK) {
        return r;
    }
    return peer_key == NULL ? extract(e, salt, e->identity->key, &e->peer_point, m->to)
                            : extract(e, salt, e->ephemeral, peer_key, m->to);
}

enum kd_err kd_edhoc_derive_prk_3e2m(struct kd_edhoc *e, const struct kd_point *peer_key) {
    struct kd_edhoc_secrets *s = kd_edhoc_secrets(e);
    const struct mix m = { KD_EDHOC_RESPONDER, KD_LABEL_SALT_3E2M, s->prk_2e, e->th_2,
                           s->prk_3e2m };
    return mix(e, &m, peer_key);
}

enum kd_err kd_edhoc_derive_prk_4e3m(struct kd_edhoc *e, const struct kd_point *peer_key) {
    struct kd_edhoc_secrets *s = kd_edhoc_secrets(e);
    const struct mix m = { KD_EDHOC_INITIATOR, KD_LABEL_SALT_4E3M, s->prk_3e2m, e->th_3,
                           s->prk_4e3m };
    return mix(e, &m, peer_key);
}

enum kd_err kd_edhoc_derive_prk_out(struct kd_edhoc *e) {
    enum kd_err r = kd_secret_new(kd_edhoc_hash_bytes(e), &e->prk_out);
    if (r != KD_OK) {
        return r;
    }
    return kd_edhoc_kdf(e->suite->md, kd_edhoc_secrets(e)->prk_4e3m, KD_LABEL_PRK_OUT,
                        hash_bytes(e, e->th_4), kd_secret_get(e->prk_out),
                        kd_secret_len(e->prk_out));
}

// ---- proofs ----------------------------------------------------------------

struct kd_edhoc_proof kd_edhoc_proof_2(struct kd_edhoc *e, struct kd_bytes c_r,
                                       struct kd_bytes id_cred, struct kd_bytes cred,
                                       struct kd_bytes ead) {
    return (struct kd_edhoc_proof) {
        .side = KD_EDHOC_RESPONDER,
        .mac_label = KD_LABEL_MAC_2,
        .prk = kd_edhoc_secrets(e)->prk_3e2m,
        .th = e->th_2,
        .c_r = c_r,
        .id_cred = id_cred,
        .cred = cred,
        .ead = ead,
    };
}

struct kd_edhoc_proof kd_edhoc_proof_3(struct kd_edhoc *e, struct kd_bytes id_cred,
                                       struct kd_bytes cred, struct kd_bytes ead) {
    return (struct kd_edhoc_proof) {
        .side = KD_EDHOC_INITIATOR,
        .mac_label = KD_LABEL_MAC_3,
        .prk = kd_edhoc_secrets(e)->prk_4e3m,
        .th = e->th_3,
        .id_cred = id_cred,
        .cred = cred,
        .ead = ead,
    };
}

// RFC 9528 4.1.2: a MAC that is sent has the suite's length, one that is signed
// that of the hash.
static size_t mac_bytes(const struct kd_edhoc *e, enum kd_edhoc_role side) {
    return kd_edhoc_is_static(e, side) ? e->suite->mac_bytes : kd_edhoc_hash_bytes(e);
}

size_t kd_edhoc_proof_bytes(const struct kd_edhoc *e, enum kd_edhoc_role side) {
    return kd_edhoc_is_static(e, side) ? e->suite->mac_bytes : 2 * kd_curve_bytes(e->suite->curve);
}

static enum kd_err compute_mac(const struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                               uint8_t *out) {
    kd_auto(buf) struct kd_buf context = KD_BUF_INIT(CONTEXT_MAX_BYTES);
    kd_edhoc_put_context(e, p, &context);
    enum kd_err r = kd_buf_finish(&context);
    if (r != KD_OK) {
        return r;
    }
    return kd_edhoc_kdf(e->suite->md, p->prk, (int)p->mac_label, kd_buf_get(&context), out,
                        mac_bytes(e, p->side));
}

enum kd_err kd_edhoc_prove(struct kd_edhoc *e, const struct kd_edhoc_proof *p, uint8_t *out) {
    uint8_t mac[KD_HASH_MAX_BYTES];
    enum kd_err r = compute_mac(e, p, mac);
    if (r != KD_OK) {
        return r;
    }
    size_t n = mac_bytes(e, p->side);
    if (kd_edhoc_is_static(e, p->side)) {
        memcpy(out, mac, n);
        return KD_OK;
    }
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(CONTEXT_MAX_BYTES);
    kd_edhoc_put_to_be_signed(e, p, (struct kd_bytes) { mac, n }, &message);
    if ((r = kd_buf_finish(&message)) != KD_OK) {
        return r;
    }
    const struct kd_keys *keys = &e->config.keys;
    return keys->ops->sign(keys->ctx, e->identity->key, e->suite->md, kd_buf_get(&message), out,
                           kd_edhoc_proof_bytes(e, p->side));
}

enum kd_err kd_edhoc_check_proof(struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                                 const struct kd_point *peer_key) {
    uint8_t mac[KD_HASH_MAX_BYTES];
    enum kd_err r = compute_mac(e, p, mac);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes expected = { mac, mac_bytes(e, p->side) };
    if (kd_edhoc_is_static(e, p->side)) {
        return kd_ct_equal(e->peer_proof, expected)
                   ? KD_OK
                   : kd_edhoc_because(e, KD_ERR_HS_NOT_AUTHENTIC, "The peer's MAC is wrong.");
    }
    kd_auto(buf) struct kd_buf message = KD_BUF_INIT(CONTEXT_MAX_BYTES);
    kd_edhoc_put_to_be_signed(e, p, expected, &message);
    if ((r = kd_buf_finish(&message)) != KD_OK) {
        return r;
    }
    const struct kd_keys *keys = &e->config.keys;
    r = keys->ops->verify(keys->ctx, e->suite->md, peer_key, kd_buf_get(&message), e->peer_proof);
    if (r == KD_ERR_NOT_AUTHENTIC) {
        return kd_edhoc_because(e, KD_ERR_HS_NOT_AUTHENTIC, "The peer's signature is wrong.");
    }
    return r;
}

// ---- encryption ------------------------------------------------------------

// CIPHERTEXT_2 = PLAINTEXT_2 XOR KEYSTREAM_2.  The keystream is made where the
// result goes and is gone with it.
enum kd_err kd_edhoc_crypt_2(struct kd_edhoc *e, struct kd_bytes in, uint8_t *out) {
    enum kd_err r = kd_edhoc_kdf(e->suite->md, kd_edhoc_secrets(e)->prk_2e, KD_LABEL_KEYSTREAM_2,
                                 hash_bytes(e, e->th_2), out, in.n);
    if (r != KD_OK) {
        return r;
    }
    for (size_t i = 0; i < in.n; i++) {
        out[i] ^= in.p[i];
    }
    return KD_OK;
}

struct cipher_row {
    enum kd_edhoc_label key;
    enum kd_edhoc_label iv;
};

static const struct cipher_row ciphers[] = {
    [KD_CIPHER_3] = { KD_LABEL_K_3, KD_LABEL_IV_3 },
    [KD_CIPHER_4] = { KD_LABEL_K_4, KD_LABEL_IV_4 },
};

// Leaves key and IV in the secrets, and the associated data, an Enc_structure
// (RFC 9052 5.3) with TH_3 or TH_4, in `aad`.
static enum kd_err prepare(struct kd_edhoc *e, enum kd_edhoc_cipher which, struct kd_buf *aad) {
    struct kd_edhoc_secrets *s = kd_edhoc_secrets(e);
    const uint8_t *prk = which == KD_CIPHER_3 ? s->prk_3e2m : s->prk_4e3m;
    struct kd_bytes th = hash_bytes(e, which == KD_CIPHER_3 ? e->th_3 : e->th_4);
    kd_cbor_put_array(aad, 3);
    kd_cbor_put_text(aad, "Encrypt0");
    kd_cbor_put_bytes(aad, KD_BYTES_NONE);
    kd_cbor_put_bytes(aad, th);
    enum kd_err r = kd_buf_finish(aad);
    if (r != KD_OK || (r = kd_edhoc_kdf(e->suite->md, prk, (int)ciphers[which].key, th, s->key,
                                        kd_aead_key_bytes(e->suite->aead))) != KD_OK) {
        return r;
    }
    return kd_edhoc_kdf(e->suite->md, prk, (int)ciphers[which].iv, th, s->iv,
                        kd_aead_nonce_bytes(e->suite->aead));
}

enum kd_err kd_edhoc_seal(struct kd_edhoc *e, enum kd_edhoc_cipher which, struct kd_bytes text,
                          struct kd_buf *out) {
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(128);
    enum kd_err r = prepare(e, which, &aad);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_edhoc_secrets *s = kd_edhoc_secrets(e);
    size_t n = text.n + kd_aead_tag_bytes(e->suite->aead);
    kd_cbor_put_bytes_head(out, n);
    uint8_t *to = kd_buf_extend(out, n);
    if (to == NULL) {
        return kd_buf_finish(out);
    }
    return kd_host_seal(e->suite->aead, s->key, s->iv, kd_buf_get(&aad), text, to);
}

enum kd_err kd_edhoc_open(struct kd_edhoc *e, enum kd_edhoc_cipher which, struct kd_bytes sealed,
                          struct kd_buf *out) {
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(128);
    size_t n_tag = kd_aead_tag_bytes(e->suite->aead);
    if (sealed.n < n_tag) {
        return kd_edhoc_because(e, KD_ERR_HS_MESSAGE, "The ciphertext is shorter than its tag.");
    }
    enum kd_err r = prepare(e, which, &aad);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_edhoc_secrets *s = kd_edhoc_secrets(e);
    kd_buf_reset(out);
    uint8_t *to = sealed.n == n_tag ? NULL : kd_buf_extend(out, sealed.n - n_tag);
    if (to == NULL && sealed.n > n_tag) {
        return kd_buf_finish(out);
    }
    r = kd_host_open(e->suite->aead, s->key, s->iv, kd_buf_get(&aad), sealed, to);
    if (r == KD_ERR_NOT_AUTHENTIC) {
        return kd_edhoc_because(e, KD_ERR_HS_NOT_AUTHENTIC, "The ciphertext is not authentic.");
    }
    return r;
}
