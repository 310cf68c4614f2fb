// SPDX-License-Identifier: Apache-2.0
// fake_p11.h: a PKCS#11 module inside the test program, whose calls fail when
// the test says so and which counts what is open.  fake_p11.c has sessions,
// objects and faults; fake_crypto.c what the mechanisms do, by OpenSSL.
#ifndef KD_TESTS_FAKE_P11_H
#define KD_TESTS_FAKE_P11_H

#include "hsm/p11.h"
#include "hsm/token.h"

#define FAKE_SLOT 3
#define FAKE_PIN "2468"

struct fake_counts {
    unsigned calls;     // all, since fake_begin or fake_count_anew
    unsigned logins;    // C_Login of a process that is not logged in
    unsigned submitted; // C_Login, whether it was needed or not
    unsigned searches;  // C_FindObjectsInit
    unsigned opened;    // C_OpenSession that gave a session
    // now
    unsigned sessions;
    unsigned token_objects;
    unsigned session_objects;
    unsigned most_session_objects; // since fake_count_anew
    unsigned active;               // operations that were begun and have not ended
};

// An empty token, nobody logged in.  Safe with threads.
CK_FUNCTION_LIST *fake_begin(void);
void fake_end(void);

struct fake_counts fake_count(void);
void fake_count_anew(void);

// The n-th call from now (1: the next one) gives rv and does nothing; 0: none.
// With a name only calls of this function count.
void fake_fail(unsigned n, CK_RV rv);
void fake_fail_call(const char *call, unsigned n, CK_RV rv);
// As fake_fail_call, and so do all that come after.
void fake_fail_always(const char *call, CK_RV rv);
// The function that has failed last because of the above, or NULL.
const char *fake_failed_call(void);

// The device starts anew: sessions and their objects are gone, and the handles of
// token objects are given out anew, to other objects than before.  The login is
// kept; fake_log_out ends it.
void fake_reset_device(void);
// The sessions live on, and nobody is logged in.
void fake_log_out(void);
// The process gets a signal while it logs in.
void fake_signal_in_login(int signal);
bool fake_is_logged_in(void); // safe in a handler
void fake_set_pin(const char *pin);
// What some modules do otherwise; together, until fake_begin.
enum fake_habit {
    FAKE_LOGS_IN_SESSIONS = 1, // a login is the session's alone (nethsm-pkcs11)
    FAKE_KEEPS_PAIRS = 2,      // a key pair stays in the token whatever was asked for (OpenSC)
    FAKE_WRITES_IV = 4,        // AES-GCM encrypts under an IV of its own, and writes it (CloudHSM)
    FAKE_WANTS_ZERO_IV = 8,    // and takes none but zeros for it
    FAKE_SHOWS_NOTHING = 16,   // derives no key that could be read (CloudHSM, Luna)
    FAKE_TAKES_FORGERIES = 64, // AES-GCM decrypts whatever the tag is
    FAKE_LIES_OF_LENGTHS = 128, // what it has written has CK_UNAVAILABLE_INFORMATION bytes
    FAKE_HAS_HKDF = 32,        // CKM_HKDF_DERIVE, strict with its parameters (kryoptic)
};
void fake_set_habits(unsigned habits);
void fake_limit_session_objects(unsigned most); // 0: not; until fake_begin
void fake_set_token_flags(CK_FLAGS flags); // beside those it always has

// A token on the fake, as kd_token_find would have it; kd_token_wipe is yours.
struct kd_token fake_token(CK_FUNCTION_LIST *p11, const char *pin_file);

#endif
