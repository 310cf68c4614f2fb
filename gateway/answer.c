// SPDX-License-Identifier: Apache-2.0
// answer.c: members of keyd's answers.
#include "gateway/answer.h"

#include <string.h>

void kd_answer_read(struct kd_answer *a, struct kd_bytes body) {
    a->text.max = body.n;
    kd_buf_put(&a->text, body.p, body.n);
    const bool is_read =
        kd_buf_finish(&a->text) == KD_OK && kd_json_read(&a->tree, &a->text) == KD_OK;
    a->object = is_read && kd_json_is(a->tree.root, KD_JSON_OBJECT) ? a->tree.root : NULL;
}

void kd_answer_wipe(struct kd_answer *a) {
    kd_json_wipe(&a->tree);
    kd_buf_wipe(&a->text);
    a->object = NULL;
}

const char *kd_answer_text(const struct kd_json *object, const char *member) {
    const char *text = kd_json_string(kd_json_get(object, member));
    return text == NULL ? "" : text;
}

bool kd_answer_bytes(const struct kd_json *object, const char *member, struct kd_buf *out) {
    return kd_b64_decode(kd_bytes_of_text(kd_answer_text(object, member)), out) == KD_OK &&
           kd_buf_finish(out) == KD_OK;
}

const char *kd_answer_error(const struct kd_answer *problem) {
    const char *colon = strrchr(kd_answer_text(problem->object, "type"), ':');
    return colon == NULL ? "keyd-answer" : colon + 1;
}
