// SPDX-License-Identifier: Apache-2.0
// get.c: see get.h.  libcurl does the transfers.  The address is looked at where the socket is
// made, after the name was resolved and for the very address that is connected to, so that a
// name that changes its address gains nothing (DNS rebinding).
#include "fetch/get.h"

#include "fetch/address.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_MAX_BYTES = 16384, WAIT_MS = 1000, HTTP_OK = 200, HTTP_REDIRECTS = 300 };

struct transfer {
    struct kd_getter *getter;
    uint32_t id;
    CURL *curl;
    CURLcode code; // of the last option
    bool may_be_private;
    bool is_address_refused;
    bool is_too_large;
    size_t n_headers;
    struct kd_buf body;
    struct transfer *older, *newer;
};

struct kd_getter {
    const struct kd_fetch_hello *hello;
    char ca_file[KD_FETCH_PATH_MAX_BYTES + 1]; // "": the system's
    CURLM *multi;
    struct curl_slist *headers;
    struct transfer *newest;
    size_t n;
    kd_getter_done *done;
    void *arg;
};

// ---- what libcurl asks -----------------------------------------------------

static curl_socket_t on_socket(void *transfer, curlsocktype purpose,
                               struct curl_sockaddr *address) {
    struct transfer *t = transfer;
    if (purpose != CURLSOCKTYPE_IPCXN ||
        (!t->may_be_private && !kd_address_is_public(&address->addr, address->addrlen))) {
        t->is_address_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_body(char *p, size_t size, size_t n, void *transfer) {
    struct transfer *t = transfer;
    kd_buf_put(&t->body, p, size * n);
    t->is_too_large = kd_buf_finish(&t->body) != KD_OK;
    return t->is_too_large ? 0 : n;
}

static size_t on_header(char *p KD_UNUSED, size_t size, size_t n, void *transfer) {
    struct transfer *t = transfer;
    t->n_headers += size * n;
    t->is_too_large = t->n_headers > HEADER_MAX_BYTES;
    return t->is_too_large ? 0 : n;
}

// ---- one transfer ----------------------------------------------------------

static bool took(struct transfer *t, CURLcode code) {
    t->code = code;
    return code == CURLE_OK;
}

static bool set_limits(struct transfer *t) {
    const struct kd_fetch_hello *h = t->getter->hello;
    CURL *c = t->curl;
    return took(t, curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)h->timeout_ms)) &&
           took(t, curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)h->timeout_ms)) &&
           took(t, curl_easy_setopt(c, CURLOPT_MAXFILESIZE, (long)h->bytes_max)) &&
           took(t, curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)HEADER_MAX_BYTES)) &&
           took(t, curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_HTTP09_ALLOWED, 0L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1)) &&
           took(t, curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L)) &&
           // A resolver that hangs is left behind, not waited for.
           took(t, curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L));
}

static bool set_trust(struct transfer *t) {
    CURL *c = t->curl;
    const char *ca_file = t->getter->ca_file;
    return took(t, curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https")) &&
           took(t, curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2)) &&
           took(t, curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_SSL_SESSIONID_CACHE, 0L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_PROXY, "")) &&
           took(t, curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED)) &&
           (ca_file[0] == '\0' || (took(t, curl_easy_setopt(c, CURLOPT_CAINFO, ca_file)) &&
                                   took(t, curl_easy_setopt(c, CURLOPT_CAPATH, NULL))));
}

static bool set_up(struct transfer *t, struct kd_bytes uri) {
    char text[KD_FETCH_URI_MAX_BYTES + 1];
    CURL *c = t->curl;
    memcpy(text, uri.p, uri.n);
    text[uri.n] = '\0';
    return took(t, curl_easy_setopt(c, CURLOPT_URL, text)) &&
           took(t, curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L)) &&
           took(t, curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->getter->headers)) &&
           took(t, curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket)) &&
           took(t, curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t)) &&
           took(t, curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body)) &&
           took(t, curl_easy_setopt(c, CURLOPT_WRITEDATA, t)) &&
           took(t, curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header)) &&
           took(t, curl_easy_setopt(c, CURLOPT_HEADERDATA, t)) &&
           took(t, curl_easy_setopt(c, CURLOPT_PRIVATE, t)) && set_limits(t) && set_trust(t);
}

static void wipe(struct transfer *t) {
    struct kd_getter *g = t->getter;
    if (t->curl != NULL) {
        curl_multi_remove_handle(g->multi, t->curl);
        curl_easy_cleanup(t->curl);
    }
    *(t->newer == NULL ? &g->newest : &t->newer->older) = t->older;
    if (t->older != NULL) {
        t->older->newer = t->newer;
    }
    g->n--;
    kd_buf_wipe(&t->body);
    free(t);
}

// ---- its end ---------------------------------------------------------------

// RFC 9360 2: what an x5u leads to.
static enum kd_fetch_result judge_answer(const struct transfer *t) {
    long status = 0;
    char *type = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    if (status != HTTP_OK) {
        return status / 100 * 100 == HTTP_REDIRECTS ? KD_FETCH_REDIRECT : KD_FETCH_STATUS;
    }
    const bool is_chain =
        kd_media_type_is(type, "application/cose-x509") && kd_media_type_has(type, "usage=chain");
    if (!is_chain && !kd_media_type_is(type, "application/pkix-cert")) {
        return KD_FETCH_TYPE;
    }
    return t->body.n == 0 ? KD_FETCH_SIZE : is_chain ? KD_FETCH_CHAIN : KD_FETCH_CERTIFICATE;
}

static enum kd_fetch_result judge(const struct transfer *t, CURLcode code) {
    if (kd_buf_finish(&t->body) == KD_ERR_NO_MEMORY) {
        return KD_FETCH_BUSY;
    }
    if (t->is_too_large) {
        return KD_FETCH_SIZE;
    }
    switch ((int)code) {
    case CURLE_OK:
        return judge_answer(t);
    case CURLE_OUT_OF_MEMORY:
        return KD_FETCH_BUSY;
    case CURLE_COULDNT_RESOLVE_HOST:
        return KD_FETCH_NO_HOST;
    case CURLE_COULDNT_CONNECT:
        return t->is_address_refused ? KD_FETCH_ADDRESS : KD_FETCH_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return KD_FETCH_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return KD_FETCH_SIZE;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return KD_FETCH_TLS;
    default:
        return KD_FETCH_OTHER;
    }
}

static void give(const struct kd_getter *g, uint32_t id, enum kd_fetch_result result,
                 struct kd_bytes body) {
    const struct kd_fetch_answer answer = { .id = id, .result = result, .body = body };
    g->done(g->arg, &answer);
}

static void finish(struct transfer *t, CURLcode code) {
    const enum kd_fetch_result result = judge(t, code);
    const bool is_good = result == KD_FETCH_CERTIFICATE || result == KD_FETCH_CHAIN;
    give(t->getter, t->id, result, is_good ? kd_buf_get(&t->body) : KD_BYTES_NONE);
    wipe(t);
}

// ---- all of them -----------------------------------------------------------

void kd_getter_begin(struct kd_getter *g, const struct kd_fetch_request *q) {
    const struct kd_fetch_hello *h = g->hello;
    const struct kd_fetch_prefix *prefix = kd_fetch_find_prefix(h->prefixes, h->n_prefixes, q->uri);
    if (prefix == NULL || !kd_fetch_uri_is_plain(q->uri)) {
        give(g, q->id, KD_FETCH_URI, KD_BYTES_NONE);
        return;
    }
    struct transfer *t = g->n >= h->pending_max ? NULL : calloc(1, sizeof(*t));
    if (t == NULL) {
        give(g, q->id, KD_FETCH_BUSY, KD_BYTES_NONE);
        return;
    }
    t->getter = g;
    t->id = q->id;
    t->may_be_private = prefix->is_private;
    t->body = KD_BUF_INIT(h->bytes_max);
    t->older = g->newest;
    if (g->newest != NULL) {
        g->newest->newer = t;
    }
    g->newest = t;
    g->n++;
    t->curl = curl_easy_init();
    t->code = CURLE_OUT_OF_MEMORY; // if there is not even a handle
    if (t->curl == NULL || !set_up(t, q->uri)) {
        finish(t, t->code);
    } else if (curl_multi_add_handle(g->multi, t->curl) != CURLM_OK) {
        finish(t, CURLE_OUT_OF_MEMORY); // there is nothing else that it can lack
    }
}

enum kd_err kd_getter_run(struct kd_getter *g, int fd, bool *is_readable) {
    struct curl_waitfd own = { .fd = fd, .events = CURL_WAIT_POLLIN };
    int running = 0;
    CURLMcode code;
    if ((code = curl_multi_poll(g->multi, &own, 1, WAIT_MS, NULL)) != CURLM_OK ||
        (code = curl_multi_perform(g->multi, &running)) != CURLM_OK) {
        return code == CURLM_OUT_OF_MEMORY ? KD_ERR_NO_MEMORY : KD_ERR_SYSTEM;
    }
    int left = 0;
    for (CURLMsg *m; (m = curl_multi_info_read(g->multi, &left)) != NULL;) {
        void *transfer = NULL;
        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &transfer) == CURLE_OK) {
            finish(transfer, m->data.result);
        }
    }
    *is_readable = own.revents != 0;
    return KD_OK;
}

enum kd_err kd_getter_new(const struct kd_fetch_hello *hello, kd_getter_done *done, void *arg,
                          struct kd_getter **out) {
    struct kd_getter *g = calloc(1, sizeof(*g));
    if (g == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    g->hello = hello;
    g->done = done;
    g->arg = arg;
    memcpy(g->ca_file, hello->ca_file.p == NULL ? (const uint8_t *)"" : hello->ca_file.p,
           hello->ca_file.n);
    g->multi = curl_multi_init();
    g->headers =
        curl_slist_append(NULL, "Accept: application/pkix-cert, application/cose-x509;usage=chain");
    if (g->multi == NULL || g->headers == NULL) {
        kd_getter_free(g);
        return KD_ERR_NO_MEMORY;
    }
    *out = g;
    return KD_OK;
}

void kd_getter_free(struct kd_getter *g) {
    if (g == NULL) {
        return;
    }
    while (g->newest != NULL) {
        wipe(g->newest);
    }
    curl_multi_cleanup(g->multi);
    curl_slist_free_all(g->headers);
    free(g);
}
