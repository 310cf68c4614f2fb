// SPDX-License-Identifier: Apache-2.0
// folder.h: removes the folder that a test has worked in, with all that is in it.
#ifndef KD_TESTS_FOLDER_H
#define KD_TESTS_FOLDER_H

#include "base/base.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>

static inline int folder_remove_one(const char *path, const struct stat *st KD_UNUSED,
                                    int type KD_UNUSED, struct FTW *at KD_UNUSED) {
    return remove(path);
}

static inline void folder_remove(const char *path) {
    nftw(path, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
