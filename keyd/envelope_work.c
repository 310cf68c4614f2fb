// SPDX-License-Identifier: Apache-2.0
// envelope_work.c: an envelope on its way: its form and time are checked here, a worker
// opens it, and its id is written before the text goes out.  An id is spent by an
// envelope that was authentic only, so that nobody spends another's.
#include "keyd/channel_state.h"

#include <stdlib.h>
#include <string.h>

struct kd_opening {
    struct kd_opening *next; // that waits for the disk, or is written with it
    struct kd_channel *c;
    kd_envelope_done *done;
    void *arg;
    uint8_t id[KD_ENVELOPE_ID_BYTES];
    char id_text[2 * KD_ENVELOPE_ID_BYTES + 1];
    char sender[KD_ENVELOPE_SENDER_MAX_BYTES + 1]; // not for the log: anybody may say anything
    uint64_t time_s, expires_s;
    struct kd_store_spent row; // of the store's thread while it is written
    struct kd_buf body;
};

static struct kd_bytes id_of(const struct kd_opening *o) {
    return (struct kd_bytes) { o->id, sizeof(o->id) };
}

static enum kd_err admit(const struct kd_service *s, const struct kd_caller *caller,
                         struct kd_channel **out) {
    if (s->channel == NULL || s->config->channel.envelope[0] == '\0') {
        return KD_ERR_CONFIG;
    }
    *out = s->channel;
    return kd_service_admit(s, caller, KD_MAY_ENVELOPE, s->config->channel.envelope);
}

static void end(struct kd_opening *o, enum kd_err err, const char *detail) {
    o->c->envelopes.counts[err]++;
    if (err != KD_OK) {
        kd_channel_warn(o->c, "an envelope was not opened", err, o->id_text, detail);
    } else {
        kd_log(KD_LOG_DEBUG, "channel", "an envelope was opened", "id=%s", o->id_text);
    }
    const struct kd_envelope_opened opened = {
        .id = o->id,
        .time_s = o->time_s,
        .expires_s = o->expires_s,
        .sender = o->sender,
        .body = kd_buf_get(&o->body),
    };
    o->done(o->arg, err, detail, err == KD_OK ? &opened : NULL);
    o->c->s->pending--;
    kd_buf_wipe(&o->body);
    free(o);
}

// ---- the key ---------------------------------------------------------------

static enum kd_err find_key(const struct kd_channel *c, struct kd_bytes key_id,
                            const struct kd_key_version **out) {
    const struct kd_entry *e = kd_registry_get(&c->s->registry, c->config->envelope);
    for (size_t i = e == NULL ? 0 : e->key.n_versions; i > 0; i--) {
        const struct kd_key_version *v = &e->key.versions[i - 1];
        struct kd_point point;
        uint8_t id[KD_ENVELOPE_KEY_ID_BYTES];
        if (v->state != KD_VERSION_ENABLED ||
            kd_point_read(KD_CURVE_P256, v->ref.proof, &point) != KD_OK) {
            continue;
        }
        kd_envelope_key_id(&point, id);
        if (kd_bytes_equal(key_id, (struct kd_bytes) { id, sizeof(id) })) {
            *out = v;
            return KD_OK;
        }
    }
    return KD_ERR_ENVELOPE_KEY;
}

enum kd_err kd_envelope_key(const struct kd_service *s, const struct kd_caller *caller,
                            struct kd_envelope_key *out) {
    const struct kd_channel *c = s->channel;
    if (c == NULL || c->config->envelope[0] == '\0') {
        return KD_ERR_CONFIG;
    }
    const struct kd_key_version *v = NULL;
    struct kd_point point;
    enum kd_err r = kd_service_allows(s, caller, KD_MAY_SHOW, c->config->envelope);
    if ((r != KD_OK &&
         (r = kd_service_allows(s, caller, KD_MAY_ENVELOPE, c->config->envelope)) != KD_OK) ||
        (r = kd_channel_key(c, c->config->envelope, 0, &v)) != KD_OK) {
        return r;
    }
    if (kd_point_read(KD_CURVE_P256, v->ref.proof, &point) != KD_OK) {
        return KD_ERR_KEY_TYPE;
    }
    *out = (struct kd_envelope_key) {
        .name = c->config->envelope,
        .version = v->number,
        .point = v->ref.proof,
        .validity_max_s = c->config->envelope_validity_max_sec,
        .leeway_s = c->config->envelope_leeway_sec,
    };
    kd_envelope_key_id(&point, out->id);
    return KD_OK;
}

// ---- its place -------------------------------------------------------------

enum { SOON_SEC = 60 };
static const char many[] =
    "Many envelopes are remembered (channel.envelopes-max): one that expires "
    "within a minute has a place sooner; or come again later.";

// A minute from now, by a clock that is ahead as far as it may be.  Both ends are counted from what
// past_ms says.
void kd_envelopes_init(struct kd_envelopes *e, const struct kd_channel_config *config) {
    const uint64_t leeway_sec = config->envelope_leeway_sec;
    kd_spent_init(&e->spent, config->envelopes_max, (SOON_SEC + 2 * leeway_sec) * 1000);
}

// ---- its time --------------------------------------------------------------

// An id is kept with the end that its envelope says, without the leeway: that may be another one
// after a restart.
static uint64_t past_ms(const struct kd_channel_config *config) {
    const uint64_t now_ms = kd_clock_wall_ms();
    const uint64_t leeway_ms = config->envelope_leeway_sec * UINT64_C(1000);
    return now_ms > leeway_ms ? now_ms - leeway_ms : 0;
}

static enum kd_err check_time(const struct kd_channel_config *config, const struct kd_envelope *e) {
    const uint64_t now_s = kd_clock_wall_ms() / 1000;
    const uint64_t leeway_s = config->envelope_leeway_sec;
    const bool is_sound = e->time_s <= now_s + leeway_s && e->expires_s > e->time_s &&
                          e->expires_s - e->time_s <= config->envelope_validity_max_sec &&
                          e->expires_s * 1000 > past_ms(config);
    return is_sound ? KD_OK : KD_ERR_ENVELOPE_TIME;
}

// ---- its way back ----------------------------------------------------------

static enum kd_err run_notes(struct kd_store_job *job, struct kd_store *store) {
    struct kd_spent_writer *w = (struct kd_spent_writer *)job;
    return kd_store_add_spent(store, &w->writing->row, w->past_ms);
}

static void write_notes(struct kd_channel *c);

static void notes_done(struct kd_store_job *job, enum kd_err err) {
    struct kd_spent_writer *w = (struct kd_spent_writer *)job;
    struct kd_channel *c = w->writing->c;
    for (struct kd_opening *o = w->writing; o != NULL;) {
        struct kd_opening *next = o->next;
        const enum kd_err r = err != KD_OK ? err : o->row.err;
        if (r != KD_OK) { // nobody has seen the text: it may come again
            kd_spent_remove(&c->envelopes.spent, id_of(o));
        }
        end(o, r, "");
        o = next;
    }
    w->writing = NULL;
    if (w->waiting != NULL) {
        write_notes(c);
    }
}

// All that wait, in one transaction: envelopes may come faster than a disk writes.
static void write_notes(struct kd_channel *c) {
    struct kd_spent_writer *w = &c->envelopes.writer;
    w->writing = w->waiting;
    w->waiting = NULL;
    w->past_ms = past_ms(c->config);
    for (struct kd_opening *o = w->writing; o != NULL; o = o->next) {
        o->row = (struct kd_store_spent) { .id = id_of(o),
                                           .until_ms = o->expires_s * 1000,
                                           .next = o->next == NULL ? NULL : &o->next->row };
    }
    w->job.run = run_notes;
    w->job.done = notes_done;
    kd_store_thread_submit(c->s->store, &w->job);
}

static void note(struct kd_opening *o) {
    struct kd_spent_writer *w = &o->c->envelopes.writer;
    o->next = w->waiting;
    w->waiting = o;
    if (w->writing == NULL) {
        write_notes(o->c);
    }
}

static enum kd_err take_body(struct kd_opening *o, struct kd_bytes body) {
    (void)kd_buf_extend(&o->body, body.n + 1);
    o->body.n = 0;
    kd_buf_put(&o->body, body.p, body.n);
    return kd_buf_finish(&o->body);
}

static enum kd_err on_opened(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct kd_opening *o = arg;
    struct kd_hsm_result result = { 0 };
    char detail[KD_DETAIL_BYTES];
    kd_detail_copy(detail, reply->detail);
    if (reply->err == KD_OK &&
        (reply->n_items != 1 || kd_hsm_get_result(items, KD_HSM_ENVELOPE_OPEN, &result) != KD_OK ||
         kd_reader_finish(items) != KD_OK)) {
        end(o, KD_ERR_MALFORMED, "");
        return KD_ERR_MALFORMED;
    }
    enum kd_err r = reply->err != KD_OK ? reply->err : result.err;
    if (r != KD_OK || (r = take_body(o, result.out)) != KD_OK) {
        end(o, r, detail);
        return KD_OK;
    }
    r = kd_spent_add(&o->c->envelopes.spent, id_of(o), o->expires_s * 1000, past_ms(o->c->config));
    if (r != KD_OK) {
        end(o, r, r == KD_ERR_BUSY ? many : "");
        return KD_OK;
    }
    note(o);
    return KD_OK;
}

// ---- its way there ---------------------------------------------------------

static enum kd_err send(struct kd_opening *o, const struct kd_key_version *key,
                        const struct kd_envelope *e) {
    kd_auto(buf) struct kd_buf data = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    struct kd_hsm_request head = { .op = KD_HSM_ENVELOPE_OPEN, .n_items = 1, .n_keys = 1 };
    struct kd_call *call = NULL;
    head.keys[0] = key->ref;
    kd_buf_put(&data, e->enc.p, e->enc.n);
    kd_buf_put(&data, e->sealed.p, e->sealed.n);
    enum kd_err r;
    if ((r = kd_buf_finish(&data)) != KD_OK ||
        (r = kd_service_begin(o->c->s, &head, NULL, &call)) != KD_OK) {
        return r;
    }
    const struct kd_hsm_item item = { .data = kd_buf_get(&data),
                                      .iv = kd_bytes_of_text(KD_ENVELOPE_INFO),
                                      .aad = e->aad };
    kd_call_put(call, &item);
    return kd_call_send(call, on_opened, o);
}

static struct kd_opening *new_opening(struct kd_channel *c, const struct kd_envelope *e) {
    struct kd_opening *o = calloc(1, sizeof(*o));
    if (o != NULL) {
        o->c = c;
        o->time_s = e->time_s;
        o->expires_s = e->expires_s;
        o->body = KD_BUF_INIT(KD_ENVELOPE_BODY_MAX_BYTES + 1);
        memcpy(o->id, e->id.p, sizeof(o->id));
        kd_hex_encode(o->id, sizeof(o->id), o->id_text);
        memcpy(o->sender, e->sender.n == 0 ? (const uint8_t *)"" : e->sender.p, e->sender.n);
    }
    return o;
}

static enum kd_err begin(struct kd_channel *c, struct kd_bytes envelope, kd_envelope_done *done,
                         void *arg) {
    struct kd_envelope e;
    const struct kd_key_version *key = NULL;
    enum kd_err r;
    if ((r = kd_envelope_parse(envelope, &e)) != KD_OK ||
        (r = check_time(c->config, &e)) != KD_OK || (r = find_key(c, e.key_id, &key)) != KD_OK) {
        return r;
    }
    // Before the token has any work.
    if ((r = kd_spent_check(&c->envelopes.spent, e.id, e.expires_s * 1000)) != KD_OK) {
        return r;
    }
    struct kd_opening *o = new_opening(c, &e);
    if (o == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    o->done = done;
    o->arg = arg;
    if ((r = send(o, key, &e)) != KD_OK) {
        free(o);
        return r;
    }
    c->s->pending++;
    return KD_OK;
}

enum kd_err kd_envelope_open(struct kd_service *s, const struct kd_caller *caller,
                             struct kd_bytes envelope, kd_envelope_done *done, void *arg) {
    struct kd_channel *c = NULL;
    enum kd_err r = admit(s, caller, &c);
    if (r != KD_OK) {
        return r;
    }
    if ((r = begin(c, envelope, done, arg)) != KD_OK) {
        c->envelopes.counts[r]++;
        kd_channel_warn(c, "an envelope was not opened", r, "", "");
    }
    return r;
}

void kd_envelopes_metrics(const struct kd_envelopes *e, struct kd_buf *out) {
    kd_tally_head(out, "keyd_envelopes_total", "counter", "Envelopes, by result.");
    kd_tally_results(out, "keyd_envelopes_total", "", e->counts);
    kd_tally_head(out, "keyd_envelopes_remembered", "gauge",
                  "Envelopes that were opened and have not expired.");
    kd_buf_printf(out, "keyd_envelopes_remembered %zu\n", kd_map_count(&e->spent.by_id));
}
