// SPDX-License-Identifier: Apache-2.0
// The configuration: each key at the edges of its range, what is refused and
// where it is said to be, and the sample and man page against the table.
#include "keyd/config.h"
#include "api/api.h"
#include "document.h"
#include "keyd/conf.h"
#include "text_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct kd_config *config;

static void setup(void) {
    text_file_setup();
    config = NULL;
}

static void teardown(void) {
    kd_config_free(config);
    text_file_teardown();
}

static enum kd_err read_text(const char *text) {
    text_file_write(text);
    kd_config_free(config);
    config = NULL;
    return kd_config_read(tf.path, &tf.errors, &config);
}

// With this line number and this word.
static void refused(const char *text, int line, const char *word) {
    ck_assert_msg(read_text(text) == KD_ERR_CONFIG, "took: %s", text);
    ck_assert_ptr_null(config);
    text_file_says(line, word);
}

#define PIN "token { pin-file = \"/p\" }\n"

START_TEST(what_is_not_a_configuration_is_refused_with_its_place) {
    refused(PIN "colour = \"red\"\n", 2, "colour");
    refused(PIN "http {\n  colour = 1\n}\n", 3, "colour");
    refused(PIN "paint {\n}\n", 2, "paint");
    refused("log-level = \"loud\"\n" PIN, 1, "log-level");
    refused("\nlog-level = \"info\"\nlog-level = \"info\"\n" PIN, 3, "second time");
    refused(PIN "workers {\n processes = many\n}\n", 3, "processes");
    refused(PIN "workers {\n processes = 99999999999999999999\n}\n", 3, "processes");
    refused(PIN "workers {\n processes = -1\n}\n", 3, "processes");
    refused(PIN "secrets {\n allow-extractable = perhaps\n}\n", 3, "allow-extractable");
    refused(PIN "workers {\n processes = 1\n", 5, "closing brace");
    refused(PIN "log-level = \"info\n", 0, "");
    refused(PIN "/* log-level = \"info\"\n", 0, "");
    refused(PIN "workers { processes = 1 }\nworkers { threads = 1 }\n", 3, "second section");
    refused("state-directory = \"var\"\n" PIN, 1, "absolute");
    refused("state-directory = \"\"\n" PIN, 1, "state-directory");
    refused(PIN "garbage", 2, "garbage");
}
END_TEST

START_TEST(lines_are_counted_right_after_comments_and_quotes) {
    refused("# one\n// two\n/* three\n four */\n" PIN "colour = 1\n", 6, "colour");
    refused("#\n\n" PIN "http { # x\n unix-mode = 0660 # y\n colour = 1 }\n", 6, "colour");
    refused("token { pin-file = \"/p#1\" uri = 'pkcs11:token=a//b'\n colour = 1 }\n", 2, "colour");
    refused("token { pin-file = \"/p\\\"#1\" }\n# a quote \"\ncolour = 1\n", 3, "colour");
    ck_assert_err(read_text("token { pin-file = \"/p # no comment\" } # comment"), KD_OK);
    ck_assert_str_eq(config->token.pin_file, "/p # no comment");
    ck_assert_err(read_text("token { pin-file = /p//q }"), KD_OK);
    ck_assert_str_eq(config->token.pin_file, "/p//q");
}
END_TEST

START_TEST(pin_has_no_place_here) {
    refused("token {\n uri = \"pkcs11:token=a?pin-value=1234\"\n pin-file = \"/p\"\n}\n", 2, "PIN");
    refused("token {\n uri = \"pkcs11:token=a?pin-source=/p\"\n pin-file = \"/p\"\n}\n", 2, "PIN");
    refused("token {\n pin = \"1234\"\n}\n", 2, "pin");
    ck_assert_ptr_null(strstr(kd_buf_get_text(&tf.errors), "1234"));
    refused("token {\n uri = \"softhsm\"\n pin-file = \"/p\"\n}\n", 2, "pkcs11:");
    refused("log-level = \"info\"\n", 0, "pin-file");
    refused("token { pin-file = \"/p\" pin-credential = \"pin\" }\n", 0, "both");
    refused("token {\n pin-credential = \"../pin\" \n}\n", 2, "pin-credential");
}
END_TEST

START_TEST(credential_is_looked_for_where_the_manager_put_it) {
    unsetenv("CREDENTIALS_DIRECTORY");
    ck_assert_err(read_text("token { pin-credential = \"pin\" }\n"), KD_OK);
    ck_assert_err(kd_config_find_credential(config), KD_ERR_CONFIG);
    setenv("CREDENTIALS_DIRECTORY", "/run/credentials/keyd", 1);
    ck_assert_err(read_text("token { pin-credential = \"pin\" }\n"), KD_OK);
    ck_assert_err(kd_config_find_credential(config), KD_OK);
    ck_assert_str_eq(config->token.pin_file, "/run/credentials/keyd/pin");
}
END_TEST

START_TEST(values_that_do_not_go_together_are_refused) {
    refused(PIN "http { unix-path = \"\" }\n", 0, "unix-path");
    refused(PIN "http { tls-key = \"/k\" }\n", 0, "tls-certificate");
    refused(PIN "http { tls-client-ca = \"/c\" }\n", 0, "tls-client-ca");
    refused(PIN "secrets { lifetime-default = 100 lifetime-max = 99 }\n", 0, "lifetime-default");
}
END_TEST

START_TEST(environment_entries_are_checked) {
    refused("token {\n pin-file = \"/p\"\n environment = {\"A=1\", \"B\"}\n}\n", 3, "NAME=value");
    refused("token {\n pin-file = \"/p\"\n environment = {\"=1\"}\n}\n", 3, "NAME=value");
    refused("token {\n pin-file = \"/p\"\n environment = {\"A=1\"}\n environment = {\"B=1\"}\n}\n",
            4, "second time");
    ck_assert_err(read_text("token { pin-file = \"/p\" environment = {\"A=1\", \"B=\"} }"), KD_OK);
    ck_assert_uint_eq(config->token.n_environment, 2);
    ck_assert_str_eq(config->token.environment[1], "B=");
}
END_TEST

static enum kd_err read_list(unsigned n) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(4096);
    kd_buf_text(&text, PIN "trust {\n required-uris = {");
    for (unsigned i = 0; i < n; i++) {
        kd_buf_printf(&text, "%s\"urn:x:%u\"", i == 0 ? "" : ", ", i);
    }
    kd_buf_text(&text, "}\n}\n");
    return read_text(kd_buf_get_text(&text));
}

START_TEST(lists_have_so_many_entries_and_no_more) {
    ck_assert_err(read_list(KD_TEXTS_MAX), KD_OK);
    ck_assert_uint_eq(config->trust.required_uris.n, KD_TEXTS_MAX);
    ck_assert_str_eq(config->trust.required_uris.values[KD_TEXTS_MAX - 1], "urn:x:15");
    ck_assert_err(read_list(KD_TEXTS_MAX + 1), KD_ERR_CONFIG);
    text_file_says(3, "more than 16 entries");
}
END_TEST

START_TEST(file_has_its_largest_size_and_no_more) {
    char *text = malloc(KD_CONF_MAX_BYTES + 2);
    ck_assert_ptr_nonnull(text);
    memset(text, '#', KD_CONF_MAX_BYTES + 2);
    memcpy(text, PIN, strlen(PIN));
    text[KD_CONF_MAX_BYTES] = '\0';
    ck_assert_err(read_text(text), KD_OK);
    text[KD_CONF_MAX_BYTES] = '#';
    text[KD_CONF_MAX_BYTES + 1] = '\0';
    refused(text, 0, "larger than 1 MiB");
    free(text);
}
END_TEST

static void assignment(const struct kd_config_key *k, const char *value, char *out, size_t n) {
    const bool is_token = strcmp(k->section, "token") == 0;
    if (k->section[0] == '\0') {
        snprintf(out, n, "%s = %s\n" PIN, k->name, value);
    } else {
        snprintf(out, n, "%s%s {\n%s = %s\n%s}\n", is_token ? "" : PIN, k->section, k->name, value,
                 is_token ? "pin-file = \"/p\"\n" : "");
    }
}

static enum kd_err read_number(const struct kd_config_key *k, uint64_t v) {
    char text[512];
    char value[32];
    snprintf(value, sizeof(value), "%llu", (unsigned long long)v);
    assignment(k, value, text, sizeof(text));
    // A default lifetime over the longest is refused for another reason.
    if (strcmp(k->name, "lifetime-default") == 0) {
        snprintf(text, sizeof(text),
                 PIN "secrets {\nlifetime-default = %s\nlifetime-max = 31536000\n}\n", value);
    } else if (strcmp(k->name, "lifetime-max") == 0) {
        snprintf(text, sizeof(text), PIN "secrets {\nlifetime-max = %s\nlifetime-default = 1\n}\n",
                 value);
    }
    return read_text(text);
}

START_TEST(numbers_at_their_edges) {
    struct kd_config_key k;
    unsigned n = 0;
    for (size_t i = 0; kd_config_key_at(i, &k); i++) {
        if (strcmp(k.type, "number") != 0 && strcmp(k.type, "octal") != 0) {
            continue;
        }
        n++;
        ck_assert_msg(k.low == 0 || read_number(&k, k.low - 1) == KD_ERR_CONFIG, "%s low-1",
                      k.name);
        ck_assert_msg(read_number(&k, k.low) == KD_OK, "%s low: %s", k.name,
                      kd_buf_get_text(&tf.errors));
        ck_assert_msg(read_number(&k, k.high) == KD_OK, "%s high: %s", k.name,
                      kd_buf_get_text(&tf.errors));
        ck_assert_msg(read_number(&k, k.high + 1) == KD_ERR_CONFIG, "%s high+1", k.name);
    }
    ck_assert_uint_gt(n, 15);
}
END_TEST

START_TEST(operations_of_the_audit_log_are_those_with_keys) {
    refused(PIN "audit {\n operations = {sign, fly}\n}\n", 3, "'fly' is no operation");
    refused(PIN "audit {\n operations = {create}\n}\n", 3, "'create' is no operation");
    refused(PIN "audit {\n operations = {release}\n}\n", 3, "'release' is no operation");
    ck_assert_err(read_text(PIN), KD_OK);
    ck_assert_uint_eq(config->audit.operations, 0);
    ck_assert_err(read_text(PIN "audit { operations = {sign, mac-verify} }"), KD_OK);
    ck_assert_uint_eq(config->audit.operations, 1u << KD_MAY_SIGN | 1u << KD_MAY_MAC_VERIFY);
}
END_TEST

START_TEST(texts_at_their_edges) {
    struct kd_config_key k;
    for (size_t i = 0; kd_config_key_at(i, &k); i++) {
        const bool is_path = strcmp(k.type, "path") == 0;
        if ((!is_path && strcmp(k.type, "text") != 0) || strcmp(k.name, "pin-file") == 0 ||
            strcmp(k.name, "pin-credential") == 0 || strncmp(k.name, "tls-", 4) == 0 ||
            strcmp(k.section, "bootstrap") == 0) { // which must be whole
            continue;
        }
        char value[2100];
        char text[2600];
        const bool is_uri = strcmp(k.name, "uri") == 0;
        for (size_t over = 0; over < 2; over++) {
            memset(value, 'a', sizeof(value));
            memcpy(value, is_uri ? "\"pkcs11:" : "\"/", is_uri ? 8 : 2);
            memcpy(value + 1 + k.high + over, "\"", 2);
            assignment(&k, value, text, sizeof(text));
            ck_assert_msg(read_text(text) == (over == 0 ? KD_OK : KD_ERR_CONFIG), "%s +%zu: %s",
                          k.name, over, kd_buf_get_text(&tf.errors));
        }
    }
}
END_TEST

START_TEST(smallest_file_gives_the_defaults) {
    ck_assert_err(read_text(PIN), KD_OK);
    ck_assert_str_eq(config->state_directory, KD_STATEDIR);
    ck_assert_str_eq(config->http->unix_path, KD_RUNDIR "/keyd.sock");
    ck_assert_uint_eq(config->http->unix_mode, 0660);
    ck_assert_uint_eq(config->workers.deadline_ms, 10000);
    ck_assert_uint_eq(config->secrets.lifetime_default_sec, 3600);
    ck_assert(!config->secrets.allow_extractable);
    ck_assert_uint_eq(config->workers.processes, 1); // p11-kit's modules: as for an HSM
    ck_assert_uint_eq(config->workers.threads, 16);
}
END_TEST

START_TEST(software_tokens_get_processes_and_others_threads) {
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    ck_assert_err(
        read_text("token { module = \"/usr/lib/softhsm/libsofthsm2.so\" pin-file = \"/p\" }"),
        KD_OK);
    ck_assert_uint_eq(config->workers.processes, cores > 8 ? 8 : (unsigned)cores);
    ck_assert_uint_eq(config->workers.threads, 1);
    ck_assert_err(read_text("token { module = \"/usr/lib/libCryptoki2.so\" pin-file = \"/p\" }"),
                  KD_OK);
    ck_assert_uint_eq(config->workers.processes, 1);
    ck_assert_uint_eq(config->workers.threads, 16);
    ck_assert_err(read_text(PIN "workers { processes = 3 threads = 5 }"), KD_OK);
    ck_assert_uint_eq(config->workers.processes, 3);
    ck_assert_uint_eq(config->workers.threads, 5);
}
END_TEST

START_TEST(files_that_are_none_are_refused_and_do_not_end_the_process) {
    ck_assert_err(kd_config_read("/nonexistent/keyd.conf", &tf.errors, &config), KD_ERR_NO_FILE);
    kd_buf_reset(&tf.errors);
    ck_assert_err(kd_config_read("/tmp", &tf.errors, &config), KD_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(kd_buf_get_text(&tf.errors), "regular"));
    refused("", 0, "pin-file");
}
END_TEST

START_TEST(sample_file_is_what_the_table_says_and_can_be_read) {
    kd_auto(buf) struct kd_buf made = KD_BUF_INIT(1 << 20);
    kd_auto(buf) struct kd_buf sample = KD_BUF_INIT(1 << 20);
    kd_config_print(&made);
    ck_assert_err(kd_buf_finish(&made), KD_OK);
    document_paths(&made);
    document_read("keyd.conf.sample", &sample);
    ck_assert_str_eq(kd_buf_get_text(&sample), kd_buf_get_text(&made));
    refused(kd_buf_get_text(&made), 0, "pin-file"); // nothing else is missing
}
END_TEST

START_TEST(man_page_has_every_key_with_its_default_and_range) {
    kd_auto(buf) struct kd_buf page = KD_BUF_INIT(1 << 20);
    document_read("keyd.conf.5", &page);
    struct kd_config_key k;
    unsigned n = 0;
    for (size_t i = 0; kd_config_key_at(i, &k); i++, n++) {
        char text[256];
        snprintf(text, sizeof(text), ".It Cm %s No = Ar %s\n", k.name, k.type);
        ck_assert_msg(document_says(&page, k.name, text), "the page lacks: %s", text);
        if (strcmp(k.type, "number") == 0) {
            snprintf(text, sizeof(text), "%llu to %llu, default %s.", (unsigned long long)k.low,
                     (unsigned long long)k.high, k.initial);
            ck_assert_msg(document_says(&page, k.name, text), "%s: the page lacks '%s'", k.name,
                          text);
        }
    }
    ck_assert_uint_eq(document_items(&page), n); // and no key that does not exist
}
END_TEST

START_TEST(channel_is_refused_where_it_could_not_work) {
    refused(PIN "channel {\n identity = \"../id\"\n}\n", 3, "identity");
    refused(PIN "channel {\n x5t-hash = \"sha-1\"\n}\n", 3, "x5t-hash");
    refused(PIN "channel {\n profile = \"open\"\n}\n", 3, "profile");
    refused(PIN "channel {\n methods = {0, 4}\n}\n", 3, "methods");
    refused(PIN "channel {\n methods = {0, -1}\n}\n", 3, "methods");
    refused(PIN "channel {\n suites = {1}\n}\n", 3, "suites");
    refused(PIN "channel {\n suites = {3, 2, 3}\n}\n", 3, "twice");
    refused(PIN "channel {\n suites = {99999999999}\n}\n", 3, "suites");
    refused(PIN "channel { identity = id }\n", 0, "certificate-file");
    refused(PIN "channel { identity = id certificate-file = /c }\n", 0, "ticket");
    refused(PIN "channel { identity = id certificate-file = /c ticket = t }\n", 0, "root");
}
END_TEST

START_TEST(a_bootstrap_server_is_refused_where_a_part_of_it_is_missing) {
#define CHANNEL "channel { identity = id certificate-file = /c ticket = t root = r }\n"
#define CA "key = ca certificate-file = /a server-id = hub "
    refused(PIN "ca { key = ca }\n", 0, "channel");
    refused(PIN CHANNEL "ca { key = ca }\n", 0, "certificate-file");
    refused(PIN CHANNEL "ca { " CA "}\n", 0, "base-uri");
    static const char *const uris[] = { "http://a",    "https://",    "https://a/", "https://a/b",
                                        "https://u@a", "https://a?b", "a" };
    for (size_t i = 0; i < KD_COUNT_OF(uris); i++) {
        char text[512];
        snprintf(text, sizeof(text), PIN CHANNEL "ca { " CA "base-uri = \"%s\" }\n", uris[i]);
        refused(text, 0, "base-uri");
    }
    refused(PIN CHANNEL "ca { " CA "base-uri = \"https://a\" secret-lifetime = 10\n"
                        "secret-lifetime-max = 9 }\n",
            0, "secret-lifetime");
    refused(PIN CHANNEL "ca { " CA "base-uri = \"https://a\" server-id = \"a/b\" }\n", 0,
            "server-id");
    refused(PIN CHANNEL "bootstrap { tcp-address = \"127.0.0.1\" }\n", 0, "section ca");
    refused(PIN CHANNEL "ca { " CA "base-uri = \"https://a\" }\n"
                        "bootstrap { tcp-address = \"127.0.0.1\" tls-key = /k }\n",
            0, "tls-certificate");
    ck_assert_err(read_text(PIN CHANNEL "ca { " CA "base-uri = \"https://[::1]:8443\" }\n"
                                        "bootstrap { tcp-address = \"127.0.0.1\"\n"
                                        "tls-certificate = /c tls-key = /k }\n"),
                  KD_OK);
    ck_assert_str_eq(config->ca.server_id, "hub");
    ck_assert_uint_eq(config->ca.device_validity_sec, 31536000);
    ck_assert_uint_eq(config->bootstrap.connections_max, 1024);
}
END_TEST

START_TEST(channel_takes_what_it_is_given) {
    ck_assert_err(read_text(PIN), KD_OK);
    const struct kd_channel_config *c = &config->channel;
    ck_assert_str_eq(c->identity, "");
    ck_assert_int_eq(c->x5t_hash, KD_COSE_SHA256_64);
    ck_assert_int_eq(c->profile, KD_PROFILE_RESIDENT);
    ck_assert_uint_eq(c->methods.n, 4);
    ck_assert_uint_eq(c->suites.n, 3);
    ck_assert_uint_eq(c->suites.values[2], 24);
    ck_assert_uint_eq(c->session_bytes_max, 68719476736);
    ck_assert_err(read_text(PIN "channel { identity = id certificate-file = /c ticket = t\n"
                                "profile = released x5t-hash = sha-256 suites = {2}\n"
                                "methods = {3, 0} session-records-max = 1099511627775 }\n"),
                  KD_OK);
    c = &config->channel;
    ck_assert_str_eq(c->identity, "id");
    ck_assert_int_eq(c->x5t_hash, KD_COSE_SHA256);
    ck_assert_int_eq(c->profile, KD_PROFILE_RELEASED);
    ck_assert_uint_eq(c->suites.n, 1);
    ck_assert_uint_eq(c->suites.values[0], 2);
    ck_assert_uint_eq(c->methods.n, 2);
    ck_assert_uint_eq(c->methods.values[0], 3);
    ck_assert_uint_eq(c->session_records_max, 1099511627775);
}
END_TEST

static TCase *tcase_config(void) {
    TCase *t = tcase_create("config");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, what_is_not_a_configuration_is_refused_with_its_place);
    tcase_add_test(t, lines_are_counted_right_after_comments_and_quotes);
    tcase_add_test(t, pin_has_no_place_here);
    tcase_add_test(t, credential_is_looked_for_where_the_manager_put_it);
    tcase_add_test(t, values_that_do_not_go_together_are_refused);
    tcase_add_test(t, environment_entries_are_checked);
    tcase_add_test(t, channel_is_refused_where_it_could_not_work);
    tcase_add_test(t, a_bootstrap_server_is_refused_where_a_part_of_it_is_missing);
    tcase_add_test(t, channel_takes_what_it_is_given);
    tcase_add_test(t, lists_have_so_many_entries_and_no_more);
    tcase_add_test(t, file_has_its_largest_size_and_no_more);
    tcase_add_test(t, numbers_at_their_edges);
    tcase_add_test(t, operations_of_the_audit_log_are_those_with_keys);
    tcase_add_test(t, texts_at_their_edges);
    tcase_add_test(t, smallest_file_gives_the_defaults);
    tcase_add_test(t, software_tokens_get_processes_and_others_threads);
    tcase_add_test(t, files_that_are_none_are_refused_and_do_not_end_the_process);
    tcase_add_test(t, sample_file_is_what_the_table_says_and_can_be_read);
    tcase_add_test(t, man_page_has_every_key_with_its_default_and_range);
    return t;
}

UNIT_MAIN("config", tcase_config())
