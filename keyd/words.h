// SPDX-License-Identifier: Apache-2.0
// words.h: the words that some configuration keys take.  Private to config*.c.
#ifndef KD_KEYD_WORDS_H
#define KD_KEYD_WORDS_H

#include "hsm/channel.h"

// false, and *out is not to be used, where it is none of the words.
bool kd_config_hash_parse(const char *text, int *out); // KD_COSE_...
const char *kd_config_hash_name(int hash);
bool kd_config_credential_parse(const char *text, enum kd_idcred_kind *out);
bool kd_config_profile_parse(const char *text, enum kd_profile *out);

#endif
