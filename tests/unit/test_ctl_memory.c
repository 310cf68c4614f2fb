// SPDX-License-Identifier: Apache-2.0
// Each allocation of keydctl's commands fails in turn: a command does what it does with memory,
// with the same request and the same output, or says that there is none and does not end with 0.
// Nothing leaks (the sanitizer's build says so).
#include "tests/unit/failing_memory.h"
#include "tests/unit/fake_http.h"
#include "tests/unit/run_ctl.h"
#include "tests/unit/unit.h"

#include <sys/stat.h>
#include <unistd.h>

enum { WORDS_MAX = 24, FILE_MAX_BYTES = 8192 };

#define KEY                                                                                        \
    "{\"name\":\"k\",\"type\":\"ec-p256\",\"usages\":[\"sign\",\"verify\"],\"primary\":1,"         \
    "\"versions\":[{\"version\":1,\"state\":\"enabled\",\"created\":\"2026\",\"local\":true,"      \
    "\"pem\":\"PEM\"}]}"
#define JWK                                                                                        \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","     \
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}"
#define CA                                                                                         \
    "{\"key\":\"ca\",\"server\":\"s\",\"keys\":[{\"name\":\"ca\"}],\"certificates\":[\"PEM\"],"    \
    "\"certificate\":\"PEM\",\"next\":null}"
#define DEVICE "{\"id\":\"d\",\"state\":\"enrolled\",\"secret\":\"s\",\"certificate\":\"PEM\"}"
#define PEER "{\"name\":\"p\",\"kid\":\"Kw\",\"uri\":\"u:v\",\"certificate\":\"PEM\"}"
#define SESSION "{\"session\":\"0123456789abcdef\",\"peer\":\"p\",\"sent\":1}"
#define SECRET_ID "AAAAAAAAAAAAAAAAAAAAAA"
#define SECRET "{\"secret\":\"" SECRET_ID "\",\"key\":\"k\",\"version\":1,\"value\":\"AAAA\"}"
#define SIGNATURE                                                                                  \
    "{\"signature\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAA"                          \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAg\",\"version\":3}"
#define MESSAGE "{\"handshake\":\"0123456789abcdef\",\"message\":\"AAAA\",\"record\":\"AAAA\"}"
#define ITEMS "{\"items\":[{\"record\":\"AAAA\",\"data\":\"aGk\"},{\"error\":{\"title\":\"t\"}}]}"

// '<': the file with the input, '>': one for the output.
static const struct {
    const char *words;
    const char *answer; // NULL: 204; one that fits all that the command asks
    const char *input;
    bool is_random; // its output
    enum kd_exit code;
} commands[] = {
    { "status", "{\"ready\":true,\"workers\":[{\"state\":\"ready\",\"pid\":7}]}", "", false, 0 },
    { "--json status", "{\"ready\":true}", "", false, 0 },
    { "backup", "{\"file\":\"f\"}", "", false, 0 },
    { "audit status", "{\"file\":\"f\",\"seq\":1}", "", false, 0 },
    { "random 3", "{\"random\":\"AAAA\"}", "", false, 0 },
    { "key create k --type ec-p256 --usage sign,verify", KEY, "", false, 0 },
    { "key list", "{\"keys\":[" KEY "],\"next\":null}", "", false, 0 },
    { "--json key list", "{\"keys\":[" KEY "],\"next\":null}", "", false, 0 },
    { "key show k", KEY, "", false, 0 },
    { "key show k --pem --out >", KEY, "", false, 0 },
    { "key rotate k --uri pkcs11:object=x", KEY, "", false, 0 },
    { "key disable k --version 1", KEY, "", false, 0 },
    { "key delete k --version 1 --yes", NULL, "", false, 0 },
    { "key adopt k --uri pkcs11:object=x", KEY, "", false, 0 },
    { "key import k --pem <", KEY, "PEM", false, 0 },
    { "key import k --pem <", KEY, JWK, false, 0 },
    { "sign k --in < --version 3", SIGNATURE, "hi", false, 0 },
    { "sign k --in < --format der", SIGNATURE, "hi", false, 0 },
    { "verify k --signature AAAA --in <", "{\"valid\":true,\"version\":1}", "hi", false, 0 },
    { "verify k --signature AAAA --in <", "{\"valid\":false}", "hi", false, KD_EXIT_NO },
    { "mac k --in < --format hex", "{\"mac\":\"AAAA\"}", "hi", false, 0 },
    { "mac-verify --secret " SECRET_ID " --mac AAAA --in <", "{\"valid\":true}", "hi", false, 0 },
    { "ecdh k --peer < --kdf hkdf-sha256 --type aes-256", SECRET, JWK, false, 0 },
    { "derive k --kdf hkdf-sha256 --info i --salt s --lifetime 5", SECRET, "", false, 0 },
    { "derive k --kdf hkdf-sha256 --release --length 3 --out >", SECRET, "", false, 0 },
    { "secret list", "{\"secrets\":[" SECRET "],\"next\":null}", "", false, 0 },
    { "secret show " SECRET_ID, SECRET, "", false, 0 },
    { "secret delete " SECRET_ID, NULL, "", false, 0 },
    { "encrypt k --in < --aad a --out >", "{\"version\":1,\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}",
      "hi", false, 0 },
    { "decrypt --in < --out >", "{\"plaintext\":\"aGk\"}",
      "{\"keyd\":1,\"key\":\"k\",\"version\":2,\"iv\":\"AAAA\",\"ciphertext\":\"AAAA\"}", false,
      0 },
    { "peer add p --pem < --kid 2b --uri u:v", PEER, JWK, false, 0 },
    { "peer list", "{\"peers\":[" PEER "],\"next\":null}", "", false, 0 },
    { "peer show p", PEER, "", false, 0 },
    { "peer delete p", NULL, "", false, 0 },
    { "handshake begin --in < --out >", MESSAGE, "hi", false, 0 },
    { "handshake step 0123456789abcdef --in <", MESSAGE, "hi", false, 0 },
    { "handshake delete 0123456789abcdef", NULL, "", false, 0 },
    { "session list", "{\"sessions\":[" SESSION "],\"next\":null}", "", false, 0 },
    { "session show 0123456789abcdef", SESSION, "", false, 0 },
    { "session delete 0123456789abcdef", NULL, "", false, 0 },
    { "session ticket 0123456789abcdef --out >", "{\"ticket\":\"AAAA\"}", "", false, 0 },
    { "session update 0123456789abcdef --out >", MESSAGE, "", false, 0 },
    { "session release 0123456789abcdef --out >", "{\"keys\":{}}", "", false, 0 },
    { "session seal 0123456789abcdef --in < --out >", MESSAGE, "hi", false, 0 },
    { "session seal 0123456789abcdef --lines --in <", ITEMS, "a\nb\n", false, KD_EXIT_REFUSED },
    { "session open --in <", "{\"data\":\"aGk\"}", "hi", false, 0 },
    { "session open --lines --in <", ITEMS, "AAAA\nBBBB\n", false, KD_EXIT_REFUSED },
    { "envelope key", "{\"pem\":\"PEM\"}", "", false, 0 },
    { "envelope seal --in < --sender s", "{\"validity_max\":60,\"jwk\":" JWK "}", "hi", true, 0 },
    { "envelope open --in <", "{\"data\":\"aGk\"}", "hi", false, 0 },
    { "ca init --again --subject s", CA, "", false, 0 },
    { "ca show", CA, "", false, 0 },
    { "ca show --pem", CA, "", false, 0 },
    { "server-cert", CA, "", false, 0 },
    { "device enroll d --relation r --lifetime 5 --out >", DEVICE, "", false, 0 },
    { "device list", "{\"devices\":[" DEVICE "],\"next\":null}", "", false, 0 },
    { "device show d", DEVICE, "", false, 0 },
    { "device renew d --lifetime 5", DEVICE, "", false, 0 },
    { "device revoke d --yes", DEVICE, "", false, 0 },
    { "token new bob --out >", NULL, "", true, 0 },
};

static char folder[64], input[96], output[96];
static struct fake_http server;
static char request[sizeof(server.request)]; // as it was with memory
static char text[FILE_MAX_BYTES];            // printed then
static char file[FILE_MAX_BYTES];            // written then; "": none

static void set_up(void) {
    strcpy(folder, "/tmp/keyd-ctl.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(input, sizeof(input), "%s/in", folder);
    snprintf(output, sizeof(output), "%s/out", folder);
    setenv("KEYD_CONFIG", "/dev/null", 1);
}

static void tear_down(void) {
    free(out_text);
    free(err_text);
    unlink(input);
    unlink(output);
    rmdir(folder);
}

static void start(size_t i) {
    server = (struct fake_http) { .answers = { commands[i].answer == NULL
                                                   ? "HTTP/1.1 204 X\r\n\r\n"
                                                   : FAKE_JSON(200, commands[i].answer) },
                                  .n_answers = 1 };
    fake_http_start(&server);
    ck_assert_err(kd_io_write(input, kd_bytes_of_text(commands[i].input)), KD_OK);
}

static enum kd_exit run(const char *line) {
    char copy[256];
    const char *words[WORDS_MAX] = { "keydctl", "--socket", server.socket };
    int n = 3;
    ck_assert_uint_lt(strlen(line), sizeof(copy));
    strcpy(copy, line);
    for (char *at = NULL, *w = strtok_r(copy, " ", &at); w != NULL; w = strtok_r(NULL, " ", &at)) {
        ck_assert_int_lt(n, WORDS_MAX);
        words[n++] = strcmp(w, "<") == 0 ? input : strcmp(w, ">") == 0 ? output : w;
    }
    unlink(output);
    pthread_mutex_lock(&server.lock);
    server.request[0] = '\0';
    pthread_mutex_unlock(&server.lock);
    return run_words(words, n);
}

static void read_output(char out[static FILE_MAX_BYTES]) {
    FILE *f = fopen(output, "r");
    const size_t n = f == NULL ? 0 : fread(out, 1, FILE_MAX_BYTES - 1, f);
    out[n] = '\0';
    if (f != NULL) {
        fclose(f);
    }
}

// Without memory it may have come no further than to a question before its request.
static void check_request(const char *line) {
    char got[sizeof(server.request)];
    fake_http_last(&server, got);
    ck_assert_msg(got[0] == '\0' || strcmp(got, request) == 0 || strncmp(got, "GET /", 5) == 0,
                  "%s: %s", line, got);
}

static void check_output(const char *line) {
    char got[FILE_MAX_BYTES];
    read_output(got);
    ck_assert_msg(strcmp(out_text, text) == 0, "%s: %s", line, out_text);
    ck_assert_msg(strcmp(got, file) == 0, "%s: %s", line, got);
}

START_TEST(command_is_done_or_says_that_there_is_no_memory) {
    const char *line = commands[_i].words;
    unsigned n_failed = 0;
    start((size_t)_i);
    const enum kd_exit code = run(line);
    ck_assert_msg(code == commands[_i].code, "%s: %d: %s", line, (int)code, err_text);
    snprintf(text, sizeof(text), "%s", out_text);
    read_output(file);
    fake_http_last(&server, request);
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        const enum kd_exit got = run(line);
        const bool has_failed = memory_has_failed();
        check_request(line);
        if (got == code && strstr(err_text, "memory") == NULL && !commands[_i].is_random) {
            check_output(line);
        } else if (got != code || !commands[_i].is_random) {
            ck_assert_msg(has_failed && got != KD_EXIT_OK && got != KD_EXIT_NO, "%s: %d", line,
                          (int)got);
            says(err_text, "memory");
            n_failed++;
        }
    }
    fake_http_stop(&server);
    ck_assert_uint_gt(n_failed, 0);
}
END_TEST

START_TEST(json_that_has_no_memory_ends_keydctl) {
    kd_ctl_init_library();
    for (unsigned turn = 0; memory_fails_at(turn); turn++) {
        kd_auto(json) json_t *one KD_UNUSED = json_object();
    }
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *c = tcase_create("memory");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_loop_test(c, command_is_done_or_says_that_there_is_no_memory, 0,
                        KD_COUNT_OF(commands));
    tcase_add_exit_test(c, json_that_has_no_memory_ends_keydctl, KD_EXIT_USAGE);
    return c;
}

UNIT_MAIN("ctl memory", tcase_memory())
