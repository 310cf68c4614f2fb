// SPDX-License-Identifier: Apache-2.0
// cells.h: small secrets of one size that share pages of locked memory: a page of
// its own for each of a thousand sessions would be all that a process may lock.
#ifndef KD_BASE_CELLS_H
#define KD_BASE_CELLS_H

#include "secret.h"

#include <pthread.h>

struct kd_cell; // one that is free

struct kd_cells {
    pthread_mutex_t lock;
    size_t size; // of a cell
    struct kd_cell *free;
    struct kd_secret **pages;
    size_t n_pages;
};

void kd_cells_init(struct kd_cells *c, size_t size);
void kd_cells_wipe(struct kd_cells *c); // with all that is in them
// All zero.  KD_ERR_NO_MEMORY also where no more may be locked.
KD_MUST_CHECK enum kd_err kd_cells_get(struct kd_cells *c, void **out);
void kd_cells_put(struct kd_cells *c, void *cell); // wipes; NULL: nothing

#endif
