// SPDX-License-Identifier: Apache-2.0
// cookie.c: HMAC-SHA-256, cut to 16 bytes, with a key that is replaced each minute.
#include "keyd/cookie.h"

#include "hsm/channel.h"

#include <string.h>

enum { TAG_BYTES = 16, HEAD_BYTES = KD_COOKIE_BYTES - TAG_BYTES, LENGTHS_BYTES = 8 };

void kd_cookies_wipe(struct kd_cookies *c) {
    kd_key32_wipe(&c->keys[0]);
    kd_key32_wipe(&c->keys[1]);
    *c = (struct kd_cookies) { 0 };
}

static void put_number(uint8_t *out, uint64_t n) {
    for (unsigned i = 0; i < 4; i++) {
        out[i] = (uint8_t)(n >> (24 - 8 * i));
    }
}

static uint32_t get_number(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// Lengths stand in front, so that no two sets of parts read alike.
static enum kd_err tag(const struct kd_key32 *key, const uint8_t head[static HEAD_BYTES],
                       const struct kd_cookie_of *of, uint8_t out[static TAG_BYTES]) {
    uint8_t full[KD_MD_MAX_BYTES];
    uint8_t lengths[LENGTHS_BYTES];
    put_number(lengths, of->principal.n);
    put_number(lengths + 4, of->address.n);
    const struct kd_bytes parts[] = {
        { head, HEAD_BYTES }, { lengths, sizeof(lengths) }, of->principal, of->address, of->message,
    };
    enum kd_err r = kd_host_hmac(KD_MD_SHA256, (struct kd_bytes) { key->bytes, sizeof(key->bytes) },
                                 parts, KD_COUNT_OF(parts), full);
    if (r == KD_OK) {
        memcpy(out, full, TAG_BYTES);
    }
    kd_wipe(full, sizeof(full));
    return r;
}

static enum kd_err renew(struct kd_cookies *c, uint64_t now_ms) {
    if (c->has_key && now_ms - c->made_ms[0] < KD_COOKIE_ROTATE_MS) {
        return KD_OK;
    }
    kd_auto(key32) struct kd_key32 key = { 0 };
    enum kd_err r = kd_host_random(key.bytes, sizeof(key.bytes));
    if (r != KD_OK) {
        return r;
    }
    c->keys[1] = c->keys[0];
    c->made_ms[1] = c->made_ms[0];
    c->keys[0] = key;
    c->made_ms[0] = now_ms;
    c->number++;
    c->has_key = true;
    return KD_OK;
}

enum kd_err kd_cookie_make(struct kd_cookies *c, const struct kd_cookie_of *of, uint64_t now_ms,
                           uint8_t out[static KD_COOKIE_BYTES]) {
    uint8_t made[KD_COOKIE_BYTES];
    enum kd_err r = renew(c, now_ms);
    if (r != KD_OK) {
        return r;
    }
    made[0] = c->number;
    put_number(made + 1, now_ms - c->made_ms[0]);
    if ((r = tag(&c->keys[0], made, of, made + HEAD_BYTES)) == KD_OK) {
        memcpy(out, made, sizeof(made));
    }
    return r;
}

bool kd_cookie_is_good(const struct kd_cookies *c, const struct kd_cookie_of *of, uint64_t now_ms,
                       struct kd_bytes cookie) {
    uint8_t expected[TAG_BYTES];
    if (cookie.n != KD_COOKIE_BYTES || !c->has_key) {
        return false;
    }
    const unsigned which = (uint8_t)(c->number - cookie.p[0]);
    if (which > 1 || (which == 1 && c->number == 1)) { // the first key has none before it
        return false;
    }
    const uint64_t made_ms = c->made_ms[which] + get_number(cookie.p + 1);
    if (made_ms > now_ms || now_ms - made_ms >= KD_COOKIE_AGE_MS) {
        return false;
    }
    return tag(&c->keys[which], cookie.p, of, expected) == KD_OK &&
           kd_ct_equal((struct kd_bytes) { cookie.p + HEAD_BYTES, TAG_BYTES },
                       (struct kd_bytes) { expected, TAG_BYTES });
}
