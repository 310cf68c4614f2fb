// SPDX-License-Identifier: Apache-2.0
// record.h: the records of a session: COSE_Encrypt0 (RFC 9052 5.2), untagged,
//     [ << {1: 3} >>, {4: session id, 6: Partial IV}, ciphertext ]
// with AES-256-GCM.  The plaintext is a CBOR sequence: type, OTP step, OTP code,
// body.  Sequence numbers and replay are the caller's: see window.h.
#ifndef KD_CHANNEL_RECORD_H
#define KD_CHANNEL_RECORD_H

#include "channel/traffic.h"

#define KD_RECORD_BODY_MAX_BYTES 65536
#define KD_RECORD_MAX_BYTES (KD_RECORD_BODY_MAX_BYTES + 128)
#define KD_RECORD_AAD_MAX_BYTES 4096
#define KD_RECORD_ID_MAX_BYTES 16                        // session id, at least 1
#define KD_RECORD_SEQUENCE_MAX ((UINT64_C(1) << 40) - 1) // Partial IV of at most 5 bytes

enum kd_record_type {
    KD_RECORD_DATA = 0,
    KD_RECORD_EXPIRE = 1,     // body: a number, enum kd_record_expiry
    KD_RECORD_KEY_UPDATE = 2, // body: a number, which update it is
    KD_RECORD_CLOSE = 3,      // no body
    KD_RECORD_ERROR = 4,      // body: a number, the application's
};
#define KD_RECORD_TYPE_LAST KD_RECORD_ERROR

enum kd_record_expiry {
    KD_EXPIRED_LIFETIME = 1,
    KD_EXPIRED_RECORDS = 2,
    KD_EXPIRED_BYTES = 3,
};

// One end of a session.
struct kd_record_end {
    const struct kd_traffic_ops *ops;
    void *ctx;
    bool is_client;
    struct kd_bytes id; // of the session
    struct kd_record_ivs ivs;
    struct kd_otp_params otp;
};

struct kd_record {
    enum kd_record_type type;
    struct kd_bytes body; // a number of the table above is one CBOR unsigned integer
};

// What can be seen of a record from outside; borrowed.
struct kd_record_head {
    struct kd_bytes id;
    uint64_t sequence;
    struct kd_bytes ciphertext;
};

// Appends; the body is read from where it is, which must not be in `out`.  The sequence number must
// never have been used before with these keys; KD_ERR_SEQUENCE_END where it is over
// KD_RECORD_SEQUENCE_MAX.  `aad` is not sent and must be the same at the other end: the header of
// the message that carries the record, or nothing.
KD_MUST_CHECK enum kd_err kd_record_seal(const struct kd_record_end *end, uint64_t sequence,
                                         uint64_t now_ms, struct kd_bytes aad,
                                         const struct kd_record *record, struct kd_buf *out);

// Needs no key: finds session and sequence number.  KD_ERR_RECORD_FORM.
KD_MUST_CHECK enum kd_err kd_record_parse(struct kd_bytes record, struct kd_record_head *out);

// Replaces what is in `text` with the plaintext; `out` borrows from it.  After a
// failure `text` is empty.  KD_ERR_RECORD_SESSION for another session's record,
// KD_ERR_NOT_AUTHENTIC, KD_ERR_RECORD_FORM, KD_ERR_RECORD_OTP.
KD_MUST_CHECK enum kd_err kd_record_open(const struct kd_record_end *end,
                                         const struct kd_record_head *head, struct kd_bytes aad,
                                         uint64_t now_ms, struct kd_buf *text,
                                         struct kd_record *out);

// The number in a body.
void kd_record_put_number(struct kd_buf *body, uint64_t number);
KD_MUST_CHECK enum kd_err kd_record_get_number(const struct kd_record *record, uint64_t *out);

#endif
