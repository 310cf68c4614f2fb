// SPDX-License-Identifier: Apache-2.0
// limits.c: what a session has used of its records and bytes.  What is sealed for a resume that no
// client has followed counts for that resume, until one follows: tickets are seen on the network,
// and who has seen one uses up nothing of the session.
#include "keyd/sessions.h"

static bool is_apart(const struct kd_session_entry *e, const struct kd_session_use *u) {
    return u != NULL && u == e->next;
}

enum kd_record_expiry kd_session_over(const struct kd_session_entry *e,
                                      const struct kd_session_use *u, size_t more) {
    const struct kd_hsm_session_terms *t = &e->terms;
    const uint64_t bytes = e->bytes + (is_apart(e, u) ? u->bytes : 0);
    if (kd_clock_wall_ms() >= t->expires_ms) {
        return KD_EXPIRED_LIFETIME;
    }
    if (e->sent + e->received + (is_apart(e, u) ? u->sent : 0) >= t->records_max) {
        return KD_EXPIRED_RECORDS;
    }
    return bytes >= t->bytes_max || more > t->bytes_max - bytes ? KD_EXPIRED_BYTES : 0;
}

void kd_session_count_sent(struct kd_session_entry *e, struct kd_session_use *u, size_t n) {
    if (is_apart(e, u)) {
        u->sent++;
        u->bytes += n;
    } else {
        e->sent++;
        e->bytes += n;
    }
}
