// SPDX-License-Identifier: Apache-2.0
// edhoc_state.h: the inside of a handshake, shared by the files message1.c to
// message4.c, proof.c and transcript.c, and by tests that follow it step by
// step.  Not for outsiders.
#ifndef KD_CHANNEL_EDHOC_STATE_H
#define KD_CHANNEL_EDHOC_STATE_H

#include "channel/edhoc.h"
#include "channel/exporter.h"

// Labels of EDHOC_KDF (RFC 9528 table 7).
enum kd_edhoc_label {
    KD_LABEL_KEYSTREAM_2 = 0,
    KD_LABEL_SALT_3E2M = 1,
    KD_LABEL_MAC_2 = 2,
    KD_LABEL_K_3 = 3,
    KD_LABEL_IV_3 = 4,
    KD_LABEL_SALT_4E3M = 5,
    KD_LABEL_MAC_3 = 6,
    KD_LABEL_PRK_OUT = 7,
    KD_LABEL_K_4 = 8,
    KD_LABEL_IV_4 = 9,
    KD_LABEL_PRK_EXPORTER = 10,
    KD_LABEL_KEY_UPDATE = 11,
};

// The table of edhoc.c says which step leads from which state to which.
enum kd_edhoc_state {
    KD_STATE_START,
    KD_STATE_GOT_1,
    KD_STATE_WAIT_2,
    KD_STATE_GOT_2,
    KD_STATE_KNOWN_2, // message_2 is authentic
    KD_STATE_WAIT_3,
    KD_STATE_GOT_3,
    KD_STATE_KNOWN_3,
    KD_STATE_WAIT_4,
    KD_STATE_DONE,
    KD_STATE_FAILED,
};

enum kd_edhoc_step {
    KD_STEP_WRITE_1,
    KD_STEP_READ_1,
    KD_STEP_WRITE_2,
    KD_STEP_READ_2,
    KD_STEP_AUTH_2,
    KD_STEP_WRITE_3,
    KD_STEP_READ_3,
    KD_STEP_AUTH_3,
    KD_STEP_WRITE_4,
    KD_STEP_READ_4,
};

// Lives in a kd_secret.
struct kd_edhoc_secrets {
    uint8_t prk_2e[KD_HASH_MAX_BYTES];
    uint8_t prk_3e2m[KD_HASH_MAX_BYTES];
    uint8_t prk_4e3m[KD_HASH_MAX_BYTES];
    uint8_t salt[KD_HASH_MAX_BYTES];
    uint8_t key[KD_AEAD_KEY_MAX_BYTES];
    uint8_t iv[KD_AEAD_NONCE_MAX_BYTES];
};

struct kd_edhoc {
    struct kd_edhoc_config config;
    enum kd_edhoc_state state;
    enum kd_err failure;
    const char *detail;

    int method;
    const struct kd_suite *suite;
    const struct kd_identity *identity; // the one that this handshake uses
    struct kd_idcred own_id;            // of it
    uint64_t ephemeral;
    struct kd_point own_point;
    struct kd_point peer_point;
    uint8_t peer_conn_id[KD_EDHOC_CONN_ID_MAX_BYTES];
    size_t n_peer_conn_id;

    // Transcript: H(message_1), then TH_2, TH_3 and TH_4.
    uint8_t h_message_1[KD_HASH_MAX_BYTES];
    uint8_t th_2[KD_HASH_MAX_BYTES];
    uint8_t th_3[KD_HASH_MAX_BYTES];
    uint8_t th_4[KD_HASH_MAX_BYTES];

    // message_1, then the plaintext of 2 or 3; what follows points into it.
    struct kd_buf received;
    struct kd_buf received_4; // plaintext of message_4; `ead` points into it then
    struct kd_buf kid_map;    // ID_CRED of a kid that came compact
    struct kd_idcred peer_id;
    struct kd_bytes peer_proof; // Signature_or_MAC
    struct kd_bytes peer_ead;   // as it came: it goes into the MAC
    struct kd_ead ead;          // what is understood of it
    bool is_ead_known;          // and may be handed out

    struct kd_edhoc_error peer_error;
    bool has_peer_error;
    struct kd_secret *secrets; // struct kd_edhoc_secrets
    struct kd_secret *prk_out;
};

struct kd_edhoc_secrets *kd_edhoc_secrets(struct kd_edhoc *e);
size_t kd_edhoc_hash_bytes(const struct kd_edhoc *e);

// Begins a step: KD_ERR_HS_STATE, and nothing else, where it does not fit.
KD_MUST_CHECK enum kd_err kd_edhoc_begin(const struct kd_edhoc *e, enum kd_edhoc_step step);
// Ends it: moves on, or on a failure ends the handshake.  Returns `r`.
enum kd_err kd_edhoc_end(struct kd_edhoc *e, enum kd_edhoc_step step, enum kd_err r);
// The same for a writer; takes back what it has written since `start`.
enum kd_err kd_edhoc_end_write(struct kd_edhoc *e, enum kd_edhoc_step step, enum kd_err r,
                               struct kd_buf *out, size_t start);
// Notes why, for the log, and returns `r`.
enum kd_err kd_edhoc_because(struct kd_edhoc *e, enum kd_err r, const char *detail);
// Turns an error of the CBOR codec about a message into KD_ERR_HS_MESSAGE.
enum kd_err kd_edhoc_form(struct kd_edhoc *e, enum kd_err r);

// Destroys our ephemeral key, unless the configuration keeps it.
void kd_edhoc_drop_ephemeral(struct kd_edhoc *e);

// What we understand of the items of a message, 1 to 4: in the others all labels are strange.
const struct kd_ead_labels *kd_edhoc_labels(const struct kd_edhoc *e, unsigned message);

// True where the side uses static Diffie-Hellman.
bool kd_edhoc_is_static(const struct kd_edhoc *e, enum kd_edhoc_role side);
// Sets e->identity for method and suite; KD_ERR_CONFIG if there is none.
KD_MUST_CHECK enum kd_err kd_edhoc_choose_identity(struct kd_edhoc *e);

// ---- transcript.c ----------------------------------------------------------

// Which of the two proofs is made or checked: of the responder in message_2, of
// the initiator in message_3.
struct kd_edhoc_proof {
    enum kd_edhoc_role side;
    enum kd_edhoc_label mac_label;
    const uint8_t *prk;  // PRK_3e2m or PRK_4e3m
    const uint8_t *th;   // TH_2 or TH_3
    struct kd_bytes c_r; // message_2 only
    struct kd_bytes id_cred;
    struct kd_bytes cred;
    struct kd_bytes ead;
};

KD_MUST_CHECK enum kd_err kd_edhoc_th_2(struct kd_edhoc *e, const struct kd_point *g_y);
// TH_3 or TH_4: H(TH, PLAINTEXT, CRED).
KD_MUST_CHECK enum kd_err kd_edhoc_th_next(const struct kd_edhoc *e, const uint8_t *th,
                                           struct kd_bytes plaintext, struct kd_bytes cred,
                                           uint8_t *out);
// context_2 or context_3, and the message that is signed (RFC 9528 5.3.2, 5.4.2).
void kd_edhoc_put_context(const struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                          struct kd_buf *out);
void kd_edhoc_put_to_be_signed(const struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                               struct kd_bytes mac, struct kd_buf *out);

// ---- proof.c ---------------------------------------------------------------

// PRK_2e, from TH_2 and the ephemeral keys.
KD_MUST_CHECK enum kd_err kd_edhoc_derive_prk_2e(struct kd_edhoc *e);
// PRK_3e2m or PRK_4e3m: `from`, or with static Diffie-Hellman the secret of the
// side's long-term key and the other side's ephemeral key mixed in.  `peer_key`
// is NULL when the side is our own.
KD_MUST_CHECK enum kd_err kd_edhoc_derive_prk_3e2m(struct kd_edhoc *e,
                                                   const struct kd_point *peer_key);
KD_MUST_CHECK enum kd_err kd_edhoc_derive_prk_4e3m(struct kd_edhoc *e,
                                                   const struct kd_point *peer_key);
KD_MUST_CHECK enum kd_err kd_edhoc_derive_prk_out(struct kd_edhoc *e);

struct kd_edhoc_proof kd_edhoc_proof_2(struct kd_edhoc *e, struct kd_bytes c_r,
                                       struct kd_bytes id_cred, struct kd_bytes cred,
                                       struct kd_bytes ead);
struct kd_edhoc_proof kd_edhoc_proof_3(struct kd_edhoc *e, struct kd_bytes id_cred,
                                       struct kd_bytes cred, struct kd_bytes ead);
// Bytes of Signature_or_MAC of a side.
size_t kd_edhoc_proof_bytes(const struct kd_edhoc *e, enum kd_edhoc_role side);
// Signature_or_MAC with our own key; `out` has kd_edhoc_proof_bytes.
KD_MUST_CHECK enum kd_err kd_edhoc_prove(struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                                         uint8_t *out);
KD_MUST_CHECK enum kd_err kd_edhoc_check_proof(struct kd_edhoc *e, const struct kd_edhoc_proof *p,
                                               const struct kd_point *peer_key);

// CIPHERTEXT_2: in place, both ways.
KD_MUST_CHECK enum kd_err kd_edhoc_crypt_2(struct kd_edhoc *e, struct kd_bytes in, uint8_t *out);
// CIPHERTEXT_3 and _4, with the AEAD of the suite.
enum kd_edhoc_cipher {
    KD_CIPHER_3,
    KD_CIPHER_4,
};
KD_MUST_CHECK enum kd_err kd_edhoc_seal(struct kd_edhoc *e, enum kd_edhoc_cipher which,
                                        struct kd_bytes text, struct kd_buf *out);
// Replaces what is in `out`.
KD_MUST_CHECK enum kd_err kd_edhoc_open(struct kd_edhoc *e, enum kd_edhoc_cipher which,
                                        struct kd_bytes sealed, struct kd_buf *out);

// ---- messages --------------------------------------------------------------

// PLAINTEXT_2 behind C_R, and PLAINTEXT_3: ID_CRED, Signature_or_MAC, EAD.
void kd_edhoc_put_plaintext(struct kd_buf *out, const struct kd_idcred *id, struct kd_bytes proof,
                            struct kd_bytes ead);
KD_MUST_CHECK enum kd_err kd_edhoc_read_plaintext(struct kd_edhoc *e, struct kd_cbor *c,
                                                  enum kd_edhoc_role side);
// The one byte string that message_2, 3 and 4 are; an error message is
// KD_ERR_HS_PEER.
KD_MUST_CHECK enum kd_err kd_edhoc_unwrap(struct kd_edhoc *e, struct kd_bytes message,
                                          struct kd_bytes *out);
KD_MUST_CHECK enum kd_err kd_edhoc_auth_2(struct kd_edhoc *e, const struct kd_peer *peer);
KD_MUST_CHECK enum kd_err kd_edhoc_auth_3(struct kd_edhoc *e, const struct kd_peer *peer);

#endif
