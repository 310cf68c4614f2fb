// SPDX-License-Identifier: Apache-2.0
// err_sentence.c: what errors say to people.
#include "base/err.h"
#include "base/err_list.h"

#define SENTENCE(error, name, class, sentence) [error] = (sentence),
static const char *const sentences[KD_ERR_COUNT] = { KD_ERR_LIST(SENTENCE) };

const char *kd_err_sentence(enum kd_err e) {
    return sentences[(unsigned)e < KD_ERR_COUNT ? e : KD_ERR_BUG];
}
