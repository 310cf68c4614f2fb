// SPDX-License-Identifier: Apache-2.0
// json_body.h: a request's body as a handler has it when it was parsed.
#ifndef KD_TESTS_JSON_BODY_H
#define KD_TESTS_JSON_BODY_H

#include "api/json_in.h"
#include "unit.h"

struct json_body {
    struct kd_why why;
    struct kd_buf arena;
    struct kd_buf text;
    struct kd_json_tree tree;
};
extern struct json_body jb;

void json_body_setup(void);
void json_body_teardown(void);
enum kd_err json_body_parse(const char *text);
struct kd_json_in json_body(const char *text); // one that is well formed

#endif
