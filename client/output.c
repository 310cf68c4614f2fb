// SPDX-License-Identifier: Apache-2.0
// output.c: tables, member lists and JSON for people and for scripts.
#include "client/output.h"

#include <stdlib.h>
#include <string.h>

enum { CELL_MAX_BYTES = 4096, COLUMN_GAP = 2, NAME_MAX_BYTES = 256 };

struct kd_table {
    const char *const *heads;
    size_t n_columns;
    char **cells; // owned, row by row
    size_t n_cells;
    enum kd_err err;
};

enum kd_err kd_table_new(const char *const *heads, size_t n_columns, struct kd_table **out) {
    struct kd_table *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    t->heads = heads;
    t->n_columns = n_columns;
    *out = t;
    return KD_OK;
}

void kd_table_free(struct kd_table *t) {
    if (t == NULL) {
        return;
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
    free(t);
}

// Bytes of the control character that the text begins with, or 0: those of ASCII, and in UTF-8 the
// 32 after it (U+0080 to U+009F), which terminals obey, too.
static size_t control_bytes(const char *text) {
    const unsigned char first = (unsigned char)text[0];
    const unsigned char second = first == 0xc2 ? (unsigned char)text[1] : 0;
    return first < 0x20 || first == 0x7f ? 1 : second >= 0x80 && second <= 0x9f ? 2 : 0;
}

void kd_table_put(struct kd_table *t, const char *text) {
    char **more =
        t->err != KD_OK ? NULL : reallocarray(t->cells, t->n_cells + 1, sizeof(*t->cells));
    if (more == NULL) {
        t->err = KD_ERR_NO_MEMORY;
        return;
    }
    t->cells = more;
    char *copy = strdup(text == NULL || text[0] == '\0' ? "-" : text);
    if (copy == NULL) {
        t->err = KD_ERR_NO_MEMORY;
        return;
    }
    for (char *c = copy; *c != '\0'; c++) {
        for (size_t n = control_bytes(c); n > 0; n--) {
            c[n - 1] = '?';
        }
    }
    t->cells[t->n_cells++] = copy;
}

void kd_table_printf(struct kd_table *t, const char *format, ...) {
    char text[CELL_MAX_BYTES];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    kd_table_put(t, text);
}

// Columns on the screen: UTF-8's continuation bytes take none.
static size_t width_of(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return n;
}

static void print_aligned(FILE *out, const char *text, size_t width, bool last) {
    fputs(text, out);
    for (size_t n = width_of(text); !last && n < width + COLUMN_GAP; n++) {
        fputc(' ', out);
    }
    if (last) {
        fputc('\n', out);
    }
}

static void print_terminal(const struct kd_table *t, FILE *out) {
    size_t widths[KD_TABLE_COLUMNS_MAX];
    for (size_t c = 0; c < t->n_columns; c++) {
        widths[c] = width_of(t->heads[c]);
        for (size_t i = c; i < t->n_cells; i += t->n_columns) {
            const size_t n = width_of(t->cells[i]);
            widths[c] = n > widths[c] ? n : widths[c];
        }
    }
    for (size_t c = 0; c < t->n_columns; c++) {
        print_aligned(out, t->heads[c], widths[c], c + 1 == t->n_columns);
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        const size_t c = i % t->n_columns;
        print_aligned(out, t->cells[i], widths[c], c + 1 == t->n_columns);
    }
}

enum kd_err kd_table_print(const struct kd_table *t, FILE *out, bool terminal) {
    if (t->err != KD_OK) {
        return t->err;
    }
    if (terminal) {
        print_terminal(t, out);
        return KD_OK;
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        fputs(t->cells[i], out);
        fputc((i + 1) % t->n_columns == 0 ? '\n' : '\t', out);
    }
    return KD_OK;
}

void kd_output_text(FILE *out, const char *text) {
    while (*text != '\0') {
        const size_t n = *text == '\n' ? 0 : control_bytes(text);
        fputc(n > 0 ? '?' : *text, out);
        text += n > 0 ? n : 1;
    }
}

static void put_array(struct kd_buf *out, const json_t *array) {
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item) {
        kd_buf_text(out, i == 0 ? "" : ", ");
        kd_output_scalar(out, item);
    }
    if (json_array_size(array) == 0) {
        kd_buf_text(out, "-");
    }
}

void kd_output_scalar(struct kd_buf *out, const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        kd_buf_text(out, json_string_length(value) == 0 ? "-" : json_string_value(value));
        return;
    case JSON_INTEGER:
        kd_buf_printf(out, "%lld", (long long)json_integer_value(value));
        return;
    case JSON_REAL:
        kd_buf_printf(out, "%g", json_real_value(value));
        return;
    case JSON_TRUE:
        kd_buf_text(out, "yes");
        return;
    case JSON_FALSE:
        kd_buf_text(out, "no");
        return;
    case JSON_NULL:
        kd_buf_text(out, "-");
        return;
    case JSON_ARRAY:
        put_array(out, value);
        return;
    case JSON_OBJECT: {
        const char *name;
        json_t *member;
        bool first = true;
        json_object_foreach((json_t *)(uintptr_t)value, name, member) {
            kd_buf_printf(out, "%s%s=", first ? "" : " ", name);
            kd_output_scalar(out, member);
            first = false;
        }
        return;
    }
    }
}

static void print_member(FILE *out, const char *name, const json_t *value);

static bool holds_objects(const json_t *value) {
    return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

static void print_inner(FILE *out, const char *outer, const char *inner, const json_t *value) {
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof(name), "%s%s%s", outer, outer[0] == '\0' ? "" : ".", inner);
    print_member(out, name, value);
}

static void print_member(FILE *out, const char *name, const json_t *value) {
    if (json_is_object(value)) {
        const char *inner;
        json_t *member;
        json_object_foreach((json_t *)(uintptr_t)value, inner, member) {
            print_inner(out, name, inner, member);
        }
        return;
    }
    if (holds_objects(value)) {
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item) {
            char number[32];
            snprintf(number, sizeof(number), "%zu", i + 1);
            print_inner(out, name, number, item);
        }
        return;
    }
    uint8_t room[CELL_MAX_BYTES];
    struct kd_buf text = KD_BUF_OVER(room);
    kd_output_scalar(&text, value);
    kd_output_text(out, name);
    fputs(": ", out);
    kd_output_text(out, kd_buf_get_text(&text));
    fputc('\n', out);
}

void kd_output_members(FILE *out, const json_t *object) {
    print_member(out, "", object);
}

enum kd_err kd_output_json(FILE *out, const json_t *value, bool terminal) {
    const size_t flags = JSON_ENCODE_ANY | (terminal ? JSON_INDENT(2) : JSON_COMPACT);
    char *text = json_dumps(value, flags);
    if (text == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    fputs(text, out);
    fputc('\n', out);
    kd_wipe(text, strlen(text));
    free(text);
    return KD_OK;
}
