// SPDX-License-Identifier: Apache-2.0
// Envelopes (J15): what is sealed is opened by who has the key, and nothing that was
// changed is.
#include "channel/envelope.h"

#include "replay_keys.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

static const struct kd_keys keys = { &kd_keyops_openssl, NULL };
static const uint8_t id[KD_ENVELOPE_ID_BYTES] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
static uint64_t key;
static struct kd_point point;
static struct kd_buf sealed;

static struct kd_envelope terms_of(const char *sender) {
    return (struct kd_envelope) { .id = { id, sizeof(id) },
                                  .time_s = 1000000000,
                                  .expires_s = 1000003600,
                                  .sender = kd_bytes_of_text(sender) };
}

static void setup(void) {
    sealed = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    ck_assert_err(keys.ops->generate(keys.ctx, KD_CURVE_P256, &key, &point), KD_OK);
    const struct kd_envelope terms = terms_of("sensor");
    ck_assert_err(kd_envelope_seal(&keys, &point, &terms, kd_bytes_of_text("hello"), &sealed),
                  KD_OK);
}

static void teardown(void) {
    keys.ops->destroy(keys.ctx, key);
    kd_buf_wipe(&sealed);
}

// As a worker does it.
static enum kd_err open_it(struct kd_bytes bytes, struct kd_buf *body) {
    struct kd_envelope e;
    kd_auto(hpke) struct kd_hpke *h = NULL;
    enum kd_err r = kd_envelope_parse(bytes, &e);
    if (r != KD_OK ||
        (r = kd_hpke_new_recipient(&keys, key, &point, e.enc, kd_bytes_of_text(KD_ENVELOPE_INFO),
                                   &h)) != KD_OK) {
        return r;
    }
    return kd_hpke_open(h, e.aad, e.sealed, body);
}

START_TEST(no_truncation_is_taken) {
    for (size_t n = 0; n < sealed.n; n++) {
        struct kd_envelope e;
        ck_assert_err(kd_envelope_parse((struct kd_bytes) { sealed.p, n }, &e),
                      KD_ERR_ENVELOPE_FORM);
    }
    kd_buf_u8(&sealed, 0);
    struct kd_envelope e;
    ck_assert_err(kd_envelope_parse(kd_buf_get(&sealed), &e), KD_ERR_ENVELOPE_FORM);
}
END_TEST

START_TEST(no_changed_bit_is_opened) {
    for (size_t i = 0; i < 8 * sealed.n; i++) {
        kd_auto(buf) struct kd_buf body = KD_BUF_INIT(64);
        struct kd_envelope e;
        sealed.p[i / 8] ^= (uint8_t)(1 << i % 8);
        // The id of the key is not among what HPKE needs, but it is bound too.
        ck_assert_int_ne(open_it(kd_buf_get(&sealed), &body), KD_OK);
        ck_assert_uint_eq(body.n, 0);
        sealed.p[i / 8] ^= (uint8_t)(1 << i % 8);
        ck_assert_err(kd_envelope_parse(kd_buf_get(&sealed), &e), KD_OK);
    }
}
END_TEST

START_TEST(limits_of_body_and_sender_hold) {
    static uint8_t large[KD_ENVELOPE_BODY_MAX_BYTES + 1];
    static const char sender[] = "0123456789012345678901234567890123456789012345678901234567890123";
    _Static_assert(sizeof(sender) == KD_ENVELOPE_SENDER_MAX_BYTES + 1, "as long as may be");
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(2 * KD_ENVELOPE_MAX_BYTES);
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    struct kd_envelope terms = terms_of(sender);
    ck_assert_err(
        kd_envelope_seal(&keys, &point, &terms, (struct kd_bytes) { large, sizeof(large) }, &out),
        KD_ERR_ITEM_TOO_LARGE);
    ck_assert_err(kd_envelope_seal(&keys, &point, &terms,
                                   (struct kd_bytes) { large, sizeof(large) - 1 }, &out),
                  KD_OK);
    ck_assert_uint_le(out.n, KD_ENVELOPE_MAX_BYTES);
    ck_assert_err(open_it(kd_buf_get(&out), &body), KD_OK);
    ck_assert_uint_eq(body.n, KD_ENVELOPE_BODY_MAX_BYTES);
    terms.sender.n++;
    ck_assert_err(kd_envelope_seal(&keys, &point, &terms, KD_BYTES_NONE, &out),
                  KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

// J11: what would not be taken is not made, and nothing is left of it.
START_TEST(terms_that_no_recipient_would_take_are_refused) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    const struct kd_bytes senders[] = { { (const uint8_t *)"admin\0x", 7 },
                                        { (const uint8_t *)"\0", 1 },
                                        { (const uint8_t *)"\xff", 1 },
                                        { (const uint8_t *)"\xc3", 1 } };
    kd_buf_text(&out, "before");
    for (size_t i = 0; i < KD_COUNT_OF(senders); i++) {
        struct kd_envelope terms = terms_of("");
        terms.sender = senders[i];
        ck_assert_err(kd_envelope_seal(&keys, &point, &terms, KD_BYTES_NONE, &out),
                      KD_ERR_ENVELOPE_FORM);
    }
    for (size_t n = 0; n <= KD_ENVELOPE_ID_BYTES; n += KD_ENVELOPE_ID_BYTES - 1) {
        struct kd_envelope terms = terms_of("");
        terms.id.n = n;
        ck_assert_err(kd_envelope_seal(&keys, &point, &terms, KD_BYTES_NONE, &out),
                      KD_ERR_ENVELOPE_FORM);
    }
    ck_assert_str_eq(kd_buf_get_text(&out), "before");
}
END_TEST

START_TEST(another_key_opens_nothing) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(64);
    const uint64_t right = key;
    const struct kd_point right_point = point;
    ck_assert_err(keys.ops->generate(keys.ctx, KD_CURVE_P256, &key, &point), KD_OK);
    ck_assert_err(open_it(kd_buf_get(&sealed), &body), KD_ERR_NOT_AUTHENTIC);
    keys.ops->destroy(keys.ctx, key);
    key = right;
    point = right_point;
}
END_TEST

START_TEST(what_was_sealed_is_opened_with_its_terms) {
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(64);
    struct kd_envelope e;
    uint8_t key_id[KD_ENVELOPE_KEY_ID_BYTES];
    uint8_t hash[32];
    const struct kd_bytes whole = kd_point_get(&point);
    ck_assert_err(open_it(kd_buf_get(&sealed), &body), KD_OK);
    ck_assert(kd_bytes_equal(kd_buf_get(&body), kd_bytes_of_text("hello")));
    ck_assert_err(kd_envelope_parse(kd_buf_get(&sealed), &e), KD_OK);
    kd_envelope_key_id(&point, key_id);
    ck_assert_err(kd_host_hash(KD_MD_SHA256, &whole, 1, hash), KD_OK);
    ck_assert_mem_eq(key_id, hash, sizeof(key_id));
    ck_assert(kd_bytes_equal(e.key_id, (struct kd_bytes) { key_id, sizeof(key_id) }));
    ck_assert(kd_bytes_equal(e.id, (struct kd_bytes) { id, sizeof(id) }));
    ck_assert(kd_bytes_equal(e.sender, kd_bytes_of_text("sensor")));
    ck_assert_uint_eq(e.time_s, 1000000000);
    ck_assert_uint_eq(e.expires_s, 1000003600);
    // The additional data are the encoded items from 1 to the sender.
    ck_assert_uint_eq(e.aad.p[0], KD_ENVELOPE_VERSION);
    ck_assert_mem_eq(e.aad.p + e.aad.n - 7, "\x66sensor", 7);
}
END_TEST

// ---- the values of tests/vectors/channel/envelope.json, made by another writing ----

static struct kd_bytes text_of(const json_t *v, const char *name, uint8_t *room) {
    kd_auto(vectors_bytes) struct vectors_bytes b = vectors_hex(v, name);
    if (b.n > 0) {
        memcpy(room, b.p, b.n);
    }
    return (struct kd_bytes) { room, b.n };
}

static void check_sealed(const json_t *v, struct kd_bytes expected) {
    uint8_t message_id[KD_ENVELOPE_ID_BYTES], sender[KD_ENVELOPE_SENDER_MAX_BYTES], body[256];
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    kd_auto(vectors_bytes) struct vectors_bytes ephemeral = vectors_hex(v, "ephemeral");
    struct replay_keys replay = { .ephemeral = vectors_get(ephemeral) };
    const struct kd_keys replayed = { &replay_keyops, &replay };
    const struct kd_envelope terms = { .id = text_of(v, "id", message_id),
                                       .time_s = (uint64_t)vectors_int(v, "time"),
                                       .expires_s = (uint64_t)vectors_int(v, "expires"),
                                       .sender = text_of(v, "sender", sender) };
    ck_assert_err(kd_envelope_seal(&replayed, &point, &terms, text_of(v, "body", body), &out),
                  KD_OK);
    vectors_same("envelope", kd_buf_get(&out), expected);
}

static void check_vector(const json_t *v) {
    uint8_t info[32], aad[128], text[256];
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(1024);
    kd_auto(vectors_bytes) struct vectors_bytes scalar = vectors_hex(v, "recipient");
    kd_auto(vectors_bytes) struct vectors_bytes whole = vectors_hex(v, "envelope");
    struct kd_envelope e;
    keys.ops->destroy(keys.ctx, key);
    ck_assert_err(kd_openssl_key_from_scalar(KD_CURVE_P256, vectors_get(scalar), &key), KD_OK);
    ck_assert_err(kd_openssl_key_point(key, &point), KD_OK);
    ck_assert_err(kd_envelope_parse(vectors_get(whole), &e), KD_OK);
    vectors_same("aad", e.aad, text_of(v, "aad", aad));
    if (!kd_bytes_equal(text_of(v, "info", info), kd_bytes_of_text(KD_ENVELOPE_INFO))) {
        ck_assert_err(open_it(vectors_get(whole), &body), KD_ERR_NOT_AUTHENTIC);
        ck_assert_uint_eq(body.n, 0);
        return;
    }
    ck_assert_err(open_it(vectors_get(whole), &body), KD_OK);
    vectors_same("body", kd_buf_get(&body), text_of(v, "body", text));
    check_sealed(v, vectors_get(whole));
}

// J15.  One of them is sealed with another info (RFC 9180 5.1) and must not be opened.
START_TEST(values_of_another_writing_are_made_and_opened) {
    kd_auto(json) json_t *all = vectors_load("channel/envelope.json");
    ck_assert_uint_eq(json_array_size(all), 4);
    for (size_t i = 0; i < json_array_size(all); i++) {
        check_vector(json_array_get(all, i));
    }
}
END_TEST

static TCase *tcase_envelope(void) {
    TCase *t = tcase_create("envelope");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, no_truncation_is_taken);
    tcase_add_test(t, no_changed_bit_is_opened);
    tcase_add_test(t, limits_of_body_and_sender_hold);
    tcase_add_test(t, terms_that_no_recipient_would_take_are_refused);
    tcase_add_test(t, another_key_opens_nothing);
    tcase_add_test(t, what_was_sealed_is_opened_with_its_terms);
    tcase_add_test(t, values_of_another_writing_are_made_and_opened);
    return t;
}

UNIT_MAIN("envelope", tcase_envelope())
