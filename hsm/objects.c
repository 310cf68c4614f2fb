// SPDX-License-Identifier: Apache-2.0
// objects.c: from a key's reference to its handle.  Searching is slow on many
// tokens and a handle can go stale, so a handle is found once in a generation
// of sessions and proved before its first use.
//
// A software token reads and locks a file at each use of a token object, which
// takes longer than the operation (SoftHSM 2.6: 61k HMAC a second, 200k with a
// session object).  There keys are used through a session copy, as sensitive and
// as little extractable as the original, whose existence is asked for again
// every second: a key that another program destroys is soon gone here, too.
#include "hsm/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX_BYTES = 8 + KD_HSM_ID_MAX_BYTES + KD_HSM_LABEL_MAX_BYTES + KD_HSM_POINT_MAX_BYTES };

enum { ORIGINAL_CHECK_MS = 1000 };

struct kd_object {
    CK_OBJECT_HANDLE handle;   // to be used
    CK_OBJECT_HANDLE original; // another one where `handle` is a copy of it
    uint64_t checked_ms;       // when the original was last seen
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

static enum kd_err find(struct kd_session *s, CK_ATTRIBUTE *template, size_t n,
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

enum kd_err kd_object_find(struct kd_session *s, CK_ATTRIBUTE *template, size_t n,
                           CK_OBJECT_HANDLE *out, size_t max, size_t *n_found) {
    pthread_rwlock_rdlock(&s->token->copying);
    const enum kd_err r = find(s, template, n, out, max, n_found);
    pthread_rwlock_unlock(&s->token->copying);
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

// The handle to use for an object: a copy of it where that is worth it.
static CK_OBJECT_HANDLE copy_of(struct kd_session *s, CK_OBJECT_HANDLE original) {
    const CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE template[] = { KD_ATTRIBUTE(CKA_TOKEN, no) };
    CK_OBJECT_HANDLE copy;
    if (!s->token->is_software) {
        return original;
    }
    pthread_rwlock_wrlock(&s->token->copying);
    const CK_RV rv =
        s->token->p11->C_CopyObject(s->handle, original, template, KD_COUNT_OF(template), &copy);
    pthread_rwlock_unlock(&s->token->copying);
    if (rv != CKR_OK) {
        kd_log(KD_LOG_DEBUG, "token", "a key is used without a copy", "rv=%s", kd_ckr_name(rv));
        return original;
    }
    return copy;
}

static void remember(struct kd_session *s, struct kd_bytes key, CK_OBJECT_HANDLE original,
                     CK_OBJECT_HANDLE handle) {
    struct kd_token *t = s->token;
    struct kd_object *o = malloc(sizeof(*o) + key.n);
    if (o == NULL) {
        return; // searched again next time
    }
    o->handle = handle;
    o->original = original;
    o->checked_ms = kd_clock_mono_ms();
    o->n = key.n;
    memcpy(o->key, key.p, key.n);
    const struct kd_bytes own = { o->key, o->n };
    pthread_mutex_lock(&t->lock);
    const bool is_kept = t->generation == s->generation && kd_map_get(&t->objects, own) == NULL &&
                         kd_map_add(&t->objects, own, o) == KD_OK;
    pthread_mutex_unlock(&t->lock);
    if (!is_kept) {
        free(o); // a copy stays until the session ends: it is in use now
    }
}

// What is known under the lock.
struct known {
    CK_OBJECT_HANDLE handle; // CK_INVALID_HANDLE: nothing
    CK_OBJECT_HANDLE original;
    bool is_due;   // the original must be asked for
    bool is_stale; // another thread has seen that the sessions were lost
};

static struct known look_up(struct kd_session *s, struct kd_bytes key) {
    struct kd_token *t = s->token;
    struct known k = { CK_INVALID_HANDLE, CK_INVALID_HANDLE, false, false };
    pthread_mutex_lock(&t->lock);
    struct kd_object *o = kd_map_get(&t->objects, key);
    k.is_stale = t->generation != s->generation;
    if (o != NULL && !k.is_stale) {
        k.handle = o->handle;
        k.original = o->original;
        if (o->handle != o->original) {
            const uint64_t now = kd_clock_mono_ms();
            k.is_due = now - o->checked_ms >= ORIGINAL_CHECK_MS;
            o->checked_ms = k.is_due ? now : o->checked_ms;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return k;
}

static bool is_there(struct kd_session *s, CK_OBJECT_HANDLE original) {
    CK_OBJECT_CLASS class;
    CK_ATTRIBUTE a = KD_ATTRIBUTE(CKA_CLASS, class);
    return s->token->p11->C_GetAttributeValue(s->handle, original, &a, 1) == CKR_OK;
}

enum kd_err kd_object_get(struct kd_session *s, const struct kd_key_ref *ref,
                          CK_OBJECT_HANDLE *out) {
    uint8_t bytes[KEY_MAX_BYTES];
    const struct kd_bytes key = key_of(ref, bytes);
    const struct known known = look_up(s, key);
    if (known.is_stale) {
        return KD_ERR_SESSION_LOST;
    }
    if (known.handle != CK_INVALID_HANDLE && (!known.is_due || is_there(s, known.original))) {
        *out = known.handle;
        return KD_OK;
    }
    if (known.handle != CK_INVALID_HANDLE) {
        kd_object_forget(s, ref);
    }
    CK_OBJECT_HANDLE original;
    enum kd_err r;
    if ((r = search(s, ref, &original)) != KD_OK ||
        (r = kd_proof_check(s, ref, original)) != KD_OK) {
        return r;
    }
    *out = copy_of(s, original);
    remember(s, key, original, *out);
    return KD_OK;
}

// A copy that another thread is using just now fails there with a stale handle,
// and is made again.
void kd_object_forget(struct kd_session *s, const struct kd_key_ref *ref) {
    uint8_t bytes[KEY_MAX_BYTES];
    pthread_mutex_lock(&s->token->lock);
    struct kd_object *o = kd_map_remove(&s->token->objects, key_of(ref, bytes));
    pthread_mutex_unlock(&s->token->lock);
    if (o != NULL && o->handle != o->original) {
        kd_destroy(s, o->handle);
    }
    free(o);
}

void kd_objects_wipe(struct kd_token *t) {
    size_t cursor = 0;
    for (struct kd_object *o; (o = kd_map_next(&t->objects, &cursor)) != NULL;) {
        kd_map_remove(&t->objects, (struct kd_bytes) { o->key, o->n });
        free(o);
    }
    kd_map_wipe(&t->objects);
}
