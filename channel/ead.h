// SPDX-License-Identifier: Apache-2.0
// ead.h: external authorization data, the items that ride on EDHOC messages
// (RFC 9528 3.8).
#ifndef KD_CHANNEL_EAD_H
#define KD_CHANNEL_EAD_H

#include "base/base.h"

#define KD_EAD_MAX 8         // items that are known, in one message
#define KD_EAD_PADDING 0     // label of items that only add length
#define KD_EAD_LABELS_MAX 16 // labels that a caller understands

struct kd_ead_item {
    int64_t label; // above 0; 0 is padding
    bool is_critical;
    bool has_value;
    struct kd_bytes value;
};

struct kd_ead {
    size_t n;
    struct kd_ead_item items[KD_EAD_MAX];
};

struct kd_ead_labels {
    size_t n;
    int64_t labels[KD_EAD_LABELS_MAX];
};

void kd_ead_put(struct kd_buf *out, const struct kd_ead *ead); // NULL: none

// Reads to the end.  Items that are not understood are left out; a critical one
// of them is KD_ERR_HS_EAD, more than KD_EAD_MAX others KD_ERR_HS_MESSAGE.
// Values are borrowed.
void kd_ead_read(struct kd_cbor *c, const struct kd_ead_labels *understood, struct kd_ead *out);

// NULL if there is none.
const struct kd_ead_item *kd_ead_get(const struct kd_ead *ead, int64_t label);

#endif
