// SPDX-License-Identifier: Apache-2.0
// objects.c: from a key's reference to its handle.  Searching is slow on many
// tokens and a handle can go stale, so a handle is found once in a generation
// of sessions and proved before its first use.
#include "hsm/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX_BYTES = 8 + KD_HSM_ID_MAX_BYTES + KD_HSM_LABEL_MAX_BYTES + KD_HSM_POINT_MAX_BYTES };

struct kd_object {
    CK_OBJECT_HANDLE handle;
    size_t n;
    uint8_t key[]; // the reference's bytes
};

// The whole reference is the map's key: another proof is another entry, which
// is proved for itself.
static struct kd_bytes key_of(const struct kd_key_ref *ref, uint8_t bytes[static KEY_MAX_BYTES]) {
    uint8_t *at = bytes;
    *at++ = (uint8_t)ref->type;
    const struct kd_bytes parts[] = { ref->id, ref->label, ref->proof };
    for (size_t i = 0; i < KD_COUNT_OF(parts); i++) {
        *at++ = (uint8_t)parts[i].n;
        if (parts[i].n > 0) {
            memcpy(at, parts[i].p, parts[i].n);
            at += parts[i].n;
        }
    }
    return (struct kd_bytes) { bytes, (size_t)(at - bytes) };
}

enum kd_err kd_object_find(struct kd_session *s, CK_ATTRIBUTE *template, size_t n,
                           CK_OBJECT_HANDLE *out, size_t max, size_t *n_found) {
    CK_FUNCTION_LIST *p11 = s->token->p11;
    enum kd_err r = kd_ckr("C_FindObjectsInit", p11->C_FindObjectsInit(s->handle, template, n));
    if (r != KD_OK) {
        return r;
    }
    size_t total = 0;
    CK_ULONG got = 1;
    while (r == KD_OK && got > 0 && total < max) {
        r = kd_ckr("C_FindObjects", p11->C_FindObjects(s->handle, out + total, max - total, &got));
        total += r == KD_OK ? got : 0;
    }
    CK_OBJECT_HANDLE extra;
    if (r == KD_OK && got > 0 && total == max) {
        r = kd_ckr("C_FindObjects", p11->C_FindObjects(s->handle, &extra, 1, &got));
        r = r == KD_OK && got > 0 ? KD_ERR_TOO_MANY : r;
    }
    p11->C_FindObjectsFinal(s->handle);
    if (r == KD_OK) {
        *n_found = total;
    }
    return r;
}

static enum kd_err search(struct kd_session *s, const struct kd_key_ref *ref,
                          CK_OBJECT_HANDLE *out) {
    const CK_OBJECT_CLASS class = kd_key_type_is_ec(ref->type) ? CKO_PRIVATE_KEY : CKO_SECRET_KEY;
    const CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[4] = {
        KD_ATTRIBUTE(CKA_CLASS, class),
        KD_ATTRIBUTE(CKA_TOKEN, yes),
        KD_ATTRIBUTE_BYTES(CKA_ID, ref->id),
        KD_ATTRIBUTE_BYTES(CKA_LABEL, ref->label),
    };
    CK_OBJECT_HANDLE found[1];
    size_t n = 0;
    enum kd_err r = kd_object_find(s, template, ref->label.n > 0 ? 4 : 3, found, 1, &n);
    if (r != KD_OK) {
        return r == KD_ERR_TOO_MANY ? KD_ERR_OBJECT_AMBIGUOUS : r;
    }
    if (n == 0) {
        return KD_ERR_NO_OBJECT;
    }
    *out = found[0];
    return KD_OK;
}

static void remember(struct kd_session *s, struct kd_bytes key, CK_OBJECT_HANDLE handle) {
    struct kd_token *t = s->token;
    struct kd_object *o = malloc(sizeof(*o) + key.n);
    if (o == NULL) {
        return; // searched again next time
    }
    o->handle = handle;
    o->n = key.n;
    memcpy(o->key, key.p, key.n);
    const struct kd_bytes own = { o->key, o->n };
    pthread_mutex_lock(&t->lock);
    const bool is_kept = t->generation == s->generation && kd_map_get(&t->objects, own) == NULL &&
                         kd_map_add(&t->objects, own, o) == KD_OK;
    pthread_mutex_unlock(&t->lock);
    if (!is_kept) {
        free(o);
    }
}

enum kd_err kd_object_get(struct kd_session *s, const struct kd_key_ref *ref,
                          CK_OBJECT_HANDLE *out) {
    struct kd_token *t = s->token;
    uint8_t bytes[KEY_MAX_BYTES];
    const struct kd_bytes key = key_of(ref, bytes);
    pthread_mutex_lock(&t->lock);
    const struct kd_object *o = kd_map_get(&t->objects, key);
    const CK_OBJECT_HANDLE known =
        o != NULL && t->generation == s->generation ? o->handle : CK_INVALID_HANDLE;
    const bool is_stale = t->generation != s->generation;
    pthread_mutex_unlock(&t->lock);
    if (is_stale) {
        return KD_ERR_SESSION_LOST; // another thread saw it first
    }
    if (known != CK_INVALID_HANDLE) {
        *out = known;
        return KD_OK;
    }
    CK_OBJECT_HANDLE handle;
    enum kd_err r;
    if ((r = search(s, ref, &handle)) != KD_OK || (r = kd_proof_check(s, ref, handle)) != KD_OK) {
        return r;
    }
    remember(s, key, handle);
    *out = handle;
    return KD_OK;
}

void kd_object_forget(struct kd_session *s, const struct kd_key_ref *ref) {
    uint8_t bytes[KEY_MAX_BYTES];
    pthread_mutex_lock(&s->token->lock);
    free(kd_map_remove(&s->token->objects, key_of(ref, bytes)));
    pthread_mutex_unlock(&s->token->lock);
}

void kd_objects_wipe(struct kd_token *t) {
    size_t cursor = 0;
    for (struct kd_object *o; (o = kd_map_next(&t->objects, &cursor)) != NULL;) {
        kd_map_remove(&t->objects, (struct kd_bytes) { o->key, o->n });
        free(o);
    }
    kd_map_wipe(&t->objects);
}
