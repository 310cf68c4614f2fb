// SPDX-License-Identifier: Apache-2.0
// fake_channel.c: the functions of keyd/channel.h, without a channel.
#include "tests/unit/fake_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- answers that come later -----------------------------------------------

struct job {
    struct kd_post post;
    struct kd_service *service;
    enum { JOB_PEER, JOB_HANDSHAKE, JOB_RECORDS, JOB_CHANGE, JOB_RELEASE, JOB_ENVELOPE } kind;
    kd_peer_done *peer_done;
    kd_handshake_done *handshake_done;
    kd_record_done *record_done;
    kd_session_done *session_done;
    kd_release_done *release_done;
    kd_envelope_done *envelope_done;
    void *arg;
    const struct kd_peer_info *peer;
    struct kd_handshake_result handshake;
    struct kd_session_change change;
    struct kd_released released;
    struct kd_envelope_opened opened;
    size_t n;
    struct kd_record_result *results;
    struct kd_buf bytes; // of the answers; never grows
};

static void free_job(struct job *job) {
    free(job->results);
    kd_buf_wipe(&job->bytes);
    free(job);
}

static void answer(struct kd_post *post) {
    struct job *job = (struct job *)post;
    const enum kd_err err = job->service->later;
    const char *detail = job->service->detail;
    const bool is_ok = err == KD_OK;
    switch (job->kind) {
    case JOB_PEER:
        job->peer_done(job->arg, err, detail, is_ok ? job->peer : NULL);
        break;
    case JOB_HANDSHAKE:
        job->handshake_done(job->arg, err, detail, is_ok ? &job->handshake : NULL);
        break;
    case JOB_RECORDS:
        job->record_done(job->arg, err, detail, is_ok ? job->results : NULL, is_ok ? job->n : 0);
        break;
    case JOB_CHANGE:
        job->session_done(job->arg, err, detail, is_ok ? &job->change : NULL);
        break;
    case JOB_RELEASE:
        job->release_done(job->arg, err, detail, is_ok ? &job->released : NULL);
        break;
    case JOB_ENVELOPE:
        job->envelope_done(job->arg, err, detail, is_ok ? &job->opened : NULL);
        break;
    }
    free_job(job);
}

static enum kd_err begin(struct kd_service *s, const char *call, const char *name, size_t room,
                         struct job **out) {
    if (s->is_channel_off || s->at_once != KD_OK) {
        return s->is_channel_off ? KD_ERR_CONFIG : s->at_once;
    }
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    job->service = s;
    job->post.fn = answer;
    job->bytes = KD_BUF_INIT(room + 1);
    (void)kd_buf_extend(&job->bytes, room + 1);
    job->bytes.n = 0;
    if (kd_buf_finish(&job->bytes) != KD_OK) {
        free_job(job);
        return KD_ERR_NO_MEMORY;
    }
    s->n_calls++;
    snprintf(s->call, sizeof(s->call), "%s", call);
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->text[0] = '\0';
    *out = job;
    return KD_OK;
}

static struct kd_bytes put_out(struct job *job, char first, struct kd_bytes a, struct kd_bytes b) {
    const size_t start = job->bytes.n;
    if (first != '\0') {
        kd_buf_u8(&job->bytes, (uint8_t)first);
    }
    kd_buf_put(&job->bytes, a.p, a.n);
    kd_buf_put(&job->bytes, b.p, b.n);
    return (struct kd_bytes) { job->bytes.p + start, job->bytes.n - start };
}

// ---- peers -----------------------------------------------------------------

static const struct kd_peer_info peers[FAKE_PEERS] = {
    { "device",
      { (const uint8_t *)"not really DER", 14 },
      { NULL, 0 },
      { NULL, 0 },
      "http://x",
      500,
      true },
    { "sensor",
      { NULL, 0 },
      { fake_point, sizeof(fake_point) },
      { (const uint8_t *)"k", 1 },
      "",
      500,
      true },
};

enum kd_err kd_channel_peer_add(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                                const struct kd_peer_spec *spec, kd_peer_done *done, void *arg) {
    struct job *job = NULL;
    enum kd_err err = begin(s, "peer-add", spec->name, 0, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_PEER;
    job->peer_done = done;
    job->arg = arg;
    job->peer = &peers[spec->certificate.n > 0 ? 0 : 1];
    snprintf(s->text, sizeof(s->text), "certificate=%s point=%zu kid=%zu uri=%s",
             spec->certificate.n > 0 ? "yes" : "no", spec->point.n, spec->kid.n,
             spec->uri == NULL ? "none" : spec->uri);
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_channel_peer_delete(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                                   const char *name, kd_peer_done *done, void *arg) {
    struct job *job = NULL;
    enum kd_err err = begin(s, "peer-delete", name, 0, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_PEER;
    job->peer_done = done;
    job->arg = arg;
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_channel_peer(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                            const char *name, struct kd_peer_info *out) {
    if (s->is_channel_off || s->allows != KD_OK) {
        return s->is_channel_off ? KD_ERR_CONFIG : s->allows;
    }
    for (size_t i = 0; i < FAKE_PEERS; i++) {
        if (strcmp(peers[i].name, name) == 0) {
            *out = peers[i];
            return KD_OK;
        }
    }
    return KD_ERR_NO_PEER;
}

size_t kd_channel_peers(const struct kd_service *s KD_UNUSED,
                        const struct kd_caller *caller KD_UNUSED, const char *after,
                        struct kd_peer_info *out, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < FAKE_PEERS && n < max; i++) {
        if (after == NULL || strcmp(peers[i].name, after) > 0) {
            out[n++] = peers[i];
        }
    }
    return n;
}

// ---- handshakes ------------------------------------------------------------

static const struct kd_session_info session = {
    .id = FAKE_SESSION,
    .peer = "sensor",
    .relation = "",
    .is_registered = true,
    .profile = KD_PROFILE_RESIDENT,
    .method = 3,
    .suite = 2,
    .update = 1,
    .created_ms = 1000,
    .expires_ms = 2000,
    .sent = 4,
    .received = 5,
    .bytes = 6,
    .records_max = 7,
    .bytes_max = 8,
};

enum kd_err kd_channel_begin(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                             const struct kd_handshake_start *first, struct kd_buf *cookie,
                             kd_handshake_done *done, void *arg) {
    struct job *job = NULL;
    const struct kd_bytes message = first->message;
    if (s->at_once == KD_ERR_HS_RETRY) {
        kd_buf_text(cookie, "cookie");
    }
    enum kd_err err = begin(s, "begin", "", message.n + 1, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_HANDSHAKE;
    job->handshake_done = done;
    job->arg = arg;
    job->handshake = (struct kd_handshake_result) {
        .err = s->item,
        .id = FAKE_SESSION,
        .message = put_out(job, message.n == 0 ? '1' : '2', message, KD_BYTES_NONE),
        .expires_ms = 5000,
    };
    snprintf(s->text, sizeof(s->text), "message=%zu method=%u", message.n, first->method);
    if (first->address.n + first->cookie.n > 0) {
        snprintf(s->text, sizeof(s->text), "address=%.*s cookie=%.*s", (int)first->address.n,
                 (const char *)first->address.p, (int)first->cookie.n,
                 first->cookie.n == 0 ? "" : (const char *)first->cookie.p);
    }
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_channel_step(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                            const char *id, struct kd_bytes message, kd_handshake_done *done,
                            void *arg) {
    if (strcmp(id, FAKE_SESSION) != 0) {
        return KD_ERR_NO_HANDSHAKE;
    }
    struct job *job = NULL;
    enum kd_err err = begin(s, "step", id, message.n + 1, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_HANDSHAKE;
    job->handshake_done = done;
    job->arg = arg;
    // 'u': another message is due; 'l': the last one, which has no answer.
    job->handshake = (struct kd_handshake_result) {
        .err = s->item,
        .id = FAKE_SESSION,
        .expires_ms = 5000,
        .session = message.p[0] == 'u' ? NULL : &session,
    };
    if (message.p[0] != 'l') {
        job->handshake.message = put_out(job, '4', message, KD_BYTES_NONE);
    }
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_channel_abandon(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                               const char *id) {
    if (s->is_channel_off) {
        return KD_ERR_CONFIG;
    }
    return strcmp(id, FAKE_SESSION) == 0 ? KD_OK : KD_ERR_NO_HANDSHAKE;
}

// ---- sessions --------------------------------------------------------------

enum kd_err kd_channel_session(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                               const char *id, struct kd_session_info *out) {
    if (s->is_channel_off) {
        return KD_ERR_CONFIG;
    }
    if (strcmp(id, FAKE_SESSION) != 0) {
        return KD_ERR_NO_SESSION;
    }
    *out = session;
    return KD_OK;
}

size_t kd_channel_sessions(const struct kd_service *s KD_UNUSED,
                           const struct kd_caller *caller KD_UNUSED, const char *after,
                           struct kd_session_info *out, size_t max) {
    if (after != NULL || max == 0) {
        return 0;
    }
    out[0] = session;
    return 1;
}

enum kd_err kd_channel_session_delete(struct kd_service *s, const struct kd_caller *caller,
                                      const char *id, kd_session_done *done, void *arg) {
    struct kd_session_info info;
    struct job *job = NULL;
    enum kd_err err = kd_channel_session(s, caller, id, &info);
    if (err != KD_OK || (err = begin(s, "end", id, 0, &job)) != KD_OK) {
        return err;
    }
    job->kind = JOB_CHANGE;
    job->session_done = done;
    job->arg = arg;
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_channel_ticket(const struct kd_service *s, const struct kd_caller *caller,
                              const char *id, struct kd_bytes *ticket) {
    struct kd_session_info info;
    enum kd_err err = kd_channel_session(s, caller, id, &info);
    if (err == KD_OK) {
        *ticket = kd_bytes_of_text("ticket");
    }
    return err;
}

enum kd_err kd_channel_resume(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                              struct kd_bytes ticket, struct kd_bytes client_nonce,
                              kd_session_done *done, void *arg) {
    struct job *job = NULL;
    enum kd_err err = begin(s, "resume", "", client_nonce.n + 1, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_CHANGE;
    job->session_done = done;
    job->arg = arg;
    job->change.session = session;
    job->change.session.suite = 0;
    job->change.node_nonce = kd_bytes_of_text("node");
    job->change.record = put_out(job, 'R', client_nonce, KD_BYTES_NONE);
    snprintf(s->text, sizeof(s->text), "ticket=%zu nonce=%zu", ticket.n, client_nonce.n);
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_channel_update(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                              const char *id, kd_session_done *done, void *arg) {
    if (strcmp(id, FAKE_SESSION) != 0) {
        return KD_ERR_NO_SESSION;
    }
    struct job *job = NULL;
    enum kd_err err = begin(s, "update", id, 0, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_CHANGE;
    job->session_done = done;
    job->arg = arg;
    job->change.session = session;
    job->change.record = kd_bytes_of_text("U");
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

static const uint8_t released_bytes[KD_WINDOW_BYTES] = { 1, 2, 3 };

enum kd_err kd_channel_release(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                               const char *id, kd_release_done *done, void *arg) {
    if (strcmp(id, FAKE_SESSION) != 0) {
        return KD_ERR_NO_SESSION;
    }
    struct job *job = NULL;
    enum kd_err err = begin(s, "release", id, 0, &job);
    if (err != KD_OK) {
        return err;
    }
    const struct kd_bytes key = { released_bytes, 32 };
    const struct kd_bytes iv = { released_bytes, KD_RECORD_IV_BYTES };
    job->kind = JOB_RELEASE;
    job->release_done = done;
    job->arg = arg;
    job->released = (struct kd_released) { .session = session,
                                           .keys = { key, key, key },
                                           .iv_c2s = iv,
                                           .iv_s2c = iv,
                                           .send_next = 9,
                                           .has_received = s->has_received,
                                           .received_top = 11,
                                           .received = { released_bytes, KD_WINDOW_BYTES },
                                           .left_ms = 12,
                                           .records_left = 13,
                                           .bytes_left = 14,
                                           .otp = KD_OTP_DEFAULT };
    job->released.session.profile = KD_PROFILE_RELEASED;
    job->released.session.is_released = true;
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

// ---- records ---------------------------------------------------------------

static void work_item(struct job *job, bool is_open, const struct kd_record_item *item,
                      struct kd_record_result *r) {
    if (!is_open && strcmp(item->session, FAKE_SESSION) != 0) {
        r->err = KD_ERR_NO_SESSION;
        return;
    }
    snprintf(r->session, sizeof(r->session), "%s", FAKE_SESSION);
    if (!is_open) {
        r->out = put_out(job, (char)('0' + item->type), item->aad, item->data);
        return;
    }
    const uint8_t type = item->data.n > 0 ? (uint8_t)(item->data.p[0] - '0') : 0;
    if (item->data.n < 1 + item->aad.n || type > KD_RECORD_TYPE_LAST) {
        r->err = KD_ERR_RECORD_FORM;
        return;
    }
    r->peer = "sensor";
    r->relation = "";
    r->is_registered = true;
    r->type = type;
    r->sequence = 9;
    r->out = put_out(
        job, '\0',
        (struct kd_bytes) { item->data.p + 1 + item->aad.n, item->data.n - 1 - item->aad.n },
        KD_BYTES_NONE);
}

enum kd_err kd_channel_records(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                               const struct kd_record_work *work, kd_record_done *done, void *arg) {
    size_t room = 0;
    for (size_t i = 0; i < work->n_items; i++) {
        room += 1 + work->items[i].data.n + work->items[i].aad.n;
    }
    struct job *job = NULL;
    enum kd_err err = begin(s, work->is_open ? "open" : "seal", "", room, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_RECORDS;
    job->record_done = done;
    job->arg = arg;
    job->n = work->n_items;
    job->results = calloc(job->n, sizeof(*job->results));
    if (job->results == NULL) {
        free_job(job);
        return KD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < job->n; i++) {
        struct kd_record_result *r = &job->results[i];
        if (s->item == KD_OK || i != job->n - 1) {
            work_item(job, work->is_open, &work->items[i], r);
            continue;
        }
        r->err = s->item;
        if (work->is_open && s->item == KD_ERR_SESSION_EXPIRED) {
            r->answer = kd_bytes_of_text("bye");
        }
    }
    snprintf(s->text, sizeof(s->text), "n=%zu", work->n_items);
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

void kd_channel_report(const struct kd_service *s, struct kd_channel_report *out) {
    *out = (struct kd_channel_report) {
        .is_on = !s->is_channel_off,
        .n_peers = FAKE_PEERS,
        .n_handshakes = 1,
        .n_sessions = 1,
    };
}

// ---- envelopes ---------------------------------------------------------------

enum kd_err kd_envelope_key(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                            struct kd_envelope_key *out) {
    static const uint8_t point[65] = { 4 };
    *out = (struct kd_envelope_key) {
        .name = "mailbox",
        .version = 1,
        .point = { point, sizeof(point) },
        .id = { 1, 2, 3 },
        .validity_max_s = 3600,
        .leeway_s = 60,
    };
    return s->is_channel_off ? KD_ERR_CONFIG : KD_OK;
}

enum kd_err kd_envelope_open(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                             struct kd_bytes envelope, kd_envelope_done *done, void *arg) {
    static const uint8_t id[KD_ENVELOPE_ID_BYTES] = { 0xab };
    struct job *job = NULL;
    enum kd_err err = begin(s, "envelope-open", "", envelope.n, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_ENVELOPE;
    job->envelope_done = done;
    job->arg = arg;
    job->opened = (struct kd_envelope_opened) {
        .id = id,
        .time_s = 1000000000,
        .expires_s = 1000003600,
        .sender = "a \"sensor\"",
        .body = put_out(job, '\0', envelope, KD_BYTES_NONE),
    };
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}
