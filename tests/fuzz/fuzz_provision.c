// SPDX-License-Identifier: Apache-2.0
// fuzz_provision.c: what a bootstrap server answers to a device (libkeyd).  The first byte has
// flags; then follow four blocks, each with its length before it and its status first: the
// provisioning answer (CBOR), and that of EST (certs-only, in base64); where this is a refusal,
// what is at the certificate's URI, and another provisioning answer.  Whatever they are, a
// device that was told that it is provisioned can be opened, and with names that are whole.
#include "fuzz.h"

#include "channel/channel.h"
#include "client/device_http.h"
#include "client/keyd.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IS_DER = 1 }; // what EST brings is put into base64 here
enum { ANSWERS = 4, EST = 1, TEXT_MAX_BYTES = 8192 };

// Of no device: a fuzzer can do nothing without a certificate of the device's key.
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbdORMYMnEI0Nz5X7\n"
                          "J10zLxfGqPEpqe+51M79EZonUpKhRANCAAQEzz814rckZetAtJtRboIn2WH/xdz9\n"
                          "iOzIZtT/9slhiJOUvFRtHJCWFY/b2DW916ASOHmmAdaCo1thsVvcLHeo\n"
                          "-----END PRIVATE KEY-----\n";

static char folder[] = "/tmp/kd-fuzz-XXXXXX";

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

// ---- the bootstrap server --------------------------------------------------

static struct kd_bytes answers[ANSWERS]; // each with its status first
static size_t n_asked;

// The linker gives us these calls (ld(1), --wrap): no server is there, and no disk waited for.
enum kd_err __wrap_kd_http_ask(const struct kd_http_request *r, long *status,
                               struct kd_buf *answer);
int __wrap_fsync(int fd);

enum kd_err __wrap_kd_http_ask(const struct kd_http_request *r, long *status,
                               struct kd_buf *answer) {
    static const long statuses[] = { 200, 204, 302, 400, 401, 403, 404, 503, 0 };
    must(n_asked < ANSWERS && (r->type == NULL) == (n_asked != EST));
    const struct kd_bytes a = answers[n_asked++];
    if (a.n == 0) {
        return KD_ERR_SYSTEM;
    }
    *status = statuses[a.p[0] % KD_COUNT_OF(statuses)];
    kd_buf_put(answer, a.p + 1, a.n - 1);
    return kd_buf_finish(answer) == KD_OK ? KD_OK : KD_ERR_SYSTEM;
}

int __wrap_fsync(int fd KD_UNUSED) {
    return 0;
}

static struct kd_bytes next_block(struct kd_reader *in) {
    const size_t n = kd_read_u16(in);
    const size_t left = in->n;
    return kd_read_bytes(in, n < left ? n : left);
}

// In lines of 64 characters, behind the status.
static struct kd_bytes put_base64(struct kd_bytes block, uint8_t text[static TEXT_MAX_BYTES]) {
    EVP_ENCODE_CTX *e = EVP_ENCODE_CTX_new();
    int n = 0, rest = 0;
    must(e != NULL);
    text[0] = block.p[0];
    EVP_EncodeInit(e);
    EVP_EncodeUpdate(e, text + 1, &n, block.p + 1, (int)block.n - 1);
    EVP_EncodeFinal(e, text + 1 + n, &rest);
    EVP_ENCODE_CTX_free(e);
    return (struct kd_bytes) { text, 1 + (size_t)n + (size_t)rest };
}

// ---- a device --------------------------------------------------------------

static const char *file(const char *name) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void put_file(const char *name, const char *text) {
    FILE *f = fdopen(open(file(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
    must(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void forget_answers(void) {
    static const char *const names[] = { "server.pem",   "certificate.pem", "certificate.uri",
                                         "envelope.pem", "bootstrap.url",   "bootstrap.pem" };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        char path[64];
        snprintf(path, sizeof(path), "device/%s", names[i]);
        (void)unlink(file(path));
        snprintf(path, sizeof(path), "device/%s.new", names[i]);
        (void)unlink(file(path));
    }
}

static void stop(void) {
    (void)unlink(file("device/key.pem"));
    (void)rmdir(file("device"));
    (void)unlink(file("secret"));
    (void)rmdir(folder);
}

static void start(void) {
    static bool is_started;
    if (!is_started) {
        must(mkdtemp(folder) != NULL);
        must(mkdir(file("device"), 0700) == 0);
        put_file("secret", "once\n");
        put_file("device/key.pem", key);
        atexit(stop);
        is_started = true;
    }
}

static int send_nothing(void *arg KD_UNUSED, const uint8_t *frame KD_UNUSED, size_t n KD_UNUSED,
                        unsigned timeout_ms KD_UNUSED) {
    return -1;
}

static int receive_nothing(void *arg KD_UNUSED, uint8_t *frame KD_UNUSED, size_t max KD_UNUSED,
                           size_t *n KD_UNUSED, unsigned timeout_ms KD_UNUSED) {
    return -1;
}

static enum keyd_err open_device(const char *directory) {
    const struct keyd_config config = { .send = send_nothing, .receive = receive_nothing };
    struct keyd_device *device = NULL;
    const enum keyd_err r = keyd_device_open(directory, &config, &device);
    must((device != NULL) == (r == KEYD_OK));
    keyd_device_free(device);
    return r;
}

// One name on one line: what was taken is what will be sent.
static void check_uri(void) {
    char text[KD_X5U_MAX_BYTES + 2];
    FILE *f = fopen(file("device/certificate.uri"), "re");
    must(f != NULL);
    const size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    must(n <= KD_X5U_MAX_BYTES);
    for (size_t i = 0; i < n; i++) {
        must(text[i] > ' ' && text[i] < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0 || n > 4096) {
        return 0;
    }
    uint8_t text[TEXT_MAX_BYTES];
    char secret[128], directory[128];
    struct kd_reader in = kd_reader_of((struct kd_bytes) { data + 1, n - 1 });
    for (size_t i = 0; i < ANSWERS; i++) {
        answers[i] = next_block(&in);
    }
    if ((data[0] & IS_DER) != 0 && answers[EST].n > 0) {
        answers[EST] = put_base64(answers[EST], text);
    }
    n_asked = 0;
    start();
    snprintf(secret, sizeof(secret), "%s", file("secret"));
    snprintf(directory, sizeof(directory), "%s", file("device"));
    const struct keyd_bootstrap b = {
        .url = "https://ca.example", .id = "d", .secret_file = secret, .directory = directory
    };
    const enum keyd_err r = keyd_provision(&b);
    must((r == KEYD_OK) || keyd_detail()[0] != '\0');
    must(r != KEYD_ERR_ARGUMENT && r != KEYD_ERR_FILE && r != KEYD_ERR_MEMORY);
    if (r == KEYD_OK) {
        must((n_asked == EST + 1 || n_asked == ANSWERS) && open_device(directory) == KEYD_OK);
        check_uri();
    }
    forget_answers();
    return 0;
}
