// SPDX-License-Identifier: Apache-2.0
// token.h: the token of a worker, as its threads share it: where it is, the
// login, and what its sessions have found.  Sessions are in session.h.
#ifndef KD_HSM_TOKEN_H
#define KD_HSM_TOKEN_H

#include "hsm/hsm.h"
#include "hsm/module.h"
#include "hsm/pinned.h"

#include <pthread.h>
#include <stdatomic.h>

#define KD_PIN_MAX_BYTES 255

// How the token does AES-GCM.
enum kd_gcm_way {
    KD_GCM_UNDER_GIVEN_IV, // as PKCS#11 has it
    KD_GCM_UNDER_OWN_IV,   // it takes zeros, and writes the IV that it has made
    KD_GCM_NOT,            // not as keyd needs it
};

struct kd_object; // objects.c
struct kd_cached; // secrets.c

struct kd_token {
    CK_FUNCTION_LIST *p11;
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info; // as it was when the token was found
    CK_INFO module_info;
    bool is_software; // no hardware behind the slot: keys are used through copies
    const char *pin_file;
    // What the probe found; set before other threads start.
    enum kd_hsm_hkdf hkdf;         // of secrets that stay in the token
    enum kd_hsm_hkdf hkdf_release; // of what is released
    enum kd_hsm_probe probe[KD_HSM_ABILITIES];
    enum kd_hsm_hkdf hkdf_extract; // of PRK, for the channel: digest-key or extract
    bool keeps_pairs;              // key pairs are kept, whatever CKA_TOKEN was asked for
    enum kd_gcm_way gcm;
    CK_RV gcm_forged_rv;           // what C_Decrypt says of a forged tag; CKR_OK: not known
    bool may_extract;
    struct kd_cells cells; // struct kd_traffic_secrets; has a lock of its own
    atomic_uint n_sick; // requests that met errors since anything was done with a key

    // Read: an operation goes on.  Write: sessions are opened and closed.  Taken before lock.
    pthread_rwlock_t use;
    struct kd_session *sessions_open; // by next, under use

    // Read: objects are searched.  Write: one is copied, because SoftHSM shows a copy
    // that is half made as one more object of the token.  Taken after use, before lock.
    pthread_rwlock_t copying;

    pthread_mutex_t lock;
    // under lock; never held across a call of the module
    uint64_t generation;   // of sessions; all handles of an earlier one are forgotten
    uint64_t sick_since_ms; // when the first of n_sick was
    bool is_login_lost;    // the token has ended the login, and there is no other
    struct kd_map objects;          // struct kd_object by reference
    struct kd_pinned_cache secrets; // struct kd_cached by recipe id
    struct kd_pinned_cache traffic; // struct kd_traffic_keys by cache id (traffic_cache.c)
    size_t secrets_max;             // of each of these
    struct kd_map handshakes;       // struct kd_handshake by id (handshakes.c)
};

// Finds the one token that the URI names.  KD_ERR_NO_TOKEN with the tokens that
// are there in detail, also where more than one matches; KD_ERR_BAD_URI.
KD_MUST_CHECK enum kd_err kd_token_find(const struct kd_modules *modules, const char *uri,
                                        struct kd_token *out, struct kd_buf *detail);
void kd_token_init(struct kd_token *t); // lock and maps; after kd_token_find
void kd_token_wipe(struct kd_token *t); // the module's objects go with their sessions

// Asks the device for a random number, logged in or not (session.c).
bool kd_token_answers(const struct kd_token *t, CK_SESSION_HANDLE session);

// An RFC 7512 URI of the token (label, manufacturer, model, serial): appends.
void kd_token_put_uri(struct kd_buf *out, const CK_TOKEN_INFO *info);

// ---- login.c ---------------------------------------------------------------

// Logs this process in, once: the PIN is read, given to C_Login and wiped.
// Nothing is submitted where the token shows its last try or a lock
// (KD_ERR_PIN_LAST_TRY), or where `refused` is the record of this very PIN
// (KD_ERR_PIN_REFUSED).  A PIN that the token refuses gives KD_ERR_PIN_REFUSED
// and its record in *record.  Not every module has a word for a wrong PIN: any error
// that does not speak of something else, while the device answers, is
// KD_ERR_PIN_REFUSED too, and its record is good until the file is written anew.
// KD_ERR_PIN_MISSING: the file cannot be read.
KD_MUST_CHECK enum kd_err kd_login(struct kd_token *t, CK_SESSION_HANDLE session,
                                   struct kd_bytes refused, struct kd_buf *record,
                                   struct kd_buf *detail);

#endif
