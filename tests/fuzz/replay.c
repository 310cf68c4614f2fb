// SPDX-License-Identifier: Apache-2.0
// replay.c: a plain unit test that gives each file of a corpus, and each
// truncation of it, to the fuzz target it is linked with.
#include "fuzz.h"
#include "tests/unit/unit.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX_BYTES = 65536 };

static void replay(const char *path) {
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    uint8_t *all = malloc(FILE_MAX_BYTES);
    ck_assert_ptr_nonnull(all);
    size_t n = fread(all, 1, FILE_MAX_BYTES, f);
    fclose(f);
    for (size_t len = 0; len <= n; len++) {
        // A block of its own, so that the sanitizer sees a read past its end.
        uint8_t *input = malloc(len + (len == 0));
        ck_assert_ptr_nonnull(input);
        memcpy(input, all, len);
        ck_assert_int_eq(LLVMFuzzerTestOneInput(input, len), 0);
        free(input);
    }
    free(all);
}

START_TEST(the_corpus_is_survived) {
    char folder[4096];
    const char *root = getenv("KD_SRCDIR");
    snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%s", root == NULL ? "." : root,
             KD_FUZZ_CORPUS);
    DIR *d = opendir(folder);
    ck_assert_msg(d != NULL, "%s cannot be opened (set KD_SRCDIR)", folder);
    size_t n_files = 0;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            char path[8192];
            snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
            replay(path);
            n_files++;
        }
    }
    closedir(d);
    ck_assert_uint_gt(n_files, 0);
}
END_TEST

static TCase *tcase_replay(void) {
    TCase *t = tcase_create("replay");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_corpus_is_survived);
    return t;
}

UNIT_MAIN("fuzz corpus " KD_FUZZ_CORPUS, tcase_replay())
