// SPDX-License-Identifier: Apache-2.0
// suite.c: see suite.h.
#include "channel/suite.h"

#include <assert.h>

static const struct kd_suite suites[] = {
    { 2, KD_AEAD_CCM_16_64_128, KD_MD_SHA256, 8, KD_CURVE_P256 },
    { 3, KD_AEAD_CCM_16_128_128, KD_MD_SHA256, 16, KD_CURVE_P256 },
    { 24, KD_AEAD_A256GCM, KD_MD_SHA384, 16, KD_CURVE_P384 },
};

const struct kd_suite *kd_suite_get(int id) {
    for (size_t i = 0; i < KD_COUNT_OF(suites); i++) {
        if (suites[i].id == id) {
            return &suites[i];
        }
    }
    return NULL;
}

bool kd_suites_has(const struct kd_suites *list, int id) {
    for (size_t i = 0; i < list->n; i++) {
        if (list->ids[i] == id) {
            return true;
        }
    }
    return false;
}

void kd_suites_put(struct kd_buf *out, const struct kd_suites *list) {
    assert(list->n > 0 && list->n <= KD_SUITES_MAX);
    if (list->n > 1) {
        kd_cbor_put_array(out, list->n);
    }
    for (size_t i = 0; i < list->n; i++) {
        kd_cbor_put_int(out, list->ids[i]);
    }
}

void kd_suites_read(struct kd_cbor *c, struct kd_suites *out) {
    struct kd_suites list = { .n = 1 };
    if (kd_cbor_is_next(c, KD_CBOR_ARRAY)) {
        list.n = kd_cbor_read_array(c);
        if (list.n < 2 || list.n > KD_SUITES_MAX) { // RFC 9528 5.2.2: [ 2* int ]
            kd_cbor_fail(c, KD_ERR_HS_MESSAGE);
            return;
        }
    }
    for (size_t i = 0; i < list.n; i++) {
        int64_t id = kd_cbor_read_int(c);
        if (id < INT32_MIN || id > INT32_MAX) {
            kd_cbor_fail(c, KD_ERR_CBOR_RANGE);
        }
        list.ids[i] = (int)id;
    }
    if (c->err == KD_OK) {
        *out = list;
    }
}

enum kd_err kd_suites_offer(const struct kd_suites *own, const struct kd_suites *responder,
                            struct kd_suites *out) {
    struct kd_suites list = { .n = 0 };
    for (size_t i = 0; i < own->n; i++) {
        list.ids[list.n++] = own->ids[i];
        if (kd_suite_get(own->ids[i]) != NULL &&
            (responder == NULL || kd_suites_has(responder, own->ids[i]))) {
            *out = list;
            return KD_OK;
        }
    }
    return KD_ERR_HS_SUITE;
}

enum kd_err kd_suites_accept(const struct kd_suites *own, const struct kd_suites *offer,
                             const struct kd_suite **out) {
    int selected = offer->ids[offer->n - 1];
    for (size_t i = 0; i + 1 < offer->n; i++) {
        if (kd_suites_has(own, offer->ids[i])) {
            return KD_ERR_HS_SUITE;
        }
    }
    const struct kd_suite *suite = kd_suites_has(own, selected) ? kd_suite_get(selected) : NULL;
    if (suite == NULL) {
        return KD_ERR_HS_SUITE;
    }
    *out = suite;
    return KD_OK;
}
