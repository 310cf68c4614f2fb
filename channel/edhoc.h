// SPDX-License-Identifier: Apache-2.0
// edhoc.h: one EDHOC handshake (RFC 9528), as initiator or as responder: bytes
// in, bytes out.  The transport and its timeouts are the caller's, as is the
// choice of who initiates: in the reverse flow (RFC 9528 A.2.2) the server does.
//
//     initiator                                responder
//     write_1                        ──►       read_1
//     read_2, authenticate           ◄──       write_2
//     write_3                        ──►       read_3, authenticate
//     read_4                         ◄──       write_4
//
// A step that does not fit the state is KD_ERR_HS_STATE and changes nothing: a
// message that comes twice or too early does no harm.  A step that begins and
// fails ends the handshake: its keys are destroyed, every later step is
// KD_ERR_HS_STATE, and kd_edhoc_write_error says to the peer what it may know.
#ifndef KD_CHANNEL_EDHOC_H
#define KD_CHANNEL_EDHOC_H

#include "channel/cred.h"
#include "channel/ead.h"
#include "channel/keyops.h"
#include "channel/suite.h"

#define KD_EDHOC_MESSAGE_MAX_BYTES 8000 // also of a plaintext: KEYSTREAM_2 ends at 255 * 32
#define KD_EDHOC_CRED_MAX_BYTES 8000
#define KD_EDHOC_CONN_ID_MAX_BYTES 16

enum kd_edhoc_role {
    KD_EDHOC_INITIATOR = 1,
    KD_EDHOC_RESPONDER,
};

// Methods 0..3 (RFC 9528 3.2): bit 0 set: the responder uses static
// Diffie-Hellman instead of a signature; bit 1: the initiator does.
#define KD_EDHOC_METHOD_MAX 3

// A credential of our own.  Its key signs, or does static Diffie-Hellman.
struct kd_identity {
    enum kd_curve curve;
    bool is_static_dh;
    uint64_t key;
    struct kd_bytes id_cred; // the map, encoded
    struct kd_bytes cred;    // the item, encoded
};

// What the caller found under the peer's ID_CRED and trusts.
struct kd_peer {
    struct kd_point key;
    struct kd_bytes cred;
};

// All that it points to lives longer than the handshake.
struct kd_edhoc_config {
    enum kd_edhoc_role role;
    struct kd_keys keys;
    const struct kd_identity *identities; // one for each curve and kind of key
    size_t n_identities;
    unsigned methods;                    // set of 1 << method; initiator: exactly one
    struct kd_suites suites;             // most preferred first
    const struct kd_suites *peer_suites; // initiator: from an earlier error, or NULL
    struct kd_bytes conn_id;             // C_I or C_R, our own
    struct kd_ead_labels ead_labels;     // that we understand
    unsigned ead_messages;               // in these messages: set of 1 << number
    bool keep_ephemeral;                 // until the end, for kd_edhoc_share
};

struct kd_edhoc;

// KD_ERR_CONFIG where the configuration cannot work, KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_edhoc_new(const struct kd_edhoc_config *config, struct kd_edhoc **out);
void kd_edhoc_free(struct kd_edhoc *e);
KD_AUTO_DEFINE(edhoc, struct kd_edhoc *, kd_edhoc_free)

// ---- steps -----------------------------------------------------------------

// EAD_1 of a message_1, for who must choose an identity before it is read.  It says nothing of
// the rest: kd_edhoc_read_1 judges that.  Borrowed.  KD_ERR_HS_MESSAGE, KD_ERR_HS_EAD.
KD_MUST_CHECK enum kd_err kd_edhoc_peek_ead_1(struct kd_bytes message,
                                              const struct kd_ead_labels *understood,
                                              struct kd_ead *out);

// Writers append to `out`, whose limit should be KD_EDHOC_MESSAGE_MAX_BYTES;
// ead may be NULL.  Readers keep what they need of the message.
KD_MUST_CHECK enum kd_err kd_edhoc_write_1(struct kd_edhoc *e, const struct kd_ead *ead,
                                           struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_edhoc_read_1(struct kd_edhoc *e, struct kd_bytes message);
KD_MUST_CHECK enum kd_err kd_edhoc_write_2(struct kd_edhoc *e, const struct kd_ead *ead,
                                           struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_edhoc_read_2(struct kd_edhoc *e, struct kd_bytes message);
KD_MUST_CHECK enum kd_err kd_edhoc_write_3(struct kd_edhoc *e, const struct kd_ead *ead,
                                           struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_edhoc_read_3(struct kd_edhoc *e, struct kd_bytes message);
KD_MUST_CHECK enum kd_err kd_edhoc_write_4(struct kd_edhoc *e, const struct kd_ead *ead,
                                           struct kd_buf *out);
KD_MUST_CHECK enum kd_err kd_edhoc_read_4(struct kd_edhoc *e, struct kd_bytes message);

// After read_2 and read_3: find the credential for kd_edhoc_peer_id, then prove
// that the peer has its key.  kd_edhoc_refuse ends the handshake instead.
KD_MUST_CHECK enum kd_err kd_edhoc_authenticate(struct kd_edhoc *e, const struct kd_peer *peer);
void kd_edhoc_refuse(struct kd_edhoc *e);

// The same with a function that finds the credential: what it returns but KD_OK
// ends the handshake.  `peer` needs to live until it returns.
typedef enum kd_err kd_edhoc_resolve_fn(void *arg, const struct kd_idcred *id,
                                        struct kd_peer *peer);
KD_MUST_CHECK enum kd_err kd_edhoc_authenticate_by(struct kd_edhoc *e, kd_edhoc_resolve_fn *resolve,
                                                   void *arg);

// ---- what is known ---------------------------------------------------------

// Borrowed until the next step.  Who the peer says it is (after read_2, read_3).
const struct kd_idcred *kd_edhoc_peer_id(const struct kd_edhoc *e);
// What came with the last message.  Of message_1 it is not authenticated; of
// the others it is handed out (n is 0 before) when they are.
const struct kd_ead *kd_edhoc_ead(const struct kd_edhoc *e);
struct kd_bytes kd_edhoc_peer_conn_id(const struct kd_edhoc *e);
const struct kd_suite *kd_edhoc_suite(const struct kd_edhoc *e); // NULL before it is agreed
int kd_edhoc_method(const struct kd_edhoc *e);                   // the peer's, after read_1
const struct kd_point *kd_edhoc_peer_ephemeral(const struct kd_edhoc *e);
const struct kd_point *kd_edhoc_own_ephemeral(const struct kd_edhoc *e);
bool kd_edhoc_is_done(const struct kd_edhoc *e); // message_4 written or read
// A sentence for the log about the last failure; never for the peer.
const char *kd_edhoc_detail(const struct kd_edhoc *e);

// ---- keys ------------------------------------------------------------------

// All of these: when the peer has been authenticated by message_3 (responder) or
// confirmed by message_4 (initiator); before that KD_ERR_HS_STATE.
KD_MUST_CHECK enum kd_err kd_edhoc_export(struct kd_edhoc *e, int label, struct kd_bytes context,
                                          struct kd_secret *out);
KD_MUST_CHECK enum kd_err kd_edhoc_key_update(struct kd_edhoc *e, struct kd_bytes context);
// Moves PRK_out out, for exporter.h.
KD_MUST_CHECK enum kd_err kd_edhoc_take_prk_out(struct kd_edhoc *e, struct kd_secret **out);
// ECDH of our ephemeral key, if kept, with another point on its curve; the
// caller destroys the handle.
KD_MUST_CHECK enum kd_err kd_edhoc_share(struct kd_edhoc *e, const struct kd_point *point,
                                         uint64_t *secret);

// ---- errors (RFC 9528 6) ---------------------------------------------------

#define KD_EDHOC_ERR_UNSPECIFIED 1
#define KD_EDHOC_ERR_SUITE 2

struct kd_edhoc_error {
    int64_t code;
    struct kd_suites suites; // with KD_EDHOC_ERR_SUITE: what the responder supports
};

// What to tell the peer after a failure: with a wrong suite the ones we
// support, else one sentence that is always the same.  KD_ERR_HS_STATE if
// there was none.
KD_MUST_CHECK enum kd_err kd_edhoc_write_error(struct kd_edhoc *e, struct kd_buf *out);
// Readers of messages 2 to 4 recognise an error message: they end the
// handshake with KD_ERR_HS_PEER, and this is what it said (NULL: nothing came).
// Nobody signs error messages: it is a hint.
const struct kd_edhoc_error *kd_edhoc_peer_error(const struct kd_edhoc *e);
KD_MUST_CHECK enum kd_err kd_edhoc_error_parse(struct kd_bytes message, struct kd_edhoc_error *out);

#endif
