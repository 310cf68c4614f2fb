// SPDX-License-Identifier: Apache-2.0
// cookie.h: retry cookies: what a peer that wants a handshake in a busy hour has to
// bring back, so that it costs nothing here until the peer has shown that answers reach it
// (as RFC 9000 8.1.2 and RFC 9147 5.1 do).  Nothing is kept for a cookie.  Times are the
// monotonic clock's.  The keys are this process's alone: no cookie outlives it.
#ifndef KD_KEYD_COOKIE_H
#define KD_KEYD_COOKIE_H

#include "base/base.h"

#define KD_COOKIE_BYTES 21        // number of the key, time, tag
#define KD_COOKIE_AGE_MS 30000    // how long it is good
#define KD_COOKIE_ROTATE_MS 60000 // a key makes cookies for so long; longer than they are good

struct kd_cookies {
    bool has_key;
    uint8_t number;          // of keys[0]
    struct kd_key32 keys[2]; // the one in use, and the one before
    uint64_t made_ms[2];     // 0: there is none
};

// What a cookie is good for.
struct kd_cookie_of {
    struct kd_bytes message;   // message_1
    struct kd_bytes address;   // the peer's, as the caller writes it; empty: not known
    struct kd_bytes principal; // the caller
};

void kd_cookies_wipe(struct kd_cookies *c);
// KD_ERR_SYSTEM and the like where there is no randomness or hash.
KD_MUST_CHECK enum kd_err kd_cookie_make(struct kd_cookies *c, const struct kd_cookie_of *of,
                                         uint64_t now_ms, uint8_t out[static KD_COOKIE_BYTES]);
bool kd_cookie_is_good(const struct kd_cookies *c, const struct kd_cookie_of *of, uint64_t now_ms,
                       struct kd_bytes cookie);

#endif
