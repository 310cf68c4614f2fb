// SPDX-License-Identifier: Apache-2.0
// device_session.h: a device's session: made by a handshake, renewed, resumed, and the
// records in it.  Bytes in, bytes out; device.c carries them.
#ifndef KD_CLIENT_DEVICE_SESSION_H
#define KD_CLIENT_DEVICE_SESSION_H

#include "client/device_credentials.h"

// The server's clock.  It goes by one of ours that nobody sets, also while the machine sleeps.
struct kd_device_clock {
    bool is_known;    // by a handshake
    int64_t ahead_ms; // of kd_clock_boot_ms
};

// The server's time, or ours where that is not known: since 1970-01-01 UTC.
uint64_t kd_device_clock_ms(const struct kd_device_clock *c);

struct kd_device_session {
    unsigned holds, in_flight; // device_ask.c's
    bool is_open;
    bool is_doubtful;       // the server may have other keys: the next question makes another first
    struct kd_edhoc *edhoc; // under way
    struct kd_secret *prk_out;
    enum kd_md md;
    bool is_resident;
    struct kd_key32 share;
    uint8_t id[KD_RECORD_ID_MAX_BYTES];
    size_t n_id;
    uint8_t nonces[2][KD_SESSION_NONCE_MAX_BYTES]; // of the attachment: ours, the node's
    size_t n_nonces[2];
    uint64_t update;
    struct kd_device_clock clock;
    struct kd_kept_traffic traffic;
    struct kd_record_ivs ivs;
    struct kd_otp_params otp;
    struct kd_window window; // of the server's records
    uint64_t sequence;       // our next
    struct kd_buf ticket;
};

// NULL without memory; held once.  The clock is that of the session before.
struct kd_device_session *kd_device_session_new(const struct kd_device_clock *clock);
void kd_device_session_free(struct kd_device_session *s);
// What a resumption begins with: all but the attachment and its keys.  Into a new one.
KD_MUST_CHECK enum kd_err kd_device_session_copy(const struct kd_device_session *from,
                                                 struct kd_device_session *to);

// The handshake: message_1; then, with message_2, message_3 with the gateway's
// connection identifier before it; then message_4.  Errors are those of edhoc.h.  message_1 may be
// written once more, before an answer.
KD_MUST_CHECK enum kd_err kd_device_write_1(struct kd_device_session *s,
                                            const struct kd_device_credentials *c,
                                            struct kd_bytes padding, struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_device_read_2(struct kd_device_session *s,
                                           const struct kd_device_credentials *c,
                                           struct kd_bytes message, struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_device_read_4(struct kd_device_session *s, struct kd_bytes message);

// Records, bound to the five bytes of their frame's head.
KD_MUST_CHECK enum kd_err kd_device_seal(struct kd_device_session *s, enum kd_record_type type,
                                         struct kd_bytes body, struct kd_bytes aad,
                                         struct kd_buf *out);
// `record` borrows from text.
KD_MUST_CHECK enum kd_err kd_device_open(struct kd_device_session *s, struct kd_bytes sealed,
                                         struct kd_bytes aad, struct kd_buf *text,
                                         struct kd_record *record);

// The server's key-update record: the keys are the next ones.
KD_MUST_CHECK enum kd_err kd_device_take_update(struct kd_device_session *s,
                                                struct kd_bytes record);
// [session id, node nonce, record], after a frame with our ticket and nonce.
KD_MUST_CHECK enum kd_err kd_device_take_resumed(struct kd_device_session *s, struct kd_bytes nonce,
                                                 struct kd_bytes answer);

#endif
