// SPDX-License-Identifier: Apache-2.0
// fake_bootstrap.c: the functions of keyd/bootstrap.h, without a bootstrap server.
#include "keyd/bootstrap.h"

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

enum kd_err kd_bootstrap_certify(struct kd_service *s KD_UNUSED,
                                 const struct kd_device_proof *proof KD_UNUSED,
                                 struct kd_bytes request KD_UNUSED, bool is_renewal KD_UNUSED,
                                 kd_bootstrap_done *done KD_UNUSED, void *arg KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_chain(const struct kd_service *s KD_UNUSED,
                               struct kd_bootstrap_info *out KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_find(const struct kd_service *s KD_UNUSED, const char *server KD_UNUSED,
                              const char *device KD_UNUSED, struct kd_bytes *der KD_UNUSED) {
    return KD_ERR_NO_DEVICE;
}

enum kd_err kd_bootstrap_attributes(struct kd_service *s KD_UNUSED, struct kd_buf *out KD_UNUSED) {
    return KD_ERR_CONFIG;
}

enum kd_err kd_bootstrap_provision(struct kd_service *s KD_UNUSED,
                                   const struct kd_device_proof *proof KD_UNUSED,
                                   struct kd_provision *out KD_UNUSED) {
    return KD_ERR_CONFIG;
}
