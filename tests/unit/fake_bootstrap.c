// SPDX-License-Identifier: Apache-2.0
// fake_bootstrap.c: the functions of keyd/bootstrap.h, without a bootstrap server.  Without `ca`
// all of it is off; fake_service.h says what is there with it.
#include "keyd/bootstrap.h"

#include "tests/unit/fake_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *kd_device_usage_name(enum kd_device_usage usage) {
    return usage == KD_DEVICE_SIGN ? "sign" : "agree";
}

bool kd_device_usage_parse(const char *name, enum kd_device_usage *out) {
    *out = strcmp(name, "agree") == 0 ? KD_DEVICE_AGREE : KD_DEVICE_SIGN;
    return *out == KD_DEVICE_AGREE || strcmp(name, "sign") == 0;
}

const char *kd_device_state_name(enum kd_device_state state KD_UNUSED) {
    return "enrolled";
}

bool kd_device_state_parse(const char *name, enum kd_device_state *out) {
    *out = KD_DEVICE_ENROLLED;
    return strcmp(name, "enrolled") == 0;
}

// ---- for operators ---------------------------------------------------------

struct told {
    struct kd_post post;
    struct kd_service *s;
    kd_device_done *device_done;
    kd_bootstrap_done *paper_done;
    void *arg;
    const char *secret;
    bool is_delete; // no device is told
};

static struct kd_device_info device_of(const struct kd_service *s) {
    return (struct kd_device_info) { .id = "d",
                                     .relation = "site",
                                     .state = KD_DEVICE_ACTIVE,
                                     .created_ms = 500,
                                     .secret_until_ms = 1500,
                                     .uri = "https://pki.example/c/k/d",
                                     .certificate = s->ca,
                                     .serial = "0a" };
}

static void on_told(struct kd_post *post) {
    struct told *t = (struct told *)post;
    const enum kd_err err = t->s->later;
    const struct kd_device_info device = device_of(t->s);
    if (t->device_done != NULL) {
        t->device_done(t->arg, err, t->s->detail, err == KD_OK && !t->is_delete ? &device : NULL,
                       t->secret);
    } else {
        t->paper_done(t->arg, err, t->s->detail, err == KD_OK ? t->s->ca : KD_BYTES_NONE);
    }
    free(t);
}

static enum kd_err tell_later(struct kd_service *s, const char *call, const char *name,
                              const struct told *what) {
    if (s->ca.n == 0) {
        return KD_ERR_CONFIG;
    }
    struct told *t = malloc(sizeof(*t));
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *t = *what;
    t->post = (struct kd_post) { .fn = on_told };
    t->s = s;
    s->n_calls++;
    snprintf(s->call, sizeof(s->call), "%s", call);
    snprintf(s->name, sizeof(s->name), "%s", name);
    kd_loop_post(s->loop, &t->post);
    return KD_OK;
}

enum kd_err kd_bootstrap_enrol(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                               const struct kd_device_spec *spec, kd_device_done *done, void *arg) {
    const struct told t = { .device_done = done, .arg = arg, .secret = "once" };
    return tell_later(s, "enrol", spec->id, &t);
}

uint32_t kd_bootstrap_secret_lifetime_max(const struct kd_service *s KD_UNUSED) {
    return FAKE_SECRET_LIFETIME_MAX;
}

enum kd_err kd_bootstrap_new_secret(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                                    const char *id, uint32_t lifetime_sec KD_UNUSED,
                                    kd_device_done *done, void *arg) {
    const struct told t = { .device_done = done, .arg = arg, .secret = "once" };
    return tell_later(s, "new-secret", id, &t);
}

enum kd_err kd_bootstrap_revoke(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                                const char *id, kd_device_done *done, void *arg) {
    const struct told t = { .device_done = done, .arg = arg, .secret = "" };
    return tell_later(s, "revoke", id, &t);
}

enum kd_err kd_bootstrap_delete(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                                const char *id, kd_device_done *done, void *arg) {
    const struct told t = { .device_done = done, .arg = arg, .secret = "", .is_delete = true };
    return tell_later(s, "delete-device", id, &t);
}

enum kd_err kd_bootstrap_device(const struct kd_service *s,
                                const struct kd_caller *caller KD_UNUSED, const char *id,
                                struct kd_device_info *out) {
    if (s->ca.n == 0) {
        return KD_ERR_CONFIG;
    }
    *out = device_of(s);
    return strcmp(id, "d") == 0 ? KD_OK : KD_ERR_NO_DEVICE;
}

size_t kd_bootstrap_devices(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                            const char *after, const enum kd_device_state *only KD_UNUSED,
                            struct kd_device_info *out, size_t max) {
    if (s->ca.n == 0 || after != NULL || max == 0) {
        return 0;
    }
    out[0] = device_of(s);
    return 1;
}

enum kd_err kd_bootstrap_show(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                              struct kd_bootstrap_info *out) {
    const enum kd_err err = kd_bootstrap_chain(s, out);
    out->key = "ca";
    out->base_uri = "https://pki.example";
    out->n_devices = 1;
    return err;
}

enum kd_err kd_bootstrap_make(struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                              enum kd_bootstrap_paper paper KD_UNUSED, const char *subject,
                              kd_bootstrap_done *done, void *arg) {
    const struct told t = { .paper_done = done, .arg = arg };
    return tell_later(s, "make", subject, &t);
}

// ---- for devices -----------------------------------------------------------

struct certified {
    struct kd_post post;
    struct kd_service *s;
    kd_bootstrap_done *done;
    void *arg;
};

static bool is_device(const struct kd_device_proof *proof) {
    return proof->certificate.n > 0 || (proof->id != NULL && strcmp(proof->id, "d") == 0 &&
                                        kd_bytes_equal(proof->secret, kd_bytes_of_text("once")));
}

static void on_certified(struct kd_post *post) {
    struct certified *w = (struct certified *)post;
    const enum kd_err err = w->s->later;
    w->done(w->arg, err, w->s->detail, err == KD_OK ? w->s->ca : KD_BYTES_NONE);
    free(w);
}

enum kd_err kd_bootstrap_certify(struct kd_service *s, const struct kd_device_proof *proof,
                                 struct kd_bytes request, bool is_renewal, kd_bootstrap_done *done,
                                 void *arg) {
    snprintf(s->call, sizeof(s->call), "%s", is_renewal ? "renew" : "certify");
    snprintf(s->name, sizeof(s->name), "%s", proof->id == NULL ? "" : proof->id);
    snprintf(s->text, sizeof(s->text), "%.*s|%.*s", (int)proof->secret.n,
             (const char *)proof->secret.p, (int)request.n, (const char *)request.p);
    if (s->ca.n == 0) {
        return KD_ERR_CONFIG;
    }
    if (!is_device(proof)) {
        return KD_ERR_ENROLMENT;
    }
    if (request.n == 0 || request.p[0] != '0') {
        return KD_ERR_BAD_CSR;
    }
    struct certified *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *w = (struct certified) { { .fn = on_certified }, s, done, arg };
    s->n_calls++;
    kd_loop_post(s->loop, &w->post);
    return KD_OK;
}

enum kd_err kd_bootstrap_chain(const struct kd_service *s, struct kd_bootstrap_info *out) {
    *out = (struct kd_bootstrap_info) { .server = "k",
                                        .n_certificates = 1,
                                        .certificates = { s->ca } };
    return s->ca.n == 0 ? KD_ERR_CONFIG : KD_OK;
}

enum kd_err kd_bootstrap_find(const struct kd_service *s, const char *server, const char *device,
                              struct kd_bytes *der) {
    *der = s->ca;
    return s->ca.n > 0 && strcmp(server, "k") == 0 && strcmp(device, "k") == 0 ? KD_OK
                                                                               : KD_ERR_NO_DEVICE;
}

enum kd_err kd_bootstrap_attributes(struct kd_service *s, struct kd_buf *out) {
    kd_buf_text(out, "0");
    kd_buf_u8(out, 0);
    return s->ca.n == 0 ? KD_ERR_CONFIG : kd_buf_finish(out);
}

enum kd_err kd_bootstrap_provision(struct kd_service *s, const struct kd_device_proof *proof,
                                   struct kd_provision *out) {
    if (s->ca.n == 0) {
        return KD_ERR_CONFIG;
    }
    if (!is_device(proof)) {
        return KD_ERR_ENROLMENT;
    }
    *out = (struct kd_provision) { .device = { .id = "d",
                                               .relation = "site",
                                               .uri = "https://pki.example/c/k/d",
                                               .certificate = s->ca },
                                   .server = "k",
                                   .server_certificate = s->ca,
                                   .hash = "sha-256/64",
                                   .fingerprint = kd_bytes_of_text("12345678"),
                                   .n_suites = 2,
                                   .suites = { 3, 2 },
                                   .n_methods = 1,
                                   .profile = "resident",
                                   .envelope_key = { fake_point, sizeof(fake_point) } };
    return kd_bootstrap_chain(s, &out->ca);
}
