// SPDX-License-Identifier: Apache-2.0
// fuzz_json.c: bodies of requests.  One that is taken is an object; its members are read by each
// of the readers, and a refusal names the member.
#include "fuzz.h"

#include "api/json_in.h"

#include <stdlib.h>
#include <string.h>

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

static void read_members(const struct kd_json_in *in) {
    static const char *const names[] = { "data", "name", "length", "release", "items" };
    struct kd_bytes bytes = KD_BYTES_NONE;
    const char *text = NULL;
    uint32_t number = 7;
    bool flag = false;
    const json_t *array = NULL;
    size_t n = 0;
    const enum kd_err r = kd_json_only(in, names, KD_COUNT_OF(names));
    must(r == KD_OK || r == KD_ERR_FIELD_UNKNOWN);
    if (kd_json_bytes(in, "data", true, &bytes) == KD_OK) {
        must(bytes.n <= in->arena->n);
    }
    if (kd_json_text(in, "name", true, &text) == KD_OK) {
        must(text != NULL);
    }
    must(kd_json_number(in, "length", false, 5, 9, &number) != KD_OK ||
         (number >= 5 && number <= 9));
    must(kd_json_bool(in, "release", true, &flag) == KD_OK || in->why->field[0] != '\0');
    must(kd_json_items(in, &array, &n) != KD_OK || n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kd_why why = { "", "" };
    kd_auto(buf) struct kd_buf arena = KD_BUF_INIT(1 << 20);
    json_t *json = NULL;
    if (kd_json_parse((struct kd_bytes) { data, size }, &why, &json) != KD_OK) {
        return 0;
    }
    must(json_is_object(json));
    (void)kd_buf_extend(&arena, size + 1);
    arena.n = 0;
    const struct kd_json_in in = { .object = json, .arena = &arena, .why = &why };
    read_members(&in);
    json_decref(json);
    return 0;
}
