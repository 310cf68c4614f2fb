// SPDX-License-Identifier: Apache-2.0
// record.c: see record.h.
#include "channel/record.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

enum {
    PARAM_KID = 4,
    PARAM_PARTIAL_IV = 6,
    PARTIAL_IV_MAX_BYTES = 5,
    BYTES_HEAD = 0x40, // of a byte string of under 24 bytes, plus their number
    AAD_MAX_BYTES = KD_RECORD_AAD_MAX_BYTES + 32,
    HEAD_MAX_BYTES = 64, // of the plaintext: type, step, code, head of the body
};

// Encodings are deterministic, so what is the same in all records is the same bytes:
// [ << {alg: A256GCM} >>, {kid: ...
static const uint8_t record_start[] = { 0x83, 0x43, 0xa1, 0x01, 0x03, 0xa2, PARAM_KID };
// Enc_structure (RFC 9052 5.3): [ "Encrypt0", << {alg: A256GCM} >>, ...
static const uint8_t structure_start[] = { 0x83, 0x68, 'E', 'n',  'c',  'r',  'y',
                                           'p',  't',  '0', 0x43, 0xa1, 0x01, 0x03 };

static void put_aad(struct kd_buf *out, struct kd_bytes external) {
    kd_buf_put(out, structure_start, sizeof(structure_start));
    kd_cbor_put_bytes(out, external);
}

// RFC 9052 3.1: the Partial IV, padded on the left, XOR the IV.
static void make_nonce(const uint8_t iv[static KD_RECORD_IV_BYTES], uint64_t sequence,
                       uint8_t out[static KD_RECORD_IV_BYTES]) {
    const size_t n_before = KD_RECORD_IV_BYTES - sizeof(sequence);
    uint64_t last;
    memcpy(&last, iv + n_before, sizeof(last));
    last ^= htobe64(sequence);
    memcpy(out, iv, n_before);
    memcpy(out + n_before, &last, sizeof(last));
}

struct direction {
    enum kd_traffic key;
    const uint8_t *iv;
};

static struct direction direction_of(const struct kd_record_end *end, bool sending) {
    bool is_c2s = end->is_client == sending;
    return is_c2s ? (struct direction) { KD_TRAFFIC_C2S, end->ivs.c2s }
                  : (struct direction) { KD_TRAFFIC_S2C, end->ivs.s2c };
}

// ---- seal ------------------------------------------------------------------

// Both byte strings are so short that their heads are of one byte.
static void put_head(struct kd_buf *out, struct kd_bytes id, uint64_t sequence) {
    KD_NO_INIT uint8_t iv[2 + PARTIAL_IV_MAX_BYTES];
    size_t n_iv = 1; // the shortest form: no leading zero, but one byte for 0
    while (n_iv < PARTIAL_IV_MAX_BYTES && sequence >> (8 * n_iv) != 0) {
        n_iv++;
    }
    iv[0] = PARAM_PARTIAL_IV;
    iv[1] = (uint8_t)(BYTES_HEAD + n_iv);
    for (size_t i = 0; i < n_iv; i++) {
        iv[2 + i] = (uint8_t)(sequence >> (8 * (n_iv - 1 - i)));
    }
    kd_buf_put(out, record_start, sizeof(record_start));
    kd_buf_u8(out, (uint8_t)(BYTES_HEAD + id.n));
    kd_buf_put(out, id.p, id.n);
    kd_buf_put(out, iv, 2 + n_iv);
}

// All of the text but the body, which stays where it is.
static enum kd_err put_text_head(const struct kd_record_end *end, uint64_t now_ms,
                                 const struct kd_record *record, struct kd_buf *out) {
    uint64_t step = kd_otp_step(&end->otp, now_ms);
    struct kd_otp_code code;
    enum kd_err r = end->ops->otp_code(end->ctx, &end->otp, step, &code);
    if (r != KD_OK) {
        return r;
    }
    kd_cbor_put_uint(out, (uint64_t)record->type);
    kd_cbor_put_uint(out, step);
    kd_cbor_put_item(
        out, &(struct kd_cbor_item) { .type = KD_CBOR_TEXT, .bytes = { code.digits, code.n } });
    kd_cbor_put_bytes_head(out, record->body.n);
    return kd_buf_finish(out);
}

static enum kd_err seal(const struct kd_record_end *end, uint64_t sequence, struct kd_bytes aad,
                        struct kd_bytes text_head, struct kd_bytes body, struct kd_buf *out) {
    KD_NO_INIT uint8_t bytes[AAD_MAX_BYTES];
    struct kd_buf structure = KD_BUF_OVER(bytes);
    put_aad(&structure, aad);
    enum kd_err r = kd_buf_finish(&structure);
    if (r != KD_OK) {
        return r;
    }
    struct direction d = direction_of(end, true);
    uint8_t nonce[KD_RECORD_IV_BYTES];
    make_nonce(d.iv, sequence, nonce);
    size_t n = text_head.n + body.n + KD_RECORD_TAG_BYTES;
    put_head(out, end->id, sequence);
    kd_cbor_put_bytes_head(out, n);
    uint8_t *to = kd_buf_extend(out, n);
    return to == NULL ? kd_buf_finish(out)
                      : end->ops->seal(end->ctx, d.key, nonce, kd_buf_get(&structure), text_head,
                                       body, to);
}

enum kd_err kd_record_seal(const struct kd_record_end *end, uint64_t sequence, uint64_t now_ms,
                           struct kd_bytes aad, const struct kd_record *record,
                           struct kd_buf *out) {
    assert(end->id.n > 0 && end->id.n <= KD_RECORD_ID_MAX_BYTES);
    if (sequence > KD_RECORD_SEQUENCE_MAX) {
        return KD_ERR_SEQUENCE_END;
    }
    if (record->body.n > KD_RECORD_BODY_MAX_BYTES || aad.n > KD_RECORD_AAD_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    size_t start = out->n;
    KD_NO_INIT uint8_t bytes[HEAD_MAX_BYTES];
    struct kd_buf head = KD_BUF_OVER(bytes);
    enum kd_err r = put_text_head(end, now_ms, record, &head);
    if (r == KD_OK) {
        r = seal(end, sequence, aad, kd_buf_get(&head), record->body, out);
    }
    kd_wipe(bytes, sizeof(bytes));
    if (r != KD_OK) {
        out->n = start;
    }
    return r;
}

// ---- open ------------------------------------------------------------------

static uint64_t read_partial_iv(struct kd_cbor *c) {
    struct kd_bytes iv = kd_cbor_read_bytes(c);
    bool is_shortest = iv.n == 1 || (iv.n > 1 && iv.n <= PARTIAL_IV_MAX_BYTES && iv.p[0] != 0);
    if (!is_shortest) {
        kd_cbor_fail(c, KD_ERR_RECORD_FORM);
        return 0;
    }
    uint64_t sequence = 0;
    for (size_t i = 0; i < iv.n; i++) {
        sequence = sequence << 8 | iv.p[i];
    }
    return sequence;
}

enum kd_err kd_record_parse(struct kd_bytes record, struct kd_record_head *out) {
    const size_t n_start = sizeof(record_start);
    if (record.n > KD_RECORD_MAX_BYTES || record.n < n_start ||
        !kd_bytes_equal((struct kd_bytes) { record.p, n_start },
                        (struct kd_bytes) { record_start, n_start })) {
        return KD_ERR_RECORD_FORM;
    }
    struct kd_cbor c = kd_cbor_of((struct kd_bytes) { record.p + n_start, record.n - n_start });
    struct kd_record_head head = { .sequence = 0 };
    head.id = kd_cbor_read_bytes(&c);
    const bool good = kd_cbor_read_uint(&c) == PARAM_PARTIAL_IV;
    head.sequence = read_partial_iv(&c);
    head.ciphertext = kd_cbor_read_bytes(&c);
    if (kd_cbor_finish(&c) != KD_OK || !good || head.id.n == 0 ||
        head.id.n > KD_RECORD_ID_MAX_BYTES || head.ciphertext.n <= KD_RECORD_TAG_BYTES) {
        return KD_ERR_RECORD_FORM;
    }
    *out = head;
    return KD_OK;
}

static bool has_number(const struct kd_record *record) {
    uint64_t ignored;
    return kd_record_get_number(record, &ignored) == KD_OK;
}

static bool is_body_right(const struct kd_record *record) {
    switch (record->type) {
    case KD_RECORD_DATA:
        return true;
    case KD_RECORD_EXPIRE:
    case KD_RECORD_KEY_UPDATE:
    case KD_RECORD_ERROR:
        return has_number(record);
    case KD_RECORD_CLOSE:
        return record->body.n == 0;
    }
    return false;
}

// The plaintext is authentic here: its form is checked all the same, because the
// peer may be wrong.
static enum kd_err read_text(const struct kd_record_end *end, struct kd_bytes text, uint64_t now_ms,
                             struct kd_record *out) {
    struct kd_cbor c = kd_cbor_of(text);
    uint64_t type = kd_cbor_read_uint(&c);
    uint64_t step = kd_cbor_read_uint(&c);
    struct kd_bytes code = kd_cbor_read_text(&c);
    struct kd_record record = { .body = kd_cbor_read_bytes(&c) };
    if (kd_cbor_finish(&c) != KD_OK || type > KD_RECORD_TYPE_LAST) {
        return KD_ERR_RECORD_FORM;
    }
    record.type = (enum kd_record_type)type;
    enum kd_err r = kd_otp_check(&end->otp, end->ops->otp_code, end->ctx, step, code, now_ms);
    if (r != KD_OK) {
        return r;
    }
    if (!is_body_right(&record)) {
        return KD_ERR_RECORD_FORM;
    }
    *out = record;
    return KD_OK;
}

static enum kd_err decrypt(const struct kd_record_end *end, const struct kd_record_head *head,
                           struct kd_bytes aad, struct kd_buf *text) {
    KD_NO_INIT uint8_t bytes[AAD_MAX_BYTES];
    struct kd_buf structure = KD_BUF_OVER(bytes);
    put_aad(&structure, aad);
    enum kd_err r = kd_buf_finish(&structure);
    if (r != KD_OK) {
        return r;
    }
    struct direction d = direction_of(end, false);
    uint8_t nonce[KD_RECORD_IV_BYTES];
    make_nonce(d.iv, head->sequence, nonce);
    uint8_t *to = kd_buf_extend(text, head->ciphertext.n - KD_RECORD_TAG_BYTES);
    if (to == NULL) {
        return kd_buf_finish(text);
    }
    return end->ops->open(end->ctx, d.key, nonce, kd_buf_get(&structure), head->ciphertext, to);
}

enum kd_err kd_record_open(const struct kd_record_end *end, const struct kd_record_head *head,
                           struct kd_bytes aad, uint64_t now_ms, struct kd_buf *text,
                           struct kd_record *out) {
    kd_buf_reset(text);
    if (!kd_bytes_equal(head->id, end->id)) {
        return KD_ERR_RECORD_SESSION;
    }
    if (aad.n > KD_RECORD_AAD_MAX_BYTES) {
        return KD_ERR_ITEM_TOO_LARGE;
    }
    enum kd_err r = decrypt(end, head, aad, text);
    if (r == KD_OK) {
        r = read_text(end, kd_buf_get(text), now_ms, out);
    }
    if (r != KD_OK) {
        if (text->n > 0) {
            kd_wipe(text->p, text->n);
        }
        kd_buf_reset(text);
    }
    return r;
}

void kd_record_put_number(struct kd_buf *body, uint64_t number) {
    kd_cbor_put_uint(body, number);
}

enum kd_err kd_record_get_number(const struct kd_record *record, uint64_t *out) {
    struct kd_cbor c = kd_cbor_of(record->body);
    uint64_t number = kd_cbor_read_uint(&c);
    if (kd_cbor_finish(&c) != KD_OK) {
        return KD_ERR_RECORD_FORM;
    }
    *out = number;
    return KD_OK;
}
