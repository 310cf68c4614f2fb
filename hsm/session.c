// SPDX-License-Identifier: Apache-2.0
// session.c: opens, closes and heals a thread's session.
#include "hsm/session.h"

enum { RESULT_MAX_BYTES = KD_HSM_FRAME_MAX_BYTES };

static enum kd_err open_handle(struct kd_token *t, CK_SESSION_HANDLE *out) {
    return kd_ckr(
        "C_OpenSession",
        t->p11->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, out));
}

enum kd_err kd_session_open(struct kd_token *t, struct kd_session *out) {
    kd_auto(secret) struct kd_secret *scratch = NULL;
    CK_SESSION_HANDLE handle = 0;
    enum kd_err r;
    if ((r = kd_secret_new(KD_SCRATCH_BYTES, &scratch)) != KD_OK ||
        (r = open_handle(t, &handle)) != KD_OK) {
        return r;
    }
    pthread_mutex_lock(&t->lock);
    const uint64_t generation = t->generation;
    pthread_mutex_unlock(&t->lock);
    *out = (struct kd_session) { .token = t,
                                 .handle = handle,
                                 .generation = generation,
                                 .scratch = KD_STEAL(scratch),
                                 .out = KD_BUF_INIT(RESULT_MAX_BYTES) };
    return KD_OK;
}

void kd_session_close(struct kd_session *s) {
    if (s->token == NULL) {
        return;
    }
    if (s->handle != 0) {
        s->token->p11->C_CloseSession(s->handle);
    }
    kd_secret_free(s->scratch);
    kd_wipe(s->out.p, s->out.cap);
    kd_buf_wipe(&s->out);
    s->token = NULL;
}

// Forgets what the sessions of this generation knew, unless another thread has
// done so already.
static void begin_generation(struct kd_session *s) {
    struct kd_token *t = s->token;
    pthread_mutex_lock(&t->lock);
    if (t->generation == s->generation) {
        t->generation++;
        kd_objects_wipe(t);
        kd_cached_wipe(t);
        kd_sessions_wipe(t);
    }
    s->generation = t->generation;
    pthread_mutex_unlock(&t->lock);
}

static bool is_logged_in(struct kd_session *s) {
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

static enum kd_err renew(struct kd_session *s) {
    s->token->p11->C_CloseSession(s->handle);
    s->handle = 0;
    begin_generation(s);
    enum kd_err r;
    if ((r = open_handle(s->token, &s->handle)) != KD_OK || (r = check_login(s)) != KD_OK) {
        return r;
    }
    kd_log(KD_LOG_INFO, "token", "a session was opened anew", "generation=%llu",
           (unsigned long long)s->generation);
    return KD_OK;
}

enum kd_err kd_session_heal(struct kd_session *s, enum kd_err cause) {
    const bool is_doubtful = cause == KD_ERR_TOKEN || cause == KD_ERR_NO_OBJECT;
    if (is_doubtful && is_logged_in(s)) {
        return cause; // the session lives: the error is the operation's own
    }
    if (!is_doubtful && cause != KD_ERR_SESSION_LOST && cause != KD_ERR_TOKEN_AWAY) {
        return cause;
    }
    return renew(s) == KD_OK ? KD_OK : KD_ERR_TOKEN_AWAY;
}
