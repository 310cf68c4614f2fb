// SPDX-License-Identifier: Apache-2.0
// test_ctl.c: whole commands: what keydctl sends, prints and ends with, against
// a server that answers as told.
#include "client/io.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/run_ctl.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char input[96];
static char output[96];

static void begin(void) {
    strcpy(folder, "/tmp/keyd-ctl.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(input, sizeof(input), "%s/in", folder);
    snprintf(output, sizeof(output), "%s/out", folder);
    unsetenv("KEYD_SOCKET");
    unsetenv("KEYD_CONFIG");
}

static void end(void) {
    free(out_text);
    free(err_text);
    unlink(input);
    unlink(output);
    rmdir(folder);
}

static void give(const char *text) {
    ck_assert_err(kd_io_write(input, kd_bytes_of_text(text)), KD_OK);
}

// ---- refused before anything is sent ---------------------------------------

START_TEST(usage_errors_end_with_2) {
    ck_assert_int_eq(run_words((const char *const[]) { "keydctl" }, 1), KD_EXIT_USAGE);
    says(err_text, "Commands:");
    ck_assert_int_eq(RUN("frobnicate"), KD_EXIT_USAGE);
    says(err_text, "no command \"frobnicate\"");
    ck_assert_int_eq(RUN("key"), KD_EXIT_USAGE);
    says(err_text, "keydctl key create NAME");
    ck_assert_int_eq(RUN("key", "frobnicate"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("key", "create"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("key", "create", "x"), KD_EXIT_USAGE);
    says(err_text, "--type and --usage");
    ck_assert_int_eq(RUN("sign", "a", "b"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("--bogus", "status"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("status", "--secret", "x"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("random", "0"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("random", "4097"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("status", "--socket", "/x", "--url", "https://h"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("status", "--config", "/nonexistent/keyd.conf"), KD_EXIT_USAGE);
    ck_assert_uint_eq(n_out, 0);
}
END_TEST

START_TEST(names_that_would_change_the_path_are_refused) {
    static const char *const bad[] = { "", "../x", "a/b", "a?b", ".x", "a b", "\xc3\xa9" };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_int_eq(RUN("key", "show", "--socket", "/nonexistent", bad[i]), KD_EXIT_USAGE);
        says(err_text, "is no key name");
        ck_assert_int_eq(RUN("secret", "show", "--socket", "/nonexistent", bad[i]), KD_EXIT_USAGE);
        says(err_text, "no id of a secret");
        ck_assert_int_eq(RUN("peer", "show", "--socket", "/nonexistent", bad[i]), KD_EXIT_USAGE);
        says(err_text, "no name of a peer");
        ck_assert_int_eq(RUN("session", "show", "--socket", "/nonexistent", bad[i]), KD_EXIT_USAGE);
        says(err_text, "no id of a session");
    }
    static const char *const ids[] = { "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0" };
    for (size_t i = 0; i < KD_COUNT_OF(ids); i++) {
        ck_assert_int_eq(RUN("session", "delete", "--socket", "/nonexistent", ids[i]),
                         KD_EXIT_USAGE);
    }
}
END_TEST

START_TEST(a_private_key_is_not_sent) {
    give("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    struct fake_http f = { .answers = { FAKE_JSON(200, "{}") }, .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "import", "x", "--pem", input),
                     KD_EXIT_USAGE);
    says(err_text, "was not sent");
    ck_assert_int_eq(RUN("--socket", f.socket, "ecdh", "x", "--peer", input), KD_EXIT_USAGE);
    says(err_text, "was not sent");
    ck_assert_int_eq(RUN("--socket", f.socket, "peer", "add", "x", "--pem", input), KD_EXIT_USAGE);
    says(err_text, "was not sent");
    fake_http_stop(&f);
    ck_assert_uint_eq(f.n_requests, 0);
}
END_TEST

START_TEST(a_peer_is_sent_only_with_a_credential_and_a_kid) {
    static const char *const kids[] = { "", "abc", "0g", "00112233445566778899aabbccddeeff00" };
    give("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    struct fake_http f = { .answers = { FAKE_JSON(201, "{\"name\":\"x\",\"kid\":\"Kw\","
                                                       "\"certificate\":\"PEM\"}") },
                           .n_answers = 1 };
    fake_http_start(&f);
    for (size_t i = 0; i < KD_COUNT_OF(kids); i++) {
        ck_assert_int_eq(
            RUN("--socket", f.socket, "peer", "add", "x", "--pem", input, "--kid", kids[i]),
            KD_EXIT_USAGE);
        says(err_text, "--kid is 1 to 16 bytes");
    }
    ck_assert_int_eq(RUN("--socket", f.socket, "peer", "add", "x", "--pem", input, "--kid", "2b",
                         "--uri", "https://a.example/b"),
                     KD_EXIT_OK);
    says(f.request, "POST /v1/peers ");
    says(f.request, "\"kid\":\"Kw\"");
    says(f.request, "\"certificate\":\"-----BEGIN");
    says(f.request, "\"uri\":\"https://a.example/b\"");
    says(out_text, "name: x\n");
    says(out_text, "kid: 2b\n");
    ck_assert_ptr_null(strstr(out_text, "PEM"));
    give("neither PEM nor JWK");
    ck_assert_int_eq(RUN("--socket", f.socket, "peer", "add", "x", "--pem", input), KD_EXIT_USAGE);
    says(err_text, "neither a certificate nor a public key");
    fake_http_stop(&f);
    ck_assert_uint_eq(f.n_requests, 1);
}
END_TEST

START_TEST(what_does_not_fit_a_request_is_refused) {
    FILE *big = fopen(input, "w");
    ck_assert_ptr_nonnull(big);
    ck_assert_int_eq(ftruncate(fileno(big), KD_INPUT_MAX_BYTES + 1), 0);
    fclose(big);
    ck_assert_int_eq(RUN("--socket", "/nonexistent", "mac", "x", "--in", input), KD_EXIT_USAGE);
    says(err_text, "longer than 3000000 bytes");
    give("not a digest");
    ck_assert_int_eq(RUN("--socket", "/nonexistent", "sign", "x", "--digest", "--in", input),
                     KD_EXIT_USAGE);
    says(err_text, "A digest has 32 bytes");
}
END_TEST

START_TEST(options_that_exclude_each_other) {
    static const char id[] = "AAAAAAAAAAAAAAAAAAAAAA";
    give("x");
    ck_assert_int_eq(RUN("mac", "x", "--secret", id, "--in", input), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("mac", "--in", input), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("verify", "x", "--in", input), KD_EXIT_USAGE);
    says(err_text, "Give either --signature or --signature-file.");
    ck_assert_int_eq(RUN("derive", "x"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("derive", "x", "--kdf", "hkdf-sha256", "--release", "--type", "aes-256"),
                     KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("derive", "x", "--kdf", "hkdf-sha256", "--length", "16"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("mac", "x", "--format", "der", "--in", input), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("sign", "x", "--format", "pdf", "--in", input), KD_EXIT_USAGE);
}
END_TEST

START_TEST(a_delete_without_a_terminal_needs_yes) {
    ck_assert_ptr_nonnull(freopen("/dev/null", "r", stdin));
    ck_assert_int_eq(RUN("--socket", "/nonexistent", "key", "delete", "x"), KD_EXIT_USAGE);
    says(err_text, "Say --yes");
    struct fake_http f = { .answers = { "HTTP/1.1 204 X\r\n\r\n" }, .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "delete", "x", "--yes"), KD_EXIT_OK);
    fake_http_stop(&f);
    says(f.request, "DELETE /v1/keys/x HTTP/1.1");
}
END_TEST

START_TEST(a_version_is_deleted_alone_and_never_the_whole_key_in_its_place) {
    static const char *const bad[] = { "0", "-1", "x", "", "4294967296" };
    ck_assert_ptr_nonnull(freopen("/dev/null", "r", stdin));
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_int_eq(
            RUN("--socket", "/nonexistent", "key", "delete", "x", "--yes", "--version", bad[i]),
            KD_EXIT_USAGE);
    }
    ck_assert_int_eq(RUN("--socket", "/nonexistent", "key", "delete", "x", "--version", "3"),
                     KD_EXIT_USAGE);
    says(err_text, "Version 3 of x would be destroyed");
    struct fake_http f = { .answers = { "HTTP/1.1 204 X\r\n\r\n" }, .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "delete", "x", "--version", "3", "--yes"),
                     KD_EXIT_OK);
    fake_http_stop(&f);
    says(f.request, "DELETE /v1/keys/x/versions/3 HTTP/1.1");
}
END_TEST

// ---- refused by keyd, or nobody there --------------------------------------

START_TEST(an_unreachable_daemon_ends_with_4_and_advice) {
    ck_assert_int_eq(RUN("--socket", "/nonexistent/s", "status"), KD_EXIT_UNREACHABLE);
    says(err_text, "no socket /nonexistent/s");
    says(err_text, "Is keyd running?");
    struct fake_http f = { .answers = { fake_answer(200, "text/html", "<html>") }, .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "list"), KD_EXIT_UNREACHABLE);
    says(err_text, "is not keyd");
    fake_http_stop(&f);
}
END_TEST

START_TEST(a_problem_ends_with_3_and_says_what_to_do) {
    static const char problem[] =
        "{\"type\":\"urn:keyd:problem:no-such-key\",\"title\":\"There is no key of this name.\","
        "\"detail\":\"d\\u001be\",\"field\":\"f\",\"request_id\":\"r-1\"}";
    struct fake_http f = { .answers = { FAKE_PROBLEM(404, problem) }, .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "show", "x"), KD_EXIT_REFUSED);
    says(err_text, "keydctl: There is no key of this name.\n");
    says(err_text, "  d?e\n");
    says(err_text, "keydctl key list");
    says(err_text, "r-1");
    ck_assert_int_eq(RUN("--socket", f.socket, "--json", "key", "show", "x"), KD_EXIT_REFUSED);
    says(err_text, "{\"type\":\"urn:keyd:problem:no-such-key\"");
    fake_http_stop(&f);
    ck_assert_uint_eq(n_out, 0);
}
END_TEST

START_TEST(only_true_is_valid) {
    static const struct {
        const char *answer;
        enum kd_exit code;
    } cases[] = {
        { "{\"valid\":true,\"version\":1}", KD_EXIT_OK },
        { "{\"valid\":false}", KD_EXIT_NO },
        { "{\"valid\":\"true\"}", KD_EXIT_NO },
        { "{\"valid\":1}", KD_EXIT_NO },
        { "{}", KD_EXIT_NO },
    };
    give("x");
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        struct fake_http f = { .answers = { FAKE_JSON(200, cases[i].answer) }, .n_answers = 1 };
        fake_http_start(&f);
        ck_assert_int_eq(
            RUN("--socket", f.socket, "mac-verify", "k", "--mac", "AAAA", "--in", input),
            cases[i].code);
        ck_assert_int_eq(RUN("--socket", f.socket, "--json", "verify", "k", "--signature", "AAAA",
                             "--in", input),
                         cases[i].code);
        fake_http_stop(&f);
    }
}
END_TEST

START_TEST(not_ready_ends_with_1) {
    struct fake_http f = { .answers = { FAKE_PROBLEM(503, "{\"title\":\"t\"}"),
                                        FAKE_JSON(200, "{\"problem\":{\"title\":\"t\","
                                                       "\"detail\":\"no token\"}}") },
                           .n_answers = 2 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "status"), KD_EXIT_NO);
    says(out_text, "ready: NO: no token\n");
    fake_http_stop(&f);
}
END_TEST

// ---- what is sent and printed ----------------------------------------------

START_TEST(sign_sends_data_and_prints_the_form_asked_for) {
    give("hi");
    // r = 1, s = 2, in DER, as keyd gives it.
    struct fake_http f = {
        .answers = { FAKE_JSON(200, "{\"signature\":\"MAYCAQECAQI\",\"version\":3}") },
        .n_answers = 1,
    };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "sign", "k", "--in", input, "--version", "3"),
                     KD_EXIT_OK);
    ck_assert_str_eq(out_text, "MAYCAQECAQI\n");
    says(f.request, "{\"data\":\"aGk\",\"version\":3}");
    ck_assert_int_eq(RUN("--socket", f.socket, "sign", "k", "--in", input, "--format", "der"),
                     KD_EXIT_OK);
    ck_assert_uint_eq(n_out, 8);
    ck_assert_int_eq(memcmp(out_text, "\x30\x06\x02\x01\x01\x02\x01\x02", 8), 0);
    says(f.request, "{\"format\":\"der\",\"data\":\"aGk\"}");
    ck_assert_int_eq(RUN("--socket", f.socket, "--json", "sign", "k", "--in", input), KD_EXIT_OK);
    says(out_text, "\"version\":3}\n");
    fake_http_stop(&f);
    says(f.request, "POST /v1/keys/k/sign ");
    says(f.request, "{\"data\":\"aGk\"}");
}
END_TEST

START_TEST(what_is_secret_goes_into_a_new_private_file) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{\"plaintext\":\"aGk\"}") },
                           .n_answers = 1 };
    give("{\"keyd\":1,\"key\":\"k\",\"version\":2,\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}");
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "decrypt", "--in", input, "--out", output),
                     KD_EXIT_OK);
    ck_assert_int_eq(RUN("--socket", f.socket, "decrypt", "--in", input, "--out", output),
                     KD_EXIT_USAGE);
    says(err_text, "is there already");
    ck_assert_int_eq(RUN("--socket", f.socket, "decrypt", "--in", input), KD_EXIT_OK);
    ck_assert_str_eq(out_text, "hi");
    fake_http_stop(&f);
    says(f.request, "POST /v1/keys/k/decrypt ");
    says(f.request, "{\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\",\"version\":2}");
}
END_TEST

START_TEST(rewrap_writes_the_file_anew_with_its_key) {
    struct fake_http f = {
        .answers = { FAKE_JSON(200, "{\"iv\":\"BBBB\",\"ciphertext\":\"CCCC\",\"version\":3}") },
        .n_answers = 1,
    };
    fake_http_start(&f);
    give("{\"keyd\":1,\"secret\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"iv\":\"AAAA\",\"ciphertext\":"
         "\"AAAA\"}");
    ck_assert_int_eq(RUN("--socket", f.socket, "rewrap", "--in", input), KD_EXIT_USAGE);
    says(err_text, "names no key");
    give("{\"keyd\":1,\"key\":\"k\",\"version\":2,\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}");
    ck_assert_int_eq(RUN("--socket", f.socket, "rewrap", "--in", input, "--aad", "hi"), KD_EXIT_OK);
    ck_assert_str_eq(out_text, "{\"keyd\":1,\"key\":\"k\",\"version\":3,\"iv\":\"BBBB\","
                               "\"ciphertext\":\"CCCC\"}\n");
    says(f.request, "POST /v1/keys/k/rewrap ");
    says(f.request, "{\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\",\"version\":2,\"aad\":\"aGk\"}");
    ck_assert_int_eq(RUN("--socket", f.socket, "rewrap", "other", "--in", input), KD_EXIT_OK);
    says(out_text, "\"key\":\"other\"");
    fake_http_stop(&f);
    says(f.request, "POST /v1/keys/other/rewrap ");
}
END_TEST

START_TEST(sealed_files_that_are_not_ours_are_refused) {
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"iv\":\"AAAA\"}",
        "{\"keyd\":2,\"key\":\"k\",\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}",
        "{\"keyd\":1,\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}",
        "{\"keyd\":1,\"key\":\"../k\",\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        give(bad[i]);
        ck_assert_int_eq(RUN("--socket", "/nonexistent", "decrypt", "--in", input), KD_EXIT_USAGE);
        ck_assert_int_eq(RUN("--socket", "/nonexistent", "rewrap", "--in", input), KD_EXIT_USAGE);
    }
}
END_TEST

START_TEST(key_list_reads_all_pages) {
    struct fake_http f = {
        .answers = { FAKE_JSON(200, "{\"keys\":[{\"name\":\"a\",\"usages\":[\"sign\",\"verify\"],"
                                    "\"primary\":null}],\"next\":\"a\"}"),
                     FAKE_JSON(200, "{\"keys\":[{\"name\":\"b\",\"primary\":2}],\"next\":null}") },
        .n_answers = 2
    };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "list"), KD_EXIT_OK);
    fake_http_stop(&f);
    says(f.request, "GET /v1/keys?limit=500&after=a ");
    ck_assert_str_eq(out_text, "a\t-\tsign,verify\t-\tdisabled\t0\t-\nb\t-\t-\t-\t2\t0\t-\n");
}
END_TEST

START_TEST(keys_of_a_session_go_to_a_new_file_alone) {
    static const char id[] = "0123456789abcdef";
    char path[sizeof(input) + 8];
    char text[64] = "";
    struct stat st;
    snprintf(path, sizeof(path), "%s.keys", input);
    give("something else");
    struct fake_http f = { .answers = { FAKE_JSON(200, "{\"keys\":{\"c2s\":\"AAAA\"}}") },
                           .n_answers = 1 };
    fake_http_start(&f);
    // Nobody is asked where the keys would have no place: they come once.
    ck_assert_int_eq(RUN("--socket", f.socket, "session", "release", id, "--out", input),
                     KD_EXIT_USAGE);
    says(err_text, "is there already");
    ck_assert_int_eq(RUN("--socket", f.socket, "session", "release", "x", "--out", path),
                     KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("--socket", f.socket, "session", "release", id, "--out", path),
                     KD_EXIT_OK);
    fake_http_stop(&f);
    says(f.request, "POST /v1/sessions/0123456789abcdef/release ");
    ck_assert_str_eq(out_text, "");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
    fclose(file);
    ck_assert_str_eq(text, "{\"keys\":{\"c2s\":\"AAAA\"}}");
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(update_of_released_keys_has_no_record) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{\"session\":{}}") }, .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "session", "update", "0123456789abcdef"),
                     KD_EXIT_OK);
    fake_http_stop(&f);
    ck_assert_str_eq(out_text, "");
    says(err_text, "who has them tells the peer");
}
END_TEST

START_TEST(peers_and_sessions_are_listed_row_by_row) {
    struct fake_http f = {
        .answers = { FAKE_JSON(200, "{\"peers\":[{\"name\":\"a\",\"kid\":\"Kw\",\"public_key\":{}},"
                                    "{\"name\":\"b\",\"certificate\":\"PEM\",\"uri\":\"u:v\"}],"
                                    "\"next\":null}"),
                     FAKE_JSON(200, "{\"sessions\":[{\"session\":\"00\",\"peer\":\"a\",\"sent\":1,"
                                    "\"received\":2,\"bytes\":3}],\"next\":null}") },
        .n_answers = 2
    };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "peer", "list"), KD_EXIT_OK);
    ck_assert_str_eq(out_text, "a\tpublic key\t2b\t-\t-\nb\tcertificate\t-\tu:v\t-\n");
    ck_assert_int_eq(RUN("--socket", f.socket, "session", "list"), KD_EXIT_OK);
    ck_assert_str_eq(out_text, "00\ta\t-\t1\t2\t3\t-\t-\n");
    fake_http_stop(&f);
    says(f.request, "GET /v1/sessions?limit=500 ");
}
END_TEST

START_TEST(a_page_that_names_itself_again_does_not_loop) {
    struct fake_http f = { .answers = { FAKE_JSON(200, "{\"keys\":[],\"next\":\"a\"}") },
                           .n_answers = 1 };
    fake_http_start(&f);
    ck_assert_int_eq(RUN("--socket", f.socket, "key", "list"), KD_EXIT_OK);
    fake_http_stop(&f);
    ck_assert_uint_eq(f.n_requests, 2);
}
END_TEST

START_TEST(a_token_is_shown_once_and_its_hash_in_the_policy) {
    ck_assert_int_eq(RUN("token", "new", "bad name"), KD_EXIT_USAGE);
    ck_assert_int_eq(RUN("token", "new", "bob", "--out", output), KD_EXIT_OK);
    says(out_text, "principal \"bob\" {\n    token = { \"sha256:");
    kd_auto(buf) struct kd_buf token = KD_BUF_INIT(256);
    ck_assert_err(kd_io_read(output, 200, &token), KD_OK);
    ck_assert_uint_eq(token.n, 5 + 43 + 1);
    ck_assert_int_eq(memcmp(token.p, "keyd_", 5), 0);
    token.p[48] = '\0';
    ck_assert_ptr_null(strstr(out_text, (char *)token.p));
    ck_assert_ptr_null(strstr(err_text, (char *)token.p));
}
END_TEST

START_TEST(what_needs_no_set_up_works_before_there_is_one) {
    setenv("KEYD_CONFIG", "/nonexistent/keyd.conf", 1);
    ck_assert_int_eq(RUN("token", "new", "bob", "--out", output), KD_EXIT_OK);
    ck_assert_int_eq(RUN("init", "--dir", "/tmp/a\"b"), KD_EXIT_USAGE);
    says(err_text, "has a quote");
    ck_assert_int_eq(RUN("init", "--keys"), KD_EXIT_USAGE);
    says(err_text, "cannot be read");
    ck_assert_int_eq(RUN("status"), KD_EXIT_USAGE);
}
END_TEST

START_TEST(help_and_version_end_with_0) {
    ck_assert_int_eq(RUN("help"), KD_EXIT_OK);
    ck_assert_int_eq(RUN("--help"), KD_EXIT_OK);
    ck_assert_int_eq(RUN("help", "key"), KD_EXIT_OK);
    says(out_text, "keydctl key create NAME");
    ck_assert_int_eq(RUN("--version"), KD_EXIT_OK);
    for (const struct kd_command *c = kd_commands; c->name != NULL; c++) {
        char group[32];
        snprintf(group, sizeof(group), "%s", c->name);
        char *space = strchr(group, ' ');
        if (space != NULL) {
            *space = '\0';
        }
        ck_assert_int_eq(space == NULL ? RUN("help", group) : RUN("help", group, space + 1),
                         KD_EXIT_OK);
        says(out_text, c->summary);
        ck_assert_int_eq(space == NULL ? RUN(group, "--help") : RUN(group, space + 1, "-h"),
                         KD_EXIT_OK);
        says(out_text, c->summary);
    }
}
END_TEST

// ---- the man page ----------------------------------------------------------

static void page_has(const char *page, const char *part) {
    ck_assert_msg(strstr(page, part) != NULL, "docs/keydctl.1 lacks \"%s\"", part);
}

START_TEST(the_man_page_has_every_command_and_option) {
    const char *root = getenv("KD_SRCDIR");
    char path[512];
    snprintf(path, sizeof(path), "%s/docs/keydctl.1", root == NULL ? "." : root);
    kd_auto(buf) struct kd_buf page = KD_BUF_INIT(1 << 20);
    ck_assert_err(kd_io_read(path, 1 << 20, &page), KD_OK);
    const char *text = kd_buf_get_text(&page);
    char line[64];
    for (const struct kd_command *c = kd_commands; c->name != NULL; c++) {
        snprintf(line, sizeof(line), "Cm %s", c->name);
        page_has(text, line);
        for (const struct kd_option *o = c->options; o != NULL && o->name != NULL; o++) {
            snprintf(line, sizeof(line), "Fl -%s", o->name);
            page_has(text, line);
        }
    }
    for (const struct kd_option *o = kd_global_options; o->name != NULL; o++) {
        snprintf(line, sizeof(line), "Fl -%s", o->name);
        page_has(text, line);
    }
}
END_TEST

static TCase *tcase_refused(void) {
    TCase *t = tcase_create("refused");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, usage_errors_end_with_2);
    tcase_add_test(t, names_that_would_change_the_path_are_refused);
    tcase_add_test(t, a_private_key_is_not_sent);
    tcase_add_test(t, a_peer_is_sent_only_with_a_credential_and_a_kid);
    tcase_add_test(t, what_does_not_fit_a_request_is_refused);
    tcase_add_test(t, options_that_exclude_each_other);
    tcase_add_test(t, a_delete_without_a_terminal_needs_yes);
    tcase_add_test(t, a_version_is_deleted_alone_and_never_the_whole_key_in_its_place);
    tcase_add_test(t, an_unreachable_daemon_ends_with_4_and_advice);
    tcase_add_test(t, a_problem_ends_with_3_and_says_what_to_do);
    tcase_add_test(t, only_true_is_valid);
    tcase_add_test(t, not_ready_ends_with_1);
    tcase_add_test(t, rewrap_writes_the_file_anew_with_its_key);
    tcase_add_test(t, sealed_files_that_are_not_ours_are_refused);
    return t;
}

static TCase *tcase_done(void) {
    TCase *t = tcase_create("done");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, sign_sends_data_and_prints_the_form_asked_for);
    tcase_add_test(t, what_is_secret_goes_into_a_new_private_file);
    tcase_add_test(t, key_list_reads_all_pages);
    tcase_add_test(t, keys_of_a_session_go_to_a_new_file_alone);
    tcase_add_test(t, update_of_released_keys_has_no_record);
    tcase_add_test(t, peers_and_sessions_are_listed_row_by_row);
    tcase_add_test(t, a_page_that_names_itself_again_does_not_loop);
    tcase_add_test(t, a_token_is_shown_once_and_its_hash_in_the_policy);
    tcase_add_test(t, what_needs_no_set_up_works_before_there_is_one);
    tcase_add_test(t, help_and_version_end_with_0);
    tcase_add_test(t, the_man_page_has_every_command_and_option);
    return t;
}

UNIT_MAIN("ctl", tcase_refused(), tcase_done())
