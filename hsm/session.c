// SPDX-License-Identifier: Apache-2.0
// session.c: opens, closes and heals a thread's session.
#include "hsm/session.h"

enum { RESULT_MAX_BYTES = 2 * KD_HSM_FRAME_MAX_BYTES }; // rewrap: the text, too

static enum kd_err open_handle(struct kd_token *t, CK_SESSION_HANDLE *out) {
    return kd_ckr(
        "C_OpenSession",
        t->p11->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, out));
}

static uint64_t generation_of(struct kd_token *t) {
    pthread_mutex_lock(&t->lock);
    const uint64_t generation = t->generation;
    pthread_mutex_unlock(&t->lock);
    return generation;
}

static bool is_current(const struct kd_session *s) {
    return s->handle != 0 && s->generation == generation_of(s->token);
}

enum kd_err kd_session_open(struct kd_token *t, struct kd_session *out) {
    kd_auto(secret) struct kd_secret *scratch = NULL;
    enum kd_err r = kd_secret_new(KD_SCRATCH_BYTES, &scratch);
    if (r != KD_OK) {
        return r;
    }
    pthread_rwlock_wrlock(&t->use);
    CK_SESSION_HANDLE handle = 0;
    if ((r = open_handle(t, &handle)) == KD_OK) {
        *out = (struct kd_session) { .token = t,
                                     .next = t->sessions_open,
                                     .handle = handle,
                                     .generation = generation_of(t),
                                     .scratch = KD_STEAL(scratch),
                                     .out = KD_BUF_INIT(RESULT_MAX_BYTES) };
        t->sessions_open = out;
    }
    pthread_rwlock_unlock(&t->use);
    return r;
}

void kd_session_close(struct kd_session *s) {
    struct kd_token *t = s->token;
    if (t == NULL) {
        return;
    }
    pthread_rwlock_wrlock(&t->use);
    struct kd_session **at = &t->sessions_open;
    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    if (s->handle != 0) {
        t->p11->C_CloseSession(s->handle);
    }
    pthread_rwlock_unlock(&t->use);
    kd_secret_free(s->scratch);
    kd_wipe(s->out.p, s->out.cap);
    kd_buf_wipe(&s->out);
    s->token = NULL;
}

// ---- a new generation --------------------------------------------------------

// All but `kept`, which may have the number of one that was lost.
static void close_all(struct kd_token *t, CK_SESSION_HANDLE kept) {
    for (struct kd_session *s = t->sessions_open; s != NULL; s = s->next) {
        if (s->handle != 0 && s->handle != kept) {
            t->p11->C_CloseSession(s->handle);
        }
        s->handle = 0;
    }
}

static void forget_all(struct kd_token *t) {
    pthread_mutex_lock(&t->lock);
    t->generation++;
    kd_objects_wipe(t);
    kd_cached_wipe(t);
    kd_traffic_cache_wipe(t);
    pthread_mutex_unlock(&t->lock);
}

// Whether the device is the one that this generation began with: a session of it
// lives, and is not the one that was just opened, with a number used again.
static bool has_witness(const struct kd_token *t, CK_SESSION_HANDLE opened) {
    const struct kd_session *s = t->sessions_open;
    while (s != NULL && s->handle == 0) {
        s = s->next;
    }
    CK_SESSION_INFO info;
    return s != NULL && s->handle != opened && t->p11->C_GetSessionInfo(s->handle, &info) == CKR_OK;
}

static bool is_logged_in(const struct kd_session *s) {
    CK_SESSION_INFO info;
    return s->token->p11->C_GetSessionInfo(s->handle, &info) == CKR_OK &&
           (info.state == CKS_RW_USER_FUNCTIONS || info.state == CKS_RO_USER_FUNCTIONS ||
            (s->token->info.flags & CKF_LOGIN_REQUIRED) == 0);
}

// A process logs in once, when it starts.  Where the token ends the login of all
// workers and its PIN was changed meanwhile, each of them would submit the old
// one: so this one ends, and the front starts one after the other, which know
// what was refused.
static enum kd_err check_login(struct kd_session *s) {
    if (is_logged_in(s)) {
        return KD_OK;
    }
    kd_log(KD_LOG_WARN, "token", "the token has ended the login: a fresh worker is needed", "");
    pthread_mutex_lock(&s->token->lock);
    s->token->is_login_lost = true;
    pthread_mutex_unlock(&s->token->lock);
    return KD_ERR_TOKEN_AWAY;
}

bool kd_session_login_is_lost(struct kd_session *s) {
    pthread_mutex_lock(&s->token->lock);
    const bool is_lost = s->token->is_login_lost;
    pthread_mutex_unlock(&s->token->lock);
    return is_lost;
}

// Under use, to write.  `has_failed`: the session is of no use any more.
static enum kd_err renew(struct kd_session *s, bool has_failed) {
    struct kd_token *t = s->token;
    const bool was_current = is_current(s);
    if (was_current && !has_failed) {
        return KD_OK;
    }
    // Opened before the others are closed: with the last one, the login would go
    // (PKCS#11 5.6.2).
    CK_SESSION_HANDLE handle = 0;
    enum kd_err r = open_handle(t, &handle);
    if (was_current || !has_witness(t, handle)) {
        close_all(t, handle);
        forget_all(t);
        r = r == KD_OK ? r : open_handle(t, &handle); // there may have been too many
    }
    if (r != KD_OK) {
        return r;
    }
    s->handle = handle;
    s->generation = generation_of(t);
    if ((r = check_login(s)) == KD_OK) {
        kd_log(KD_LOG_INFO, "token", "a session was opened anew", "generation=%llu",
               (unsigned long long)s->generation);
    }
    return r;
}

static enum kd_err renew_alone(struct kd_session *s, bool has_failed) {
    pthread_rwlock_wrlock(&s->token->use);
    const enum kd_err r = renew(s, has_failed);
    pthread_rwlock_unlock(&s->token->use);
    return r == KD_OK ? KD_OK : KD_ERR_TOKEN_AWAY;
}

enum kd_err kd_session_enter(struct kd_session *s) {
    for (;;) {
        pthread_rwlock_rdlock(&s->token->use);
        if (is_current(s)) {
            return KD_OK;
        }
        pthread_rwlock_unlock(&s->token->use);
        const enum kd_err r = renew_alone(s, false);
        if (r != KD_OK) {
            return r;
        }
    }
}

bool kd_session_try_enter(struct kd_session *s) {
    if (pthread_rwlock_tryrdlock(&s->token->use) != 0) {
        return false;
    }
    if (!is_current(s)) {
        pthread_rwlock_unlock(&s->token->use);
        return false;
    }
    return true;
}

void kd_session_leave(struct kd_session *s) {
    pthread_rwlock_unlock(&s->token->use);
}

static CK_RV ask(const struct kd_token *t, CK_SESSION_HANDLE session) {
    uint8_t bytes[16]; // Google's kmsp11 gives at least 8
    return t->p11->C_GenerateRandom(session, bytes, sizeof(bytes));
}

static bool is_answer(CK_RV rv) {
    return rv == CKR_OK || rv == CKR_RANDOM_NO_RNG || rv == CKR_FUNCTION_NOT_SUPPORTED ||
           rv == CKR_OPERATION_ACTIVE;
}

bool kd_token_answers(const struct kd_token *t, CK_SESSION_HANDLE session) {
    const CK_RV rv = ask(t, session);
    return is_answer(rv) || rv == CKR_USER_NOT_LOGGED_IN;
}

bool kd_session_answers(const struct kd_session *s) {
    return is_answer(ask(s->token, s->handle)) && is_logged_in(s);
}

enum kd_err kd_session_check(struct kd_session *s) {
    if (!kd_session_try_enter(s)) {
        return KD_OK; // it is renewed now, or before its next use
    }
    const bool is_sound = kd_session_answers(s);
    kd_session_leave(s);
    return is_sound ? KD_OK : kd_session_heal(s, KD_ERR_SESSION_LOST);
}

static bool is_sound(struct kd_session *s, bool (*asked)(const struct kd_session *s)) {
    pthread_rwlock_rdlock(&s->token->use);
    const bool is_good = is_current(s) && asked(s);
    pthread_rwlock_unlock(&s->token->use);
    return is_good;
}

enum kd_err kd_session_heal(struct kd_session *s, enum kd_err cause) {
    if ((cause == KD_ERR_TOKEN || cause == KD_ERR_NO_OBJECT) && is_sound(s, is_logged_in)) {
        return cause; // the session lives: the error is the operation's own
    }
    if (cause == KD_ERR_DEVICE && is_sound(s, kd_session_answers)) {
        return KD_OK;
    }
    const bool may_be_lost = cause == KD_ERR_TOKEN || cause == KD_ERR_NO_OBJECT ||
                             cause == KD_ERR_DEVICE || cause == KD_ERR_TOKEN_AWAY ||
                             cause == KD_ERR_SESSION_LOST;
    return may_be_lost ? renew_alone(s, true) : cause;
}

enum kd_err kd_session_blame(struct kd_session *s, enum kd_err last) {
    if (last != KD_ERR_SESSION_LOST && last != KD_ERR_DEVICE) {
        return last;
    }
    if (kd_session_enter(s) != KD_OK) { // another may have begun a new generation meanwhile
        return KD_ERR_TOKEN_AWAY;
    }
    const bool is_there = kd_session_answers(s);
    kd_session_leave(s);
    return is_there ? KD_ERR_DEVICE : KD_ERR_TOKEN_AWAY;
}

bool kd_session_is_sick(struct kd_session *s, bool is_done, bool has_failed) {
    struct kd_token *t = s->token;
    if (is_done && atomic_load(&t->n_sick) != 0) {
        atomic_store(&t->n_sick, 0);
    }
    if (is_done || !has_failed) {
        return false;
    }
    pthread_mutex_lock(&t->lock);
    const uint64_t now = kd_clock_mono_ms();
    if (atomic_fetch_add(&t->n_sick, 1) == 0) {
        t->sick_since_ms = now;
    }
    const bool is_sick = atomic_load(&t->n_sick) > KD_SESSION_SICK_MAX &&
                         now - t->sick_since_ms > KD_SESSION_SICK_MS;
    pthread_mutex_unlock(&t->lock);
    return is_sick;
}
