// SPDX-License-Identifier: Apache-2.0
#include "channel/envelope.h"

#include "base/base.h"

#include <string.h>

enum { MEMBERS = 8, AAD_MAX_BYTES = 160 };

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
        e.sender.n > KD_ENVELOPE_SENDER_MAX_BYTES || e.enc.n != KD_HPKE_ENC_BYTES ||
        e.sealed.n < KD_HPKE_TAG_BYTES ||
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
    char sender[KD_ENVELOPE_SENDER_MAX_BYTES + 1] = "";
    memcpy(sender, terms->sender.p == NULL ? (const uint8_t *)"" : terms->sender.p,
           terms->sender.n);
    kd_envelope_key_id(recipient, key_id);
    kd_cbor_put_uint(out, KD_ENVELOPE_VERSION);
    kd_cbor_put_bytes(out, (struct kd_bytes) { key_id, sizeof(key_id) });
    kd_cbor_put_bytes(out, terms->id);
    kd_cbor_put_uint(out, terms->time_s);
    kd_cbor_put_uint(out, terms->expires_s);
    kd_cbor_put_text(out, sender);
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
    kd_cbor_put_array(out, MEMBERS);
    kd_buf_put(out, aad.p, aad.n);
    kd_cbor_put_bytes(out, (struct kd_bytes) { enc, sizeof(enc) });
    kd_cbor_put_bytes(out, kd_buf_get(&sealed));
    return kd_buf_finish(out);
}
