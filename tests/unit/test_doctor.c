// SPDX-License-Identifier: Apache-2.0
// test_doctor.c: the doctor finds each thing that is wrong, and tries no PIN
// while keyd is not ready.  keyd and keyd-hsm are small scripts here.
#include "client/io.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/run_ctl.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct fake_http server;

static const char *in_folder(const char *name) {
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void put(const char *name, mode_t mode, const char *text) {
    (void)unlink(in_folder(name));
    ck_assert_err(kd_io_write(in_folder(name), kd_bytes_of_text(text)), KD_OK);
    ck_assert_int_eq(chmod(in_folder(name), mode), 0);
}

#define URI_OF(token) "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM;serial=1;token=" token
// keyd-hsm's reports.
#define TOKEN(token, flags) "{\"uri\":\"" URI_OF(token) "\",\"flags\":[" flags "]}"
#define LIST(tokens) "{\"modules\":[{\"tokens\":[" tokens "]}]}"
#define OBJECT(label) "{\"label\":\"" label "\"}"
#define OBJECTS(objects) "{\"objects\":[" objects "]}"

// What keyd-hsm says; it leaves a trace when it is asked to log in.
static void put_worker(const char *list, const char *objects) {
    char script[2048];
    snprintf(script, sizeof(script),
             "#!/bin/sh\ncase $1 in\n--list) cat <<'E'\n%s\nE\n;;\n"
             "--objects) touch %s/logged-in; cat <<'E'\n%s\nE\n;;\nesac\n",
             list, folder, objects);
    put("keyd-hsm", 0700, script);
}

// A set-up in which nothing is wrong.
static void begin(void) {
    char text[2048];
    strcpy(folder, "/tmp/keyd-doctor.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    server = (struct fake_http) {
        .answers = { FAKE_JSON(200, "{}"),
                     FAKE_JSON(200, "{\"version\":\"1\",\"hkdf\":\"native\",\"abilities\":"
                                    "{\"ecdh\":\"verified\"},\"workers\":[{\"state\":\"ready\"}]}"),
                     FAKE_JSON(200, "{\"seq\":9,\"sealed\":8,\"key\":\"audit\"}"),
                     FAKE_JSON(200, "{\"keys\":[{\"name\":\"orders\",\"versions\":[{\"version\":1},"
                                    "{\"version\":12}]}],\"next\":null}") },
        .n_answers = 4
    };
    snprintf(text, sizeof(text),
             "state-directory = \"%s\"\npolicy-file = \"%s/policy.conf\"\n"
             "token {\n module = \"%s/module.so\"\n uri = \"pkcs11:token=keyd\"\n"
             " pin-file = \"%s/pin\"\n}\nworkers { program = \"%s/keyd-hsm\" }\n",
             folder, folder, folder, folder, folder);
    put("keyd.conf", 0644, text);
    put("policy.conf", 0644, "");
    put("module.so", 0644, "");
    put("pin", 0600, "1234\n");
    put("keyd", 0700, "#!/bin/sh\nexit 0\n");
    put_worker(LIST(TOKEN("keyd", "")),
               OBJECTS(OBJECT("orders.v1") "," OBJECT("orders.v12") "," OBJECT("another's key")));
}

static void end(void) {
    static const char *const files[] = { "keyd.conf", "policy.conf", "module.so", "pin",
                                         "keyd",      "keyd-hsm",    "logged-in" };
    for (size_t i = 0; i < KD_COUNT_OF(files); i++) {
        (void)unlink(in_folder(files[i]));
    }
    rmdir(folder);
    free(out_text);
    free(err_text);
}

static enum kd_exit doctor(void) {
    fake_http_start(&server);
    enum kd_exit code = RUN("--config", in_folder("keyd.conf"), "--socket", server.socket, "doctor",
                            "--programs", folder);
    fake_http_stop(&server);
    return code;
}

static void finds(const char *part) {
    ck_assert_int_eq(doctor(), KD_EXIT_NO);
    says(out_text, "WRONG");
    says(out_text, part);
    says(out_text, "do: ");
}

START_TEST(a_missing_configuration) {
    unsetenv("KEYD_CONFIG");
    ck_assert_int_eq(RUN("--config", "/nonexistent", "doctor"), KD_EXIT_USAGE);
}
END_TEST

START_TEST(a_configuration_that_keyd_refuses) {
    put("keyd", 0700, "#!/bin/sh\necho first >&2\necho keyd.conf:3: no such key >&2\nexit 1\n");
    finds("keyd.conf:3: no such key");
}
END_TEST

START_TEST(a_missing_module) {
    unlink(in_folder("module.so"));
    finds("module.so cannot be read");
}
END_TEST

START_TEST(a_pin_file_that_is_open_empty_or_missing) {
    put("pin", 0644, "1234\n");
    finds("is open to everybody (mode 644)");
    put("pin", 0600, "");
    finds("is empty");
    unlink(in_folder("pin"));
    finds("pin: No such file");
}
END_TEST

START_TEST(a_policy_that_everybody_may_write) {
    put("policy.conf", 0646, "");
    finds("Everybody may write");
}
END_TEST

START_TEST(a_token_that_is_not_there_is_told_with_those_that_are) {
    put_worker(LIST(TOKEN("other", "")), "{}");
    finds("There are: " URI_OF("other"));
    put_worker(LIST(TOKEN("keyd2", "")), "{}"); // not a prefix of it
    finds("No token is named by");
    put_worker(LIST(TOKEN("keyd", "") "," TOKEN("keyd", "")), "{}");
    finds("matches 2 tokens");
    put_worker(LIST("{\"slot\":1,\"flags\":[]}"), "{}"); // not initialised
    finds("has no token");
}
END_TEST

START_TEST(a_token_on_its_last_try) {
    put_worker(LIST(TOKEN("keyd", "\"user-pin-final-try\"")), "{}");
    finds("last try");
    put_worker(LIST(TOKEN("keyd", "\"user-pin-locked\"")), "{}");
    finds("locked");
}
END_TEST

START_TEST(a_report_that_is_no_json) {
    put_worker("keyd", "{}");
    finds("does not load");
}
END_TEST

START_TEST(a_module_that_does_not_load) {
    put("keyd-hsm", 0700, "#!/bin/sh\necho cannot open shared object >&2\nexit 1\n");
    finds("cannot open shared object");
}
END_TEST

START_TEST(a_daemon_that_is_not_ready_and_then_no_pin_is_used) {
    server.answers[0] =
        FAKE_PROBLEM(503, "{\"type\":\"urn:keyd:problem:pin-refused\",\"title\":\"The PIN was "
                          "refused.\"}");
    finds("The PIN was refused.");
    says(out_text, "keyd tries no PIN a second time");
    ck_assert_int_ne(access(in_folder("logged-in"), F_OK), 0);
}
END_TEST

START_TEST(the_reason_is_told_to_who_may_ask_for_the_status) {
    server.answers[0] = FAKE_PROBLEM(503, "{\"title\":\"The token is not there.\"}");
    server.answers[1] = FAKE_JSON(200, "{\"problem\":{\"title\":\"The token is not there.\","
                                       "\"detail\":\"Those that are there: other.\"}}");
    finds("The token is not there. Those that are there: other.");
}
END_TEST

#define GOOD_WORKER "\"abilities\":{\"ecdh\":\"verified\"},\"workers\":[{\"state\":\"ready\"}]"
#define CHANNEL(certificate)                                                                       \
    FAKE_JSON(200, "{" GOOD_WORKER ",\"channel\":{\"on\":true,\"certificate\":" certificate "}}")

START_TEST(a_certificate_of_the_channel_that_has_expired) {
    server.answers[1] = CHANNEL("{\"expires_in_sec\":0}");
    finds("The channel's certificate has expired");
}
END_TEST

START_TEST(a_certificate_of_the_channel_that_is_not_there) {
    server.answers[1] = CHANNEL("null");
    finds("has read no certificate for the channel");
}
END_TEST

START_TEST(a_certificate_of_the_channel_that_expires_soon_is_a_note) {
    server.answers[1] = CHANNEL("{\"expires_in_sec\":1209599}");
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    says(out_text, "note   certificate");
}
END_TEST

START_TEST(a_certificate_of_the_channel_that_is_good_for_a_while) {
    server.answers[1] = CHANNEL("{\"expires_in_sec\":1209600}");
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    says(out_text, "ok     certificate    The channel's certificate is good for 14 days.");
}
END_TEST

START_TEST(a_policy_that_keyd_has_refused) {
    server.answers[1] = FAKE_JSON(200, "{" GOOD_WORKER ",\"policy\":{\"error\":\"p:3: what\"}}");
    finds("an older one is in force: p:3: what");
}
END_TEST

START_TEST(an_audit_log_that_cannot_be_written) {
    server.answers[2] = FAKE_JSON(200, "{\"failing\":true,\"reason\":\"No space left\"}");
    finds("refuses what it must hold: No space left");
}
END_TEST

START_TEST(an_audit_log_that_is_not_sealed_is_a_note) {
    server.answers[2] = FAKE_JSON(200, "{\"failing\":false,\"key\":\"\"}");
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    says(out_text, "note   audit          The audit log is chained, and not sealed.");
}
END_TEST

START_TEST(no_audit_log_is_none_of_its_business) {
    server.answers[2] = FAKE_PROBLEM(400, "{\"title\":\"t\"}");
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    ck_assert_ptr_null(strstr(out_text, "audit"));
}
END_TEST

START_TEST(a_caller_that_is_not_known) {
    server.answers[1] = FAKE_PROBLEM(401, "{\"title\":\"t\"}");
    finds("does not know this user");
}
END_TEST

START_TEST(an_ability_whose_answer_is_wrong) {
    server.answers[1] = FAKE_JSON(200, "{\"abilities\":{\"ecdh\":\"wrong\",\"hkdf\":\"missing\"},"
                                       "\"workers\":[{\"state\":\"ready\"}]}");
    finds("ecdh: the token's answer is wrong");
    says(out_text, "hkdf: missing");
}
END_TEST

START_TEST(a_token_without_handshakes_for_a_channel) {
    server.answers[1] =
        FAKE_JSON(200, "{\"abilities\":{\"ecdh\":\"verified\",\"handshake\":\"missing\"},"
                       "\"channel\":{\"on\":true},\"workers\":[{\"state\":\"ready\"}]}");
    finds("cannot make handshakes of the channel");
}
END_TEST

START_TEST(a_token_without_handshakes_is_a_note_without_a_channel) {
    server.answers[1] =
        FAKE_JSON(200, "{\"abilities\":{\"ecdh\":\"verified\",\"handshake\":\"missing\"},"
                       "\"channel\":{\"on\":false},\"workers\":[{\"state\":\"ready\"}]}");
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    says(out_text, "handshake: missing");
}
END_TEST

START_TEST(a_token_of_which_nothing_is_known) {
    server.answers[1] = FAKE_JSON(200, "{\"abilities\":{\"ecdh\":\"missing\",\"hkdf\":1},"
                                       "\"workers\":[{\"state\":\"ready\"}]}");
    finds("of no ability that the token has it");
    says(out_text, "hkdf: not said");
}
END_TEST

START_TEST(no_daemon) {
    ck_assert_int_eq(RUN("--config", in_folder("keyd.conf"), "--socket", "/nonexistent/s", "doctor",
                         "--programs", folder),
                     KD_EXIT_NO);
    says(out_text, "There is no socket /nonexistent/s");
    ck_assert_int_ne(access(in_folder("logged-in"), F_OK), 0);
}
END_TEST

START_TEST(objects_that_no_key_owns_are_a_note) {
    put_worker(LIST(TOKEN("keyd", "")),
               OBJECTS(OBJECT("orders.v1") "," OBJECT("orders.v3") "," OBJECT("lost.v3") "," OBJECT(
                   "not.vx")));
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    says(out_text, "2 of 3 objects named as keyd's are not in its registry: orders.v3 lost.v3");
}
END_TEST

START_TEST(a_set_up_in_which_nothing_is_wrong) {
    ck_assert_int_eq(doctor(), KD_EXIT_OK);
    says(out_text, "All is well.");
    says(out_text, "registry (2)");
    ck_assert_ptr_null(strstr(out_text, "WRONG"));
    ck_assert_ptr_null(strstr(out_text, "1234"));
    ck_assert_int_eq(access(in_folder("logged-in"), F_OK), 0);
}
END_TEST

START_TEST(tokens_are_listed_with_what_the_worker_says_of_them) {
    put_worker(
        LIST("{\"slot\":7,\"label\":\"keyd\",\"serial\":\"1\",\"model\":\"M\",\"uri\":\"pkcs11:"
             "serial=1\",\"flags\":[\"initialized\",\"login-required\",\"user-pin-locked\","
             "\"write-protected\"]},"
             "{\"slot\":8,\"label\":\"\",\"uri\":\"pkcs11:serial=2\",\"flags\":[\"initialized\"]},"
             "{\"slot\":9,\"flags\":[]},{\"slot\":10,\"error\":\"CKR_DEVICE_ERROR\"}"),
        "{}");
    ck_assert_int_eq(RUN("--config", in_folder("keyd.conf"), "token", "list"), KD_EXIT_OK);
    ck_assert_str_eq(out_text, "7\tkeyd\t1\tM\tyes\tyes\tuser-pin-locked,write-protected\t"
                               "pkcs11:serial=1\n"
                               "8\t-\t-\t-\tyes\tno\t-\tpkcs11:serial=2\n"
                               "9\t-\t-\t-\tno\t-\t-\t-\n"
                               "10\t-\t-\t-\t-\t-\tCKR_DEVICE_ERROR\t-\n");
    ck_assert_int_ne(access(in_folder("logged-in"), F_OK), 0);
    ck_assert_int_eq(RUN("--config", in_folder("keyd.conf"), "token", "list", "--json"),
                     KD_EXIT_OK);
    says(out_text, "\"pkcs11:serial=2\"");
}
END_TEST

START_TEST(tokens_that_cannot_be_listed_are_told) {
    ck_assert_int_eq(RUN("--config", "/nonexistent", "token", "list"), KD_EXIT_USAGE);
    says(err_text, "/nonexistent cannot be read");
    char config[128];
    snprintf(config, sizeof(config), "%s", in_folder("keyd.conf"));
    put_worker("[]", "{}");
    ck_assert_int_eq(RUN("--config", config, "token", "list"), KD_EXIT_UNREACHABLE);
    put("keyd-hsm", 0700, "#!/bin/sh\necho no such module >&2\nexit 1\n");
    ck_assert_int_eq(RUN("--config", config, "token", "list"), KD_EXIT_UNREACHABLE);
    says(err_text, "no such module");
    unlink(in_folder("keyd-hsm"));
    ck_assert_int_eq(RUN("--config", config, "token", "list"), KD_EXIT_UNREACHABLE);
    ck_assert_int_eq(RUN("token", "list", "--module", "/m.so", "--programs", folder),
                     KD_EXIT_USAGE);
    says(err_text, "--programs DIR");
}
END_TEST

START_TEST(module_of_the_command_line_takes_the_place_of_the_one_of_the_file) {
    put("keyd-hsm", 0700, "#!/bin/sh\necho \"{\\\"modules\\\":[],\\\"said\\\":\\\"$*\\\"}\"\n");
    char config[128];
    snprintf(config, sizeof(config), "%s", in_folder("keyd.conf"));
    ck_assert_int_eq(RUN("--config", config, "token", "list", "--json"), KD_EXIT_OK);
    says(out_text, "\"--list --module /tmp/");
    ck_assert_int_eq(RUN("--config", config, "token", "list", "--json", "--module", "/m.so",
                         "--init-args", "a b"),
                     KD_EXIT_OK);
    says(out_text, "\"--list --module /m.so --init-args a b\"");
}
END_TEST

static TCase *tcase_doctor(void) {
    TCase *t = tcase_create("doctor");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_missing_configuration);
    tcase_add_test(t, a_configuration_that_keyd_refuses);
    tcase_add_test(t, a_missing_module);
    tcase_add_test(t, a_pin_file_that_is_open_empty_or_missing);
    tcase_add_test(t, a_policy_that_everybody_may_write);
    tcase_add_test(t, a_token_that_is_not_there_is_told_with_those_that_are);
    tcase_add_test(t, a_token_on_its_last_try);
    tcase_add_test(t, a_report_that_is_no_json);
    tcase_add_test(t, a_module_that_does_not_load);
    tcase_add_test(t, a_daemon_that_is_not_ready_and_then_no_pin_is_used);
    tcase_add_test(t, the_reason_is_told_to_who_may_ask_for_the_status);
    tcase_add_test(t, a_certificate_of_the_channel_that_has_expired);
    tcase_add_test(t, a_certificate_of_the_channel_that_is_not_there);
    tcase_add_test(t, a_certificate_of_the_channel_that_expires_soon_is_a_note);
    tcase_add_test(t, a_certificate_of_the_channel_that_is_good_for_a_while);
    tcase_add_test(t, a_policy_that_keyd_has_refused);
    tcase_add_test(t, an_audit_log_that_cannot_be_written);
    tcase_add_test(t, an_audit_log_that_is_not_sealed_is_a_note);
    tcase_add_test(t, no_audit_log_is_none_of_its_business);
    tcase_add_test(t, a_caller_that_is_not_known);
    tcase_add_test(t, an_ability_whose_answer_is_wrong);
    tcase_add_test(t, a_token_without_handshakes_for_a_channel);
    tcase_add_test(t, a_token_without_handshakes_is_a_note_without_a_channel);
    tcase_add_test(t, a_token_of_which_nothing_is_known);
    tcase_add_test(t, no_daemon);
    tcase_add_test(t, objects_that_no_key_owns_are_a_note);
    tcase_add_test(t, a_set_up_in_which_nothing_is_wrong);
    tcase_add_test(t, tokens_are_listed_with_what_the_worker_says_of_them);
    tcase_add_test(t, tokens_that_cannot_be_listed_are_told);
    tcase_add_test(t, module_of_the_command_line_takes_the_place_of_the_one_of_the_file);
    return t;
}

UNIT_MAIN("doctor", tcase_doctor())
