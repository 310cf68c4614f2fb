// SPDX-License-Identifier: Apache-2.0
// hsm.h: what the front process knows of the token: the messages that it
// exchanges with a worker (keyd-hsm).  One API call is one request; a request
// says everything that is needed to serve it, so any worker, also one that has
// just been started, can take it.  No secret ever travels in these messages
// but those that policy releases to the caller (KD_HSM_RELEASE) and the data
// that a caller has encrypted or decrypted.
//
// On the stream (a socketpair) each message is a frame: u32 length of what
// follows, then the message.  wire.c encodes and decodes; nothing here does I/O.
#ifndef KD_HSM_HSM_H
#define KD_HSM_HSM_H

#include "base/base.h"

// ---- limits ----------------------------------------------------------------

#define KD_HSM_FRAME_MAX_BYTES (4u << 20)
#define KD_HSM_BATCH_MAX_ITEMS 1024
#define KD_HSM_KEYS_MAX 16         // versions tried by one verify or decrypt
#define KD_HSM_STEPS_MAX 4         // derivation steps behind a secret
#define KD_HSM_ID_MAX_BYTES 250    // CKA_ID that we use or adopt (kmsp11: a resource name)
#define KD_HSM_LABEL_MAX_BYTES 128 // CKA_LABEL that we use or adopt
#define KD_HSM_INFO_MAX_BYTES 1024 // HKDF salt and info, each
#define KD_HSM_RANDOM_MAX_BYTES 4096
#define KD_HSM_POINT_MAX_BYTES 97 // uncompressed P-384
#define KD_HSM_SECRET_ID_BYTES 16
#define KD_HSM_GCM_IV_BYTES 12
#define KD_HSM_GCM_TAG_BYTES 16
#define KD_HSM_CHECK_BYTES 8 // check value of a secret key

// ---- keys ------------------------------------------------------------------

enum kd_key_type {
    KD_KEY_EC_P256 = 1,
    KD_KEY_EC_P384,
    KD_KEY_HMAC_SHA256, // 32 bytes, CKK_GENERIC_SECRET
    KD_KEY_HMAC_SHA384, // 48 bytes, CKK_GENERIC_SECRET
    KD_KEY_AES_256,
};
#define KD_KEY_TYPE_LAST KD_KEY_AES_256

// The usages are PKCS#11's: CKA_SIGN and so on.
enum kd_key_usage {
    KD_USE_SIGN = 1,
    KD_USE_VERIFY = 2,
    KD_USE_ENCRYPT = 4,
    KD_USE_DECRYPT = 8,
    KD_USE_DERIVE = 16,
};
#define KD_USE_ALL 31u

bool kd_key_type_is_ec(enum kd_key_type type);
const char *kd_key_type_name(enum kd_key_type type); // "ec-p256", ...
KD_MUST_CHECK bool kd_key_type_parse(const char *name, enum kd_key_type *out);
const char *kd_key_usage_name(enum kd_key_usage usage); // "sign", ...
KD_MUST_CHECK bool kd_key_usage_parse(const char *name, enum kd_key_usage *out);
// Usages that a new key of this type may have; EC: exactly one of sign, derive.
bool kd_key_usages_fit(enum kd_key_type type, unsigned usages);
size_t kd_key_type_point_bytes(enum kd_key_type type); // 65, 97; 0 if not EC

// One key object in the token.  Handles are the worker's own affair: it finds
// the object by id and label once in each generation of sessions, and before
// the first use compares it with `proof`.
struct kd_key_ref {
    enum kd_key_type type;
    struct kd_bytes id;    // CKA_ID, 1..KD_HSM_ID_MAX_BYTES
    struct kd_bytes label; // CKA_LABEL, 0..KD_HSM_LABEL_MAX_BYTES (0: not compared)
    struct kd_bytes proof; // EC: the public point, uncompressed; others: the
                           // check value, KD_HSM_CHECK_BYTES or none
};

// ---- secrets that are derived ----------------------------------------------

// A secret is remembered as the way to it, which is all public: a key in the
// token, the peer's public key, and the derivations.  A worker keeps the result
// as a session object (sensitive, not extractable) among its most recently
// used ones, and makes it again when it is asked for one that it does not have.
enum kd_kdf {
    KD_KDF_AES_CBC_DATA = 1, // CKM_AES_CBC_ENCRYPT_DATA, IV 0, data = info, 32 bytes
    KD_KDF_HKDF_SHA256,      // RFC 5869
    KD_KDF_HKDF_SHA384,
};
#define KD_KDF_LAST KD_KDF_HKDF_SHA384

const char *kd_kdf_name(enum kd_kdf kdf); // "aes-cbc-data", "hkdf-sha256", ...
KD_MUST_CHECK bool kd_kdf_parse(const char *name, enum kd_kdf *out);

struct kd_derive_step {
    enum kd_kdf kdf;
    struct kd_bytes salt; // HKDF only, may be empty
    struct kd_bytes info; // KD_KDF_AES_CBC_DATA: exactly 32 bytes
    uint16_t out_len;     // bytes: 32 for aes-cbc-data; HKDF 16..64 (a released
                          // result may be up to 255 for the last step)
};

struct kd_recipe {
    uint8_t id[KD_HSM_SECRET_ID_BYTES]; // random; names the result in a worker's cache
    struct kd_key_ref base;             // EC with KD_USE_DERIVE, or AES/HMAC
    struct kd_bytes peer;               // EC: the peer's point, uncompressed; else empty
    uint8_t n_steps;
    struct kd_derive_step steps[KD_HSM_STEPS_MAX];
    enum kd_key_type type; // of the result: AES-256 or HMAC; says what it can do
};

// ---- requests --------------------------------------------------------------

enum kd_hsm_op {
    KD_HSM_HELLO = 1, // first message each way, see below
    KD_HSM_PING,
    // management; never repeated by itself after a worker died
    KD_HSM_GENERATE,
    KD_HSM_FIND,
    KD_HSM_DESTROY,
    KD_HSM_FORGET,
    // operations; safe to repeat
    KD_HSM_SIGN,
    KD_HSM_VERIFY,
    KD_HSM_MAC,
    KD_HSM_MAC_VERIFY,
    KD_HSM_ENCRYPT,
    KD_HSM_DECRYPT,
    KD_HSM_DERIVE,
    KD_HSM_RELEASE,
    KD_HSM_RANDOM,
    // the secure channel (hsm/channel.h); HS_... and RECORD_SEAL are not repeated
    KD_HSM_HS_START,
    KD_HSM_HS_READ,
    KD_HSM_HS_FINISH,
    KD_HSM_HS_CONFIRM,
    KD_HSM_HS_DROP,
    KD_HSM_RECORD_SEAL,
    KD_HSM_RECORD_OPEN,
    KD_HSM_TICKET_READ,
    KD_HSM_TICKET_UPDATE,
    KD_HSM_ENVELOPE_OPEN,
    KD_HSM_SESSION_RELEASE,
    KD_HSM_REWRAP, // an operation as those above
};
#define KD_HSM_OP_LAST KD_HSM_REWRAP

const char *kd_hsm_op_name(enum kd_hsm_op op);
bool kd_hsm_op_is_repeatable(enum kd_hsm_op op);
// Its results: who has read them wipes them.  Of REWRAP what the worker had in hand.
bool kd_hsm_op_is_secret(enum kd_hsm_op op);

enum kd_hash {
    KD_HASH_NONE = 0, // the data is the digest already (sign and verify only)
    KD_HASH_SHA256,
    KD_HASH_SHA384,
};

// Head of every request but HELLO.  The subject is either keys or a recipe.
// Items follow the head, n_items times, written by kd_hsm_put_item.
struct kd_hsm_request {
    enum kd_hsm_op op;
    uint32_t id; // chosen by the front, comes back in the reply
    enum kd_hash hash;
    uint8_t n_keys; // 1; verify, mac-verify, decrypt, rewrap: up to KD_HSM_KEYS_MAX, tried in order
    struct kd_key_ref keys[KD_HSM_KEYS_MAX];
    bool has_recipe; // the subject is a derived secret (mac, mac-verify, encrypt, decrypt)
    struct kd_recipe recipe;
    uint16_t n_items;
};

struct kd_hsm_handshake; // channel.h
struct kd_hsm_session;
struct kd_hsm_session_terms;

// What one item says, by operation; fields not named are empty.
//   SIGN        data                     -> out: r || s (RFC 7518 3.4 form)
//   VERIFY      data, tag: signature     -> ok, which: index of the key
//   MAC         data                     -> out: the tag
//   MAC_VERIFY  data, tag                -> ok, which
//   ENCRYPT     data, aad                -> iv, out: ciphertext || tag
//   DECRYPT     data, aad, iv            -> out: plaintext, which
//   REWRAP      data, aad, iv, key       -> iv, out: DECRYPT's, by ENCRYPT with `key`; which
//   DERIVE      recipe                   -> (nothing; the secret is in the token)
//   RELEASE     recipe                   -> out: the bytes
//   RANDOM      n: how many              -> out
//   GENERATE    key (type, id, label), usages -> object
//   FIND        data: a PKCS#11 URI of keys (RFC 7512; may match several), n: not 0 where a single
//               one is to be held against its public half -> objects
//   DESTROY     key                      -> (also where it is already gone: KD_ERR_NO_OBJECT)
//   FORGET      data: id of a secret or (cache) of a session's keys ->
// GENERATE, FIND and DESTROY have exactly one item.
struct kd_hsm_item {
    struct kd_bytes data;
    struct kd_bytes aad;
    struct kd_bytes iv;
    struct kd_bytes tag;
    uint16_t n;
    unsigned usages;
    struct kd_key_ref key;
    struct kd_recipe recipe;
    // channel.h; room given by the caller of get_item (handshake->terms, too)
    struct kd_hsm_handshake *handshake; // HS_...
    struct kd_hsm_session *session;     // RECORD_..., TICKET_UPDATE, SESSION_RELEASE
    struct kd_hsm_session_terms *terms; // TICKET_UPDATE
    uint8_t record_type;
    uint64_t sequence;
};

// A key object as it is in the token (GENERATE, FIND).
struct kd_hsm_object {
    struct kd_key_ref ref; // proof filled in where the token lets us
    bool has_type;         // false: a key of a kind keyd does not use
    unsigned usages;
    bool is_private; // CKO_PRIVATE_KEY or CKO_SECRET_KEY (else CKO_PUBLIC_KEY)
    bool is_sensitive;
    bool is_extractable;
    bool is_local; // CKA_LOCAL: made in the token
};

// ---- replies ---------------------------------------------------------------

// Head of every reply.  If err is not KD_OK no items follow and `detail` may
// say more (for the log and the caller: it names no secret).
struct kd_hsm_reply {
    uint32_t id;
    enum kd_err err;
    struct kd_bytes detail; // text, at most 255 bytes
    uint32_t token_us;      // time spent in the module for this request
    uint16_t n_items;       // as many as the request had; FIND: objects found
};

struct kd_hsm_result {
    enum kd_err err; // of this item alone; the others stand
    bool ok;
    uint8_t which;
    struct kd_bytes iv;
    struct kd_bytes out;
    struct kd_hsm_object object; // GENERATE, FIND
    // channel.h
    struct kd_bytes ticket;             // HS_FINISH (responder), HS_CONFIRM
    struct kd_bytes conn_id;            // HS_START (responder), HS_READ: the peer's
    struct kd_bytes id_cred;            // HS_READ
    uint8_t suite;                      // HS_START, HS_READ: agreed
    uint8_t method;                     // the same
    struct kd_hsm_session_terms *terms; // TICKET_READ: room given by the caller of get_result
};

// ---- hello -----------------------------------------------------------------

// What a worker is to do, sent once by the front.  Holds no PIN: the worker
// reads the file itself.
#define KD_HSM_ENV_MAX 16
#define KD_HSM_PIN_RECORD_MAX_BYTES 64

struct kd_hsm_hello {
    struct kd_bytes module;    // path of the module; empty: the modules p11-kit has configured
    struct kd_bytes init_args; // pReserved of C_Initialize (NSS); may be empty
    struct kd_bytes token_uri; // RFC 7512, names the token
    struct kd_bytes pin_file;  // absolute path
    uint8_t n_env;
    struct kd_bytes env[KD_HSM_ENV_MAX]; // "NAME=value", set before the module is loaded
    uint16_t threads;                    // T, each with a session of its own
    uint32_t cached_secrets;             // session objects kept for derived secrets
    bool may_extract;                    // HKDF by an extractable secret if nothing better works
    struct kd_bytes refused_pin;         // the record of a PIN that was refused, or empty
};

enum kd_hsm_hkdf {
    KD_HSM_HKDF_NONE,    // not possible on this token with this configuration
    KD_HSM_HKDF_NATIVE,  // CKM_HKDF_DERIVE: the result never leaves the token
    KD_HSM_HKDF_DIGEST,  // C_DigestKey: the input never leaves, PRK and result pass
                         // through the worker's locked memory
    KD_HSM_HKDF_EXTRACT, // the input is read into the worker's locked memory
};
const char *kd_hsm_hkdf_name(enum kd_hsm_hkdf h); // "native", "digest-key", ...

// What the known-answer probe found of one ability of the token.
enum kd_hsm_ability {
    KD_HSM_CAN_EC_P256, // generate, in the token
    KD_HSM_CAN_EC_P384,
    KD_HSM_CAN_ECDSA,
    KD_HSM_CAN_ECDH,
    KD_HSM_CAN_HMAC_SHA256,
    KD_HSM_CAN_HMAC_SHA384,
    KD_HSM_CAN_AES_GCM,
    KD_HSM_CAN_AES_CBC_DATA,
    KD_HSM_CAN_HKDF,
    KD_HSM_CAN_RANDOM,
    // Of the channel, by what was found of those above.
    KD_HSM_CAN_HANDSHAKE, // session key pairs, ECDH, and HKDF-Extract of its result
    KD_HSM_CAN_RESIDENT,  // records whose keys stay in the token
};
#define KD_HSM_ABILITIES (KD_HSM_CAN_RESIDENT + 1)
const char *kd_hsm_ability_name(enum kd_hsm_ability a);

enum kd_hsm_probe {
    KD_HSM_PROBE_MISSING,  // the module does not offer it
    KD_HSM_PROBE_VERIFIED, // tried with a known answer, right
    KD_HSM_PROBE_UNTRIED,  // offered, but the token lets us try nothing
    KD_HSM_PROBE_REFUSED,  // offered, and what keyd asks for ends with an error
    KD_HSM_PROBE_WRONG,    // offered, and the answer was wrong
};
const char *kd_hsm_probe_name(enum kd_hsm_probe p);

// The worker's answer to HELLO, and to PING.  After an answer with an error
// the worker ends by itself.  It also comes unasked, with id 0 and
// KD_ERR_SESSION_LOST, as the last word of a worker whose login the token has ended.
struct kd_hsm_status {
    enum kd_err err;             // KD_OK: ready
    struct kd_bytes detail;      // for the operator: what was found, what to try
    struct kd_bytes refused_pin; // with KD_ERR_PIN_REFUSED: the record to give to later workers
    struct kd_bytes module;      // description, with the library's version
    struct kd_bytes token_label;
    struct kd_bytes token_manufacturer;
    struct kd_bytes token_model;
    struct kd_bytes token_serial;
    struct kd_bytes token_uri; // that names it best
    uint32_t sessions_max;     // 0: the token sets no limit
    uint16_t threads;          // in use: at most what was asked for
    uint32_t secrets_cached;   // now
    enum kd_hsm_hkdf hkdf;
    enum kd_hsm_probe probe[KD_HSM_ABILITIES];
};

// ---- wire.c ----------------------------------------------------------------

// Encoders append to out and report through kd_buf_finish.  Decoders borrow
// from the reader's bytes, accept nothing that the encoders would not write,
// and give KD_ERR_MALFORMED (KD_ERR_TOO_MANY for more than KD_HSM_BATCH_MAX_ITEMS).

// Starts a frame and returns where; kd_hsm_frame_end writes its length.
size_t kd_hsm_frame_begin(struct kd_buf *out);
void kd_hsm_frame_end(struct kd_buf *out, size_t start);

// The next whole frame of a stream: KD_OK and *frame (borrowed, *taken bytes
// of the input are done with) or KD_OK and an empty frame with *taken 0 when
// more input is needed; KD_ERR_TOO_MANY for a length over the limit.
KD_MUST_CHECK enum kd_err kd_hsm_frame_next(struct kd_bytes input, struct kd_bytes *frame,
                                            size_t *taken);

void kd_hsm_put_request(struct kd_buf *out, const struct kd_hsm_request *q);
void kd_hsm_put_item(struct kd_buf *out, enum kd_hsm_op op, const struct kd_hsm_item *item);
KD_MUST_CHECK enum kd_err kd_hsm_get_request(struct kd_reader *in, struct kd_hsm_request *q);
KD_MUST_CHECK enum kd_err kd_hsm_get_item(struct kd_reader *in, enum kd_hsm_op op,
                                          struct kd_hsm_item *item);

void kd_hsm_put_reply(struct kd_buf *out, const struct kd_hsm_reply *a);
void kd_hsm_put_result(struct kd_buf *out, enum kd_hsm_op op, const struct kd_hsm_result *item);
KD_MUST_CHECK enum kd_err kd_hsm_get_reply(struct kd_reader *in, struct kd_hsm_reply *a);
KD_MUST_CHECK enum kd_err kd_hsm_get_result(struct kd_reader *in, enum kd_hsm_op op,
                                            struct kd_hsm_result *item);

void kd_hsm_put_hello(struct kd_buf *out, const struct kd_hsm_hello *h);
KD_MUST_CHECK enum kd_err kd_hsm_get_hello(struct kd_reader *in, struct kd_hsm_hello *h);
// Status messages: the answer to HELLO (id 0) and to PING (its id).  Replies and
// status messages both start with the u32 id; the front knows from it which
// of the two it is about to read.
void kd_hsm_put_status(struct kd_buf *out, uint32_t id, const struct kd_hsm_status *s);
KD_MUST_CHECK enum kd_err kd_hsm_get_status(struct kd_reader *in, uint32_t *id,
                                            struct kd_hsm_status *s);

#endif
