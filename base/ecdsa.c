// SPDX-License-Identifier: Apache-2.0
// ecdsa.c: see ecdsa.h.  Signatures are public.
#include "base/ecdsa.h"

#include <string.h>

enum { TAG_INTEGER = 0x02, TAG_SEQUENCE = 0x30 };

static bool is_raw_length(size_t n) {
    return n == 64 || n == KD_ECDSA_RAW_MAX_BYTES;
}

// X.690 8.3: as few bytes as the number needs, and a zero before a first bit that is set.
static size_t put_number(const uint8_t *p, size_t n, uint8_t *out) {
    while (n > 1 && p[0] == 0) {
        p++;
        n--;
    }
    const size_t pad = p[0] >> 7;
    out[0] = TAG_INTEGER;
    out[1] = (uint8_t)(pad + n);
    out[2] = 0;
    memcpy(out + 2 + pad, p, n);
    return 2 + pad + n;
}

size_t kd_ecdsa_to_der(struct kd_bytes raw, uint8_t out[static KD_ECDSA_DER_MAX_BYTES]) {
    if (!is_raw_length(raw.n)) {
        return 0;
    }
    const size_t half = raw.n / 2;
    size_t n = 2;
    n += put_number(raw.p, half, out + n);
    n += put_number(raw.p + half, half, out + n);
    out[0] = TAG_SEQUENCE;
    out[1] = (uint8_t)(n - 2); // at most 102, so its length is one byte
    return n;
}

// All lengths are below 128, so each is one byte; one of a longer form reads as too long.
static bool read_number(struct kd_reader *in, uint8_t *out, size_t half) {
    const bool is_integer = kd_read_u8(in) == TAG_INTEGER;
    struct kd_bytes v = kd_read_block8(in);
    if (!is_integer || in->failed || v.n == 0 || v.p[0] >> 7 != 0) {
        return false;
    }
    if (v.n > 1 && v.p[0] == 0) {
        if (v.p[1] >> 7 == 0) {
            return false; // the zero is not needed
        }
        v.p++;
        v.n--;
    }
    if (v.n > half) {
        return false;
    }
    memset(out, 0, half - v.n);
    memcpy(out + half - v.n, v.p, v.n);
    return true;
}

bool kd_ecdsa_from_der(struct kd_bytes der, uint8_t *out, size_t n) {
    uint8_t raw[KD_ECDSA_RAW_MAX_BYTES];
    struct kd_reader in = kd_reader_of(der);
    const bool is_sequence = kd_read_u8(&in) == TAG_SEQUENCE;
    const size_t n_numbers = kd_read_u8(&in);
    if (!is_raw_length(n) || !is_sequence || n_numbers != in.n) {
        return false;
    }
    if (!read_number(&in, raw, n / 2) || !read_number(&in, raw + n / 2, n / 2) ||
        kd_reader_finish(&in) != KD_OK) {
        return false;
    }
    memcpy(out, raw, n);
    return true;
}
