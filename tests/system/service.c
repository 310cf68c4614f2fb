// SPDX-License-Identifier: Apache-2.0
// service.c: every call of keyd_service.h, one a line, for service.py.
//     service NAME=VALUE...        as in struct keyd_service_config
// A line is the name of a command and its words: bytes in hexadecimal ("-": none), numbers,
// names; a key is "NAME" or "NAME:VERSION", a secret "@ID".  Answers with the error's name, the
// problem's or "-", the HTTP status, and what came.
#include "tests/system/service_app.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 8 << 20, ROOM_BYTES = 4 << 20, THREADS_MAX = 64 };

struct keyd_service *service;
static char *words[WORDS_MAX];
size_t n_words;
static uint8_t room_bytes[ROOM_BYTES];

// ---- words -----------------------------------------------------------------

const char *word(size_t i) {
    return i < n_words ? words[i] : "-";
}

unsigned number(size_t i) {
    return (unsigned)strtoul(word(i), NULL, 0);
}

const char *text(size_t i) {
    return strcmp(word(i), "-") == 0 ? NULL : word(i);
}

// In the place of its digits.
struct keyd_bytes bytes(size_t i) {
    if (text(i) == NULL) {
        return (struct keyd_bytes) { NULL, 0 };
    }
    uint8_t *out = (uint8_t *)words[i];
    const size_t n = strlen(words[i]) / 2;
    for (size_t k = 0; k < n; k++) {
        const char digits[3] = { words[i][2 * k], words[i][2 * k + 1], '\0' };
        out[k] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return (struct keyd_bytes) { out, n };
}

struct keyd_with with(size_t i) {
    static char name[128];
    snprintf(name, sizeof(name), "%s", word(i));
    char *colon = strchr(name, ':');
    struct keyd_with w = { .key = name };
    if (name[0] == '@') {
        return (struct keyd_with) { .secret = name + 1 };
    }
    if (colon != NULL) {
        *colon = '\0';
        w.is_der = strcmp(colon + 1, "der") == 0;
        w.version = (unsigned)strtoul(colon + 1, NULL, 10);
    }
    return w;
}

struct keyd_room room(void) {
    return (struct keyd_room) { .p = room_bytes, .max = sizeof(room_bytes) };
}

// ---- answers ---------------------------------------------------------------

bool begin(enum keyd_err err) {
    const char *problem = keyd_problem();
    printf("%s %s %u", keyd_err_name(err), problem[0] == '\0' ? "-" : problem,
           keyd_problem_status());
    return err == KEYD_OK;
}

void put_bytes(const void *p, size_t n) {
    const uint8_t *b = p;
    printf(n == 0 ? " -" : " ");
    for (size_t i = 0; i < n; i++) {
        printf("%02x", b[i]);
    }
}

void put_room(enum keyd_err err, const struct keyd_room *r) {
    begin(err);
    put_bytes(r->p, r->n);
}

void put_key(enum keyd_err err, const struct keyd_key *k) {
    if (begin(err)) {
        printf(" %s %d %u %u", k->name, (int)k->type, k->usages, k->version);
        put_bytes(k->point, k->n_point);
    }
}

void put_text(const char *what) {
    printf(" %s", what[0] == '\0' ? "-" : what);
}

void put_results(enum keyd_err err, const struct keyd_result *results, size_t n) {
    if (!begin(err)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct keyd_result *r = &results[i];
        printf(" %s", r->err == KEYD_OK ? "ok" : r->problem);
        put_bytes(r->bytes, r->n);
        printf(" %u", r->version);
    }
}

// ---- keys and operations ---------------------------------------------------

static bool keys(const char *name) {
    struct keyd_key key = { .version = 0 };
    if (strcmp(name, "create") == 0) {
        put_key(keyd_key_create(service, word(1), (enum keyd_key_type)number(2), number(3), &key),
                &key);
    } else if (strcmp(name, "show") == 0) {
        put_key(keyd_key_show(service, word(1), &key), &key);
    } else if (strcmp(name, "rotate") == 0) {
        put_key(keyd_key_rotate(service, word(1), &key), &key);
    } else if (strcmp(name, "delete") == 0) {
        begin(keyd_key_delete(service, word(1)));
    } else if (strcmp(name, "delete-version") == 0) {
        begin(keyd_key_delete_version(service, word(1), number(2)));
    } else {
        return false;
    }
    return true;
}

// One item or more: the call for one, or that for all.
static void results(bool is_sign) {
    static struct keyd_result out[WORDS_MAX];
    static struct keyd_bytes data[WORDS_MAX];
    const size_t first = is_sign ? 3 : 2;
    const size_t n = n_words - first;
    const struct keyd_with w = with(1);
    const int is_digest = is_sign && number(2) != 0;
    for (size_t i = 0; i < n; i++) {
        data[i] = bytes(first + i);
    }
    const enum keyd_err err = is_sign && n == 1 ? keyd_sign(service, &w, data[0], is_digest, out)
                              : is_sign ? keyd_sign_all(service, &w, data, n, is_digest, out)
                              : n == 1  ? keyd_mac(service, &w, data[0], out)
                                        : keyd_mac_all(service, &w, data, n, out);
    put_results(err, out, n);
}

static bool operations(const char *name) {
    uint8_t iv[KEYD_IV_BYTES];
    struct keyd_room out = room();
    const struct keyd_with w = with(1);
    if (strcmp(name, "sign") == 0 || strcmp(name, "mac") == 0) {
        results(name[0] == 's');
    } else if (strcmp(name, "verify") == 0) {
        begin(keyd_verify(service, &w, bytes(3), (int)number(2), bytes(4)));
    } else if (strcmp(name, "mac-verify") == 0) {
        begin(keyd_mac_verify(service, &w, bytes(2), bytes(3)));
    } else if (strcmp(name, "encrypt") == 0) {
        const enum keyd_err err = keyd_encrypt(service, &w, bytes(2), bytes(3), iv, &out);
        put_room(err, &out);
        put_bytes(iv, err == KEYD_OK ? sizeof(iv) : 0);
    } else if (strcmp(name, "decrypt") == 0) {
        put_room(keyd_decrypt(service, &w, bytes(2).p, bytes(3), bytes(4), &out), &out);
    } else if (strcmp(name, "rewrap") == 0) {
        const enum keyd_err err =
            keyd_rewrap(service, &w, memcpy(iv, bytes(2).p, sizeof(iv)), bytes(3), bytes(4), &out);
        put_room(err, &out);
        put_bytes(iv, err == KEYD_OK ? sizeof(iv) : 0);
    } else if (strcmp(name, "random") == 0) {
        out.n = number(1);
        put_room(keyd_random(service, out.p, out.n), &out);
    } else {
        return false;
    }
    return true;
}

static bool secrets(const char *name) {
    struct keyd_secret secret = { .version = 0 };
    struct keyd_room out = room();
    if (strcmp(name, "forget") == 0) {
        begin(keyd_secret_delete(service, word(1)));
        return true;
    }
    if (strcmp(name, "derive") != 0 && strcmp(name, "value") != 0) {
        return false;
    }
    const struct keyd_with w = with(1);
    const struct keyd_derivation d = { .peer = bytes(2),
                                       .kdf = (enum keyd_kdf)number(3),
                                       .salt = bytes(4),
                                       .info = bytes(5),
                                       .type = (enum keyd_key_type)number(6),
                                       .lifetime_s = number(7) };
    if (name[0] == 'v') {
        put_room(keyd_derive_value(service, &w, &d, number(8), &out), &out);
    } else if (begin(keyd_derive(service, &w, &d, &secret))) {
        printf(" %s %u %d", secret.id, secret.version, secret.is_token_inside);
    }
    return true;
}

// ---- the channel -----------------------------------------------------------

static void handshake(void) {
    struct keyd_handshake h = { .address = text(2), .cookie = bytes(3) };
    struct keyd_room out = room();
    snprintf(h.id, sizeof(h.id), "%s", text(1) == NULL ? "" : word(1));
    put_room(keyd_handshake(service, &h, bytes(4), &out), &out);
    printf(" %s %s", h.id[0] == '\0' ? "-" : h.id, h.session[0] == '\0' ? "-" : h.session);
}

static void put_record(const struct keyd_record *r) {
    printf(" %s", r->err == KEYD_OK ? "ok" : r->problem);
    put_bytes(r->out.p, r->out.n);
    printf(" %s %s %s %u %llu %d", r->session[0] == '\0' ? "-" : r->session,
           r->peer[0] == '\0' ? "-" : r->peer, r->relation[0] == '\0' ? "-" : r->relation, r->type,
           (unsigned long long)r->sequence, r->is_registered);
}

static void do_records(bool is_seal) {
    static struct keyd_record records[WORDS_MAX];
    const size_t first = is_seal ? 4 : 2;
    const size_t n = n_words - first;
    struct keyd_bytes aad = bytes(is_seal ? 3 : 1);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        records[i] = (struct keyd_record) { .in = bytes(first + i), .aad = aad };
        const size_t max = records[i].in.n + KEYD_RECORD_MORE;
        records[i].out = (struct keyd_room) { .p = room_bytes + at, .max = max };
        at += max;
        if (is_seal) {
            snprintf(records[i].session, KEYD_ID_BYTES, "%s", word(1));
            records[i].type = number(2);
        }
    }
    const enum keyd_err err = is_seal && n == 1 ? keyd_record_seal(service, records)
                              : is_seal         ? keyd_record_seal_all(service, records, n)
                              : n == 1          ? keyd_record_open(service, records)
                                                : keyd_record_open_all(service, records, n);
    begin(err);
    for (size_t i = 0; i < n && (err == KEYD_OK || n == 1); i++) {
        put_record(&records[i]);
    }
}

static bool channel(const char *name) {
    struct keyd_envelope about;
    struct keyd_room out = room();
    if (strcmp(name, "handshake") == 0) {
        handshake();
    } else if (strcmp(name, "seal") == 0 || strcmp(name, "open") == 0) {
        do_records(name[0] == 's');
    } else if (strcmp(name, "ticket") == 0) {
        put_room(keyd_session_ticket(service, word(1), &out), &out);
    } else if (strcmp(name, "end") == 0) {
        begin(keyd_session_delete(service, word(1)));
    } else if (strcmp(name, "envelope") == 0) {
        const enum keyd_err err = keyd_envelope_open(service, bytes(1), &about, &out);
        put_room(err, &out);
        if (err == KEYD_OK) {
            printf(" %s %llu", about.sender[0] == '\0' ? "-" : about.sender,
                   (unsigned long long)(about.expires_s - about.time_s));
        }
    } else {
        return false;
    }
    return true;
}

// ---- the service -----------------------------------------------------------

static struct {
    const char *key;
    unsigned times;
} load;

static void *work(void *arg) {
    unsigned *good = arg;
    const struct keyd_with w = { .key = load.key };
    for (unsigned i = 0; i < load.times; i++) {
        char data[32];
        struct keyd_result mac;
        const int n = snprintf(data, sizeof(data), "%p %u", arg, i);
        const struct keyd_bytes d = { data, (size_t)n };
        const enum keyd_err made = keyd_mac(service, &w, d, &mac);
        const struct keyd_bytes proof = { mac.bytes, made == KEYD_OK ? mac.n : 0 };
        const struct keyd_bytes other = { data, (size_t)n - 1 };
        *good += made == KEYD_OK && keyd_mac_verify(service, &w, d, proof) == KEYD_OK &&
                 keyd_mac_verify(service, &w, other, proof) == KEYD_ERR_REFUSED &&
                 strcmp(keyd_problem(), "not-valid") == 0;
    }
    return NULL;
}

static void run_threads(void) {
    pthread_t threads[THREADS_MAX];
    unsigned good[THREADS_MAX] = { 0 };
    const unsigned n = number(1) % THREADS_MAX;
    unsigned sum = 0;
    load.times = number(2);
    load.key = word(3);
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, work, &good[i]) != 0) {
            abort();
        }
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        sum += good[i];
    }
    printf("%u", sum);
}

static bool service_itself(const char *name) {
    struct keyd_state state;
    if (strcmp(name, "ready") == 0) {
        begin(keyd_ready(service));
    } else if (strcmp(name, "state") == 0) {
        if (begin(keyd_state(service, &state))) {
            printf(" %d %u %u %llu %llu %llu", state.is_ready, state.workers, state.workers_ready,
                   (unsigned long long)state.keys, (unsigned long long)state.secrets,
                   (unsigned long long)state.sessions);
        }
    } else if (strcmp(name, "detail") == 0) {
        printf("%s", keyd_detail());
    } else if (strcmp(name, "retry") == 0) {
        printf("%u", keyd_problem_retry_s());
    } else if (strcmp(name, "threads") == 0) {
        run_threads();
    } else {
        return false;
    }
    return true;
}

static void configure(struct keyd_service_config *c, char *option) {
    char *value = strchr(option, '=');
    if (value == NULL) {
        return;
    }
    *value++ = '\0';
    const char **const fields[] = { &c->socket,           &c->url,      &c->ca_file,
                                    &c->certificate_file, &c->key_file, &c->token_file };
    static const char *const names[] = { "socket", "url", "ca", "certificate", "key", "token" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(option, names[i]) == 0) {
            *fields[i] = value;
        }
    }
    if (strcmp(option, "timeout") == 0) {
        c->timeout_ms = (unsigned)strtoul(value, NULL, 10);
    }
}

int main(int argc, char **argv) {
    static char line[LINE_BYTES];
    struct keyd_service_config config = { .socket = NULL };
    for (int i = 1; i < argc; i++) {
        configure(&config, argv[i]);
    }
    const enum keyd_err err = keyd_service_open(&config, &service);
    if (err != KEYD_OK) {
        printf("%s %s\n", keyd_err_name(err), keyd_detail());
        return 1;
    }
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *rest = line;
        line[strcspn(line, "\n")] = '\0';
        for (n_words = 0; n_words < WORDS_MAX && rest != NULL; n_words++) {
            words[n_words] = strsep(&rest, " ");
        }
        const char *name = words[0];
        if (!keys(name) && !operations(name) && !secrets(name) && !channel(name) &&
            !service_itself(name) && !objects(name)) {
            printf("unknown %s", name);
        }
        printf("\n");
        fflush(stdout);
    }
    keyd_service_close(service);
    return 0;
}
