// SPDX-License-Identifier: Apache-2.0
// keyd-gateway.conf: what is wrong is said with its name, and each number ends where it says.
#include "gateway/config.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOOD "backend-url = \"http://127.0.0.1:1/\"\ntcp = {\"127.0.0.1:1\"}\n"

static struct kd_gateway_config *config;
static char errors_text[8192];

static enum kd_err read_text(const char *text) {
    char path[] = "/tmp/keyd-test-XXXXXX";
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(sizeof(errors_text) - 1);
    FILE *f = fdopen(mkstemp(path), "w");
    fputs(text, f);
    fclose(f);
    kd_gateway_config_free(config);
    config = NULL;
    const enum kd_err r = kd_gateway_config_read(path, &errors, &config);
    strcpy(errors_text, kd_buf_get_text(&errors));
    unlink(path);
    return r;
}

static void teardown(void) {
    kd_gateway_config_free(config);
    config = NULL;
}

static void refuse(const char *more, const char *name) {
    char text[1024];
    snprintf(text, sizeof(text), GOOD "%s", more);
    ck_assert_err(read_text(text), KD_ERR_CONFIG);
    ck_assert_msg(strstr(errors_text, name) != NULL, "%s: %s", more, errors_text);
    ck_assert_ptr_null(config);
}

START_TEST(what_is_missing_is_said) {
    ck_assert_err(read_text("tcp = {\"127.0.0.1:1\"}\n"), KD_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(errors_text, "backend-url"));
    ck_assert_err(read_text("backend-url = \"http://x/\"\n"), KD_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(errors_text, "no address"));
}
END_TEST

START_TEST(what_is_wrong_is_said_by_its_name) {
    refuse("udp = {\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"}\n", "udp");
    refuse("log-level = \"loud\"\n", "log-level");
    refuse("batch-max = 0\n", "batch-max");
    refuse("batch-max = 1025\n", "batch-max");
    refuse("batch-max = -1\n", "batch-max");
    refuse("datagram-max-bytes = 65508\n", "datagram-max-bytes");
    refuse("no-such-key = 1\n", "no-such-key");
    refuse("mode = \"token\"\n", "mode");
    refuse("mode = \"\"\n", "mode");
    refuse("released-check-ms = 99\n", "released-check-ms");
    refuse("released-check-ms = 600001\n", "released-check-ms");
}
END_TEST

START_TEST(limits_may_be_at_their_ends) {
    ck_assert_err(read_text(GOOD "batch-max = 1024\ndatagram-max-bytes = 65507\n"), KD_OK);
    ck_assert_uint_eq(config->batch_max, 1024);
    ck_assert_uint_eq(config->datagram_max_bytes, 65507);
    ck_assert_err(read_text(GOOD "batch-max = 1\ndatagram-max-bytes = 256\n"), KD_OK);
    ck_assert(!config->takes_over);
    ck_assert_err(read_text(GOOD "mode = \"released\"\nreleased-check-ms = 100\n"), KD_OK);
    ck_assert(config->takes_over);
    ck_assert_err(read_text(GOOD "mode = \"resident\"\nreleased-check-ms = 600000\n"), KD_OK);
    ck_assert(!config->takes_over);
}
END_TEST

START_TEST(defaults_are_what_the_sample_says) {
    kd_auto(buf) struct kd_buf sample = KD_BUF_INIT(65536);
    ck_assert_err(read_text(GOOD), KD_OK);
    ck_assert_uint_eq(config->batch_max, 64);
    ck_assert_uint_eq(config->tcp.n, 1);
    ck_assert_str_eq(config->tcp.where[0], "127.0.0.1:1");
    ck_assert_uint_eq(config->udp.n, 0);
    ck_assert_str_eq(config->admin, "");
    kd_gateway_config_print(&sample);
    kd_buf_text(&sample, GOOD);
    ck_assert_err(read_text(kd_buf_get_text(&sample)), KD_OK);
}
END_TEST

static TCase *tcase_config(void) {
    TCase *t = tcase_create("config");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, what_is_missing_is_said);
    tcase_add_test(t, what_is_wrong_is_said_by_its_name);
    tcase_add_test(t, limits_may_be_at_their_ends);
    tcase_add_test(t, defaults_are_what_the_sample_says);
    return t;
}

UNIT_MAIN("gateway config", tcase_config())
