// SPDX-License-Identifier: Apache-2.0
// exec_call.h: for tests of the worker: one item through kd_exec_request and
// back, as the front would have it.
#ifndef KD_TESTS_EXEC_CALL_H
#define KD_TESTS_EXEC_CALL_H

#include "hsm/channel.h"
#include "hsm/exec.h"

// What came back; the slices of `result` point into `reply`.
struct call_result {
    enum kd_err end; // what kd_exec_request gave
    struct kd_hsm_reply head;
    struct kd_hsm_result result;
    struct kd_hsm_session_terms terms; // what result.terms points to
    struct kd_buf reply;
};
void call_wipe(struct call_result *c);
KD_AUTO_DEFINE_IN_PLACE(call, struct call_result, call_wipe)

// The item's error, or the whole request's.  The reply's form is asserted.
enum kd_err call_exec(struct kd_session *s, const struct kd_hsm_request *q,
                      const struct kd_hsm_item *item, struct call_result *out);

// A key with its own copy of what its reference says.
struct call_key {
    struct kd_key_ref ref;
    uint8_t id[KD_HSM_ID_MAX_BYTES];
    uint8_t proof[KD_HSM_POINT_MAX_BYTES];
};

// Makes a key; its id is 16 times `id`, its label "test".
enum kd_err call_generate(struct kd_session *s, enum kd_key_type type, unsigned usages, uint8_t id,
                          struct call_key *out);

enum kd_err call_sign(struct kd_session *s, const struct call_key *key, struct kd_bytes data,
                      struct call_result *out);
// With a key or (NULL) a recipe.
enum kd_err call_mac(struct kd_session *s, const struct call_key *key,
                     const struct kd_recipe *recipe, struct kd_bytes data, struct call_result *out);
enum kd_err call_encrypt(struct kd_session *s, const struct call_key *key,
                         const struct kd_recipe *recipe, struct kd_bytes data, struct kd_bytes aad,
                         struct call_result *out);
enum kd_err call_decrypt(struct kd_session *s, const struct call_key *key,
                         const struct kd_recipe *recipe, struct kd_bytes iv, struct kd_bytes data,
                         struct kd_bytes aad, struct call_result *out);
// From the one key to the other.
enum kd_err call_rewrap(struct kd_session *s, const struct call_key *from,
                        const struct call_key *to, struct kd_bytes iv, struct kd_bytes data,
                        struct kd_bytes aad, struct call_result *out);
enum kd_err call_release(struct kd_session *s, const struct kd_recipe *recipe,
                         struct call_result *out);
// The one object of the URI, proved; or as many as there are.
enum kd_err call_find(struct kd_session *s, const char *uri, struct call_result *out);
enum kd_err call_find_all(struct kd_session *s, const char *uri, struct call_result *out);
enum kd_err call_destroy(struct kd_session *s, const struct call_key *key);
enum kd_err call_forget(struct kd_session *s, const struct kd_recipe *recipe);

// ECDH with `peer`, then HKDF-SHA256 with `info`: a secret of this type.
struct kd_recipe call_recipe(const struct call_key *base, struct kd_bytes peer, uint8_t id,
                             enum kd_key_type type);

#endif
