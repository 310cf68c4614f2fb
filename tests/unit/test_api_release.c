// SPDX-License-Identifier: Apache-2.0
// test_api_release.c: the traffic keys of a session, in JSON.
#include "tests/unit/api_fixture.h"

static struct fixture f;

static void setup(void) {
    fixture_init(&f);
    fixture_start(&f);
}

static void teardown(void) {
    fixture_stop(&f);
}

#define PATH "/v1/sessions/" FAKE_SESSION "/release"
#define KEY "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define A42 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define A41 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define RELEASED(window)                                                                           \
    "{\"session\":{\"session\":\"" FAKE_SESSION "\",\"peer\":\"sensor\",\"registered\":true,"      \
    "\"profile\":\"released\",\"released\":true,\"method\":3,\"suite\":2,\"update\":1,"            \
    "\"created\":\"1970-01-01T00:00:01.000Z\",\"expires\":\"1970-01-01T00:00:02.000Z\",\"sent\":"  \
    "4,"                                                                                           \
    "\"received\":5,\"bytes\":6,\"records_max\":7,\"bytes_max\":8},\"role\":\"server\","           \
    "\"keys\":{\"c2s\":\"" KEY "\",\"s2c\":\"" KEY "\",\"otp\":\"" KEY "\"},"                      \
    "\"ivs\":{\"c2s\":\"AQIDAAAAAAAAAAAA\",\"s2c\":\"AQIDAAAAAAAAAAAA\"},"                         \
    "\"send_next\":9,\"window\":" window ",\"left\":{\"milliseconds\":12,\"records\":13,"          \
    "\"bytes\":14},\"otp\":{\"digits\":8,\"step\":30,\"window\":1}}"

START_TEST(keys_of_a_session_are_released) {
    expect_problem(&f, "POST", PATH, "{\"x\":1}", 400, "field-unknown", "x");
    expect_problem(&f, "GET", PATH, NULL, 405, "method-not-allowed", "");
    f.service.at_once = KD_ERR_DENIED;
    expect_problem(&f, "POST", PATH, NULL, 403, "denied", "");
    f.service.at_once = KD_ERR_SESSION_RESIDENT;
    expect_problem(&f, "POST", PATH, NULL, 409, "session-resident", "");
    f.service.at_once = KD_ERR_SESSION_RELEASED;
    expect_problem(&f, "POST", PATH, NULL, 409, "session-released", "");
    f.service.at_once = KD_OK;
    f.service.later = KD_ERR_SESSION_EXPIRED;
    expect_problem(&f, "POST", PATH, NULL, 409, "session-expired", "");
    f.service.later = KD_OK;
    expect_json(&f, "POST", PATH, NULL, 200, RELEASED("null"));
    ck_assert_str_eq(f.service.call, "release");
    ck_assert_str_eq(f.service.name, FAKE_SESSION);
    f.service.has_received = true;
    expect_json(&f, "POST", PATH, "{}", 200,
                RELEASED("{\"highest\":11,\"seen\":\"AQID" A42 A42 A42 A41 "\"}"));
}
END_TEST

static TCase *tcase_release(void) {
    TCase *c = tcase_create("release");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, keys_of_a_session_are_released);
    return c;
}

UNIT_MAIN("api_release", tcase_release())
