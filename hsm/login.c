// SPDX-License-Identifier: Apache-2.0
// login.c: the only code that sees the PIN.  A token counts wrong tries and
// locks itself, so a PIN that was refused once is never submitted again: its
// record is kept by the front and comes back in HELLO.
#include "hsm/session.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

// The record of a PIN that is wrong: 16 bytes of salt, 32 of scrypt(PIN, salt).  Where that is not
// certain, it is the time of the PIN's file alone: to write it anew is to say that the PIN is
// right, and of a PIN that may be right nothing is kept that it could be guessed by.
enum { SALT_BYTES = 16, RECORD_BYTES = 48, TIME_BYTES = 8 };
enum { SCRYPT_N = 32768, SCRYPT_R = 8, SCRYPT_P = 1, SCRYPT_MEMORY = 64 << 20 };

static enum kd_err hash_pin(struct kd_secret *pin, const uint8_t salt[static SALT_BYTES],
                            uint8_t out[static RECORD_BYTES - SALT_BYTES]) {
    if (EVP_PBE_scrypt((const char *)kd_secret_get(pin), kd_secret_len(pin), salt, SALT_BYTES,
                       SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_MEMORY, out,
                       RECORD_BYTES - SALT_BYTES) != 1) {
        kd_log(KD_LOG_ERROR, "login", "scrypt failed", "");
        return KD_ERR_NO_MEMORY;
    }
    return KD_OK;
}

static uint64_t time_of(const char *file) {
    struct stat st;
    return stat(file, &st) == 0
               ? (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec
               : 0;
}

static enum kd_err make_record(struct kd_secret *pin, struct kd_buf *record) {
    uint8_t bytes[RECORD_BYTES];
    if (RAND_bytes(bytes, SALT_BYTES) != 1) {
        return KD_ERR_SYSTEM;
    }
    enum kd_err r = hash_pin(pin, bytes, bytes + SALT_BYTES);
    if (r == KD_OK) {
        kd_buf_put(record, bytes, sizeof(bytes));
        r = kd_buf_finish(record);
    }
    return r;
}

static enum kd_err check_refused(const struct kd_token *t, struct kd_secret *pin,
                                 struct kd_bytes refused, bool *is_same) {
    uint8_t hash[RECORD_BYTES - SALT_BYTES];
    *is_same = false;
    if (refused.n == TIME_BYTES) {
        struct kd_reader r = kd_reader_of(refused);
        *is_same = kd_read_u64(&r) == time_of(t->pin_file);
        return KD_OK;
    }
    if (refused.n != RECORD_BYTES) {
        return KD_OK;
    }
    enum kd_err e = hash_pin(pin, refused.p, hash);
    if (e == KD_OK) {
        *is_same = kd_ct_equal((struct kd_bytes) { hash, sizeof(hash) },
                               (struct kd_bytes) { refused.p + SALT_BYTES, sizeof(hash) });
    }
    return e;
}

// What to do about the PIN.  systemd copies its credentials at the start of a service.
static void advise(const struct kd_token *t, bool may_be_right, struct kd_buf *detail) {
    static const char credentials[] = "/run/credentials/";
    const char *touch = may_be_right ? ", or touch it if it is right," : "";
    if (strncmp(t->pin_file, credentials, sizeof(credentials) - 1) == 0) {
        kd_buf_printf(detail,
                      " It is %s. Write the right PIN to the file of LoadCredential= and restart "
                      "keyd.",
                      may_be_right ? "tried once at each start of keyd" : "not tried again");
    } else {
        kd_buf_printf(
            detail,
            " It is not tried again. Write the right PIN to the file%s and send SIGHUP to "
            "keyd.",
            touch);
    }
}

// The token's own word on how many tries are left.
static enum kd_err check_tries(struct kd_token *t, struct kd_buf *detail) {
    CK_TOKEN_INFO info;
    enum kd_err r = kd_ckr("C_GetTokenInfo", t->p11->C_GetTokenInfo(t->slot, &info));
    if (r != KD_OK) {
        kd_buf_text(detail, "The token does not say whether its user PIN is locked.");
        return r;
    }
    if ((info.flags & CKF_USER_PIN_LOCKED) != 0) {
        kd_buf_text(detail, "The token's user PIN is locked. Unlock it with the security "
                            "officer's PIN (C_InitPIN) and send SIGHUP to keyd.");
        return KD_ERR_PIN_LAST_TRY;
    }
    if ((info.flags & CKF_USER_PIN_FINAL_TRY) != 0) {
        kd_buf_text(detail, "The token is on the last try of its user PIN, and keyd does not "
                            "take it. Log in once with another tool and the right PIN, then "
                            "send SIGHUP to keyd.");
        return KD_ERR_PIN_LAST_TRY;
    }
    if ((info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0) {
        kd_buf_text(detail, "The token wants its PIN on its own keypad, which keyd cannot wait "
                            "for. Use a token or partition that takes a PIN by C_Login.");
        return KD_ERR_PIN_MISSING;
    }
    return KD_OK;
}

static enum kd_err read_pin(struct kd_token *t, struct kd_secret **out, struct kd_buf *detail) {
    enum kd_err r = kd_secret_read_file(t->pin_file, KD_PIN_MAX_BYTES, out);
    if (r == KD_OK || r == KD_ERR_NO_MEMORY) {
        return r;
    }
    kd_buf_printf(detail,
                  "The PIN file %s cannot be used (%s). It must be a file with the PIN in its "
                  "first line, readable by keyd's user and not by others (chmod 600).",
                  t->pin_file,
                  r == KD_ERR_NO_FILE  ? "it is not there"
                  : r == KD_ERR_CONFIG ? "empty, too long, or open to others"
                                       : "it cannot be read");
    return KD_ERR_PIN_MISSING;
}

// SoftHSM writes the token's file at each login, and a process that is ended at
// that moment leaves an empty one: who asks the process to end waits until then,
// and a module that writes to a closed pipe does not end it.  A login that hangs can
// still be ended, by SIGALRM (hsm/main.c) or SIGKILL.
static CK_RV log_in(struct kd_token *t, CK_SESSION_HANDLE session, struct kd_secret *pin) {
    static const int deferred[] = { SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM };
    sigset_t set;
    sigset_t before;
    sigemptyset(&set);
    for (size_t i = 0; i < KD_COUNT_OF(deferred); i++) {
        sigaddset(&set, deferred[i]);
    }
    pthread_sigmask(SIG_BLOCK, &set, &before);
    const CK_RV rv = t->p11->C_Login(session, CKU_USER, kd_secret_get(pin), kd_secret_len(pin));
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rv;
}

// The login is the process's (PKCS#11 5.6), and this is CKR_USER_ALREADY_LOGGED_IN; but there are
// modules where each session has its own (nethsm-pkcs11).
static void log_in_others(struct kd_token *t, CK_SESSION_HANDLE session, struct kd_secret *pin) {
    for (const struct kd_session *s = t->sessions_open; s != NULL; s = s->next) {
        const CK_RV rv = s->handle == session ? CKR_OK : log_in(t, s->handle, pin);
        if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) {
            kd_log(KD_LOG_WARN, "login", "a session is not logged in", "rv=%s", kd_ckr_name(rv));
            return; // the PIN may have been changed just now
        }
    }
}

// A wrong PIN is CKR_PIN_INCORRECT; but also CKR_GENERAL_ERROR, CKR_ARGUMENTS_BAD,
// CKR_DATA_LEN_RANGE or a card's CKR_USER_NOT_LOGGED_IN, by which the token may have counted a try
// (OpenSC #871, #1655).  So what has no other meaning may be a refusal, as long as the device is
// there.
static bool may_be_refusal(struct kd_token *t, CK_SESSION_HANDLE session, CK_RV rv, enum kd_err r) {
    static const CK_RV others[] = { CKR_USER_ANOTHER_ALREADY_LOGGED_IN, CKR_USER_TOO_MANY_TYPES,
                                    CKR_USER_PIN_NOT_INITIALIZED,       CKR_USER_TYPE_INVALID,
                                    CKR_SESSION_READ_ONLY_EXISTS,       CKR_FUNCTION_CANCELED };
    for (size_t i = 0; i < KD_COUNT_OF(others); i++) {
        if (rv == others[i]) {
            return false;
        }
    }
    return (r == KD_ERR_TOKEN || r == KD_ERR_KEY_TYPE || r == KD_ERR_KEY_USAGE ||
            rv == CKR_USER_NOT_LOGGED_IN) &&
           kd_token_answers(t, session);
}

// To be kept, so that it is not tried again; certain: never with this PIN.
static enum kd_err refuse(struct kd_token *t, struct kd_secret *pin, bool is_certain,
                          struct kd_buf *record) {
    enum kd_err r;
    if (is_certain) {
        r = make_record(pin, record);
    } else {
        kd_buf_u64(record, time_of(t->pin_file));
        r = kd_buf_finish(record);
    }
    if (r != KD_OK) {
        kd_log(KD_LOG_ERROR, "login", "the refused PIN could not be recorded", "");
    }
    return KD_ERR_PIN_REFUSED; // whatever else goes wrong
}

static enum kd_err submit(struct kd_token *t, CK_SESSION_HANDLE session, struct kd_secret *pin,
                          struct kd_buf *record, struct kd_buf *detail) {
    const CK_RV rv = log_in(t, session, pin);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) {
        log_in_others(t, session, pin);
        return KD_OK;
    }
    const enum kd_err r = kd_ckr("C_Login", rv);
    if (r == KD_ERR_PIN_REFUSED) {
        kd_buf_printf(detail, "The token refused the PIN in %s (%s).", t->pin_file,
                      kd_ckr_name(rv));
        advise(t, false, detail);
        return refuse(t, pin, true, record);
    }
    kd_buf_printf(detail, "The token did not log keyd in (%s, 0x%lx).", kd_ckr_name(rv),
                  (unsigned long)rv);
    if (!may_be_refusal(t, session, rv, r)) {
        return r;
    }
    kd_buf_printf(detail, " That may be its word for a wrong PIN (%s).", t->pin_file);
    advise(t, true, detail);
    return refuse(t, pin, false, record);
}

enum kd_err kd_login(struct kd_token *t, CK_SESSION_HANDLE session, struct kd_bytes refused,
                     struct kd_buf *record, struct kd_buf *detail) {
    kd_auto(secret) struct kd_secret *pin = NULL;
    bool is_refused = false;
    enum kd_err r;
    if ((t->info.flags & CKF_LOGIN_REQUIRED) == 0) {
        return KD_OK;
    }
    if ((r = read_pin(t, &pin, detail)) != KD_OK ||
        (r = check_refused(t, pin, refused, &is_refused)) != KD_OK) {
        return r;
    }
    if (is_refused) {
        kd_buf_printf(detail, "The PIN in %s is the one that the token has refused before.",
                      t->pin_file);
        advise(t, refused.n == TIME_BYTES, detail);
        return KD_ERR_PIN_REFUSED;
    }
    r = check_tries(t, detail);
    return r != KD_OK ? r : submit(t, session, pin, record, detail);
}
