// SPDX-License-Identifier: Apache-2.0
#include "document.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void document_read(const char *name, struct kd_buf *out) {
    char file[512];
    const char *root = getenv("KD_SRCDIR");
    snprintf(file, sizeof(file), "%s/docs/%s", root == NULL ? "." : root, name);
    FILE *f = fopen(file, "r");
    ck_assert_msg(f != NULL, "%s is missing", file);
    for (int c; (c = fgetc(f)) != EOF;) {
        kd_buf_u8(out, (uint8_t)c);
    }
    fclose(f);
}

static void replace(struct kd_buf *text, const char *from, const char *to) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(1 << 20);
    const char *at = kd_buf_get_text(text);
    for (const char *hit; (hit = strstr(at, from)) != NULL; at = hit + strlen(from)) {
        kd_buf_put(&out, at, (size_t)(hit - at));
        kd_buf_text(&out, to);
    }
    kd_buf_text(&out, at);
    kd_buf_reset(text);
    kd_buf_put(text, out.p, out.n);
}

void document_paths(struct kd_buf *text) {
    replace(text, KD_SYSCONFDIR, "/etc/keyd");
    replace(text, KD_STATEDIR, "/var/lib/keyd");
    replace(text, KD_RUNDIR, "/run/keyd");
    replace(text, KD_LIBEXECDIR, "/usr/libexec/keyd");
}

bool document_says(struct kd_buf *page, const char *key, const char *text) {
    char item[128];
    snprintf(item, sizeof(item), ".It Cm %s No = Ar ", key);
    const char *at = strstr(kd_buf_get_text(page), item);
    const char *next = at == NULL ? NULL : strstr(at + 1, ".It Cm ");
    const char *hit = at == NULL ? NULL : strstr(at, text);
    return hit != NULL && (next == NULL || hit < next);
}

unsigned document_items(struct kd_buf *page) {
    unsigned n = 0;
    for (const char *at = kd_buf_get_text(page); (at = strstr(at, ".It Cm ")) != NULL; at++) {
        n++;
    }
    return n;
}
