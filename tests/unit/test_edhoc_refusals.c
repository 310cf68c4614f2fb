// SPDX-License-Identifier: Apache-2.0
// Handshake messages that must be refused: RFC 9529 chapter 4, every truncation
// and every flipped bit, proofs of the wrong length, credentials that do not fit.
#include "edhoc_pair.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

static const struct pair_shape usual = { 0, 3, KD_IDCRED_X5U, KD_IDCRED_X5T };

// ---- RFC 9529 chapter 4 ----------------------------------------------------

static const struct {
    const char *why; // as in the file
    int suite;       // that the reader supports
    enum kd_err err;
} invalid[] = {
    { "Surplus array encoding of message", 2, KD_ERR_HS_MESSAGE },
    { "Surplus bstr encoding of connection identifier", 2, KD_ERR_HS_MESSAGE },
    { "Surplus array encoding of ciphersuite", 2, KD_ERR_HS_MESSAGE },
    { "Text string encoding of ephemeral key", 2, KD_ERR_HS_MESSAGE },
    { "Wrong number of CBOR sequence elements", 2, KD_ERR_HS_MESSAGE },
    { "Surplus map encoding of ID_CRED field", 2, KD_ERR_HS_MESSAGE },
    { "Surplus bstr encoding of ID_CRED field", 2, KD_ERR_HS_MESSAGE },
    { "Error in length of ephemeral key", 24, KD_ERR_BAD_POINT },
    { "Error in elliptic curve representation", 2, KD_ERR_BAD_POINT },
    { "Error in elliptic curve point", 2, KD_ERR_BAD_POINT },
    { "Curve point of low order", 2, KD_ERR_HS_SUITE }, // X25519, which is not here
    { "Error in length of MAC", 2, KD_ERR_HS_MESSAGE },
    { "Error in elliptic curve encoding", 2, KD_ERR_BAD_POINT },
    { "Unnecessary long encoding", 2, KD_ERR_HS_MESSAGE },
    { "Indefinite-length array encoding", 2, KD_ERR_HS_MESSAGE },
};

// message_2 with a PLAINTEXT_2 of our making, by a responder that has written its own.
static void put_message_2(struct pair *p, struct kd_bytes plaintext, struct kd_buf *out) {
    struct kd_bytes g_y = kd_point_get_x(&p->r.e->own_point);
    uint8_t sealed[1024];
    ck_assert_uint_le(plaintext.n, sizeof(sealed));
    ck_assert_err(kd_edhoc_crypt_2(p->r.e, plaintext, sealed), KD_OK);
    kd_cbor_put_bytes_head(out, g_y.n + plaintext.n);
    kd_buf_put(out, g_y.p, g_y.n);
    kd_buf_put(out, sealed, plaintext.n);
    ck_assert_err(kd_buf_finish(out), KD_OK);
}

START_TEST(rfc9529_chapter_4_is_refused) {
    kd_auto(json) json_t *all = vectors_load("edhoc-rfc9529/rfc9529_traces.json");
    const json_t *rows = json_object_get(all, "4_invalid");
    ck_assert_uint_eq(json_array_size(rows), KD_COUNT_OF(invalid));
    const json_t *row = json_array_get(rows, (size_t)_i);
    ck_assert_str_eq(vectors_text(row, "case"), invalid[_i].why);
    const char *name = vectors_text(row, "name");
    kd_auto(vectors_bytes) struct vectors_bytes in = vectors_hex(row, "hex");

    const struct pair_shape shape = { 3, invalid[_i].suite, KD_IDCRED_KID, KD_IDCRED_KID };
    kd_auto(pair) struct pair *p = pair_new(&shape);
    pair_open(p);
    if (strcmp(name, "Invalid message_1") == 0) {
        ck_assert_err(kd_edhoc_read_1(p->r.e, vectors_get(in)), invalid[_i].err);
        return;
    }
    ck_assert_err(pair_run(p, 1, 1), KD_OK);
    if (strcmp(name, "Invalid message_2") == 0) {
        ck_assert_err(kd_edhoc_read_2(p->i.e, vectors_get(in)), invalid[_i].err);
        return;
    }
    ck_assert_str_eq(name, "Invalid PLAINTEXT_2");
    ck_assert_err(pair_write(p, 2, NULL), KD_OK);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(1024);
    put_message_2(p, vectors_get(in), &m);
    ck_assert_err(kd_edhoc_read_2(p->i.e, kd_buf_get(&m)), invalid[_i].err);
}
END_TEST

// ---- truncation and flipped bits -------------------------------------------

static const struct pair_shape shapes[] = {
    { 0, 3, KD_IDCRED_X5U, KD_IDCRED_X5T },
    { 1, 2, KD_IDCRED_KID, KD_IDCRED_X5U_X5T },
    { 2, 3, KD_IDCRED_X5T, KD_IDCRED_KID },
    { 3, 2, KD_IDCRED_X5U, KD_IDCRED_X5T },
};

// A pair that has come to where message n has been written.
static struct pair *at_message(const struct pair_shape *shape, int n) {
    struct pair *p = pair_new(shape);
    pair_open(p);
    ck_assert_err(pair_run(p, 1, n - 1), KD_OK);
    ck_assert_err(pair_write(p, n, NULL), KD_OK);
    return p;
}

START_TEST(every_truncation_is_refused) {
    for (int n = 1; n <= 4; n++) {
        size_t len = SIZE_MAX;
        for (size_t cut = 0; cut < len; cut++) {
            kd_auto(pair) struct pair *p = at_message(&shapes[_i], n);
            len = p->m[n].n;
            uint8_t *copy = malloc(cut + 1); // so that the sanitizer sees a read past its end
            memcpy(copy, p->m[n].p, cut);
            enum kd_err r = pair_read(p, n, (struct kd_bytes) { copy, cut });
            free(copy);
            ck_assert_err(r, KD_ERR_HS_MESSAGE);
        }
        kd_auto(pair) struct pair *p = at_message(&shapes[_i], n);
        kd_buf_u8(&p->m[n], 0x40); // a zero would be padding behind message_1
        ck_assert_err(pair_read(p, n, pair_message(p, n)), KD_ERR_HS_MESSAGE);
    }
}
END_TEST

// J11.  A flip may leave a message that is well formed (another C_I, another
// point): then the handshake fails at a later message, before any key is used.
START_TEST(every_flipped_bit_ends_in_a_failed_handshake) {
    for (int n = 1; n <= 4; n++) {
        size_t n_bits = SIZE_MAX;
        for (size_t bit = 0; bit < n_bits; bit++) {
            kd_auto(pair) struct pair *p = at_message(&shapes[_i], n);
            n_bits = 8 * p->m[n].n;
            p->m[n].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
            enum kd_err r = pair_read(p, n, pair_message(p, n));
            if (r == KD_OK) {
                ck_assert_int_eq(n, 1); // the others are refused at once
                r = pair_run(p, 2, 4);
            }
            ck_assert(r != KD_OK);
            ck_assert(!kd_edhoc_is_done(p->i.e));
            ck_assert(kd_err_class(r) == KD_CLASS_REFUSED);
        }
    }
}
END_TEST

START_TEST(a_message_of_another_handshake_is_refused) {
    for (int n = 2; n <= 4; n++) {
        kd_auto(pair) struct pair *a = at_message(&usual, n);
        kd_auto(pair) struct pair *b = at_message(&usual, n);
        ck_assert(pair_read(a, n, pair_message(b, n)) != KD_OK);
        ck_assert_err(pair_read(b, n, pair_message(b, n)), KD_OK); // b has done nothing wrong
        ck_assert_err(pair_run(b, n + 1, 4), KD_OK);
    }
}
END_TEST

START_TEST(an_oversized_message_is_refused) {
    static uint8_t big[KD_EDHOC_MESSAGE_MAX_BYTES + 1];
    for (int n = 1; n <= 4; n++) {
        kd_auto(pair) struct pair *p = at_message(&usual, n);
        enum kd_err r = pair_read(p, n, (struct kd_bytes) { big, sizeof(big) });
        ck_assert_err(r, KD_ERR_ITEM_TOO_LARGE);
    }
}
END_TEST

// ---- proofs ----------------------------------------------------------------

// Signature_or_MAC_2 and _3 of the wrong length, with all else right.
START_TEST(proofs_of_the_wrong_length_are_refused) {
    const struct pair_shape *shape = &shapes[_i];
    static const uint8_t zeros[200];
    for (int n = 2; n <= 3; n++) {
        kd_auto(pair) struct pair *probe = at_message(shape, n);
        struct party *from = n == 2 ? &probe->r : &probe->i;
        size_t right = kd_edhoc_proof_bytes(from->e, from->config.role);
        const size_t wrong[] = { 0, 1, right - 1, right + 1, 2 * right, sizeof(zeros) };
        for (size_t k = 0; k < KD_COUNT_OF(wrong); k++) {
            kd_auto(pair) struct pair *p = at_message(shape, n);
            struct party *sender = n == 2 ? &p->r : &p->i;
            kd_auto(buf) struct kd_buf text = KD_BUF_INIT(4096);
            kd_auto(buf) struct kd_buf m = KD_BUF_INIT(4096);
            if (n == 2) {
                kd_identifier_put(&text, p->r.config.conn_id);
            }
            kd_edhoc_put_plaintext(&text, &sender->e->own_id, (struct kd_bytes) { zeros, wrong[k] },
                                   KD_BYTES_NONE);
            ck_assert_err(kd_buf_finish(&text), KD_OK);
            if (n == 2) {
                put_message_2(p, kd_buf_get(&text), &m);
                ck_assert_err(kd_edhoc_read_2(p->i.e, kd_buf_get(&m)), KD_ERR_HS_MESSAGE);
            } else {
                ck_assert_err(kd_edhoc_seal(p->i.e, KD_CIPHER_3, kd_buf_get(&text), &m), KD_OK);
                ck_assert_err(kd_edhoc_read_3(p->r.e, kd_buf_get(&m)), KD_ERR_HS_MESSAGE);
            }
        }
    }
}
END_TEST

// The right length, all zero: refused as not authentic.
START_TEST(an_empty_proof_of_the_right_length_is_not_authentic) {
    static const uint8_t zeros[KD_SIGNATURE_MAX_BYTES];
    kd_auto(pair) struct pair *p = at_message(&shapes[_i], 2);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(4096);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(4096);
    kd_identifier_put(&text, p->r.config.conn_id);
    struct kd_bytes proof = { zeros, kd_edhoc_proof_bytes(p->r.e, KD_EDHOC_RESPONDER) };
    kd_edhoc_put_plaintext(&text, &p->r.e->own_id, proof, KD_BYTES_NONE);
    put_message_2(p, kd_buf_get(&text), &m);
    ck_assert_err(pair_read(p, 2, kd_buf_get(&m)), KD_ERR_HS_NOT_AUTHENTIC);
}
END_TEST

// J11: somebody in the middle with a key of his own, who says he is the other.
START_TEST(a_peer_with_another_key_is_not_authentic) {
    const struct pair_shape *shape = &shapes[_i];
    for (int n = 2; n <= 3; n++) {
        kd_auto(pair) struct pair *p = pair_new(shape);
        pair_open(p);
        struct party *liar = n == 2 ? &p->r : &p->i;
        uint64_t other;
        struct kd_point point;
        ck_assert_err(kd_keyops_openssl.generate(NULL, liar->identity.curve, &other, &point),
                      KD_OK);
        kd_keyops_openssl.destroy(NULL, liar->identity.key);
        liar->identity.key = other; // the point that the peer knows stays
        ck_assert_err(pair_run(p, 1, n), KD_ERR_HS_NOT_AUTHENTIC);
    }
}
END_TEST

// ---- credentials -----------------------------------------------------------

START_TEST(our_own_credential_is_refused) {
    for (int n = 2; n <= 3; n++) {
        kd_auto(pair) struct pair *p = pair_new(&usual);
        pair_open(p);
        struct party *mirror = n == 2 ? &p->r : &p->i;
        struct party *victim = n == 2 ? &p->i : &p->r;
        struct kd_identity own = mirror->identity;
        struct kd_point own_point = mirror->point;
        mirror->identity = victim->identity;
        mirror->point = victim->point;
        ck_assert_err(pair_run(p, 1, n), KD_ERR_HS_REFLECTED);
        mirror->identity = own;
        mirror->point = own_point;
    }
}
END_TEST

START_TEST(our_own_ephemeral_key_is_refused) {
    kd_auto(pair) struct pair *p = at_message(&usual, 1);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(256);
    struct kd_bytes g_x = kd_point_get_x(&p->i.e->own_point);
    kd_cbor_put_bytes_head(&m, g_x.n + 40);
    kd_buf_put(&m, g_x.p, g_x.n);
    memset(kd_buf_extend(&m, 40), 0x5a, 40);
    ck_assert_err(kd_edhoc_read_2(p->i.e, kd_buf_get(&m)), KD_ERR_HS_REFLECTED);
}
END_TEST

START_TEST(a_credential_that_does_not_fit_its_name_is_refused) {
    static const enum kd_idcred_kind kinds[] = { KD_IDCRED_X5T, KD_IDCRED_X5U_X5T,
                                                 KD_IDCRED_X5CHAIN };
    for (size_t k = 0; k < KD_COUNT_OF(kinds); k++) {
        const struct pair_shape shape = { 0, 3, kinds[k], KD_IDCRED_X5T };
        kd_auto(pair) struct pair *p = at_message(&shape, 3);
        ck_assert_err(kd_edhoc_read_3(p->r.e, pair_message(p, 3)), KD_OK);
        kd_auto(buf) struct kd_buf other = KD_BUF_INIT(256);
        kd_cred_put_certificate(&other, kd_bytes_of_text("another certificate"));
        const struct kd_peer peer = { p->i.point, kd_buf_get(&other) };
        ck_assert_err(kd_edhoc_authenticate(p->r.e, &peer), KD_ERR_HS_CREDENTIAL);
    }
}
END_TEST

START_TEST(a_credential_on_another_curve_or_not_one_item_is_refused) {
    for (int n = 0; n < 3; n++) {
        kd_auto(pair) struct pair *p = at_message(&usual, 3);
        ck_assert_err(kd_edhoc_read_3(p->r.e, pair_message(p, 3)), KD_OK);
        struct kd_peer peer = { p->i.point, p->i.identity.cred };
        if (n == 0) {
            peer.key.curve = KD_CURVE_P384;
        } else if (n == 1) {
            peer.cred.n--;
        } else {
            peer.cred.n = 0;
        }
        ck_assert_err(kd_edhoc_authenticate(p->r.e, &peer), KD_ERR_HS_CREDENTIAL);
        ck_assert_err(kd_edhoc_authenticate(p->r.e, &peer), KD_ERR_HS_STATE);
    }
}
END_TEST

START_TEST(a_credential_has_its_largest_size_and_no_more) {
    enum { HEAD = 3 }; // of a byte string that is so long
    for (size_t more = 0; more < 2; more++) {
        static const uint8_t zeros[KD_EDHOC_CRED_MAX_BYTES];
        kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES + 1);
        kd_auto(pair) struct pair *p = at_message(&usual, 3);
        ck_assert_err(kd_edhoc_read_3(p->r.e, pair_message(p, 3)), KD_OK);
        kd_cbor_put_bytes(&cred, (struct kd_bytes) { zeros, sizeof(zeros) - HEAD + more });
        ck_assert_uint_eq(cred.n, KD_EDHOC_CRED_MAX_BYTES + more);
        const struct kd_peer peer = { p->i.point, kd_buf_get(&cred) };
        ck_assert_err(kd_edhoc_authenticate(p->r.e, &peer),
                      more == 0 ? KD_ERR_HS_NOT_AUTHENTIC : KD_ERR_HS_CREDENTIAL);
    }
}
END_TEST

START_TEST(an_unknown_credential_ends_the_handshake) {
    kd_auto(pair) struct pair *p = at_message(&usual, 2);
    ck_assert_err(kd_edhoc_read_2(p->i.e, pair_message(p, 2)), KD_OK);
    ck_assert_err(kd_edhoc_authenticate_by(p->i.e, pair_resolve, &p->i), KD_ERR_HS_CREDENTIAL);
    ck_assert_err(pair_write(p, 3, NULL), KD_ERR_HS_STATE);
}
END_TEST

START_TEST(a_method_that_is_not_accepted_is_refused) {
    for (int other = 0; other <= 3; other++) {
        const struct pair_shape shape = { other, 3, KD_IDCRED_X5U, KD_IDCRED_X5T };
        kd_auto(pair) struct pair *p = pair_new(&shape);
        p->r.config.methods = 0xfu & ~(1u << other);
        pair_open(p);
        ck_assert_err(pair_run(p, 1, 1), KD_ERR_HS_METHOD);
    }
    static const uint8_t method_4[] = { 4, 3, 0x40, 0 };
    static const uint8_t method_minus_1[] = { 0x20, 3, 0x40, 0 };
    kd_auto(pair) struct pair *p = pair_new(&usual);
    pair_open(p);
    ck_assert_err(kd_edhoc_read_1(p->r.e, (struct kd_bytes) { method_4, 4 }), KD_ERR_HS_METHOD);
    kd_auto(pair) struct pair *q = pair_new(&usual);
    pair_open(q);
    ck_assert_err(kd_edhoc_read_1(q->r.e, (struct kd_bytes) { method_minus_1, 4 }),
                  KD_ERR_HS_METHOD);
}
END_TEST

static TCase *tcase_bytes(void) {
    TCase *t = tcase_create("bytes");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, rfc9529_chapter_4_is_refused, 0, KD_COUNT_OF(invalid));
    tcase_add_loop_test(t, every_truncation_is_refused, 0, KD_COUNT_OF(shapes));
    tcase_add_loop_test(t, every_flipped_bit_ends_in_a_failed_handshake, 0, KD_COUNT_OF(shapes));
    tcase_add_test(t, a_message_of_another_handshake_is_refused);
    tcase_add_test(t, an_oversized_message_is_refused);
    return t;
}

static TCase *tcase_peers(void) {
    TCase *t = tcase_create("peers");
    tcase_add_loop_test(t, proofs_of_the_wrong_length_are_refused, 0, KD_COUNT_OF(shapes));
    tcase_add_loop_test(t, an_empty_proof_of_the_right_length_is_not_authentic, 0,
                        KD_COUNT_OF(shapes));
    tcase_add_loop_test(t, a_peer_with_another_key_is_not_authentic, 0, KD_COUNT_OF(shapes));
    tcase_add_test(t, our_own_credential_is_refused);
    tcase_add_test(t, our_own_ephemeral_key_is_refused);
    tcase_add_test(t, a_credential_that_does_not_fit_its_name_is_refused);
    tcase_add_test(t, a_credential_on_another_curve_or_not_one_item_is_refused);
    tcase_add_test(t, a_credential_has_its_largest_size_and_no_more);
    tcase_add_test(t, an_unknown_credential_ends_the_handshake);
    tcase_add_test(t, a_method_that_is_not_accepted_is_refused);
    return t;
}

UNIT_MAIN("edhoc refusals", tcase_bytes(), tcase_peers())
