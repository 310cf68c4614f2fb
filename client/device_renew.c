// SPDX-License-Identifier: Apache-2.0
// device_renew.c: what keeps a device's credentials good: its own certificate, renewed before it
// expires, and what it knows of its server, asked again where the server has another certificate.
// By who renews the session, without the lock.
#include "client/device_boot.h"
#include "client/device_detail.h"
#include "client/device_home.h"
#include "client/device_state.h"

#include <stdio.h>
#include <string.h>

enum { PAUSE_MS = 60000 }; // between two questions to the bootstrap server that can wait

// ---- who is asked ------------------------------------------------------------

struct asked {
    char url[KD_HOME_LINE_BYTES], uri[KD_HOME_LINE_BYTES];
    char key_file[KD_HOME_PATH_BYTES], ca_file[KD_HOME_PATH_BYTES];
    EVP_PKEY *key;
    struct kd_boot boot;
};

KD_COLD static enum keyd_err find_bootstrap(const struct keyd_device *d, struct asked *a) {
    const char *directory = d->credentials.directory;
    *a = (struct asked) { .key = NULL };
    kd_home_read_line(directory, KD_HOME_BOOTSTRAP, a->url);
    kd_home_read_line(directory, KD_HOME_URI, a->uri);
    const char *id = strrchr(a->uri, '/');
    if (a->url[0] == '\0' || id == NULL) {
        return kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" does not say who the bootstrap server is.",
                              directory);
    }
    a->boot = (struct kd_boot) {
        .url = a->url,
        .ca_file = kd_home_has(directory, KD_HOME_TRUSTED)
                       ? kd_home_path(directory, KD_HOME_TRUSTED, a->ca_file)
                       : NULL,
        .id = id + 1,
        .certificate = kd_buf_get(&d->credentials.own_cert),
        .key_file = kd_home_path(directory, KD_HOME_KEY, a->key_file),
        .timeout_ms = d->timeout_ms,
    };
    a->key = kd_home_read_key(directory);
    return a->key != NULL ? KEYD_OK
                          : kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" holds no key.", a->key_file);
}

// ---- the own certificate -------------------------------------------------------

// What cannot be written is used all the same: the next start finds it at its URI.
KD_COLD static void write_own(const char *directory, struct kd_bytes der) {
    static const char *const names[] = { KD_HOME_CERTIFICATE };
    if (kd_home_stage_certificate(directory, KD_HOME_CERTIFICATE, der) == KEYD_OK) {
        (void)kd_home_commit(directory, names, KD_COUNT_OF(names));
    }
}

static enum keyd_err renew_by_program(const struct kd_device_credentials *c, struct kd_buf *der) {
    size_t n = 0;
    uint8_t *p = kd_buf_extend(der, KD_DEVICE_CERTIFICATE_MAX_BYTES);
    if (p == NULL) {
        return KEYD_ERR_MEMORY;
    }
    const bool is_there =
        c->renew(c->renew_arg, p, KD_DEVICE_CERTIFICATE_MAX_BYTES, &n) == 0 && n <= der->n;
    der->n = is_there ? n : 0;
    return der->n > 0 ? KEYD_OK : KEYD_ERR_EXPIRED;
}

KD_COLD static enum keyd_err renew_by_bootstrap(const struct keyd_device *d, struct kd_buf *der) {
    struct asked a;
    enum keyd_err r = find_bootstrap(d, &a);
    r = r == KEYD_OK ? kd_boot_enroll(&a.boot, a.key, der) : r;
    if (r == KEYD_ERR_REFUSED) { // a later one has been used, and could not be written
        r = kd_boot_fetch(&a.boot, a.uri, a.key, der);
    }
    EVP_PKEY_free(a.key);
    return r;
}

static enum keyd_err renew(struct keyd_device *d, uint64_t now_s) {
    struct kd_device_credentials *c = &d->credentials;
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    enum keyd_err r = c->renew != NULL       ? renew_by_program(c, &der)
                      : c->directory != NULL ? renew_by_bootstrap(d, &der)
                                             : KEYD_ERR_EXPIRED;
    r = r == KEYD_OK ? kd_device_take_own(c, kd_buf_get(&der), now_s, true) : r;
    if (r == KEYD_OK && c->renew == NULL) {
        write_own(c->directory, kd_buf_get(&der));
    }
    return r;
}

// What can be better the next time keeps its name.
static enum keyd_err expired(enum keyd_err r) {
    char why[256];
    const bool may_pass = r == KEYD_ERR_TRANSPORT || r == KEYD_ERR_TIMEOUT || r == KEYD_ERR_BUSY ||
                          r == KEYD_ERR_MEMORY || r == KEYD_ERR_FILE;
    snprintf(why, sizeof(why), "%s",
             keyd_detail()[0] != '\0' || r == KEYD_ERR_EXPIRED ? keyd_detail() : keyd_err_text(r));
    kd_detail_begin();
    return kd_detail_fail(may_pass ? r : KEYD_ERR_EXPIRED,
                          "The own certificate has expired, and there is no new one.%s%s",
                          why[0] == '\0' ? "" : " ", why);
}

// A05: the expiry is seen before the URI is sent.
enum keyd_err kd_device_check_own(struct keyd_device *d) {
    const uint64_t now_s = kd_device_clock_ms(&d->clock) / 1000;
    const uint64_t mono_ms = kd_clock_mono_ms();
    const enum kd_device_age age = kd_device_own_age(&d->credentials, now_s);
    if (age == KD_DEVICE_AGE_GOOD || (age == KD_DEVICE_AGE_LATE && mono_ms < d->renew_at_ms)) {
        return KEYD_OK;
    }
    d->renew_at_ms = mono_ms + PAUSE_MS;
    const enum keyd_err r = renew(d, now_s);
    if (r != KEYD_OK && age == KD_DEVICE_AGE_LATE) {
        kd_detail_begin(); // there is time left
        return KEYD_OK;
    }
    return r == KEYD_OK ? KEYD_OK : expired(r);
}

// ---- what is known of the server -------------------------------------------------

KD_COLD static void write_server(const char *directory, const struct kd_boot_server *s) {
    static const char *const names[] = { KD_HOME_SERVER, KD_HOME_URI, KD_HOME_ENVELOPE };
    if (kd_home_stage_server(directory, s->certificate, s->uri, s->envelope) == KEYD_OK) {
        (void)kd_home_commit(directory, names, KD_COUNT_OF(names));
    }
}

// The one that the server has, where it is later than ours: an answer was lost, or a file could
// not be written.
KD_COLD static void find_own(struct keyd_device *d, struct asked *a, bool *has_changed) {
    struct kd_device_credentials *c = &d->credentials;
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_DEVICE_CERTIFICATE_MAX_BYTES);
    const uint64_t now_s = kd_device_clock_ms(&d->clock) / 1000;
    if (kd_boot_fetch(&a->boot, a->uri, a->key, &der) == KEYD_OK &&
        kd_device_take_own(c, kd_buf_get(&der), now_s, false) == KEYD_OK) {
        a->boot.certificate = kd_buf_get(&c->own_cert);
        write_own(c->directory, kd_buf_get(&der));
        *has_changed = true;
    }
}

KD_COLD enum keyd_err kd_device_ask_bootstrap(struct keyd_device *d, bool *has_changed) {
    struct kd_device_credentials *c = &d->credentials;
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_BOOT_ANSWER_MAX_BYTES);
    struct kd_boot_server server;
    struct asked a;
    bool is_new = false;
    if (!c->has_home) {
        return kd_detail_fail(KEYD_ERR_ARGUMENT, "The device's files are not those of a directory "
                                                 "that keyd_provision has filled.");
    }
    enum keyd_err r = find_bootstrap(d, &a);
    if (r == KEYD_OK) {
        find_own(d, &a, has_changed);
        r = kd_boot_ask(&a.boot, &answer, &server);
    }
    EVP_PKEY_free(a.key);
    if (r != KEYD_OK) {
        return r;
    }
    pthread_mutex_lock(&d->lock); // envelopes are sealed meanwhile
    r = kd_device_take_server(c, server.certificate, server.envelope, &is_new);
    pthread_mutex_unlock(&d->lock);
    if (is_new || strcmp(server.uri, a.uri) != 0) {
        write_server(c->directory, &server);
    }
    *has_changed = *has_changed || is_new;
    return r;
}

// Anybody can answer a handshake as if he were another server, so it is asked once in a while.
KD_COLD bool kd_device_heal(struct keyd_device *d) {
    const uint64_t mono_ms = kd_clock_mono_ms();
    bool has_changed = false;
    d->renew_at_ms = 0; // the server may have a certificate of ours that we have not
    if (!d->credentials.has_home || mono_ms < d->heal_at_ms) {
        return false;
    }
    d->heal_at_ms = mono_ms + PAUSE_MS;
    (void)kd_device_ask_bootstrap(d, &has_changed); // half of it may be enough
    return has_changed;
}
