/* SPDX-License-Identifier: Apache-2.0
 *
 * keyd_service.h: keyd's API for programs beside it (libkeyd-service): keys and what is done with
 * them, derived secrets, the server's end of the secure channel, its peers, and the devices that
 * may enrol.  docs/api.md and docs/channel.md say what each call means; libkeyd-service(3) more
 * about this, and which operations have no call here.  A device's end is keyd.h.
 *
 * Threads: one service may be used by many at once; each call takes a connection of its own, and
 * some are kept for the next calls.
 * Memory: what is passed in is borrowed during the call; results go into the caller's memory, and
 * are untouched after a failure where not said otherwise.  Only keys and passwords that leave keyd
 * (keyd_traffic, keyd_one_time) are allocated, locked in memory: their functions wipe and free.
 * Times are seconds since 1970, UTC.
 * Errors: enum keyd_err of keyd.h; keyd_detail is the sentence, keyd_problem the type that a
 * program tells problems apart by.  After KEYD_ERR_TRANSPORT and KEYD_ERR_TIMEOUT nobody knows
 * whether it was done.  Where a connection has ended meanwhile, a call is repeated in another one
 * if it only asks (GET), or if nothing of it has gone out; no other is.
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
#define KEYD_SIGNATURE_MAX 104 /* in DER; r then s: 96 */
#define KEYD_MAC_MAX 48
#define KEYD_IV_BYTES 12
#define KEYD_TAG_BYTES 16
#define KEYD_RANDOM_MAX 4096
#define KEYD_VALUE_MAX 255      /* a released value */
#define KEYD_HANDSHAKE_MAX 8000 /* a message of the handshake */
#define KEYD_RECORD_MORE 128    /* a record is at most so much longer than its body */
#define KEYD_TICKET_MAX 384
#define KEYD_NONCE_MAX 32
#define KEYD_KID_MAX 16         /* how a peer names its key */
#define KEYD_URI_BYTES 256      /* with its NUL */
#define KEYD_PEM_MAX 12000      /* a certificate as text */
#define KEYD_PAGE_MAX 1000      /* items of a list that come in one call */
#define KEYD_BATCH_MAX 1024     /* items */
/* Bytes of all items of a call: data, plaintexts and aad; not their tags, IVs, signatures and MACs,
 * so that what one call makes another takes. */
#define KEYD_DATA_MAX 3000000
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

/* Wipes what may be secret: plaintexts, released values. */
void keyd_wipe(void *p, size_t n);

/* Where a list is read: zero at its beginning.  A call of a list gives up to `max` of its items,
 * how many in n; while there are more, the same page gets the next.  After a failure the page is
 * as it was, and the items are of no use. */
struct keyd_page {
    char after[KEYD_NAME_BYTES]; /* the last item's name or id */
    int is_more;
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

enum keyd_origin {
    KEYD_CREATED,
    KEYD_ADOPTED,  /* was in the token before */
    KEYD_IMPORTED, /* a public key alone */
};

struct keyd_key {
    char name[KEYD_NAME_BYTES];
    enum keyd_key_type type;
    enum keyd_origin origin;
    unsigned usages;
    uint64_t created_s;
    unsigned version;              /* the primary, which makes new results; 0: none is enabled */
    uint8_t point[KEYD_POINT_MAX]; /* of it: an EC key's public key, uncompressed */
    size_t n_point;                /* 0: none */
};

/* *out may be NULL. */
enum keyd_err keyd_key_create(struct keyd_service *service, const char *name,
                              enum keyd_key_type type, unsigned usages, struct keyd_key *out);
/* An object that is in the token already, by its PKCS#11 URI. */
enum keyd_err keyd_key_adopt(struct keyd_service *service, const char *name, const char *uri,
                             struct keyd_key *out);
/* A public key to verify with, from a block PUBLIC KEY or CERTIFICATE; up to KEYD_PEM_MAX. */
enum keyd_err keyd_key_import(struct keyd_service *service, const char *name, const char *pem,
                              struct keyd_key *out);
/* The same from an uncompressed point of KEYD_EC_P256 or KEYD_EC_P384. */
enum keyd_err keyd_key_import_point(struct keyd_service *service, const char *name,
                                    enum keyd_key_type type, struct keyd_bytes point,
                                    struct keyd_key *out);
enum keyd_err keyd_key_show(struct keyd_service *service, const char *name, struct keyd_key *out);
/* Those that the caller may show, by name. */
enum keyd_err keyd_key_list(struct keyd_service *service, struct keyd_page *page,
                            struct keyd_key *out, size_t max);

struct keyd_key_version {
    unsigned version;
    int is_enabled;
    int is_local;       /* made in the token */
    int is_extractable; /* could be taken out of it */
    uint64_t created_s;
    uint8_t point[KEYD_POINT_MAX]; /* as that of a key */
    size_t n_point;
};
/* All versions, the oldest first; *n is set.  KEYD_ERR_ARGUMENT: there are more than `max`, and *n
 * says how many. */
enum keyd_err keyd_key_versions(struct keyd_service *service, const char *name,
                                struct keyd_key_version *out, size_t max, size_t *n);
/* A version, 0: all of them.  One that is disabled does nothing until it is enabled. */
enum keyd_err keyd_key_disable(struct keyd_service *service, const char *name, unsigned version,
                               struct keyd_key *out);
enum keyd_err keyd_key_enable(struct keyd_service *service, const char *name, unsigned version,
                              struct keyd_key *out);
/* A new version, which is the primary then. */
enum keyd_err keyd_key_rotate(struct keyd_service *service, const char *name, struct keyd_key *out);
/* The same, with an object that is in the token already: one of another node, by its URI. */
enum keyd_err keyd_key_rotate_to(struct keyd_service *service, const char *name, const char *uri,
                                 struct keyd_key *out);
/* All versions; in the token too, but for adopted ones. */
enum keyd_err keyd_key_delete(struct keyd_service *service, const char *name);
/* One version, which is neither the primary nor the last; its number is not given again. */
enum keyd_err keyd_key_delete_version(struct keyd_service *service, const char *name,
                                      unsigned version);

/* What an operation is done with: a key by its name, or a secret by its id. */
struct keyd_with {
    const char *key; /* NULL: `secret` */
    const char *secret;
    unsigned version; /* of the key; 0: new results by the primary, others by any enabled one */
    int is_der;       /* signatures are in DER (RFC 3279 2.2.3), not r then s */
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

/* ECDSA, r then s, or DER; over SHA-256 with P-256, SHA-384 with P-384, or over `data` itself where
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
/* n data with a signature or MAC each: the err of one that is not good is KEYD_ERR_REFUSED, its
 * problem "not-valid". */
enum keyd_err keyd_verify_all(struct keyd_service *service, const struct keyd_with *with,
                              const struct keyd_bytes *data, const struct keyd_bytes *signatures,
                              size_t n, int is_digest, struct keyd_result *out);
enum keyd_err keyd_mac_verify_all(struct keyd_service *service, const struct keyd_with *with,
                                  const struct keyd_bytes *data, const struct keyd_bytes *macs,
                                  size_t n, struct keyd_result *out);

/* AES-256-GCM.  keyd chooses the IV; out takes KEYD_TAG_BYTES more than the plaintext. */
enum keyd_err keyd_encrypt(struct keyd_service *service, const struct keyd_with *with,
                           struct keyd_bytes plaintext, struct keyd_bytes aad,
                           uint8_t iv[KEYD_IV_BYTES], struct keyd_room *out);
/* out takes KEYD_TAG_BYTES less than the ciphertext.  KEYD_ERR_REFUSED: it is not authentic. */
enum keyd_err keyd_decrypt(struct keyd_service *service, const struct keyd_with *with,
                           const uint8_t iv[KEYD_IV_BYTES], struct keyd_bytes ciphertext,
                           struct keyd_bytes aad, struct keyd_room *out);

/* By the key's primary version anew, what any version (or with->version) has encrypted: the text is
 * seen by nobody.  iv is that of the ciphertext, and then that of the result, for which out takes
 * as much. */
enum keyd_err keyd_rewrap(struct keyd_service *service, const struct keyd_with *with,
                          uint8_t iv[KEYD_IV_BYTES], struct keyd_bytes ciphertext,
                          struct keyd_bytes aad, struct keyd_room *out);

/* An item of a batch to encrypt, decrypt or rewrap: `in`, aad and out.p, out.max are set, and iv to
 * decrypt or rewrap; the rest is what came of it. */
struct keyd_cipher {
    enum keyd_err err;
    char problem[32];
    unsigned version;
    uint8_t iv[KEYD_IV_BYTES];
    struct keyd_bytes in;
    struct keyd_bytes aad;
    struct keyd_room out;
};
/* As keyd_sign_all; each item needs the room that one alone needs. */
enum keyd_err keyd_encrypt_all(struct keyd_service *service, const struct keyd_with *with,
                               struct keyd_cipher *items, size_t n);
enum keyd_err keyd_decrypt_all(struct keyd_service *service, const struct keyd_with *with,
                               struct keyd_cipher *items, size_t n);
enum keyd_err keyd_rewrap_all(struct keyd_service *service, const struct keyd_with *with,
                              struct keyd_cipher *items, size_t n);

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
    char key[KEYD_NAME_BYTES]; /* that it comes from; "" where it has just been derived */
    unsigned version;          /* of the key; 0: it was derived from a secret */
    enum keyd_key_type type;
    uint64_t created_s; /* 0 where it has just been derived */
    uint64_t expires_s;
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

/* An item of a batch of derivations; for values value.p and value.max are set. */
struct keyd_derived {
    enum keyd_err err;
    char problem[32];
    struct keyd_secret secret;
    struct keyd_room value;
};
/* As keyd_sign_all; all with a peer, or none. */
enum keyd_err keyd_derive_all(struct keyd_service *service, const struct keyd_with *with,
                              const struct keyd_derivation *derivations, size_t n,
                              struct keyd_derived *out);
/* n_value bytes of those with HKDF. */
enum keyd_err keyd_derive_value_all(struct keyd_service *service, const struct keyd_with *with,
                                    const struct keyd_derivation *derivations, size_t n,
                                    size_t n_value, struct keyd_derived *out);

enum keyd_err keyd_secret_show(struct keyd_service *service, const char *id,
                               struct keyd_secret *out);
/* The caller's own, oldest first. */
enum keyd_err keyd_secret_list(struct keyd_service *service, struct keyd_page *page,
                               struct keyd_secret *out, size_t max);
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
/* The reverse: keyd begins, and `out` has the first message for the peer, whose answers go to
 * keyd_handshake.  Methods 0 to 3 of EDHOC. */
enum keyd_err keyd_handshake_begin(struct keyd_service *service, unsigned method,
                                   struct keyd_handshake *handshake, struct keyd_room *out);
enum keyd_err keyd_handshake_abandon(struct keyd_service *service,
                                     const struct keyd_handshake *handshake);

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
    int is_registered;              /* as of keyd_peer */
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

struct keyd_session {
    char id[KEYD_ID_BYTES];
    char peer[KEYD_NAME_BYTES];
    char relation[KEYD_NAME_BYTES]; /* as that of a record */
    int is_registered;      /* as of keyd_peer */
    int can_release;        /* its traffic keys are not in the token: they can be released */
    int is_released;        /* they were */
    unsigned method, suite; /* 0, 0: it was resumed */
    unsigned update;        /* how many key updates there were */
    uint64_t created_s, expires_s;
    uint64_t sent, received, records_max; /* records */
    uint64_t bytes, bytes_max;            /* of bodies, both ways */
};
enum keyd_err keyd_session_show(struct keyd_service *service, const char *session,
                                struct keyd_session *out);
/* The caller's own, by id. */
enum keyd_err keyd_session_list(struct keyd_service *service, struct keyd_page *page,
                                struct keyd_session *out, size_t max);

/* Fresh keys, and what tells the peer of them. */
struct keyd_change {
    struct keyd_session session;
    uint8_t node_nonce[KEYD_NONCE_MAX]; /* of a resumption: for the peer, in clear */
    size_t n_node_nonce;
    uint8_t record[2 * KEYD_RECORD_MORE]; /* for the peer, before any other */
    size_t n_record; /* 0 of an update: the old keys were released, and who has them seals it */
};
/* Goes on from a ticket, with the nonce of the peer (1 to KEYD_NONCE_MAX bytes). */
enum keyd_err keyd_session_resume(struct keyd_service *service, struct keyd_bytes ticket,
                                  struct keyd_bytes client_nonce, struct keyd_change *out);
enum keyd_err keyd_session_update(struct keyd_service *service, const char *session,
                                  struct keyd_change *out);

/* All that a message server needs to seal and open by itself (docs/channel.md, Release), with
 * AES-256-GCM and TOTP over HMAC-SHA256.  c2s: from the client of the handshake to its server. */
struct keyd_traffic {
    struct keyd_session session;
    int is_client; /* keyd's role, which is the caller's now */
    uint8_t key_c2s[32], key_s2c[32], key_otp[32];
    uint8_t iv_c2s[KEYD_IV_BYTES], iv_s2c[KEYD_IV_BYTES];
    uint64_t send_next;    /* the first sequence number that was not used */
    int has_received;      /* else the next two say nothing */
    uint64_t received_top; /* the highest that was accepted */
    uint8_t received[128]; /* bit i % 8 of byte i / 8: whether received_top - i was */
    uint64_t left_ms, left_records, left_bytes; /* until the session's limits */
    unsigned otp_digits, otp_step_s, otp_window;
};
/* Once: keyd seals and opens nothing with them from then on, also where the answer is lost.  Free
 * *out.  KEYD_ERR_MEMORY with no keyd_problem_status: nothing was sent. */
enum keyd_err keyd_session_release(struct keyd_service *service, const char *session,
                                   struct keyd_traffic **out);
/* Wipes them; NULL: nothing. */
void keyd_traffic_free(struct keyd_traffic *traffic);

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

/* What senders of envelopes need: the public key, an uncompressed point of P-256. */
struct keyd_envelope_key {
    char name[KEYD_NAME_BYTES];
    unsigned version;
    uint8_t id[8];
    uint8_t point[KEYD_POINT_MAX];
    size_t n_point;
    unsigned kem, kdf, aead;           /* HPKE's numbers */
    unsigned validity_max_s, leeway_s; /* of the times in an envelope */
    unsigned body_max;                 /* bytes */
};
enum keyd_err keyd_envelope_key(struct keyd_service *service, struct keyd_envelope_key *out);

/* ---- peers ---------------------------------------------------------------------------------- */

/* Who may make a session.  Of one to register, what is not said is NULL, or empty. */
struct keyd_peer_config {
    const char *name;
    const char *pem; /* a block CERTIFICATE or PUBLIC KEY, on P-256 or P-384; up to KEYD_PEM_MAX */
    struct keyd_bytes kid; /* how it names its key; a public key needs it */
    const char *uri;       /* where its certificate is */
};
struct keyd_peer {
    char name[KEYD_NAME_BYTES];
    int has_certificate;
    uint8_t point[KEYD_POINT_MAX]; /* the public key where it has none, uncompressed */
    size_t n_point;
    uint8_t kid[KEYD_KID_MAX];
    size_t n_kid;             /* 0: none */
    char uri[KEYD_URI_BYTES]; /* "": none */
    uint64_t created_s;
    int is_registered; /* 0: it is believed by its CA */
};

/* *out may be NULL. */
enum keyd_err keyd_peer_create(struct keyd_service *service, const struct keyd_peer_config *peer,
                               struct keyd_peer *out);
/* pem: for its certificate, KEYD_PEM_MAX; or NULL. */
enum keyd_err keyd_peer_show(struct keyd_service *service, const char *name, struct keyd_peer *out,
                             struct keyd_room *pem);
/* By name; none without the permission `show`. */
enum keyd_err keyd_peer_list(struct keyd_service *service, struct keyd_page *page,
                             struct keyd_peer *out, size_t max);
/* Ends its sessions, too. */
enum keyd_err keyd_peer_delete(struct keyd_service *service, const char *name);

/* ---- devices of the bootstrap server ---------------------------------------------------------
 */

enum keyd_enrolment_state {
    KEYD_ENROLLED, /* it has no certificate yet */
    KEYD_ACTIVE,
    KEYD_REVOKED, /* for good */
};

/* A device that enrols with the bootstrap server (docs/certificates.md), as keyd keeps it. */
struct keyd_enrolment {
    char id[KEYD_NAME_BYTES];
    char relation[KEYD_NAME_BYTES]; /* that its certificate will bind it to; "": none */
    int is_agreeing;                /* its key is for static Diffie-Hellman, not for signatures */
    enum keyd_enrolment_state state;
    char uri[KEYD_URI_BYTES]; /* where its certificate is, or will be */
    uint64_t created_s;
    uint64_t secret_expires_s; /* 0: it has no one-time secret */
    char serial[33];           /* of its certificate, in hexadecimal; "": there is none */
    uint64_t not_before_s, not_after_s;
};
/* The one-time secret that the device enrols with; keyd does not keep it. */
struct keyd_one_time {
    char text[64];
};

/* id, relation and is_agreeing of *enrolment are read, and the rest is found out.  The secret is
 * good for so long, 0: keyd's own time.  Free *secret. */
enum keyd_err keyd_enrol(struct keyd_service *service, struct keyd_enrolment *enrolment,
                         unsigned lifetime_s, struct keyd_one_time **secret);
/* A new one-time secret, in the place of one that it has. */
enum keyd_err keyd_enrolment_renew(struct keyd_service *service, const char *id,
                                   unsigned lifetime_s, struct keyd_one_time **secret);
/* Wipes it; NULL: nothing. */
void keyd_one_time_free(struct keyd_one_time *secret);
/* pem: as of a peer. */
enum keyd_err keyd_enrolment_show(struct keyd_service *service, const char *id,
                                  struct keyd_enrolment *out, struct keyd_room *pem);
/* By id; none without the permission `show`. */
enum keyd_err keyd_enrolment_list(struct keyd_service *service, struct keyd_page *page,
                                  struct keyd_enrolment *out, size_t max);
/* For good: it is refused at once, and its sessions and tickets end. */
enum keyd_err keyd_enrolment_revoke(struct keyd_service *service, const char *id);
/* One that is revoked, when all its certificates have ended; its id is not given again. */
enum keyd_err keyd_enrolment_delete(struct keyd_service *service, const char *id);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
