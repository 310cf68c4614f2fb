// SPDX-License-Identifier: Apache-2.0
// fuzz_file.c: files.  The first byte says which: keyd.conf, a policy, an audit log (as keydctl
// reads it, and as keyd at its start), keyd-gateway.conf, or keyd.conf as keydctl reads it.  Of
// configurations and policies each refusal says where and why.
#include "fuzz.h"

#include "client/audit_check.h"
#include "client/settings.h"
#include "gateway/config.h"
#include "keyd/audit_scan.h"
#include "keyd/config.h"
#include "keyd/policy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void read_config(const char *path) {
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(1 << 20);
    kd_auto(config) struct kd_config *config = NULL;
    const enum kd_err r = kd_config_read(path, &errors, &config);
    must((r == KD_OK) == (config != NULL));
    must(r != KD_ERR_CONFIG || errors.n > 0);
}

static void read_policy(const char *path) {
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(1 << 20);
    kd_auto(policy) struct kd_policy *policy = NULL;
    const enum kd_err r = kd_policy_read(path, &errors, &policy);
    must((r == KD_OK) == (policy != NULL));
    must(r != KD_ERR_CONFIG || errors.n > 0);
}

static void on_fault(void *n_faults, const struct kd_audit_at *at KD_UNUSED, const char *what) {
    must(what[0] != '\0');
    ++*(uint64_t *)n_faults;
}

static bool on_seal(void *n_faults KD_UNUSED, const struct kd_audit_at *at KD_UNUSED,
                    const struct kd_audit_seal *seal) {
    must(seal->key != NULL && seal->mac.n <= 64);
    return false;
}

static void read_audit_log(const char *path) {
    uint64_t n_faults = 0;
    uint64_t first = 0;
    const char *at = NULL;
    const struct kd_audit_checker checker = { .arg = &n_faults,
                                              .fault = on_fault,
                                              .seal = on_seal };
    struct kd_audit_result result;
    must(kd_audit_check(&path, 1, &checker, &result, &at) == KD_OK);
    must(result.faults == n_faults && result.seals == 0);
    must(kd_audit_first_seq(path, &first) != KD_OK || first > 0);
}

// What keyd goes on from is no line that it has not seen.
static void scan_audit_log(const char *path) {
    static const struct kd_chain none;
    static struct kd_audit_scan scan;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const off_t size = lseek(fd, 0, SEEK_END);
    scan = (struct kd_audit_scan) { .n_lines = 0 };
    must(fd >= 0 && kd_audit_scan(fd, &none, &scan) == KD_OK);
    must(scan.size + scan.n_cut == (uint64_t)size);
    must(scan.bad_line <= scan.n_lines && scan.open.n <= KD_AUDIT_OPEN_MAX);
    close(fd);
}

static void read_gateway_config(const char *path) {
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(1 << 20);
    kd_auto(gateway_config) struct kd_gateway_config *config = NULL;
    const enum kd_err r = kd_gateway_config_read(path, &errors, &config);
    must((r == KD_OK) == (config != NULL));
    must(r != KD_ERR_CONFIG || errors.n > 0);
}

static void read_settings(const char *path) {
    struct kd_settings s = { .file = NULL };
    if (kd_settings_read(path, &s) == KD_OK) {
        must(s.n_environment <= KD_SETTINGS_ENV_MAX);
        kd_settings_wipe(&s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const readers[])(const char *) = { read_config,         read_policy,
                                                     read_audit_log,      scan_audit_log,
                                                     read_gateway_config, read_settings };
    char path[64];
    if (n == 0) {
        return 0;
    }
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data + 1, n - 1) == (ssize_t)n - 1);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    readers[data[0] % KD_COUNT_OF(readers)](path);
    close(fd);
    return 0;
}
