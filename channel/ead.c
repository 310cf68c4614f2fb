// SPDX-License-Identifier: Apache-2.0
// ead.c: see ead.h.  A critical item has the negative of its label.
#include "channel/ead.h"

void kd_ead_put(struct kd_buf *out, const struct kd_ead *ead) {
    for (size_t i = 0; ead != NULL && i < ead->n; i++) {
        const struct kd_ead_item *item = &ead->items[i];
        kd_cbor_put_int(out, item->is_critical ? -item->label : item->label);
        if (item->has_value) {
            kd_cbor_put_bytes(out, item->value);
        }
    }
}

static bool is_understood(const struct kd_ead_labels *understood, int64_t label) {
    for (size_t i = 0; i < understood->n; i++) {
        if (understood->labels[i] == label) {
            return true;
        }
    }
    return false;
}

static struct kd_ead_item read_item(struct kd_cbor *c) {
    int64_t label = kd_cbor_read_int(c);
    if (label == INT64_MIN) {
        kd_cbor_fail(c, KD_ERR_CBOR_RANGE);
        label = 0;
    }
    struct kd_ead_item item = { .label = label < 0 ? -label : label, .is_critical = label < 0 };
    item.has_value = kd_cbor_is_next(c, KD_CBOR_BYTES);
    if (item.has_value) {
        item.value = kd_cbor_read_bytes(c);
    }
    return item;
}

void kd_ead_read(struct kd_cbor *c, const struct kd_ead_labels *understood, struct kd_ead *out) {
    struct kd_ead ead = { .n = 0 };
    while (kd_cbor_has_more(c)) {
        struct kd_ead_item item = read_item(c);
        if (c->err != KD_OK || item.label == KD_EAD_PADDING) { // RFC 9528 3.8.1: ignored
            continue;
        }
        if (!is_understood(understood, item.label)) {
            kd_cbor_fail(c, item.is_critical ? KD_ERR_HS_EAD : KD_OK);
            continue;
        }
        if (ead.n == KD_EAD_MAX) {
            kd_cbor_fail(c, KD_ERR_HS_MESSAGE);
            continue;
        }
        ead.items[ead.n++] = item;
    }
    if (c->err == KD_OK) {
        *out = ead;
    }
}

const struct kd_ead_item *kd_ead_get(const struct kd_ead *ead, int64_t label) {
    for (size_t i = 0; i < ead->n; i++) {
        if (ead->items[i].label == label) {
            return &ead->items[i];
        }
    }
    return NULL;
}
