// SPDX-License-Identifier: Apache-2.0
#include "client/device_http.h"

#include "channel/channel.h"
#include "client/device_detail.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { KEPT_MAX = 8, STATUS_OK = 200, SECRET_MAX_BYTES = 256 };

struct kd_http {
    atomic_uint holds;
    char *url;
    pthread_mutex_t lock;
    size_t n_kept;
    CURL *kept[KEPT_MAX]; // idle, each with its connection
};

// ---- life ------------------------------------------------------------------

static bool is_url(const char *url) {
    CURLU *u = curl_url();
    char *port = NULL;
    const bool is_parsed = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;
    const CURLUcode r =
        is_parsed ? curl_url_get(u, CURLUPART_PORT, &port, 0) : CURLUE_MALFORMED_INPUT;
    const bool is_good = r == CURLUE_NO_PORT || (r == CURLUE_OK && strtoul(port, NULL, 10) > 0);
    curl_free(port);
    curl_url_cleanup(u);
    return is_good;
}

enum kd_err kd_http_new(const char *url, struct kd_http **out) {
    if (!is_url(url)) {
        return KD_ERR_BAD_URI;
    }
    struct kd_http *h = calloc(1, sizeof(*h));
    char *copy = strdup(url);
    if (h == NULL || copy == NULL) {
        free(h);
        free(copy);
        return KD_ERR_NO_MEMORY;
    }
    h->url = copy;
    atomic_init(&h->holds, 1);
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return KD_OK;
}

struct kd_http *kd_http_hold(struct kd_http *h) {
    if (h != NULL) {
        atomic_fetch_add(&h->holds, 1);
    }
    return h;
}

void kd_http_let_go(struct kd_http *h) {
    if (h == NULL || atomic_fetch_sub(&h->holds, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < h->n_kept; i++) {
        curl_easy_cleanup(h->kept[i]);
    }
    pthread_mutex_destroy(&h->lock);
    free(h->url);
    free(h);
}

static CURL *take(struct kd_http *h) {
    pthread_mutex_lock(&h->lock);
    CURL *c = h->n_kept == 0 ? NULL : h->kept[--h->n_kept];
    pthread_mutex_unlock(&h->lock);
    if (c != NULL) {
        curl_easy_reset(c); // its connection stays
    }
    return c != NULL ? c : curl_easy_init();
}

static void keep(struct kd_http *h, CURL *c) {
    pthread_mutex_lock(&h->lock);
    const bool is_kept = h->n_kept < KEPT_MAX;
    if (is_kept) {
        h->kept[h->n_kept++] = c;
    }
    pthread_mutex_unlock(&h->lock);
    if (!is_kept) {
        curl_easy_cleanup(c);
    }
}

// ---- exchange --------------------------------------------------------------

static size_t on_data(char *data, size_t size, size_t n, void *answer) {
    struct kd_buf *b = answer;
    kd_buf_put(b, data, size * n);
    return kd_buf_finish(b) == KD_OK ? size * n : 0;
}

// Not the server's fault: what came may have found no room.
static enum kd_err result_of(CURLcode code, const struct kd_buf *answer) {
    if (code == CURLE_OUT_OF_MEMORY || kd_buf_finish(answer) == KD_ERR_NO_MEMORY) {
        return KD_ERR_NO_MEMORY;
    }
    return code == CURLE_OK                   ? KD_OK
           : code == CURLE_OPERATION_TIMEDOUT ? KD_ERR_DEADLINE
                                              : KD_ERR_SYSTEM;
}

// What is not set keeps libcurl's default: no redirects are followed, certificates checked.
static bool prepare(CURL *c, const char *url, struct kd_bytes frame, unsigned timeout_ms,
                    struct curl_slist *headers, struct kd_buf *answer) {
    return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDS, (const char *)frame.p) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)frame.n) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, answer) == CURLE_OK;
}

static bool is_frame(CURL *c) {
    long status = 0;
    const char *type = NULL;
    return curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
           status == STATUS_OK && curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK &&
           type != NULL && strcasecmp(type, KD_FRAME_MEDIA_TYPE) == 0;
}

enum kd_err kd_http_exchange(struct kd_http *h, struct kd_bytes frame, unsigned timeout_ms,
                             struct kd_buf *answer) {
    CURL *c = take(h);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: " KD_FRAME_MEDIA_TYPE);
    struct curl_slist *all = headers == NULL ? NULL : curl_slist_append(headers, "Expect:");
    if (c == NULL || all == NULL || !prepare(c, h->url, frame, timeout_ms, all, answer)) {
        curl_slist_free_all(headers);
        curl_easy_cleanup(c);
        return KD_ERR_NO_MEMORY;
    }
    const CURLcode code = curl_easy_perform(c);
    enum kd_err r = result_of(code, answer);
    if (code != CURLE_OK) {
        kd_detail_fail(KEYD_ERR_TRANSPORT, "%.120s: %s.", h->url, curl_easy_strerror(code));
    } else if (r == KD_OK && !is_frame(c)) {
        kd_detail_fail(KEYD_ERR_TRANSPORT, "%.120s: The answer is none of a gateway's.", h->url);
        r = KD_ERR_SYSTEM;
    }
    keep(h, c);
    curl_slist_free_all(all);
    return r;
}

// ---- the bootstrap server --------------------------------------------------

static bool prepare_tls(CURL *c, const struct kd_http_request *r) {
    struct curl_blob own = { (void *)(uintptr_t)r->certificate.p, r->certificate.n,
                             CURL_BLOB_COPY };
    return curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           (r->ca_file == NULL || curl_easy_setopt(c, CURLOPT_CAINFO, r->ca_file) == CURLE_OK) &&
           (r->certificate.n == 0 ||
            (curl_easy_setopt(c, CURLOPT_SSLCERT_BLOB, &own) == CURLE_OK &&
             curl_easy_setopt(c, CURLOPT_SSLCERTTYPE, "DER") == CURLE_OK &&
             curl_easy_setopt(c, CURLOPT_SSLKEY, r->key_file) == CURLE_OK));
}

// libcurl wants the secret as text.
static bool prepare_secret(CURL *c, const struct kd_http_request *r) {
    char text[SECRET_MAX_BYTES + 1] = "";
    if (r->user == NULL) {
        return true;
    }
    struct kd_secret *password = (struct kd_secret *)(uintptr_t)r->password;
    const size_t n = kd_secret_len(password);
    if (n > SECRET_MAX_BYTES) {
        return false;
    }
    memcpy(text, kd_secret_get(password), n);
    const bool is_set = curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) == CURLE_OK &&
                        curl_easy_setopt(c, CURLOPT_USERNAME, r->user) == CURLE_OK &&
                        curl_easy_setopt(c, CURLOPT_PASSWORD, text) == CURLE_OK;
    kd_wipe(text, sizeof(text));
    return is_set;
}

enum kd_err kd_http_ask(const struct kd_http_request *r, long *status, struct kd_buf *answer) {
    char type[128];
    CURL *c = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/cbor");
    snprintf(type, sizeof(type), "Content-Type: %s", r->type == NULL ? "" : r->type);
    struct curl_slist *all =
        headers == NULL || r->type == NULL ? headers : curl_slist_append(headers, type);
    const bool is_set = c != NULL && all != NULL &&
                        prepare(c, r->url, r->body, r->timeout_ms, all, answer) &&
                        (r->type != NULL || curl_easy_setopt(c, CURLOPT_HTTPGET, 1L) == CURLE_OK) &&
                        prepare_tls(c, r) && prepare_secret(c, r);
    const CURLcode code = is_set ? curl_easy_perform(c) : CURLE_OUT_OF_MEMORY;
    enum kd_err err = result_of(code, answer);
    if (code != CURLE_OK) {
        kd_detail_fail(KEYD_ERR_TRANSPORT, "%.120s: %s.", r->url, curl_easy_strerror(code));
    } else if (curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status) != CURLE_OK || *status == 0) {
        // libcurl takes lines for the first of an answer that have no status.
        kd_detail_fail(KEYD_ERR_TRANSPORT, "%.120s: The answer has no HTTP status.", r->url);
        err = KD_ERR_SYSTEM;
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    return err;
}
