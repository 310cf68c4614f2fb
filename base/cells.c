// SPDX-License-Identifier: Apache-2.0
// cells.c: see cells.h.  Pages stay until the end: as many as were needed
// at once.
#include "base/cells.h"

#include <assert.h>
#include <stdlib.h>

enum { PAGE_BYTES = 4096, ALIGN_BYTES = 16 };

struct kd_cell {
    struct kd_cell *next;
};

void kd_cells_init(struct kd_cells *c, size_t size) {
    assert(size >= sizeof(struct kd_cell) && size <= PAGE_BYTES);
    *c = (struct kd_cells) { .size = (size + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES };
    pthread_mutex_init(&c->lock, NULL);
}

void kd_cells_wipe(struct kd_cells *c) {
    for (size_t i = 0; i < c->n_pages; i++) {
        kd_secret_free(c->pages[i]);
    }
    free(c->pages);
    pthread_mutex_destroy(&c->lock);
    *c = (struct kd_cells) { .size = 0 };
}

// Under the lock.
static enum kd_err add_page(struct kd_cells *c) {
    struct kd_secret **pages = realloc(c->pages, (c->n_pages + 1) * sizeof(struct kd_secret *));
    if (pages == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    c->pages = pages;
    enum kd_err r = kd_secret_new(PAGE_BYTES, &pages[c->n_pages]);
    if (r != KD_OK) {
        return r;
    }
    uint8_t *page = kd_secret_get(pages[c->n_pages++]);
    for (size_t at = 0; at + c->size <= PAGE_BYTES; at += c->size) {
        struct kd_cell *cell = (struct kd_cell *)(void *)(page + at);
        cell->next = c->free;
        c->free = cell;
    }
    return KD_OK;
}

enum kd_err kd_cells_get(struct kd_cells *c, void **out) {
    pthread_mutex_lock(&c->lock);
    enum kd_err r = c->free == NULL ? add_page(c) : KD_OK;
    if (r == KD_OK) {
        struct kd_cell *cell = c->free;
        c->free = cell->next;
        cell->next = NULL; // the rest has been wiped
        *out = cell;
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

void kd_cells_put(struct kd_cells *c, void *cell) {
    if (cell == NULL) {
        return;
    }
    kd_wipe(cell, c->size);
    pthread_mutex_lock(&c->lock);
    struct kd_cell *freed = cell;
    freed->next = c->free;
    c->free = freed;
    pthread_mutex_unlock(&c->lock);
}
