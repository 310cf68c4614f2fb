// SPDX-License-Identifier: Apache-2.0
// service.c: keyd's API for programs beside it: the pool of connections, one question and what
// its refusal means.  What many calls have in common is in service_batch.c and service_json.c, the
// calls themselves are in service_*.c by what they are of.
#include "client/service_state.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_MAX = 16, TEXTS = 6, TIMEOUT_MS = 30000, PROBLEM_BYTES = 32, STATUS_UNKNOWN = 401 };
// Of JSON in an answer: a page of keys has all their versions, which are without end.  The longest
// answer (KD_REST_ANSWER_MAX_BYTES) has fewer.
enum { VALUES_MAX = 1 << 21 };

struct keyd_service {
    struct kd_rest_config config;
    char *texts[TEXTS]; // of the configuration
    pthread_mutex_t lock;
    size_t n_kept; // under the lock, as are they
    struct kd_rest *kept[KEPT_MAX];
};

// ---- what is said of a failure ---------------------------------------------

static _Thread_local struct {
    char name[PROBLEM_BYTES];
    unsigned status;
    unsigned retry_s;
} problem;

const char *keyd_problem(void) {
    return problem.name;
}

unsigned keyd_problem_status(void) {
    return problem.status;
}

unsigned keyd_problem_retry_s(void) {
    return problem.retry_s;
}

void kd_service_begin(void) {
    kd_detail_begin();
    problem.name[0] = '\0';
    problem.status = problem.retry_s = 0;
}

enum keyd_err kd_service_problem(enum keyd_err err, const char *name, const char *text) {
    snprintf(problem.name, sizeof(problem.name), "%s", name);
    return kd_detail_fail(err, "%s", text);
}

enum keyd_err kd_service_strange(void) {
    return kd_detail_fail(KEYD_ERR_SERVER, "What came is no answer of keyd to this question.");
}

enum keyd_err kd_service_wrong(const char *what) {
    return kd_detail_fail(KEYD_ERR_ARGUMENT, "%s is missing, too long or not of its form.", what);
}

static enum keyd_err err_of_class(enum kd_err_class class) {
    switch (class) {
    case KD_CLASS_OK:
        return KEYD_OK;
    case KD_CLASS_USAGE:
    case KD_CLASS_METHOD:
    case KD_CLASS_TOO_LARGE:
    case KD_CLASS_HEADER:
    case KD_CLASS_MEDIA:
        return KEYD_ERR_ARGUMENT;
    case KD_CLASS_AUTH:
    case KD_CLASS_POLICY:
        return KEYD_ERR_DENIED;
    case KD_CLASS_MISSING:
        return KEYD_ERR_MISSING;
    case KD_CLASS_CONFLICT:
        return KEYD_ERR_STATE;
    case KD_CLASS_REFUSED:
        return KEYD_ERR_REFUSED;
    case KD_CLASS_BUSY:
    case KD_CLASS_AWAY:
        return KEYD_ERR_BUSY;
    case KD_CLASS_DEADLINE:
        return KEYD_ERR_TIMEOUT;
    case KD_CLASS_TOKEN:
    case KD_CLASS_LACKING:
    case KD_CLASS_SYSTEM:
    case KD_CLASS_BUG:
        return KEYD_ERR_BACKEND;
    }
    return KEYD_ERR_BACKEND;
}

// A newer keyd may have problems that we do not know: their status says enough.
enum keyd_err kd_service_err_of(struct kd_bytes name, unsigned status) {
    for (unsigned e = KD_OK + 1; e < KD_ERR_COUNT; e++) {
        if (kd_bytes_equal(kd_bytes_of_text(kd_err_name(e)), name)) {
            return err_of_class(kd_err_class(e));
        }
    }
    return status == 503 ? KEYD_ERR_BUSY : status >= 500 ? KEYD_ERR_BACKEND : KEYD_ERR_ARGUMENT;
}

static const char *text_of(const struct kd_json *o, const char *name) {
    const char *text = kd_json_string(kd_json_get(o, name));
    return text == NULL ? "" : text;
}

// RFC 9457; the HTTP library of keyd answers some things in HTML.
static enum keyd_err take_problem(const struct kd_service_answer *a) {
    const struct kd_json *json = kd_service_json(a);
    const char *type = text_of(json, "type");
    const char *name = strrchr(type, ':');
    name = name == NULL ? type : name + 1;
    const char *detail = text_of(json, "detail");
    const char *field = text_of(json, "field");
    problem.retry_s = a->http.retry_after_sec;
    snprintf(problem.name, sizeof(problem.name), "%.*s", PROBLEM_BYTES - 1, name);
    return kd_detail_fail(kd_service_err_of(kd_bytes_of_text(name), a->http.status),
                          "%s%s%s (%s%s%s%sHTTP status %u)", text_of(json, "title"),
                          detail[0] == '\0' ? "" : " ", detail, name, name[0] == '\0' ? "" : ", ",
                          field, field[0] == '\0' ? "" : ", ", a->http.status);
}

static enum keyd_err take_failure(enum kd_err e, const char *text) {
    const enum keyd_err err = e == KD_ERR_NO_MEMORY     ? KEYD_ERR_MEMORY
                              : e == KD_ERR_DEADLINE    ? KEYD_ERR_TIMEOUT
                              : e == KD_ERR_DENIED      ? KEYD_ERR_DENIED
                              : e == KD_ERR_TOKEN_AWAY  ? KEYD_ERR_TRANSPORT
                              : e == KD_ERR_SYSTEM      ? KEYD_ERR_TRANSPORT
                              : e == KD_ERR_BAD_REQUEST ? KEYD_ERR_ARGUMENT
                                                        : KEYD_ERR_SERVER;
    return kd_detail_fail(err, "%s", text);
}

// ---- the pool --------------------------------------------------------------

static enum keyd_err open_another(const struct keyd_service *s, struct kd_rest **out) {
    char failure[KD_REST_FAILURE_BYTES];
    const enum kd_err e = kd_rest_open(&s->config, out, failure);
    return e == KD_OK                     ? KEYD_OK
           : e == KD_ERR_NO_MEMORY        ? KEYD_ERR_MEMORY
           : s->config.token_file != NULL ? kd_detail_fail(KEYD_ERR_FILE, "%s", failure)
                                          : kd_detail_fail(KEYD_ERR_ARGUMENT, "%s", failure);
}

static enum keyd_err take(struct keyd_service *s, struct kd_rest **out) {
    pthread_mutex_lock(&s->lock);
    *out = s->n_kept == 0 ? NULL : s->kept[--s->n_kept];
    pthread_mutex_unlock(&s->lock);
    return *out != NULL ? KEYD_OK : open_another(s, out);
}

static void give_back(struct keyd_service *s, struct kd_rest *rest) {
    pthread_mutex_lock(&s->lock);
    const bool is_kept = s->n_kept < KEPT_MAX;
    if (is_kept) {
        s->kept[s->n_kept++] = rest;
    }
    pthread_mutex_unlock(&s->lock);
    if (!is_kept) {
        kd_rest_close(rest);
    }
}

void kd_service_answer_wipe(struct kd_service_answer *a) {
    // A token that is not known (any more): its file may have another by now.
    if (a->rest != NULL && a->http.status == STATUS_UNKNOWN) {
        kd_rest_close(a->rest);
    } else if (a->rest != NULL) {
        give_back(a->service, a->rest);
    }
    kd_json_wipe(&a->tree);
    kd_rest_reply_wipe(&a->http);
    *a = KD_SERVICE_ANSWER_INIT;
}

// ---- a question ------------------------------------------------------------

static enum keyd_err read_json(struct kd_service_answer *a) {
    a->tree.max = VALUES_MAX;
    const enum kd_err e = kd_json_read(&a->tree, &a->http.text);
    if (e != KD_OK) {
        kd_json_wipe(&a->tree);
        return e == KD_ERR_NO_MEMORY ? KEYD_ERR_MEMORY : kd_service_strange();
    }
    return KEYD_OK;
}

enum keyd_err kd_service_ask(struct keyd_service *s, const struct kd_rest_request *q,
                             struct kd_service_answer *a) {
    enum keyd_err err = take(s, &a->rest);
    if (err != KEYD_OK) {
        return err;
    }
    a->service = s;
    const enum kd_err e = kd_rest_exchange(a->rest, q, &a->http);
    if (e != KD_OK) {
        return take_failure(e, kd_rest_failure(a->rest));
    }
    problem.status = a->http.status;
    err = a->http.is_json ? read_json(a) : KEYD_OK;
    return err == KEYD_OK && kd_rest_is_problem(a->http.status) ? take_problem(a) : err;
}

enum keyd_err kd_service_post(struct keyd_service *s, const char *path, const struct kd_buf *json,
                              struct kd_service_answer *a) {
    if (kd_buf_finish(json) != KD_OK) {
        return kd_buf_finish(json) == KD_ERR_NO_MEMORY ? KEYD_ERR_MEMORY
                                                       : kd_service_wrong("The data");
    }
    const struct kd_rest_request q = {
        .method = "POST", .path = path, .type = "application/json", .body = kd_buf_get(json)
    };
    return kd_service_ask(s, &q, a);
}

enum keyd_err kd_service_do(struct keyd_service *s, const char *method, const char *path,
                            struct kd_service_answer *a) {
    const struct kd_rest_request q = { .method = method, .path = path };
    return kd_service_ask(s, &q, a);
}

// ---- secrets for the caller ------------------------------------------------

void keyd_wipe(void *p, size_t n) {
    if (p != NULL) {
        kd_wipe(p, n);
    }
}

// The owner of the pages is before what the caller sees.
struct locked {
    struct kd_secret *owner;
    max_align_t bytes[];
};

void *kd_service_locked(size_t n) {
    struct kd_secret *owner = NULL;
    if (kd_secret_new(sizeof(struct locked) + n, &owner) != KD_OK) {
        return NULL;
    }
    struct locked *l = (struct locked *)(void *)kd_secret_get(owner);
    l->owner = owner;
    return l->bytes;
}

void kd_service_unlock(void *p) {
    if (p != NULL) {
        struct locked *l = (struct locked *)(void *)((uint8_t *)p - offsetof(struct locked, bytes));
        kd_secret_free(l->owner);
    }
}

// ---- life ------------------------------------------------------------------

void keyd_service_close(struct keyd_service *s) {
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->n_kept; i++) {
        kd_rest_close(s->kept[i]);
    }
    for (size_t i = 0; i < TEXTS; i++) {
        free(s->texts[i]);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}
KD_AUTO_DEFINE(service, struct keyd_service *, keyd_service_close)

static bool copy_config(struct keyd_service *s, const struct keyd_service_config *c) {
    const char *const from[TEXTS] = { c->socket,           c->url,      c->ca_file,
                                      c->certificate_file, c->key_file, c->token_file };
    const char **const to[TEXTS] = {
        &s->config.socket,      &s->config.url, &s->config.ca,
        &s->config.certificate, &s->config.key, &s->config.token_file
    };
    for (size_t i = 0; i < TEXTS; i++) {
        s->texts[i] = from[i] == NULL ? NULL : strdup(from[i]);
        if (from[i] != NULL && s->texts[i] == NULL) {
            return false;
        }
        *to[i] = s->texts[i];
    }
    s->config.timeout_ms = c->timeout_ms == 0 ? TIMEOUT_MS : c->timeout_ms;
    return true;
}

static enum keyd_err open_service(const struct keyd_service_config *config,
                                  struct keyd_service **out) {
    if (config == NULL || out == NULL || (config->socket == NULL) == (config->url == NULL)) {
        return kd_service_wrong("One of socket and url");
    }
    if ((config->certificate_file == NULL) != (config->key_file == NULL)) {
        return kd_service_wrong("One of certificate_file and key_file");
    }
    kd_auto(service) struct keyd_service *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return KEYD_ERR_MEMORY;
    }
    pthread_mutex_init(&s->lock, NULL);
    if (!copy_config(s, config)) {
        return KEYD_ERR_MEMORY;
    }
    // The first connection is made ready now, so that what is wrong is said now.
    struct kd_rest *rest = NULL;
    const enum keyd_err err = open_another(s, &rest);
    if (err != KEYD_OK) {
        return err;
    }
    give_back(s, rest);
    *out = KD_STEAL(s);
    return KEYD_OK;
}

enum keyd_err keyd_service_open(const struct keyd_service_config *config,
                                struct keyd_service **out) {
    kd_service_begin();
    return kd_detail_end(open_service(config, out));
}

// ---- the service itself ----------------------------------------------------

enum keyd_err keyd_ready(struct keyd_service *s) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    return kd_detail_end(s == NULL ? kd_service_wrong("The service")
                                   : kd_service_do(s, "GET", "/readyz", &a));
}

static const struct kd_service_field state_fields[] = {
    { "version", KD_SERVICE_PLACE(keyd_state, version), KD_SERVICE_TEXT },
    { "ready", KD_SERVICE_PLACE(keyd_state, is_ready), KD_SERVICE_FLAG },
};
static const struct kd_service_field count_fields[] = {
    { "keys", KD_SERVICE_PLACE(keyd_state, keys), KD_SERVICE_NUMBER },
    { "secrets", KD_SERVICE_PLACE(keyd_state, secrets), KD_SERVICE_NUMBER },
};

static bool count_worker(void *arg, size_t i KD_UNUSED, const struct kd_json *worker) {
    struct keyd_state *state = arg;
    char word[16] = "";
    (void)kd_service_find_word(worker, "state", sizeof(word), word);
    state->workers++;
    state->workers_ready += strcmp(word, "ready") == 0;
    return true;
}

static bool read_state(const struct kd_json *json, struct keyd_state *out) {
    struct keyd_state state = { .workers = 0 };
    size_t n = 0;
    if (!kd_service_read(json, state_fields, KD_COUNT_OF(state_fields), &state) ||
        !kd_service_read(kd_json_get(json, "counts"), count_fields, KD_COUNT_OF(count_fields),
                         &state) ||
        !kd_service_each(kd_json_get(json, "workers"), count_worker, &state, &n)) {
        return false;
    }
    // Without a channel there is none.
    (void)kd_service_find_number(kd_json_get(json, "channel"), "sessions", &state.sessions);
    *out = state;
    return true;
}

enum keyd_err keyd_state(struct keyd_service *s, struct keyd_state *out) {
    kd_auto(service_answer) struct kd_service_answer a = KD_SERVICE_ANSWER_INIT;
    kd_service_begin();
    if (s == NULL || out == NULL) {
        return kd_detail_end(kd_service_wrong("The service, or room for its state,"));
    }
    const enum keyd_err err = kd_service_do(s, "GET", "/v1/status", &a);
    return kd_detail_end(
        err != KEYD_OK || read_state(kd_service_json(&a), out) ? err : kd_service_strange());
}
