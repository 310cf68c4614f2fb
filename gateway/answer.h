// SPDX-License-Identifier: Apache-2.0
// answer.h: what keyd answers in JSON.  A copy of it is read, and wiped with the answer: released
// keys are in some.
#ifndef KD_GATEWAY_ANSWER_H
#define KD_GATEWAY_ANSWER_H

#include "base/base.h"

struct kd_answer {
    struct kd_buf text;
    struct kd_json_tree tree;
    const struct kd_json *object; // NULL: it is none, or there is no memory for it
};
#define KD_ANSWER_INIT ((struct kd_answer) { .object = NULL })
void kd_answer_read(struct kd_answer *a, struct kd_bytes body);
void kd_answer_wipe(struct kd_answer *a);
KD_AUTO_DEFINE_IN_PLACE(answer, struct kd_answer, kd_answer_wipe)

// "" where the member is no text.
const char *kd_answer_text(const struct kd_json *object, const char *member);
// False: it is not there, or not base64url, or longer than `out` may be.
bool kd_answer_bytes(const struct kd_json *object, const char *member, struct kd_buf *out);
// The last word of a problem's type, "keyd-answer" without one.
const char *kd_answer_error(const struct kd_answer *problem);

#endif
