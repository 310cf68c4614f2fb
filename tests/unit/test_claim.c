// SPDX-License-Identifier: Apache-2.0
// Peers that nobody registered, in the service: how they come, what they share with others,
// and how they go.  Each allocation on the way fails in turn, too.
#include "keyd/channel_state.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/pki.h"

#include <stdio.h>
#include <string.h>

static struct pki_cert root;
static char anchors[160];

static void set_up(void) {
    channel_setup();
    root = pki_ca("root", NULL);
    snprintf(anchors, sizeof(anchors), "%s", fixture_path("anchors"));
    pki_write_pem(anchors, &root, 1);
    fx.config->trust = (struct kd_trust_config) { .anchors_file = anchors,
                                                  .crl_file = "",
                                                  .accept_unregistered = true,
                                                  .peer_uri = "urn:keyd:device:" };
}

static void tear_down(void) {
    channel_teardown();
    pki_wipe(&root);
}

// The fake worker's peers do static Diffie-Hellman (method 2).
static struct pki_cert device_of(const char *name, const struct pki_cert *issuer) {
    char uri[100];
    snprintf(uri, sizeof(uri), "URI:urn:keyd:device:%s", name);
    const struct pki_spec spec = { .name = name, .uris = uri, .usage = "keyAgreement" };
    return pki_make(&spec, issuer);
}

static struct kd_bytes says(const struct pki_cert *certs, size_t n) {
    static struct kd_buf message;
    struct kd_bytes chain[KD_X5CHAIN_MAX];
    for (size_t i = 0; i < n; i++) {
        chain[i] = pki_der(&certs[i]);
    }
    message.max = KD_EDHOC_MESSAGE_MAX_BYTES;
    kd_buf_reset(&message);
    kd_buf_text(&message, "id");
    kd_idcred_put_x5chain(&message, chain, n);
    return kd_buf_get(&message);
}

static enum kd_err connect_by(struct kd_bytes message) {
    enum kd_err r = channel_begin(7, "m1", 0);
    r = r == KD_OK ? cx.refusal : r;
    if (r == KD_OK) {
        r = channel_step(7, cx.handshake, message);
    }
    return r == KD_OK ? cx.refusal : r;
}

static enum kd_err connect_peer(const struct pki_cert *c) {
    return connect_by(says(c, 1));
}

static bool is_there(const char *name, bool is_registered) {
    struct kd_peer_info info;
    const struct kd_caller c = service_caller_of(7);
    return kd_channel_peer(sx.service, &c, name, &info) == KD_OK &&
           info.is_registered == is_registered;
}

static size_t sessions(void) {
    struct kd_channel_report report;
    kd_channel_report(sx.service, &report);
    return report.n_sessions;
}

START_TEST(stranger_is_refused_without_the_switch) {
    fx.config->trust.accept_unregistered = false;
    channel_start("start ok\n");
    struct pki_cert c = device_of("car", &root);
    ck_assert_err(connect_peer(&c), KD_ERR_HS_CREDENTIAL);
    ck_assert(!is_there("car", false));
    pki_wipe(&c);
}
END_TEST

START_TEST(anchors_that_cannot_be_read_stop_the_start) {
    fx.config->trust.anchors_file = "/nonexistent";
    struct kd_service *none = NULL;
    fixture_script("start ok\n");
    ck_assert_err(kd_service_open(fx.loop, fx.config, &none), KD_ERR_CONFIG);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(stranger_is_here_while_its_sessions_are) {
    channel_start("start ok\n");
    struct pki_cert c = device_of("car", &root);
    char first[KD_SESSION_TEXT_BYTES];
    ck_assert_err(connect_peer(&c), KD_OK);
    ck_assert_str_eq(cx.peer, "car");
    memcpy(first, cx.session.id, sizeof(first));
    ck_assert_err(connect_peer(&c), KD_OK);
    ck_assert(is_there("car", false));
    ck_assert_err(channel_end(7, first), KD_OK);
    ck_assert(is_there("car", false));
    ck_assert_err(channel_end(7, cx.session.id), KD_OK);
    ck_assert(!is_there("car", false));
    ck_assert_uint_eq(sessions(), 0);
    // A handshake that does not end leaves nothing.
    ck_assert_err(channel_begin(7, "m1", 0), KD_OK);
    ck_assert(!is_there("car", false));
    pki_wipe(&c);
}
END_TEST

START_TEST(peers_max_is_for_strangers_too) {
    fx.config->channel.peers_max = 2; // one is registered
    channel_start("start ok\n");
    struct pki_cert a = device_of("a", &root);
    struct pki_cert b = device_of("b", &root);
    ck_assert_err(connect_peer(&a), KD_OK);
    ck_assert_err(connect_peer(&a), KD_OK);
    ck_assert_err(connect_peer(&b), KD_ERR_TOO_MANY);
    pki_wipe(&a);
    pki_wipe(&b);
}
END_TEST

START_TEST(registered_name_stays_with_its_certificate) {
    channel_start("start ok\n"); // with the peer "device"
    struct pki_cert c = device_of("device", &root);
    ck_assert_err(connect_peer(&c), KD_ERR_HS_CREDENTIAL);
    ck_assert_uint_eq(sessions(), 0);
    pki_wipe(&c);
}
END_TEST

START_TEST(registration_ends_a_stranger_of_its_name) {
    channel_start("start ok\n");
    struct pki_cert c = device_of("car", &root);
    ck_assert_err(connect_peer(&c), KD_OK);
    ck_assert_err(channel_add_peer("car", "kid"), KD_OK);
    ck_assert_uint_eq(sessions(), 0);
    ck_assert(is_there("car", true));
    ck_assert_err(connect_peer(&c), KD_ERR_HS_CREDENTIAL);
    pki_wipe(&c);
}
END_TEST

static struct kd_bytes ticket_of(const char *session, uint8_t *room) {
    struct kd_bytes ticket = KD_BYTES_NONE;
    const struct kd_caller c = service_caller_of(7);
    ck_assert_err(kd_channel_ticket(sx.service, &c, session, &ticket), KD_OK);
    memcpy(room, ticket.p, ticket.n);
    return (struct kd_bytes) { room, ticket.n };
}

// So that two sessions are not of one millisecond, which is as fine as ends are noted.
static void wait_a_little(void) {
    const uint64_t now = kd_clock_wall_ms();
    while (kd_clock_wall_ms() < now + 2) {
    }
}

START_TEST(tickets_end_with_a_deleted_stranger_and_with_its_old_certificate) {
    channel_start("start ok\n");
    struct pki_cert old = device_of("car", &root);
    struct pki_cert new = device_of("car", &root);
    uint8_t room[KD_HSM_TICKET_MAX_BYTES];
    struct kd_bytes ticket;
    ck_assert_err(connect_peer(&old), KD_OK);
    ticket = ticket_of(cx.session.id, room);
    ck_assert_err(channel_delete_peer(7, "car"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_NO_PEER);
    wait_a_little();
    ck_assert_err(connect_peer(&old), KD_OK); // back, but what was deleted is not
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_SESSION_ENDED);
    ticket = ticket_of(cx.session.id, room);
    wait_a_little();
    ck_assert_err(connect_peer(&new), KD_OK);
    ck_assert_uint_eq(sessions(), 1);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_SESSION_ENDED);
    ticket = ticket_of(cx.session.id, room);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_OK); // the new one's own
    pki_wipe(&old);
    pki_wipe(&new);
}
END_TEST

// What ended with keyd is in no list of ends.  Whose certificate was withdrawn meanwhile does not
// come back as the one who has the name now.
START_TEST(ticket_of_a_stranger_is_of_no_other_of_its_name_after_a_restart) {
    channel_start("start ok\n");
    struct pki_cert old = device_of("car", &root);
    struct pki_cert new = device_of("car", &root);
    uint8_t room[KD_HSM_TICKET_MAX_BYTES];
    uint8_t other_room[KD_HSM_TICKET_MAX_BYTES];
    ck_assert_err(connect_peer(&old), KD_OK);
    const struct kd_bytes ticket = ticket_of(cx.session.id, room);
    channel_restart();
    ck_assert_err(connect_peer(&new), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_SESSION_ENDED);
    ck_assert_uint_eq(sessions(), 1);
    const struct kd_bytes other = ticket_of(cx.session.id, other_room);
    channel_restart();
    ck_assert_err(channel_add_peer("car", "kid"), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_ERR_SESSION_ENDED);
    ck_assert_err(channel_resume(7, other, "n"), KD_ERR_SESSION_ENDED);
    ck_assert_uint_eq(sessions(), 0);
    pki_wipe(&old);
    pki_wipe(&new);
}
END_TEST

START_TEST(ticket_of_a_stranger_is_good_where_the_same_is_after_a_restart) {
    channel_start("start ok\n");
    struct pki_cert c = device_of("car", &root);
    uint8_t room[KD_HSM_TICKET_MAX_BYTES];
    ck_assert_err(connect_peer(&c), KD_OK);
    ck_assert_err(channel_update(7, cx.session.id), KD_OK); // the next ticket says it, too
    const struct kd_bytes ticket = ticket_of(cx.session.id, room);
    channel_restart();
    ck_assert_err(connect_peer(&c), KD_OK);
    ck_assert_err(channel_resume(7, ticket, "n"), KD_OK);
    ck_assert_uint_eq(sessions(), 2);
    pki_wipe(&c);
}
END_TEST

START_TEST(reload_judges_strangers_again_with_their_chain) {
    channel_start("start ok\n");
    struct pki_cert middle = pki_ca("middle", &root);
    struct pki_cert other = pki_ca("other", NULL);
    struct pki_cert chain[] = { device_of("deep", &middle), middle };
    struct pki_cert flat = device_of("flat", &root);
    ck_assert_err(connect_by(says(chain, 2)), KD_OK);
    ck_assert_err(connect_peer(&flat), KD_OK);
    kd_service_reload(sx.service);
    ck_assert_uint_eq(sessions(), 2);
    pki_write_pem(anchors, &middle, 1); // the intermediate CA alone
    kd_service_reload(sx.service);
    ck_assert(is_there("deep", false) && !is_there("flat", false));
    pki_write_pem(anchors, &other, 1);
    kd_service_reload(sx.service);
    ck_assert_uint_eq(sessions(), 0);
    ck_assert(is_there("device", true));
    ck_assert_err(connect_peer(&flat), KD_ERR_HS_CREDENTIAL);
    pki_wipe(&chain[0]);
    pki_wipe(&flat);
    pki_wipe(&middle);
    pki_wipe(&other);
}
END_TEST

// As when an issuer's certificate or a revocation list has come to its end.
static void trust_only(const struct pki_cert *anchor) {
    struct kd_trust **trust = &sx.service->channel->trust;
    struct kd_trust *fresh = NULL;
    pki_write_pem(anchors, anchor, 1);
    ck_assert_err(kd_trust_open(anchors, "", &fresh), KD_OK);
    kd_trust_free(*trust);
    *trust = fresh;
}

START_TEST(stranger_that_is_here_is_judged_again_with_its_next_handshake) {
    channel_start("start ok\n");
    struct pki_cert other = pki_ca("other", NULL);
    struct pki_cert c = device_of("car", &root);
    ck_assert_err(connect_peer(&c), KD_OK);
    trust_only(&other);
    ck_assert_err(connect_peer(&c), KD_ERR_HS_CREDENTIAL);
    ck_assert_err(connect_peer(&c), KD_ERR_HS_CREDENTIAL);
    ck_assert_uint_eq(sessions(), 1);
    trust_only(&root);
    ck_assert_err(connect_peer(&c), KD_OK);
    trust_only(&other);
    ck_assert_err(connect_peer(&c), KD_OK); // not more than once a minute
    ck_assert_uint_eq(sessions(), 3);
    struct kd_peer_entry *e = kd_peers_get(&sx.service->channel->peers, "car");
    e->judged_ms -= KD_CLAIM_JUDGED_FOR_MS;
    ck_assert_err(connect_peer(&c), KD_ERR_HS_CREDENTIAL);
    pki_wipe(&c);
    pki_wipe(&other);
}
END_TEST

// Who answers last chooses when: a reload in between counts.
START_TEST(reload_judges_strangers_whose_handshake_is_under_way) {
    channel_start("start ok\n");
    struct pki_cert other = pki_ca("other", NULL);
    struct pki_cert c = device_of("car", &root);
    for (int i = 0; i < 2; i++) { // the same anchors, others
        ck_assert_err(channel_begin(7, "", 1), KD_OK);
        ck_assert_err(channel_step(7, cx.handshake, says(&c, 1)), KD_OK);
        ck_assert_err(cx.refusal, KD_OK);
        pki_write_pem(anchors, i == 0 ? &root : &other, 1);
        kd_service_reload(sx.service);
        ck_assert_err(channel_step(7, cx.handshake, kd_bytes_of_text("m4")), KD_OK);
        ck_assert_err(cx.refusal, i == 0 ? KD_OK : KD_ERR_HS_CREDENTIAL);
        if (i == 0) {
            ck_assert_err(channel_end(7, cx.session.id), KD_OK);
        }
        ck_assert_uint_eq(sessions(), 0);
        ck_assert(!is_there("car", false));
    }
    pki_wipe(&c);
    pki_wipe(&other);
}
END_TEST

START_TEST(stranger_connects_or_there_is_no_memory) {
    channel_start("start ok\n");
    struct pki_cert middle = pki_ca("middle", &root);
    struct pki_cert chain[] = { device_of("deep", &middle), middle };
    const struct kd_bytes message = says(chain, 2);
    unsigned failures = 0;
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        const enum kd_err r = connect_by(message);
        const bool fails = memory_has_failed();
        failures += r != KD_OK;
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        if (r == KD_OK) {
            ck_assert_err(channel_end(7, cx.session.id), KD_OK);
        }
        ck_assert_msg(!is_there("deep", false), "turn %u", turn);
    }
    ck_assert_uint_gt(failures, 5);
    ck_assert_err(connect_by(message), KD_OK);
    pki_wipe(&chain[0]);
    pki_wipe(&middle);
}
END_TEST

static TCase *tcase_claim(void) {
    TCase *t = tcase_create("claim");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, stranger_is_refused_without_the_switch);
    tcase_add_test(t, anchors_that_cannot_be_read_stop_the_start);
    tcase_add_test(t, stranger_is_here_while_its_sessions_are);
    tcase_add_test(t, peers_max_is_for_strangers_too);
    tcase_add_test(t, registered_name_stays_with_its_certificate);
    tcase_add_test(t, registration_ends_a_stranger_of_its_name);
    tcase_add_test(t, tickets_end_with_a_deleted_stranger_and_with_its_old_certificate);
    tcase_add_test(t, ticket_of_a_stranger_is_of_no_other_of_its_name_after_a_restart);
    tcase_add_test(t, ticket_of_a_stranger_is_good_where_the_same_is_after_a_restart);
    tcase_add_test(t, reload_judges_strangers_again_with_their_chain);
    tcase_add_test(t, stranger_that_is_here_is_judged_again_with_its_next_handshake);
    tcase_add_test(t, reload_judges_strangers_whose_handshake_is_under_way);
    tcase_add_test(t, stranger_connects_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("claim", tcase_claim())
