// SPDX-License-Identifier: Apache-2.0
// released.c: sessions whose traffic keys keyd has released to this gateway (docs/gateway.md,
// Mode): their records are opened and sealed here.  What is counted goes on where keyd stopped:
// numbers, window, limits.  Keys are in cells of locked memory and nowhere else.  What does not
// open here goes to keyd, which may have newer keys of the session: after a resume.
#include "gateway/released.h"

#include "gateway/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ID_BYTES = 8,
    PATH_MAX_BYTES = 64,
    OLD_KEYS_MS = 60000, // how long records under the keys before an update are taken
    GRACE_MS = 300000,   // that a session which has expired can still say so
    SWEEP_MS = 30000,
};

struct taken {
    uint8_t id[ID_BYTES];
    char session[2 * ID_BYTES + 1];
    char peer[KD_NAME_MAX_BYTES + 1];
    char relation[KD_NAME_MAX_BYTES + 1];
    bool is_registered;              // the peer
    struct kd_soft_traffic *traffic; // a cell
    struct kd_record_ivs ivs;
    struct kd_otp_params otp;
    struct kd_window window;
    struct kd_sequence send;
    uint64_t records_left, bytes_left;
    uint64_t ends_ms;    // monotonic
    uint64_t checked_ms; // when keyd was asked for it
    enum kd_record_expiry expired;
    struct kd_buf expiry; // the sealed record that says so, of its step
    uint64_t expiry_step;
    bool is_old; // there are newer keys: nothing is sealed with these
    struct taken *before;
    uint64_t before_ends_ms;
};

struct kd_takings {
    struct kd_map by_id;
    struct kd_cells cells;
    struct kd_timer *timer;
};

// ---- what is held ----------------------------------------------------------

static void free_taken(struct kd_takings *t, struct taken *e) {
    if (e == NULL) {
        return;
    }
    free_taken(t, e->before);
    kd_cells_put(&t->cells, e->traffic);
    kd_window_wipe(&e->window);
    kd_buf_wipe(&e->expiry);
    free(e);
}

static void drop(struct kd_takings *t, struct taken *e) {
    kd_map_remove(&t->by_id, (struct kd_bytes) { e->id, ID_BYTES });
    free_taken(t, e);
}

size_t kd_released_count(const struct kd_gateway *g) {
    return g->takings == NULL ? 0 : kd_map_count(&g->takings->by_id);
}

static struct taken *find_text(const struct kd_gateway *g, const char *session) {
    uint8_t id[ID_BYTES];
    return kd_released_count(g) == 0 || strlen(session) != 2 * ID_BYTES ||
                   kd_hex_decode(session, id, ID_BYTES) != KD_OK
               ? NULL
               : kd_map_get(&g->takings->by_id, (struct kd_bytes) { id, ID_BYTES });
}

void kd_released_forget(struct kd_gateway *g, const char *session) {
    struct taken *e = find_text(g, session);
    if (e != NULL) {
        kd_log(KD_LOG_INFO, "gateway", "released keys were given up", "session=%s", session);
        drop(g->takings, e);
    }
}

static void on_sweep(void *gateway) {
    struct kd_gateway *g = gateway;
    const uint64_t now = kd_clock_mono_ms();
    size_t cursor = 0;
    for (struct taken *e; (e = kd_map_next(&g->takings->by_id, &cursor)) != NULL;) {
        if (e->before != NULL && now >= e->before_ends_ms) {
            free_taken(g->takings, KD_STEAL(e->before));
        }
        if (now >= e->ends_ms + GRACE_MS) {
            drop(g->takings, e);
        }
    }
    kd_timer_set(g->takings->timer, SWEEP_MS);
}

static struct kd_record_end end_of(const struct taken *e) {
    return (struct kd_record_end) { .ops = &kd_traffic_ops_soft,
                                    .ctx = e->traffic,
                                    .id = { e->id, ID_BYTES },
                                    .ivs = e->ivs,
                                    .otp = e->otp };
}

// ---- taking over -----------------------------------------------------------

// 0 up to max: nothing is cut off on the way to where it belongs.
static bool get_number(const struct kd_json *object, const char *member, uint64_t max,
                       uint64_t *out) {
    const struct kd_json *n = kd_json_get(object, member);
    if (!kd_json_is(n, KD_JSON_INTEGER) || n->integer < 0 || (uint64_t)n->integer > max) {
        return false;
    }
    *out = (uint64_t)n->integer;
    return true;
}

static bool get_name(const struct kd_json *object, const char *member,
                     char out[static KD_NAME_MAX_BYTES + 1]) {
    const char *text = kd_answer_text(object, member);
    if (!kd_name_is_valid(kd_bytes_of_text(text))) {
        return false;
    }
    snprintf(out, KD_NAME_MAX_BYTES + 1, "%s", text);
    return true;
}

// Exactly n bytes, to where they belong and nowhere else.
static bool get_fixed(const struct kd_json *object, const char *member, uint8_t *to, size_t n) {
    struct kd_buf out = { .p = to, .cap = n, .max = n };
    return kd_b64_decode(kd_bytes_of_text(kd_answer_text(object, member)), &out) == KD_OK &&
           kd_buf_finish(&out) == KD_OK && out.n == n;
}

static bool read_keys(const struct kd_json *answer, struct taken *e) {
    const struct kd_json *keys = kd_json_get(answer, "keys");
    const struct kd_json *ivs = kd_json_get(answer, "ivs");
    return get_fixed(keys, "c2s", e->traffic->keys[KD_TRAFFIC_C2S].bytes, 32) &&
           get_fixed(keys, "s2c", e->traffic->keys[KD_TRAFFIC_S2C].bytes, 32) &&
           get_fixed(keys, "otp", e->traffic->keys[KD_TRAFFIC_OTP].bytes, 32) &&
           get_fixed(ivs, "c2s", e->ivs.c2s, KD_RECORD_IV_BYTES) &&
           get_fixed(ivs, "s2c", e->ivs.s2c, KD_RECORD_IV_BYTES);
}

static bool read_window(const struct kd_json *window, struct kd_window *out) {
    uint8_t seen[KD_WINDOW_BYTES];
    uint64_t highest = 0;
    if (kd_json_is(window, KD_JSON_NULL)) {
        return true; // nothing was received
    }
    if (!get_number(window, "highest", KD_RECORD_SEQUENCE_MAX, &highest) ||
        !get_fixed(window, "seen", seen, sizeof(seen))) {
        return false;
    }
    kd_window_restore(out, highest, seen);
    return true;
}

static bool read_otp(const struct kd_json *otp, struct kd_otp_params *out) {
    uint64_t digits = 0, step = 0, window = 0;
    if (!get_number(otp, "digits", UINT8_MAX, &digits) ||
        !get_number(otp, "step", UINT16_MAX, &step) ||
        !get_number(otp, "window", UINT8_MAX, &window)) {
        return false;
    }
    *out = (struct kd_otp_params) { (uint8_t)digits, (uint16_t)step, (uint8_t)window };
    return kd_otp_params_are_valid(out);
}

static bool read_limits(const struct kd_json *answer, struct taken *e) {
    const struct kd_json *left = kd_json_get(answer, "left");
    const uint64_t now = kd_clock_mono_ms();
    uint64_t left_ms = 0;
    if (!get_number(left, "milliseconds", UINT64_MAX / 2, &left_ms) ||
        !get_number(left, "records", UINT64_MAX, &e->records_left) ||
        !get_number(left, "bytes", UINT64_MAX, &e->bytes_left) ||
        !get_number(answer, "send_next", KD_RECORD_SEQUENCE_MAX + 1, &e->send.next)) {
        return false;
    }
    e->ends_ms = now + left_ms;
    e->checked_ms = now;
    return true;
}

static bool read_state(const struct kd_json *answer, struct taken *e) {
    const struct kd_json *session = kd_json_get(answer, "session");
    const struct kd_json *registered = kd_json_get(session, "registered");
    const bool has_relation = kd_json_get(session, "relation") != NULL;
    e->is_registered = kd_json_is(registered, KD_JSON_TRUE);
    return (e->is_registered || kd_json_is(registered, KD_JSON_FALSE)) &&
           strcmp(kd_answer_text(session, "session"), e->session) == 0 &&
           strcmp(kd_answer_text(answer, "role"), "server") == 0 &&
           get_name(session, "peer", e->peer) &&
           (!has_relation || get_name(session, "relation", e->relation)) &&
           read_limits(answer, e) && read_otp(kd_json_get(answer, "otp"), &e->otp) &&
           read_window(kd_json_get(answer, "window"), &e->window);
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// In the place of the keys before, which open for a while what was sent under them.  What they have
// used up is used up: keyd has not counted it.
static bool put(struct kd_gateway *g, struct taken *e) {
    const struct kd_bytes id = { e->id, ID_BYTES };
    struct taken *old = kd_map_remove(&g->takings->by_id, id);
    if (old != NULL) {
        free_taken(g->takings, KD_STEAL(old->before));
        e->before = old;
        e->before_ends_ms = kd_clock_mono_ms() + OLD_KEYS_MS;
        e->records_left = least(e->records_left, old->records_left);
        e->bytes_left = least(e->bytes_left, old->bytes_left);
        e->expired = old->expired;
    }
    return kd_map_add(&g->takings->by_id, id, e) == KD_OK;
}

struct kd_taking {
    struct kd_question *q;
    struct taken *made; // before keyd is asked: the keys come once
};

static void on_released(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_taking *w = arg;
    struct kd_question *q = w->q;
    struct kd_gateway *g = q->g;
    kd_auto(answer) struct kd_answer answer = KD_ANSWER_INIT;
    if (status == 200) {
        kd_answer_read(&answer, body);
    }
    if (read_keys(answer.object, w->made) && read_state(answer.object, w->made) &&
        put(g, w->made)) {
        kd_log(KD_LOG_INFO, "gateway", "the keys of a session were taken over",
               "session=%s peer=%s", w->made->session, w->made->peer);
    } else { // keyd goes on with it, or says that it does not
        kd_log(KD_LOG_WARN, "gateway", "the keys of a session were not taken over",
               "session=%s status=%u", w->made->session, kd_client_status(status));
        free_taken(g->takings, w->made);
    }
    free(w);
    kd_question_answer(q, kd_buf_get(&q->body)); // with what was ready before
}

static struct taken *new_taken(struct kd_takings *t, const char *session) {
    struct taken *e = calloc(1, sizeof(*e));
    void *cell = NULL;
    if (e == NULL || kd_hex_decode(session, e->id, ID_BYTES) != KD_OK ||
        kd_cells_get(&t->cells, &cell) != KD_OK) {
        free(e);
        return NULL;
    }
    e->traffic = cell;
    e->expiry = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    snprintf(e->session, sizeof(e->session), "%s", session);
    return e;
}

void kd_released_take(struct kd_question *q, const char *session) {
    struct kd_gateway *g = q->g;
    char path[PATH_MAX_BYTES];
    const struct kd_client_request request = {
        .path = path, .type = "application/json", .body = kd_bytes_of_text("{}"), .is_secret = true
    };
    const bool is_wanted =
        g->config->takes_over && g->takings != NULL && strlen(session) == 2 * ID_BYTES;
    struct kd_taking *w = is_wanted ? calloc(1, sizeof(*w)) : NULL;
    snprintf(path, sizeof(path), "/v1/sessions/%s/release", is_wanted ? session : "");
    if (w != NULL && (w->made = new_taken(g->takings, session)) != NULL) {
        w->q = q;
        if (kd_client_send(g->keyd, &request, on_released, w) == KD_OK) {
            return;
        }
        free_taken(g->takings, w->made);
    }
    free(w);
    kd_question_answer(q, kd_buf_get(&q->body));
}

// ---- limits ----------------------------------------------------------------

static bool is_over(struct taken *e, size_t more) {
    if (e->expired == 0 && kd_clock_mono_ms() >= e->ends_ms) {
        e->expired = KD_EXPIRED_LIFETIME;
    } else if (e->expired == 0 && e->records_left == 0) {
        e->expired = KD_EXPIRED_RECORDS;
    } else if (e->expired == 0 && (e->bytes_left == 0 || more > e->bytes_left)) {
        e->expired = KD_EXPIRED_BYTES;
    }
    return e->expired != 0;
}

static void count(struct kd_gateway *g, struct taken *e, size_t bytes) {
    e->records_left--;
    e->bytes_left -= bytes;
    g->counts.own_records++;
}

static enum kd_err seal(struct taken *e, enum kd_record_type type, struct kd_bytes body,
                        struct kd_bytes aad, struct kd_buf *out) {
    const struct kd_record_end end = end_of(e);
    const struct kd_record record = { type, body };
    uint64_t sequence = 0;
    const enum kd_err r = kd_sequence_reserve(&e->send, 1, &sequence);
    return r == KD_OK ? kd_record_seal(&end, sequence, kd_clock_wall_ms(), aad, &record, out) : r;
}

static void on_ended(void *arg KD_UNUSED, unsigned status, struct kd_bytes body KD_UNUSED) {
    struct kd_question *q = arg;
    struct taken *e = find_text(q->g, q->session);
    kd_log(KD_LOG_INFO, "gateway", "a session came to its limit", "session=%s status=%u",
           q->session, status);
    if (e == NULL) {
        kd_question_fail(q, KD_FAILURE_UNKNOWN_SESSION, 0, "session-expired");
    } else {
        kd_question_answer(q, kd_buf_get(&e->expiry));
    }
}

static bool send_delete(struct kd_question *q, kd_client_done *done) {
    char path[PATH_MAX_BYTES];
    snprintf(path, sizeof(path), "/v1/sessions/%s", q->session);
    const struct kd_client_request request = { .path = path, .method = "DELETE" };
    return kd_client_send(q->g->keyd, &request, done, q) == KD_OK;
}

// With a sealed record that says so, one in each step of its one-time password.  A ticket does not
// know what was counted: keyd ends the session before the device hears of it.
static void answer_expired(struct kd_question *q, struct taken *e) {
    const uint64_t step = kd_otp_step(&e->otp, kd_clock_wall_ms());
    kd_auto(buf) struct kd_buf number = KD_BUF_INIT(16);
    const bool is_first = e->expiry.n == 0;
    if (is_first || e->expiry_step != step) {
        kd_buf_reset(&e->expiry);
        kd_record_put_number(&number, e->expired);
        if (seal(e, KD_RECORD_EXPIRE, kd_buf_get(&number), KD_BYTES_NONE, &e->expiry) != KD_OK) {
            kd_buf_reset(&e->expiry);
            kd_question_fail_by(q, 409, "session-expired");
            return;
        }
        e->expiry_step = step;
    }
    memcpy(q->session, e->session, sizeof(q->session));
    if (!is_first || e->expired == KD_EXPIRED_LIFETIME || !send_delete(q, on_ended)) {
        kd_question_answer(q, kd_buf_get(&e->expiry));
    }
}

// ---- opening ---------------------------------------------------------------

static void on_closed(void *arg, unsigned status, struct kd_bytes body KD_UNUSED) {
    struct kd_question *q = arg;
    if (status == 204 || status == 404) {
        kd_records_opened(q);
    } else {
        kd_question_fail_by(q, status, "close");
    }
}

static void take_record(struct kd_question *q, struct taken *e, uint64_t sequence,
                        const struct kd_record *record) {
    memcpy(q->session, e->session, sizeof(q->session));
    memcpy(q->peer, e->peer, sizeof(q->peer));
    memcpy(q->relation, e->relation, sizeof(q->relation));
    q->is_registered = e->is_registered;
    q->sequence = sequence;
    q->type = (uint8_t)record->type;
    if (!kd_records_keep_body(q, record->body)) {
        kd_question_fail_by(q, 503, "no-memory");
    } else if (record->type != KD_RECORD_CLOSE) {
        kd_records_opened(q);
    } else { // keyd must know, for the ticket's sake
        drop(q->g->takings, e);
        if (!send_delete(q, on_closed)) {
            kd_question_fail_by(q, 503, "no-memory");
        }
    }
}

// With one of the session's keys; KD_ERR_NOT_AUTHENTIC and what the window says: not with these.
static enum kd_err open_with(struct taken *e, const struct kd_record_head *head,
                             struct kd_bytes aad, struct kd_buf *text, struct kd_record *record) {
    const struct kd_record_end end = end_of(e);
    enum kd_err r = kd_window_begin(&e->window, head->sequence);
    if (r != KD_OK) {
        return r;
    }
    r = kd_record_open(&end, head, aad, kd_clock_wall_ms(), text, record);
    if (r != KD_OK) {
        kd_window_abort(&e->window, head->sequence);
        return r;
    }
    return kd_window_commit(&e->window, head->sequence);
}

// false: keyd may have the keys that open it.
static bool open_here(struct kd_question *q, struct taken *e, const struct kd_record_head *head) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_bytes aad = { q->head, sizeof(q->head) };
    struct kd_record record;
    enum kd_err r = open_with(e, head, aad, &text, &record);
    if (r != KD_OK && r != KD_ERR_RECORD_OTP && e->before != NULL) {
        r = open_with(e->before, head, aad, &text, &record);
    } else if (r == KD_OK && e->before != NULL) { // the device has followed
        free_taken(q->g->takings, KD_STEAL(e->before));
    }
    if (r == KD_ERR_RECORD_OTP) {
        kd_question_fail_by(q, 422, kd_err_name(r));
        return true;
    }
    if (r != KD_OK) {
        return false;
    }
    if (is_over(e, record.body.n)) {
        answer_expired(q, e);
    } else {
        count(q->g, e, record.body.n);
        take_record(q, e, head->sequence, &record);
    }
    if (text.cap > 0) {
        kd_wipe(text.p, text.cap);
    }
    return true;
}

// keyd still has the session, and nobody has ended it or its peer meanwhile.  Where keyd is away
// the session goes on until its limits.
static void on_checked(void *arg, unsigned status, struct kd_bytes body) {
    struct kd_question *q = arg;
    struct kd_record_head head;
    kd_auto(answer) struct kd_answer answer = KD_ANSWER_INIT;
    if (status == 200) {
        kd_answer_read(&answer, body);
    }
    if (status == 404 || kd_json_is(kd_json_get(answer.object, "released"), KD_JSON_FALSE)) {
        kd_released_forget(q->g, q->session);
    }
    struct taken *e = find_text(q->g, q->session);
    if (e == NULL || kd_record_parse(q->frame.body, &head) != KD_OK || !open_here(q, e, &head)) {
        kd_records_send_open(q);
    }
}

static bool ask_for(struct kd_question *q, struct taken *e) {
    const uint64_t now = kd_clock_mono_ms();
    char path[PATH_MAX_BYTES];
    if (now - e->checked_ms < q->g->config->released_check_ms) {
        return false;
    }
    snprintf(path, sizeof(path), "/v1/sessions/%s", e->session);
    memcpy(q->session, e->session, sizeof(q->session));
    e->checked_ms = now;
    const struct kd_client_request request = { .path = path };
    return kd_client_send(q->g->keyd, &request, on_checked, q) == KD_OK;
}

bool kd_released_open(struct kd_question *q) {
    struct kd_record_head head;
    if (kd_released_count(q->g) == 0 || kd_record_parse(q->frame.body, &head) != KD_OK) {
        return false;
    }
    struct taken *e = kd_map_get(&q->g->takings->by_id, head.id);
    if (e == NULL) {
        return false;
    }
    if (is_over(e, 0)) {
        answer_expired(q, e);
        return true;
    }
    return ask_for(q, e) || open_here(q, e, &head);
}

bool kd_released_has(const struct kd_question *q) {
    struct kd_record_head head;
    return kd_released_count(q->g) > 0 && kd_record_parse(q->frame.body, &head) == KD_OK &&
           kd_map_get(&q->g->takings->by_id, head.id) != NULL;
}

// ---- sealing ---------------------------------------------------------------

static void seal_here(struct kd_question *q, struct taken *e, struct kd_bytes aad) {
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_bytes body = kd_buf_get(&q->body);
    const enum kd_err r = seal(e, (enum kd_record_type)q->type, body, aad, &record);
    if (r != KD_OK) {
        kd_question_fail_by(q, 409, kd_err_name(r));
        return;
    }
    count(q->g, e, body.n);
    kd_question_answer(q, kd_buf_get(&record));
}

bool kd_released_seal(struct kd_question *q) {
    struct taken *e = find_text(q->g, q->session);
    if (e == NULL || e->is_old) {
        return false;
    }
    if (is_over(e, q->body.n)) {
        answer_expired(q, e);
    } else {
        seal_here(q, e, (struct kd_bytes) { q->answer_head, sizeof(q->answer_head) });
    }
    return true;
}

bool kd_released_update(struct kd_question *q, uint64_t number) {
    struct taken *e = find_text(q->g, q->session);
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(16);
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_record_put_number(&body, number);
    if (e == NULL || e->is_old ||
        seal(e, KD_RECORD_KEY_UPDATE, kd_buf_get(&body), KD_BYTES_NONE, &record) != KD_OK) {
        return false;
    }
    e->is_old = true;
    kd_buf_reset(&q->body);
    kd_buf_put(&q->body, record.p, record.n);
    if (kd_buf_finish(&q->body) != KD_OK) {
        return false;
    }
    kd_released_take(q, e->session);
    return true;
}

// ---- life ------------------------------------------------------------------

enum kd_err kd_released_new(struct kd_gateway *g) {
    struct kd_takings *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    kd_cells_init(&t->cells, sizeof(struct kd_soft_traffic));
    g->takings = t;
    const enum kd_err r = kd_timer_new(g->loop, on_sweep, g, &t->timer);
    if (r == KD_OK) {
        kd_timer_set(t->timer, SWEEP_MS);
    }
    return r;
}

void kd_released_free(struct kd_gateway *g) {
    struct kd_takings *t = g->takings;
    if (t == NULL) {
        return;
    }
    size_t cursor = 0;
    for (struct taken *e; (e = kd_map_next(&t->by_id, &cursor)) != NULL;) {
        drop(t, e);
    }
    kd_map_wipe(&t->by_id);
    kd_cells_wipe(&t->cells);
    kd_timer_free(t->timer);
    free(t);
    g->takings = NULL;
}
