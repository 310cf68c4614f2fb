// SPDX-License-Identifier: Apache-2.0
// Handshakes that succeed: every method, suite and kind of ID_CRED; and the
// rules of states, suites, EAD and errors around them.
#include "edhoc_pair.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

static const struct pair_shape usual = { 0, 3, KD_IDCRED_X5U, KD_IDCRED_X5T };

static const int suite_ids[] = { 2, 3, 24 };
static const enum kd_idcred_kind kinds[] = { KD_IDCRED_KID, KD_IDCRED_X5T, KD_IDCRED_X5U,
                                             KD_IDCRED_X5U_X5T, KD_IDCRED_X5CHAIN };

static void same_keys(struct pair *p) {
    kd_auto(secret) struct kd_secret *a = NULL;
    kd_auto(secret) struct kd_secret *b = NULL;
    ck_assert_err(kd_secret_new(32, &a), KD_OK);
    ck_assert_err(kd_secret_new(32, &b), KD_OK);
    ck_assert_err(kd_edhoc_export(p->i.e, 32768, KD_BYTES_NONE, a), KD_OK);
    ck_assert_err(kd_edhoc_export(p->r.e, 32768, KD_BYTES_NONE, b), KD_OK);
    vectors_same("exported", (struct kd_bytes) { kd_secret_get(a), 32 },
                 (struct kd_bytes) { kd_secret_get(b), 32 });
}

// One loop index a method; inside, all suites and all pairs of kinds.
START_TEST(every_method_suite_and_id_cred_ends_in_the_same_keys) {
    for (size_t s = 0; s < KD_COUNT_OF(suite_ids); s++) {
        for (size_t k = 0; k < KD_COUNT_OF(kinds) * KD_COUNT_OF(kinds); k++) {
            const struct pair_shape shape = { _i, suite_ids[s], kinds[k % 5], kinds[k / 5] };
            kd_auto(pair) struct pair *p = pair_new(&shape);
            pair_open(p);
            ck_assert_err(pair_run(p, 1, 4), KD_OK);
            ck_assert(kd_edhoc_is_done(p->i.e) && kd_edhoc_is_done(p->r.e));
            ck_assert_int_eq(kd_edhoc_peer_id(p->r.e)->kind, shape.kind_i);
            ck_assert_int_eq(kd_edhoc_peer_id(p->i.e)->kind, shape.kind_r);
            ck_assert(kd_bytes_equal(kd_edhoc_peer_conn_id(p->i.e), p->r.config.conn_id));
            ck_assert(kd_bytes_equal(kd_edhoc_peer_conn_id(p->r.e), p->i.config.conn_id));
            ck_assert_int_eq(kd_edhoc_suite(p->r.e)->id, shape.suite);
            same_keys(p);
        }
    }
}
END_TEST

// J12: two handshakes of the same parties have nothing in common.
START_TEST(each_handshake_has_keys_of_its_own) {
    uint8_t exported[2][32];
    for (int n = 0; n < 2; n++) {
        kd_auto(pair) struct pair *p = pair_new(&usual);
        pair_open(p);
        ck_assert_err(pair_run(p, 1, 4), KD_OK);
        kd_auto(secret) struct kd_secret *a = NULL;
        ck_assert_err(kd_secret_new(32, &a), KD_OK);
        ck_assert_err(kd_edhoc_export(p->i.e, 32768, KD_BYTES_NONE, a), KD_OK);
        memcpy(exported[n], kd_secret_get(a), 32);
    }
    ck_assert(!kd_bytes_equal((struct kd_bytes) { exported[0], 32 },
                              (struct kd_bytes) { exported[1], 32 }));
}
END_TEST

// The token's share: the client's ephemeral key with a long-term key of the server.
START_TEST(both_ends_compute_the_same_share_from_a_kept_ephemeral) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    p->i.config.keep_ephemeral = true;
    pair_open(p);
    uint64_t root = KD_HANDLE_NONE;
    struct kd_point root_point;
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &root, &root_point), KD_OK);
    uint64_t z_client = KD_HANDLE_NONE;
    ck_assert_err(kd_edhoc_share(p->i.e, &root_point, &z_client), KD_ERR_HS_STATE);
    ck_assert_err(pair_run(p, 1, 4), KD_OK);
    ck_assert_err(kd_edhoc_share(p->i.e, &root_point, &z_client), KD_OK);
    ck_assert_err(kd_edhoc_share(p->r.e, &root_point, &z_client), KD_ERR_HS_STATE); // not kept
    uint64_t z_server = KD_HANDLE_NONE;
    ck_assert_err(kd_keyops_openssl.ecdh(NULL, root, kd_edhoc_peer_ephemeral(p->r.e), &z_server),
                  KD_OK);
    kd_auto(key32) struct kd_key32 a;
    kd_auto(key32) struct kd_key32 b;
    ck_assert_err(kd_openssl_secret_share(z_client, &a), KD_OK);
    ck_assert_err(kd_openssl_secret_share(z_server, &b), KD_OK);
    vectors_same("share", (struct kd_bytes) { a.bytes, 32 }, (struct kd_bytes) { b.bytes, 32 });
    kd_keyops_openssl.destroy(NULL, root);
    kd_keyops_openssl.destroy(NULL, z_client);
    kd_keyops_openssl.destroy(NULL, z_server);
}
END_TEST

START_TEST(key_update_with_the_same_context_gives_the_same_new_keys) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    pair_open(p);
    ck_assert_err(kd_edhoc_key_update(p->i.e, KD_BYTES_NONE), KD_ERR_HS_STATE);
    ck_assert_err(pair_run(p, 1, 4), KD_OK);
    kd_auto(secret) struct kd_secret *before = NULL;
    kd_auto(secret) struct kd_secret *after = NULL;
    ck_assert_err(kd_secret_new(32, &before), KD_OK);
    ck_assert_err(kd_secret_new(32, &after), KD_OK);
    ck_assert_err(kd_edhoc_export(p->i.e, 32768, KD_BYTES_NONE, before), KD_OK);
    ck_assert_err(kd_edhoc_key_update(p->i.e, kd_bytes_of_text("1")), KD_OK);
    ck_assert_err(kd_edhoc_export(p->i.e, 32768, KD_BYTES_NONE, after), KD_OK);
    ck_assert(!kd_ct_equal((struct kd_bytes) { kd_secret_get(before), 32 },
                           (struct kd_bytes) { kd_secret_get(after), 32 }));
    ck_assert_err(kd_edhoc_key_update(p->r.e, kd_bytes_of_text("1")), KD_OK);
    same_keys(p);
}
END_TEST

START_TEST(prk_out_is_handed_over_once) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    pair_open(p);
    ck_assert_err(pair_run(p, 1, 4), KD_OK);
    kd_auto(secret) struct kd_secret *prk = NULL;
    kd_auto(secret) struct kd_secret *none = NULL;
    ck_assert_err(kd_edhoc_take_prk_out(p->r.e, &prk), KD_OK);
    ck_assert_err(kd_edhoc_take_prk_out(p->r.e, &none), KD_ERR_HS_STATE);
    kd_auto(secret) struct kd_secret *a = NULL;
    kd_auto(secret) struct kd_secret *b = NULL;
    ck_assert_err(kd_secret_new(32, &a), KD_OK);
    ck_assert_err(kd_secret_new(32, &b), KD_OK);
    ck_assert_err(kd_edhoc_export(p->r.e, 32768, KD_BYTES_NONE, a), KD_ERR_HS_STATE);
    ck_assert_err(kd_exporter_export(KD_MD_SHA256, prk, 32768, KD_BYTES_NONE, a), KD_OK);
    ck_assert_err(kd_edhoc_export(p->i.e, 32768, KD_BYTES_NONE, b), KD_OK);
    vectors_same("S", (struct kd_bytes) { kd_secret_get(a), 32 },
                 (struct kd_bytes) { kd_secret_get(b), 32 });
}
END_TEST

START_TEST(a_configuration_that_cannot_work_is_refused) {
    struct kd_edhoc *e = NULL;
    kd_auto(pair) struct pair *p = pair_new(&usual);
    struct kd_edhoc_config c = p->i.config;
    c.methods = 0;
    ck_assert_err(kd_edhoc_new(&c, &e), KD_ERR_CONFIG);
    c.methods = 3; // an initiator has one
    ck_assert_err(kd_edhoc_new(&c, &e), KD_ERR_CONFIG);
    c.methods = 16;
    ck_assert_err(kd_edhoc_new(&c, &e), KD_ERR_CONFIG);
    c = p->i.config;
    c.suites.n = 0;
    ck_assert_err(kd_edhoc_new(&c, &e), KD_ERR_CONFIG);
    c = p->i.config;
    c.conn_id.n = KD_EDHOC_CONN_ID_MAX_BYTES + 1;
    ck_assert_err(kd_edhoc_new(&c, &e), KD_ERR_CONFIG);
    c = p->i.config;
    c.ead_labels.n = KD_EAD_LABELS_MAX + 1;
    ck_assert_err(kd_edhoc_new(&c, &e), KD_ERR_CONFIG);
    c.ead_labels.n = KD_EAD_LABELS_MAX;
    ck_assert_err(kd_edhoc_new(&c, &e), KD_OK);
    kd_edhoc_free(KD_STEAL(e));
    ck_assert_ptr_null(e);
    // No key for this method and suite shows when message_1 is written.
    p->i.config.methods = 1u << 2;
    pair_open(p);
    ck_assert_err(pair_write(p, 1, NULL), KD_ERR_CONFIG);
    ck_assert_uint_eq(p->m[1].n, 0);
}
END_TEST

// ---- states ----------------------------------------------------------------

// All steps that are not due: none may be taken, none may do harm.
static void try_all_but(struct pair *p, int due_i, int due_r) {
    static const uint8_t noise[] = { 0x41, 0x00 };
    struct kd_bytes in = { noise, sizeof(noise) };
    const struct kd_peer nobody = { .cred = KD_BYTES_NONE };
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(8192);
    struct kd_edhoc *both[] = { p->i.e, p->r.e };
    for (int k = 0; k < 2; k++) {
        struct kd_edhoc *e = both[k];
        int due = k == 0 ? due_i : due_r;
        for (int n = 1; n <= 4; n++) {
            const struct kd_bytes message = p->m[n].n > 0 ? pair_message(p, n) : in;
            enum kd_err (*const reads[])(struct kd_edhoc *,
                                         struct kd_bytes) = { kd_edhoc_read_1, kd_edhoc_read_2,
                                                              kd_edhoc_read_3, kd_edhoc_read_4 };
            enum kd_err (*const writes[])(struct kd_edhoc *, const struct kd_ead *,
                                          struct kd_buf *) = { kd_edhoc_write_1, kd_edhoc_write_2,
                                                               kd_edhoc_write_3, kd_edhoc_write_4 };
            if (due != n) {
                ck_assert_err(reads[n - 1](e, message), KD_ERR_HS_STATE);
                ck_assert_err(writes[n - 1](e, NULL, &out), KD_ERR_HS_STATE);
            }
        }
        ck_assert_err(kd_edhoc_authenticate(e, &nobody), KD_ERR_HS_STATE);
        kd_edhoc_refuse(e); // nobody to refuse
        ck_assert_err(kd_edhoc_write_error(e, &out), KD_ERR_HS_STATE);
    }
    ck_assert_uint_eq(out.n, 0);
}

START_TEST(steps_out_of_order_and_repeated_are_refused_and_do_no_harm) {
    const struct pair_shape shape = { _i, 2, KD_IDCRED_KID, KD_IDCRED_X5CHAIN };
    kd_auto(pair) struct pair *p = pair_new(&shape);
    pair_open(p);
    try_all_but(p, 1, 1);
    for (int n = 1; n <= 4; n++) {
        bool by_i = n % 2 == 1;
        ck_assert_err(pair_write(p, n, NULL), KD_OK);
        try_all_but(p, by_i ? n + 1 : n, by_i ? n : n + 1);
        ck_assert_err(pair_read(p, n, pair_message(p, n)), KD_OK);
        try_all_but(p, n + 1, n + 1); // the message that was just read, once more
    }
    same_keys(p);
}
END_TEST

START_TEST(after_a_failure_nothing_goes_on) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    pair_open(p);
    ck_assert_err(pair_run(p, 1, 2), KD_OK);
    ck_assert_err(pair_write(p, 3, NULL), KD_OK);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(8192);
    kd_buf_put(&out, p->m[3].p, p->m[3].n);
    out.p[out.n - 1] ^= 1;
    ck_assert_err(pair_read(p, 3, kd_buf_get(&out)), KD_ERR_HS_NOT_AUTHENTIC);
    ck_assert_err(pair_read(p, 3, pair_message(p, 3)), KD_ERR_HS_STATE); // the right one, too late
    ck_assert_err(pair_write(p, 4, NULL), KD_ERR_HS_STATE);
    ck_assert_ptr_null(p->r.e->secrets);
    ck_assert_uint_eq(p->r.e->ephemeral, KD_HANDLE_NONE);
    ck_assert_str_ne(kd_edhoc_detail(p->r.e), "");
}
END_TEST

START_TEST(the_ephemeral_key_lives_only_as_long_as_it_is_needed) {
    for (int method = 0; method <= 3; method++) {
        const struct pair_shape shape = { method, 3, KD_IDCRED_X5U, KD_IDCRED_X5T };
        kd_auto(pair) struct pair *p = pair_new(&shape);
        pair_open(p);
        ck_assert_err(pair_run(p, 1, 2), KD_OK);
        bool is_needed = (method & 2) != 0; // for G_IY
        ck_assert((p->r.e->ephemeral != KD_HANDLE_NONE) == is_needed);
        ck_assert_err(pair_run(p, 3, 4), KD_OK);
        ck_assert_uint_eq(p->r.e->ephemeral, KD_HANDLE_NONE);
        ck_assert_uint_eq(p->i.e->ephemeral, KD_HANDLE_NONE);
    }
}
END_TEST

// ---- suites ----------------------------------------------------------------

START_TEST(a_wrong_suite_is_answered_with_error_2_and_the_next_try_succeeds) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    struct kd_identity both[2] = { p->i.identity, p->i.identity };
    both[1].curve = KD_CURVE_P384; // its key is never used
    p->i.config.identities = both;
    p->i.config.n_identities = 2;
    p->i.config.suites = (struct kd_suites) { 3, { 24, 2, 3 } };
    pair_open(p);
    ck_assert_err(pair_write(p, 1, NULL), KD_OK);
    ck_assert_err(pair_read(p, 1, pair_message(p, 1)), KD_ERR_HS_SUITE);
    kd_auto(buf) struct kd_buf error = KD_BUF_INIT(64);
    ck_assert_err(kd_edhoc_write_error(p->r.e, &error), KD_OK);
    vectors_same("error", kd_buf_get(&error), (struct kd_bytes) { (const uint8_t *)"\x02\x03", 2 });
    ck_assert_ptr_null(kd_edhoc_peer_error(p->i.e));
    ck_assert_err(kd_edhoc_read_2(p->i.e, kd_buf_get(&error)), KD_ERR_HS_PEER);
    const struct kd_suites known = kd_edhoc_peer_error(p->i.e)->suites;
    ck_assert_int_eq(kd_edhoc_peer_error(p->i.e)->code, KD_EDHOC_ERR_SUITE);

    kd_edhoc_free(p->i.e);
    kd_edhoc_free(p->r.e);
    p->i.config.peer_suites = &known;
    pair_open(p);
    kd_buf_reset(&p->m[1]);
    ck_assert_err(pair_run(p, 1, 4), KD_OK);
    ck_assert_int_eq(kd_edhoc_suite(p->i.e)->id, 3);
    same_keys(p);
}
END_TEST

START_TEST(an_offer_that_skips_a_suite_we_support_is_refused) {
    static const struct {
        struct kd_suites own;
        struct kd_suites offer;
        enum kd_err err;
        int selected;
    } rows[] = {
        { { 2, { 3, 2 } }, { 1, { 3 } }, KD_OK, 3 },
        { { 2, { 3, 2 } }, { 1, { 2 } }, KD_OK, 2 },
        { { 1, { 3 } }, { 2, { 24, 3 } }, KD_OK, 3 },
        { { 1, { 3 } }, { 3, { 6, 24, 3 } }, KD_OK, 3 },
        { { 2, { 3, 2 } }, { 2, { 2, 3 } }, KD_ERR_HS_SUITE, 0 }, // 2 would have done
        { { 1, { 3 } }, { 2, { 3, 3 } }, KD_ERR_HS_SUITE, 0 },
        { { 1, { 3 } }, { 1, { 2 } }, KD_ERR_HS_SUITE, 0 },
        { { 1, { 3 } }, { 2, { 3, 2 } }, KD_ERR_HS_SUITE, 0 },
        { { 2, { 6, 3 } }, { 1, { 6 } }, KD_ERR_HS_SUITE, 0 }, // configured, not implemented
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        const struct kd_suite *s = NULL;
        ck_assert_err(kd_suites_accept(&rows[i].own, &rows[i].offer, &s), rows[i].err);
        ck_assert((s == NULL) == (rows[i].err != KD_OK));
        ck_assert(s == NULL || s->id == rows[i].selected);
    }
}
END_TEST

START_TEST(the_initiator_finds_no_suite_where_there_is_none) {
    const struct kd_suites own = { 2, { 24, 2 } };
    const struct kd_suites other = { 1, { 3 } };
    struct kd_suites offer;
    ck_assert_err(kd_suites_offer(&own, &other, &offer), KD_ERR_HS_SUITE);
    const struct kd_suites unknown = { 2, { 0, 6 } };
    ck_assert_err(kd_suites_offer(&unknown, NULL, &offer), KD_ERR_HS_SUITE);
}
END_TEST

// ---- EAD -------------------------------------------------------------------

static const struct kd_ead_item item_known = {
    PAIR_EAD_A, true, true, { (const uint8_t *)"xy", 2 }
};
static const struct kd_ead_item item_bare = { PAIR_EAD_B, false, false, { NULL, 0 } };
static const struct kd_ead_item item_unknown = { 99, false, true, { (const uint8_t *)"z", 1 } };
static const struct kd_ead_item item_critical = { 99, true, true, { (const uint8_t *)"z", 1 } };
static const struct kd_ead_item item_padding = { 0, false, true, { (const uint8_t *)"0000", 4 } };

START_TEST(ead_is_carried_padding_and_the_unknown_are_left_out) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    pair_open(p);
    const struct kd_ead ead = { 4, { item_padding, item_known, item_unknown, item_bare } };
    for (int n = 1; n <= 4; n++) {
        ck_assert_err(pair_write(p, n, &ead), KD_OK);
        ck_assert_err(pair_read(p, n, pair_message(p, n)), KD_OK);
        const struct kd_ead *got = kd_edhoc_ead(n % 2 == 1 ? p->r.e : p->i.e);
        ck_assert_uint_eq(got->n, 2);
        vectors_same("value", kd_ead_get(got, PAIR_EAD_A)->value, item_known.value);
        ck_assert(kd_ead_get(got, PAIR_EAD_A)->is_critical);
        ck_assert(!kd_ead_get(got, PAIR_EAD_B)->has_value);
        ck_assert_ptr_null(kd_ead_get(got, 99));
    }
    same_keys(p);
}
END_TEST

START_TEST(a_critical_unknown_ead_ends_the_handshake) {
    for (int bad = 1; bad <= 4; bad++) {
        kd_auto(pair) struct pair *p = pair_new(&usual);
        pair_open(p);
        const struct kd_ead ead = { 2, { item_known, item_critical } };
        ck_assert_err(pair_run(p, 1, bad - 1), KD_OK);
        ck_assert_err(pair_write(p, bad, &ead), KD_OK);
        ck_assert_err(pair_read(p, bad, pair_message(p, bad)), KD_ERR_HS_EAD);
        struct kd_edhoc *e = bad % 2 == 1 ? p->r.e : p->i.e;
        ck_assert_uint_eq(kd_edhoc_ead(e)->n, 0);
        kd_auto(buf) struct kd_buf error = KD_BUF_INIT(64);
        ck_assert_err(kd_edhoc_write_error(e, &error), KD_OK);
        struct kd_edhoc_error parsed;
        ck_assert_err(kd_edhoc_error_parse(kd_buf_get(&error), &parsed), KD_OK);
        ck_assert_int_eq(parsed.code, KD_EDHOC_ERR_UNSPECIFIED);
    }
}
END_TEST

// A label says something in some messages only.
START_TEST(an_ead_label_of_another_message_is_unknown) {
    static const struct kd_ead_item critical = { .label = PAIR_EAD_A, .is_critical = true };
    static const struct kd_ead_item harmless = { .label = PAIR_EAD_A };
    for (int n = 1; n <= 4; n++) {
        for (int is_critical = 0; is_critical < 2; is_critical++) {
            kd_auto(pair) struct pair *p = pair_new(&usual);
            p->i.config.ead_messages &= ~(1u << n);
            p->r.config.ead_messages &= ~(1u << n);
            pair_open(p);
            const struct kd_ead ead = { 1, { is_critical != 0 ? critical : harmless } };
            ck_assert_err(pair_run(p, 1, n - 1), KD_OK);
            ck_assert_err(pair_write(p, n, &ead), KD_OK);
            ck_assert_err(pair_read(p, n, pair_message(p, n)),
                          is_critical != 0 ? KD_ERR_HS_EAD : KD_OK);
            ck_assert_uint_eq(kd_edhoc_ead(n % 2 == 1 ? p->r.e : p->i.e)->n, 0);
        }
    }
}
END_TEST

START_TEST(ead_items_are_bounded) {
    struct kd_ead many = { 0 };
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1024);
    for (int i = 0; i < KD_EAD_MAX + 1; i++) {
        kd_cbor_put_int(&b, PAIR_EAD_A);
    }
    const struct kd_ead_labels labels = { 1, { PAIR_EAD_A } };
    struct kd_cbor c = kd_cbor_of((struct kd_bytes) { b.p, b.n - 2 });
    kd_ead_read(&c, &labels, &many);
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
    ck_assert_uint_eq(many.n, KD_EAD_MAX);
    c = kd_cbor_of(kd_buf_get(&b));
    kd_ead_read(&c, &labels, &many);
    ck_assert_err(kd_cbor_finish(&c), KD_ERR_HS_MESSAGE);
    c = kd_cbor_of(
        (struct kd_bytes) { (const uint8_t *)"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff", 9 });
    kd_ead_read(&c, &labels, &many); // -2^63 has no positive twin
    ck_assert_err(kd_cbor_finish(&c), KD_ERR_CBOR_RANGE);
}
END_TEST

// ---- errors ----------------------------------------------------------------

START_TEST(the_peer_learns_nothing_but_that_it_was_refused) {
    kd_auto(pair) struct pair *p = pair_new(&usual);
    pair_open(p);
    ck_assert_err(pair_run(p, 1, 2), KD_OK);
    ck_assert_err(pair_write(p, 3, NULL), KD_OK);
    ck_assert_err(kd_edhoc_read_3(p->r.e, pair_message(p, 3)), KD_OK);
    kd_edhoc_refuse(p->r.e);
    kd_auto(buf) struct kd_buf error = KD_BUF_INIT(64);
    ck_assert_err(kd_edhoc_write_error(p->r.e, &error), KD_OK);
    vectors_same("error", kd_buf_get(&error), kd_bytes_of_text("\x01\x67refused"));
    ck_assert_err(pair_read(p, 4, kd_buf_get(&error)), KD_ERR_HS_PEER);
    ck_assert_int_eq(kd_edhoc_peer_error(p->i.e)->code, KD_EDHOC_ERR_UNSPECIFIED);
    ck_assert(!kd_edhoc_is_done(p->i.e));
}
END_TEST

START_TEST(error_messages_are_read_strictly) {
    static const struct {
        const char *hex;
        enum kd_err err;
    } rows[] = {
        { "0202", KD_OK },
        { "02820203", KD_OK },
        { "0160", KD_OK },
        { "03f5", KD_OK },
        { "2a80", KD_OK },
        { "", KD_ERR_CBOR_TRUNCATED },
        { "02", KD_ERR_CBOR_TRUNCATED },
        { "028102", KD_ERR_HS_MESSAGE },
        { "0260", KD_ERR_CBOR_TYPE },
        { "0101", KD_ERR_CBOR_TYPE },
        { "020203", KD_ERR_CBOR_TRAILING },
        { "02821b0000000100000000", KD_ERR_CBOR_RANGE },
        { "021b0000000100000000", KD_ERR_CBOR_RANGE },
        { "0289010203040506070809", KD_ERR_HS_MESSAGE },
        { "4100", KD_ERR_CBOR_TYPE },
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(rows[i].hex);
        struct kd_edhoc_error error;
        ck_assert_err(kd_edhoc_error_parse(vectors_get(in), &error), rows[i].err);
    }
}
END_TEST

static TCase *tcase_success(void) {
    TCase *t = tcase_create("handshakes");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, every_method_suite_and_id_cred_ends_in_the_same_keys, 0, 4);
    tcase_add_test(t, each_handshake_has_keys_of_its_own);
    tcase_add_test(t, both_ends_compute_the_same_share_from_a_kept_ephemeral);
    tcase_add_test(t, key_update_with_the_same_context_gives_the_same_new_keys);
    tcase_add_test(t, prk_out_is_handed_over_once);
    tcase_add_test(t, a_configuration_that_cannot_work_is_refused);
    return t;
}

static TCase *tcase_rules(void) {
    TCase *t = tcase_create("rules");
    tcase_add_loop_test(t, steps_out_of_order_and_repeated_are_refused_and_do_no_harm, 0, 4);
    tcase_add_test(t, after_a_failure_nothing_goes_on);
    tcase_add_test(t, the_ephemeral_key_lives_only_as_long_as_it_is_needed);
    tcase_add_test(t, a_wrong_suite_is_answered_with_error_2_and_the_next_try_succeeds);
    tcase_add_test(t, an_offer_that_skips_a_suite_we_support_is_refused);
    tcase_add_test(t, the_initiator_finds_no_suite_where_there_is_none);
    tcase_add_test(t, ead_is_carried_padding_and_the_unknown_are_left_out);
    tcase_add_test(t, a_critical_unknown_ead_ends_the_handshake);
    tcase_add_test(t, an_ead_label_of_another_message_is_unknown);
    tcase_add_test(t, ead_items_are_bounded);
    tcase_add_test(t, the_peer_learns_nothing_but_that_it_was_refused);
    tcase_add_test(t, error_messages_are_read_strictly);
    return t;
}

UNIT_MAIN("edhoc", tcase_success(), tcase_rules())
