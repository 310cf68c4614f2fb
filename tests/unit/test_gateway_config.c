// SPDX-License-Identifier: Apache-2.0
// keyd-gateway.conf: what is wrong is said with its name, and each number ends where it says.
#include "gateway/config.h"
#include "document.h"
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
    refuse("pending-per-peer = 0\nin-flight-max = 1\n", "pending-per-peer");
    refuse("pending-per-peer = 63\n", "pending-per-peer");
    refuse("in-flight-max = 257\n", "pending-per-peer");
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
    ck_assert_err(read_text(GOOD "pending-per-peer = 64\n"), KD_OK);
    ck_assert_uint_eq(config->pending_per_peer, 64);
    ck_assert_err(read_text(GOOD "pending-per-peer = 1\nin-flight-max = 1\n"), KD_OK);
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

static void print_config(struct kd_buf *out) {
    kd_gateway_config_print(out);
    document_paths(out);
    ck_assert_err(kd_buf_finish(out), KD_OK);
}

START_TEST(sample_file_is_what_is_printed) {
    kd_auto(buf) struct kd_buf printed = KD_BUF_INIT(65536);
    kd_auto(buf) struct kd_buf sample = KD_BUF_INIT(65536);
    print_config(&printed);
    document_read("keyd-gateway.conf.sample", &sample);
    ck_assert_str_eq(kd_buf_get_text(&sample), kd_buf_get_text(&printed));
}
END_TEST

// Of what is printed: a key, in the last line of its paragraph.
struct printed {
    char name[64], value[128];
    char range[64]; // "1 to 8"; "": none
};

// The next paragraph from *at on; false: there is none.
static bool next_printed(const char **at, struct printed *k) {
    static char last[512];
    *k = (struct printed) { .range = "" };
    last[0] = '\0';
    while (**at == '\n') {
        (*at)++;
    }
    while (**at != '\0' && **at != '\n') {
        const size_t n = strcspn(*at, "\n");
        ck_assert_uint_lt(n, sizeof(last));
        snprintf(last, sizeof(last), "%.*s", (int)n, *at);
        (void)sscanf(last, "# (%63[0-9 to])", k->range);
        *at += n + 1;
    }
    return sscanf(last, "# %63[a-z-] = %127[^\n]", k->name, k->value) == 2;
}

// In the page's words.
static void put_default(const struct printed *k, char *out, size_t size) {
    const size_t n = strlen(k->value);
    if (k->range[0] != '\0') {
        snprintf(out, size, "\n%s, default %s.\n", k->range, k->value);
    } else if (strcmp(k->value, "\"\"") == 0 || strcmp(k->value, "{}") == 0) {
        snprintf(out, size, "\nDefault: empty.\n");
    } else {
        snprintf(out, size, k->value[1] == '/' ? "\nDefault:\n.Ql %.*s\n" : "\nDefault: %.*s.\n",
                 (int)n - 2, k->value + 1);
    }
}

START_TEST(man_page_has_every_key_with_its_default_and_range) {
    kd_auto(buf) struct kd_buf printed = KD_BUF_INIT(65536);
    kd_auto(buf) struct kd_buf page = KD_BUF_INIT(65536);
    struct printed k;
    unsigned n = 0;
    print_config(&printed);
    document_read("keyd-gateway.conf.5", &page);
    const char *at = strstr(kd_buf_get_text(&printed), "\n\n"); // behind its head
    for (; next_printed(&at, &k); n++) {
        char text[256];
        put_default(&k, text, sizeof(text));
        ck_assert_msg(document_says(&page, k.name, text), "%s: the page lacks '%s'", k.name, text);
    }
    ck_assert_uint_gt(n, 20);
    ck_assert_uint_eq(document_items(&page), n); // and no key that does not exist
}
END_TEST

START_TEST(every_default_can_be_put_in_force) {
    kd_auto(buf) struct kd_buf printed = KD_BUF_INIT(65536);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(65536);
    struct printed k;
    print_config(&printed);
    const char *at = strstr(kd_buf_get_text(&printed), "\n\n");
    while (next_printed(&at, &k)) {
        if (strcmp(k.name, "backend-url") != 0 && strcmp(k.name, "tcp") != 0) { // needed: in GOOD
            kd_buf_printf(&text, "%s = %s\n", k.name, k.value);
        }
    }
    kd_buf_text(&text, GOOD);
    ck_assert_msg(read_text(kd_buf_get_text(&text)) == KD_OK, "%s", errors_text);
}
END_TEST

static TCase *tcase_config(void) {
    TCase *t = tcase_create("config");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, what_is_missing_is_said);
    tcase_add_test(t, what_is_wrong_is_said_by_its_name);
    tcase_add_test(t, limits_may_be_at_their_ends);
    tcase_add_test(t, defaults_are_what_the_sample_says);
    tcase_add_test(t, sample_file_is_what_is_printed);
    tcase_add_test(t, man_page_has_every_key_with_its_default_and_range);
    tcase_add_test(t, every_default_can_be_put_in_force);
    return t;
}

UNIT_MAIN("gateway config", tcase_config())
