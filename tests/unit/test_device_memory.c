// SPDX-License-Identifier: Apache-2.0
// Each allocation of libkeyd fails in turn: the caller is told that there was no memory, nothing
// leaks (the sanitizer's build says so), and the device goes on with the next call.
#include "channel/frame.h"
#include "client/keyd.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/pki.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ---- a device and its server -----------------------------------------------

static char folder[64];
static char key_file[96], certificate_file[96], server_file[96], envelope_file[96];
static struct keyd_config config;
static struct keyd_device *device;
static uint8_t asked[KD_FRAME_HEAD_BYTES]; // the head of the last frame

static int take(void *arg KD_UNUSED, const uint8_t *frame, size_t n,
                unsigned timeout_ms KD_UNUSED) {
    if (n < sizeof(asked)) {
        return -1;
    }
    memcpy(asked, frame, sizeof(asked));
    return 0;
}

// The server refuses whatever it is asked.
static int refuse(void *arg KD_UNUSED, uint8_t *frame, size_t max, size_t *n,
                  unsigned timeout_ms KD_UNUSED) {
    static const uint8_t body[] = { 0x82, KD_FAILURE_REFUSED, 0 };
    if (max < sizeof(asked) + sizeof(body)) {
        return -1;
    }
    memcpy(frame, asked, sizeof(asked));
    frame[0] = KD_FRAME_FAILURE;
    memcpy(frame + sizeof(asked), body, sizeof(body));
    *n = sizeof(asked) + sizeof(body);
    return 0;
}

static void put_key(const char *path, EVP_PKEY *key, bool is_private) {
    FILE *f = fdopen(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(is_private ? PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)
                                : PEM_write_PUBKEY(f, key),
                     1);
    fclose(f);
}

static void set_up(void) {
    const struct pki_spec spec = { .name = "d" };
    struct pki_cert own = pki_make(&spec, NULL);
    struct pki_cert server = pki_make(&spec, NULL);
    strcpy(folder, "/tmp/kd-device-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(key_file, sizeof(key_file), "%s/key", folder);
    snprintf(certificate_file, sizeof(certificate_file), "%s/certificate", folder);
    snprintf(server_file, sizeof(server_file), "%s/server", folder);
    snprintf(envelope_file, sizeof(envelope_file), "%s/envelope", folder);
    put_key(key_file, own.key, true);
    put_key(envelope_file, server.key, false);
    pki_write_pem(certificate_file, &own, 1);
    pki_write_pem(server_file, &server, 1);
    pki_wipe(&own);
    pki_wipe(&server);
    config = (struct keyd_config) { .key_file = key_file,
                                    .certificate_file = certificate_file,
                                    .certificate_uri = "https://pki.example/d",
                                    .server_certificate_file = server_file,
                                    .envelope_key_file = envelope_file,
                                    .timeout_ms = 10000,
                                    .send = take,
                                    .receive = refuse };
    device = NULL;
}

static void tear_down(void) {
    keyd_device_free(device);
    unlink(key_file);
    unlink(certificate_file);
    unlink(server_file);
    unlink(envelope_file);
    rmdir(folder);
}

// Calls it with the 1st, 2nd, ... allocation failing until none does.  Some can be done without.
static unsigned each_in_turn(enum keyd_err (*call)(void), enum keyd_err without_failure) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum keyd_err r = call();
        const bool fails = memory_has_failed();
        ck_assert_msg(r == without_failure || (fails && r == KEYD_ERR_MEMORY), "turn %u: %s", turn,
                      keyd_err_name(r));
    }
    return turn;
}

static enum keyd_err make(void) {
    struct keyd_device *d = NULL;
    const enum keyd_err r = keyd_device_new(&config, &d);
    if ((d != NULL) != (r == KEYD_OK)) {
        abort();
    }
    keyd_device_free(d);
    return r;
}

START_TEST(a_device_is_made_or_there_is_no_memory) {
    ck_assert_uint_gt(each_in_turn(make, KEYD_OK), 3);
}
END_TEST

static enum keyd_err connect_to_server(void) {
    return keyd_connect(device);
}

static enum keyd_err ask(void) {
    uint8_t *answer = NULL;
    size_t n = 0;
    return keyd_request(device, "m", 1, &answer, &n);
}

static enum keyd_err send_envelope(void) {
    return keyd_envelope(device, "d", 60, "m", 1);
}

START_TEST(what_a_device_does_is_done_or_there_is_no_memory) {
    ck_assert_str_eq(keyd_err_name(keyd_device_new(&config, &device)), keyd_err_name(KEYD_OK));
    ck_assert_uint_gt(each_in_turn(connect_to_server, KEYD_ERR_REFUSED), 3);
    ck_assert_uint_gt(each_in_turn(ask, KEYD_ERR_REFUSED), 3);
    ck_assert_uint_gt(each_in_turn(send_envelope, KEYD_ERR_REFUSED), 1);
}
END_TEST

static TCase *tcase_device(void) {
    TCase *c = tcase_create("device");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_device_is_made_or_there_is_no_memory);
    tcase_add_test(c, what_a_device_does_is_done_or_there_is_no_memory);
    return c;
}

UNIT_MAIN("device memory", tcase_device())
