// SPDX-License-Identifier: Apache-2.0
// Session keys and records: equal to an independent model, and refused where
// anything is changed.
#include "channel/record.h"

#include "unit.h"
#include "vectors.h"

#include <string.h>

// Both ends of a session, on the same software keys.
struct session {
    struct kd_soft_traffic traffic;
    struct kd_record_end client;
    struct kd_record_end server;
};

static const uint8_t session_id[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
static const uint64_t now_ms = UINT64_C(1767225600000);

static struct kd_secret *secret_of(struct kd_bytes b) {
    struct kd_secret *s = NULL;
    ck_assert_err(kd_secret_new(b.n, &s), KD_OK);
    memcpy(kd_secret_get(s), b.p, b.n);
    return s;
}

static void ends_init(struct session *s, struct kd_bytes id, const struct kd_record_ivs *ivs) {
    s->client = (struct kd_record_end) { &kd_traffic_ops_soft, &s->traffic, true, id, *ivs,
                                         KD_OTP_DEFAULT };
    s->server = s->client;
    s->server.is_client = false;
}

static void session_init(struct session *s, const char *secret, const char *node_nonce) {
    const struct kd_key32 share = { { 42 } };
    uint8_t bytes[32] = { 0 };
    memcpy(bytes, secret, strlen(secret));
    kd_auto(secret) struct kd_secret *key = secret_of((struct kd_bytes) { bytes, 32 });
    const struct kd_attachment a = { KD_BYTES_NONE, kd_bytes_of_text(node_nonce) };
    struct kd_record_ivs ivs;
    kd_soft_traffic_init(&s->traffic, &share);
    ck_assert_err(
        kd_schedule_run(KD_MD_SHA256, key, &a, kd_soft_traffic_install, &s->traffic, &ivs), KD_OK);
    ends_init(s, (struct kd_bytes) { session_id, sizeof(session_id) }, &ivs);
}

static enum kd_err open_at(const struct kd_record_end *end, struct kd_bytes record,
                           struct kd_bytes aad, uint64_t at_ms, struct kd_buf *text,
                           struct kd_record *out) {
    struct kd_record_head head;
    enum kd_err r = kd_record_parse(record, &head);
    return r == KD_OK ? kd_record_open(end, &head, aad, at_ms, text, out) : r;
}

static void seal_data(const struct kd_record_end *end, uint64_t sequence, const char *body,
                      struct kd_buf *out) {
    const struct kd_record record = { KD_RECORD_DATA, kd_bytes_of_text(body) };
    ck_assert_err(kd_record_seal(end, sequence, now_ms, KD_BYTES_NONE, &record, out), KD_OK);
}

static enum kd_err open_plain(const struct kd_record_end *end, struct kd_bytes record) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record out;
    enum kd_err r = open_at(end, record, KD_BYTES_NONE, now_ms, &text, &out);
    ck_assert(r == KD_OK || text.n == 0);
    return r;
}

// ---- vectors ---------------------------------------------------------------

static void check_keys(const json_t *v, struct kd_secret *s, enum kd_md md,
                       const struct kd_attachment *a, const struct kd_soft_traffic *t) {
    static const char *const names[] = { "c2s", "s2c", "otp" };
    for (int which = 0; which < KD_TRAFFIC_KEYS; which++) {
        char name[16];
        snprintf(name, sizeof(name), "D_%s", names[which]);
        kd_auto(vectors_bytes) struct vectors_bytes d = vectors_hex(v, name);
        struct kd_key32 got;
        ck_assert_err(kd_schedule_data(md, s, a, (enum kd_traffic)which, &got), KD_OK);
        vectors_same(name, (struct kd_bytes) { got.bytes, 32 }, vectors_get(d));
        snprintf(name, sizeof(name), "key_%s", names[which]);
        kd_auto(vectors_bytes) struct vectors_bytes key = vectors_hex(v, name);
        vectors_same(name, (struct kd_bytes) { t->keys[which].bytes, 32 }, vectors_get(key));
    }
}

static void check_record(const json_t *row, const struct session *s) {
    kd_auto(vectors_bytes) struct vectors_bytes aad = vectors_hex(row, "aad");
    kd_auto(vectors_bytes) struct vectors_bytes body = vectors_hex(row, "body");
    kd_auto(vectors_bytes) struct vectors_bytes expected = vectors_hex(row, "record");
    bool from_client = strcmp(vectors_text(row, "way"), "c2s") == 0;
    const struct kd_record record = { (enum kd_record_type)vectors_int(row, "type"),
                                      vectors_get(body) };
    uint64_t at_ms = (uint64_t)vectors_int(row, "now_ms");
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    ck_assert_err(kd_record_seal(from_client ? &s->client : &s->server,
                                 (uint64_t)vectors_int(row, "sequence"), at_ms, vectors_get(aad),
                                 &record, &out),
                  KD_OK);
    vectors_same("record", kd_buf_get(&out), vectors_get(expected));
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record got;
    ck_assert_err(open_at(from_client ? &s->server : &s->client, vectors_get(expected),
                          vectors_get(aad), at_ms, &text, &got),
                  KD_OK);
    ck_assert_int_eq(got.type, record.type);
    vectors_same("body", got.body, record.body);
}

START_TEST(keys_and_records_equal_the_model) {
    kd_auto(json) json_t *all = vectors_load("channel/channel.json");
    const json_t *v = json_array_get(all, (size_t)_i);
    ck_assert_uint_eq(json_array_size(all), 4);
    kd_auto(vectors_bytes) struct vectors_bytes secret = vectors_hex(v, "S");
    kd_auto(vectors_bytes) struct vectors_bytes share = vectors_hex(v, "share");
    kd_auto(vectors_bytes) struct vectors_bytes client_nonce = vectors_hex(v, "client_nonce");
    kd_auto(vectors_bytes) struct vectors_bytes node_nonce = vectors_hex(v, "node_nonce");
    kd_auto(vectors_bytes) struct vectors_bytes id = vectors_hex(v, "id");
    kd_auto(secret) struct kd_secret *s = secret_of(vectors_get(secret));
    enum kd_md md = strcmp(vectors_text(v, "md"), "sha384") == 0 ? KD_MD_SHA384 : KD_MD_SHA256;
    const struct kd_attachment a = { vectors_get(client_nonce), vectors_get(node_nonce) };
    struct kd_key32 r;
    if (share.n > 0) {
        memcpy(r.bytes, share.p, 32);
    }
    struct session both;
    kd_soft_traffic_init(&both.traffic, share.n > 0 ? &r : NULL);
    struct kd_record_ivs ivs;
    ck_assert_err(kd_schedule_run(md, s, &a, kd_soft_traffic_install, &both.traffic, &ivs), KD_OK);
    check_keys(v, s, md, &a, &both.traffic);
    kd_auto(vectors_bytes) struct vectors_bytes iv_c2s = vectors_hex(v, "iv_c2s");
    kd_auto(vectors_bytes) struct vectors_bytes iv_s2c = vectors_hex(v, "iv_s2c");
    vectors_same("iv", (struct kd_bytes) { ivs.c2s, 12 }, vectors_get(iv_c2s));
    vectors_same("iv", (struct kd_bytes) { ivs.s2c, 12 }, vectors_get(iv_s2c));
    ends_init(&both, vectors_get(id), &ivs);
    const json_t *records = json_object_get(v, "records");
    for (size_t k = 0; k < json_array_size(records); k++) {
        check_record(json_array_get(records, k), &both);
    }
}
END_TEST

START_TEST(a_nonce_over_its_limit_is_refused) {
    uint8_t bytes[KD_SESSION_NONCE_MAX_BYTES + 1] = { 0 };
    kd_auto(secret) struct kd_secret *s = secret_of((struct kd_bytes) { bytes, 32 });
    struct kd_soft_traffic t;
    kd_soft_traffic_init(&t, NULL);
    struct kd_record_ivs ivs;
    struct kd_attachment a = { { bytes, sizeof(bytes) }, KD_BYTES_NONE };
    ck_assert_err(kd_schedule_run(KD_MD_SHA256, s, &a, kd_soft_traffic_install, &t, &ivs),
                  KD_ERR_ITEM_TOO_LARGE);
    a = (struct kd_attachment) { KD_BYTES_NONE, { bytes, sizeof(bytes) } };
    ck_assert_err(kd_schedule_run(KD_MD_SHA256, s, &a, kd_soft_traffic_install, &t, &ivs),
                  KD_ERR_ITEM_TOO_LARGE);
}
END_TEST

// ---- changes ---------------------------------------------------------------

START_TEST(every_flipped_bit_and_every_truncation_is_refused) {
    struct session s;
    session_init(&s, "secret", "");
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(4096);
    seal_data(&s.client, 300, "some body", &record);
    ck_assert_err(open_plain(&s.server, kd_buf_get(&record)), KD_OK);
    for (size_t bit = 0; bit < 8 * record.n; bit++) {
        record.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum kd_err r = open_plain(&s.server, kd_buf_get(&record));
        ck_assert(r == KD_ERR_RECORD_FORM || r == KD_ERR_RECORD_SESSION ||
                  r == KD_ERR_NOT_AUTHENTIC);
        record.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t n = 0; n < record.n; n++) {
        ck_assert_err(open_plain(&s.server, (struct kd_bytes) { record.p, n }), KD_ERR_RECORD_FORM);
    }
    kd_buf_u8(&record, 0);
    ck_assert_err(open_plain(&s.server, kd_buf_get(&record)), KD_ERR_RECORD_FORM);
}
END_TEST

// J12 and "on another node": same session id, other keys.
START_TEST(a_record_is_of_no_use_elsewhere) {
    struct session a;
    struct session other_session;
    struct session other_node;
    session_init(&a, "secret", "");
    session_init(&other_session, "another", "");
    session_init(&other_node, "secret", "node 2");
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(4096);
    seal_data(&a.client, 0, "body", &record);
    ck_assert_err(open_plain(&other_session.server, kd_buf_get(&record)), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(open_plain(&other_node.server, kd_buf_get(&record)), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(open_plain(&a.client, kd_buf_get(&record)), KD_ERR_NOT_AUTHENTIC); // reflected
    a.server.id.n--;
    ck_assert_err(open_plain(&a.server, kd_buf_get(&record)), KD_ERR_RECORD_SESSION);
}
END_TEST

// J09: the header of the message that carries the record.
START_TEST(the_header_outside_is_protected) {
    struct session s;
    session_init(&s, "secret", "");
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(4096);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(4096);
    const struct kd_record data = { KD_RECORD_DATA, kd_bytes_of_text("body") };
    struct kd_record out;
    ck_assert_err(kd_record_seal(&s.client, 0, now_ms, kd_bytes_of_text("to: a"), &data, &record),
                  KD_OK);
    ck_assert_err(
        open_at(&s.server, kd_buf_get(&record), kd_bytes_of_text("to: b"), now_ms, &text, &out),
        KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(
        open_at(&s.server, kd_buf_get(&record), kd_bytes_of_text("to: a"), now_ms, &text, &out),
        KD_OK);
}
END_TEST

// J01, J02: sealed under the right key, but at another time.
START_TEST(a_late_or_early_password_is_refused) {
    struct session s;
    session_init(&s, "secret", "");
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(4096);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(4096);
    struct kd_record out;
    seal_data(&s.client, 0, "body", &record);
    static const struct {
        int64_t off_ms;
        enum kd_err err;
    } rows[] = { { -30000, KD_OK },
                 { -30001, KD_ERR_RECORD_OTP },
                 { 59999, KD_OK },
                 { 60000, KD_ERR_RECORD_OTP },
                 { 3600000, KD_ERR_RECORD_OTP },
                 { -3600000, KD_ERR_RECORD_OTP } };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        ck_assert_err(open_at(&s.server, kd_buf_get(&record), KD_BYTES_NONE,
                              (uint64_t)((int64_t)now_ms + rows[i].off_ms), &text, &out),
                      rows[i].err);
    }
}
END_TEST

START_TEST(the_end_of_the_sequence_is_refused) {
    struct session s;
    session_init(&s, "secret", "");
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(4096);
    seal_data(&s.client, KD_RECORD_SEQUENCE_MAX, "last", &record);
    ck_assert_err(open_plain(&s.server, kd_buf_get(&record)), KD_OK);
    size_t n = record.n;
    const struct kd_record data = { KD_RECORD_DATA, KD_BYTES_NONE };
    ck_assert_err(kd_record_seal(&s.client, KD_RECORD_SEQUENCE_MAX + 1, now_ms, KD_BYTES_NONE,
                                 &data, &record),
                  KD_ERR_SEQUENCE_END);
    ck_assert_uint_eq(record.n, n);
}
END_TEST

START_TEST(sizes_are_bounded) {
    struct session s;
    session_init(&s, "secret", "");
    static uint8_t big[KD_RECORD_BODY_MAX_BYTES + 1];
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(1 << 20);
    struct kd_record data = { KD_RECORD_DATA, { big, sizeof(big) } };
    ck_assert_err(kd_record_seal(&s.client, 0, now_ms, KD_BYTES_NONE, &data, &record),
                  KD_ERR_ITEM_TOO_LARGE);
    data.body.n--;
    ck_assert_err(kd_record_seal(&s.client, KD_RECORD_SEQUENCE_MAX, now_ms,
                                 (struct kd_bytes) { big, KD_RECORD_AAD_MAX_BYTES }, &data,
                                 &record),
                  KD_OK);
    ck_assert_uint_le(record.n, KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record out;
    ck_assert_err(open_at(&s.server, kd_buf_get(&record),
                          (struct kd_bytes) { big, KD_RECORD_AAD_MAX_BYTES }, now_ms, &text, &out),
                  KD_OK);
    ck_assert_err(open_at(&s.server, kd_buf_get(&record),
                          (struct kd_bytes) { big, KD_RECORD_AAD_MAX_BYTES + 1 }, now_ms, &text,
                          &out),
                  KD_ERR_ITEM_TOO_LARGE);
    kd_auto(buf) struct kd_buf small = KD_BUF_INIT(64);
    ck_assert_err(kd_record_seal(&s.client, 0, now_ms, KD_BYTES_NONE, &data, &small),
                  KD_ERR_ITEM_TOO_LARGE);
    ck_assert_uint_eq(small.n, 0);
}
END_TEST

// What docs/protocol.md says.
START_TEST(a_short_record_is_53_bytes_longer_than_its_body) {
    struct session s;
    session_init(&s, "secret", "");
    static const char *const bodies[] = { "", "x", "12345678901234567890123" };
    for (size_t i = 0; i < KD_COUNT_OF(bodies); i++) {
        kd_auto(buf) struct kd_buf record = KD_BUF_INIT(4096);
        seal_data(&s.client, 255, bodies[i], &record);
        ck_assert_uint_eq(record.n, 53 + strlen(bodies[i]));
    }
}
END_TEST

// ---- forms -----------------------------------------------------------------

START_TEST(only_the_one_form_is_parsed) {
    static const char *const bad[] = {
        "d08343a10103a204410106410051"
        "00000000000000000000000000000000"
        "00", // tagged
        "8343a1010aa204410106410051"
        "0000000000000000000000000000000000", // another alg
        "8343a10103a304410106410007f651"
        "0000000000000000000000000000000000", // a third parameter
        "8343a10103a1064100"
        "51"
        "0000000000000000000000000000000000", // no id
        "8343a10103a204400641005100"
        "00000000000000000000000000000000", // empty id
        "8343a10103a20451"
        "0102030405060708090a0b0c0d0e0f1011"
        "064100"
        "510000000000000000000000000000000000", // id of 17 bytes
        "8343a10103a204410106405100"
        "00000000000000000000000000000000", // empty Partial IV
        "8343a10103a20441010642000151"
        "0000000000000000000000000000000000", // leading zero
        "8343a10103a20441010646010000000000"
        "51"
        "0000000000000000000000000000000000", // 6 bytes
        "8343a10103a204410106410050"
        "00000000000000000000000000000000", // tag alone
        "8343a10103a2064100044101"
        "51"
        "0000000000000000000000000000000000", // map order
        "8243a10103a2044101064100",
        "8443a10103a204410106410051"
        "0000000000000000000000000000000000"
        "f6",
        "f6",
    };
    static const char good[] = "8343a10103a204410106410051"
                               "0000000000000000000000000000000000";
    struct kd_record_head head;
    kd_auto(vectors_bytes) struct vectors_bytes ok = vectors_from_hex(good);
    ck_assert_err(kd_record_parse(vectors_get(ok), &head), KD_OK);
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(bad[i]);
        ck_assert_msg(kd_record_parse(vectors_get(in), &head) == KD_ERR_RECORD_FORM, "%s", bad[i]);
    }
}
END_TEST

// A peer with the right keys that writes another plaintext than we do.
static enum kd_err open_text(const struct session *s, const char *hex) {
    kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(hex);
    kd_auto(buf) struct kd_buf aad = KD_BUF_INIT(64);
    kd_cbor_put_array(&aad, 3);
    kd_cbor_put_text(&aad, "Encrypt0");
    kd_cbor_put_bytes(&aad, (struct kd_bytes) { (const uint8_t *)"\xa1\x01\x03", 3 });
    kd_cbor_put_bytes(&aad, KD_BYTES_NONE);
    uint8_t sealed[256];
    ck_assert_err(kd_traffic_ops_soft.seal(s->client.ctx, KD_TRAFFIC_C2S, s->client.ivs.c2s,
                                           kd_buf_get(&aad), vectors_get(in), KD_BYTES_NONE,
                                           sealed),
                  KD_OK);
    const struct kd_record_head head = { s->client.id, 0, { sealed, in.n + KD_RECORD_TAG_BYTES } };
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(4096);
    struct kd_record out;
    return kd_record_open(&s->server, &head, KD_BYTES_NONE, now_ms, &text, &out);
}

START_TEST(a_plaintext_of_another_form_is_refused) {
    struct session s;
    session_init(&s, "secret", "");
    struct kd_otp_code code;
    uint64_t step = kd_otp_step(&s.client.otp, now_ms);
    ck_assert_err(kd_traffic_ops_soft.otp_code(s.client.ctx, &s.client.otp, step, &code), KD_OK);
    char otp[2 * KD_OTP_DIGITS_MAX + 1];
    kd_hex_encode(code.digits, code.n, otp);
    static const struct {
        const char *before; // type and step
        const char *after;  // body
        enum kd_err err;
    } rows[] = {
        { "00", "40", KD_OK },
        { "00", "4141", KD_OK },
        { "01", "4101", KD_OK },
        { "03", "40", KD_OK },
        { "05", "40", KD_ERR_RECORD_FORM }, // no such type
        { "20", "40", KD_ERR_RECORD_FORM },
        { "00", "", KD_ERR_RECORD_FORM },     // no body
        { "00", "60", KD_ERR_RECORD_FORM },   // text
        { "00", "4000", KD_ERR_RECORD_FORM }, // more behind it
        { "01", "40", KD_ERR_RECORD_FORM },   // expire without a reason
        { "02", "4120", KD_ERR_RECORD_FORM },
        { "04", "420101", KD_ERR_RECORD_FORM },
        { "03", "4100", KD_ERR_RECORD_FORM }, // close with a body
    };
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        char hex[128];
        snprintf(hex, sizeof(hex), "%s1a%08x68%s%s", rows[i].before, (unsigned)step, otp,
                 rows[i].after);
        ck_assert_err(open_text(&s, hex), rows[i].err);
    }
    char hex[128];
    snprintf(hex, sizeof(hex),
             "001a%08x683030303030303030"
             "40",
             (unsigned)step);
    ck_assert_err(open_text(&s, hex), KD_ERR_RECORD_OTP);
    snprintf(hex, sizeof(hex), "001a%08x6040", (unsigned)step); // empty code
    ck_assert_err(open_text(&s, hex), KD_ERR_RECORD_OTP);
}
END_TEST

// ---- keys that are kept ready ------------------------------------------------

struct kept {
    struct kd_kept_traffic c, s;
    struct kd_record_end client, server;
};

static void kept_init(struct kept *k, const struct session *like, bool is_resident) {
    const struct kd_key32 share = { { 42 } };
    const struct kd_attachment a = { KD_BYTES_NONE, kd_bytes_of_text("node") };
    struct kd_kept_traffic *const ends[] = { &k->c, &k->s };
    for (size_t i = 0; i < KD_COUNT_OF(ends); i++) {
        uint8_t bytes[32] = "secret";
        kd_auto(secret) struct kd_secret *key = secret_of((struct kd_bytes) { bytes, 32 });
        struct kd_record_ivs ivs;
        kd_kept_traffic_init(ends[i], i == 0, is_resident ? &share : NULL);
        ck_assert_err(
            kd_schedule_run(KD_MD_SHA256, key, &a, kd_kept_traffic_install, ends[i], &ivs), KD_OK);
    }
    k->client = like->client;
    k->server = like->server;
    k->client.ops = k->server.ops = &kd_traffic_ops_kept;
    k->client.ctx = &k->c;
    k->server.ctx = &k->s;
}

static void kept_wipe(struct kept *k) {
    kd_kept_traffic_wipe(&k->c);
    kd_kept_traffic_wipe(&k->s);
    kd_kept_traffic_wipe(&k->s); // twice is once
}

// One record of each of the two from the same things, at `at_ms`.
static void seal_both(const struct kd_record_end *kept, const struct kd_record_end *soft, size_t n,
                      uint64_t at_ms, struct kd_buf *out) {
    static uint8_t body[KD_RECORD_BODY_MAX_BYTES];
    const struct kd_record record = { KD_RECORD_DATA, { body, n } };
    kd_auto(buf) struct kd_buf other = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    for (size_t i = 0; i < n; i++) {
        body[i] = (uint8_t)(i * 7 + n);
    }
    kd_buf_reset(out);
    ck_assert_err(kd_record_seal(kept, n, at_ms, kd_bytes_of_text("aad"), &record, out), KD_OK);
    ck_assert_err(kd_record_seal(soft, n, at_ms, kd_bytes_of_text("aad"), &record, &other), KD_OK);
    ck_assert(kd_bytes_equal(kd_buf_get(out), kd_buf_get(&other)));
}

START_TEST(keys_kept_ready_make_the_same_records) {
    static const size_t long_ones[] = { 1023, 1024, 1025, KD_RECORD_BODY_MAX_BYTES };
    struct session s;
    struct kept k;
    session_init(&s, "secret", "node");
    kept_init(&k, &s, true);
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    struct kd_record got;
    for (size_t i = 0; i < 50 + KD_COUNT_OF(long_ones); i++) {
        const size_t n = i < 50 ? i : long_ones[i - 50];
        const uint64_t at_ms = now_ms + 30000 * (i / 3); // steps come, stay and go
        seal_both(&k.client, &s.client, n, at_ms, &record);
        ck_assert_err(open_at(&k.server, kd_buf_get(&record), kd_bytes_of_text("aad"),
                              at_ms + 30000 * (i % 2), &text, &got),
                      KD_OK);
        ck_assert_uint_eq(got.body.n, n);
        seal_both(&k.server, &s.server, n, at_ms, &record);
        ck_assert_err(
            open_at(&k.client, kd_buf_get(&record), kd_bytes_of_text("aad"), at_ms, &text, &got),
            KD_OK);
    }
    kept_wipe(&k);
}
END_TEST

START_TEST(keys_kept_ready_refuse_and_still_open_what_follows) {
    struct session s;
    struct kept k;
    session_init(&s, "secret", "node");
    kept_init(&k, &s, true);
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_bytes aad = kd_bytes_of_text("aad");
    struct kd_record got;
    seal_both(&k.client, &s.client, 40, now_ms, &record);
    for (size_t i = 0; i < record.n; i++) {
        record.p[i] ^= 1;
        ck_assert(open_at(&k.server, kd_buf_get(&record), aad, now_ms, &text, &got) != KD_OK);
        ck_assert_uint_eq(text.n, 0);
        record.p[i] ^= 1;
    }
    ck_assert_err(open_at(&k.server, kd_buf_get(&record), aad, now_ms + 90000, &text, &got),
                  KD_ERR_RECORD_OTP);
    ck_assert_err(open_at(&k.server, kd_buf_get(&record), aad, now_ms, &text, &got), KD_OK);
    kept_wipe(&k);
    kept_init(&k, &s, false); // released: other keys
    ck_assert_err(open_at(&k.server, kd_buf_get(&record), aad, now_ms, &text, &got),
                  KD_ERR_NOT_AUTHENTIC);
    kept_wipe(&k);
}
END_TEST

static TCase *tcase_kept(void) {
    TCase *t = tcase_create("kept");
    tcase_add_test(t, keys_kept_ready_refuse_and_still_open_what_follows);
    tcase_add_test(t, keys_kept_ready_make_the_same_records);
    return t;
}

static TCase *tcase_good(void) {
    TCase *t = tcase_create("vectors");
    tcase_add_loop_test(t, keys_and_records_equal_the_model, 0, 4);
    tcase_add_test(t, a_nonce_over_its_limit_is_refused);
    tcase_add_test(t, a_short_record_is_53_bytes_longer_than_its_body);
    return t;
}

static TCase *tcase_bad(void) {
    TCase *t = tcase_create("refusals");
    tcase_add_test(t, every_flipped_bit_and_every_truncation_is_refused);
    tcase_add_test(t, a_record_is_of_no_use_elsewhere);
    tcase_add_test(t, the_header_outside_is_protected);
    tcase_add_test(t, a_late_or_early_password_is_refused);
    tcase_add_test(t, the_end_of_the_sequence_is_refused);
    tcase_add_test(t, sizes_are_bounded);
    tcase_add_test(t, only_the_one_form_is_parsed);
    tcase_add_test(t, a_plaintext_of_another_form_is_refused);
    return t;
}

UNIT_MAIN("record", tcase_good(), tcase_bad(), tcase_kept())
