// SPDX-License-Identifier: Apache-2.0
// Everything at once, in any order: handshakes, records and copies of them, resumptions, key
// updates, releases, ends of sessions and of their peer are asked for while others are under way.
// Whatever comes of each, also where a worker dies of it, these hold: no number is used twice with
// the same keys; no record is accepted twice; keys that were released seal and open nothing any
// more; what has ended does not come back.
#include "keyd/channel_state.h"
#include "tests/unit/channel_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS = 4000,
    USES = 1024,
    RECORDS = 8192,
    SEALED = 8192,
    ITEMS = 3,
    ENDED = 1024,
    NONCE = 16
};

// One set of keys of a session.
struct use {
    char id[KD_SESSION_TEXT_BYTES];
    uint8_t tag[FAKE_TAG_BYTES];
    char nonce[NONCE];
    uint8_t node_nonce[KD_HSM_CHANNEL_NONCE_BYTES];
    size_t n_node_nonce;
    uint8_t ticket[KD_HSM_TICKET_MAX_BYTES];
    size_t n_ticket;
    uint64_t next;
    bool is_released;
};

struct record {
    size_t use;
    uint8_t type;
    bool is_accepted;
    struct kd_buf bytes;
};

struct job {
    uid_t uid;
    char id[KD_SESSION_TEXT_BYTES];
    char nonce[NONCE];
    bool is_open;
    size_t n_ended; // when it began: one that ends meanwhile may have had its answer
    size_t n;
    size_t records[ITEMS];
    struct kd_bytes ticket;
    uint8_t room[KD_HSM_TICKET_MAX_BYTES];
};

static struct use uses[USES];
static struct record records[RECORDS];
static struct {
    uint8_t tag[FAKE_TAG_BYTES];
    uint64_t sequence;
} sealed[SEALED];
static char ended[ENDED][KD_SESSION_TEXT_BYTES];
static char handshakes[64][KD_SESSION_TEXT_BYTES];
static size_t n_uses, n_records, n_sealed, n_ended, n_handshakes;
static bool is_peer_gone;
static size_t pending, wanted, n_accepted, n_resumed, n_updated, n_released;
static uint64_t seed;

static size_t any(size_t n) { // of a fixed sequence: what fails once fails again
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (size_t)(seed >> 33) % n;
}

static bool is_calm(void) {
    return pending <= wanted;
}

static struct job *new_job(void) {
    struct job *j = calloc(1, sizeof(*j));
    ck_assert_ptr_nonnull(j);
    j->uid = any(4) == 0 ? 9 : 7;
    j->n_ended = n_ended;
    return j;
}

// The callback frees the job of what was accepted.
static void began(struct job *j, enum kd_err r) {
    if (r == KD_OK) {
        pending++;
    } else {
        free(j);
    }
}

static void end_session(const char *id) {
    ck_assert_uint_lt(n_ended, ENDED);
    memcpy(ended[n_ended++], id, KD_SESSION_TEXT_BYTES);
}

// Among the first n.
static bool has_ended(const char *id, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(ended[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static void add_use(uid_t uid, const char *id, struct kd_bytes ticket, const struct use *like) {
    const struct kd_caller c = service_caller_of(uid);
    if (ticket.n == 0 && kd_channel_ticket(sx.service, &c, id, &ticket) != KD_OK) {
        return;
    }
    ck_assert_uint_lt(n_uses, USES);
    struct use *u = &uses[n_uses++];
    *u = *like;
    u->next = 0;
    u->is_released = false;
    memcpy(u->id, id, sizeof(u->id));
    memcpy(u->ticket, ticket.p, ticket.n);
    u->n_ticket = ticket.n;
    fake_tag(ticket, kd_bytes_of_text(u->nonce),
             (struct kd_bytes) { u->node_nonce, u->n_node_nonce }, u->tag);
}

static struct use *use_of_tag(const uint8_t *tag) {
    for (size_t i = 0; i < n_uses; i++) {
        if (memcmp(uses[i].tag, tag, FAKE_TAG_BYTES) == 0) {
            return &uses[i];
        }
    }
    return NULL;
}

// ---- what comes back -------------------------------------------------------

// Each number once with each set of keys, and none with keys that are somebody else's.
static const uint8_t *check_sealed(struct kd_bytes bytes) {
    struct kd_record_head head;
    ck_assert_err(kd_record_parse(bytes, &head), KD_OK);
    for (size_t i = 0; i < n_sealed; i++) {
        ck_assert(sealed[i].sequence != head.sequence ||
                  memcmp(sealed[i].tag, head.ciphertext.p, FAKE_TAG_BYTES) != 0);
    }
    ck_assert_uint_lt(n_sealed, SEALED);
    memcpy(sealed[n_sealed].tag, head.ciphertext.p, FAKE_TAG_BYTES);
    sealed[n_sealed++].sequence = head.sequence;
    const struct use *u = use_of_tag(head.ciphertext.p);
    ck_assert(u == NULL || !u->is_released);
    return head.ciphertext.p;
}

static void check_opened(const struct job *j, size_t k, const struct kd_record_result *result) {
    struct record *r = &records[j->records[k]];
    const struct use *u = &uses[r->use];
    if (result->answer.n > 0) {
        (void)check_sealed(result->answer);
    }
    if (result->err != KD_OK) {
        return;
    }
    ck_assert(!r->is_accepted);
    ck_assert(!u->is_released);
    ck_assert(!has_ended(u->id, j->n_ended));
    ck_assert_str_eq(result->session, u->id);
    r->is_accepted = true;
    n_accepted++;
    if (r->type == KD_RECORD_CLOSE) {
        end_session(u->id);
    }
}

static void on_records(void *arg, enum kd_err err KD_UNUSED, const char *detail KD_UNUSED,
                       const struct kd_record_result *results, size_t n) {
    struct job *j = arg;
    pending--;
    for (size_t k = 0; k < n; k++) {
        if (j->is_open) {
            check_opened(j, k, &results[k]);
        } else if (results[k].err == KD_OK) {
            (void)check_sealed(results[k].out);
        }
    }
    free(j);
}

static void on_handshake(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                         const struct kd_handshake_result *result) {
    static const struct use fresh = { .id = "" };
    struct job *j = arg;
    pending--;
    if (err == KD_OK && result->err == KD_OK && result->session != NULL) {
        add_use(j->uid, result->session->id, KD_BYTES_NONE, &fresh);
    } else if (err == KD_OK && result->err == KD_OK && n_handshakes < KD_COUNT_OF(handshakes)) {
        memcpy(handshakes[n_handshakes++], result->id, KD_SESSION_TEXT_BYTES);
    }
    free(j);
}

static void on_resumed(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                       const struct kd_session_change *change) {
    struct job *j = arg;
    pending--;
    if (err == KD_OK) {
        struct use like = { .n_node_nonce = change->node_nonce.n };
        ck_assert(!has_ended(change->session.id, n_ended));
        memcpy(like.nonce, j->nonce, sizeof(like.nonce));
        memcpy(like.node_nonce, change->node_nonce.p, change->node_nonce.n);
        (void)check_sealed(change->record);
        add_use(j->uid, change->session.id, j->ticket, &like);
        n_resumed++;
    }
    free(j);
}

static void on_updated(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                       const struct kd_session_change *change) {
    struct job *j = arg;
    pending--;
    const struct use *before =
        err == KD_OK && change->record.n > 0 ? use_of_tag(check_sealed(change->record)) : NULL;
    if (before != NULL) {
        const struct use like = *before;
        add_use(j->uid, change->session.id, KD_BYTES_NONE, &like);
        n_updated++;
    }
    free(j);
}

static void on_released(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                        const struct kd_released *released) {
    pending--;
    if (err == KD_OK) {
        struct use *u = use_of_tag(released->keys[0].p);
        ck_assert(u == NULL || !u->is_released);
        for (size_t i = 0; i < n_sealed; i++) { // it goes on where keyd stopped
            ck_assert(memcmp(sealed[i].tag, released->keys[0].p, FAKE_TAG_BYTES) != 0 ||
                      sealed[i].sequence < released->send_next);
        }
        if (u != NULL) {
            u->is_released = true;
        }
        n_released++;
    }
    free(arg);
}

static void on_end(void *arg, enum kd_err err KD_UNUSED, const char *detail KD_UNUSED,
                   const struct kd_session_change *change KD_UNUSED) {
    pending--;
    free(arg);
}

static void on_peer(void *arg, enum kd_err err, const char *detail KD_UNUSED,
                    const struct kd_peer_info *peer) {
    pending--;
    is_peer_gone = err == KD_OK ? peer == NULL : is_peer_gone;
    free(arg);
}

// ---- what is asked ---------------------------------------------------------

static size_t make_record(size_t use) {
    struct use *u = &uses[use];
    struct record *r = &records[n_records];
    uint8_t raw[KD_HSM_SESSION_ID_BYTES];
    ck_assert_uint_lt(n_records, RECORDS);
    ck_assert_err(kd_hex_decode(u->id, raw, sizeof(raw)), KD_OK);
    *r = (struct record) { .use = use, .bytes = KD_BUF_INIT(1024) };
    r->type = any(300) == 0 ? KD_RECORD_CLOSE : KD_RECORD_DATA;
    fake_record(&r->bytes, (struct kd_bytes) { raw, sizeof(raw) }, u->next++, u->tag, r->type,
                r->type == KD_RECORD_CLOSE ? KD_BYTES_NONE : kd_bytes_of_text("x"));
    return n_records++;
}

static void ask_open(void) {
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(j->uid);
    struct kd_record_item items[ITEMS] = { { 0 } };
    j->is_open = true;
    for (j->n = 0; j->n < ITEMS; j->n++) {
        const size_t recent = n_uses < 4 ? n_uses : 4;
        const bool is_copy = n_records > 0 && any(3) == 0;
        const size_t at = is_copy ? n_records - 1 - any(n_records < 20 ? n_records : 20)
                                  : make_record(n_uses - 1 - any(recent));
        j->records[j->n] = at;
        items[j->n].data = kd_buf_get(&records[at].bytes);
    }
    const struct kd_record_work work = { .is_open = true, .n_items = ITEMS, .items = items };
    began(j, kd_channel_records(sx.service, &c, &work, on_records, j));
}

static void ask_seal(const struct use *u) {
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(j->uid);
    struct kd_record_item items[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        items[i] =
            (struct kd_record_item) { .session = u->id, .data = kd_bytes_of_text("a message") };
    }
    const struct kd_record_work work = { .n_items = 1 + any(ITEMS), .items = items };
    began(j, kd_channel_records(sx.service, &c, &work, on_records, j));
}

static void ask_handshake(void) {
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(7);
    j->uid = 7;
    if (n_handshakes > 0 && any(3) != 0) {
        const char *id = handshakes[--n_handshakes];
        began(j, kd_channel_step(sx.service, &c, id, channel_says("dev"), on_handshake, j));
        return;
    }
    kd_auto(buf) struct kd_buf cookie = KD_BUF_INIT(KD_COOKIE_BYTES);
    const struct kd_handshake_start first = { .message = kd_bytes_of_text("m1") };
    began(j, kd_channel_begin(sx.service, &c, &first, &cookie, on_handshake, j));
}

static void ask_resume(const struct use *u) {
    static unsigned n;
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(j->uid);
    snprintf(j->nonce, sizeof(j->nonce), "n%u", n++);
    memcpy(j->room, u->ticket, u->n_ticket);
    j->ticket = (struct kd_bytes) { j->room, u->n_ticket };
    began(j,
          kd_channel_resume(sx.service, &c, j->ticket, kd_bytes_of_text(j->nonce), on_resumed, j));
}

// What was resumed and nobody has followed is not ended by who resumed it.
static bool is_followed(const struct use *u) {
    uint8_t id[KD_HSM_SESSION_ID_BYTES];
    ck_assert_err(kd_hex_decode(u->id, id, sizeof(id)), KD_OK);
    const struct kd_session_entry *e =
        kd_sessions_find(&sx.service->channel->sessions, (struct kd_bytes) { id, sizeof(id) });
    return e != NULL && e->now != NULL;
}

static void ask_delete(const struct use *u) {
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(j->uid);
    const bool is_end = is_followed(u);
    const enum kd_err r = kd_channel_session_delete(sx.service, &c, u->id, on_end, j);
    if (r == KD_OK && is_end) {
        end_session(u->id);
    }
    began(j, r);
}

static void ask_peer(void) {
    uint8_t room[97];
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(7);
    const struct kd_peer_spec spec = { .name = "device",
                                       .point = service_point(room),
                                       .kid = kd_bytes_of_text("dev") };
    const enum kd_err r = kd_channel_peer_delete(sx.service, &c, "device", on_peer, j);
    for (size_t i = 0; r == KD_OK && i < n_uses; i++) {
        if (!has_ended(uses[i].id, n_ended)) {
            end_session(uses[i].id);
        }
    }
    began(j, r == KD_ERR_NO_PEER ? kd_channel_peer_add(sx.service, &c, &spec, on_peer, j) : r);
}

static void ask_change(const struct use *u) {
    struct job *j = new_job();
    const struct kd_caller c = service_caller_of(j->uid);
    if (any(3) != 0) {
        began(j, kd_channel_update(sx.service, &c, u->id, on_updated, j));
    } else {
        began(j, kd_channel_release(sx.service, &c, u->id, on_released, j));
    }
}

static void ask_anything(void) {
    const size_t what = n_uses == 0 ? 0 : is_peer_gone ? 999 : any(1000);
    const struct use *u = n_uses == 0 ? NULL : &uses[n_uses - 1 - any(n_uses < 4 ? n_uses : 4)];
    if (what < 120) {
        ask_handshake();
    } else if (what < 550) {
        ask_open();
    } else if (what < 720) {
        ask_seal(u);
    } else if (what < 860) {
        ask_resume(u);
    } else if (what < 980) {
        ask_change(u);
    } else if (what < 996) {
        ask_delete(u);
    } else {
        ask_peer();
    }
}

START_TEST(nothing_is_done_twice_in_any_order) {
    fx.config->channel.profile = KD_PROFILE_RELEASED;
    fx.config->channel.sessions_per_peer = 1 + (size_t)_i;
    channel_start(_i % 2 == 0 ? "start ok\n"
                              : "on record-seal after 30 die\non record-open after 50 die\n"
                                "on session-release after 1 die\non ticket-update after 5 lost\n"
                                "once\n");
    fx.config->workers.deadline_ms = _i % 2 == 0 ? 20000 : 300; // what is lost ends by it
    seed = (uint64_t)_i + 1;
    for (size_t i = 0; i < STEPS; i++) {
        ask_anything();
        wanted = any(3) == 0 ? any(pending + 1) : pending + 1;
        if (pending > 40) {
            wanted = 10;
        }
        if (wanted < pending) {
            fixture_run_until(is_calm);
        }
    }
    wanted = 0;
    fixture_run_until(is_calm);
    ck_assert_msg(n_accepted > 100 && n_resumed > 10 && n_updated > 3 && n_released > 1,
                  "too little happened: %zu %zu %zu %zu", n_accepted, n_resumed, n_updated,
                  n_released);
    for (size_t i = 0; i < n_records; i++) {
        kd_buf_wipe(&records[i].bytes);
    }
}
END_TEST

static TCase *tcase_storm(void) {
    TCase *t = tcase_create("storm");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, nothing_is_done_twice_in_any_order, 0, 6);
    return t;
}

UNIT_MAIN("channel_storm", tcase_storm())
