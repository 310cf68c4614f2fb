// SPDX-License-Identifier: Apache-2.0
// Many sessions at once: their list while some end, and which worker their records go to.
#include "keyd/sessions.h"
#include "tests/unit/channel_fixture.h"

#include <stdio.h>
#include <string.h>

enum { MANY = 40 };

// Sessions end while a caller goes from page to page: it sees each of the others once.
START_TEST(pages_go_on_after_a_session_that_has_ended) {
    char ids[MANY][KD_SESSION_TEXT_BYTES];
    char last[KD_SESSION_TEXT_BYTES] = "0000000000000000";
    struct kd_session_info page[2];
    struct kd_session_info all[MANY];
    size_t seen = 0;
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(ids[i], channel_session(7, "dev"), sizeof(ids[i]));
    }
    for (; kd_channel_sessions(sx.service, &c, last, page, 2) > 0; seen++) {
        ck_assert_int_lt(strcmp(last, page[0].id), 0);
        memcpy(last, page[0].id, sizeof(last));
        if (seen % 2 == 0) {
            ck_assert_err(channel_end(7, last), KD_OK);
        }
    }
    ck_assert_uint_eq(seen, MANY);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, NULL, all, MANY), MANY / 2);
}
END_TEST

// In the order in which they were made, which is another: each place of the tree once.
START_TEST(list_has_all_the_others_whichever_session_ends) {
    char ids[MANY][KD_SESSION_TEXT_BYTES];
    struct kd_session_info all[MANY];
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(ids[i], channel_session(7, "dev"), sizeof(ids[i]));
    }
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_err(channel_end(7, ids[i]), KD_OK);
        const size_t n = kd_channel_sessions(sx.service, &c, NULL, all, MANY);
        ck_assert_uint_eq(n, MANY - 1 - i);
        for (size_t k = 1; k < n; k++) {
            ck_assert_int_lt(strcmp(all[k - 1].id, all[k].id), 0);
        }
    }
}
END_TEST

// Who makes session after session takes no place but its own.
START_TEST(peer_that_makes_too_many_loses_the_ones_that_it_made_first) {
    char ids[4][KD_SESSION_TEXT_BYTES];
    struct kd_session_info info;
    static uint8_t first[KD_HSM_TICKET_MAX_BYTES];
    struct kd_bytes ticket;
    fx.config->channel.sessions_per_peer = 2;
    fx.config->channel.sessions_max = 3;
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(channel_add_peer("other", "oth"), KD_OK);
    memcpy(ids[3], channel_session(7, "oth"), sizeof(ids[3]));
    memcpy(ids[0], channel_session(7, "dev"), sizeof(ids[0]));
    ck_assert_err(kd_channel_ticket(sx.service, &c, ids[0], &ticket), KD_OK);
    memcpy(first, ticket.p, ticket.n);
    ticket.p = first;
    ck_assert_err(channel_end(7, ids[3]), KD_OK); // there is a place for a handshake now
    memcpy(ids[1], channel_session(7, "dev"), sizeof(ids[1]));
    ck_assert_err(kd_channel_session(sx.service, &c, ids[0], &info), KD_OK); // the limit itself
    memcpy(ids[2], channel_session(7, "dev"), sizeof(ids[2]));
    ck_assert_err(kd_channel_session(sx.service, &c, ids[0], &info), KD_ERR_NO_SESSION);
    memcpy(ids[3], channel_session(7, "oth"), sizeof(ids[3]));
    ck_assert_err(channel_seal(7, ids[1], "x"), KD_OK);
    ck_assert_err(channel_end(7, ids[3]), KD_OK);
    // Its ticket brings it back, in place of the first of those that are there, when its client
    // has followed.
    ck_assert_err(channel_resume(7, ticket, "nonce"), KD_OK);
    ck_assert_err(channel_seal(7, ids[1], "x"), KD_OK);
    ck_assert_err(channel_open(7, channel_resumed_record(ids[0], ticket, "nonce",
                                                         kd_buf_get(&cx.node_nonce), 0, "hello")),
                  KD_OK);
    ck_assert_err(channel_seal(7, ids[1], "x"), KD_ERR_NO_SESSION);
    ck_assert_err(channel_seal(7, ids[2], "x"), KD_OK);
    ck_assert_err(channel_seal(7, ids[0], "x"), KD_OK);
}
END_TEST

enum { TICKETS = 4 };

// Tickets go over the network in clear.  Who has seen some has no keys.
START_TEST(tickets_alone_end_no_session_that_is_in_use) {
    static uint8_t rooms[TICKETS][KD_HSM_TICKET_MAX_BYTES];
    struct kd_bytes tickets[TICKETS];
    char used[2][KD_SESSION_TEXT_BYTES];
    struct kd_session_info all[8];
    fx.config->channel.sessions_per_peer = 2;
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    for (size_t i = 0; i < TICKETS; i++) {
        const char *id = channel_session(7, "dev");
        ck_assert_err(kd_channel_ticket(sx.service, &c, id, &tickets[i]), KD_OK);
        memcpy(rooms[i], tickets[i].p, tickets[i].n);
        tickets[i].p = rooms[i];
    }
    memcpy(used[0], channel_session(7, "dev"), sizeof(used[0]));
    memcpy(used[1], channel_session(7, "dev"), sizeof(used[1]));
    for (size_t i = 0; i < TICKETS; i++) {
        ck_assert_err(channel_resume(9, tickets[i], "his"), KD_OK);
        ck_assert_err(channel_seal(7, used[0], "x"), KD_OK);
        ck_assert_err(channel_seal(7, used[1], "x"), KD_OK);
        ck_assert_uint_eq(kd_channel_sessions(sx.service, &c, NULL, all, 8), 2);
    }
    // Nor do they outlive a handshake, which shows who it is.
    ck_assert_err(channel_open(7, channel_record(used[0], 0, KD_RECORD_DATA, "x")), KD_OK);
    const char *fresh = channel_session(7, "dev");
    const struct kd_caller other = service_caller_of(9);
    ck_assert_uint_eq(kd_channel_sessions(sx.service, &other, NULL, all, 8), 0);
    ck_assert_err(channel_seal(7, used[1], "x"), KD_OK);
    ck_assert_err(channel_seal(7, fresh, "x"), KD_OK);
    ck_assert_err(channel_seal(7, used[0], "x"), KD_ERR_NO_SESSION);
}
END_TEST

// What a worker that has been taken over may say instead of one.
START_TEST(ticket_that_is_empty_or_too_long_makes_no_use_of_a_session) {
    static const uint8_t bytes[KD_HSM_TICKET_MAX_BYTES + 1];
    struct kd_session_use *use = NULL;
    ck_assert_err(kd_session_use_new(KD_BYTES_NONE, KD_BYTES_NONE, KD_BYTES_NONE, &use),
                  KD_ERR_TICKET);
    ck_assert_err(kd_session_use_new((struct kd_bytes) { bytes, sizeof(bytes) }, KD_BYTES_NONE,
                                     KD_BYTES_NONE, &use),
                  KD_ERR_ITEM_TOO_LARGE);
    ck_assert_ptr_null(use);
    ck_assert_err(kd_session_use_new((struct kd_bytes) { bytes, sizeof(bytes) - 1 }, KD_BYTES_NONE,
                                     KD_BYTES_NONE, &use),
                  KD_OK);
    kd_session_use_release(use);
}
END_TEST

START_TEST(peer_with_one_session_has_its_last) {
    char before[KD_SESSION_TEXT_BYTES];
    fx.config->channel.sessions_per_peer = 1;
    channel_start("start ok\n");
    memcpy(before, channel_session(7, "dev"), sizeof(before));
    const char *now = channel_session(7, "dev");
    ck_assert_err(channel_seal(7, before, "x"), KD_ERR_NO_SESSION);
    ck_assert_err(channel_seal(7, now, "x"), KD_OK);
}
END_TEST

static unsigned n_ended;

static void on_ended(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                     const struct kd_session_change *change) {
    ck_assert_err(err, KD_OK);
    ck_assert_ptr_null(change);
    n_ended++;
}

static bool all_have_ended(void) {
    return n_ended == MANY;
}

// More than the disk has written when the next one ends: none is lost.
START_TEST(ends_that_come_at_once_are_all_on_the_disk_when_they_are_answered) {
    char ids[MANY][KD_SESSION_TEXT_BYTES];
    static uint8_t tickets[MANY][KD_HSM_TICKET_MAX_BYTES];
    size_t lengths[MANY];
    channel_start("start ok\n");
    const struct kd_caller c = service_caller_of(7);
    for (size_t i = 0; i < MANY; i++) {
        struct kd_bytes ticket;
        memcpy(ids[i], channel_session(7, "dev"), sizeof(ids[i]));
        ck_assert_err(kd_channel_ticket(sx.service, &c, ids[i], &ticket), KD_OK);
        memcpy(tickets[i], ticket.p, ticket.n);
        lengths[i] = ticket.n;
    }
    n_ended = 0;
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_err(kd_channel_session_delete(sx.service, &c, ids[i], on_ended, NULL), KD_OK);
    }
    ck_assert_uint_eq(n_ended, 0); // not before it is written
    fixture_run_until(all_have_ended);
    channel_restart();
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_err(channel_resume(7, (struct kd_bytes) { tickets[i], lengths[i] }, "nonce"),
                      KD_ERR_SESSION_ENDED);
    }
}
END_TEST

static bool two_are_ready(void) {
    struct kd_service_report report;
    kd_service_report(sx.service, &report);
    return report.n_workers == 2 && report.workers[0].state == KD_WORKER_READY &&
           report.workers[1].state == KD_WORKER_READY;
}

// Reads the fake workers' log: how many records were sealed, and by whom those whose keys
// are preferred by each of two workers.
static size_t read_sealed(int pids[static 2]) {
    FILE *log = fopen(fixture_path("script.log"), "r");
    ck_assert_ptr_nonnull(log);
    unsigned cache;
    int pid;
    size_t n = 0;
    for (char line[160]; fgets(line, sizeof(line), log) != NULL;) {
        if (sscanf(line, "sealed %x %d", &cache, &pid) == 2) {
            int *home = &pids[(cache >> 24) % 2];
            ck_assert(*home == 0 || *home == pid);
            *home = pid;
            n++;
        }
    }
    fclose(log);
    return n;
}

// The keys of a session are in one worker: in another they would have to be derived again.
START_TEST(each_record_of_a_batch_goes_to_the_worker_of_its_session) {
    char ids[MANY][KD_SESSION_TEXT_BYTES];
    struct kd_record_item items[MANY];
    int pids[2] = { 0 };
    fx.config->workers.processes = 2;
    channel_start("start ok\n");
    fixture_run_until(two_are_ready);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(ids[i], channel_session(7, "dev"), sizeof(ids[i]));
        items[i] = (struct kd_record_item) { .session = ids[i], .data = kd_bytes_of_text("x") };
    }
    const struct kd_record_work work = { .n_items = MANY, .items = items };
    ck_assert_err(channel_records(7, &work), KD_OK);
    ck_assert_uint_eq(cx.n, MANY);
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_err(channel_seal(7, ids[i], "alone"), KD_OK);
    }
    ck_assert_uint_eq(read_sealed(pids), 2 * MANY);
    ck_assert(pids[0] != 0 && pids[1] != 0 && pids[0] != pids[1]);
}
END_TEST

static TCase *tcase_many(void) {
    TCase *t = tcase_create("many sessions");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_add_test(t, peer_that_makes_too_many_loses_the_ones_that_it_made_first);
    tcase_add_test(t, tickets_alone_end_no_session_that_is_in_use);
    tcase_add_test(t, ticket_that_is_empty_or_too_long_makes_no_use_of_a_session);
    tcase_add_test(t, peer_with_one_session_has_its_last);
    tcase_add_test(t, pages_go_on_after_a_session_that_has_ended);
    tcase_add_test(t, list_has_all_the_others_whichever_session_ends);
    tcase_add_test(t, ends_that_come_at_once_are_all_on_the_disk_when_they_are_answered);
    tcase_add_test(t, each_record_of_a_batch_goes_to_the_worker_of_its_session);
    return t;
}

UNIT_MAIN("many sessions", tcase_many())
