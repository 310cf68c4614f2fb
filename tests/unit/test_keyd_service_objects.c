// SPDX-License-Identifier: Apache-2.0
// test_keyd_service_objects.c: what keyd keeps, as libkeyd-service reads it: keys, secrets,
// sessions, peers and devices, one and in pages; and keys and passwords that leave keyd.
#include "tests/unit/app_fixture.h"

#include <stdio.h>
#include <string.h>

static struct keyd_page page;
static struct keyd_key keys[2];
static struct keyd_key_version versions[2];
static struct keyd_secret secrets[2];
static struct keyd_session sessions[2];
static struct keyd_peer peers[2];
static struct keyd_enrolment devices[2];
static struct keyd_change change;
static struct keyd_envelope_key envelope_key;
static struct keyd_handshake handshake;
static struct keyd_traffic *traffic;
static struct keyd_one_time *one_time;
static uint8_t bytes[KEYD_PEM_MAX];
static struct keyd_room room;
static size_t n_versions;

static struct keyd_room *new_room(void) {
    room = (struct keyd_room) { .p = bytes, .max = sizeof(bytes) };
    return &room;
}

// ---- the calls -------------------------------------------------------------

static enum keyd_err key_show(void) {
    return keyd_key_show(service, "k", keys);
}
static enum keyd_err key_import(void) {
    return keyd_key_import(service, "k", "a \"PEM\"\n", keys);
}
static uint8_t point[97] = { 4 };
static enum keyd_err key_import_point(void) {
    return keyd_key_import_point(service, "k", KEYD_EC_P384, (struct keyd_bytes) { point, 97 },
                                 keys);
}
static enum keyd_err key_disable(void) {
    return keyd_key_disable(service, "k", 2, keys);
}
static enum keyd_err key_versions(void) {
    return keyd_key_versions(service, "k", versions, 2, &n_versions);
}
static enum keyd_err key_list(void) {
    page = (struct keyd_page) { .after = "a" };
    return keyd_key_list(service, &page, keys, 2);
}
static enum keyd_err secret_show(void) {
    return keyd_secret_show(service, "s1", secrets);
}
static enum keyd_err secret_list(void) {
    page = (struct keyd_page) { .n = 0 };
    return keyd_secret_list(service, &page, secrets, 2);
}
static enum keyd_err session_show(void) {
    return keyd_session_show(service, "e1", sessions);
}
static enum keyd_err session_list(void) {
    page = (struct keyd_page) { .n = 0 };
    return keyd_session_list(service, &page, sessions, 2);
}
static enum keyd_err session_resume(void) {
    return keyd_session_resume(service, data, data, &change);
}
static enum keyd_err session_update(void) {
    return keyd_session_update(service, "e1", &change);
}
// What is not good leaves nothing to free.
static enum keyd_err session_release(void) {
    traffic = NULL;
    const enum keyd_err err = keyd_session_release(service, "e1", &traffic);
    const bool is_one = traffic != NULL;
    keyd_traffic_free(traffic);
    return is_one == (err == KEYD_OK) ? err : KEYD_ERR_EXPIRED;
}
static enum keyd_err handshake_begin(void) {
    memset(&handshake, 0, sizeof(handshake));
    return keyd_handshake_begin(service, 3, &handshake, new_room());
}
static enum keyd_err ask_envelope_key(void) {
    return keyd_envelope_key(service, &envelope_key);
}
static enum keyd_err peer_show(void) {
    return keyd_peer_show(service, "p", peers, new_room());
}
static enum keyd_err peer_create(void) {
    const struct keyd_peer_config config = {
        .name = "p", .pem = "PEM\n", .kid = data, .uri = "a:b"
    };
    return keyd_peer_create(service, &config, peers);
}
static enum keyd_err peer_list(void) {
    page = (struct keyd_page) { .n = 0 };
    return keyd_peer_list(service, &page, peers, 2);
}
static enum keyd_err device_show(void) {
    return keyd_enrolment_show(service, "d", devices, new_room());
}
static enum keyd_err device_list(void) {
    page = (struct keyd_page) { .n = 0 };
    return keyd_enrolment_list(service, &page, devices, 2);
}
static enum keyd_err enrol(void) {
    one_time = NULL;
    devices[0] = (struct keyd_enrolment) { .id = "d", .relation = "r", .is_agreeing = 1 };
    const enum keyd_err err = keyd_enrol(service, devices, 60, &one_time);
    const bool is_one = one_time != NULL;
    keyd_one_time_free(one_time);
    return is_one == (err == KEYD_OK) ? err : KEYD_ERR_EXPIRED;
}
static enum keyd_err renew(void) {
    one_time = NULL;
    const enum keyd_err err = keyd_enrolment_renew(service, "d", 0, &one_time);
    const bool is_good = err != KEYD_OK || strcmp(one_time->text, "c2VjcmV0") == 0;
    keyd_one_time_free(one_time);
    return is_good ? err : KEYD_ERR_EXPIRED;
}

// ---- their answers ---------------------------------------------------------

#define TIME "\"2026-01-31T23:59:59.999Z\""
#define ZEROS "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // 32 bytes
#define JWK "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" ZEROS "\",\"y\":\"" ZEROS "\"}"
#define KEY                                                                                        \
    "{\"name\":\"k\",\"type\":\"ec-p256\",\"usages\":[\"sign\"],\"origin\":\"adopted\","           \
    "\"created\":" TIME ",\"primary\":2,\"versions\":[{\"version\":2,\"state\":\"enabled\","       \
    "\"created\":" TIME ",\"local\":true,\"extractable\":false,\"jwk\":" JWK                       \
    ",\"pem\":\"x\\n\"}]}"
#define SECRET                                                                                     \
    "{\"secret\":\"s1\",\"key\":\"k\",\"version\":1,\"type\":\"aes-256\",\"created\":" TIME        \
    ",\"expires\":" TIME ",\"residence\":\"worker\"}"
#define SESSION                                                                                    \
    "{\"session\":\"e1\",\"peer\":\"p\",\"relation\":\"r\",\"registered\":true,"                   \
    "\"profile\":\"released\",\"released\":true,\"method\":3,\"suite\":2,\"update\":1,"            \
    "\"created\":" TIME ",\"expires\":" TIME                                                       \
    ",\"sent\":4,\"received\":5,\"bytes\":6,\"records_max\":7,\"bytes_max\":8}"
#define PEER                                                                                       \
    "{\"name\":\"p\",\"public_key\":" JWK ",\"kid\":\"AAEC\",\"created\":" TIME                    \
    ",\"registered\":false}"
#define DEVICE                                                                                     \
    "{\"id\":\"d\",\"relation\":\"r\",\"usage\":\"agree\",\"state\":\"active\",\"uri\":\"a:b\","   \
    "\"created\":" TIME ",\"secret_expires\":" TIME ",\"secret\":\"c2VjcmV0\",\"serial\":\"0a\","  \
    "\"not_before\":" TIME ",\"not_after\":" TIME ",\"certificate\":\"x\\ny\\n\"}"
#define LIST(name, item) "{\"" name "\":[" item "],\"next\":\"z\"}"
#define CHANGE(more) "{\"session\":" SESSION more "}"

static const char release_answer[] =
    "{\"session\":" SESSION ",\"role\":\"client\",\"keys\":{\"c2s\":\"" ZEROS "\",\"s2c\":"
    "\"" ZEROS "\",\"otp\":\"" ZEROS "\"},\"ivs\":{\"c2s\":\"AAAAAAAAAAAAAAAA\",\"s2c\":"
    "\"AAAAAAAAAAAAAAAA\"},\"send_next\":9,\"window\":null,\"left\":{\"milliseconds\":1,"
    "\"records\":2,\"bytes\":3},\"otp\":{\"digits\":8,\"step\":30,\"window\":1}}";
static const char key_answer[] =
    "{\"key\":\"k\",\"version\":1,\"key_id\":\"AAAAAAAAAAA\",\"jwk\":" JWK ",\"pem\":\"x\","
    "\"suite\":{\"kem\":16,\"kdf\":1,\"aead\":2},\"validity_max\":1,\"leeway\":2,\"body_max\":3}";

static const char key_unread[] = " kty pem ";

static const struct {
    app_call_fn *call;
    const char *good, *optional, *unread;
} answers[] = {
    { key_show, KEY, " primary jwk ", key_unread },
    { key_import, KEY, " primary jwk ", key_unread },
    { key_disable, KEY, " primary jwk ", key_unread },
    { key_versions, KEY, " primary jwk ", key_unread },
    { key_list, LIST("keys", KEY), " primary jwk ", key_unread },
    { secret_show, SECRET, " key version created ", "" },
    { secret_list, LIST("secrets", SECRET), " key version created ", "" },
    { session_show, SESSION, " relation released method suite ", "" },
    { session_list, LIST("sessions", SESSION), " relation released method suite ", "" },
    { session_resume, CHANGE(",\"node_nonce\":\"AAEC\",\"record\":\"AAEC\""),
      " relation released method suite ", "" },
    { session_update, CHANGE(",\"record\":\"AAEC\""), " relation released method suite record ",
      "" },
    { session_release, release_answer, " relation released method suite ", "" },
    { handshake_begin, "{\"handshake\":\"h1\",\"expires\":" TIME ",\"message\":\"AAEC\"}", "",
      " expires " },
    { ask_envelope_key, key_answer, "", " kty pem " },
    { peer_show, PEER, " kid registered ", " kty " },
    { peer_create, PEER, " kid registered ", " kty " },
    { peer_list, LIST("peers", PEER), " kid registered ", " kty " },
    { device_show, DEVICE, " relation secret_expires serial not_before not_after certificate ",
      " secret " },
    { device_list, LIST("devices", DEVICE), " relation secret_expires serial not_before not_after ",
      " secret certificate " },
    { enrol, DEVICE, " relation secret_expires serial not_before not_after ", " certificate " },
    { renew, "{\"secret\":\"c2VjcmV0\"}", "", "" },
};

START_TEST(answers_are_whole_or_strange) {
    app_judges(answers[_i].call, answers[_i].good, answers[_i].optional, answers[_i].unread);
}
END_TEST

START_TEST(without_memory_a_call_fails_and_the_next_succeeds) {
    app_start(FAKE_JSON(200, answers[_i].good));
    app_each_in_turn(answers[_i].call);
    app_stop();
}
END_TEST

// ---- what they say ---------------------------------------------------------

START_TEST(what_is_read_is_what_was_said) {
    app_gives(key_show, FAKE_JSON(200, KEY), KEYD_OK);
    ck_assert_uint_eq(keys[0].origin, KEYD_ADOPTED);
    ck_assert_uint_eq(keys[0].created_s, 1769903999);
    ck_assert_uint_eq(keys[0].version, 2);
    ck_assert_uint_eq(keys[0].n_point, 65);
    ck_assert_uint_eq(keys[0].point[0], 4);
    app_gives(key_versions, FAKE_JSON(200, KEY), KEYD_OK);
    ck_assert_uint_eq(n_versions, 1);
    ck_assert_uint_eq(versions[0].n_point, 65);
    ck_assert(versions[0].is_enabled == 1 && versions[0].is_local == 1);
    ck_assert_int_eq(versions[0].is_extractable, 0);
    app_gives(session_show, FAKE_JSON(200, SESSION), KEYD_OK);
    ck_assert_str_eq(sessions[0].relation, "r");
    ck_assert_int_eq(sessions[0].is_registered, 1);
    ck_assert(sessions[0].can_release == 1 && sessions[0].is_released == 1);
    ck_assert_uint_eq(sessions[0].method * 10 + sessions[0].suite, 32);
    ck_assert_uint_eq(sessions[0].sent * 10 + sessions[0].received, 45);
    ck_assert_uint_eq(
        sessions[0].bytes * 100 + sessions[0].records_max * 10 + sessions[0].bytes_max, 678);
    app_gives(peer_show, FAKE_JSON(200, PEER), KEYD_OK);
    ck_assert_uint_eq(peers[0].n_kid, 3);
    ck_assert(peers[0].has_certificate == 0 && peers[0].is_registered == 0);
    ck_assert_uint_eq(room.n, 0);
    app_gives(device_show, FAKE_JSON(200, DEVICE), KEYD_OK);
    ck_assert(devices[0].is_agreeing == 1 && devices[0].state == KEYD_ACTIVE);
    ck_assert_mem_eq(bytes, "x\ny\n", room.n);
    ck_assert_uint_eq(room.n, 4);
    app_gives(handshake_begin, FAKE_JSON(200, "{\"handshake\":\"h1\",\"message\":\"AAEC\"}"),
              KEYD_OK);
    ck_assert_str_eq(handshake.id, "h1");
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"initiate\":true,\"method\":3}"));
}
END_TEST

START_TEST(what_is_asked_is_what_was_meant) {
    app_gives(key_import, FAKE_JSON(200, KEY), KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"name\":\"k\",\"pem\":\"a \\\"PEM\\\"\\n\"}"));
    point[1] = 0xfb;
    point[49] = 0x01;
    app_gives(key_import_point, FAKE_JSON(200, KEY), KEYD_OK);
    static const char zeros[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    char jwk[300];
    snprintf(
        jwk, sizeof(jwk),
        "{\"name\":\"k\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"-w%s\",\"y\":\"AQ%s\"}}",
        zeros, zeros);
    ck_assert_ptr_nonnull(strstr(fake.request, jwk));
    app_gives(key_disable, FAKE_JSON(200, KEY), KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "POST /v1/keys/k/disable HTTP"));
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"version\":2}"));
    app_gives(peer_create, FAKE_JSON(200, PEER), KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"name\":\"p\",\"public_key\":\"PEM\\n\","
                                               "\"kid\":\"ZGF0YQ\",\"uri\":\"a:b\"}"));
    app_gives(enrol, FAKE_JSON(200, DEVICE), KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "{\"id\":\"d\",\"relation\":\"r\",\"usage\":"
                                               "\"agree\",\"secret_lifetime\":60}"));
}
END_TEST

START_TEST(a_page_goes_on_where_it_ended_and_never_for_ever) {
    app_gives(key_list, FAKE_JSON(200, LIST("keys", KEY)), KEYD_OK);
    ck_assert_ptr_nonnull(strstr(fake.request, "GET /v1/keys?limit=2&after=a HTTP"));
    ck_assert(page.n == 1 && page.is_more == 1);
    ck_assert_str_eq(page.after, "z");
    app_gives(key_list, FAKE_JSON(200, "{\"keys\":[],\"next\":null}"), KEYD_OK);
    ck_assert(page.n == 0 && page.is_more == 0);
    app_gives(key_list, FAKE_JSON(200, "{\"keys\":[],\"next\":\"z\"}"), KEYD_ERR_SERVER);
    ck_assert_str_eq(page.after, "a");
    app_gives(key_list, FAKE_JSON(200, LIST("keys", KEY "," KEY "," KEY)), KEYD_ERR_SERVER);
    app_start(FAKE_JSON(200, "{}"));
    struct keyd_page bad = { .after = "a&limit=1" };
    ck_assert_keyd(keyd_key_list(service, &bad, keys, 2), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_key_list(service, &page, keys, 0), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_key_list(service, &page, NULL, 1), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_key_list(service, NULL, keys, 1), KEYD_ERR_ARGUMENT);
    ck_assert_uint_eq(fake.n_requests, 0);
    app_stop();
}
END_TEST

START_TEST(too_little_room_for_versions_says_how_many_there_are) {
    app_start(FAKE_JSON(200, KEY));
    size_t n = 0;
    ck_assert_keyd(keyd_key_versions(service, "k", versions, 0, &n), KEYD_ERR_ARGUMENT);
    ck_assert_uint_eq(n, 1);
    app_stop();
}
END_TEST

// A page of keys has all their versions, whose values are more than base/json takes of itself.
START_TEST(versions_are_without_end) {
    enum { VERSIONS = KD_JSON_VALUES_MAX / 10 };
    static const char version[] = "{\"version\":1,\"state\":\"disabled\",\"created\":" TIME
                                  ",\"local\":true,\"extractable\":false},";
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(2000 * 1000);
    static const char key[] = KEY;
    const char *rest = strstr(key, "\"versions\":[") + 12;
    kd_buf_printf(
        &answer,
        "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%.*s",
        strlen(key) + VERSIONS * strlen(version), (int)(rest - key), key);
    for (size_t i = 0; i < VERSIONS; i++) {
        kd_buf_text(&answer, version);
    }
    kd_buf_text(&answer, rest);
    app_start(kd_buf_get_text(&answer));
    ck_assert_keyd(keyd_key_versions(service, "k", versions, 2, &n_versions), KEYD_ERR_ARGUMENT);
    ck_assert_uint_eq(n_versions, VERSIONS + 1);
    app_stop();
}
END_TEST

START_TEST(released_keys_are_read_with_their_window) {
    char answer[3000];
    const char *window = strstr(release_answer, "null");
    char seen[173];
    memset(seen, 'A', 171);
    seen[0] = '_'; // 0xfc
    seen[171] = '\0';
    snprintf(answer, sizeof(answer), "%.*s{\"highest\":5,\"seen\":\"%s\"}%s",
             (int)(window - release_answer), release_answer, seen, window + 4);
    app_start(FAKE_JSON(200, answer));
    ck_assert_keyd(keyd_session_release(service, "e1", &traffic), KEYD_OK);
    ck_assert(traffic->is_client == 1 && traffic->has_received == 1);
    ck_assert_uint_eq(traffic->received_top, 5);
    ck_assert_uint_eq(traffic->received[0], 0xfc);
    ck_assert_uint_eq(traffic->send_next, 9);
    ck_assert_uint_eq(traffic->left_ms * 100 + traffic->left_records * 10 + traffic->left_bytes,
                      123);
    ck_assert_uint_eq(traffic->otp_digits * 100 + traffic->otp_step_s + traffic->otp_window, 831);
    keyd_traffic_free(traffic);
    keyd_traffic_free(NULL);
    keyd_one_time_free(NULL);
    app_stop();
    seen[170] = '\0';
    snprintf(answer, sizeof(answer), "%.*s{\"highest\":5,\"seen\":\"%s\"}%s",
             (int)(window - release_answer), release_answer, seen, window + 4);
    app_gives(session_release, FAKE_JSON(200, answer), KEYD_ERR_SERVER);
}
END_TEST

START_TEST(what_is_no_name_goes_into_no_path) {
    static const char *const bad[] = { "", "..", "a/b", "a?b", "a b", "a%2fb", NULL };
    app_start(FAKE_JSON(200, "{}"));
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_keyd(keyd_key_enable(service, bad[i], 0, NULL), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_key_adopt(service, bad[i], "pkcs11:", NULL), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_key_delete_version(service, bad[i], 1), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_secret_show(service, bad[i], secrets), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_session_update(service, bad[i], &change), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_session_release(service, bad[i], &traffic), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_peer_delete(service, bad[i]), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_enrolment_revoke(service, bad[i]), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_enrolment_delete(service, bad[i]), KEYD_ERR_ARGUMENT);
        ck_assert_keyd(keyd_enrolment_renew(service, bad[i], 0, &one_time), KEYD_ERR_ARGUMENT);
    }
    ck_assert_keyd(keyd_key_delete_version(service, "k", 0), KEYD_ERR_ARGUMENT); // not all of it
    ck_assert_keyd(keyd_key_import(service, "k", NULL, NULL), KEYD_ERR_ARGUMENT);
    const struct keyd_bytes whole = { point, 97 }, half = { point, 49 };
    ck_assert_keyd(keyd_key_import_point(service, "..", KEYD_EC_P384, whole, NULL),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_key_import_point(service, "k", KEYD_EC_P256, whole, NULL),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_key_import_point(service, "k", KEYD_AES_256, half, NULL),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_key_import_point(service, "k", KEYD_EC_P384, half, NULL),
                   KEYD_ERR_ARGUMENT);
    ck_assert_keyd(
        keyd_key_import_point(service, "k", KEYD_EC_P384, (struct keyd_bytes) { bytes, 97 }, NULL),
        KEYD_ERR_ARGUMENT);
    const struct keyd_peer_config latin = { .name = "p", .pem = "PEM\n", .uri = "a:\xe9" };
    ck_assert_keyd(keyd_peer_create(service, &latin, NULL), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_handshake_abandon(service, NULL), KEYD_ERR_ARGUMENT);
    ck_assert_keyd(keyd_session_resume(service, data, (struct keyd_bytes) { "", 0 }, &change),
                   KEYD_ERR_ARGUMENT);
    memset(&handshake, 0, sizeof(handshake));
    ck_assert_keyd(keyd_handshake_begin(service, 4, &handshake, new_room()), KEYD_ERR_ARGUMENT);
    ck_assert_uint_eq(fake.n_requests, 0);
    app_stop();
}
END_TEST

static TCase *tcase_objects(void) {
    TCase *t = tcase_create("objects");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, answers_are_whole_or_strange, 0, KD_COUNT_OF(answers));
    tcase_add_loop_test(t, without_memory_a_call_fails_and_the_next_succeeds, 0,
                        KD_COUNT_OF(answers));
    tcase_add_test(t, what_is_read_is_what_was_said);
    tcase_add_test(t, what_is_asked_is_what_was_meant);
    tcase_add_test(t, a_page_goes_on_where_it_ended_and_never_for_ever);
    tcase_add_test(t, too_little_room_for_versions_says_how_many_there_are);
    tcase_add_test(t, versions_are_without_end);
    tcase_add_test(t, released_keys_are_read_with_their_window);
    tcase_add_test(t, what_is_no_name_goes_into_no_path);
    return t;
}

UNIT_MAIN("keyd-service-objects", tcase_objects())
