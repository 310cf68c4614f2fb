// SPDX-License-Identifier: Apache-2.0
// fake_bootstrap.c: the functions of keyd/bootstrap.h, without a bootstrap server: what operators
// ask for is off, what devices ask for has a fake of its own (fake_service.h).
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

enum kd_err kd_bootstrap_enrol(struct kd_service *s KD_UNUSED,
                               const struct kd_caller *caller KD_UNUSED,
                               const struct kd_device_spec *spec KD_UNUSED,
                               kd_device_done *done KD_UNUSED, void *arg KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_new_secret(struct kd_service *s KD_UNUSED,
                                    const struct kd_caller *caller KD_UNUSED,
                                    const char *id KD_UNUSED, uint32_t lifetime_sec KD_UNUSED,
                                    kd_device_done *done KD_UNUSED, void *arg KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_revoke(struct kd_service *s KD_UNUSED,
                                const struct kd_caller *caller KD_UNUSED, const char *id KD_UNUSED,
                                kd_device_done *done KD_UNUSED, void *arg KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_device(const struct kd_service *s KD_UNUSED,
                                const struct kd_caller *caller KD_UNUSED, const char *id KD_UNUSED,
                                struct kd_device_info *out KD_UNUSED) {
    return KD_ERR_CONFIG;
}

size_t kd_bootstrap_devices(const struct kd_service *s KD_UNUSED,
                            const struct kd_caller *caller KD_UNUSED, const char *after KD_UNUSED,
                            struct kd_device_info *out KD_UNUSED, size_t max KD_UNUSED) {
    return 0;
}

enum kd_err kd_bootstrap_show(const struct kd_service *s KD_UNUSED,
                              const struct kd_caller *caller KD_UNUSED,
                              struct kd_bootstrap_info *out KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_make(struct kd_service *s KD_UNUSED,
                              const struct kd_caller *caller KD_UNUSED,
                              enum kd_bootstrap_paper paper KD_UNUSED,
                              const char *subject KD_UNUSED, kd_bootstrap_done *done KD_UNUSED,
                              void *arg KD_UNUSED) {
    return KD_ERR_CONFIG;
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
    return s->ca.n == 0 ? KD_ERR_CONFIG : KD_OK;
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
