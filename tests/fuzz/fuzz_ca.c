// SPDX-License-Identifier: Apache-2.0
// fuzz_ca.c: what devices and operators give to the CA.  The first byte says what the rest is: a
// certificate request (DER), base64 with a request in it (EST), or the CA's file (PEM).
#include "fuzz.h"

#include "ca/ca.h"

#include <stdlib.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void read_request(struct kd_bytes der) {
    static const struct kd_ca_names names = { .device = "pump-3", .server = "hub" };
    struct kd_ca_point point = { 0 };
    const char *why = NULL;
    const enum kd_err r = kd_ca_read_request(der, &names, &point, &why);
    must(r != KD_ERR_BAD_CSR || why != NULL);
    must(r != KD_OK || point.n == 65 || point.n == 97);
}

static void read_base64(struct kd_bytes text) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(KD_CA_CSR_MAX_BYTES);
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(2 * KD_CA_CSR_MAX_BYTES + 64);
    kd_auto(buf) struct kd_buf twice = KD_BUF_INIT(KD_CA_CSR_MAX_BYTES);
    if (kd_ca_read_base64(text, &der) != KD_OK) {
        return;
    }
    must(kd_ca_put_base64(kd_buf_get(&der), &again) == KD_OK);
    must(der.n == 0 || (kd_ca_read_base64(kd_buf_get(&again), &twice) == KD_OK &&
                        kd_bytes_equal(kd_buf_get(&der), kd_buf_get(&twice))));
    read_request(kd_buf_get(&der));
}

static void read_chain(struct kd_bytes pem) {
    struct kd_ca_chain chain = { 0 };
    const char *why = NULL;
    const enum kd_err r = kd_ca_read_chain(pem, &chain, &why);
    if (r == KD_OK) {
        kd_ca_chain_wipe(&chain);
    } else {
        must(r == KD_ERR_NO_MEMORY || why != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n == 0) {
        return 0;
    }
    const struct kd_bytes rest = { data + 1, n - 1 };
    if (data[0] % 3 == 0) {
        read_request(rest);
    } else if (data[0] % 3 == 1) {
        read_base64(rest);
    } else {
        read_chain(rest);
    }
    return 0;
}
