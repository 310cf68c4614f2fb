// SPDX-License-Identifier: Apache-2.0
// wire_samples.c: see wire_samples.h.
#include "wire_samples.h"

static uint8_t filler[70000];

void fill(void) {
    for (size_t i = 0; i < sizeof(filler); i++) {
        filler[i] = (uint8_t)(i * 7 + 1);
    }
}

struct kd_bytes some(size_t n) {
    return (struct kd_bytes) { filler, n };
}

// ---- samples ---------------------------------------------------------------

struct kd_key_ref sample_key(void) {
    return (struct kd_key_ref) {
        .type = KD_KEY_EC_P384, .id = some(16), .label = some(9), .proof = some(97)
    };
}

struct kd_recipe sample_recipe(void) {
    struct kd_recipe r = { .id = "0123456789abcde", .base = sample_key(), .peer = some(97) };
    r.n_steps = 2;
    r.steps[0] = (struct kd_derive_step) { KD_KDF_HKDF_SHA384, some(48), some(1024), 32 };
    r.steps[1] = (struct kd_derive_step) { KD_KDF_AES_CBC_DATA, KD_BYTES_NONE, some(32), 32 };
    r.type = KD_KEY_AES_256;
    return r;
}

struct kd_hsm_request sample_request(enum kd_hsm_op op) {
    struct kd_hsm_request q = { .op = op, .id = 0xdeadbeef, .hash = KD_HASH_SHA384, .n_keys = 2 };
    q.keys[0] = sample_key();
    q.keys[1] = (struct kd_key_ref) { .type = KD_KEY_AES_256, .id = some(1) };
    q.has_recipe = true;
    q.recipe = sample_recipe();
    q.n_items = KD_HSM_BATCH_MAX_ITEMS;
    return q;
}

struct kd_hsm_session_terms sample_terms(void) {
    return (struct kd_hsm_session_terms) { .id = "7654321",
                                           .profile = KD_PROFILE_RELEASED,
                                           .is_client = true,
                                           .peer = some(KD_HSM_PEER_MAX_BYTES),
                                           .created_ms = 1,
                                           .expires_ms = UINT64_MAX,
                                           .records_max = 3,
                                           .bytes_max = UINT64_MAX - 1,
                                           .update = UINT32_MAX,
                                           .root_version = 4,
                                           .otp = { KD_OTP_DIGITS_MAX, KD_OTP_STEP_MAX_SEC,
                                                    KD_OTP_WINDOW_MAX },
                                           .is_stranger = true,
                                           .stranger = "a certificate" };
}

struct kd_hsm_handshake sample_handshake(struct kd_hsm_session_terms *terms) {
    return (struct kd_hsm_handshake) { .id = "abcdefg",
                                       .message = some(200),
                                       .is_initiator = true,
                                       .methods = 15,
                                       .suites = { 3, { 24, 3, 2 } },
                                       .peer_suites = { 2, { 3, 2 } },
                                       .is_static_dh = true,
                                       .id_cred = some(100),
                                       .cred = some(700),
                                       .conn_id = some(KD_EDHOC_CONN_ID_MAX_BYTES),
                                       .timeout_ms = 30000,
                                       .peer_point = some(65),
                                       .peer_cred = some(600),
                                       .ead = some(KD_HSM_EAD_MAX_BYTES),
                                       .terms = terms };
}

struct kd_hsm_session sample_session(void) {
    return (struct kd_hsm_session) { .cache = "0123456789abcde",
                                     .ticket = some(KD_HSM_TICKET_MAX_BYTES),
                                     .client_nonce = some(16),
                                     .node_nonce = some(KD_SESSION_NONCE_MAX_BYTES) };
}

void use_parts(struct kd_hsm_item *item, struct parts *p) {
    p->handshake.terms = &p->terms;
    item->handshake = &p->handshake;
    item->session = &p->session;
    item->terms = &p->terms;
}

struct kd_hsm_item sample_item(void) {
    return (struct kd_hsm_item) { .record_type = KD_RECORD_TYPE_LAST,
                                  .sequence = KD_RECORD_SEQUENCE_MAX,
                                  .data = some(300),
                                  .aad = some(20),
                                  .iv = some(12),
                                  .tag = some(96),
                                  .n = 4096,
                                  .usages = KD_USE_SIGN | KD_USE_VERIFY,
                                  .key = sample_key(),
                                  .recipe = sample_recipe() };
}

struct kd_hsm_result sample_result(void) {
    return (struct kd_hsm_result) { .ok = true,
                                    .which = KD_HSM_KEYS_MAX - 1,
                                    .iv = some(12),
                                    .out = some(64),
                                    .ticket = some(KD_HSM_TICKET_MAX_BYTES),
                                    .conn_id = some(KD_EDHOC_CONN_ID_MAX_BYTES),
                                    .id_cred = some(300),
                                    .suite = 24,
                                    .method = KD_EDHOC_METHOD_MAX,
                                    .object = { .ref = sample_key(),
                                                .has_type = true,
                                                .usages = KD_USE_ALL,
                                                .is_sensitive = true,
                                                .is_local = true } };
}

struct kd_hsm_hello sample_hello(void) {
    struct kd_hsm_hello h = { .module = some(30),
                              .init_args = some(80),
                              .token_uri = some(50),
                              .pin_file = some(20),
                              .n_env = KD_HSM_ENV_MAX,
                              .threads = 4,
                              .cached_secrets = 1000,
                              .may_extract = true,
                              .refused_pin = some(KD_HSM_PIN_RECORD_MAX_BYTES) };
    for (size_t i = 0; i < KD_HSM_ENV_MAX; i++) {
        h.env[i] = some(i + 3);
    }
    return h;
}

struct kd_hsm_status sample_status(void) {
    struct kd_hsm_status s = { .err = KD_ERR_PIN_REFUSED,
                               .detail = some(300),
                               .refused_pin = some(48),
                               .module = some(1),
                               .token_label = some(2),
                               .token_manufacturer = some(3),
                               .token_model = some(4),
                               .token_serial = some(5),
                               .token_uri = some(6),
                               .sessions_max = 7,
                               .threads = 8,
                               .secrets_cached = 9,
                               .hkdf = KD_HSM_HKDF_EXTRACT };
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        s.probe[i] = (enum kd_hsm_probe)(i % (KD_HSM_PROBE_WRONG + 1));
    }
    return s;
}
