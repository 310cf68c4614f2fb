// SPDX-License-Identifier: Apache-2.0
// words.c: see words.h.
#include "keyd/words.h"

#include <string.h>

bool kd_config_hash_parse(const char *text, int *out) {
    if (strcmp(text, "sha-256/64") == 0) {
        *out = KD_COSE_SHA256_64;
        return true;
    }
    *out = KD_COSE_SHA256;
    return strcmp(text, "sha-256") == 0;
}

bool kd_config_profile_parse(const char *text, enum kd_profile *out) {
    if (strcmp(text, "resident") == 0) {
        *out = KD_PROFILE_RESIDENT;
        return true;
    }
    *out = KD_PROFILE_RELEASED;
    return strcmp(text, "released") == 0;
}
