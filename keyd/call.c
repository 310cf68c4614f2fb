// SPDX-License-Identifier: Apache-2.0
// call.c: the table grows in pieces that never move and never shrinks; a place
// that becomes free gets another id.
#include "keyd/call.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CHUNK_CALLS = 256,
    INDEX_BITS = 20, // 64 workers with 4096 each, twice over
    CALLS_MAX = 1 << INDEX_BITS,
    FRAME_KEEP_BYTES = 16384, // larger ones are given back to the heap
};

static uint32_t index_of(uint32_t id) {
    return id & (CALLS_MAX - 1);
}

static uint32_t next_id(uint32_t id) {
    id += CALLS_MAX;                                    // wraps around, the index stays
    return id >> INDEX_BITS == 0 ? id + CALLS_MAX : id; // id 0 is HELLO's
}

static enum kd_err grow(struct kd_call_table *t) {
    if ((t->n_chunks + 1) * CHUNK_CALLS > CALLS_MAX) {
        return KD_ERR_BUSY;
    }
    struct kd_call *chunk = calloc(CHUNK_CALLS, sizeof(*chunk));
    if (chunk == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    struct kd_call **chunks = realloc(t->chunks, (t->n_chunks + 1) * sizeof(struct kd_call *));
    if (chunks == NULL) {
        free(chunk);
        return KD_ERR_NO_MEMORY;
    }
    t->chunks = chunks;
    for (size_t i = CHUNK_CALLS; i > 0; i--) {
        struct kd_call *c = &chunk[i - 1];
        c->id = (uint32_t)(t->n_chunks * CHUNK_CALLS + i - 1);
        c->frame = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES + 4);
        c->next = t->free;
        t->free = c;
    }
    t->chunks[t->n_chunks++] = chunk;
    return KD_OK;
}

enum kd_err kd_call_table_take(struct kd_call_table *t, struct kd_call **out) {
    enum kd_err r = t->free == NULL ? grow(t) : KD_OK;
    if (r != KD_OK) {
        return r;
    }
    struct kd_call *c = t->free;
    t->free = c->next;
    t->in_use++;
    const struct kd_buf frame = c->frame;
    *c = (struct kd_call) { .id = next_id(c->id), .frame = frame };
    *out = c;
    return KD_OK;
}

void kd_call_table_give(struct kd_call_table *t, struct kd_call *c) {
    if ((c->op == KD_HSM_ENCRYPT || c->op == KD_HSM_RECORD_SEAL) && c->frame.n > 0) {
        kd_wipe(c->frame.p, c->frame.n); // a plaintext
    }
    kd_buf_reset(&c->frame);
    if (c->frame.cap > FRAME_KEEP_BYTES) {
        kd_buf_wipe(&c->frame);
    }
    c->worker = NULL;
    c->done = NULL;
    c->prev = NULL;
    c->next = t->free;
    t->free = c;
    assert(t->in_use > 0);
    t->in_use--;
}

struct kd_call *kd_call_table_find(const struct kd_call_table *t, uint32_t id) {
    const uint32_t index = index_of(id);
    if (index >= t->n_chunks * CHUNK_CALLS) {
        return NULL;
    }
    struct kd_call *c = &t->chunks[index / CHUNK_CALLS][index % CHUNK_CALLS];
    return c->id == id && c->worker != NULL ? c : NULL;
}

void kd_call_table_wipe(struct kd_call_table *t) {
    assert(t->in_use == 0);
    for (size_t i = 0; i < t->n_chunks; i++) {
        for (size_t k = 0; k < CHUNK_CALLS; k++) {
            kd_buf_wipe(&t->chunks[i][k].frame);
        }
        free(t->chunks[i]);
    }
    free(t->chunks);
    *t = KD_CALL_TABLE_INIT;
}
