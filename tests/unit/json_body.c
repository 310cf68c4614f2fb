// SPDX-License-Identifier: Apache-2.0
#include "json_body.h"

enum { ARENA_BYTES = 8192 };

struct json_body jb;

void json_body_setup(void) {
    jb = (struct json_body) { .arena = KD_BUF_INIT(ARENA_BYTES),
                              .text = KD_BUF_INIT(1 << 20),
                              .tree = KD_JSON_TREE_INIT };
    (void)kd_buf_extend(&jb.arena, ARENA_BYTES);
    jb.arena.n = 0;
}

void json_body_teardown(void) {
    kd_json_wipe(&jb.tree);
    kd_buf_wipe(&jb.text);
    kd_buf_wipe(&jb.arena);
}

enum kd_err json_body_parse(const char *text) {
    kd_json_wipe(&jb.tree);
    kd_buf_reset(&jb.text);
    kd_buf_text(&jb.text, text);
    return kd_json_parse(&jb.text, &jb.why, &jb.tree);
}

struct kd_json_in json_body(const char *text) {
    ck_assert_err(json_body_parse(text), KD_OK);
    return (struct kd_json_in) { .object = jb.tree.root, .arena = &jb.arena, .why = &jb.why };
}
