// SPDX-License-Identifier: Apache-2.0
// window.c: see window.h.  Bit i of `seen` stands for the one number in
// top - 1023 .. top that is i modulo 1024.
#include "channel/window.h"

#include "channel/record.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { PENDING_FIRST = 16 };

void kd_window_wipe(struct kd_window *w) {
    free(w->pending);
    *w = (struct kd_window) { .has_any = false };
}

static uint64_t bit_of(uint64_t sequence) {
    return UINT64_C(1) << (sequence % 64);
}

static size_t word_of(uint64_t sequence) {
    return sequence % KD_WINDOW_BITS / 64;
}

static bool is_seen(const struct kd_window *w, uint64_t sequence) {
    return (w->seen[word_of(sequence)] & bit_of(sequence)) != 0;
}

static bool is_too_old(const struct kd_window *w, uint64_t sequence) {
    return w->has_any && sequence < w->top && w->top - sequence >= KD_WINDOW_BITS;
}

static enum kd_err add_pending(struct kd_window *w, uint64_t sequence) {
    if (w->n_pending == KD_WINDOW_PENDING_MAX) {
        return KD_ERR_BUSY;
    }
    if (w->n_pending == w->cap_pending) {
        size_t cap = w->cap_pending == 0 ? PENDING_FIRST : 2 * w->cap_pending;
        uint64_t *p = realloc(w->pending, cap * sizeof(*p));
        if (p == NULL) {
            return KD_ERR_NO_MEMORY;
        }
        w->pending = p;
        w->cap_pending = cap;
    }
    w->pending[w->n_pending++] = sequence;
    return KD_OK;
}

enum kd_err kd_window_check(const struct kd_window *w, uint64_t sequence) {
    if (is_too_old(w, sequence)) {
        return KD_ERR_RECORD_TOO_OLD;
    }
    const bool was_seen = w->has_any && sequence <= w->top && is_seen(w, sequence);
    return was_seen ? KD_ERR_RECORD_REPLAYED : KD_OK;
}

enum kd_err kd_window_begin(struct kd_window *w, uint64_t sequence) {
    enum kd_err r = kd_window_check(w, sequence);
    return r == KD_OK ? add_pending(w, sequence) : r;
}

// One of the number, or all; how many there were.
static size_t remove_pending(struct kd_window *w, uint64_t sequence, bool is_all) {
    size_t n_kept = 0;
    size_t n_removed = 0;
    for (size_t i = 0; i < w->n_pending; i++) {
        if (w->pending[i] == sequence && (is_all || n_removed == 0)) {
            n_removed++;
        } else {
            w->pending[n_kept++] = w->pending[i];
        }
    }
    w->n_pending = n_kept;
    if (n_kept == 0) { // most sessions are idle
        free(w->pending);
        w->pending = NULL;
        w->cap_pending = 0;
    }
    return n_removed;
}

void kd_window_abort(struct kd_window *w, uint64_t sequence) {
    (void)remove_pending(w, sequence, false); // not there where another was committed
}

// Makes `sequence` the highest; the bits between are numbers not yet seen.
static void move_to(struct kd_window *w, uint64_t sequence) {
    if (!w->has_any || sequence - w->top >= KD_WINDOW_BITS) {
        memset(w->seen, 0, sizeof(w->seen));
    } else {
        for (uint64_t s = w->top + 1; s <= sequence; s++) {
            w->seen[word_of(s)] &= ~bit_of(s);
        }
    }
    w->has_any = true;
    w->top = sequence;
}

void kd_window_take(struct kd_window *w, uint64_t sequence) {
    if (is_too_old(w, sequence)) { // others went past it meanwhile: begin refuses it from now on
        return;
    }
    if (!w->has_any || sequence > w->top) {
        move_to(w, sequence);
    }
    w->seen[word_of(sequence)] |= bit_of(sequence);
}

// A number is pending only as long as none of it has passed: no begin comes after the commit.
enum kd_err kd_window_commit(struct kd_window *w, uint64_t sequence) {
    if (remove_pending(w, sequence, true) == 0) {
        return KD_ERR_RECORD_REPLAYED;
    }
    kd_window_take(w, sequence);
    return KD_OK;
}

void kd_window_save(const struct kd_window *w, uint8_t out[static KD_WINDOW_BYTES]) {
    memset(out, 0, KD_WINDOW_BYTES);
    for (uint64_t i = 0; w->has_any && i < KD_WINDOW_BITS && i <= w->top; i++) {
        if (is_seen(w, w->top - i)) {
            out[i / 8] |= (uint8_t)(1u << i % 8);
        }
    }
}

void kd_window_restore(struct kd_window *w, uint64_t top,
                       const uint8_t from[static KD_WINDOW_BYTES]) {
    w->has_any = true;
    w->top = top;
    for (uint64_t i = 0; i < KD_WINDOW_BITS && i <= top; i++) {
        if ((from[i / 8] >> i % 8 & 1) != 0) {
            w->seen[word_of(top - i)] |= bit_of(top - i);
        }
    }
    w->seen[word_of(top)] |= bit_of(top);
}

enum kd_err kd_sequence_reserve(struct kd_sequence *s, uint64_t n, uint64_t *first) {
    const uint64_t end = KD_RECORD_SEQUENCE_MAX + 1;
    if (s->next > end || n > end - s->next) {
        return KD_ERR_SEQUENCE_END;
    }
    *first = s->next;
    s->next += n;
    return KD_OK;
}
