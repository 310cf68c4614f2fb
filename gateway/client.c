// SPDX-License-Identifier: Apache-2.0
#include "gateway/client.h"

#include "gateway/client_queue.h"
#include "gateway/client_sockets.h"

#include <assert.h>
#include <curl/curl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPARE_MAX = 256,
    URL_MAX_BYTES = 1024,
    BEARER_MAX_BYTES = 512,
    AGAIN_MS = 100,
    LINES_MAX = KD_CLIENT_HEADERS_MAX + 4, // with those of our own
    // libcurl takes one for each request and wipes it after: most answers are small.
    BUFFER_BYTES = 1024,
};

struct transfer {
    struct kd_waiter waiter; // first
    struct transfer *next;   // spare, or unwatched
    struct kd_client *c;
    CURL *easy;
    struct curl_slist lines[LINES_MAX]; // the header: libcurl reads it and copies what it sends
    struct kd_buf line_text;            // of the lines that are not constant
    kd_client_done *done;
    void *arg;
    struct kd_buf sent;
    struct kd_buf got;
    bool is_secret;
    bool is_connect;
    bool is_safe; // it asks for nothing to be done (RFC 9110 9.2.1)
    bool is_unwatched;
    char reason[CURL_ERROR_SIZE];
};

struct kd_client {
    struct kd_loop *loop;
    const struct kd_client_config *config;
    CURLM *multi;
    struct kd_client_sockets sockets;
    struct kd_timer *timer; // as libcurl sets it
    struct kd_timer *again; // for what libcurl says no more of, as it has no memory
    struct transfer *unwatched;
    struct transfer *spare;
    size_t n_spare;
    size_t running; // in libcurl
    // What is more than connections_max.  libcurl would make it wait, too, but in no turns, and
    // looks for a connection twice for each.
    struct kd_client_queue queue;
    struct kd_timer *late;           // for the oldest there
    struct kd_secret *authorization; // the header's line; NULL: none
};

// ---- the loop --------------------------------------------------------------

static void finish(struct transfer *t, CURLcode code);

static void collect(struct kd_client *c) {
    CURLMsg *m;
    int left;
    for (struct transfer *t; (t = c->unwatched) != NULL;) {
        c->unwatched = t->next;
        finish(t, CURLE_OUT_OF_MEMORY);
    }
    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct transfer *t = NULL;
        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t) == CURLE_OK) {
            finish(t, m->data.result);
        }
    }
}

static void act(struct kd_client *c, curl_socket_t fd, int events) {
    int running;
    if (curl_multi_socket_action(c->multi, fd, events, &running) != CURLM_OK) {
        kd_timer_set(c->again, AGAIN_MS); // the timer may not have been set
    }
    collect(c);
}

static void on_ready(void *client, curl_socket_t fd, int what) {
    act(client, fd, what);
}

// It would wait for what nobody tells: it ends when libcurl has returned.  Were -1 returned to it,
// libcurl would end all others, too, and take no new one before the last has ended.
static void leave_unwatched(struct kd_client *c, CURL *easy) {
    struct transfer *t = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t) == CURLE_OK && !t->is_unwatched) {
        t->is_unwatched = true;
        t->next = c->unwatched;
        c->unwatched = t;
        kd_timer_set(c->again, 0);
    }
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *client, void *arg KD_UNUSED) {
    struct kd_client *c = client;
    if (kd_client_sockets_want(&c->sockets, fd, what) != KD_OK) {
        leave_unwatched(c, easy);
    }
    return 0;
}

static int on_timer_change(CURLM *multi KD_UNUSED, long ms, void *client) {
    struct kd_client *c = client;
    if (ms < 0) {
        kd_timer_stop(c->timer);
    } else {
        kd_timer_set(c->timer, (uint64_t)ms);
    }
    return 0;
}

static void on_timer(void *client) {
    act(client, CURL_SOCKET_TIMEOUT, 0);
}

// ---- one request -----------------------------------------------------------

static size_t on_body(char *p, size_t size, size_t n, void *transfer) {
    struct transfer *t = transfer;
    kd_buf_put(&t->got, p, size * n);
    return kd_buf_finish(&t->got) == KD_OK ? size * n : 0;
}

static void free_transfer(struct transfer *t) {
    curl_easy_cleanup(t->easy);
    kd_buf_wipe(&t->line_text);
    kd_buf_wipe(&t->sent);
    kd_buf_wipe(&t->got);
    free(t);
}

static void give_back(struct transfer *t) {
    struct kd_client *c = t->c;
    kd_buf_reset(&t->line_text);
    kd_buf_reset(&t->sent);
    kd_buf_reset(&t->got);
    if (t->is_secret || t->is_connect || c->n_spare >= SPARE_MAX) {
        free_transfer(t);
        return;
    }
    t->next = c->spare;
    c->spare = t;
    c->n_spare++;
}

static void start_waiting(struct kd_client *c);

static unsigned why_none(const struct transfer *t, CURLcode code) {
    long sent = 0;
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent);
    if (sent == 0) {
        return KD_CLIENT_UNSENT;
    }
    return code == CURLE_OPERATION_TIMEDOUT ? KD_CLIENT_LATE : KD_CLIENT_LOST;
}

static const char *reason_of(const struct transfer *t, CURLcode code) {
    return code == CURLE_ABORTED_BY_CALLBACK ? "the connection ended before an answer"
           : t->reason[0] != '\0'            ? t->reason
                                             : curl_easy_strerror(code);
}

static void finish(struct transfer *t, CURLcode code) {
    struct kd_client *c = t->c;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(c->multi, t->easy);
    c->running--;
    kd_client_queue_end(&c->queue, &t->waiter);
    if (code == CURLE_OK && t->is_connect) {
        t->done(t->arg, 200, KD_BYTES_NONE);
    } else if (code == CURLE_OK && status > 0) {
        t->done(t->arg, (unsigned)status, kd_buf_get(&t->got));
    } else {
        t->done(t->arg, why_none(t, code), kd_bytes_of_text(reason_of(t, code)));
    }
    give_back(t);
    start_waiting(c);
}

// ---- requests that wait ----------------------------------------------------

static bool start(struct transfer *t) {
    const uint64_t now = kd_clock_mono_ms();
    const uint64_t due = t->waiter.due_ms;
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, due > now ? (long)(due - now) : 1L);
    if (curl_multi_add_handle(t->c->multi, t->easy) != CURLM_OK) {
        return false;
    }
    t->c->running++;
    return true;
}

static void set_late(struct kd_client *c) {
    const struct kd_waiter *w = c->queue.oldest;
    kd_timer_set_at(c->late, w == NULL ? KD_LOOP_NO_LIMIT : w->due_ms);
}

static bool wait_in_line(struct transfer *t, const char *who) {
    struct kd_client *c = t->c;
    if (kd_client_queue_put(&c->queue, &t->waiter, who) != KD_OK) {
        return false;
    }
    if (c->queue.n == 1) {
        set_late(c);
    }
    return true;
}

static bool start_counted(struct transfer *t) {
    if (!start(t)) {
        kd_client_queue_end(&t->c->queue, &t->waiter);
        return false;
    }
    return true;
}

static bool start_or_wait(struct transfer *t, const char *who) {
    struct kd_client *c = t->c;
    enum kd_err r = KD_ERR_BUSY;
    if (c->running < c->config->connections_max) {
        r = kd_client_queue_pass(&c->queue, &t->waiter, who);
    }
    return r == KD_OK ? start_counted(t) : r == KD_ERR_BUSY && wait_in_line(t, who);
}

static void end_unstarted(struct transfer *t, const char *reason) {
    t->done(t->arg, KD_CLIENT_UNSENT, kd_bytes_of_text(reason));
    give_back(t);
}

static void start_waiting(struct kd_client *c) {
    if (c->queue.n == 0) {
        return;
    }
    for (struct transfer *t; c->running < c->config->connections_max &&
                             (t = (struct transfer *)kd_client_queue_take(&c->queue)) != NULL;) {
        if (!start_counted(t)) {
            end_unstarted(t, curl_easy_strerror(CURLE_OUT_OF_MEMORY));
        }
    }
    set_late(c);
}

static void on_late(void *client) {
    struct kd_client *c = client;
    while (c->queue.n > 0 && c->queue.oldest->due_ms <= kd_clock_mono_ms()) {
        struct transfer *t = (struct transfer *)kd_client_queue_take_oldest(&c->queue);
        end_unstarted(t, "no connection was free in time");
    }
    set_late(c);
}

// ---- setting one up --------------------------------------------------------

// Where a kept connection ends before an answer libcurl sends the request again on a new one,
// whatever it asks for.  When any byte of it has gone out the other end may have done it: a message
// would reach the backend twice (RFC 9110 9.2.2).
static int before_sending(void *transfer, char *ip KD_UNUSED, char *local_ip KD_UNUSED,
                          int port KD_UNUSED, int local_port KD_UNUSED) {
    const struct transfer *t = transfer;
    long n_sent = 0;
    const bool is_known = curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &n_sent) == CURLE_OK;
    return t->is_safe || (is_known && n_sent == 0) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

// Without memory libcurl keeps the option as it was, and the request would go elsewhere.
static bool set_text(CURL *e, CURLoption option, const char *text) {
    return curl_easy_setopt(e, option, text) == CURLE_OK;
}

static bool set_options(struct transfer *t) {
    const struct kd_client_config *config = t->c->config;
    CURL *e = t->easy;
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    kd_client_sockets_serve(&t->c->sockets, e);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, before_sending);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    return set_text(e, CURLOPT_PROXY, "") && set_text(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
           (config->unix_path[0] == '\0' ||
            set_text(e, CURLOPT_UNIX_SOCKET_PATH, config->unix_path)) &&
           (config->ca_file[0] == '\0' || set_text(e, CURLOPT_CAINFO, config->ca_file));
}

static struct transfer *new_transfer(struct kd_client *c) {
    struct transfer *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return NULL;
    }
    t->c = c;
    t->line_text = KD_BUF_INIT(UINT32_MAX);
    t->sent = KD_BUF_INIT(UINT32_MAX);
    t->got = KD_BUF_INIT(c->config->answer_max_bytes);
    t->easy = curl_easy_init();
    if (t->easy == NULL || !set_options(t)) {
        free_transfer(t);
        return NULL;
    }
    return t;
}

static struct transfer *take_transfer(struct kd_client *c) {
    struct transfer *t = c->spare;
    if (t == NULL) {
        return new_transfer(c);
    }
    c->spare = t->next;
    c->n_spare--;
    return t;
}

// The text stays where it is until the transfer has ended.  Returns the place for the next one.
static struct curl_slist *add_line(struct curl_slist *line, const char *text) {
    *line = (struct curl_slist) { .data = (char *)(uintptr_t)text, .next = line + 1 };
    return line + 1;
}

static bool set_headers(struct transfer *t, const struct kd_client_request *r) {
    struct kd_buf *text = &t->line_text;
    struct curl_slist *end = t->lines;
    assert(r->n_headers <= KD_CLIENT_HEADERS_MAX);
    if (r->type != NULL) {
        kd_buf_printf(text, "Content-Type: %s", r->type);
        kd_buf_u8(text, '\0');
    }
    for (size_t i = 0; i < r->n_headers; i++) {
        kd_buf_text(text, r->headers[i]);
        kd_buf_u8(text, '\0');
    }
    if (kd_buf_finish(text) != KD_OK) {
        return false;
    }
    for (size_t at = 0; at < text->n; at += strlen((char *)text->p + at) + 1) {
        end = add_line(end, (char *)text->p + at); // now that it does not move any more
    }
    end = add_line(end, "Expect:");
    end = add_line(end, "Accept:");
    if (t->c->authorization != NULL) {
        end = add_line(end, (const char *)kd_secret_get(t->c->authorization));
    }
    end[-1].next = NULL;
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->lines);
    return true;
}

static bool set_request(struct transfer *t, const struct kd_client_request *r) {
    char url[URL_MAX_BYTES];
    snprintf(url, sizeof(url), "%s%s", t->c->config->url, r->path == NULL ? "" : r->path);
    kd_buf_put(&t->sent, r->body.p, r->body.n);
    curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, r->is_connect ? 1L : 0L);
    if (r->type == NULL) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
    } else {
        curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->sent.n == 0 ? "" : (char *)t->sent.p);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->sent.n);
    }
    return kd_buf_finish(&t->sent) == KD_OK && set_text(t->easy, CURLOPT_URL, url) &&
           set_text(t->easy, CURLOPT_CUSTOMREQUEST, r->method) && set_headers(t, r);
}

enum kd_err kd_client_send(struct kd_client *c, const struct kd_client_request *r,
                           kd_client_done *done, void *arg) {
    struct transfer *t = take_transfer(c);
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    t->reason[0] = '\0';
    t->done = done;
    t->arg = arg;
    t->is_secret = r->is_secret;
    t->is_connect = r->is_connect;
    t->is_safe = r->type == NULL && r->method == NULL;
    t->is_unwatched = false;
    t->waiter.due_ms = kd_clock_mono_ms() + (r->probe_ms > 0 ? r->probe_ms : c->config->timeout_ms);
    t->waiter.lane = NULL;
    if (!set_request(t, r) ||
        !(r->probe_ms > 0 ? start(t) : start_or_wait(t, r->who == NULL ? "" : r->who))) {
        free_transfer(t);
        return KD_ERR_NO_MEMORY;
    }
    return KD_OK;
}

size_t kd_client_pending(const struct kd_client *c) {
    return c->running + c->queue.n;
}

// ---- memory ----------------------------------------------------------------

static void wiping_free(void *p) {
    if (p != NULL) {
        kd_wipe(p, malloc_usable_size(p));
        free(p);
    }
}

// What is moved leaves nothing behind.
static void *wiping_realloc(void *p, size_t n) {
    const size_t had = p == NULL ? 0 : malloc_usable_size(p);
    void *more = n == 0 ? NULL : malloc(n);
    if (more != NULL && p != NULL) {
        memcpy(more, p, had < n ? had : n);
    }
    if (more != NULL || n == 0) {
        wiping_free(p);
    }
    return more;
}

void kd_client_init_library(void) {
    curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup, calloc);
}

// ---- life ------------------------------------------------------------------

// RFC 6750 2.1: anything else could end the header's line and begin another.
static bool is_token(struct kd_secret *text) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
    const uint8_t *p = kd_secret_get(text);
    size_t n = 0;
    while (n < kd_secret_len(text) && p[n] != '\0' && strchr(allowed, p[n]) != NULL) {
        n++;
    }
    return n == kd_secret_len(text);
}

static enum kd_err read_bearer(struct kd_client *c) {
    static const char head[] = "Authorization: Bearer ";
    const char *path = c->config->bearer;
    kd_auto(secret) struct kd_secret *token = NULL;
    if (path[0] == '\0') {
        return KD_OK;
    }
    enum kd_err r = kd_secret_read_file(path, BEARER_MAX_BYTES, &token);
    r = r == KD_OK && !is_token(token) ? KD_ERR_CONFIG : r;
    if (r != KD_OK) {
        kd_log(KD_LOG_ERROR, "client",
               "the file with the bearer token cannot be used: it must be there, hold a token in "
               "its first line, and be closed to others",
               "file=%s error=%s", path, kd_err_name(r));
        return r;
    }
    const size_t n = kd_secret_len(token);
    if ((r = kd_secret_new(sizeof(head) + n, &c->authorization)) == KD_OK) { // with its NUL
        memcpy(kd_secret_get(c->authorization), head, sizeof(head) - 1);
        memcpy(kd_secret_get(c->authorization) + sizeof(head) - 1, kd_secret_get(token), n);
    }
    return r;
}

enum kd_err kd_client_new(struct kd_loop *loop, const struct kd_client_config *config,
                          struct kd_client **out) {
    struct kd_client *c = calloc(1, sizeof(*c));
    if (c == NULL || (c->multi = curl_multi_init()) == NULL) {
        free(c);
        return KD_ERR_NO_MEMORY;
    }
    c->loop = loop;
    c->config = config;
    c->queue.share = config->per_who_max;
    kd_client_sockets_init(&c->sockets, loop, on_ready, c);
    enum kd_err r;
    if ((r = kd_timer_new(loop, on_timer, c, &c->timer)) != KD_OK ||
        (r = kd_timer_new(loop, on_timer, c, &c->again)) != KD_OK ||
        (r = kd_timer_new(loop, on_late, c, &c->late)) != KD_OK || (r = read_bearer(c)) != KD_OK) {
        kd_client_free(c);
        return r;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)config->connections_max);
    *out = c;
    return KD_OK;
}

void kd_client_free(struct kd_client *c) {
    if (c == NULL) {
        return;
    }
    for (struct transfer *t; (t = c->spare) != NULL;) {
        c->spare = t->next;
        free_transfer(t);
    }
    curl_multi_cleanup(c->multi);
    kd_client_sockets_wipe(&c->sockets);
    kd_client_queue_wipe(&c->queue);
    kd_timer_free(c->timer);
    kd_timer_free(c->again);
    kd_timer_free(c->late);
    kd_secret_free(c->authorization);
    free(c);
}
