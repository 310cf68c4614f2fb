// SPDX-License-Identifier: Apache-2.0
// words.c: see words.h.
#include "keyd/words.h"

#include <string.h>

static const struct {
    const char *text;
    int hash;
} hashes[] = {
    { "sha-256/64", KD_COSE_SHA256_64 },   { "sha-256", KD_COSE_SHA256 },
    { "sha-384", KD_COSE_SHA384 },         { "sha-512", KD_COSE_SHA512 },
    { "sha-512/256", KD_COSE_SHA512_256 }, { "shake128", KD_COSE_SHAKE128 },
    { "shake256", KD_COSE_SHAKE256 },
};

const char *kd_config_hash_name(int hash) {
    for (size_t i = 0; i < KD_COUNT_OF(hashes); i++) {
        if (hashes[i].hash == hash) {
            return hashes[i].text;
        }
    }
    return "";
}

bool kd_config_hash_parse(const char *text, int *out) {
    for (size_t i = 0; i < KD_COUNT_OF(hashes); i++) {
        if (strcmp(text, hashes[i].text) == 0) {
            *out = hashes[i].hash;
            return true;
        }
    }
    return false;
}

static const struct {
    const char *text;
    enum kd_idcred_kind kind;
} kinds[] = {
    { "x5t", KD_IDCRED_X5T },
    { "x5u", KD_IDCRED_X5U },
    { "x5u+x5t", KD_IDCRED_X5U_X5T },
    { "x5chain", KD_IDCRED_X5CHAIN },
};

bool kd_config_credential_parse(const char *text, enum kd_idcred_kind *out) {
    for (size_t i = 0; i < KD_COUNT_OF(kinds); i++) {
        if (strcmp(text, kinds[i].text) == 0) {
            *out = kinds[i].kind;
            return true;
        }
    }
    return false;
}

bool kd_config_profile_parse(const char *text, enum kd_profile *out) {
    if (strcmp(text, "resident") == 0) {
        *out = KD_PROFILE_RESIDENT;
        return true;
    }
    *out = KD_PROFILE_RELEASED;
    return strcmp(text, "released") == 0;
}
