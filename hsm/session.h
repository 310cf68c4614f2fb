// SPDX-License-Identifier: Apache-2.0
// session.h: a thread of the worker and its PKCS#11 session.  Handles of keys
// (objects.c) and of derived secrets (secrets.c) are shared by the threads.
#ifndef KD_HSM_SESSION_H
#define KD_HSM_SESSION_H

#include "hsm/token.h"

struct kd_session {
    struct kd_token *token;
    struct kd_session *next;   // of the token's
    CK_SESSION_HANDLE handle;  // 0: lost
    uint64_t generation;       // of the token, when this session was opened
    struct kd_secret *scratch; // locked memory for what passes through (KD_SCRATCH_BYTES)
    struct kd_buf out;         // the bytes of the result under work
};

#define KD_SCRATCH_BYTES 512

// Opens a read-write session.  KD_ERR_TOKEN_FULL where the token has no more.
// The token knows *out until it is closed, so it stays where it is.
KD_MUST_CHECK enum kd_err kd_session_open(struct kd_token *t, struct kd_session *out);
void kd_session_close(struct kd_session *s);

// An operation on the token's objects runs between enter and leave, and in that
// time nobody begins a new generation: the numbers of handles that were lost are
// used again, so that one of ours could be another's session or another key.
// A session that was lost is opened anew.  KD_ERR_TOKEN_AWAY: not possible, or the
// token has ended the login, which this process does not renew.
KD_MUST_CHECK enum kd_err kd_session_enter(struct kd_session *s);
// The same, for what can be done another time: neither waits nor opens.
bool kd_session_try_enter(struct kd_session *s);
void kd_session_leave(struct kd_session *s);

// After `cause`, outside of enter and leave: KD_OK if the operation may be tried
// again.  A lost session, or a token that is away, waits for the operations of others,
// loses all sessions and forgets all handles, and opens another session; so does
// KD_ERR_DEVICE where the device does not answer any more.  KD_ERR_TOKEN and
// KD_ERR_NO_OBJECT ask the module whether the session still lives and is logged in.
// KD_ERR_TOKEN_AWAY as above.  Anything else is handed back.
KD_MUST_CHECK enum kd_err kd_session_heal(struct kd_session *s, enum kd_err cause);
// What an operation's last error is to its caller.  KD_ERR_DEVICE and KD_ERR_SESSION_LOST that have
// come again are the operation's own (KD_ERR_DEVICE) where the device answers, as some modules say
// them of a request that they do not like, and whoever makes such requests must not take the token
// from all others.  Else they are KD_ERR_TOKEN_AWAY.
enum kd_err kd_session_blame(struct kd_session *s, enum kd_err last);
// At the end of each request: whether something was done with a key, and whether an item ended with
// KD_ERR_DEVICE or KD_ERR_TOKEN.  True when it is time for a fresh worker: nothing was done for
// KD_SESSION_SICK_MS, and more than KD_SESSION_SICK_MAX requests have ended so.
bool kd_session_is_sick(struct kd_session *s, bool is_done, bool has_failed);
#define KD_SESSION_SICK_MS 30000
#define KD_SESSION_SICK_MAX 16
// Asks the device for a random number, which a module cannot make up by itself where the device
// is another, and whether the login still holds.  By who has the session to himself.
bool kd_session_answers(const struct kd_session *s);
// The same for a session that has nothing to do, which it keeps alive; heals it if it does not
// answer.  KD_ERR_TOKEN_AWAY as above.
KD_MUST_CHECK enum kd_err kd_session_check(struct kd_session *s);
// The token has ended the login.
bool kd_session_login_is_lost(struct kd_session *s);

// ---- objects.c: keys in the token ------------------------------------------

// The handle of a key's private or secret object: found once a generation, and
// held against the reference's proof before it is given out.  KD_ERR_NO_OBJECT,
// KD_ERR_OBJECT_AMBIGUOUS, KD_ERR_OBJECT_CHANGED.
KD_MUST_CHECK enum kd_err kd_object_get(struct kd_session *s, const struct kd_key_ref *ref,
                                        CK_OBJECT_HANDLE *out);
// The module says the handle is stale.
void kd_object_forget(struct kd_session *s, const struct kd_key_ref *ref);
void kd_objects_wipe(struct kd_token *t); // under lock, or alone

// Up to `max` handles that match; KD_ERR_TOO_MANY where there are more.
KD_MUST_CHECK enum kd_err kd_object_find(struct kd_session *s, CK_ATTRIBUTE *template, size_t n,
                                         CK_OBJECT_HANDLE *out, size_t max, size_t *n_found);

// ---- proof.c: does a handle name the key that we mean? ----------------------

#define KD_CHECK_TEXT "keyd key check value"

// KD_ERR_OBJECT_CHANGED if not.
KD_MUST_CHECK enum kd_err kd_proof_check(struct kd_session *s, const struct kd_key_ref *ref,
                                         CK_OBJECT_HANDLE handle);
// Whether ECDH with this private key belongs to the point: KD_OK, KD_ERR_OBJECT_CHANGED, or why it
// could not be seen; is_derived: the token does ECDH, at least.
KD_MUST_CHECK enum kd_err kd_proof_of_deriver(struct kd_session *s, enum kd_key_type type,
                                              struct kd_bytes point, CK_OBJECT_HANDLE handle,
                                              bool *is_derived);
// Whether an HMAC key has this value, by a MAC with the hash of `type`, an HMAC or EC type; else
// KD_ERR_OBJECT_CHANGED.
KD_MUST_CHECK enum kd_err kd_proof_by_mac(struct kd_session *s, enum kd_key_type type,
                                          CK_OBJECT_HANDLE handle, struct kd_bytes value);
// The check value of a secret key; *n is 0 where its usages allow none.
KD_MUST_CHECK enum kd_err kd_proof_of_secret(struct kd_session *s, enum kd_key_type type,
                                             unsigned usages, CK_OBJECT_HANDLE handle,
                                             uint8_t out[static KD_HSM_CHECK_BYTES], size_t *n);

// ---- pair.c: EC key pairs ----------------------------------------------------

struct kd_pair {
    CK_OBJECT_HANDLE public_key;
    CK_OBJECT_HANDLE private_key;
};
// C_GenerateKeyPair; after an error both handles are CK_INVALID_HANDLE.
KD_MUST_CHECK enum kd_err kd_generate_pair(struct kd_session *s, CK_ATTRIBUTE *public,
                                           CK_ULONG n_public, CK_ATTRIBUTE *private,
                                           CK_ULONG n_private, struct kd_pair *out);
// A pair that ends with the session, sensitive, for KD_USE_DERIVE or KD_USE_SIGN: a handshake's,
// and what the probe tries.  KD_ERR_LACKING where the token is known to keep such pairs.
KD_MUST_CHECK enum kd_err kd_session_pair_make(struct kd_session *s, enum kd_key_type type,
                                               enum kd_key_usage usage, struct kd_pair *out);
void kd_pair_destroy(struct kd_session *s, const struct kd_pair *pair);
// The uncompressed point that a CKA_EC_POINT holds, a part of `value`: in a DER OCTET STRING
// (PKCS#11 2.3.3), or by itself, as some modules (NSS) have it.  None: neither.
struct kd_bytes kd_ec_point_of(enum kd_key_type type, struct kd_bytes value);
// The point of a public key's object, of kd_key_type_point_bytes(type).
KD_MUST_CHECK enum kd_err kd_public_point(struct kd_session *s, enum kd_key_type type,
                                          CK_OBJECT_HANDLE public,
                                          uint8_t out[static KD_HSM_POINT_MAX_BYTES]);

// ---- derive.c --------------------------------------------------------------

// Derives what the recipe says as a session object: sensitive, not extractable,
// with just the usages of its type.
KD_MUST_CHECK enum kd_err kd_derive(struct kd_session *s, const struct kd_recipe *r,
                                    CK_OBJECT_HANDLE *out);
// The same, and its bytes appended to s->out instead.
KD_MUST_CHECK enum kd_err kd_derive_release(struct kd_session *s, const struct kd_recipe *r);

// ECDH of a base with a peer's point (checked to be on the curve) as a session
// object of `n` bytes, of type CKK_AES or CKK_GENERIC_SECRET.
struct kd_secret_form {
    CK_KEY_TYPE type;
    CK_ULONG n;
    unsigned usages;
    bool is_readable; // not sensitive, extractable: to be read and destroyed at once
};
// C_DeriveKey.
KD_MUST_CHECK enum kd_err kd_derive_by(struct kd_session *s, CK_MECHANISM *mechanism,
                                       CK_OBJECT_HANDLE input, const struct kd_secret_form *form,
                                       CK_OBJECT_HANDLE *out);
KD_MUST_CHECK enum kd_err kd_derive_ecdh(struct kd_session *s, CK_OBJECT_HANDLE base,
                                         enum kd_key_type type, struct kd_bytes peer,
                                         const struct kd_secret_form *form, CK_OBJECT_HANDLE *out);
// CKM_AES_CBC_ENCRYPT_DATA: 32 bytes of data under an AES key, IV 0.
KD_MUST_CHECK enum kd_err kd_derive_cbc_data(struct kd_session *s, CK_OBJECT_HANDLE input,
                                             struct kd_bytes data,
                                             const struct kd_secret_form *form,
                                             CK_OBJECT_HANDLE *out);
// Imports bytes as a session object.
KD_MUST_CHECK enum kd_err kd_derive_import(struct kd_session *s, struct kd_bytes value,
                                           const struct kd_secret_form *form,
                                           CK_OBJECT_HANDLE *out);
void kd_destroy(struct kd_session *s, CK_OBJECT_HANDLE handle); // 0: nothing

// hkdf.c: HKDF (RFC 5869) with a token's secret as input.
KD_MUST_CHECK enum kd_err kd_hkdf(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                  CK_OBJECT_HANDLE input, const struct kd_derive_step *step,
                                  const struct kd_secret_form *form, CK_OBJECT_HANDLE *out);
KD_MUST_CHECK enum kd_err kd_hkdf_release(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                          CK_OBJECT_HANDLE input,
                                          const struct kd_derive_step *step);
// HKDF-Extract(salt, prefix || input) alone, by what releases go by (digest-key or
// extract, whose input is readable).  prk lies in a kd_secret and has the bytes of
// the hash; the prefix has at most 64.
KD_MUST_CHECK enum kd_err kd_hkdf_extract(struct kd_session *s, enum kd_hsm_hkdf strategy,
                                          enum kd_kdf kdf, CK_OBJECT_HANDLE input,
                                          struct kd_bytes salt, struct kd_bytes prefix,
                                          uint8_t *prk);
// A readable object's value, appended to s->out.
KD_MUST_CHECK enum kd_err kd_read_value(struct kd_session *s, CK_OBJECT_HANDLE handle);

// ---- secrets.c: derived secrets that are kept for a while --------------------

// The secret's handle, derived if it is not there.  It is pinned, that is, not
// destroyed to make room, until kd_cached_release.
KD_MUST_CHECK enum kd_err kd_cached_get(struct kd_session *s, const struct kd_recipe *r,
                                        struct kd_cached **out, CK_OBJECT_HANDLE *handle);
// is_stale: its handle names nothing any more.
void kd_cached_release(struct kd_session *s, struct kd_cached *c, bool is_stale);
void kd_cached_forget(struct kd_session *s, struct kd_bytes id);
size_t kd_cached_count(struct kd_token *t);
void kd_cached_init(struct kd_token *t);
void kd_cached_wipe(struct kd_token *t); // under lock, or alone: sessions are gone

// ---- handshakes.c ------------------------------------------------------------

void kd_handshakes_expire(struct kd_session *s); // those whose time is over; now and then
void kd_handshakes_wipe(struct kd_session *s);   // all of them; the worker ends

// ---- traffic_cache.c: keys of the channel's sessions -------------------------

void kd_traffic_cache_init(struct kd_token *t);
void kd_traffic_cache_forget(struct kd_session *s, struct kd_bytes id); // the cache's id
// To the limit, over which one may be until its answer has been sent.
void kd_traffic_cache_make_room(struct kd_session *s);
void kd_traffic_cache_expire(struct kd_session *s); // those whose time is over; now and then
size_t kd_traffic_cache_count(struct kd_token *t);
void kd_traffic_cache_wipe(struct kd_token *t); // under lock, or alone: sessions are gone

// ---- host.c: what needs no key: OpenSSL -------------------------------------

KD_MUST_CHECK enum kd_err kd_host_point_check(enum kd_key_type type, struct kd_bytes point);
// Signature is r || s; a wrong length is not valid.
KD_MUST_CHECK enum kd_err kd_host_ecdsa_verify(enum kd_key_type type, struct kd_bytes point,
                                               struct kd_bytes digest, struct kd_bytes signature,
                                               bool *is_valid);
KD_MUST_CHECK enum kd_err kd_host_digest(enum kd_hash hash, struct kd_bytes data,
                                         uint8_t out[static 48], size_t *n);
// The generator of the curve, uncompressed.
struct kd_bytes kd_host_generator(enum kd_key_type type);
// Its object identifier in DER, as CKA_EC_PARAMS has it.
struct kd_bytes kd_host_curve_oid(enum kd_key_type type);

#endif
