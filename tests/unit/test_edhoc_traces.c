// SPDX-License-Identifier: Apache-2.0
// Recorded handshakes, both sides, value by value: RFC 9529 chapter 3 and the
// twelve of tests/vectors/edhoc-x509.
#include "channel/edhoc_state.h"
#include "replay_keys.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

// Names in RFC 9529 for those that the other file uses.
static const struct {
    const char *ours;
    const char *rfc;
} names[] = {
    { "H_message_1", "H(message_1)" },
    { "G_XY", "G_XY (ECDH shared secret)" },
    { "G_RX", "G_RX (ECDH shared secret)" },
    { "G_IY", "G_IY (ECDH shared secret)" },
    { "IX", "Initiator's public authentication key, 'x'-coordinate" },
    { "RX", "Responder's public authentication key, 'x'-coordinate" },
};

struct side {
    struct replay_keys keys;
    struct kd_identity identity;
    struct kd_point point;
    struct vectors_bytes sk, id_cred, cred, ephemeral, to_sign, signature;
    struct kd_ead_labels labels;
    struct kd_edhoc *e;
};

struct run {
    json_t *trace; // name -> hex
    struct side i;
    struct side r;
};

static const char *hex_of(const struct run *run, const char *name) {
    const char *hex = json_string_value(json_object_get(run->trace, name));
    return hex == NULL ? "" : hex;
}

static bool has(const struct run *run, const char *name) {
    return json_object_get(run->trace, name) != NULL;
}

static void same(const struct run *run, const char *name, const uint8_t *p, size_t n) {
    ck_assert_msg(has(run, name), "no %s", name);
    kd_auto(vectors_bytes) struct vectors_bytes expected = vectors_from_hex(hex_of(run, name));
    vectors_same(name, (struct kd_bytes) { p, n }, vectors_get(expected));
}

static void same_buf(const struct run *run, const char *name, const struct kd_buf *b) {
    ck_assert_err(kd_buf_finish(b), KD_OK);
    same(run, name, b->p, b->n);
}

// The last ECDH, as far as it can be seen.
static void same_z(const struct run *run, const char *name, const struct side *s) {
    kd_auto(vectors_bytes) struct vectors_bytes z = vectors_from_hex(hex_of(run, name));
    vectors_same(name, (struct kd_bytes) { s->keys.last_z.bytes, 32 },
                 (struct kd_bytes) { z.p + z.n - 32, 32 });
}

// ---- setting up ------------------------------------------------------------

static void side_init(struct side *s, const struct run *run, enum kd_edhoc_role role,
                      enum kd_curve curve) {
    bool is_i = role == KD_EDHOC_INITIATOR;
    int method = (int)strtol(hex_of(run, "METHOD"), NULL, 16);
    s->sk = vectors_from_hex(hex_of(run, is_i ? "SK_I" : "SK_R"));
    s->id_cred = vectors_from_hex(hex_of(run, is_i ? "ID_CRED_I" : "ID_CRED_R"));
    s->cred = vectors_from_hex(hex_of(run, is_i ? "CRED_I" : "CRED_R"));
    s->ephemeral = vectors_from_hex(hex_of(run, is_i ? "X" : "Y"));
    s->to_sign = vectors_from_hex(hex_of(run, is_i ? "M_3" : "M_2"));
    s->signature =
        vectors_from_hex(hex_of(run, is_i ? "Signature_or_MAC_3" : "Signature_or_MAC_2"));
    s->keys = (struct replay_keys) { .ephemeral = vectors_get(s->ephemeral),
                                     .to_sign = vectors_get(s->to_sign),
                                     .signature = vectors_get(s->signature) };
    s->identity = (struct kd_identity) { .curve = curve,
                                         .is_static_dh = (method & (is_i ? 2 : 1)) != 0,
                                         .id_cred = vectors_get(s->id_cred),
                                         .cred = vectors_get(s->cred) };
    ck_assert_err(kd_openssl_key_from_scalar(curve, vectors_get(s->sk), &s->identity.key), KD_OK);
    ck_assert_err(kd_openssl_key_point(s->identity.key, &s->point), KD_OK);
    if (has(run, is_i ? "IX" : "RX")) {
        same(run, is_i ? "IX" : "RX", s->point.bytes + 1, kd_curve_bytes(curve));
    }
}

static void side_wipe(struct side *s) {
    kd_edhoc_free(s->e);
    kd_keyops_openssl.destroy(NULL, s->identity.key);
    vectors_bytes_free(s->sk);
    vectors_bytes_free(s->id_cred);
    vectors_bytes_free(s->cred);
    vectors_bytes_free(s->ephemeral);
    vectors_bytes_free(s->to_sign);
    vectors_bytes_free(s->signature);
}

static void side_open(struct side *s, const struct run *run, enum kd_edhoc_role role,
                      const struct kd_suites *suites, const struct kd_suites *peer_suites) {
    kd_auto(vectors_bytes) struct vectors_bytes id =
        vectors_from_hex(hex_of(run, role == KD_EDHOC_INITIATOR ? "C_I" : "C_R"));
    static uint8_t ids[2]; // outlives the call; one byte each in all traces
    uint8_t *own = &ids[role == KD_EDHOC_INITIATOR ? 0 : 1];
    ck_assert_uint_eq(id.n, 1);
    *own = id.p[0];
    const struct kd_edhoc_config config = {
        .role = role,
        .keys = { &replay_keyops, &s->keys },
        .identities = &s->identity,
        .n_identities = 1,
        .methods = 1u << strtol(hex_of(run, "METHOD"), NULL, 16),
        .suites = *suites,
        .peer_suites = peer_suites,
        .conn_id = { own, 1 },
        .ead_labels = { 3, { 65000, 65001, 65002 } },
        .ead_messages = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4,
    };
    ck_assert_err(kd_edhoc_new(&config, &s->e), KD_OK);
}

static struct kd_suites suites_of(const struct run *run) {
    kd_auto(vectors_bytes) struct vectors_bytes in = vectors_from_hex(hex_of(run, "SUITES_I"));
    struct kd_cbor c = kd_cbor_of(vectors_get(in));
    struct kd_suites suites = { .n = 0 };
    kd_suites_read(&c, &suites);
    ck_assert_err(kd_cbor_finish(&c), KD_OK);
    return suites;
}

// The EAD of a trace as items; values point into `keep`.
static struct kd_ead ead_of(const struct run *run, const char *name, struct vectors_bytes *keep) {
    *keep = vectors_from_hex(hex_of(run, name));
    struct kd_cbor c = kd_cbor_of(vectors_get(*keep));
    struct kd_ead ead = { .n = 0 };
    while (kd_cbor_has_more(&c)) {
        int64_t label = kd_cbor_read_int(&c);
        struct kd_ead_item *item = &ead.items[ead.n++];
        *item = (struct kd_ead_item) { .label = label < 0 ? -label : label,
                                       .is_critical = label < 0,
                                       .has_value = kd_cbor_is_next(&c, KD_CBOR_BYTES) };
        if (item->has_value) {
            item->value = kd_cbor_read_bytes(&c);
        }
    }
    return ead;
}

// What is handed out of a received EAD: all but padding.
static void same_ead(const struct kd_edhoc *e, const struct kd_ead *sent) {
    const struct kd_ead *got = kd_edhoc_ead(e);
    size_t n = 0;
    for (size_t i = 0; i < sent->n; i++) {
        if (sent->items[i].label == KD_EAD_PADDING) {
            continue;
        }
        const struct kd_ead_item *item = kd_ead_get(got, sent->items[i].label);
        ck_assert_ptr_nonnull(item);
        ck_assert(item->is_critical == sent->items[i].is_critical);
        vectors_same("EAD value", item->value, sent->items[i].value);
        n++;
    }
    ck_assert_uint_eq(got->n, n);
}

// ---- the steps -------------------------------------------------------------

static void follow_1(struct run *run, size_t n_hash) {
    kd_auto(vectors_bytes) struct vectors_bytes keep = { 0 };
    struct kd_ead ead = ead_of(run, "EAD_1", &keep);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    ck_assert_err(kd_edhoc_write_1(run->i.e, &ead, &m), KD_OK);
    same_buf(run, "message_1", &m);
    same(run, "G_X", run->i.e->own_point.bytes + 1, kd_curve_bytes(run->i.e->suite->curve));
    ck_assert_err(kd_edhoc_read_1(run->r.e, kd_buf_get(&m)), KD_OK);
    same(run, "H_message_1", run->i.e->h_message_1, n_hash);
    same(run, "H_message_1", run->r.e->h_message_1, n_hash);
    same(run, "G_X", run->r.e->peer_point.bytes + 1, kd_curve_bytes(run->i.e->suite->curve));
    same_ead(run->r.e, &ead);
}

// context, MAC and what is signed, as the side that checks them sees them.
static void follow_proof(struct run *run, struct kd_edhoc *e, const struct kd_edhoc_proof *p) {
    bool is_2 = p->side == KD_EDHOC_RESPONDER;
    kd_auto(buf) struct kd_buf context = KD_BUF_INIT(8192);
    kd_edhoc_put_context(e, p, &context);
    same_buf(run, is_2 ? "context_2" : "context_3", &context);
    uint8_t mac[KD_HASH_MAX_BYTES];
    size_t n = kd_edhoc_is_static(e, p->side) ? e->suite->mac_bytes : kd_edhoc_hash_bytes(e);
    ck_assert_err(
        kd_edhoc_kdf(e->suite->md, p->prk, (int)p->mac_label, kd_buf_get(&context), mac, n), KD_OK);
    same(run, is_2 ? "MAC_2" : "MAC_3", mac, n);
    if (!kd_edhoc_is_static(e, p->side)) {
        kd_auto(buf) struct kd_buf m = KD_BUF_INIT(8192);
        kd_edhoc_put_to_be_signed(e, p, (struct kd_bytes) { mac, n }, &m);
        same_buf(run, is_2 ? "M_2" : "M_3", &m);
    }
}

static void follow_2(struct run *run, size_t n_hash) {
    kd_auto(vectors_bytes) struct vectors_bytes keep = { 0 };
    struct kd_ead ead = ead_of(run, "EAD_2", &keep);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    struct kd_edhoc *i = run->i.e;
    struct kd_edhoc *r = run->r.e;
    ck_assert_err(kd_edhoc_write_2(r, &ead, &m), KD_OK);
    same_buf(run, "message_2", &m);
    same(run, "G_Y", r->own_point.bytes + 1, kd_curve_bytes(r->suite->curve));
    same(run, "TH_2", r->th_2, n_hash);
    same(run, "PRK_2e", kd_edhoc_secrets(r)->prk_2e, n_hash);
    same(run, "PRK_3e2m", kd_edhoc_secrets(r)->prk_3e2m, n_hash);
    same(run, "TH_3", r->th_3, n_hash);
    bool is_static = kd_edhoc_is_static(r, KD_EDHOC_RESPONDER);
    same_z(run, is_static ? "G_RX" : "G_XY", &run->r);
    if (is_static) {
        same(run, "SALT_3e2m", kd_edhoc_secrets(r)->salt, n_hash);
    }

    ck_assert_err(kd_edhoc_read_2(i, kd_buf_get(&m)), KD_OK);
    same_z(run, "G_XY", &run->i);
    same(run, "TH_2", i->th_2, n_hash);
    same(run, "PRK_2e", kd_edhoc_secrets(i)->prk_2e, n_hash);
    same_buf(run, "PLAINTEXT_2", &i->received);
    same(run, "C_R", i->peer_conn_id, i->n_peer_conn_id);
    same(run, "ID_CRED_R", i->peer_id.encoded.p, i->peer_id.encoded.n);
    same(run, "Signature_or_MAC_2", i->peer_proof.p, i->peer_proof.n);
    ck_assert_uint_eq(kd_edhoc_ead(i)->n, 0); // not yet authentic
    const struct kd_peer peer = { run->r.point, vectors_get(run->r.cred) };
    ck_assert_err(kd_edhoc_authenticate(i, &peer), KD_OK);
    same(run, "PRK_3e2m", kd_edhoc_secrets(i)->prk_3e2m, n_hash);
    same(run, "TH_3", i->th_3, n_hash);
    same_ead(i, &ead);
    const struct kd_edhoc_proof p =
        kd_edhoc_proof_2(i, kd_edhoc_peer_conn_id(i), i->peer_id.encoded, peer.cred, i->peer_ead);
    follow_proof(run, i, &p);
}

static void follow_3(struct run *run, size_t n_hash) {
    kd_auto(vectors_bytes) struct vectors_bytes keep = { 0 };
    struct kd_ead ead = ead_of(run, "EAD_3", &keep);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    struct kd_edhoc *i = run->i.e;
    struct kd_edhoc *r = run->r.e;
    size_t n_key = kd_aead_key_bytes(i->suite->aead);
    size_t n_iv = kd_aead_nonce_bytes(i->suite->aead);
    ck_assert_err(kd_edhoc_write_3(i, &ead, &m), KD_OK);
    same_buf(run, "message_3", &m);
    same(run, "K_3", kd_edhoc_secrets(i)->key, n_key);
    same(run, "IV_3", kd_edhoc_secrets(i)->iv, n_iv);
    same(run, "PRK_4e3m", kd_edhoc_secrets(i)->prk_4e3m, n_hash);
    same(run, "TH_4", i->th_4, n_hash);
    same(run, "PRK_out", kd_secret_get(i->prk_out), n_hash);

    ck_assert_err(kd_edhoc_read_3(r, kd_buf_get(&m)), KD_OK);
    same(run, "K_3", kd_edhoc_secrets(r)->key, n_key);
    same_buf(run, "PLAINTEXT_3", &r->received);
    same(run, "ID_CRED_I", r->peer_id.encoded.p, r->peer_id.encoded.n);
    const struct kd_peer peer = { run->i.point, vectors_get(run->i.cred) };
    ck_assert_err(kd_edhoc_authenticate(r, &peer), KD_OK);
    if (kd_edhoc_is_static(r, KD_EDHOC_INITIATOR)) {
        same_z(run, "G_IY", &run->r);
        same_z(run, "G_IY", &run->i);
        same(run, "SALT_4e3m", kd_edhoc_secrets(r)->salt, n_hash);
    }
    same(run, "PRK_4e3m", kd_edhoc_secrets(r)->prk_4e3m, n_hash);
    same(run, "TH_4", r->th_4, n_hash);
    same(run, "PRK_out", kd_secret_get(r->prk_out), n_hash);
    same_ead(r, &ead);
    const struct kd_edhoc_proof p = kd_edhoc_proof_3(r, r->peer_id.encoded, peer.cred, r->peer_ead);
    follow_proof(run, r, &p);
}

static void follow_4(struct run *run) {
    kd_auto(vectors_bytes) struct vectors_bytes keep = { 0 };
    struct kd_ead ead = ead_of(run, "PLAINTEXT_4", &keep);
    kd_auto(buf) struct kd_buf m = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    struct kd_edhoc *i = run->i.e;
    struct kd_edhoc *r = run->r.e;
    ck_assert_err(kd_edhoc_write_4(r, &ead, &m), KD_OK);
    same_buf(run, "message_4", &m);
    same(run, "K_4", kd_edhoc_secrets(r)->key, kd_aead_key_bytes(r->suite->aead));
    same(run, "IV_4", kd_edhoc_secrets(r)->iv, kd_aead_nonce_bytes(r->suite->aead));
    ck_assert(kd_edhoc_is_done(r));
    ck_assert(!kd_edhoc_is_done(i));
    ck_assert_err(kd_edhoc_read_4(i, kd_buf_get(&m)), KD_OK);
    ck_assert(kd_edhoc_is_done(i));
    same_ead(i, &ead);
}

static void same_export(struct kd_edhoc *e, int label, struct kd_bytes context,
                        struct kd_bytes expected) {
    kd_auto(secret) struct kd_secret *out = NULL;
    ck_assert_err(kd_secret_new(expected.n, &out), KD_OK);
    ck_assert_err(kd_edhoc_export(e, label, context, out), KD_OK);
    vectors_same("export", (struct kd_bytes) { kd_secret_get(out), expected.n }, expected);
}

static void same_prks(const struct run *run, struct kd_edhoc *e, const char *prk_out,
                      const char *prk_exporter) {
    size_t n = kd_edhoc_hash_bytes(e);
    uint8_t prk[KD_HASH_MAX_BYTES];
    same(run, prk_out, kd_secret_get(e->prk_out), n);
    ck_assert_err(kd_edhoc_kdf(e->suite->md, kd_secret_get(e->prk_out), KD_LABEL_PRK_EXPORTER,
                               KD_BYTES_NONE, prk, n),
                  KD_OK);
    same(run, prk_exporter, prk, n);
}

static void follow(struct run *run, const struct kd_suites *own_r,
                   const struct kd_suites *peer_suites) {
    const struct kd_suites offer = suites_of(run);
    const struct kd_suite *suite = kd_suite_get(offer.ids[offer.n - 1]);
    size_t n_hash = kd_md_bytes(suite->md);
    side_init(&run->i, run, KD_EDHOC_INITIATOR, suite->curve);
    side_init(&run->r, run, KD_EDHOC_RESPONDER, suite->curve);
    side_open(&run->i, run, KD_EDHOC_INITIATOR, &offer, peer_suites);
    side_open(&run->r, run, KD_EDHOC_RESPONDER, own_r, NULL);
    follow_1(run, n_hash);
    follow_2(run, n_hash);
    follow_3(run, n_hash);
    follow_4(run);
    same_prks(run, run->i.e, "PRK_out", "PRK_exporter");
    same_prks(run, run->r.e, "PRK_out", "PRK_exporter");
}

// ---- edhoc-x509 ------------------------------------------------------------

static void merge(json_t *into, const json_t *from, const char *name) {
    json_object_set(into, name, json_object_get(from, name));
}

START_TEST(x509_handshake_is_the_same_in_every_value) {
    kd_auto(json) json_t *all = vectors_load("edhoc-x509/edhoc_x509_p256.json");
    ck_assert_uint_eq(json_array_size(all), 12);
    const json_t *v = json_array_get(all, (size_t)_i);
    struct run run = { .trace = json_object_get(v, "trace") };
    merge(run.trace, v, "SK_I");
    merge(run.trace, v, "SK_R");
    char method[16];
    snprintf(method, sizeof(method), "%02x", (unsigned)vectors_int(v, "method"));
    json_object_set_new(run.trace, "METHOD", json_string(method));
    const struct kd_suites own_r = { 1, { (int)vectors_int(v, "suite") } };
    follow(&run, &own_r, &own_r);
    kd_auto(vectors_bytes) struct vectors_bytes pk_i = vectors_hex(v, "PK_I");
    kd_auto(vectors_bytes) struct vectors_bytes pk_r = vectors_hex(v, "PK_R");
    vectors_same("PK_I", kd_point_get(&run.i.point), vectors_get(pk_i));
    vectors_same("PK_R", kd_point_get(&run.r.point), vectors_get(pk_r));

    const json_t *exports = json_object_get(v, "exporter");
    for (size_t k = 0; k < json_array_size(exports); k++) {
        const json_t *x = json_array_get(exports, k);
        kd_auto(vectors_bytes) struct vectors_bytes context = vectors_hex(x, "context");
        kd_auto(vectors_bytes) struct vectors_bytes okm = vectors_hex(x, "okm");
        ck_assert_uint_eq(okm.n, (size_t)vectors_int(x, "length"));
        same_export(run.i.e, (int)vectors_int(x, "label"), vectors_get(context), vectors_get(okm));
        same_export(run.r.e, (int)vectors_int(x, "label"), vectors_get(context), vectors_get(okm));
    }
    const json_t *update = json_object_get(v, "key_update");
    kd_auto(vectors_bytes) struct vectors_bytes context = vectors_hex(update, "context");
    merge(run.trace, update, "PRK_out");
    merge(run.trace, update, "PRK_exporter");
    struct kd_edhoc *both[] = { run.i.e, run.r.e };
    for (size_t k = 0; k < 2; k++) {
        ck_assert_err(kd_edhoc_key_update(both[k], vectors_get(context)), KD_OK);
        same_prks(&run, both[k], "PRK_out", "PRK_exporter");
    }
    side_wipe(&run.i);
    side_wipe(&run.r);
}
END_TEST

// The table of docs/protocol.md.
static const struct {
    const char *name;
    size_t n_bytes[4];
} sizes[] = {
    { "m0_s3_x5u_x5t", { 37, 115, 121, 17 } },
    { "m0_s2_x5u_x5t", { 37, 115, 113, 9 } },
    { "m1_s3_x5u_x5t", { 37, 66, 121, 17 } },
    { "m3_s2_x5u_x5t", { 37, 58, 56, 9 } },
};

START_TEST(messages_take_the_bytes_that_the_docs_say) {
    kd_auto(json) json_t *all = vectors_load("edhoc-x509/edhoc_x509_p256.json");
    size_t n_found = 0;
    for (size_t k = 0; k < json_array_size(all); k++) {
        const json_t *v = json_array_get(all, k);
        if (strcmp(vectors_text(v, "name"), sizes[_i].name) != 0) {
            continue;
        }
        for (int n = 1; n <= 4; n++) { // follow() has compared ours with these
            char name[32];
            snprintf(name, sizeof(name), "message_%d", n);
            const char *hex = vectors_text(json_object_get(v, "trace"), name);
            ck_assert_uint_eq(strlen(hex) / 2, sizes[_i].n_bytes[n - 1]);
        }
        n_found++;
    }
    ck_assert_uint_eq(n_found, 1);
}
END_TEST

// ---- RFC 9529 chapter 3 ----------------------------------------------------

// One name -> hex object; what comes later and raw values win.
static json_t *chapter_3(json_t *all) {
    json_t *trace = json_object();
    const json_t *rows = json_object_get(all, "3");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *row = json_array_get(rows, k);
        const char *name = vectors_text(row, "name");
        const char *kind = json_string_value(json_object_get(row, "kind"));
        bool is_first = strcmp(vectors_text(row, "section"), "message_1 (first time)") == 0;
        bool is_raw = kind != NULL && strcmp(kind, "Raw Value") == 0;
        for (size_t n = 0; n < KD_COUNT_OF(names); n++) {
            name = strcmp(names[n].rfc, name) == 0 ? names[n].ours : name;
        }
        char key[128];
        snprintf(key, sizeof(key), "%s%s", is_first ? "first " : "", name);
        if (is_raw || json_object_get(trace, key) == NULL) {
            json_object_set(trace, key, json_object_get(row, "hex"));
        }
    }
    return trace;
}

START_TEST(rfc9529_chapter_3_is_the_same_in_every_value) {
    kd_auto(json) json_t *all = vectors_load("edhoc-rfc9529/rfc9529_traces.json");
    kd_auto(json) json_t *trace = chapter_3(all);
    struct run run = { .trace = trace };
    const struct kd_suites own_r = { 1, { 2 } };
    follow(&run, &own_r, NULL);

    struct kd_edhoc *both[] = { run.i.e, run.r.e };
    kd_auto(vectors_bytes) struct vectors_bytes context =
        vectors_from_hex(hex_of(&run, "context for KeyUpdate"));
    for (size_t k = 0; k < 2; k++) {
        kd_auto(vectors_bytes) struct vectors_bytes secret =
            vectors_from_hex(hex_of(&run, "OSCORE Master Secret"));
        kd_auto(vectors_bytes) struct vectors_bytes salt =
            vectors_from_hex(hex_of(&run, "OSCORE Master Salt"));
        same_export(both[k], 0, KD_BYTES_NONE, vectors_get(secret));
        same_export(both[k], 1, KD_BYTES_NONE, vectors_get(salt));
        ck_assert_err(kd_edhoc_key_update(both[k], vectors_get(context)), KD_OK);
        same_prks(&run, both[k], "PRK_out after KeyUpdate", "PRK_exporter after KeyUpdate");
        kd_auto(vectors_bytes) struct vectors_bytes secret2 =
            vectors_from_hex(hex_of(&run, "OSCORE Master Secret after KeyUpdate"));
        kd_auto(vectors_bytes) struct vectors_bytes salt2 =
            vectors_from_hex(hex_of(&run, "OSCORE Master Salt after KeyUpdate"));
        same_export(both[k], 0, KD_BYTES_NONE, vectors_get(secret2));
        same_export(both[k], 1, KD_BYTES_NONE, vectors_get(salt2));
    }
    side_wipe(&run.i);
    side_wipe(&run.r);
}
END_TEST

// The first message_1 offers suite 6 only; the error names suite 2.
START_TEST(rfc9529_chapter_3_suite_6_is_answered_with_error_2) {
    kd_auto(json) json_t *all = vectors_load("edhoc-rfc9529/rfc9529_traces.json");
    kd_auto(json) json_t *trace = chapter_3(all);
    struct run run = { .trace = trace };
    const struct kd_suites own_r = { 1, { 2 } };
    side_init(&run.r, &run, KD_EDHOC_RESPONDER, KD_CURVE_P256);
    side_open(&run.r, &run, KD_EDHOC_RESPONDER, &own_r, NULL);
    kd_auto(vectors_bytes) struct vectors_bytes first =
        vectors_from_hex(hex_of(&run, "first message_1"));
    kd_auto(buf) struct kd_buf error = KD_BUF_INIT(64);
    ck_assert_err(kd_edhoc_write_error(run.r.e, &error), KD_ERR_HS_STATE);
    ck_assert_err(kd_edhoc_read_1(run.r.e, vectors_get(first)), KD_ERR_HS_SUITE);
    ck_assert_err(kd_edhoc_write_error(run.r.e, &error), KD_OK);
    same_buf(&run, "error", &error);
    struct kd_edhoc_error parsed;
    ck_assert_err(kd_edhoc_error_parse(kd_buf_get(&error), &parsed), KD_OK);
    ck_assert_int_eq(parsed.code, KD_EDHOC_ERR_SUITE);
    ck_assert_uint_eq(parsed.suites.n, 1);
    ck_assert_int_eq(parsed.suites.ids[0], 2);
    side_wipe(&run.r);
}
END_TEST

static TCase *tcase_traces(void) {
    TCase *t = tcase_create("traces");
    tcase_add_loop_test(t, x509_handshake_is_the_same_in_every_value, 0, 12);
    tcase_add_loop_test(t, messages_take_the_bytes_that_the_docs_say, 0, KD_COUNT_OF(sizes));
    tcase_add_test(t, rfc9529_chapter_3_is_the_same_in_every_value);
    tcase_add_test(t, rfc9529_chapter_3_suite_6_is_answered_with_error_2);
    return t;
}

UNIT_MAIN("edhoc traces", tcase_traces())
