// SPDX-License-Identifier: Apache-2.0
#include "unit.h"
#include "wire_samples.h"

#include <string.h>

// ---- every message as one kind of thing --------------------------------------

enum kind { REQUEST, ITEM, REPLY, RESULT, HELLO, STATUS };

struct message {
    enum kind kind;
    enum kd_hsm_op op;
};

static void put_sample(struct kd_buf *out, struct message m) {
    const struct kd_hsm_request q = sample_request(m.op);
    struct parts parts = { .terms = sample_terms(), .session = sample_session() };
    parts.handshake = sample_handshake(&parts.terms);
    struct kd_hsm_item item = sample_item();
    use_parts(&item, &parts);
    struct kd_hsm_result result = sample_result();
    result.terms = &parts.terms;
    const struct kd_hsm_hello hello = sample_hello();
    const struct kd_hsm_status status = sample_status();
    const struct kd_hsm_reply reply = { .id = 77, .token_us = 123456, .n_items = 1024 };
    switch (m.kind) {
    case REQUEST:
        kd_hsm_put_request(out, &q);
        break;
    case ITEM:
        kd_hsm_put_item(out, m.op, &item);
        break;
    case REPLY:
        kd_hsm_put_reply(out, &reply);
        break;
    case RESULT:
        kd_hsm_put_result(out, m.op, &result);
        break;
    case HELLO:
        kd_hsm_put_hello(out, &hello);
        break;
    case STATUS:
        kd_hsm_put_status(out, 5, &status);
        break;
    }
}

// Decodes; what was understood is encoded again into `again` (may be NULL).
static enum kd_err decode(struct message m, struct kd_bytes bytes, struct kd_buf *again) {
    struct kd_reader in = kd_reader_of(bytes);
    struct kd_hsm_request q = { 0 };
    struct parts parts = { 0 };
    struct kd_hsm_item item = { 0 };
    use_parts(&item, &parts);
    struct kd_hsm_result result = { .terms = &parts.terms };
    struct kd_hsm_hello hello = { 0 };
    struct kd_hsm_status status = { 0 };
    struct kd_hsm_reply reply = { 0 };
    uint32_t id = 0;
    enum kd_err r = KD_ERR_BUG;
    switch (m.kind) {
    case REQUEST:
        r = kd_hsm_get_request(&in, &q);
        break;
    case ITEM:
        r = kd_hsm_get_item(&in, m.op, &item);
        break;
    case REPLY:
        r = kd_hsm_get_reply(&in, &reply);
        break;
    case RESULT:
        r = kd_hsm_get_result(&in, m.op, &result);
        break;
    case HELLO:
        r = kd_hsm_get_hello(&in, &hello);
        break;
    case STATUS:
        r = kd_hsm_get_status(&in, &id, &status);
        break;
    }
    r = r == KD_OK ? kd_reader_finish(&in) : r;
    if (r != KD_OK || again == NULL) {
        return r;
    }
    if (m.kind == REQUEST) {
        kd_hsm_put_request(again, &q);
    } else if (m.kind == ITEM) {
        kd_hsm_put_item(again, m.op, &item);
    } else if (m.kind == REPLY) {
        kd_hsm_put_reply(again, &reply);
    } else if (m.kind == RESULT) {
        kd_hsm_put_result(again, m.op, &result);
    } else if (m.kind == HELLO) {
        kd_hsm_put_hello(again, &hello);
    } else {
        kd_hsm_put_status(again, id, &status);
    }
    return kd_buf_finish(again);
}

typedef void visit_fn(struct message m, struct kd_bytes bytes);

static void for_each_message(visit_fn *visit) {
    fill();
    for (int kind = REQUEST; kind <= STATUS; kind++) {
        for (int op = KD_HSM_PING; op <= KD_HSM_OP_LAST; op++) {
            const struct message m = { (enum kind)kind, (enum kd_hsm_op)op };
            kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
            put_sample(&b, m);
            ck_assert_err(kd_buf_finish(&b), KD_OK);
            visit(m, kd_buf_get(&b));
        }
    }
}

// ---- every message ---------------------------------------------------------

static void check_round_trip(struct message m, struct kd_bytes bytes) {
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    ck_assert_err(decode(m, bytes, &again), KD_OK);
    ck_assert_msg(kd_bytes_equal(bytes, kd_buf_get(&again)), "kind %d op %d", m.kind, m.op);
}

START_TEST(each_message_decodes_to_what_encodes_the_same) {
    for_each_message(check_round_trip);
}
END_TEST

// The copy has exactly the bytes, so that a sanitizer sees a read behind them.
static void check_truncation(struct message m, struct kd_bytes bytes) {
    for (size_t n = 0; n < bytes.n; n++) {
        uint8_t *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, bytes.p, n);
        const enum kd_err r = decode(m, (struct kd_bytes) { copy, n }, NULL);
        free(copy);
        ck_assert_msg(r == KD_ERR_MALFORMED, "kind %d op %d of %zu bytes: %s", m.kind, m.op, n,
                      kd_err_name(r));
    }
}

START_TEST(a_message_cut_at_any_byte_is_malformed) {
    for_each_message(check_truncation);
}
END_TEST

static void check_trailing(struct message m, struct kd_bytes bytes) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    kd_buf_put(&b, bytes.p, bytes.n);
    kd_buf_u8(&b, 0);
    ck_assert_err(decode(m, kd_buf_get(&b), NULL), KD_ERR_MALFORMED);
}

START_TEST(a_byte_behind_a_message_is_malformed) {
    for_each_message(check_trailing);
}
END_TEST

// Whatever one changed byte makes of it: an error, or what encodes to that.
static void check_flips(struct message m, struct kd_bytes bytes) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    kd_buf_put(&b, bytes.p, bytes.n);
    for (size_t i = 0; i < b.n; i++) {
        const uint8_t was = b.p[i];
        static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
        for (size_t v = 0; v < sizeof(values); v++) {
            kd_auto(buf) struct kd_buf again = KD_BUF_INIT(MESSAGE_MAX_BYTES);
            b.p[i] = values[v];
            const enum kd_err r = decode(m, kd_buf_get(&b), &again);
            ck_assert_msg(r == KD_ERR_MALFORMED || r == KD_ERR_TOO_MANY ||
                              (r == KD_OK && kd_bytes_equal(kd_buf_get(&again), kd_buf_get(&b))),
                          "kind %d op %d byte %zu = %u: %s", m.kind, m.op, i, values[v],
                          kd_err_name(r));
        }
        b.p[i] = was;
    }
}

START_TEST(a_changed_byte_is_refused_or_means_what_it_says) {
    for_each_message(check_flips);
}
END_TEST

// ---- limits ----------------------------------------------------------------

static enum kd_err round_trip_request(const struct kd_hsm_request *q) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    struct kd_hsm_request got = { 0 };
    fill();
    kd_hsm_put_request(&b, q);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    struct kd_reader in = kd_reader_of(kd_buf_get(&b));
    enum kd_err r = kd_hsm_get_request(&in, &got);
    return r == KD_OK ? kd_reader_finish(&in) : r;
}

static enum kd_err with_key(struct kd_key_ref key) {
    struct kd_hsm_request q = { .op = KD_HSM_SIGN, .n_keys = 1, .keys = { key } };
    return round_trip_request(&q);
}

static enum kd_err with_recipe(struct kd_recipe recipe) {
    struct kd_hsm_request q = { .op = KD_HSM_MAC, .has_recipe = true, .recipe = recipe };
    return round_trip_request(&q);
}

START_TEST(a_key_s_parts_have_their_limits) {
    struct kd_key_ref key = sample_key();
    key.id = some(0);
    ck_assert_err(with_key(key), KD_ERR_MALFORMED);
    key.id = some(KD_HSM_ID_MAX_BYTES + 1);
    ck_assert_err(with_key(key), KD_ERR_MALFORMED);
    key.id = some(KD_HSM_ID_MAX_BYTES);
    key.label = some(KD_HSM_LABEL_MAX_BYTES + 1);
    ck_assert_err(with_key(key), KD_ERR_MALFORMED);
    key.label = some(KD_HSM_LABEL_MAX_BYTES);
    key.proof = some(KD_HSM_POINT_MAX_BYTES + 1);
    ck_assert_err(with_key(key), KD_ERR_MALFORMED);
    key.proof = some(KD_HSM_POINT_MAX_BYTES);
    ck_assert_err(with_key(key), KD_OK);
    key.label = key.proof = KD_BYTES_NONE;
    ck_assert_err(with_key(key), KD_OK);
    key.type = (enum kd_key_type)0;
    ck_assert_err(with_key(key), KD_ERR_MALFORMED);
    key.type = (enum kd_key_type)(KD_KEY_TYPE_LAST + 1);
    ck_assert_err(with_key(key), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(a_recipe_s_parts_have_their_limits) {
    struct kd_recipe r = sample_recipe();
    r.peer = some(KD_HSM_POINT_MAX_BYTES + 1);
    ck_assert_err(with_recipe(r), KD_ERR_MALFORMED);
    r.peer = KD_BYTES_NONE;
    ck_assert_err(with_recipe(r), KD_OK);
    r.steps[0].salt = some(KD_HSM_INFO_MAX_BYTES + 1);
    ck_assert_err(with_recipe(r), KD_ERR_MALFORMED);
    r.steps[0].salt = some(KD_HSM_INFO_MAX_BYTES);
    ck_assert_err(with_recipe(r), KD_OK);
    r.steps[0].info = some(KD_HSM_INFO_MAX_BYTES + 1);
    ck_assert_err(with_recipe(r), KD_ERR_MALFORMED);
    r.steps[0].info = r.steps[0].salt = KD_BYTES_NONE;
    ck_assert_err(with_recipe(r), KD_OK);
    r.steps[0].kdf = (enum kd_kdf)0;
    ck_assert_err(with_recipe(r), KD_ERR_MALFORMED);
    r.steps[0].kdf = (enum kd_kdf)(KD_KDF_LAST + 1);
    ck_assert_err(with_recipe(r), KD_ERR_MALFORMED);
    r.n_steps = 0;
    ck_assert_err(with_recipe(r), KD_OK);
    r.type = (enum kd_key_type)(KD_KEY_TYPE_LAST + 1);
    ck_assert_err(with_recipe(r), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(a_recipe_of_the_most_steps_is_taken_and_one_more_is_not) {
    struct kd_recipe r = sample_recipe();
    r.n_steps = KD_HSM_STEPS_MAX;
    for (size_t i = 0; i < KD_HSM_STEPS_MAX; i++) {
        r.steps[i] = r.steps[0];
    }
    ck_assert_err(with_recipe(r), KD_OK);
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    const struct kd_hsm_item item = { .recipe = r };
    kd_hsm_put_item(&b, KD_HSM_DERIVE, &item);
    struct kd_hsm_item got;
    const size_t at = 16 + 1 + 17 + 10 + 98 + 98; // id, base, peer
    ck_assert_uint_eq(b.p[at], KD_HSM_STEPS_MAX);
    b.p[at]++;
    struct kd_reader in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_item(&in, KD_HSM_DERIVE, &got), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(a_request_s_head_has_its_limits) {
    struct kd_hsm_request q = sample_request(KD_HSM_HELLO);
    ck_assert_err(round_trip_request(&q), KD_ERR_MALFORMED);
    q.op = (enum kd_hsm_op)(KD_HSM_OP_LAST + 1);
    ck_assert_err(round_trip_request(&q), KD_ERR_MALFORMED);
    q.op = KD_HSM_MAC;
    q.hash = (enum kd_hash)(KD_HASH_SHA384 + 1);
    ck_assert_err(round_trip_request(&q), KD_ERR_MALFORMED);
    q.hash = KD_HASH_NONE;
    q.n_keys = KD_HSM_KEYS_MAX;
    for (size_t i = 0; i < KD_HSM_KEYS_MAX; i++) {
        q.keys[i] = sample_key();
    }
    ck_assert_err(round_trip_request(&q), KD_OK);
}
END_TEST

START_TEST(more_items_or_keys_than_a_batch_has_are_refused) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    const struct kd_hsm_request q = { .op = KD_HSM_MAC, .n_items = KD_HSM_BATCH_MAX_ITEMS };
    struct kd_hsm_request got;
    kd_hsm_put_request(&b, &q);
    b.p[b.n - 1]++; // 1025
    struct kd_reader in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_request(&in, &got), KD_ERR_TOO_MANY);
    b.p[b.n - 1]--;
    b.p[6] = KD_HSM_KEYS_MAX + 1; // behind op, id and hash
    in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_request(&in, &got), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(a_reply_with_an_error_has_no_items) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1000);
    const struct kd_hsm_reply a = { .err = KD_ERR_TOKEN_AWAY, .n_items = 3 };
    struct kd_hsm_reply got;
    kd_hsm_put_reply(&b, &a);
    struct kd_reader in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_reply(&in, &got), KD_OK);
    ck_assert_uint_eq(got.n_items, 0);
    b.p[b.n - 1] = 1;
    in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_reply(&in, &got), KD_ERR_MALFORMED);
    b.p[4] = KD_OK;
    b.p[b.n - 2] = 0x04; // 1025
    in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_reply(&in, &got), KD_ERR_TOO_MANY);
    b.p[4] = KD_ERR_COUNT;
    b.p[b.n - 2] = 0;
    in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_reply(&in, &got), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(a_result_with_an_error_is_only_that) {
    fill();
    for (int op = KD_HSM_GENERATE; op <= KD_HSM_OP_LAST; op++) {
        if (op >= KD_HSM_HS_START && op <= KD_HSM_HS_CONFIRM) {
            continue; // test_wire_channel.c
        }
        kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1000);
        struct kd_hsm_result result = sample_result();
        struct kd_hsm_result got = { 0 };
        result.err = KD_ERR_NOT_AUTHENTIC;
        kd_hsm_put_result(&b, (enum kd_hsm_op)op, &result);
        ck_assert_uint_eq(b.n, 1);
        struct kd_reader in = kd_reader_of(kd_buf_get(&b));
        ck_assert_err(kd_hsm_get_result(&in, (enum kd_hsm_op)op, &got), KD_OK);
        ck_assert_err(got.err, KD_ERR_NOT_AUTHENTIC);
        ck_assert(!got.ok && got.out.n == 0 && got.iv.n == 0 && !got.object.has_type);
    }
}
END_TEST

START_TEST(an_object_has_a_type_or_says_that_it_has_none) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1000);
    struct kd_hsm_result result = sample_result();
    struct kd_hsm_result got;
    fill();
    result.object.has_type = false; // and yet one is named
    kd_hsm_put_result(&b, KD_HSM_FIND, &result);
    struct kd_reader in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_result(&in, KD_HSM_FIND, &got), KD_ERR_MALFORMED);
    kd_buf_reset(&b);
    result.object = (struct kd_hsm_object) { .is_private = true };
    kd_hsm_put_result(&b, KD_HSM_FIND, &result);
    in = kd_reader_of(kd_buf_get(&b));
    ck_assert_err(kd_hsm_get_result(&in, KD_HSM_FIND, &got), KD_OK);
    ck_assert(got.object.is_private && got.object.ref.type == 0);
}
END_TEST

START_TEST(a_hello_without_threads_or_with_a_long_record_is_malformed) {
    static const struct message m = { HELLO, KD_HSM_HELLO };
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    struct kd_hsm_hello h = { .threads = 0 };
    fill();
    kd_hsm_put_hello(&b, &h);
    ck_assert_err(decode(m, kd_buf_get(&b), NULL), KD_ERR_MALFORMED);
    kd_buf_reset(&b);
    h = (struct kd_hsm_hello) { .threads = 1,
                                .refused_pin = some(KD_HSM_PIN_RECORD_MAX_BYTES + 1) };
    kd_hsm_put_hello(&b, &h);
    ck_assert_err(decode(m, kd_buf_get(&b), NULL), KD_ERR_MALFORMED);
    kd_buf_reset(&b);
    h.refused_pin = KD_BYTES_NONE;
    kd_hsm_put_hello(&b, &h);
    ck_assert_err(decode(m, kd_buf_get(&b), NULL), KD_OK);
    b.p[0] = KD_HSM_PING;
    ck_assert_err(decode(m, kd_buf_get(&b), NULL), KD_ERR_MALFORMED);
}
END_TEST

START_TEST(a_field_longer_than_its_length_can_say_is_an_error_of_the_encoder) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(MESSAGE_MAX_BYTES);
    fill();
    const struct kd_hsm_item item = { .tag = some(65536) };
    kd_hsm_put_item(&b, KD_HSM_VERIFY, &item);
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

// ---- frames ----------------------------------------------------------------

START_TEST(a_frame_comes_out_when_its_last_byte_is_there) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1000);
    const size_t start = kd_hsm_frame_begin(&b);
    kd_buf_text(&b, "hello");
    kd_hsm_frame_end(&b, start);
    kd_buf_u8(&b, 0); // of the next one
    struct kd_bytes frame;
    size_t taken = 99;
    for (size_t n = 0; n < 9; n++) {
        ck_assert_err(kd_hsm_frame_next((struct kd_bytes) { b.p, n }, &frame, &taken), KD_OK);
        ck_assert_uint_eq(taken, 0);
        ck_assert_uint_eq(frame.n, 0);
    }
    ck_assert_err(kd_hsm_frame_next(kd_buf_get(&b), &frame, &taken), KD_OK);
    ck_assert_uint_eq(taken, 9);
    ck_assert(kd_bytes_equal(frame, kd_bytes_of_text("hello")));
}
END_TEST

START_TEST(an_empty_frame_is_taken_and_one_over_the_limit_is_refused) {
    static const uint8_t empty[] = { 0, 0, 0, 0 };
    static const uint8_t most[] = { 0, 0x40, 0, 0 };
    static const uint8_t over[] = { 0, 0x40, 0, 1 };
    static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff };
    struct kd_bytes frame;
    size_t taken = 99;
    ck_assert_err(kd_hsm_frame_next((struct kd_bytes) { empty, 4 }, &frame, &taken), KD_OK);
    ck_assert_uint_eq(taken, 4);
    ck_assert_err(kd_hsm_frame_next((struct kd_bytes) { most, 4 }, &frame, &taken), KD_OK);
    ck_assert_uint_eq(taken, 0);
    ck_assert_err(kd_hsm_frame_next((struct kd_bytes) { over, 4 }, &frame, &taken),
                  KD_ERR_TOO_MANY);
    ck_assert_err(kd_hsm_frame_next((struct kd_bytes) { huge, 4 }, &frame, &taken),
                  KD_ERR_TOO_MANY);
}
END_TEST

START_TEST(a_frame_over_the_limit_is_not_written) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES + 100);
    size_t start = kd_hsm_frame_begin(&b);
    ck_assert_ptr_nonnull(kd_buf_extend(&b, KD_HSM_FRAME_MAX_BYTES));
    kd_hsm_frame_end(&b, start);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    kd_buf_reset(&b);
    start = kd_hsm_frame_begin(&b);
    ck_assert_ptr_nonnull(kd_buf_extend(&b, KD_HSM_FRAME_MAX_BYTES + 1));
    kd_hsm_frame_end(&b, start);
    ck_assert_err(kd_buf_finish(&b), KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

static TCase *tcase_messages(void) {
    TCase *c = tcase_create("messages");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_message_cut_at_any_byte_is_malformed);
    tcase_add_test(c, a_byte_behind_a_message_is_malformed);
    tcase_add_test(c, a_changed_byte_is_refused_or_means_what_it_says);
    tcase_add_test(c, each_message_decodes_to_what_encodes_the_same);
    return c;
}

static TCase *tcase_limits(void) {
    TCase *c = tcase_create("limits");
    tcase_add_test(c, a_key_s_parts_have_their_limits);
    tcase_add_test(c, a_recipe_s_parts_have_their_limits);
    tcase_add_test(c, a_recipe_of_the_most_steps_is_taken_and_one_more_is_not);
    tcase_add_test(c, a_request_s_head_has_its_limits);
    tcase_add_test(c, more_items_or_keys_than_a_batch_has_are_refused);
    tcase_add_test(c, a_reply_with_an_error_has_no_items);
    tcase_add_test(c, a_result_with_an_error_is_only_that);
    tcase_add_test(c, an_object_has_a_type_or_says_that_it_has_none);
    tcase_add_test(c, a_hello_without_threads_or_with_a_long_record_is_malformed);
    tcase_add_test(c, a_field_longer_than_its_length_can_say_is_an_error_of_the_encoder);
    return c;
}

static TCase *tcase_frames(void) {
    TCase *c = tcase_create("frames");
    tcase_add_test(c, a_frame_comes_out_when_its_last_byte_is_there);
    tcase_add_test(c, an_empty_frame_is_taken_and_one_over_the_limit_is_refused);
    tcase_add_test(c, a_frame_over_the_limit_is_not_written);
    return c;
}

UNIT_MAIN("wire", tcase_messages(), tcase_limits(), tcase_frames())
