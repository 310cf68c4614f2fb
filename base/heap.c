// SPDX-License-Identifier: Apache-2.0
// heap.c: a binary heap whose nodes know their places.
#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_CAP = 16 };

static void put(struct kd_heap *h, size_t at, struct kd_heap_node *node) {
    h->nodes[at] = node;
    node->place = at + 1;
}

// From `at`, which is free, to where it belongs.
static void settle(struct kd_heap *h, size_t at, struct kd_heap_node *node) {
    for (; at > 0 && h->nodes[(at - 1) / 2]->rank > node->rank; at = (at - 1) / 2) {
        put(h, at, h->nodes[(at - 1) / 2]);
    }
    for (size_t child; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && h->nodes[child + 1]->rank < h->nodes[child]->rank) {
            child++;
        }
        if (h->nodes[child]->rank >= node->rank) {
            break;
        }
        put(h, at, h->nodes[child]);
    }
    put(h, at, node);
}

enum kd_err kd_heap_make_room(struct kd_heap *h, size_t n) {
    size_t cap = h->cap == 0 ? FIRST_CAP : h->cap;
    while (cap < n) {
        cap *= 2;
    }
    if (cap == h->cap) {
        return KD_OK;
    }
    struct kd_heap_node **nodes = realloc(h->nodes, cap * sizeof(struct kd_heap_node *));
    if (nodes == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    h->nodes = nodes;
    h->cap = cap;
    return KD_OK;
}

void kd_heap_put(struct kd_heap *h, struct kd_heap_node *node, uint64_t rank) {
    node->rank = rank;
    if (node->place == 0) {
        assert(h->n < h->cap);
        h->n++;
    }
    settle(h, node->place == 0 ? h->n - 1 : node->place - 1, node);
}

void kd_heap_remove(struct kd_heap *h, struct kd_heap_node *node) {
    if (node->place == 0) {
        return;
    }
    struct kd_heap_node *last = h->nodes[--h->n];
    if (last != node) {
        settle(h, node->place - 1, last);
    }
    node->place = 0;
}

void kd_heap_wipe(struct kd_heap *h) {
    free(h->nodes);
    *h = (struct kd_heap) { 0 };
}
