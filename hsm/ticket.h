// SPDX-License-Identifier: Apache-2.0
// ticket.h: what must be known to go on with a session at any node that has the
// ticket key: the terms and PRK_out, sealed with AES-256-GCM by that key, which
// never leaves the token.  IV (12 bytes) || ciphertext || tag; inside is
//     [2, id, profile, is client, peer, created, expires, records, bytes, update,
//      root version, hash, curve, point, PRK_out, ? [digits, step, window], ? stranger]
// (the last but one where the one-time passwords are not of the default form, or the last is there:
// of a peer that nobody had registered) in deterministic CBOR; the point is the ephemeral key of
// whoever has the client's role, whole: to find its y again took 40 us of the 1,000 of a restoring.
#ifndef KD_HSM_TICKET_H
#define KD_HSM_TICKET_H

#include "hsm/channel.h"
#include "hsm/session.h"

struct kd_ticket {
    struct kd_hsm_session_terms terms; // the peer's name is in `peer`
    uint8_t peer[KD_HSM_PEER_MAX_BYTES];
    enum kd_md md;
    struct kd_point client;
    struct kd_secret *prk_out; // owned; as long as the hash
};
void kd_ticket_wipe(struct kd_ticket *t);
KD_AUTO_DEFINE_IN_PLACE(ticket, struct kd_ticket, kd_ticket_wipe)

// Copies terms with their peer.
KD_MUST_CHECK enum kd_err kd_ticket_set_terms(struct kd_ticket *t,
                                              const struct kd_hsm_session_terms *terms);

// Appends to s->out.
KD_MUST_CHECK enum kd_err kd_ticket_seal(struct kd_session *s, const struct kd_key_ref *key,
                                         struct kd_ticket *t);
// KD_ERR_TICKET where this key did not seal exactly these bytes.
KD_MUST_CHECK enum kd_err kd_ticket_open(struct kd_session *s, const struct kd_key_ref *key,
                                         struct kd_bytes sealed, struct kd_ticket *out);

#endif
