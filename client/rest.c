// SPDX-License-Identifier: Apache-2.0
// rest.c: one HTTP call after another with libcurl.  All that libcurl reports
// becomes a kd_err and a sentence here.
#include "client/rest.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONNECT_TIMEOUT_MS = 5000, TIMEOUT_MS = 60000, PATH_MAX_BYTES = 512, RETRY_MAX_SEC = 86400 };
enum { STATUS_PROBLEM = 400, TYPE_MAX_BYTES = 96 };

struct kd_rest {
    struct kd_rest_config config;
    CURL *curl;
    struct kd_secret *bearer; // the whole header line, with its NUL; NULL: none
    bool is_safe;             // the call asks for nothing to be done (RFC 9110 9.2.1)
    char curl_error[CURL_ERROR_SIZE];
    char failure[KD_REST_FAILURE_BYTES];
};

// ---- the settings ----------------------------------------------------------

// Is the URL's host this machine?  Only then may a token travel without TLS.
static bool host_is_local(const char *host) {
    struct in_addr v4;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) {
        return true;
    }
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

static enum kd_err check_parts(const char *scheme, const char *host, const char *url,
                               char failure[static KD_REST_FAILURE_BYTES]) {
    const bool plain = strcmp(scheme, "http") == 0;
    if (!plain && strcmp(scheme, "https") != 0) {
        snprintf(failure, KD_REST_FAILURE_BYTES, "\"%s\" starts neither with https:// nor http://.",
                 url);
        return KD_ERR_CONFIG;
    }
    if (plain && !host_is_local(host)) {
        snprintf(failure, KD_REST_FAILURE_BYTES,
                 "http:// to another host is not protected; use https:// for %s.", host);
        return KD_ERR_CONFIG;
    }
    return KD_OK;
}

static enum kd_err check_url(const char *url, char failure[static KD_REST_FAILURE_BYTES]) {
    CURLU *u = curl_url();
    if (u == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    char *scheme = NULL;
    char *host = NULL;
    enum kd_err r = KD_ERR_CONFIG;
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        snprintf(failure, KD_REST_FAILURE_BYTES, "\"%s\" is no URL like https://host:port.", url);
    } else {
        r = check_parts(scheme, host, url, failure);
    }
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return r;
}

// RFC 6750 section 2.1: the characters of a bearer token.  Anything else could
// end the header line and start another.
static bool is_token_text(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\0' || strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789-._~+/=",
                                   p[i]) == NULL) {
            return false;
        }
    }
    return n > 0;
}

static enum kd_err read_bearer(struct kd_rest *r, char failure[static KD_REST_FAILURE_BYTES]) {
    static const char head[] = "Authorization: Bearer ";
    const char *path = r->config.token_file;
    kd_auto(secret) struct kd_secret *token = NULL;
    enum kd_err e = kd_secret_read_file(path, KD_REST_BEARER_MAX_BYTES, &token);
    if (e != KD_OK) {
        snprintf(failure, KD_REST_FAILURE_BYTES,
                 "The token file %s cannot be used (it must be there, readable, not empty, "
                 "and closed to others: chmod 600).",
                 path);
        return e;
    }
    const size_t n = kd_secret_len(token);
    if (!is_token_text(kd_secret_get(token), n)) {
        snprintf(failure, KD_REST_FAILURE_BYTES,
                 "The first line of %s is no bearer token; `keydctl token new` makes one.", path);
        return KD_ERR_CONFIG;
    }
    if ((e = kd_secret_new(sizeof(head) + n, &r->bearer)) != KD_OK) {
        return e;
    }
    uint8_t *line = kd_secret_get(r->bearer);
    memcpy(line, head, sizeof(head) - 1);
    memcpy(line + sizeof(head) - 1, kd_secret_get(token), n);
    return KD_OK;
}

// Where a kept connection ends before an answer libcurl sends the request again on a new one,
// whatever it asks for.  When any byte of it has gone out the other end may have done it: a key
// would be made twice (RFC 9110 9.2.2).
static int before_sending(void *rest, char *ip KD_UNUSED, char *local_ip KD_UNUSED,
                          int port KD_UNUSED, int local_port KD_UNUSED) {
    const struct kd_rest *r = rest;
    long n_sent = 0;
    const bool is_known = curl_easy_getinfo(r->curl, CURLINFO_REQUEST_SIZE, &n_sent) == CURLE_OK;
    return r->is_safe || (is_known && n_sent == 0) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static bool set_options(struct kd_rest *r) {
    CURL *c = r->curl;
    const struct kd_rest_config *f = &r->config;
    CURLcode e = curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_ERRORBUFFER, r->curl_error);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_PROXY, "");
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    e = e != CURLE_OK ? e
                      : curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)f->timeout_ms);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, before_sending);
    e = e != CURLE_OK ? e : curl_easy_setopt(c, CURLOPT_PREREQDATA, r);
    if (e == CURLE_OK && f->socket != NULL) {
        e = curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, f->socket);
    }
    if (e == CURLE_OK && f->certificate != NULL) {
        e = curl_easy_setopt(c, CURLOPT_SSLCERT, f->certificate);
    }
    if (e == CURLE_OK && f->key != NULL) {
        e = curl_easy_setopt(c, CURLOPT_SSLKEY, f->key);
    }
    if (e == CURLE_OK && f->ca != NULL) {
        e = curl_easy_setopt(c, CURLOPT_CAINFO, f->ca);
    }
    return e == CURLE_OK;
}

enum kd_err kd_rest_open(const struct kd_rest_config *config, struct kd_rest **out,
                         char failure[static KD_REST_FAILURE_BYTES]) {
    enum kd_err e = KD_OK;
    failure[0] = '\0';
    if (config->url != NULL && (e = check_url(config->url, failure)) != KD_OK) {
        return e;
    }
    kd_auto(rest) struct kd_rest *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    r->config = *config;
    if (r->config.timeout_ms == 0) {
        r->config.timeout_ms = TIMEOUT_MS;
    }
    if (r->config.answer_max_bytes == 0) {
        r->config.answer_max_bytes = KD_REST_ANSWER_MAX_BYTES;
    }
    if (config->token_file != NULL && (e = read_bearer(r, failure)) != KD_OK) {
        return e;
    }
    r->curl = curl_easy_init();
    if (r->curl == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    if (!set_options(r)) {
        snprintf(failure, KD_REST_FAILURE_BYTES, "libcurl does not take the settings for %s.",
                 kd_rest_place(r));
        return KD_ERR_CONFIG;
    }
    *out = KD_STEAL(r);
    return KD_OK;
}

void kd_rest_close(struct kd_rest *r) {
    if (r == NULL) {
        return;
    }
    if (r->curl != NULL) {
        curl_easy_cleanup(r->curl);
    }
    kd_secret_free(r->bearer);
    free(r);
}

const char *kd_rest_failure(const struct kd_rest *r) {
    return r->failure;
}

const char *kd_rest_place(const struct kd_rest *r) {
    return r->config.socket != NULL ? r->config.socket : r->config.url;
}

// ---- one call --------------------------------------------------------------

// Answers may hold a plaintext or a released secret, so they are wiped.
static void wipe_buf(struct kd_buf *b) {
    if (b->p != NULL) {
        kd_wipe(b->p, b->n);
    }
    kd_buf_wipe(b);
}

void kd_rest_reply_wipe(struct kd_rest_reply *a) {
    wipe_buf(&a->text);
    *a = KD_REST_REPLY_INIT;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg) {
    struct kd_buf *body = arg;
    kd_buf_put(body, p, size * n);
    return kd_buf_finish(body) == KD_OK ? size * n : 0;
}

// The list's copies of the header lines are wiped too: one holds the token.
static void free_headers(struct curl_slist *list) {
    for (struct curl_slist *p = list; p != NULL; p = p->next) {
        kd_wipe(p->data, strlen(p->data));
    }
    curl_slist_free_all(list);
}

static bool add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) {
        return false;
    }
    *list = longer;
    return true;
}

enum kd_err kd_rest_fail(struct kd_rest *r, enum kd_err e, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->failure, sizeof(r->failure), format, ap);
    va_end(ap);
    return e;
}

static const char *curl_text(const struct kd_rest *r, CURLcode code) {
    return r->curl_error[0] != '\0' ? r->curl_error : curl_easy_strerror(code);
}

static enum kd_err explain_connect(struct kd_rest *r, CURLcode code) {
    long err = 0;
    curl_easy_getinfo(r->curl, CURLINFO_OS_ERRNO, &err);
    const char *place = kd_rest_place(r);
    switch (err) {
    case ENOENT:
        return kd_rest_fail(r, KD_ERR_TOKEN_AWAY, "There is no socket %s.", place);
    case ECONNREFUSED:
        return kd_rest_fail(r, KD_ERR_TOKEN_AWAY, "Nobody listens on %s.", place);
    case EACCES:
    case EPERM:
        return kd_rest_fail(r, KD_ERR_DENIED, "This user may not open %s.", place);
    default:
        return kd_rest_fail(r, KD_ERR_TOKEN_AWAY, "%s: %s.", place, curl_text(r, code));
    }
}

static enum kd_err explain(struct kd_rest *r, CURLcode code, const struct kd_buf *body) {
    if (body->err == KD_ERR_ITEM_TOO_LARGE) {
        return kd_rest_fail(r, KD_ERR_ITEM_TOO_LARGE,
                            "The answer from %s is longer than %zu bytes.", kd_rest_place(r),
                            body->max);
    }
    if (body->err != KD_OK || code == CURLE_OUT_OF_MEMORY) {
        return kd_rest_fail(r, KD_ERR_NO_MEMORY, "There is not enough memory.");
    }
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST) {
        return explain_connect(r, code);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return kd_rest_fail(r, KD_ERR_DEADLINE, "No answer came from %s in %u ms.",
                            kd_rest_place(r), (unsigned)r->config.timeout_ms);
    }
    if (code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL ||
        code == CURLE_BAD_CONTENT_ENCODING) {
        return kd_rest_fail(r, KD_ERR_MALFORMED, "What answers on %s does not speak HTTP.",
                            kd_rest_place(r));
    }
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        return kd_rest_fail(r, KD_ERR_SYSTEM,
                            "The connection to %s ended before an answer: perhaps it was done.",
                            kd_rest_place(r));
    }
    return kd_rest_fail(r, KD_ERR_SYSTEM, "The connection to %s broke: %s.", kd_rest_place(r),
                        curl_text(r, code));
}

static bool is_json_type(const char *content_type) {
    return kd_media_type_is(content_type, "application/json") ||
           kd_media_type_is(content_type, "application/problem+json");
}

static enum kd_err read_answer(struct kd_rest *r, struct kd_buf *body, struct kd_rest_reply *out) {
    long status = 0;
    curl_off_t retry_after = 0;
    char *type = NULL;
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(r->curl, CURLINFO_RETRY_AFTER, &retry_after);
    curl_easy_getinfo(r->curl, CURLINFO_CONTENT_TYPE, &type);
    if (status < 200 || status > 599) {
        return kd_rest_fail(r, KD_ERR_MALFORMED, "What answers on %s does not speak HTTP.",
                            kd_rest_place(r));
    }
    kd_rest_reply_wipe(out);
    *out = (struct kd_rest_reply) {
        .status = (unsigned)status,
        .retry_after_sec =
            retry_after > 0 && retry_after <= RETRY_MAX_SEC ? (unsigned)retry_after : 0,
        .is_json = is_json_type(type),
        .text = *body, // moves
    };
    *body = KD_BUF_INIT(body->max);
    return KD_OK;
}

static bool add_headers(struct kd_rest *r, const struct kd_rest_request *q,
                        struct curl_slist **headers) {
    char type[TYPE_MAX_BYTES];
    // Without a body libcurl would name a type of its own for a POST.
    snprintf(type, sizeof(type), q->type == NULL ? "Content-Type:" : "Content-Type: %s", q->type);
    bool good = add_header(headers, "Accept: application/json") && add_header(headers, "Expect:") &&
                add_header(headers, type);
    for (const char *const *line = q->headers; good && line != NULL && *line != NULL; line++) {
        good = add_header(headers, *line);
    }
    return good && (r->bearer == NULL || add_header(headers, (char *)kd_secret_get(r->bearer)));
}

static CURLcode set_request(CURL *c, const struct kd_rest_request *q, const char *url,
                            struct curl_slist *headers, struct kd_buf *answer) {
    CURLcode code = CURLE_OK;
    // A POST always has a body, an empty one too: its length is said then.
    if (q->type != NULL || strcmp(q->method, "POST") == 0) {
        const char *sent = q->body.n == 0 ? "" : (const char *)q->body.p;
        code = curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.n);
        code = code != CURLE_OK ? code : curl_easy_setopt(c, CURLOPT_POSTFIELDS, sent);
    } else {
        code = curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
    }
    code = code != CURLE_OK ? code : curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    code = code != CURLE_OK ? code : curl_easy_setopt(c, CURLOPT_URL, url);
    code = code != CURLE_OK ? code : curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    code = code != CURLE_OK ? code : curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    return code != CURLE_OK ? code : curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
}

static enum kd_err perform(struct kd_rest *r, const struct kd_rest_request *q, const char *url,
                           struct kd_rest_reply *out) {
    struct curl_slist *headers = NULL;
    struct kd_buf answer = KD_BUF_INIT(r->config.answer_max_bytes);
    CURLcode code = add_headers(r, q, &headers) ? set_request(r->curl, q, url, headers, &answer)
                                                : CURLE_OUT_OF_MEMORY;
    r->curl_error[0] = '\0';
    r->is_safe = strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0;
    code = code != CURLE_OK ? code : curl_easy_perform(r->curl);
    enum kd_err e = code == CURLE_OK ? read_answer(r, &answer, out) : explain(r, code, &answer);
    curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, NULL);
    free_headers(headers);
    wipe_buf(&answer);
    return e;
}

enum kd_err kd_rest_exchange(struct kd_rest *r, const struct kd_rest_request *q,
                             struct kd_rest_reply *out) {
    r->failure[0] = '\0';
    const char *start = r->config.socket != NULL ? "http://localhost" : r->config.url;
    size_t n = strlen(start);
    n -= n > 0 && start[n - 1] == '/' ? 1 : 0;
    kd_auto(buf) struct kd_buf url = KD_BUF_INIT(n + PATH_MAX_BYTES);
    kd_buf_put(&url, start, n);
    kd_buf_text(&url, q->path);
    const char *url_text = kd_buf_get_text(&url);
    if (kd_buf_finish(&url) == KD_ERR_NO_MEMORY) {
        return kd_rest_fail(r, KD_ERR_NO_MEMORY, "There is not enough memory for the request.");
    }
    if (kd_buf_finish(&url) != KD_OK) {
        return kd_rest_fail(r, KD_ERR_BAD_REQUEST, "The path of the request is too long.");
    }
    return perform(r, q, url_text, out);
}

const char *kd_rest_header(const struct kd_rest *r, const char *name) {
    struct curl_header *h = NULL;
    return curl_easy_header(r->curl, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value : NULL;
}

bool kd_rest_is_problem(unsigned status) {
    return status >= STATUS_PROBLEM;
}
