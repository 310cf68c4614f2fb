/* SPDX-License-Identifier: Apache-2.0
 *
 * keyd_service.h: keyd's API for programs beside it (libkeyd-service): keys and what is done with
 * them, derived secrets, and the server's end of the secure channel.  docs/api.md says what each
 * call means; libkeyd-service(3) more about this.  A device's end is keyd.h.
 *
 * Threads: one service may be used by many at once; each call takes a connection of its own, and
 * some are kept for the next calls.
 * Memory: nothing is allocated for the caller.  What is passed in is borrowed during the call;
 * results go into the caller's memory, and are untouched after a failure where not said otherwise.
 * Errors: enum keyd_err of keyd.h; keyd_detail is the sentence, keyd_problem the type that a
 * program tells problems apart by.  After KEYD_ERR_TRANSPORT and KEYD_ERR_TIMEOUT nobody knows
 * whether it was done.  A connection that has ended meanwhile may have a call repeated in another.
 */
#ifndef KEYD_SERVICE_H
#define KEYD_SERVICE_H

#include "keyd.h"

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define KEYD_NAME_BYTES 65 /* of a key or a peer, with its NUL */
#define KEYD_ID_BYTES 33   /* of a secret, a handshake or a session, with its NUL */
#define KEYD_POINT_MAX 97
#define KEYD_SIGNATURE_MAX 96
#define KEYD_MAC_MAX 48
#define KEYD_IV_BYTES 12
#define KEYD_TAG_BYTES 16
#define KEYD_RANDOM_MAX 4096
#define KEYD_VALUE_MAX 255      /* a released value */
#define KEYD_HANDSHAKE_MAX 8000 /* a message of the handshake */
#define KEYD_RECORD_MORE 128    /* a record is at most so much longer than its body */
#define KEYD_TICKET_MAX 384
#define KEYD_BATCH_MAX 1024     /* items */
#define KEYD_DATA_MAX 3000000   /* bytes of all items of a call */
#define KEYD_RECORDS_MAX 900000 /* the same of records */

/* Borrowed; p may be NULL where n is 0. */
struct keyd_bytes {
    const void *p;
    size_t n;
};

/* The caller's; n is set. */
struct keyd_room {
    void *p;
    size_t max;
    size_t n;
};

/* ---- the service ---------------------------------------------------------------------------- */

struct keyd_service_config {
    const char *socket;  /* path of keyd's Unix socket; or NULL, and `url` */
    const char *url;     /* "https://HOST:PORT"; http only to this host itself */
    const char *ca_file; /* whom keyd's TLS certificate may come from, PEM; NULL: the system's */
    const char *certificate_file; /* the own certificate and its key, PEM; or NULL */
    const char *key_file;
    const char *token_file; /* a bearer token, its first line; others may not read it; or NULL.
                               Read for each new connection */
    unsigned timeout_ms;    /* of a call; 0: 30000 */
};

struct keyd_service;

/* Reads the files; asks nobody yet.  KEYD_ERR_FILE, KEYD_ERR_ARGUMENT: keyd_detail says which. */
enum keyd_err keyd_service_open(const struct keyd_service_config *config,
                                struct keyd_service **out);
/* When no call is under way. */
void keyd_service_close(struct keyd_service *service);

/* Of the last call in this thread: the last part of its problem's type ("key-usage"; docs/api.md),
 * "" where keyd refused nothing; the HTTP status, 0 where nobody answered; and the seconds after
 * which to try again, 0 where that was not said.  Until the next call. */
const char *keyd_problem(void);
unsigned keyd_problem_status(void);
unsigned keyd_problem_retry_s(void);

/* KEYD_OK: a worker is logged in at the token.  KEYD_ERR_BUSY: not now, keyd_problem says why. */
enum keyd_err keyd_ready(struct keyd_service *service);

struct keyd_state {
    char version[32];
    int is_ready;
    unsigned workers, workers_ready;
    uint64_t keys, secrets, sessions;
};
enum keyd_err keyd_state(struct keyd_service *service, struct keyd_state *out);

/* Bytes of the token's generator; up to KEYD_RANDOM_MAX. */
enum keyd_err keyd_random(struct keyd_service *service, void *out, size_t n);

/* ---- keys ----------------------------------------------------------------------------------- */

enum keyd_key_type {
    KEYD_AES_256,
    KEYD_HMAC_SHA256,
    KEYD_HMAC_SHA384,
    KEYD_EC_P256,
    KEYD_EC_P384,
};

/* Usages of a key; a sum. */
#define KEYD_MAY_SIGN 1u
#define KEYD_MAY_VERIFY 2u
#define KEYD_MAY_ENCRYPT 4u
#define KEYD_MAY_DECRYPT 8u
#define KEYD_MAY_DERIVE 16u

struct keyd_key {
    char name[KEYD_NAME_BYTES];
    enum keyd_key_type type;
    unsigned usages;
    unsigned version;              /* the primary, which makes new results; 0: none is enabled */
    uint8_t point[KEYD_POINT_MAX]; /* of it: an EC key's public key, uncompressed */
    size_t n_point;                /* 0: none */
};

/* *out may be NULL. */
enum keyd_err keyd_key_create(struct keyd_service *service, const char *name,
                              enum keyd_key_type type, unsigned usages, struct keyd_key *out);
enum keyd_err keyd_key_show(struct keyd_service *service, const char *name, struct keyd_key *out);
/* A new version, which is the primary then. */
enum keyd_err keyd_key_rotate(struct keyd_service *service, const char *name, struct keyd_key *out);
/* All versions, in the token too. */
enum keyd_err keyd_key_delete(struct keyd_service *service, const char *name);

/* What an operation is done with: a key by its name, or a secret by its id. */
struct keyd_with {
    const char *key; /* NULL: `secret` */
    const char *secret;
    unsigned version; /* of the key; 0: new results by the primary, others by any enabled one */
};

/* ---- operations ----------------------------------------------------------------------------- */

/* An item of a batch and what came of it. */
struct keyd_result {
    enum keyd_err err;
    char problem[32]; /* as keyd_problem */
    unsigned version; /* of the key that made it; 0: it was a secret */
    uint8_t bytes[KEYD_SIGNATURE_MAX];
    size_t n;
};

/* ECDSA, r then s; over SHA-256 with P-256, SHA-384 with P-384, or over `data` itself where
 * is_digest. */
enum keyd_err keyd_sign(struct keyd_service *service, const struct keyd_with *with,
                        struct keyd_bytes data, int is_digest, struct keyd_result *out);
/* KEYD_OK: it is good.  KEYD_ERR_REFUSED with keyd_problem "not-valid": it is not. */
enum keyd_err keyd_verify(struct keyd_service *service, const struct keyd_with *with,
                          struct keyd_bytes data, int is_digest, struct keyd_bytes signature);
enum keyd_err keyd_mac(struct keyd_service *service, const struct keyd_with *with,
                       struct keyd_bytes data, struct keyd_result *out);
/* As keyd_verify. */
enum keyd_err keyd_mac_verify(struct keyd_service *service, const struct keyd_with *with,
                              struct keyd_bytes data, struct keyd_bytes mac);

/* n data, n results, in one call: up to KEYD_BATCH_MAX, and KEYD_DATA_MAX bytes.  KEYD_OK: there
 * is a result for each, and its err may be any; else what they have is of no use. */
enum keyd_err keyd_sign_all(struct keyd_service *service, const struct keyd_with *with,
                            const struct keyd_bytes *data, size_t n, int is_digest,
                            struct keyd_result *out);
enum keyd_err keyd_mac_all(struct keyd_service *service, const struct keyd_with *with,
                           const struct keyd_bytes *data, size_t n, struct keyd_result *out);

/* AES-256-GCM.  keyd chooses the IV; out takes KEYD_TAG_BYTES more than the plaintext. */
enum keyd_err keyd_encrypt(struct keyd_service *service, const struct keyd_with *with,
                           struct keyd_bytes plaintext, struct keyd_bytes aad,
                           uint8_t iv[KEYD_IV_BYTES], struct keyd_room *out);
/* out takes KEYD_TAG_BYTES less than the ciphertext.  KEYD_ERR_REFUSED: it is not authentic. */
enum keyd_err keyd_decrypt(struct keyd_service *service, const struct keyd_with *with,
                           const uint8_t iv[KEYD_IV_BYTES], struct keyd_bytes ciphertext,
                           struct keyd_bytes aad, struct keyd_room *out);

/* ---- secrets -------------------------------------------------------------------------------- */

enum keyd_kdf {
    KEYD_KDF_NONE, /* of an ECDH only: the shared secret itself is the key */
    KEYD_KDF_AES_CBC_DATA,
    KEYD_KDF_HKDF_SHA256,
    KEYD_KDF_HKDF_SHA384,
};

struct keyd_derivation {
    struct keyd_bytes peer; /* ECDH with this point, uncompressed; none: derived from the key */
    enum keyd_kdf kdf;
    struct keyd_bytes salt, info;
    enum keyd_key_type type; /* of the secret: AES-256 or HMAC; not of a value */
    unsigned lifetime_s;     /* of the secret; 0: keyd's own */
};

struct keyd_secret {
    char id[KEYD_ID_BYTES];
    unsigned version;    /* of the key; 0: it was derived from a secret */
    int is_token_inside; /* no step was done outside of the token */
};

/* The result stays in the token until it expires or is deleted; only who made it can use it.  It
 * is gone when keyd is started again. */
enum keyd_err keyd_derive(struct keyd_service *service, const struct keyd_with *with,
                          const struct keyd_derivation *derivation, struct keyd_secret *out);
/* The result leaves the token, where the policy has `release`.  n bytes of it with HKDF (16 to
 * KEYD_VALUE_MAX), which `out` takes; else all that there are, and `out` takes 48. */
enum keyd_err keyd_derive_value(struct keyd_service *service, const struct keyd_with *with,
                                const struct keyd_derivation *derivation, size_t n,
                                struct keyd_room *out);
enum keyd_err keyd_secret_delete(struct keyd_service *service, const char *id);

/* ---- the secure channel, a server's end -------------------------------------------------------
 */

/* A handshake with a peer; zero at its beginning, but for `address`. */
struct keyd_handshake {
    char id[KEYD_ID_BYTES];
    char session[KEYD_ID_BYTES]; /* after the last message: the session that was made */
    const char *address; /* where the peer is, in any form; NULL: not said.  Needed with a cookie */
    struct keyd_bytes cookie; /* that the peer has brought back with message_1 */
};

/* A message of the peer, and the one for it (none: out->n is 0).  `out` takes KEYD_HANDSHAKE_MAX.
 * KEYD_ERR_REFUSED: the handshake is over, and `out` has the error message for the peer, if there
 * is one.  KEYD_ERR_BUSY with keyd_problem "handshake-retry": `out` has the cookie for the peer. */
enum keyd_err keyd_handshake(struct keyd_service *service, struct keyd_handshake *handshake,
                             struct keyd_bytes message, struct keyd_room *out);

/* Types of records (docs/protocol.md). */
#define KEYD_RECORD_DATA 0u
#define KEYD_RECORD_EXPIRE 1u
#define KEYD_RECORD_KEY_UPDATE 2u
#define KEYD_RECORD_CLOSE 3u
#define KEYD_RECORD_ERROR 4u

/* A record to seal: session, type, `in` (the body), aad and out.p, out.max are set.  One to open:
 * `in` (the record), aad and out.p, out.max; the others are found out.  Where it fails because
 * the session has expired ("session-expired"), `out` has the record to send to the peer. */
struct keyd_record {
    enum keyd_err err;
    char problem[32]; /* as keyd_problem */
    char session[KEYD_ID_BYTES];
    char peer[KEYD_NAME_BYTES];
    char relation[KEYD_NAME_BYTES]; /* what the peer's certificate binds it to; "": nothing */
    unsigned type;
    uint64_t sequence;
    struct keyd_bytes in;
    struct keyd_bytes aad;
    struct keyd_room out;
};

/* out takes KEYD_RECORD_MORE more than the body; and the body of a record is shorter than it. */
enum keyd_err keyd_record_seal(struct keyd_service *service, struct keyd_record *record);
enum keyd_err keyd_record_open(struct keyd_service *service, struct keyd_record *record);
/* n of them in one call, also of different sessions: up to KEYD_BATCH_MAX, and KEYD_RECORDS_MAX
 * bytes.  KEYD_OK: each has its err, which may be any; else what they have is of no use. */
enum keyd_err keyd_record_seal_all(struct keyd_service *service, struct keyd_record *records,
                                   size_t n);
enum keyd_err keyd_record_open_all(struct keyd_service *service, struct keyd_record *records,
                                   size_t n);

/* What the session goes on by at another keyd on the token; `out` takes KEYD_TICKET_MAX. */
enum keyd_err keyd_session_ticket(struct keyd_service *service, const char *session,
                                  struct keyd_room *out);
/* The peer is not told. */
enum keyd_err keyd_session_delete(struct keyd_service *service, const char *session);

struct keyd_envelope {
    uint8_t id[16];
    uint64_t time_s, expires_s;   /* since 1970, UTC */
    char sender[KEYD_NAME_BYTES]; /* what is said of it, which nothing proves */
};

/* What was sealed without a session; out takes as much as the envelope is long. */
enum keyd_err keyd_envelope_open(struct keyd_service *service, struct keyd_bytes envelope,
                                 struct keyd_envelope *about, struct keyd_room *out);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
