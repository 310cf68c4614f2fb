// SPDX-License-Identifier: Apache-2.0
// exec.h: one request, from its bytes to the bytes of its reply.
#ifndef KD_HSM_EXEC_H
#define KD_HSM_EXEC_H

#include "hsm/session.h"

// What an item's function is given.  `out` bytes are appended to session->out,
// which the result may point into.
typedef enum kd_err kd_exec_fn(struct kd_session *s, const struct kd_hsm_request *q,
                               const struct kd_hsm_item *item, struct kd_hsm_result *result);

kd_exec_fn kd_exec_sign, kd_exec_verify, kd_exec_mac, kd_exec_mac_verify, kd_exec_encrypt,
    kd_exec_decrypt, kd_exec_rewrap, kd_exec_derive, kd_exec_release, kd_exec_random; // operate.c
kd_exec_fn kd_exec_generate, kd_exec_destroy, kd_exec_forget;         // manage.c

// FIND gives several results: writes them to `reply` and their number to *n.  is_proved: of a
// single one it is seen whether it is the key that its public half says, else KD_ERR_OBJECT_UNFIT.
KD_MUST_CHECK enum kd_err kd_exec_find(struct kd_session *s, struct kd_bytes uri, bool is_proved,
                                       struct kd_buf *reply, uint16_t *n);

// describe.c: what a key object is, and the attribute of a usage.
KD_MUST_CHECK enum kd_err kd_describe(struct kd_session *s, CK_OBJECT_HANDLE handle,
                                      struct kd_hsm_object *out);
CK_ATTRIBUTE_TYPE kd_usage_attribute(enum kd_key_usage usage);

// Appends the framed reply to a request's frame.  KD_ERR_TOKEN_AWAY: the reply
// has been written (none where the login is lost: a fresh worker will do it), and the
// worker should end after sending it.  KD_ERR_MALFORMED: the front is not speaking our
// language; no reply.
KD_MUST_CHECK enum kd_err kd_exec_request(struct kd_session *s, struct kd_bytes frame,
                                          struct kd_buf *out);

#endif
