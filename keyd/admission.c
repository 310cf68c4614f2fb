// SPDX-License-Identifier: Apache-2.0
// admission.c: whether a handshake may begin, before anything is asked of a worker.
// Sessions and handshakes in progress go first: a new one must show under pressure that
// answers reach its peer (cookie.h), and finds the last part of the queues closed.
#include "keyd/channel_state.h"

// Parts of the workers' queues, in quarters of their room.
enum { RETRY_FROM_QUARTERS = 2, CLOSED_FROM_QUARTERS = 3, QUARTERS = 4 };

static enum kd_err refuse(struct kd_channel *c, enum kd_err err, const char *why) {
    c->counts.handshakes[err]++;
    kd_channel_warn(c, "a handshake was refused", err, "", why);
    return err;
}

// Half of the places, of those that the workers have if these are fewer.
static size_t retry_from(const struct kd_channel_config *config, size_t n, size_t free) {
    const size_t max = n + free < config->handshakes_max ? n + free : config->handshakes_max;
    return config->handshakes_retry != 0 ? config->handshakes_retry : (max + 1) / 2;
}

static enum kd_err ask_to_retry(struct kd_channel *c, const struct kd_cookie_of *of,
                                struct kd_buf *cookie) {
    uint8_t made[KD_COOKIE_BYTES];
    enum kd_err r = kd_cookie_make(&c->cookies, of, kd_clock_mono_ms(), made);
    if (r != KD_OK) {
        return r;
    }
    kd_buf_put(cookie, made, sizeof(made));
    if ((r = kd_buf_finish(cookie)) != KD_OK) {
        return r;
    }
    return refuse(c, KD_ERR_HS_RETRY, "it is to come back with its cookie");
}

enum kd_err kd_channel_admit_handshake(struct kd_channel *c, const struct kd_caller *caller,
                                       const struct kd_handshake_start *start,
                                       struct kd_buf *cookie) {
    const size_t n = kd_map_count(&c->handshakes);
    size_t used = 0;
    size_t room = 0;
    size_t free = SIZE_MAX - n;
    if (c->s->workers != NULL) {
        kd_workers_load(c->s->workers, &used, &room);
    }
    if (room > 0) { // else no worker is there, which is told otherwise
        free = kd_workers_places(c->s->workers);
    }
    const bool is_full = n >= c->config->handshakes_max || free == 0;
    if (is_full && !kd_channel_has_silent(c)) {
        return refuse(c, KD_ERR_BUSY, "handshakes-max");
    }
    if (c->sessions.due.n >= c->config->sessions_max) {
        return refuse(c, KD_ERR_SESSIONS_FULL, "sessions-max");
    }
    if (room > 0 && used * QUARTERS >= room * CLOSED_FROM_QUARTERS) {
        return refuse(c, KD_ERR_BUSY, "the workers' queues");
    }
    const bool is_pressed = is_full || n >= retry_from(c->config, n, free) ||
                            (room > 0 && used * QUARTERS >= room * RETRY_FROM_QUARTERS);
    // Ours, where we initiate, nobody outside can cause.
    if (is_pressed && start->message.n > 0) {
        const struct kd_cookie_of of = {
            .message = start->message,
            .address = start->address,
            .principal = kd_bytes_of_text(caller->principal),
        };
        if (!kd_cookie_is_good(&c->cookies, &of, kd_clock_mono_ms(), start->cookie)) {
            return ask_to_retry(c, &of, cookie);
        }
    }
    if (is_full) {
        kd_channel_end_silent(c);
    }
    return KD_OK;
}
