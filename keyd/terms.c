// SPDX-License-Identifier: Apache-2.0
// terms.c: what a new session is, and what its client is told of it.
#include "keyd/channel_state.h"

#include <string.h>

void kd_channel_put_ead(struct kd_buf *out, const struct kd_hsm_session_terms *terms,
                        const struct kd_key_version *root) {
    const bool has_otp = !kd_otp_params_equal(&terms->otp, &KD_OTP_DEFAULT);
    kd_cbor_put_array(out, (root == NULL ? 4 : 6) + (has_otp ? 1 : 0));
    kd_cbor_put_uint(out, terms->created_ms);
    kd_cbor_put_bytes(out, (struct kd_bytes) { terms->id, sizeof(terms->id) });
    kd_cbor_put_uint(out, (terms->expires_ms - terms->created_ms) / 1000);
    kd_cbor_put_uint(out, terms->profile);
    if (root != NULL) {
        kd_cbor_put_uint(out, root->number);
        kd_cbor_put_bytes(out, root->ref.proof);
    }
    if (has_otp) {
        kd_otp_params_put(out, &terms->otp);
    }
}

// An id that no session has.
static enum kd_err choose_id(const struct kd_channel *c,
                             uint8_t id[static KD_HSM_SESSION_ID_BYTES]) {
    enum kd_err r;
    do {
        r = kd_host_random(id, KD_HSM_SESSION_ID_BYTES);
    } while (r == KD_OK &&
             kd_sessions_find(&c->sessions, (struct kd_bytes) { id, KD_HSM_SESSION_ID_BYTES }) !=
                 NULL);
    return r;
}

enum kd_err kd_channel_choose_terms(const struct kd_channel *c, const struct kd_peer_entry *peer,
                                    struct kd_hsm_session_terms *terms, uint32_t *ticket_version,
                                    const struct kd_key_version **root) {
    const struct kd_channel_config *config = c->config;
    const struct kd_key_version *ticket = NULL;
    *root = NULL;
    enum kd_err r = kd_channel_key(c, config->ticket, 0, &ticket);
    if (r == KD_OK && config->profile == KD_PROFILE_RESIDENT) {
        r = kd_channel_key(c, config->root, 0, root);
    }
    if (r != KD_OK) {
        return r;
    }
    *ticket_version = ticket->number;
    *terms = (struct kd_hsm_session_terms) {
        .profile = config->profile,
        .peer = kd_bytes_of_text(peer->info.name),
        .is_stranger = peer->is_passing,
        .created_ms = kd_clock_wall_ms(),
        .records_max = config->session_records_max,
        .bytes_max = config->session_bytes_max,
        .root_version = *root == NULL ? 0 : (*root)->number,
        .otp = { (uint8_t)config->otp_digits, (uint16_t)config->otp_step_sec,
                 (uint8_t)config->otp_window },
    };
    terms->expires_ms = terms->created_ms + (uint64_t)config->session_lifetime_sec * 1000;
    terms->expires_ms = peer->upto_ms < terms->expires_ms ? peer->upto_ms : terms->expires_ms;
    if (terms->expires_ms <= terms->created_ms) {
        return KD_ERR_HS_CREDENTIAL; // its certificate has ended since it was looked at
    }
    if (peer->is_passing) {
        memcpy(terms->stranger, peer->hash, sizeof(terms->stranger));
    }
    return choose_id(c, terms->id);
}

// RFC 9528 3.2: bit 0 is the responder's, set for static Diffie-Hellman; bit 1 the initiator's.
unsigned kd_channel_methods(const struct kd_channel *c, bool is_initiator, unsigned method) {
    unsigned set = 0;
    for (unsigned i = 0; i < c->config->methods.n; i++) {
        const unsigned m = c->config->methods.values[i];
        const bool is_static = (m & (is_initiator ? 2 : 1)) != 0;
        if (is_static == c->identity.is_static_dh && (!is_initiator || m == method)) {
            set |= 1u << m;
        }
    }
    return set;
}

struct kd_suites kd_channel_suites(const struct kd_channel *c) {
    struct kd_suites out = { 0 };
    const enum kd_curve curve =
        c->identity.key.type == KD_KEY_EC_P384 ? KD_CURVE_P384 : KD_CURVE_P256;
    for (unsigned i = 0; i < c->config->suites.n; i++) {
        const struct kd_suite *suite = kd_suite_get(c->config->suites.values[i]);
        if (suite != NULL && suite->curve == curve) {
            out.ids[out.n++] = suite->id;
        }
    }
    return out;
}

bool kd_suites_of_error(struct kd_bytes message, struct kd_suites *theirs) {
    struct kd_edhoc_error error;
    if (kd_edhoc_error_parse(message, &error) != KD_OK || error.code != KD_EDHOC_ERR_SUITE) {
        return false;
    }
    *theirs = error.suites;
    return true;
}

void kd_suites_print(const struct kd_suites *theirs, bool has_retried,
                     char out[static KD_DETAIL_BYTES]) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_DETAIL_BYTES - 1);
    kd_buf_text(&text, "The peer says that it has the cipher suites");
    for (size_t i = 0; i < theirs->n; i++) {
        kd_buf_printf(&text, "%s %d", i == 0 ? "" : ",", theirs->ids[i]);
    }
    kd_buf_text(&text, has_retried ? "; it was tried twice." : "; none of them is ours.");
    kd_detail_copy(out, kd_buf_get(&text));
}
