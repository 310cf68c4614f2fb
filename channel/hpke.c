// SPDX-License-Identifier: Apache-2.0
// hpke.c: see hpke.h; names as in RFC 9180.
#include "channel/hpke.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_SECRET = 32, // also Nh
    N_NONCE = 12,
    MODE_BASE = 0,
    INFO_MAX_BYTES = 512,
};

static const uint8_t kem_suite[] = { 'K', 'E', 'M', 0, KD_HPKE_KEM };
static const uint8_t hpke_suite[] = { 'H',         'P', 'K',         'E', 0,
                                      KD_HPKE_KEM, 0,   KD_HPKE_KDF, 0,   KD_HPKE_AEAD };

// Lives in a kd_secret.
struct secrets {
    uint8_t eae_prk[N_SECRET];
    uint8_t shared_secret[N_SECRET];
    uint8_t secret[N_SECRET];
    uint8_t key[32];
    uint8_t base_nonce[N_NONCE];
    uint8_t exporter_secret[N_SECRET];
};

struct kd_hpke {
    struct kd_secret *secret;
    uint64_t seq;
};

static struct secrets *secrets_of(struct kd_hpke *h) {
    return (struct secrets *)(void *)kd_secret_get(h->secret);
}

static struct kd_bytes kem(void) {
    return (struct kd_bytes) { kem_suite, sizeof(kem_suite) };
}

static struct kd_bytes hpke(void) {
    return (struct kd_bytes) { hpke_suite, sizeof(hpke_suite) };
}

static struct kd_bytes secret_bytes(const uint8_t p[static N_SECRET]) {
    return (struct kd_bytes) { p, N_SECRET };
}

void kd_hpke_free(struct kd_hpke *h) {
    if (h != NULL) {
        kd_secret_free(h->secret);
        free(h);
    }
}

// ---- labeled HKDF (RFC 9180 4) ---------------------------------------------

static enum kd_err labeled_extract(struct kd_bytes salt, const char *label, struct kd_bytes ikm,
                                   uint8_t out[static N_SECRET]) {
    const struct kd_bytes parts[] = { kd_bytes_of_text("HPKE-v1"), hpke(), kd_bytes_of_text(label),
                                      ikm };
    return kd_host_hmac(KD_MD_SHA256, salt, parts, KD_COUNT_OF(parts), out);
}

static enum kd_err labeled_expand(struct kd_bytes suite, const uint8_t prk[static N_SECRET],
                                  const char *label, struct kd_bytes info, uint8_t *out, size_t n) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(INFO_MAX_BYTES + info.n);
    kd_buf_u16(&b, (uint16_t)n);
    kd_buf_text(&b, "HPKE-v1");
    kd_buf_put(&b, suite.p, suite.n);
    kd_buf_text(&b, label);
    kd_buf_put(&b, info.p, info.n);
    enum kd_err r = kd_buf_finish(&b);
    return r == KD_OK ? kd_host_expand(KD_MD_SHA256, secret_bytes(prk), kd_buf_get(&b), out, n) : r;
}

// ---- KEM (RFC 9180 4.1) ----------------------------------------------------

// shared_secret, from the ECDH of `key` and `peer`.
static enum kd_err extract_and_expand(struct kd_hpke *h, const struct kd_keys *keys, uint64_t key,
                                      const struct kd_point *peer, struct kd_bytes enc,
                                      const struct kd_point *recipient) {
    uint8_t prefix[32];
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(2 * KD_HPKE_ENC_BYTES);
    kd_buf_text(&b, "HPKE-v1");
    kd_buf_put(&b, kem_suite, sizeof(kem_suite));
    kd_buf_text(&b, "eae_prk");
    enum kd_err r = kd_buf_finish(&b);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_bytes before = { prefix, b.n };
    memcpy(prefix, b.p, b.n);
    uint64_t z = KD_HANDLE_NONE;
    if ((r = keys->ops->ecdh(keys->ctx, key, peer, &z)) != KD_OK) {
        return r;
    }
    r = keys->ops->extract(keys->ctx, KD_MD_SHA256, KD_BYTES_NONE, before, z,
                           secrets_of(h)->eae_prk);
    keys->ops->destroy(keys->ctx, z);
    if (r != KD_OK) {
        return r;
    }
    struct kd_bytes own = kd_point_get(recipient);
    kd_buf_reset(&b); // kem_context = enc || pkRm
    kd_buf_put(&b, enc.p, enc.n);
    kd_buf_put(&b, own.p, own.n);
    if ((r = kd_buf_finish(&b)) != KD_OK) {
        return r;
    }
    return labeled_expand(kem(), secrets_of(h)->eae_prk, "shared_secret", kd_buf_get(&b),
                          secrets_of(h)->shared_secret, N_SECRET);
}

// ---- key schedule (RFC 9180 5.1) -------------------------------------------

static enum kd_err key_schedule(struct kd_hpke *h, struct kd_bytes info) {
    struct secrets *s = secrets_of(h);
    uint8_t context[1 + 2 * N_SECRET] = { MODE_BASE };
    const struct kd_bytes all = { context, sizeof(context) };
    enum kd_err r;
    if ((r = labeled_extract(KD_BYTES_NONE, "psk_id_hash", KD_BYTES_NONE, context + 1)) != KD_OK ||
        (r = labeled_extract(KD_BYTES_NONE, "info_hash", info, context + 1 + N_SECRET)) != KD_OK ||
        (r = labeled_extract(secret_bytes(s->shared_secret), "secret", KD_BYTES_NONE, s->secret)) !=
            KD_OK ||
        (r = labeled_expand(hpke(), s->secret, "key", all, s->key, sizeof(s->key))) != KD_OK ||
        (r = labeled_expand(hpke(), s->secret, "base_nonce", all, s->base_nonce, N_NONCE)) !=
            KD_OK) {
        return r;
    }
    return labeled_expand(hpke(), s->secret, "exp", all, s->exporter_secret, N_SECRET);
}

static enum kd_err context_new(struct kd_hpke **out) {
    kd_auto(hpke) struct kd_hpke *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    enum kd_err r = kd_secret_new(sizeof(struct secrets), &h->secret);
    if (r == KD_OK) {
        *out = KD_STEAL(h);
    }
    return r;
}

enum kd_err kd_hpke_new_sender(const struct kd_keys *keys, const struct kd_point *recipient,
                               struct kd_bytes info, uint8_t enc[static KD_HPKE_ENC_BYTES],
                               struct kd_hpke **out) {
    if (recipient->curve != KD_CURVE_P256) {
        return KD_ERR_BAD_POINT;
    }
    kd_auto(hpke) struct kd_hpke *h = NULL;
    uint64_t key = KD_HANDLE_NONE;
    struct kd_point point;
    enum kd_err r = context_new(&h);
    if (r != KD_OK || (r = keys->ops->generate(keys->ctx, KD_CURVE_P256, &key, &point)) != KD_OK) {
        return r;
    }
    r = extract_and_expand(h, keys, key, recipient, kd_point_get(&point), recipient);
    keys->ops->destroy(keys->ctx, key);
    if (r != KD_OK || (r = key_schedule(h, info)) != KD_OK) {
        return r;
    }
    memcpy(enc, point.bytes, KD_HPKE_ENC_BYTES);
    *out = KD_STEAL(h);
    return KD_OK;
}

enum kd_err kd_hpke_new_recipient(const struct kd_keys *keys, uint64_t key,
                                  const struct kd_point *own, struct kd_bytes enc,
                                  struct kd_bytes info, struct kd_hpke **out) {
    if (own->curve != KD_CURVE_P256) {
        return KD_ERR_BAD_POINT;
    }
    kd_auto(hpke) struct kd_hpke *h = NULL;
    struct kd_point sender;
    enum kd_err r = kd_point_read(KD_CURVE_P256, enc, &sender);
    if (r != KD_OK || (r = context_new(&h)) != KD_OK ||
        (r = extract_and_expand(h, keys, key, &sender, enc, own)) != KD_OK ||
        (r = key_schedule(h, info)) != KD_OK) {
        return r;
    }
    *out = KD_STEAL(h);
    return KD_OK;
}

// ---- messages --------------------------------------------------------------

static void make_nonce(struct kd_hpke *h, uint8_t out[static N_NONCE]) {
    memcpy(out, secrets_of(h)->base_nonce, N_NONCE);
    for (size_t i = 0; i < 8; i++) {
        out[N_NONCE - 1 - i] ^= (uint8_t)(h->seq >> (8 * i));
    }
}

enum kd_err kd_hpke_seal(struct kd_hpke *h, struct kd_bytes aad, struct kd_bytes text,
                         struct kd_buf *out) {
    if (h->seq == UINT64_MAX) {
        return KD_ERR_SEQUENCE_END;
    }
    size_t start = out->n;
    uint8_t nonce[N_NONCE];
    make_nonce(h, nonce);
    uint8_t *to = kd_buf_extend(out, text.n + KD_HPKE_TAG_BYTES);
    if (to == NULL) {
        return kd_buf_finish(out);
    }
    enum kd_err r = kd_host_seal(KD_AEAD_A256GCM, secrets_of(h)->key, nonce, aad, text, to);
    if (r != KD_OK) {
        out->n = start;
        return r;
    }
    h->seq++;
    return KD_OK;
}

enum kd_err kd_hpke_open(struct kd_hpke *h, struct kd_bytes aad, struct kd_bytes sealed,
                         struct kd_buf *out) {
    if (sealed.n < KD_HPKE_TAG_BYTES) {
        return KD_ERR_NOT_AUTHENTIC;
    }
    if (h->seq == UINT64_MAX) {
        return KD_ERR_SEQUENCE_END;
    }
    size_t start = out->n;
    size_t n = sealed.n - KD_HPKE_TAG_BYTES;
    uint8_t nonce[N_NONCE];
    make_nonce(h, nonce);
    uint8_t *to = n == 0 ? NULL : kd_buf_extend(out, n);
    if (to == NULL && n > 0) {
        return kd_buf_finish(out);
    }
    enum kd_err r = kd_host_open(KD_AEAD_A256GCM, secrets_of(h)->key, nonce, aad, sealed, to);
    if (r != KD_OK) {
        out->n = start;
        return r;
    }
    h->seq++;
    return KD_OK;
}

enum kd_err kd_hpke_export(struct kd_hpke *h, struct kd_bytes context, struct kd_secret *out) {
    return labeled_expand(hpke(), secrets_of(h)->exporter_secret, "sec", context,
                          kd_secret_get(out), kd_secret_len(out));
}
