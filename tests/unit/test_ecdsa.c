// SPDX-License-Identifier: Apache-2.0
#include "base/base.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

static json_t *load(void) {
    return vectors_load("ecdsa-der/ecdsa_der.json");
}

static void refused(const json_t *row, size_t n) {
    static const uint8_t before[KD_ECDSA_RAW_MAX_BYTES] = { 7, 7, 7 };
    uint8_t raw[KD_ECDSA_RAW_MAX_BYTES];
    kd_auto(vectors_bytes) struct vectors_bytes der = vectors_hex(row, "der");
    memcpy(raw, before, sizeof(raw));
    ck_assert_msg(!kd_ecdsa_from_der(vectors_get(der), raw, n), "took %s",
                  vectors_text(row, "why"));
    ck_assert_mem_eq(raw, before, sizeof(raw));
}

START_TEST(refuses_what_is_not_der_of_two_numbers) {
    kd_auto(json) json_t *all = load();
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(all, "refused"), i, row) {
        refused(row, 64);
        refused(row, 96);
    }
    ck_assert_uint_gt(i, 20);
    json_array_foreach(json_object_get(all, "refused_of_p256"), i, row) {
        uint8_t raw[KD_ECDSA_RAW_MAX_BYTES];
        refused(row, 64);
        kd_auto(vectors_bytes) struct vectors_bytes der = vectors_hex(row, "der");
        ck_assert(kd_ecdsa_from_der(vectors_get(der), raw, 96));
    }
    ck_assert_uint_gt(i, 0);
}
END_TEST

START_TEST(refuses_each_prefix_and_a_byte_more) {
    kd_auto(json) json_t *all = load();
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(all, "signatures"), i, row) {
        uint8_t longer[KD_ECDSA_DER_MAX_BYTES + 1] = { 0 };
        uint8_t raw[KD_ECDSA_RAW_MAX_BYTES];
        kd_auto(vectors_bytes) struct vectors_bytes der = vectors_hex(row, "der");
        memcpy(longer, der.p, der.n);
        for (size_t n = 0; n <= der.n + 1; n++) {
            ck_assert(kd_ecdsa_from_der((struct kd_bytes) { longer, n }, raw, 96) == (n == der.n));
        }
    }
}
END_TEST

START_TEST(no_other_lengths_are_signatures) {
    static const size_t lengths[] = { 0, 1, 63, 65, 95, 97, 128 };
    static const uint8_t der[] = { 0x30, 6, 2, 1, 1, 2, 1, 2 };
    uint8_t raw[128] = { 0 };
    uint8_t out[KD_ECDSA_DER_MAX_BYTES];
    for (size_t i = 0; i < KD_COUNT_OF(lengths); i++) {
        ck_assert_uint_eq(kd_ecdsa_to_der((struct kd_bytes) { raw, lengths[i] }, out), 0);
        ck_assert(!kd_ecdsa_from_der((struct kd_bytes) { der, sizeof(der) }, raw, lengths[i]));
    }
}
END_TEST

START_TEST(signatures_go_there_and_back) {
    kd_auto(json) json_t *all = load();
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(all, "signatures"), i, row) {
        uint8_t out[KD_ECDSA_DER_MAX_BYTES];
        uint8_t back[KD_ECDSA_RAW_MAX_BYTES];
        kd_auto(vectors_bytes) struct vectors_bytes raw = vectors_hex(row, "raw");
        kd_auto(vectors_bytes) struct vectors_bytes der = vectors_hex(row, "der");
        const struct kd_bytes got = { out, kd_ecdsa_to_der(vectors_get(raw), out) };
        vectors_same(vectors_text(row, "why"), got, vectors_get(der));
        ck_assert(kd_ecdsa_from_der(got, back, raw.n));
        vectors_same(vectors_text(row, "why"), (struct kd_bytes) { back, raw.n }, vectors_get(raw));
    }
    ck_assert_uint_gt(i, 0);
}
END_TEST

static TCase *tcase_ecdsa(void) {
    TCase *t = tcase_create("ecdsa");
    tcase_add_test(t, refuses_what_is_not_der_of_two_numbers);
    tcase_add_test(t, refuses_each_prefix_and_a_byte_more);
    tcase_add_test(t, no_other_lengths_are_signatures);
    tcase_add_test(t, signatures_go_there_and_back);
    return t;
}

UNIT_MAIN("ecdsa", tcase_ecdsa())
