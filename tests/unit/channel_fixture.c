// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/channel_fixture.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

struct channel_fixture cx;

// ---- certificates ----------------------------------------------------------

static EVP_PKEY *key_of(unsigned scalar) {
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = EC_POINT_new(group);
    BIGNUM *d = BN_new();
    uint8_t bytes[65];
    ck_assert(BN_set_word(d, scalar) == 1 && EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1);
    ck_assert_uint_eq(
        EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, bytes, sizeof(bytes), NULL),
        sizeof(bytes));
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, bytes, sizeof(bytes));
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    ck_assert(EVP_PKEY_fromdata_init(ctx) == 1 &&
              EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) == 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    BN_free(d);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return key;
}

static X509 *certificate_of(unsigned scalar, long days) {
    EVP_PKEY *key = key_of(scalar);
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), (long)scalar);
    X509_gmtime_adj(X509_getm_notBefore(x), -10 * 86400);
    X509_gmtime_adj(X509_getm_notAfter(x), days * 86400);
    X509_set_pubkey(x, key);
    ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
    EVP_PKEY_free(key);
    return x;
}

struct kd_bytes channel_certificate(unsigned scalar, long days) {
    static uint8_t der[2048];
    uint8_t *at = der;
    X509 *x = certificate_of(scalar, days);
    const int n = i2d_X509(x, &at);
    X509_free(x);
    ck_assert_int_gt(n, 0);
    return (struct kd_bytes) { der, (size_t)n };
}

// ---- life ------------------------------------------------------------------

void channel_setup(void) {
    service_setup();
    memset(&cx, 0, sizeof(cx));
    cx.message.max = cx.record.max = cx.node_nonce.max = 1 << 20;
    for (size_t i = 0; i < KD_COUNT_OF(cx.results); i++) {
        cx.results[i].out.max = cx.results[i].answer.max = 1 << 20;
    }
    fixture_file("policy", "principal \"app\" { uid = 7 }\nprincipal \"reader\" { uid = 8 }\n"
                           "principal \"other\" { uid = 9 }\n"
                           "allow \"app\" { operations = {\"*\"} keys = {\"*\"} }\n"
                           "allow \"reader\" { operations = {show} keys = {\"*\"} }\n"
                           "allow \"other\" { operations = {\"*\"} keys = {\"*\"} }\n");
    X509 *x = certificate_of(1, 10);
    FILE *f = fopen(fixture_path("identity.pem"), "w");
    ck_assert(f != NULL && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    X509_free(x);
    struct kd_channel_config *c = &fx.config->channel;
    static char path[160];
    snprintf(path, sizeof(path), "%s", fixture_path("identity.pem"));
    c->identity = "identity";
    c->certificate_file = path;
    c->root = "root";
    c->ticket = "ticket";
}

void channel_teardown(void) {
    service_teardown();
    kd_buf_wipe(&cx.message);
    kd_buf_wipe(&cx.record);
    kd_buf_wipe(&cx.node_nonce);
    for (size_t i = 0; i < KD_COUNT_OF(cx.results); i++) {
        kd_buf_wipe(&cx.results[i].out);
        kd_buf_wipe(&cx.results[i].answer);
    }
}

void channel_start(const char *script) {
    service_start(script);
    ck_assert_err(service_create(7, "identity", KD_KEY_EC_P256, KD_USE_SIGN), KD_OK);
    ck_assert_err(service_create(7, "root", KD_KEY_EC_P256, KD_USE_DERIVE), KD_OK);
    ck_assert_err(service_create(7, "ticket", KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT),
                  KD_OK);
    ck_assert_err(channel_add_peer("device", "dev"), KD_OK);
}

void channel_restart(void) {
    service_reset();
    service_start("start ok\n");
}

// ---- peers -----------------------------------------------------------------

static void on_peer(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                    const struct kd_peer_info *peer KD_UNUSED) {
    ck_assert(!sx.is_done);
    sx.is_done = true;
    sx.last_err = err;
}

enum kd_err channel_add_peer(const char *name, const char *kid) {
    uint8_t room[97];
    const struct kd_caller c = service_caller_of(7);
    const struct kd_peer_spec spec = { .name = name,
                                       .point = service_point(room),
                                       .kid = kd_bytes_of_text(kid) };
    return service_wait_for(kd_channel_peer_add(sx.service, &c, &spec, on_peer, NULL));
}

enum kd_err channel_delete_peer(uid_t uid, const char *name) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(kd_channel_peer_delete(sx.service, &c, name, on_peer, NULL));
}

// ---- handshakes ------------------------------------------------------------

static void take(struct kd_buf *to, struct kd_bytes from) {
    kd_buf_reset(to);
    kd_buf_put(to, from.p, from.n);
}

static void on_handshake(void *arg KD_UNUSED, enum kd_err err, const char *detail,
                         const struct kd_handshake_result *result) {
    ck_assert(!sx.is_done);
    sx.is_done = true;
    sx.last_err = err;
    snprintf(sx.last_detail, sizeof(sx.last_detail), "%s", detail);
    ck_assert_int_eq(err == KD_OK, result != NULL);
    cx.has_session = false;
    if (result == NULL) {
        return;
    }
    cx.refusal = result->err;
    memcpy(cx.handshake, result->id, sizeof(cx.handshake));
    take(&cx.message, result->message);
    cx.has_session = result->session != NULL;
    if (cx.has_session) {
        cx.session = *result->session;
        snprintf(cx.peer, sizeof(cx.peer), "%s", result->session->peer);
    }
}

enum kd_err channel_begin(uid_t uid, const char *message, unsigned method) {
    return channel_begin_with(uid, message, method, "", KD_BYTES_NONE);
}

enum kd_err channel_begin_with(uid_t uid, const char *message, unsigned method, const char *address,
                               struct kd_bytes cookie) {
    const struct kd_caller c = service_caller_of(uid);
    const struct kd_handshake_start first = { kd_bytes_of_text(message), method,
                                              kd_bytes_of_text(address), cookie };
    kd_auto(buf) struct kd_buf given = KD_BUF_INIT(KD_COOKIE_BYTES);
    const enum kd_err r =
        service_wait_for(kd_channel_begin(sx.service, &c, &first, &given, on_handshake, NULL));
    ck_assert_int_eq(r == KD_ERR_HS_RETRY, given.n == KD_COOKIE_BYTES);
    if (given.n > 0) {
        memcpy(cx.cookie, given.p, given.n);
    }
    return r;
}

enum kd_err channel_step(uid_t uid, const char *id, struct kd_bytes message) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(kd_channel_step(sx.service, &c, id, message, on_handshake, NULL));
}

struct kd_bytes channel_says(const char *kid) {
    static struct kd_buf says;
    says.max = 1024;
    kd_buf_reset(&says);
    kd_buf_text(&says, "id");
    kd_idcred_put_kid(&says, kd_bytes_of_text(kid));
    return kd_buf_get(&says);
}

const char *channel_session(uid_t uid, const char *kid) {
    static char ids[8][KD_SESSION_TEXT_BYTES];
    static unsigned turn;
    ck_assert_err(channel_begin(uid, "m1", 0), KD_OK);
    ck_assert_err(cx.refusal, KD_OK);
    ck_assert_err(channel_step(uid, cx.handshake, channel_says(kid)), KD_OK);
    ck_assert_err(cx.refusal, KD_OK);
    ck_assert(cx.has_session);
    char *id = ids[turn++ % 8];
    memcpy(id, cx.session.id, KD_SESSION_TEXT_BYTES);
    return id;
}

// ---- records ---------------------------------------------------------------

void channel_on_records(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                        const struct kd_record_result *results, size_t n) {
    ck_assert(!sx.is_done);
    sx.is_done = true;
    sx.last_err = err;
    cx.n = n;
    for (size_t i = 0; i < n && i < KD_COUNT_OF(cx.results); i++) {
        cx.results[i].err = results[i].err;
        memcpy(cx.results[i].session, results[i].session, sizeof(cx.results[i].session));
        cx.results[i].type = results[i].type;
        cx.results[i].sequence = results[i].sequence;
        take(&cx.results[i].out, results[i].out);
        take(&cx.results[i].answer, results[i].answer);
    }
}

enum kd_err channel_records(uid_t uid, const struct kd_record_work *work) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(kd_channel_records(sx.service, &c, work, channel_on_records, NULL));
}

static enum kd_err one(uid_t uid, bool is_open, const struct kd_record_item *item) {
    const struct kd_record_work work = { .is_open = is_open, .n_items = 1, .items = item };
    const enum kd_err r = channel_records(uid, &work);
    return r == KD_OK ? cx.results[0].err : r;
}

enum kd_err channel_seal(uid_t uid, const char *id, const char *body) {
    return one(uid, false,
               &(struct kd_record_item) { .session = id, .data = kd_bytes_of_text(body) });
}

enum kd_err channel_open(uid_t uid, struct kd_bytes record) {
    return one(uid, true, &(struct kd_record_item) { .data = record });
}

struct kd_bytes channel_resumed_record(const char *id, struct kd_bytes ticket, const char *nonce,
                                       struct kd_bytes node_nonce, uint64_t sequence,
                                       const char *body) {
    static struct kd_buf record;
    uint8_t raw[KD_HSM_SESSION_ID_BYTES];
    uint8_t tag[FAKE_TAG_BYTES];
    record.max = 1 << 20;
    kd_buf_reset(&record);
    ck_assert_err(kd_hex_decode(id, raw, sizeof(raw)), KD_OK);
    fake_tag(ticket, kd_bytes_of_text(nonce), node_nonce, tag);
    fake_record(&record, (struct kd_bytes) { raw, sizeof(raw) }, sequence, tag, KD_RECORD_DATA,
                kd_bytes_of_text(body));
    return kd_buf_get(&record);
}

struct kd_bytes channel_record(const char *id, uint64_t sequence, uint8_t type, const char *body) {
    static struct kd_buf records[4];
    static unsigned turn;
    uint8_t raw[KD_HSM_SESSION_ID_BYTES];
    uint8_t tag[FAKE_TAG_BYTES];
    struct kd_buf *record = &records[turn++ % 4];
    struct kd_bytes ticket = KD_BYTES_NONE;
    record->max = 1 << 20;
    kd_buf_reset(record);
    ck_assert_err(kd_hex_decode(id, raw, sizeof(raw)), KD_OK);
    for (uid_t uid = 7; uid <= 9; uid += 2) { // whose it is
        const struct kd_caller c = service_caller_of(uid);
        if (kd_channel_ticket(sx.service, &c, id, &ticket) != KD_ERR_NO_SESSION) {
            break;
        }
    }
    fake_tag(ticket, KD_BYTES_NONE, KD_BYTES_NONE, tag);
    fake_record(record, (struct kd_bytes) { raw, sizeof(raw) }, sequence, tag, type,
                kd_bytes_of_text(body));
    return kd_buf_get(record);
}

// ---- resume, update --------------------------------------------------------

static void on_change(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                      const struct kd_session_change *change) {
    ck_assert(!sx.is_done);
    sx.is_done = true;
    sx.last_err = err;
    if (change != NULL) {
        cx.session = change->session;
        take(&cx.record, change->record);
        take(&cx.node_nonce, change->node_nonce);
    }
}

enum kd_err channel_resume(uid_t uid, struct kd_bytes ticket, const char *nonce) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(
        kd_channel_resume(sx.service, &c, ticket, kd_bytes_of_text(nonce), on_change, NULL));
}

enum kd_err channel_update(uid_t uid, const char *id) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(kd_channel_update(sx.service, &c, id, on_change, NULL));
}

enum kd_err channel_end(uid_t uid, const char *id) {
    const struct kd_caller c = service_caller_of(uid);
    return service_wait_for(kd_channel_session_delete(sx.service, &c, id, on_change, NULL));
}
