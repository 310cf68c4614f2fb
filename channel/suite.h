// SPDX-License-Identifier: Apache-2.0
// suite.h: the EDHOC cipher suites that are supported (RFC 9528 10.2), and the
// choice between them (section 6.3).
#ifndef KD_CHANNEL_SUITE_H
#define KD_CHANNEL_SUITE_H

#include "channel/host.h"

#define KD_SUITES_MAX 8 // in a list that is sent or read

struct kd_suite {
    int id;
    enum kd_aead aead;
    enum kd_md md;    // of the handshake, and of the signature
    size_t mac_bytes; // MAC of a side that uses static Diffie-Hellman
    enum kd_curve curve;
};

struct kd_suites {
    size_t n;
    int ids[KD_SUITES_MAX];
};

const struct kd_suite *kd_suite_get(int id); // NULL if not supported
bool kd_suites_has(const struct kd_suites *list, int id);

// SUITES_I and SUITES_R: one integer, or an array of two or more.  Reading
// fails where the form is another or the list is longer than KD_SUITES_MAX.
void kd_suites_put(struct kd_buf *out, const struct kd_suites *list);
void kd_suites_read(struct kd_cbor *c, struct kd_suites *out);

// The initiator's list: its own suites, most preferred first, up to the one it
// selects: the first that the responder is known to support (NULL: not known
// yet).  KD_ERR_HS_SUITE if there is none.
KD_MUST_CHECK enum kd_err kd_suites_offer(const struct kd_suites *own,
                                          const struct kd_suites *responder, struct kd_suites *out);

// The responder's view of an offer: the last one is selected.  KD_ERR_HS_SUITE
// if it is not supported, or an earlier one is (RFC 9528 5.2.3).
KD_MUST_CHECK enum kd_err kd_suites_accept(const struct kd_suites *own,
                                           const struct kd_suites *offer,
                                           const struct kd_suite **out);

#endif
