// SPDX-License-Identifier: Apache-2.0
// Peers of the channel: what is refused, how they are found, and that they last.
#include "keyd/peers.h"
#include "tests/unit/channel_fixture.h"

#include <stdio.h>
#include <string.h>

static void on_peer(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                    const struct kd_peer_info *peer KD_UNUSED) {
    sx.is_done = true;
    sx.last_err = err;
}

static enum kd_err add(uid_t uid, const struct kd_peer_spec *spec) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(kd_channel_peer_add(sx.service, &c, spec, on_peer, NULL));
}

START_TEST(credentials_that_are_none_are_refused) {
    uint8_t room[97];
    channel_start("start ok\n");
    const struct kd_bytes point = service_point(room);
    const struct kd_bytes kid = kd_bytes_of_text("k");
    struct kd_peer_spec spec = { .name = "p" };
    ck_assert_err(add(7, &spec), KD_ERR_FIELD_INVALID);
    spec.point = point;
    ck_assert_err(add(7, &spec), KD_ERR_FIELD_INVALID); // nothing names it
    spec.kid = kd_bytes_of_text("seventeen bytes..");
    ck_assert_err(add(7, &spec), KD_ERR_FIELD_INVALID);
    spec.kid = kid;
    spec.uri = "https://a.example/c";
    ck_assert_err(add(7, &spec), KD_ERR_FIELD_INVALID); // no certificate to fetch
    spec.uri = NULL;
    spec.certificate = channel_certificate(2, 10);
    ck_assert_err(add(7, &spec), KD_ERR_FIELD_INVALID); // both
    spec.certificate = KD_BYTES_NONE;
    room[64] ^= 1;
    ck_assert_err(add(7, &spec), KD_ERR_BAD_PUBLIC_KEY);
    room[64] ^= 1;
    spec.name = "../p";
    ck_assert_err(add(7, &spec), KD_ERR_BAD_NAME);
    spec.name = "p";
    ck_assert_err(add(8, &spec), KD_ERR_DENIED);
    ck_assert_err(add(7, &spec), KD_OK);
}
END_TEST

START_TEST(nothing_that_names_a_peer_is_given_twice) {
    channel_start("start ok\n");
    struct kd_peer_spec spec = { .name = "one",
                                 .certificate = channel_certificate(2, 10),
                                 .uri = "https://a.example/c",
                                 .kid = kd_bytes_of_text("k") };
    ck_assert_err(add(7, &spec), KD_OK);
    ck_assert_err(add(7, &spec), KD_ERR_PEER_EXISTS);
    spec.name = "two";
    ck_assert_err(add(7, &spec), KD_ERR_PEER_EXISTS);
    spec.kid = KD_BYTES_NONE;
    ck_assert_err(add(7, &spec), KD_ERR_PEER_EXISTS); // the URI
    spec.uri = NULL;
    ck_assert_err(add(7, &spec), KD_ERR_PEER_EXISTS); // the certificate
    spec.certificate = channel_certificate(3, 10);
    ck_assert_err(add(7, &spec), KD_OK);
}
END_TEST

START_TEST(peers_are_there_after_a_restart_and_deleted_ones_are_not) {
    struct kd_peer_info info[4];
    channel_start("start ok\n");
    const struct kd_peer_spec spec = { .name = "car",
                                       .certificate = channel_certificate(2, 10),
                                       .uri = "https://a.example/c" };
    ck_assert_err(add(7, &spec), KD_OK);
    ck_assert_err(channel_add_peer("boat", "b"), KD_OK);
    ck_assert_err(channel_delete_peer(8, "device"), KD_ERR_DENIED);
    ck_assert_err(channel_delete_peer(7, "device"), KD_OK);
    ck_assert_err(channel_delete_peer(7, "device"), KD_ERR_NO_PEER);
    channel_restart();
    const struct kd_caller c = service_caller_of(8);
    ck_assert_uint_eq(kd_channel_peers(sx.service, &c, NULL, info, 4), 2);
    ck_assert_str_eq(info[0].name, "boat");
    ck_assert_str_eq(info[1].name, "car");
    ck_assert_str_eq(info[1].uri, "https://a.example/c");
    ck_assert_uint_gt(info[1].certificate.n, 100);
    ck_assert_uint_eq(kd_channel_peers(sx.service, &c, "boat", info, 4), 1);
    ck_assert_err(kd_channel_peer(sx.service, &c, "device", info), KD_ERR_NO_PEER);
    ck_assert_str_ne(channel_session(7, "b"), "");
}
END_TEST

static void load(struct kd_peers *p, const char *name, struct kd_bytes certificate,
                 const char *uri) {
    const struct kd_store_peer peer = { .name = name, .certificate = certificate, .uri = uri };
    ck_assert_err(kd_peers_load(p, &peer), KD_OK);
}

static enum kd_err resolve(const struct kd_peers *p, const struct kd_buf *id, uint64_t now,
                           const char *expected) {
    const struct kd_peer_entry *e = NULL;
    const char *why = NULL;
    struct kd_idcred parsed;
    enum kd_err r = kd_idcred_parse(kd_buf_get(id), &parsed);
    ck_assert_err(r, KD_OK);
    r = kd_peers_resolve(p, &parsed, now, &e, &why);
    ck_assert(r == KD_OK || why[0] != '\0');
    if (r == KD_OK) {
        ck_assert_str_eq(e->info.name, expected);
    }
    return r;
}

START_TEST(peer_is_found_by_each_of_its_names_and_no_other) {
    static const int hashes[] = { KD_COSE_SHA256_64, KD_COSE_SHA256, KD_COSE_SHA384,
                                  KD_COSE_SHAKE128 };
    struct kd_peers p = KD_PEERS_INIT;
    const uint64_t now = kd_clock_wall_ms();
    kd_auto(buf) struct kd_buf id = KD_BUF_INIT(4096);
    load(&p, "a", channel_certificate(2, 10), "https://a.example/c");
    load(&p, "b", channel_certificate(3, 10), "https://b.example/c");
    const struct kd_bytes a = kd_peers_get(&p, "a")->info.certificate;
    const struct kd_bytes b = kd_peers_get(&p, "b")->info.certificate;
    for (size_t i = 0; i < KD_COUNT_OF(hashes); i++) {
        kd_buf_reset(&id);
        ck_assert_err(kd_idcred_put_x5t(&id, hashes[i], b), KD_OK);
        ck_assert_err(resolve(&p, &id, now, "b"), KD_OK);
        kd_buf_reset(&id);
        ck_assert_err(kd_idcred_put_x5t(&id, hashes[i], channel_certificate(4, 10)), KD_OK);
        ck_assert_err(resolve(&p, &id, now, ""), KD_ERR_NO_PEER);
    }
    kd_buf_reset(&id);
    kd_idcred_put_x5u(&id, kd_bytes_of_text("https://a.example/c"));
    ck_assert_err(resolve(&p, &id, now, "a"), KD_OK);
    ck_assert_err(resolve(&p, &id, now + UINT64_C(30) * 86400000, ""), KD_ERR_HS_CREDENTIAL);
    ck_assert_err(resolve(&p, &id, now - UINT64_C(30) * 86400000, ""), KD_ERR_HS_CREDENTIAL);
    kd_buf_reset(&id);
    ck_assert_err(
        kd_idcred_put_x5u_x5t(&id, kd_bytes_of_text("https://a.example/c"), KD_COSE_SHA256, b),
        KD_OK);
    ck_assert_err(resolve(&p, &id, now, ""), KD_ERR_HS_CREDENTIAL);
    kd_buf_reset(&id);
    kd_idcred_put_x5chain(&id, &a, 1);
    ck_assert_err(resolve(&p, &id, now, "a"), KD_OK);
    kd_buf_reset(&id);
    kd_idcred_put_kid(&id, kd_bytes_of_text("a"));
    ck_assert_err(resolve(&p, &id, now, ""), KD_ERR_NO_PEER);
    kd_peers_remove(&p, kd_peers_get(&p, "a"));
    kd_buf_reset(&id);
    kd_idcred_put_x5u(&id, kd_bytes_of_text("https://a.example/c"));
    ck_assert_err(resolve(&p, &id, now, ""), KD_ERR_NO_PEER);
    kd_peers_wipe(&p);
}
END_TEST

START_TEST(credential_of_a_raw_key_is_a_claims_set) {
    struct kd_peers p = KD_PEERS_INIT;
    uint8_t room[97];
    const struct kd_store_peer peer = {
        .name = "a", .point = service_point(room), .kid = kd_bytes_of_text("\x2a"), .uri = ""
    };
    ck_assert_err(kd_peers_load(&p, &peer), KD_OK);
    const struct kd_bytes cred = kd_peers_get(&p, "a")->cred;
    ck_assert_err(kd_cbor_check(cred), KD_OK);
    static const uint8_t head[] = { 0xa1, 0x08, 0xa1, 0x01, 0xa5, 0x01, 0x02, 0x02,
                                    0x41, 0x2a, 0x20, 0x01, 0x21, 0x58, 0x20 };
    ck_assert_uint_eq(cred.n, sizeof(head) + 32 + 3 + 32);
    ck_assert_mem_eq(cred.p, head, sizeof(head));
    ck_assert_mem_eq(cred.p + sizeof(head), room + 1, 32);
    ck_assert_mem_eq(cred.p + cred.n - 32, room + 33, 32);
    kd_peers_wipe(&p);
}
END_TEST

START_TEST(a_new_credential_takes_the_place_of_the_old_one) {
    struct kd_peers p = KD_PEERS_INIT;
    uint8_t hash[KD_PEER_HASH_BYTES];
    struct kd_peer_entry *old = NULL;
    struct kd_peer_entry *other = NULL;
    struct kd_peer_entry *fresh = NULL;
    struct kd_store_peer peer = { .name = "b", .uri = "u:b" };
    peer.certificate = channel_certificate(2, 10);
    ck_assert_err(kd_peers_add(&p, &peer, &old), KD_OK);
    memcpy(hash, old->hash, sizeof(hash));
    const struct kd_store_peer next = { .name = "c",
                                        .uri = "u:c",
                                        .certificate = channel_certificate(3, 10) };
    ck_assert_err(kd_peers_add(&p, &next, &other), KD_OK);
    peer.certificate = channel_certificate(2, 20);
    ck_assert_err(kd_peers_prepare(&p, &peer, &fresh), KD_OK);
    ck_assert_ptr_eq(kd_peers_get(&p, "b"), old); // not yet
    ck_assert_err(kd_peers_replace(&p, old, fresh), KD_OK);
    ck_assert_ptr_eq(kd_peers_get(&p, "b"), fresh);
    ck_assert_ptr_eq(kd_map_get(&p.by_uri, kd_bytes_of_text("u:b")), fresh);
    ck_assert_ptr_null(kd_map_get(&p.by_hash, (struct kd_bytes) { hash, sizeof(hash) }));
    ck_assert_ptr_eq(kd_map_get(&p.by_hash, (struct kd_bytes) { fresh->hash, sizeof(fresh->hash) }),
                     fresh);
    ck_assert_uint_eq(p.n, 2);
    ck_assert_ptr_eq(kd_peers_next(&p, NULL), fresh);
    ck_assert_ptr_eq(kd_peers_next(&p, "b"), other);
    kd_peers_discard(old);
    // What another has is refused, and then neither is in the list.
    peer.uri = "u:c";
    peer.certificate = channel_certificate(2, 30);
    ck_assert_err(kd_peers_prepare(&p, &peer, &old), KD_OK);
    ck_assert_err(kd_peers_replace(&p, fresh, old), KD_ERR_PEER_EXISTS);
    ck_assert_ptr_null(kd_peers_get(&p, "b"));
    ck_assert_ptr_eq(kd_map_get(&p.by_uri, kd_bytes_of_text("u:c")), other);
    kd_peers_discard(old);
    kd_peers_discard(fresh);
    kd_peers_wipe(&p);
}
END_TEST

static TCase *tcase_peers(void) {
    TCase *t = tcase_create("peers");
    tcase_add_checked_fixture(t, channel_setup, channel_teardown);
    tcase_add_test(t, credentials_that_are_none_are_refused);
    tcase_add_test(t, nothing_that_names_a_peer_is_given_twice);
    tcase_add_test(t, peers_are_there_after_a_restart_and_deleted_ones_are_not);
    tcase_add_test(t, peer_is_found_by_each_of_its_names_and_no_other);
    tcase_add_test(t, credential_of_a_raw_key_is_a_claims_set);
    tcase_add_test(t, a_new_credential_takes_the_place_of_the_old_one);
    return t;
}

UNIT_MAIN("peers", tcase_peers())
