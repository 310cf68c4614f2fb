// SPDX-License-Identifier: Apache-2.0
// release_work.c: the traffic keys of a session's use leave keyd, once, for a message server that
// seals and opens by itself.  Two that count sequence numbers under one key would use a nonce
// twice: so from the call on nothing new is done with these keys here, what is under way is waited
// for, and only then are they asked for.  The next use (after a key update or a resume) has
// other keys, which are ours again.
#include "keyd/channel_state.h"

#include <stdlib.h>
#include <string.h>

// One release on its way.
struct release {
    struct kd_later later; // first
    struct kd_session_waiter waiter;
    struct kd_channel *c;
    kd_release_done *done;
    void *arg;
    struct kd_session_use *use; // held
    char owner[KD_NAME_MAX_BYTES + 1];
    char session[KD_SESSION_TEXT_BYTES];
};

static void end(struct release *w, enum kd_err err, const char *detail,
                const struct kd_released *out) {
    if (err != KD_OK) {
        kd_channel_warn(w->c, "the keys of a session were not released", err, w->session, detail);
        w->use->state = KD_USE_KEPT; // nobody has got them
    }
    w->c->counts.released[err]++;
    w->done(w->arg, err, detail, out);
    w->c->s->pending--;
    kd_session_use_release(w->use);
    free(w);
}

static uint64_t left_of(uint64_t max, uint64_t used) {
    return used < max ? max - used : 0;
}

// What was counted goes with the keys.
static void tell(struct release *w, const struct kd_session_entry *e, struct kd_bytes keys) {
    const struct kd_session_use *u = w->use;
    const uint64_t now = kd_clock_wall_ms();
    uint8_t seen[KD_WINDOW_BYTES];
    struct kd_reader in = kd_reader_of(keys);
    struct kd_released out = {
        .session = kd_channel_info(e),
        .is_client = e->terms.is_client,
        .send_next = u->send.next,
        .has_received = u->window.has_any,
        .received_top = u->window.top,
        .received = { seen, sizeof(seen) },
        .left_ms = left_of(e->terms.expires_ms, now),
        .records_left = left_of(e->terms.records_max, e->sent + e->received),
        .bytes_left = left_of(e->terms.bytes_max, e->bytes),
        .otp = e->terms.otp,
    };
    kd_window_save(&u->window, seen);
    for (size_t i = 0; i < KD_TRAFFIC_KEYS; i++) {
        out.keys[i] = kd_read_bytes(&in, sizeof(struct kd_key32));
    }
    out.iv_c2s = kd_read_bytes(&in, KD_RECORD_IV_BYTES);
    out.iv_s2c = kd_read_bytes(&in, KD_RECORD_IV_BYTES);
    kd_log(KD_LOG_INFO, "channel", "the keys of a session were released",
           "session=%s peer=%s principal=%s sent=%llu received=%llu", e->text, e->peer->info.name,
           w->owner, (unsigned long long)e->sent, (unsigned long long)e->received);
    end(w, KD_OK, "", &out);
}

static enum kd_err on_keys(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct release *w = arg;
    struct kd_hsm_result result = { .err = reply->err };
    char detail[KD_DETAIL_BYTES];
    enum kd_err read = KD_OK;
    kd_detail_copy(detail, reply->detail);
    if (reply->err == KD_OK &&
        (reply->n_items != 1 ||
         kd_hsm_get_result(items, KD_HSM_SESSION_RELEASE, &result) != KD_OK ||
         kd_reader_finish(items) != KD_OK ||
         (result.err == KD_OK && result.out.n != KD_HSM_RELEASED_BYTES))) {
        read = KD_ERR_MALFORMED;
        result.err = KD_ERR_MALFORMED;
    }
    const struct kd_session_entry *e = w->use->session;
    const enum kd_err err = result.err != KD_OK ? result.err
                            : e == NULL         ? KD_ERR_NO_SESSION
                                                : KD_OK;
    if (err != KD_OK) {
        end(w, err, detail, NULL);
        return read;
    }
    w->use->state = KD_USE_RELEASED;
    w->c->sessions.lost(w->c, w->use); // no worker needs them any more
    tell(w, e, result.out);
    return KD_OK;
}

static enum kd_err ask(struct release *w) {
    const struct kd_session_use *u = w->use;
    struct kd_hsm_session session = kd_session_use_show(u);
    const struct kd_hsm_item item = { .session = &session };
    struct kd_hsm_request head = { .op = KD_HSM_SESSION_RELEASE, .n_items = 1 };
    struct kd_call *call = NULL;
    enum kd_err r;
    if (u->session == NULL) {
        return KD_ERR_NO_SESSION;
    }
    if (u->session->expired != 0) {
        return KD_ERR_SESSION_EXPIRED;
    }
    if ((r = kd_channel_put_keys(w->c, u->ticket_version, 0, &head)) != KD_OK ||
        (r = kd_service_begin(w->c->s, &head, u->cache, &call)) != KD_OK) {
        return r;
    }
    kd_call_put(call, &item);
    return kd_call_send(call, on_keys, w);
}

static void ask_later(struct kd_later *l) {
    struct release *w = (struct release *)l;
    const enum kd_err r = ask(w);
    if (r != KD_OK) {
        end(w, r, "", NULL);
    }
}

// Nothing is under way with these keys any more.
static void on_quiet(void *arg) {
    struct release *w = arg;
    kd_channel_later(w->c, &w->later);
}

static enum kd_err check(const struct kd_session_entry *e) {
    if (e->terms.profile != KD_PROFILE_RELEASED) {
        return KD_ERR_SESSION_RESIDENT;
    }
    if (e->expired != 0) {
        return KD_ERR_SESSION_EXPIRED;
    }
    // A resume is not the client's until it has used it.
    if (e->is_updating || e->now == NULL || e->now->state == KD_USE_RELEASING) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    return e->now->state == KD_USE_RELEASED ? KD_ERR_SESSION_RELEASED : KD_OK;
}

enum kd_err kd_channel_release(struct kd_service *s, const struct kd_caller *caller, const char *id,
                               kd_release_done *done, void *arg) {
    struct kd_channel *c = NULL;
    struct kd_session_entry *e = NULL;
    enum kd_err r = kd_channel_admit(s, caller, &c);
    if (r != KD_OK ||
        (r = kd_service_allows(s, caller, KD_MAY_RELEASE, c->config->identity)) != KD_OK ||
        (r = kd_channel_find_session(c, caller, id, &e)) != KD_OK || (r = check(e)) != KD_OK) {
        return r;
    }
    struct release *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    w->later.fn = ask_later;
    w->waiter = (struct kd_session_waiter) { on_quiet, w };
    w->c = c;
    w->done = done;
    w->arg = arg;
    w->use = e->now;
    memcpy(w->owner, caller->principal, strlen(caller->principal) + 1);
    memcpy(w->session, e->text, sizeof(w->session));
    w->use->state = KD_USE_RELEASING;
    s->pending++;
    kd_session_use_hold(w->use);
    kd_session_use_wait(w->use, &w->waiter);
    return KD_OK;
}
