// SPDX-License-Identifier: Apache-2.0
// heap.h: what comes first by a number: the next that is due, or the largest.  Nodes are parts of
// what they stand for, so nothing but the array of their addresses is allocated.  A step costs the
// logarithm of their number.  Not thread safe.
#ifndef KD_BASE_HEAP_H
#define KD_BASE_HEAP_H

#include "attr.h"
#include "err.h"

#include <stddef.h>
#include <stdint.h>

// Begins as zeros, which is in no heap.
struct kd_heap_node {
    uint64_t rank; // the lowest comes first
    size_t place;  // in the array, from 1 on; 0: not in the heap
};

struct kd_heap {
    struct kd_heap_node **nodes; // owned; nodes[0] comes first, the others in no order
    size_t n, cap;
};

// What the node is `member` of.
#define KD_HEAP_OF(type, member, node) ((type *)(void *)((uint8_t *)(node)-offsetof(type, member)))

// For n nodes together.  KD_ERR_NO_MEMORY: all is as it was.
KD_MUST_CHECK enum kd_err kd_heap_make_room(struct kd_heap *h, size_t n);
// At this rank from here on, whether it was in the heap or not.  There must be room for a new one.
void kd_heap_put(struct kd_heap *h, struct kd_heap_node *node, uint64_t rank);
void kd_heap_remove(struct kd_heap *h, struct kd_heap_node *node); // nothing where it is not in it
void kd_heap_wipe(struct kd_heap *h);                              // the nodes stay what they are
static inline struct kd_heap_node *kd_heap_first(const struct kd_heap *h) { // NULL: it is empty
    return h->n == 0 ? NULL : h->nodes[0];
}

#endif
