// SPDX-License-Identifier: Apache-2.0
// peers.c: see peers.h.  A peer is found by name, kid, URI and by SHA-256 of its
// certificate, whole or cut to 64 bits; by another hash, by trying all.
#include "keyd/peers.h"

#include "keyd/trust.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TRIED_MAX = 1000 }; // peers, for a hash that is not indexed
enum { KID_MAX_BYTES = 16, CRED_ROOM_BYTES = 256, COSE_KTY_EC2 = 2, CWT_CNF = 8 };

// ---- one peer --------------------------------------------------------------

// A CWT claims set with the key for the claim cnf (RFC 8747, RFC 9052 7).
static void put_claims(struct kd_buf *out, const struct kd_peer_entry *e) {
    const size_t n = (e->key.n_point - 1) / 2;
    kd_cbor_put_map(out, 1);
    kd_cbor_put_uint(out, CWT_CNF);
    kd_cbor_put_map(out, 1);
    kd_cbor_put_uint(out, 1);
    kd_cbor_put_map(out, 5);
    kd_cbor_put_uint(out, 1);
    kd_cbor_put_uint(out, COSE_KTY_EC2);
    kd_cbor_put_uint(out, 2);
    kd_cbor_put_bytes(out, e->info.kid);
    kd_cbor_put_int(out, -1);
    kd_cbor_put_uint(out, e->key.type == KD_KEY_EC_P384 ? 2 : 1);
    kd_cbor_put_int(out, -2);
    kd_cbor_put_bytes(out, (struct kd_bytes) { e->key.point + 1, n });
    kd_cbor_put_int(out, -3);
    kd_cbor_put_bytes(out, (struct kd_bytes) { e->key.point + 1 + n, n });
}

static bool is_uri(const char *text) {
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return n <= KD_X5U_MAX_BYTES && (n == 0 || strchr(text, ':') != NULL);
}

// Exactly one of certificate and point; each named by what fits it.
static enum kd_err check_form(const struct kd_store_peer *peer) {
    const bool has_certificate = peer->certificate.n > 0;
    if (!kd_name_is_valid(kd_bytes_of_text(peer->name))) {
        return KD_ERR_BAD_NAME;
    }
    if (has_certificate == (peer->point.n > 0) || peer->kid.n > KID_MAX_BYTES ||
        (!has_certificate && peer->kid.n == 0) || !is_uri(peer->uri) ||
        (!has_certificate && peer->uri[0] != '\0')) {
        return KD_ERR_FIELD_INVALID;
    }
    return peer->certificate.n + 8 > KD_EDHOC_CRED_MAX_BYTES ? KD_ERR_ITEM_TOO_LARGE : KD_OK;
}

static enum kd_err read_key(const struct kd_store_peer *peer, struct kd_peer_entry *e) {
    e->upto_ms = UINT64_MAX;
    if (peer->certificate.n == 0) {
        const enum kd_key_type type = peer->point.n == kd_key_type_point_bytes(KD_KEY_EC_P384)
                                          ? KD_KEY_EC_P384
                                          : KD_KEY_EC_P256;
        return kd_import_point(type, peer->point, &e->key);
    }
    enum kd_err r = kd_import_certificate(peer->certificate, &e->key);
    if (r == KD_OK) {
        r = kd_import_dates(peer->certificate, &e->from_ms, &e->upto_ms);
    }
    return r == KD_OK ? kd_host_hash(KD_MD_SHA256, &peer->certificate, 1, e->hash) : r;
}

static struct kd_bytes keep(uint8_t **at, struct kd_bytes b) {
    const struct kd_bytes kept = { *at, b.n };
    if (b.n > 0) {
        memcpy(*at, b.p, b.n);
    }
    *at += b.n;
    return kept;
}

static struct kd_bytes with_nul(const char *text) {
    return (struct kd_bytes) { (const uint8_t *)text, strlen(text) + 1 };
}

// The entry and behind it its bytes: name, URI, kid, certificate or point, CRED.
static enum kd_err new_entry(const struct kd_store_peer *peer, struct kd_bytes others,
                             struct kd_peer_entry **out) {
    struct kd_peer_entry head = { .is_changing = true };
    enum kd_err r = check_form(peer);
    if (r != KD_OK || (r = read_key(peer, &head)) != KD_OK) {
        return r;
    }
    kd_auto(buf) struct kd_buf cred = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES);
    head.info.kid = peer->kid;
    if (peer->certificate.n > 0) {
        kd_cred_put_certificate(&cred, peer->certificate);
        kd_trust_relation(peer->certificate, head.relation);
    } else {
        put_claims(&cred, &head);
    }
    if ((r = kd_buf_finish(&cred)) != KD_OK) {
        return r;
    }
    const struct kd_bytes name = with_nul(peer->name);
    const struct kd_bytes uri = with_nul(peer->uri);
    struct kd_peer_entry *e =
        calloc(1, sizeof(*e) + name.n + uri.n + peer->kid.n + peer->certificate.n + peer->point.n +
                      cred.n + others.n);
    if (e == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    *e = head;
    uint8_t *at = (uint8_t *)(e + 1);
    e->info.name = (const char *)keep(&at, name).p;
    e->info.uri = (const char *)keep(&at, uri).p;
    e->info.kid = keep(&at, peer->kid);
    e->info.certificate = keep(&at, peer->certificate);
    e->info.point = keep(&at, peer->point);
    e->cred = keep(&at, kd_buf_get(&cred));
    e->others = keep(&at, others);
    e->info.created_ms = peer->created_ms;
    *out = e;
    return KD_OK;
}

// ---- all of them -----------------------------------------------------------

enum { INDEXES = 5 };

// What a peer is found by; empty where it has no such name.
static void names_of(struct kd_peers *p, const struct kd_peer_entry *e,
                     struct kd_map *maps[static INDEXES], struct kd_bytes keys[static INDEXES]) {
    const bool has_hash = e->info.certificate.n > 0;
    maps[0] = &p->by_name;
    keys[0] = kd_bytes_of_text(e->info.name);
    maps[1] = &p->by_kid;
    keys[1] = e->info.kid;
    // Where a passing peer's certificate came from, another may be by now.
    maps[2] = &p->by_uri;
    keys[2] = e->is_passing ? KD_BYTES_NONE : kd_bytes_of_text(e->info.uri);
    maps[3] = &p->by_hash;
    keys[3] = (struct kd_bytes) { e->hash, has_hash ? KD_PEER_HASH_BYTES : 0 };
    maps[4] = &p->by_short;
    keys[4] = (struct kd_bytes) { e->hash, has_hash ? KD_PEER_SHORT_BYTES : 0 };
}

// Index of the first whose name is greater.
static size_t index_after(const struct kd_peers *p, const char *name) {
    size_t low = 0;
    size_t high = p->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(p->sorted[middle]->info.name, name) > 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool has_room(struct kd_peers *p) {
    if (p->n < p->cap) {
        return true;
    }
    const size_t cap = p->cap == 0 ? 64 : p->cap * 2;
    struct kd_peer_entry **sorted = realloc(p->sorted, cap * sizeof(struct kd_peer_entry *));
    if (sorted == NULL) {
        return false;
    }
    p->sorted = sorted;
    p->cap = cap;
    return true;
}

static void forgo_places(struct kd_peer_entry *e, size_t n) {
    struct kd_map *maps[INDEXES];
    struct kd_bytes keys[INDEXES];
    names_of(e->place, e, maps, keys);
    for (size_t i = 0; i < n; i++) {
        kd_map_unkeep(maps[i], keys[i].n == 0 ? 0 : 1);
    }
    e->place = NULL;
}

static enum kd_err keep_places(struct kd_peers *p, struct kd_peer_entry *e) {
    struct kd_map *maps[INDEXES];
    struct kd_bytes keys[INDEXES];
    e->place = p;
    names_of(p, e, maps, keys);
    for (size_t i = 0; i < INDEXES; i++) {
        const enum kd_err r = kd_map_keep(maps[i], keys[i].n == 0 ? 0 : 1);
        if (r != KD_OK) {
            forgo_places(e, i);
            return r;
        }
    }
    return KD_OK;
}

static enum kd_err index_entry(struct kd_peers *p, struct kd_peer_entry *e) {
    struct kd_map *maps[INDEXES];
    struct kd_bytes keys[INDEXES];
    names_of(p, e, maps, keys);
    for (size_t i = 0; i < INDEXES; i++) {
        if (keys[i].n > 0 && kd_map_get(maps[i], keys[i]) != NULL) {
            return KD_ERR_PEER_EXISTS;
        }
    }
    if (e->place != NULL) {
        forgo_places(e, INDEXES); // for what follows
    }
    for (size_t i = 0; i < INDEXES; i++) {
        const enum kd_err r = keys[i].n == 0 ? KD_OK : kd_map_add(maps[i], keys[i], e);
        if (r != KD_OK) {
            for (size_t k = 0; k < i; k++) {
                kd_map_remove(maps[k], keys[k]);
            }
            return r;
        }
    }
    return KD_OK;
}

static enum kd_err enter(struct kd_peers *p, struct kd_peer_entry *e) {
    enum kd_err r = has_room(p) ? index_entry(p, e) : KD_ERR_NO_MEMORY;
    if (r != KD_OK) {
        return r;
    }
    const size_t at = index_after(p, e->info.name);
    memmove(&p->sorted[at + 1], &p->sorted[at], (p->n - at) * sizeof(struct kd_peer_entry *));
    p->sorted[at] = e;
    p->n++;
    return KD_OK;
}

enum kd_err kd_peers_add(struct kd_peers *p, const struct kd_store_peer *peer,
                         struct kd_peer_entry **out) {
    struct kd_peer_entry *e = NULL;
    enum kd_err r = new_entry(peer, KD_BYTES_NONE, &e);
    if (r != KD_OK) {
        return r;
    }
    r = enter(p, e);
    if (r != KD_OK) {
        free(e);
        return r;
    }
    e->info.is_registered = true;
    *out = e;
    return KD_OK;
}

// From the list and from what finds it; the entry stays.
static void take_out(struct kd_peers *p, struct kd_peer_entry *e) {
    const size_t at = index_after(p, e->info.name) - 1;
    assert(p->sorted[at] == e);
    memmove(&p->sorted[at], &p->sorted[at + 1], (p->n - at - 1) * sizeof(struct kd_peer_entry *));
    p->n--;
    struct kd_map *maps[INDEXES];
    struct kd_bytes keys[INDEXES];
    names_of(p, e, maps, keys);
    for (size_t i = 0; i < INDEXES; i++) {
        if (keys[i].n > 0) {
            kd_map_remove(maps[i], keys[i]);
        }
    }
}

void kd_peers_remove(struct kd_peers *p, struct kd_peer_entry *e) {
    take_out(p, e);
    free(e);
}

enum kd_err kd_peers_prepare(struct kd_peers *p, const struct kd_store_peer *peer,
                             struct kd_peer_entry **out) {
    struct kd_peer_entry *e = NULL;
    enum kd_err r = new_entry(peer, KD_BYTES_NONE, &e);
    if (r != KD_OK || (r = keep_places(p, e)) != KD_OK) {
        free(e);
        return r;
    }
    e->info.is_registered = true;
    *out = e;
    return KD_OK;
}

void kd_peers_discard(struct kd_peer_entry *e) {
    if (e != NULL && e->place != NULL) {
        forgo_places(e, INDEXES);
    }
    free(e);
}

enum kd_err kd_peers_replace(struct kd_peers *p, struct kd_peer_entry *old,
                             struct kd_peer_entry *fresh) {
    take_out(p, old);
    fresh->holds = old->holds;
    return enter(p, fresh);
}

void kd_peers_wipe(struct kd_peers *p) {
    for (size_t i = 0; i < p->n; i++) {
        free(p->sorted[i]);
    }
    free(p->sorted);
    kd_map_wipe(&p->by_name);
    kd_map_wipe(&p->by_kid);
    kd_map_wipe(&p->by_uri);
    kd_map_wipe(&p->by_hash);
    kd_map_wipe(&p->by_short);
    *p = KD_PEERS_INIT;
}

enum kd_err kd_peers_load(void *peers, const struct kd_store_peer *peer) {
    struct kd_peer_entry *e = NULL;
    enum kd_err r = kd_peers_add(peers, peer, &e);
    if (r == KD_OK) {
        e->is_changing = false;
    }
    return r;
}

struct kd_peer_entry *kd_peers_get(const struct kd_peers *p, const char *name) {
    return kd_map_get(&p->by_name, kd_bytes_of_text(name));
}

struct kd_peer_entry *kd_peers_next(const struct kd_peers *p, const char *after) {
    const size_t at = after == NULL ? 0 : index_after(p, after);
    return at < p->n ? p->sorted[at] : NULL;
}

// ---- passing peers ---------------------------------------------------------

enum kd_err kd_peers_new_passing(const struct kd_passing *from, struct kd_peer_entry **out) {
    kd_auto(buf) struct kd_buf others = KD_BUF_INIT(KD_X5CHAIN_MAX * KD_EDHOC_CRED_MAX_BYTES);
    for (size_t i = 0; i < from->n_others; i++) {
        kd_cbor_put_bytes(&others, from->others[i]);
    }
    enum kd_err r = kd_buf_finish(&others);
    struct kd_peer_entry *e = NULL;
    if (r != KD_OK || (r = new_entry(&from->peer, kd_buf_get(&others), &e)) != KD_OK) {
        return r;
    }
    e->is_passing = true;
    e->is_changing = false;
    e->uses = from->uses;
    *out = e;
    return KD_OK;
}

enum kd_err kd_peers_settle(struct kd_peers *p, struct kd_peer_entry *e,
                            struct kd_peer_entry **out) {
    struct kd_peer_entry *there = kd_peers_get(p, e->info.name);
    if (there == NULL) {
        const enum kd_err r = enter(p, e);
        *out = r == KD_OK ? e : *out;
        return r;
    }
    if (!there->is_passing || there->is_changing) {
        return KD_ERR_PEER_EXISTS;
    }
    *out = there;
    if (kd_bytes_equal(there->info.certificate, e->info.certificate)) {
        free(e);
        return KD_OK;
    }
    return KD_ERR_CHANGE_UNDER_WAY;
}

void kd_peers_hold(struct kd_peers *p, const struct kd_peer_entry *e) {
    struct kd_peer_entry *mine = kd_peers_get(p, e->info.name);
    assert(mine == e);
    mine->holds++;
}

void kd_peers_release(struct kd_peers *p, const struct kd_peer_entry *e) {
    struct kd_peer_entry *mine = kd_peers_get(p, e->info.name);
    if (mine != e) {
        return; // it has been replaced, and is its owner's
    }
    if (--mine->holds == 0 && mine->is_passing && !mine->is_changing) {
        kd_peers_remove(p, mine);
    }
}

// ---- handshakes ------------------------------------------------------------

static const struct kd_peer_entry *find_by_certificate(const struct kd_peers *p,
                                                       struct kd_bytes certificate) {
    uint8_t hash[KD_PEER_HASH_BYTES];
    if (kd_host_hash(KD_MD_SHA256, &certificate, 1, hash) != KD_OK) {
        return NULL;
    }
    return kd_map_get(&p->by_hash, (struct kd_bytes) { hash, sizeof(hash) });
}

static const struct kd_peer_entry *find_by_hash(const struct kd_peers *p,
                                                const struct kd_idcred *id) {
    if (id->x5t_hash == KD_COSE_SHA256_64 || id->x5t_hash == KD_COSE_SHA256) {
        return kd_map_get(id->x5t_hash == KD_COSE_SHA256 ? &p->by_hash : &p->by_short, id->x5t);
    }
    // Anybody may ask this, so there is an end to what it may cost.
    for (size_t i = 0; i < p->n && p->n <= TRIED_MAX; i++) {
        if (p->sorted[i]->info.certificate.n > 0 &&
            kd_idcred_fits(id, p->sorted[i]->cred) == KD_OK) {
            return p->sorted[i];
        }
    }
    return NULL;
}

static const struct kd_peer_entry *find(const struct kd_peers *p, const struct kd_idcred *id) {
    const struct kd_peer_entry *e = NULL;
    switch (id->kind) {
    case KD_IDCRED_KID:
        return kd_map_get(&p->by_kid, id->kid);
    case KD_IDCRED_X5T:
        return find_by_hash(p, id);
    case KD_IDCRED_X5U:
        return kd_map_get(&p->by_uri, id->x5u);
    case KD_IDCRED_X5U_X5T: // a passing peer is not known by its URI
        e = kd_map_get(&p->by_uri, id->x5u);
        return e != NULL || (e = find_by_hash(p, id)) == NULL || e->is_passing ? e : NULL;
    case KD_IDCRED_X5CHAIN:
        return id->n_chain == 0 ? NULL : find_by_certificate(p, id->chain[0]);
    }
    return NULL;
}

enum kd_err kd_peer_check(const struct kd_peer_entry *e, uint64_t now_ms, const char **why) {
    if (now_ms < e->from_ms || now_ms > e->upto_ms) {
        *why = "its certificate is not valid now";
        return KD_ERR_HS_CREDENTIAL;
    }
    return KD_OK;
}

enum kd_err kd_peers_resolve(const struct kd_peers *p, const struct kd_idcred *id, uint64_t now_ms,
                             const struct kd_peer_entry **out, const char **why) {
    const struct kd_peer_entry *e = find(p, id);
    if (e == NULL || e->is_changing) {
        *why = "no peer with this credential is registered";
        return KD_ERR_NO_PEER;
    }
    if (kd_idcred_fits(id, e->cred) != KD_OK) {
        *why = "the registered certificate is not the one that it names";
        return KD_ERR_HS_CREDENTIAL;
    }
    enum kd_err r = kd_peer_check(e, now_ms, why);
    if (r == KD_OK) {
        *out = e;
    }
    return r;
}
