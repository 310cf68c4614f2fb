// SPDX-License-Identifier: Apache-2.0
// RFC 9180 vectors: of the 32 sets with DHKEM(P-256) the one that applies is
// mode 0, HKDF-SHA256, AES-256-GCM.  The others have a pre-shared key or a
// sender's key (modes 1 to 3), HKDF-SHA512, AES-128-GCM, ChaCha20-Poly1305 or
// export only, none of which keyd offers.
#include "channel/hpke.h"

#include "replay_keys.h"
#include "unit.h"
#include "vectors.h"

#include <string.h>

static bool applies(const json_t *v) {
    return vectors_int(v, "mode") == 0 && vectors_int(v, "kem_id") == 16 &&
           vectors_int(v, "kdf_id") == 1 && vectors_int(v, "aead_id") == 2;
}

static const json_t *encryption_at(const json_t *v, json_int_t seq) {
    const json_t *all = json_object_get(v, "encryptions");
    for (size_t i = 0; i < json_array_size(all); i++) {
        if (vectors_int(json_array_get(all, i), "seq") == seq) {
            return json_array_get(all, i);
        }
    }
    return NULL;
}

static void check_encryptions(const json_t *v, struct kd_hpke *sender, struct kd_hpke *recipient) {
    size_t n = 0;
    for (json_int_t seq = 0; seq <= 256; seq++) {
        kd_auto(buf) struct kd_buf sealed = KD_BUF_INIT(1024);
        kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1024);
        const json_t *row = encryption_at(v, seq);
        if (row == NULL) { // not in the file: only counted
            ck_assert_err(kd_hpke_seal(sender, KD_BYTES_NONE, KD_BYTES_NONE, &sealed), KD_OK);
            ck_assert_err(kd_hpke_open(recipient, KD_BYTES_NONE, kd_buf_get(&sealed), &text),
                          KD_OK);
            continue;
        }
        kd_auto(vectors_bytes) struct vectors_bytes aad = vectors_hex(row, "aad");
        kd_auto(vectors_bytes) struct vectors_bytes pt = vectors_hex(row, "pt");
        kd_auto(vectors_bytes) struct vectors_bytes ct = vectors_hex(row, "ct");
        ck_assert_err(kd_hpke_seal(sender, vectors_get(aad), vectors_get(pt), &sealed), KD_OK);
        vectors_same("ct", kd_buf_get(&sealed), vectors_get(ct));
        ck_assert_err(kd_hpke_open(recipient, vectors_get(aad), vectors_get(ct), &text), KD_OK);
        vectors_same("pt", kd_buf_get(&text), vectors_get(pt));
        n++;
    }
    ck_assert_uint_eq(n, 6);
}

static void check_exports(const json_t *v, struct kd_hpke *h) {
    const json_t *all = json_object_get(v, "exports");
    ck_assert_uint_gt(json_array_size(all), 0);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *row = json_array_get(all, i);
        kd_auto(vectors_bytes) struct vectors_bytes context = vectors_hex(row, "exporter_context");
        kd_auto(vectors_bytes) struct vectors_bytes value = vectors_hex(row, "exported_value");
        kd_auto(secret) struct kd_secret *out = NULL;
        ck_assert_err(kd_secret_new(value.n, &out), KD_OK);
        ck_assert_err(kd_hpke_export(h, vectors_get(context), out), KD_OK);
        vectors_same("export", (struct kd_bytes) { kd_secret_get(out), value.n },
                     vectors_get(value));
    }
}

START_TEST(rfc9180_values) {
    kd_auto(json) json_t *all = vectors_load("hpke-rfc9180/hpke_dhkem_p256.json");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *v = json_array_get(all, i);
        if (!applies(v)) {
            continue;
        }
        n++;
        kd_auto(vectors_bytes) struct vectors_bytes sk_r = vectors_hex(v, "skRm");
        kd_auto(vectors_bytes) struct vectors_bytes pk_r = vectors_hex(v, "pkRm");
        kd_auto(vectors_bytes) struct vectors_bytes sk_e = vectors_hex(v, "skEm");
        kd_auto(vectors_bytes) struct vectors_bytes enc = vectors_hex(v, "enc");
        kd_auto(vectors_bytes) struct vectors_bytes info = vectors_hex(v, "info");
        struct replay_keys replay = { .ephemeral = vectors_get(sk_e) };
        const struct kd_keys keys = { &replay_keyops, &replay };
        struct kd_point recipient;
        ck_assert_err(kd_point_read(KD_CURVE_P256, vectors_get(pk_r), &recipient), KD_OK);
        uint64_t key = KD_HANDLE_NONE;
        ck_assert_err(kd_openssl_key_from_scalar(KD_CURVE_P256, vectors_get(sk_r), &key), KD_OK);
        kd_auto(hpke) struct kd_hpke *sender = NULL;
        kd_auto(hpke) struct kd_hpke *receiver = NULL;
        uint8_t got_enc[KD_HPKE_ENC_BYTES];
        ck_assert_err(kd_hpke_new_sender(&keys, &recipient, vectors_get(info), got_enc, &sender),
                      KD_OK);
        vectors_same("enc", (struct kd_bytes) { got_enc, sizeof(got_enc) }, vectors_get(enc));
        ck_assert_err(kd_hpke_new_recipient(&keys, key, &recipient, vectors_get(enc),
                                            vectors_get(info), &receiver),
                      KD_OK);
        check_encryptions(v, sender, receiver);
        check_exports(v, sender);
        check_exports(v, receiver);
        kd_keyops_openssl.destroy(NULL, key);
    }
    ck_assert_uint_eq(n, 1);
}
END_TEST

// J15: a recipient, and an envelope for it.
struct envelope {
    uint64_t key;
    struct kd_point point;
    uint8_t enc[KD_HPKE_ENC_BYTES];
    struct kd_buf sealed;
};

static const struct kd_keys soft = { &kd_keyops_openssl, NULL };

static void envelope_init(struct envelope *e) {
    *e = (struct envelope) { .sealed = KD_BUF_INIT(1024) };
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P256, &e->key, &e->point), KD_OK);
    kd_auto(hpke) struct kd_hpke *h = NULL;
    ck_assert_err(kd_hpke_new_sender(&soft, &e->point, kd_bytes_of_text("info"), e->enc, &h),
                  KD_OK);
    ck_assert_err(kd_hpke_seal(h, kd_bytes_of_text("aad"), kd_bytes_of_text("text"), &e->sealed),
                  KD_OK);
}

static void envelope_wipe(struct envelope *e) {
    kd_keyops_openssl.destroy(NULL, e->key);
    kd_buf_wipe(&e->sealed);
}

static enum kd_err open_envelope(const struct envelope *e, const char *info, const char *aad,
                                 size_t n_sealed) {
    kd_auto(hpke) struct kd_hpke *h = NULL;
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1024);
    enum kd_err r = kd_hpke_new_recipient(
        &soft, e->key, &e->point, (struct kd_bytes) { e->enc, 65 }, kd_bytes_of_text(info), &h);
    if (r == KD_OK) {
        r = kd_hpke_open(h, kd_bytes_of_text(aad), (struct kd_bytes) { e->sealed.p, n_sealed },
                         &text);
        ck_assert(r == KD_OK || text.n == 0);
    }
    return r;
}

START_TEST(anything_changed_is_refused) {
    struct envelope e;
    envelope_init(&e);
    ck_assert_err(open_envelope(&e, "info", "aad", e.sealed.n), KD_OK);
    ck_assert_err(open_envelope(&e, "infO", "aad", e.sealed.n), KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(open_envelope(&e, "info", "aaD", e.sealed.n), KD_ERR_NOT_AUTHENTIC);
    for (size_t n = 0; n < e.sealed.n; n++) {
        ck_assert_err(open_envelope(&e, "info", "aad", n), KD_ERR_NOT_AUTHENTIC);
    }
    for (size_t bit = 0; bit < 8 * e.sealed.n; bit++) {
        e.sealed.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_err(open_envelope(&e, "info", "aad", e.sealed.n), KD_ERR_NOT_AUTHENTIC);
        e.sealed.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof(e.enc); bit++) {
        e.enc[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_err(open_envelope(&e, "info", "aad", e.sealed.n), KD_ERR_BAD_POINT);
        e.enc[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    envelope_wipe(&e);
}
END_TEST

START_TEST(a_forged_message_does_not_use_up_a_number) {
    struct envelope e;
    envelope_init(&e);
    kd_auto(hpke) struct kd_hpke *h = NULL;
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(1024);
    ck_assert_err(kd_hpke_new_recipient(&soft, e.key, &e.point, (struct kd_bytes) { e.enc, 65 },
                                        kd_bytes_of_text("info"), &h),
                  KD_OK);
    struct kd_bytes aad = kd_bytes_of_text("aad");
    ck_assert_err(kd_hpke_open(h, aad, (struct kd_bytes) { e.sealed.p, 16 }, &text),
                  KD_ERR_NOT_AUTHENTIC);
    ck_assert_err(kd_hpke_open(h, aad, kd_buf_get(&e.sealed), &text), KD_OK);
    ck_assert_err(kd_hpke_open(h, aad, kd_buf_get(&e.sealed), &text), KD_ERR_NOT_AUTHENTIC);
    envelope_wipe(&e);
}
END_TEST

START_TEST(another_curve_is_refused) {
    uint64_t key = KD_HANDLE_NONE;
    struct kd_point point;
    uint8_t enc[KD_HPKE_ENC_BYTES];
    struct kd_hpke *h = NULL;
    ck_assert_err(kd_keyops_openssl.generate(NULL, KD_CURVE_P384, &key, &point), KD_OK);
    ck_assert_err(kd_hpke_new_sender(&soft, &point, KD_BYTES_NONE, enc, &h), KD_ERR_BAD_POINT);
    ck_assert_err(
        kd_hpke_new_recipient(&soft, key, &point, kd_point_get(&point), KD_BYTES_NONE, &h),
        KD_ERR_BAD_POINT);
    ck_assert_ptr_null(h);
    kd_keyops_openssl.destroy(NULL, key);
}
END_TEST

static TCase *tcase_hpke(void) {
    TCase *t = tcase_create("hpke");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, rfc9180_values);
    tcase_add_test(t, anything_changed_is_refused);
    tcase_add_test(t, a_forged_message_does_not_use_up_a_number);
    tcase_add_test(t, another_curve_is_refused);
    return t;
}

UNIT_MAIN("hpke", tcase_hpke())
