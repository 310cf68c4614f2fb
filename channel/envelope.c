// SPDX-License-Identifier: Apache-2.0
#include "channel/envelope.h"

#include "base/base.h"

#include <string.h>

enum { MEMBERS = 8, AAD_MAX_BYTES = 160 };

// What is a text to C would end there, and be another's name.
static bool has_nul(struct kd_bytes text) {
    return text.n > 0 && memchr(text.p, 0, text.n) != NULL;
}

enum kd_err kd_envelope_parse(struct kd_bytes bytes, struct kd_envelope *out) {
    if (bytes.n > KD_ENVELOPE_MAX_BYTES) {
        return KD_ERR_ENVELOPE_FORM;
    }
    struct kd_cbor c = kd_cbor_of(bytes);
    const size_t n = kd_cbor_read_array(&c);
    const uint8_t *first = c.in.p;
    const uint64_t version = kd_cbor_read_uint(&c);
    struct kd_envelope e;
    e.key_id = kd_cbor_read_bytes(&c);
    e.id = kd_cbor_read_bytes(&c);
    e.time_s = kd_cbor_read_uint(&c);
    e.expires_s = kd_cbor_read_uint(&c);
    e.sender = kd_cbor_read_text(&c);
    const uint8_t *last = c.in.p;
    e.enc = kd_cbor_read_bytes(&c);
    e.sealed = kd_cbor_read_bytes(&c);
    if (kd_cbor_finish(&c) != KD_OK || n != MEMBERS || version != KD_ENVELOPE_VERSION ||
        e.key_id.n != KD_ENVELOPE_KEY_ID_BYTES || e.id.n != KD_ENVELOPE_ID_BYTES ||
        e.sender.n > KD_ENVELOPE_SENDER_MAX_BYTES || has_nul(e.sender) ||
        e.enc.n != KD_HPKE_ENC_BYTES || e.sealed.n < KD_HPKE_TAG_BYTES ||
        e.sealed.n > KD_ENVELOPE_BODY_MAX_BYTES + KD_HPKE_TAG_BYTES) {
        return KD_ERR_ENVELOPE_FORM;
    }
    e.aad = (struct kd_bytes) { first, (size_t)(last - first) };
    *out = e;
    return KD_OK;
}

void kd_envelope_key_id(const struct kd_point *recipient,
                        uint8_t out[static KD_ENVELOPE_KEY_ID_BYTES]) {
    const struct kd_bytes point = kd_point_get(recipient);
    uint8_t hash[32];
    memset(out, 0, KD_ENVELOPE_KEY_ID_BYTES);
    if (kd_host_hash(KD_MD_SHA256, &point, 1, hash) == KD_OK) {
        memcpy(out, hash, KD_ENVELOPE_KEY_ID_BYTES);
    }
}

static void put_aad(struct kd_buf *out, const struct kd_point *recipient,
                    const struct kd_envelope *terms) {
    uint8_t key_id[KD_ENVELOPE_KEY_ID_BYTES];
    const struct kd_cbor_item sender = { .type = KD_CBOR_TEXT, .bytes = terms->sender };
    kd_envelope_key_id(recipient, key_id);
    kd_cbor_put_uint(out, KD_ENVELOPE_VERSION);
    kd_cbor_put_bytes(out, (struct kd_bytes) { key_id, sizeof(key_id) });
    kd_cbor_put_bytes(out, terms->id);
    kd_cbor_put_uint(out, terms->time_s);
    kd_cbor_put_uint(out, terms->expires_s);
    kd_cbor_put_item(out, &sender);
}

// What no recipient would take is not made.
static enum kd_err check_own(struct kd_buf *out, size_t start) {
    struct kd_envelope e;
    enum kd_err r = kd_envelope_parse((struct kd_bytes) { out->p + start, out->n - start }, &e);
    if (r != KD_OK) {
        out->n = start;
    }
    return r;
}

enum kd_err kd_envelope_seal(const struct kd_keys *keys, const struct kd_point *recipient,
                             const struct kd_envelope *terms, struct kd_bytes body,
                             struct kd_buf *out) {
    if (body.n > KD_ENVELOPE_BODY_MAX_BYTES || terms->sender.n > KD_ENVELOPE_SENDER_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(AAD_MAX_BYTES);
    kd_auto(buf) struct kd_buf sealed = KD_BUF_INIT(KD_ENVELOPE_BODY_MAX_BYTES + KD_HPKE_TAG_BYTES);
    kd_auto(hpke) struct kd_hpke *h = NULL;
    uint8_t enc[KD_HPKE_ENC_BYTES];
    put_aad(&aad, recipient, terms);
    enum kd_err r;
    if ((r = kd_buf_finish(&aad)) != KD_OK ||
        (r = kd_hpke_new_sender(keys, recipient, kd_bytes_of_text(KD_ENVELOPE_INFO), enc, &h)) !=
            KD_OK ||
        (r = kd_hpke_seal(h, kd_buf_get(&aad), body, &sealed)) != KD_OK) {
        return r;
    }
    const size_t start = out->n;
    kd_cbor_put_array(out, MEMBERS);
    kd_buf_put(out, aad.p, aad.n);
    kd_cbor_put_bytes(out, (struct kd_bytes) { enc, sizeof(enc) });
    kd_cbor_put_bytes(out, kd_buf_get(&sealed));
    return (r = kd_buf_finish(out)) == KD_OK ? check_own(out, start) : r;
}
