// SPDX-License-Identifier: Apache-2.0
// audit.c: what of requests stands in the audit log, and GET /v1/audit.
//
// A change is written down before it is begun, so none is made that nobody asked for, and what
// became of it after.  What comes of a handshake or a certificate request is written before the
// answer leaves, and so is the use of a key, where the configuration wants that.  That a caller was
// refused is written, too, but nobody waits for it, and at most NOTED_PER_SECOND and
// NOTED_PER_MINUTE times: who may do nothing must not fill the disk, nor with changes that he may
// not make (share.h).
#include "keyd/audit.h"

#include "api/problem.h"
#include "api/route.h"
#include "api/share.h"
#include "ca/ca.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NOTED_PER_SECOND = 10, NOTED_PER_MINUTE = 100 };
enum { INPUT_MAX_BYTES = 4096, INPUT_TEXT_MAX_BYTES = 128, HASH_BYTES = 32 };

void kd_request_note(struct kd_request *q, const char *name, const char *value) {
    assert(q->n_notes < KD_REQUEST_NOTES_MAX);
    struct kd_note *n = &q->notes[q->n_notes++];
    *n = (struct kd_note) { .name = name };
    snprintf(n->value, sizeof(n->value), "%s", value);
}

void kd_request_note_number(struct kd_request *q, const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    kd_request_note(q, name, text);
    q->notes[q->n_notes - 1].is_number = true;
}

void kd_request_note_use(struct kd_request *q, size_t items, size_t failed, uint32_t version) {
    if (!q->is_use) {
        return;
    }
    kd_request_note_number(q, "items", items);
    if (failed > 0) {
        kd_request_note_number(q, "failed", failed);
    }
    if (version != 0) {
        kd_request_note_number(q, "version", version);
    }
}

void kd_request_note_origin(struct kd_request *q) {
    struct kd_secret_info info;
    const bool has_line = q->is_use || q->asked_seq != 0;
    if (has_line && q->route->param == KD_PARAM_SECRET &&
        kd_service_secret(q->http->service, &q->caller, q->name, &info) == KD_OK) {
        kd_request_note(q, "key", info.key);
        kd_request_note_number(q, "version", info.version);
    }
}

// NULL also when the service is gone, and answers only leave.
static struct kd_audit *audit_of(const struct kd_request *q) {
    return q->http->is_closing ? NULL : kd_service_audit(q->http->service);
}

// ---- entries ---------------------------------------------------------------

static struct kd_audit_entry *new_entry(const struct kd_request *q, const char *event) {
    struct kd_audit_entry *e = kd_audit_entry_new(event);
    if (e != NULL) {
        kd_audit_put(e, "request", q->caller.request_id);
        kd_audit_put(e, "principal", q->principal);
        kd_audit_put(e, "name", q->name);
    }
    return e;
}

// A PKCS#11 URI may have the PIN in it (RFC 7512 2.4).  It is refused, after the line is written.
static bool has_pin(const char *text) {
    return strcasestr(text, "pin-value") != NULL || strcasestr(text, "pin-source") != NULL;
}

// Of a longer one the beginning, and the hash of all of it.
static void put_text(struct kd_buf *out, const char *name, const char *text) {
    const struct kd_bytes all = kd_bytes_of_text(text);
    char begin[INPUT_TEXT_MAX_BYTES + 1];
    uint8_t hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1];
    size_t n = all.n < INPUT_TEXT_MAX_BYTES ? all.n : INPUT_TEXT_MAX_BYTES;
    while (n < all.n && n > 0 && (all.p[n] & 0xc0) == 0x80) { // a character is not cut
        n--;
    }
    memcpy(begin, text, n);
    begin[n] = '\0';
    kd_json_member(out, name);
    kd_json_put_text(out, begin);
    if (n < all.n && kd_ca_hash(all, hash) == KD_OK) {
        char hash_name[32];
        snprintf(hash_name, sizeof(hash_name), "%s_sha256", name);
        kd_hex_encode(hash, sizeof(hash), hex);
        kd_json_member(out, hash_name);
        kd_json_put_text(out, hex);
    }
}

static void put_member(struct kd_buf *out, const char *name, const struct kd_json *value) {
    const char *text = kd_json_string(value);
    if (text != NULL && !has_pin(text)) {
        put_text(out, name, text);
    } else if (kd_json_is(value, KD_JSON_INTEGER)) {
        kd_json_member(out, name);
        kd_buf_printf(out, "%" PRId64, value->integer);
    }
}

static uint64_t count_of(const struct kd_json *array) {
    uint64_t n = 0;
    for (const struct kd_json *at = kd_json_first(array); at != kd_json_end(array);
         at = kd_json_next(at)) {
        n++;
    }
    return n;
}

// Of the body: what is to be made, and of what kind; of the path: which version.  A line has no
// other members of what a caller wrote.  False: there is no memory for it.
static bool put_input(struct kd_audit_entry *e, const struct kd_request *q) {
    static const char *const names[] = { "name",    "id",       "type",    "uri", "usage",
                                         "version", "relation", "subject", "kdf", "length" };
    const struct kd_json *body = q->json.root;
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(INPUT_MAX_BYTES);
    kd_buf_u8(&out, '{');
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        put_member(&out, names[i], kd_json_get(body, names[i]));
    }
    const struct kd_json *items = kd_json_get(body, "items");
    if (kd_json_is(items, KD_JSON_ARRAY)) {
        kd_json_member(&out, "items");
        kd_json_put_number(&out, count_of(items));
    }
    if (q->version != 0) {
        kd_json_member(&out, "version");
        kd_json_put_number(&out, q->version);
    }
    kd_buf_u8(&out, '}');
    const enum kd_err r = kd_buf_finish(&out);
    if ((body != NULL || q->version != 0) && r == KD_OK) {
        kd_audit_put_json(e, "input", kd_buf_get(&out));
    }
    return r != KD_ERR_NO_MEMORY;
}

static void put_result(struct kd_audit_entry *e, const struct kd_request *q) {
    const bool is_answered = q->status != 0;
    if (q->asked_seq != 0) {
        kd_audit_put_number(e, "asked", q->asked_seq);
    }
    for (size_t i = 0; i < q->n_notes; i++) {
        const struct kd_note *n = &q->notes[i];
        if (n->is_number) {
            kd_audit_put_json(e, n->name, kd_bytes_of_text(n->value));
        } else {
            kd_audit_put(e, n->name, n->value);
        }
    }
    kd_audit_put(e, "made", q->problem == KD_OK ? q->location : "");
    kd_audit_put(e, "result",
                 !is_answered          ? "unknown"
                 : q->problem == KD_OK ? "ok"
                                       : kd_err_name(q->problem));
    kd_audit_put_number(e, "status", q->status);
}

// ---- before the work -------------------------------------------------------

static bool releases_one(const struct kd_json *in) {
    return kd_json_is(kd_json_get(in, "release"), KD_JSON_TRUE);
}

static bool is_release(const struct kd_json *body) {
    const struct kd_json *items = kd_json_get(body, "items");
    bool is_one = releases_one(body);
    if (kd_json_is(items, KD_JSON_ARRAY)) {
        for (const struct kd_json *at = kd_json_first(items); at != kd_json_end(items);
             at = kd_json_next(at)) {
            is_one = is_one || releases_one(at);
        }
    }
    return is_one;
}

static bool is_asked(const struct kd_request *q) {
    return q->route->audit == KD_ROUTE_ASKED ||
           (q->route->audit == KD_ROUTE_RELEASE && is_release(q->json.root));
}

// Of an operation with a key, that it is one that is written down.
static bool is_audited(const struct kd_request *q) {
    const uint32_t audited = kd_service_audited(q->http->service);
    enum kd_permission p;
    return audited != 0 && kd_permission_parse(q->route->may, &p) && (audited & 1u << p) != 0;
}

static bool is_done(const struct kd_request *q) {
    return q->route->audit == KD_ROUTE_DONE || q->is_use;
}

static const char *event_of(const struct kd_request *q) {
    return q->is_use ? "key.use" : q->route->event;
}

static void on_asked(struct kd_audit_entry *entry, enum kd_err err) {
    struct kd_request *q = entry->arg;
    q->asked_seq = err == KD_OK ? entry->line.seq : 0;
    kd_audit_entry_free(entry);
    q->state = KD_REQUEST_ASKED;
    if (err != KD_OK) {
        const char *why;
        const enum kd_err now = kd_audit_admit(audit_of(q), &why); // counts it
        kd_request_say(q, now == KD_OK ? "" : why);
        kd_request_fail(q, err);
        kd_share_give(q);
    }
    kd_request_wake(q);
}

enum kd_err kd_audit_begin(struct kd_request *q) {
    struct kd_audit *a = audit_of(q);
    const char *why;
    const bool asks = is_asked(q);
    q->is_use = a != NULL && !asks && is_audited(q);
    if (a == NULL || (!asks && !is_done(q))) {
        return KD_OK;
    }
    enum kd_err err = kd_audit_admit(a, &why);
    if (err != KD_OK || !asks) {
        kd_request_say(q, why);
        return err;
    }
    if ((err = kd_share_may_ask(q)) != KD_OK) {
        q->http->unnoted++;
        return err;
    }
    kd_auto(audit_entry) struct kd_audit_entry *e = new_entry(q, q->route->event);
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    kd_audit_put(e, "phase", "asked");
    if (!put_input(e, q)) {
        return KD_ERR_NO_MEMORY;
    }
    e->line.is_asked = true;
    e->done = on_asked;
    e->arg = q;
    const enum kd_err r = kd_audit_write(a, KD_STEAL(e));
    q->state = r == KD_OK ? KD_REQUEST_ASKING : q->state;
    return r;
}

// ---- after it --------------------------------------------------------------

static bool is_noted_before_answer(const struct kd_request *q) {
    return q->route != NULL && is_done(q) && q->problem == KD_OK && q->n_notes > 0 && !q->is_noted;
}

static void fail_done(struct kd_request *q, enum kd_err err) {
    q->location[0] = '\0';
    q->n_headers = 0;
    kd_request_say(q, "It was done, but could not be written down.");
    kd_request_fail(q, err);
}

static void on_done(struct kd_audit_entry *entry, enum kd_err err) {
    struct kd_request *q = entry->arg;
    kd_audit_entry_free(entry);
    if (err != KD_OK) {
        fail_done(q, err);
    }
    q->state = KD_REQUEST_ANSWERED;
    kd_request_wake(q);
}

bool kd_audit_hold(struct kd_request *q) {
    struct kd_audit *a = audit_of(q);
    if (a == NULL || !is_noted_before_answer(q)) {
        kd_audit_end(q);
        return false;
    }
    struct kd_audit_entry *e = new_entry(q, event_of(q));
    enum kd_err r = KD_ERR_NO_MEMORY;
    q->is_noted = true;
    if (e != NULL) {
        kd_audit_put(e, "operation", q->is_use ? q->route->may : "");
        put_result(e, q);
        e->done = on_done;
        e->arg = q;
        r = kd_audit_write(a, e);
    }
    if (r != KD_OK) {
        fail_done(q, r);
        return false;
    }
    q->state = KD_REQUEST_HELD;
    return true;
}

// Of what nobody waits for; what there is no memory for (NULL, too) is counted there.
static bool write_later(struct kd_audit *a, struct kd_audit_entry *take_entry) {
    const bool is_taken = kd_audit_write(a, take_entry) == KD_OK;
    if (!is_taken) {
        kd_log(KD_LOG_WARN, "http", "there is no memory for a line of the audit log", "");
    }
    return is_taken;
}

static bool may_note(struct kd_http *h, bool is_known) {
    struct kd_noting *n = &h->noting[is_known];
    const uint64_t second = kd_clock_mono_ms() / 1000;
    if (second != n->second) {
        n->second = second;
        n->in_second = 0;
    }
    if (second / 60 != n->minute) {
        n->minute = second / 60;
        n->in_minute = 0;
    }
    const bool may = n->in_second < NOTED_PER_SECOND && n->in_minute < NOTED_PER_MINUTE;
    n->in_second += may;
    n->in_minute += may;
    h->unnoted += !may;
    return may;
}

// A caller was refused, or what would have been noted had it been done.
static bool is_refusal(const struct kd_request *q) {
    return q->status == 401 || q->status == 403 ||
           (q->problem != KD_OK && q->route != NULL && is_done(q));
}

static void write_refusal(struct kd_audit *a, struct kd_request *q) {
    struct kd_http *h = q->http;
    if (!is_refusal(q) || !may_note(h, q->principal[0] != '\0')) {
        return;
    }
    struct kd_audit_entry *e = new_entry(q, "request.refused");
    if (e != NULL) {
        char origin[KD_ORIGIN_BYTES];
        kd_request_origin(q, origin);
        kd_audit_put(e, "from", origin);
        kd_audit_put(e, "method", q->route == NULL ? "" : q->route->method);
        kd_audit_put(e, "route", q->path == NULL ? "" : q->path->path);
        put_result(e, q);
        if (h->unnoted > 0) {
            kd_audit_put_number(e, "left_out", h->unnoted);
        }
    }
    if (write_later(a, e)) {
        h->unnoted = 0;
    }
}

// Refused before the policy was asked, or by it; what is refused after that (no such key, a limit)
// is of somebody who may make such changes, and so may have lines.
static bool shows_no_right(const struct kd_request *q) {
    return q->status == 400 || q->status == 403 ||
           (q->status == 404 && q->route->param == KD_PARAM_SECRET);
}

void kd_audit_end(struct kd_request *q) {
    struct kd_audit *a = audit_of(q);
    if (a == NULL || q->is_noted) {
        return;
    }
    q->is_noted = true;
    if (q->asked_seq == 0) {
        write_refusal(a, q);
        return;
    }
    if (shows_no_right(q)) {
        kd_share_count_refused(q);
    }
    struct kd_audit_entry *e = new_entry(q, q->route->event);
    if (e != NULL) {
        e->line.answers = q->asked_seq;
        put_result(e, q);
    }
    (void)write_later(a, e);
}

// ---- GET /v1/audit ---------------------------------------------------------

enum kd_err kd_handle_audit(struct kd_request *q) {
    struct kd_audit_report r;
    const enum kd_err err = kd_service_audit_report(q->http->service, &q->caller, &r);
    if (err != KD_OK) {
        if (err == KD_ERR_CONFIG) {
            kd_request_say(q,
                           "No audit log is kept: keyd.conf(5) names no file for it (audit.file).");
        }
        return err;
    }
    char head[2 * KD_CHAIN_HASH_BYTES + 1];
    kd_hex_encode(r.last.head, sizeof(r.last.head), head);
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "seq");
    kd_json_put_number(&q->out, r.last.seq);
    kd_json_member(&q->out, "head");
    kd_json_put_text(&q->out, head);
    kd_json_member(&q->out, "key");
    kd_json_put_text(&q->out, r.key);
    kd_json_member(&q->out, "sealed");
    kd_json_put_number(&q->out, r.sealed);
    kd_json_member(&q->out, "failing");
    kd_json_put_bool(&q->out, r.is_failing);
    kd_json_member(&q->out, "reason");
    kd_json_put_text(&q->out, r.is_failing ? r.reason : "");
    kd_json_member(&q->out, "refused");
    kd_json_put_number(&q->out, r.refused);
    kd_json_member(&q->out, "lost");
    kd_json_put_number(&q->out, r.lost);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}
