// SPDX-License-Identifier: Apache-2.0
// fuzz_edhoc.c: handshake messages.  The first byte says which message the rest
// is, and of which method; the receiver is at the state where it is due.  The
// plaintexts of 2 to 4 are encrypted first, so that what is behind is reached.
// No input may finish a handshake.
#include "fuzz.h"

#include "tests/unit/edhoc_pair.h"

#include <stdlib.h>
#include <string.h>

enum target {
    MESSAGE_1,
    MESSAGE_2,
    PLAINTEXT_2,
    MESSAGE_3,
    PLAINTEXT_3,
    MESSAGE_4,
    PLAINTEXT_4,
    ERROR,
    N_TARGETS,
};

static void check(bool is_right) {
    if (!is_right) {
        abort();
    }
}

// What was written in place of message n is what the receiver gets.
static void put_plaintext_2(struct pair *p, struct kd_bytes text, struct kd_buf *out) {
    struct kd_bytes g_y = kd_point_get_x(&p->r.e->own_point);
    kd_cbor_put_bytes_head(out, g_y.n + text.n);
    kd_buf_put(out, g_y.p, g_y.n);
    uint8_t *to = kd_buf_extend(out, text.n);
    check(to != NULL && kd_edhoc_crypt_2(p->r.e, text, to) == KD_OK);
}

static void give(struct pair *p, enum target target, struct kd_bytes in) {
    static const int message_of[] = { 1, 2, 2, 3, 3, 4, 4, 0 };
    int n = message_of[target];
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(2 * KD_EDHOC_MESSAGE_MAX_BYTES);
    if (n > 1) {
        check(pair_run(p, 1, n - 1) == KD_OK && pair_write(p, n, NULL) == KD_OK);
    }
    if (target == PLAINTEXT_2 && in.n > 0) {
        put_plaintext_2(p, in, &m);
    } else if (target == PLAINTEXT_3) {
        check(kd_edhoc_seal(p->i.e, KD_CIPHER_3, in, &m) == KD_OK);
    } else if (target == PLAINTEXT_4) {
        check(kd_edhoc_seal(p->r.e, KD_CIPHER_4, in, &m) == KD_OK);
    } else {
        kd_buf_put(&m, in.p, in.n);
    }
    enum kd_err r = pair_read(p, n, kd_buf_get(&m));
    if (target == MESSAGE_1 && r == KD_OK) {
        r = pair_write(p, 2, NULL);
        check(r == KD_OK);
    } else if (target != PLAINTEXT_4) { // an EAD_4 of the true responder is good
        check(r != KD_OK && kd_err_class(r) != KD_CLASS_BUG);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > KD_EDHOC_MESSAGE_MAX_BYTES) {
        return 0;
    }
    enum target target = (enum target)(data[0] % N_TARGETS);
    struct kd_bytes in = { data + 1, size - 1 };
    if (target == ERROR) {
        struct kd_edhoc_error error;
        struct kd_idcred id;
        (void)!kd_edhoc_error_parse(in, &error);
        (void)!kd_idcred_parse(in, &id);
        return 0;
    }
    const struct pair_shape shape = { data[0] / N_TARGETS % 4, 2, KD_IDCRED_X5U, KD_IDCRED_X5T };
    kd_auto(pair) struct pair *p = pair_new(&shape);
    pair_open(p);
    give(p, target, in);
    return 0;
}
