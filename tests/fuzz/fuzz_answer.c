// SPDX-License-Identifier: Apache-2.0
// fuzz_answer.c: what web servers answer, through libcurl.  The first byte says to whom, the rest
// is all that the server says: to a device's frame, to a device that asks its bootstrap server
// (TLS), and to keyd-fetch (TLS, or the bytes in the place of TLS).  Nothing is taken that no
// header allows, or that is longer than it may be, and keyd-fetch answers once.
#include "fuzz.h"

#include "channel/channel.h"
#include "client/device_detail.h"
#include "client/device_http.h"
#include "fetch/get.h"
#include "tests/unit/fake_tls.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { ANSWER_MAX_BYTES = 256, TIMEOUT_MS = 10000, SAID_MAX_BYTES = 8192 };

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

// ---- the web server --------------------------------------------------------

static struct fake_tls server;
static char said[SAID_MAX_BYTES + 1]; // a text, if there is no NUL in it
static size_t n_said;

static size_t say(void *arg KD_UNUSED, const char *request KD_UNUSED, char *out, size_t max) {
    must(n_said <= max);
    memcpy(out, said, n_said);
    return n_said;
}

// Letters of either case, as in the names of media types.
static bool is_said(const char *word) {
    const size_t n = strlen(word);
    for (size_t i = 0; i + n <= n_said; i++) {
        if (strncasecmp(said + i, word, n) == 0) {
            return true;
        }
    }
    return false;
}

// libcurl takes a line that begins with "HTTP/" and goes on in no way it knows as a 200.
static bool is_status_said(long status) {
    char digits[16];
    snprintf(digits, sizeof(digits), "%ld", status);
    return is_said(digits) || (status == 200 && is_said("HTTP/"));
}

// ---- who asks --------------------------------------------------------------

static char trusted[] = "/tmp/kd-answer-XXXXXX";
static char frames_url[48], prefix[48], url[64];
static struct kd_http *http;
static struct kd_fetch_hello hello;
static struct kd_getter *getter;
static int nobody[2]; // a pipe that nobody writes to
static unsigned n_done;

static void exchange(void) {
    static const uint8_t frame[] = "a frame";
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(ANSWER_MAX_BYTES);
    server.is_plain = true;
    const enum kd_err r =
        kd_http_exchange(http, (struct kd_bytes) { frame, sizeof(frame) }, TIMEOUT_MS, &answer);
    must(r == KD_OK || r == KD_ERR_SYSTEM);
    must(answer.n <= ANSWER_MAX_BYTES);
    must(r != KD_OK || (is_status_said(200) && is_said(KD_FRAME_MEDIA_TYPE)));
}

static void ask(void) {
    const struct kd_http_request q = { .url = url, .ca_file = trusted, .timeout_ms = TIMEOUT_MS };
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(ANSWER_MAX_BYTES);
    long status = 0;
    server.is_plain = false;
    kd_detail_begin();
    const enum kd_err r = kd_http_ask(&q, &status, &answer);
    must(r == KD_OK || (r == KD_ERR_SYSTEM && keyd_detail()[0] != '\0'));
    must(answer.n <= ANSWER_MAX_BYTES && (status != 0) == (r == KD_OK));
    must(r != KD_OK || is_status_said(status));
}

static void on_done(void *arg KD_UNUSED, const struct kd_fetch_answer *a) {
    const bool is_good = a->result == KD_FETCH_CERTIFICATE || a->result == KD_FETCH_CHAIN;
    n_done++;
    must(a->id == 7 && is_good == (a->body.n > 0) && a->body.n <= ANSWER_MAX_BYTES);
    must(!is_good || (!server.is_plain && is_status_said(200)));
    must(a->result != KD_FETCH_CERTIFICATE || is_said("application/pkix-cert"));
    must(a->result != KD_FETCH_CHAIN ||
         (is_said("application/cose-x509") && is_said("usage=chain")));
    must(a->result != KD_FETCH_BUSY && a->result != KD_FETCH_TIMEOUT && a->result != KD_FETCH_URI);
}

static void fetch(bool is_plain) {
    const struct kd_fetch_request q = { .id = 7, .uri = kd_bytes_of_text(url) };
    server.is_plain = is_plain;
    n_done = 0;
    kd_getter_begin(getter, &q);
    while (n_done == 0) {
        bool is_readable = false;
        must(kd_getter_run(getter, nobody[0], &is_readable) == KD_OK && !is_readable);
    }
    must(n_done == 1);
}

// ---- all of them -----------------------------------------------------------

static void stop(void) {
    kd_getter_free(getter);
    kd_http_let_go(http);
    fake_tls_stop(&server);
    (void)unlink(trusted);
    curl_global_cleanup();
}

static void start(void) {
    const struct pki_spec spec = { .name = "server", .uris = "IP:127.0.0.1" };
    struct pki_cert own = pki_make(&spec, NULL);
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK && pipe(nobody) == 0);
    close(mkstemp(trusted));
    pki_write_pem(trusted, &own, 1);
    server = (struct fake_tls) { .answer = say };
    fake_tls_start(&server, &own);
    pki_wipe(&own);
    snprintf(frames_url, sizeof(frames_url), "http://127.0.0.1:%u", server.port);
    snprintf(prefix, sizeof(prefix), "https://127.0.0.1:%u/", server.port);
    snprintf(url, sizeof(url), "%sc", prefix);
    hello = (struct kd_fetch_hello) { .timeout_ms = TIMEOUT_MS,
                                      .bytes_max = ANSWER_MAX_BYTES,
                                      .pending_max = 2,
                                      .ca_file = kd_bytes_of_text(trusted),
                                      .n_prefixes = 1,
                                      .prefixes = { { kd_bytes_of_text(prefix), true } } };
    must(kd_http_new(frames_url, &http) == KD_OK);
    must(kd_getter_new(&hello, on_done, NULL, &getter) == KD_OK);
    atexit(stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0 || n > SAID_MAX_BYTES) {
        return 0;
    }
    if (http == NULL) {
        start();
    }
    n_said = n - 1;
    memcpy(said, data + 1, n_said);
    switch (data[0] % 4) {
    case 0:
        exchange();
        break;
    case 1:
        ask();
        break;
    default:
        fetch(data[0] % 4 == 3);
        break;
    }
    return 0;
}
