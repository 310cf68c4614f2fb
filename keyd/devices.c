// SPDX-License-Identifier: Apache-2.0
// devices.c: see devices.h.
#include "keyd/devices.h"

#include "channel/channel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { HASHES = 2 }; // of the current certificate and the previous one

// ---- one device ------------------------------------------------------------

static struct kd_bytes hash_of(const struct kd_device_certificate *c) {
    return (struct kd_bytes) { c->hash, c->der.n == 0 ? 0 : sizeof(c->hash) };
}

static void wipe_certificate(struct kd_device_certificate *c) {
    kd_buf_wipe(&c->der);
    memset(c, 0, sizeof(*c));
}

static enum kd_err copy_certificate(const struct kd_store_certificate *from,
                                    struct kd_device_certificate *to) {
    to->der = KD_BUF_INIT(KD_CA_CERTIFICATE_MAX_BYTES);
    if (from->der.n == 0) {
        return KD_OK;
    }
    kd_buf_put(&to->der, from->der.p, from->der.n);
    memcpy(to->serial, from->serial.p, sizeof(to->serial));
    to->from_ms = from->from_ms;
    to->upto_ms = from->upto_ms;
    const enum kd_err r = kd_buf_finish(&to->der);
    return r == KD_OK ? kd_host_hash(KD_MD_SHA256, &from->der, 1, to->hash) : r;
}

static void free_entry(struct kd_device_entry *e) {
    wipe_certificate(&e->current);
    wipe_certificate(&e->previous);
    free(e);
}

static enum kd_err new_entry(const struct kd_store_device *from, struct kd_device_entry **out) {
    struct kd_device_entry *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    memcpy(e->id, from->id, strlen(from->id));
    memcpy(e->relation, from->relation, strlen(from->relation));
    e->usage = from->usage;
    e->state = from->state;
    e->created_ms = from->created_ms;
    e->has_secret = from->secret.n == sizeof(e->secret);
    e->secret_until_ms = from->secret_until_ms;
    if (e->has_secret) {
        memcpy(e->secret, from->secret.p, sizeof(e->secret));
    }
    enum kd_err r = copy_certificate(&from->current, &e->current);
    r = r == KD_OK ? copy_certificate(&from->previous, &e->previous) : r;
    if (r != KD_OK) {
        free_entry(e);
        return r;
    }
    *out = e;
    return KD_OK;
}

// ---- all of them -----------------------------------------------------------

// Index of the first whose id is greater.
static size_t index_after(const struct kd_devices *d, const char *id) {
    size_t low = 0;
    size_t high = d->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(d->sorted[middle]->id, id) > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool has_room(struct kd_devices *d) {
    if (d->n < d->cap) {
        return true;
    }
    const size_t cap = d->cap == 0 ? 64 : d->cap * 2;
    struct kd_device_entry **sorted = realloc(d->sorted, cap * sizeof(struct kd_device_entry *));
    if (sorted == NULL) {
        return false;
    }
    d->sorted = sorted;
    d->cap = cap;
    return true;
}

static enum kd_err add_hash(struct kd_devices *d, struct kd_device_entry *e, struct kd_bytes hash) {
    return hash.n == 0                             ? KD_OK
           : kd_map_get(&d->by_hash, hash) != NULL ? KD_ERR_DEVICE_EXISTS
                                                   : kd_map_add(&d->by_hash, hash, e);
}

static void remove_hashes(struct kd_devices *d, struct kd_device_entry *e) {
    const struct kd_bytes hashes[] = { hash_of(&e->current), hash_of(&e->previous) };
    for (size_t i = 0; i < KD_COUNT_OF(hashes); i++) {
        if (hashes[i].n > 0 && kd_map_get(&d->by_hash, hashes[i]) == e) {
            kd_map_remove(&d->by_hash, hashes[i]);
        }
    }
}

static enum kd_err index_entry(struct kd_devices *d, struct kd_device_entry *e) {
    enum kd_err r = add_hash(d, e, hash_of(&e->current));
    if (r == KD_OK && (r = add_hash(d, e, hash_of(&e->previous))) == KD_OK) {
        r = kd_map_add(&d->by_id, kd_bytes_of_text(e->id), e);
    }
    if (r != KD_OK) {
        remove_hashes(d, e);
    }
    return r;
}

enum kd_err kd_devices_add(struct kd_devices *d, const struct kd_store_device *from,
                           struct kd_device_entry **out) {
    struct kd_device_entry *e = NULL;
    if (kd_devices_get(d, from->id) != NULL) {
        return KD_ERR_DEVICE_EXISTS;
    }
    enum kd_err r = has_room(d) ? new_entry(from, &e) : KD_ERR_NO_MEMORY;
    if (r != KD_OK) {
        return r;
    }
    if ((r = index_entry(d, e)) != KD_OK) {
        free_entry(e);
        return r;
    }
    const size_t at = index_after(d, e->id);
    memmove(&d->sorted[at + 1], &d->sorted[at], (d->n - at) * sizeof(struct kd_device_entry *));
    d->sorted[at] = e;
    d->n++;
    *out = e;
    return KD_OK;
}

void kd_devices_remove(struct kd_devices *d, struct kd_device_entry *e) {
    const size_t at = index_after(d, e->id) - 1;
    assert(d->sorted[at] == e);
    memmove(&d->sorted[at], &d->sorted[at + 1], (d->n - at - 1) * sizeof(struct kd_device_entry *));
    d->n--;
    remove_hashes(d, e);
    kd_map_remove(&d->by_id, kd_bytes_of_text(e->id));
    free_entry(e);
}

void kd_devices_wipe(struct kd_devices *d) {
    for (size_t i = 0; i < d->n; i++) {
        free_entry(d->sorted[i]);
    }
    free(d->sorted);
    size_t cursor = 0;
    for (void *id; (id = kd_map_next(&d->deleted, &cursor)) != NULL;) {
        kd_map_free_named(&d->deleted, id);
    }
    kd_map_wipe(&d->deleted);
    kd_map_wipe(&d->by_id);
    kd_map_wipe(&d->by_hash);
    *d = KD_DEVICES_INIT;
}

enum kd_err kd_devices_load(void *devices, const struct kd_store_device *from) {
    struct kd_device_entry *e = NULL;
    return kd_devices_add(devices, from, &e);
}

enum kd_err kd_devices_note_deleted(void *devices, const char *id) {
    struct kd_devices *d = devices;
    return kd_map_named(&d->deleted, id, KD_NAME_MAX_BYTES + 1) == NULL ? KD_ERR_NO_MEMORY : KD_OK;
}

void kd_devices_unnote_deleted(struct kd_devices *d, const char *id) {
    void *noted = kd_map_get(&d->deleted, kd_bytes_of_text(id));
    if (noted != NULL) {
        kd_map_free_named(&d->deleted, noted);
    }
}

bool kd_devices_was_deleted(const struct kd_devices *d, const char *id) {
    return kd_map_get(&d->deleted, kd_bytes_of_text(id)) != NULL;
}

bool kd_devices_shuts_out(const struct kd_devices *d, const char *id) {
    const struct kd_device_entry *e = kd_devices_get(d, id);
    return e == NULL ? kd_devices_was_deleted(d, id) : e->state == KD_DEVICE_REVOKED;
}

struct kd_device_entry *kd_devices_get(const struct kd_devices *d, const char *id) {
    return kd_map_get(&d->by_id, kd_bytes_of_text(id));
}

struct kd_device_entry *kd_devices_next(const struct kd_devices *d, const char *after) {
    const size_t at = after == NULL ? 0 : index_after(d, after);
    return at < d->n ? d->sorted[at] : NULL;
}

struct kd_device_entry *kd_devices_by_hash(const struct kd_devices *d, struct kd_bytes hash) {
    return kd_map_get(&d->by_hash, hash);
}

enum kd_err kd_devices_keep_places(struct kd_devices *d) {
    return kd_map_keep(&d->by_hash, HASHES);
}

void kd_devices_forgo_places(struct kd_devices *d) {
    kd_map_unkeep(&d->by_hash, HASHES);
}

void kd_devices_renew(struct kd_devices *d, struct kd_device_entry *e,
                      struct kd_device_certificate *take_certificate, struct kd_bytes asked_with) {
    remove_hashes(d, e);
    if (asked_with.n == 0) {
        wipe_certificate(&e->previous);
    } else if (kd_bytes_equal(asked_with, hash_of(&e->current))) {
        wipe_certificate(&e->previous);
        e->previous = e->current;
        memset(&e->current, 0, sizeof(e->current));
    } // else it is the previous one, and stays
    wipe_certificate(&e->current);
    e->current = *take_certificate;
    memset(take_certificate, 0, sizeof(*take_certificate));
    e->state = KD_DEVICE_ACTIVE;
    e->has_secret = false;
    e->secret_until_ms = 0;
    kd_devices_forgo_places(d);
    const enum kd_err of_current KD_UNUSED = add_hash(d, e, hash_of(&e->current));
    const enum kd_err of_previous KD_UNUSED = add_hash(d, e, hash_of(&e->previous));
    assert(of_current == KD_OK && of_previous == KD_OK);
}
