// SPDX-License-Identifier: Apache-2.0
// manage.c: makes, finds and destroys key objects of the token.  What an object
// is: describe.c.
#include "hsm/exec.h"

#include <assert.h>
#include <p11-kit/uri.h>
#include <string.h>

enum { FOUND_MAX = KD_HSM_BATCH_MAX_ITEMS, TEMPLATE_MAX = 16 };

// ---- generate --------------------------------------------------------------

struct template {
    CK_BBOOL yes;
    CK_BBOOL no;
    size_t n;
    CK_ATTRIBUTE list[TEMPLATE_MAX];
};

static void put(struct template *t, CK_ATTRIBUTE attribute) {
    assert(t->n < TEMPLATE_MAX);
    t->list[t->n++] = attribute;
}

static void put_flag(struct template *t, CK_ATTRIBUTE_TYPE type, bool value) {
    put(t, (CK_ATTRIBUTE) { type, value ? &t->yes : &t->no, sizeof(CK_BBOOL) });
}

static void begin(struct template *t, const struct kd_key_ref *ref) {
    *t = (struct template) { .yes = CK_TRUE };
    put_flag(t, CKA_TOKEN, true);
    put(t, KD_ATTRIBUTE_BYTES(CKA_ID, ref->id));
    put(t, KD_ATTRIBUTE_BYTES(CKA_LABEL, ref->label));
}

// What must never leave.
static void put_guards(struct template *t) {
    put_flag(t, CKA_PRIVATE, true);
    put_flag(t, CKA_SENSITIVE, true);
    put_flag(t, CKA_EXTRACTABLE, false);
}

static enum kd_err generate_pair(struct kd_session *s, const struct kd_hsm_item *item,
                                 struct kd_pair *made) {
    const struct kd_bytes oid = kd_host_curve_oid(item->key.type);
    struct template public;
    begin(&public, &item->key);
    put(&public, KD_ATTRIBUTE_BYTES(CKA_EC_PARAMS, oid));
    put_flag(&public, CKA_VERIFY, (item->usages & KD_USE_SIGN) != 0);
    struct template private;
    begin(&private, &item->key);
    put_guards(&private);
    put_flag(&private, CKA_SIGN, (item->usages & KD_USE_SIGN) != 0);
    put_flag(&private, CKA_DERIVE, (item->usages & KD_USE_DERIVE) != 0);
    put_flag(&private, CKA_DECRYPT, false);
    put_flag(&private, CKA_UNWRAP, false);
    return kd_generate_pair(s, public.list, public.n, private.list, private.n, made);
}

static enum kd_err generate_secret(struct kd_session *s, const struct kd_hsm_item *item,
                                   CK_OBJECT_HANDLE *key) {
    const bool is_aes = item->key.type == KD_KEY_AES_256;
    const CK_ULONG n = item->key.type == KD_KEY_HMAC_SHA384 ? 48 : 32;
    const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    const CK_KEY_TYPE type = is_aes ? CKK_AES : CKK_GENERIC_SECRET;
    struct template t;
    begin(&t, &item->key);
    put(&t, KD_ATTRIBUTE(CKA_CLASS, class));
    put(&t, KD_ATTRIBUTE(CKA_KEY_TYPE, type));
    put_guards(&t);
    put(&t, KD_ATTRIBUTE(CKA_VALUE_LEN, n));
    for (unsigned usage = 1; usage <= KD_USE_ALL; usage <<= 1) {
        put_flag(&t, kd_usage_attribute((enum kd_key_usage)usage), (item->usages & usage) != 0);
    }
    put_flag(&t, CKA_WRAP, false);
    put_flag(&t, CKA_UNWRAP, false);
    CK_MECHANISM make = { is_aes ? CKM_AES_KEY_GEN : CKM_GENERIC_SECRET_KEY_GEN, NULL, 0 };
    return kd_ckr_made("C_GenerateKey",
                       s->token->p11->C_GenerateKey(s->handle, &make, t.list, t.n, key), key);
}

enum kd_err kd_exec_generate(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                             const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    if (!kd_key_usages_fit(item->key.type, item->usages)) {
        return KD_ERR_KEY_USAGE;
    }
    struct kd_pair made = { CK_INVALID_HANDLE, CK_INVALID_HANDLE }; // of a secret: private_key
    enum kd_err r = kd_key_type_is_ec(item->key.type) ? generate_pair(s, item, &made)
                                                      : generate_secret(s, item, &made.private_key);
    if (r != KD_OK || (r = kd_describe(s, made.private_key, &result->object)) == KD_OK) {
        return r;
    }
    // A key that nobody will know of must not stay, and a lost session, which
    // would have the whole repeated, must not make a second one.
    kd_pair_destroy(s, &made);
    return r == KD_ERR_SESSION_LOST ? KD_ERR_TOKEN : r;
}

// ---- find ------------------------------------------------------------------

KD_AUTO_DEFINE(p11_uri, P11KitUri *, p11_kit_uri_free)

// Of one that may be adopted: *verdict is KD_ERR_OBJECT_UNFIT if it is another key than its public
// half says.  What a token does not let us see is no word against it.
static enum kd_err prove(struct kd_session *s, CK_OBJECT_HANDLE handle,
                         const struct kd_hsm_object *o, enum kd_err *verdict) {
    if (!o->is_private || !o->has_type || o->ref.proof.n == 0) {
        return KD_OK;
    }
    const enum kd_err r = kd_proof_check(s, &o->ref, handle);
    if (r == KD_ERR_OBJECT_CHANGED || r == KD_ERR_BAD_POINT) {
        *verdict = KD_ERR_OBJECT_UNFIT;
        return KD_OK;
    }
    const bool is_unseen =
        r == KD_ERR_LACKING || r == KD_ERR_TOKEN || r == KD_ERR_KEY_TYPE || r == KD_ERR_KEY_USAGE;
    return is_unseen ? KD_OK : r;
}

static enum kd_err find_class(struct kd_session *s, P11KitUri *uri, CK_OBJECT_CLASS class,
                              bool is_proved, struct kd_buf *reply, uint16_t *n_found) {
    CK_ATTRIBUTE template[TEMPLATE_MAX];
    const CK_BBOOL yes = CK_TRUE;
    CK_ULONG n_given = 0;
    size_t n = 0;
    const CK_ATTRIBUTE *given = p11_kit_uri_get_attributes(uri, &n_given);
    template[n++] = KD_ATTRIBUTE(CKA_CLASS, class);
    template[n++] = KD_ATTRIBUTE(CKA_TOKEN, yes); // not the secrets that are kept for a while
    for (CK_ULONG i = 0; i < n_given && n < TEMPLATE_MAX; i++) {
        if (given[i].type == CKA_CLASS) {
            if (given[i].ulValueLen != sizeof(class) ||
                memcmp(given[i].pValue, &class, sizeof(class)) != 0) {
                return KD_OK; // the URI wants another class
            }
        } else {
            template[n++] = given[i];
        }
    }
    CK_OBJECT_HANDLE found[FOUND_MAX];
    size_t n_handles = 0;
    enum kd_err r = kd_object_find(s, template, n, found, is_proved ? 1 : FOUND_MAX, &n_handles);
    if (is_proved && r == KD_ERR_TOO_MANY) {
        return KD_ERR_OBJECT_AMBIGUOUS; // none of them is looked at, which may take long
    }
    for (size_t i = 0; r == KD_OK && i < n_handles; i++) {
        struct kd_hsm_result result = { 0 };
        if ((r = kd_describe(s, found[i], &result.object)) == KD_OK && is_proved) {
            r = prove(s, found[i], &result.object, &result.err);
        }
        if (r == KD_OK) {
            kd_hsm_put_result(reply, KD_HSM_FIND, &result);
            r = ++*n_found > FOUND_MAX ? KD_ERR_TOO_MANY : kd_buf_finish(reply);
        }
    }
    return r;
}

enum kd_err kd_exec_find(struct kd_session *s, struct kd_bytes text, bool is_proved,
                         struct kd_buf *reply, uint16_t *n) {
    static const CK_OBJECT_CLASS classes[] = { CKO_PRIVATE_KEY, CKO_SECRET_KEY };
    kd_auto(p11_uri) P11KitUri *uri = p11_kit_uri_new();
    kd_auto(buf) struct kd_buf copy = KD_BUF_INIT(4096);
    kd_buf_put(&copy, text.p, text.n);
    const char *ended = kd_buf_get_text(&copy);
    if (kd_buf_finish(&copy) == KD_ERR_NO_MEMORY) {
        return KD_ERR_NO_MEMORY;
    }
    if (kd_buf_finish(&copy) != KD_OK || strlen(ended) != text.n ||
        p11_kit_uri_parse(ended, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, uri) != P11_KIT_URI_OK ||
        p11_kit_uri_any_unrecognized(uri) || p11_kit_uri_get_pin_value(uri) != NULL ||
        p11_kit_uri_get_pin_source(uri) != NULL) { // a PIN never comes in a URI
        return KD_ERR_BAD_URI;
    }
    *n = 0;
    if (!p11_kit_uri_match_token_info(uri, &s->token->info)) {
        return KD_OK; // of another token
    }
    enum kd_err r = KD_OK;
    for (size_t i = 0; r == KD_OK && i < KD_COUNT_OF(classes); i++) {
        r = find_class(s, uri, classes[i], is_proved, reply, n);
    }
    return r;
}

// ---- destroy, forget -------------------------------------------------------

// A certificate may have the same CKA_ID as its key: only keys go.
static enum kd_err destroy_class(struct kd_session *s, const struct kd_key_ref *ref,
                                 CK_OBJECT_CLASS class, size_t *n_destroyed) {
    const CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = { KD_ATTRIBUTE(CKA_CLASS, class), KD_ATTRIBUTE(CKA_TOKEN, yes),
                                KD_ATTRIBUTE_BYTES(CKA_ID, ref->id),
                                KD_ATTRIBUTE_BYTES(CKA_LABEL, ref->label) };
    CK_OBJECT_HANDLE found[1];
    size_t n = 0;
    enum kd_err r = kd_object_find(s, template, ref->label.n > 0 ? 4 : 3, found, 1, &n);
    if (r != KD_OK || n == 0) {
        return r == KD_ERR_TOO_MANY ? KD_ERR_OBJECT_AMBIGUOUS : r;
    }
    r = kd_ckr("C_DestroyObject", s->token->p11->C_DestroyObject(s->handle, found[0]));
    *n_destroyed += r == KD_OK;
    return r;
}

// The private half first: when the public one cannot be destroyed, the key is gone.
enum kd_err kd_exec_destroy(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                            const struct kd_hsm_item *item,
                            struct kd_hsm_result *result KD_UNUSED) {
    const bool is_ec = kd_key_type_is_ec(item->key.type);
    size_t n = 0;
    kd_object_forget(s, &item->key);
    enum kd_err r = destroy_class(s, &item->key, is_ec ? CKO_PRIVATE_KEY : CKO_SECRET_KEY, &n);
    if (r == KD_OK && is_ec) {
        r = destroy_class(s, &item->key, CKO_PUBLIC_KEY, &n);
    }
    return r == KD_OK && n == 0 ? KD_ERR_NO_OBJECT : r;
}

enum kd_err kd_exec_forget(struct kd_session *s, const struct kd_hsm_request *q KD_UNUSED,
                           const struct kd_hsm_item *item, struct kd_hsm_result *result KD_UNUSED) {
    kd_cached_forget(s, item->data);
    kd_traffic_cache_forget(s, item->data);
    return KD_OK;
}
