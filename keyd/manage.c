// SPDX-License-Identifier: Apache-2.0
// manage.c: what callers may do to keys: create, adopt, import, rotate, switch,
// delete, also one version.  Each is checked here, then goes its way through change.c.
#include "keyd/bootstrap_state.h"
#include "keyd/change.h"
#include "keyd/import.h"

#include <stdio.h>
#include <string.h>

// ---- checks ----------------------------------------------------------------

static enum kd_err check_room(const struct kd_service *s, const struct kd_caller *caller,
                              enum kd_permission permission, const char *name) {
    kd_auto(buf) struct kd_buf why = KD_BUF_INIT(KD_DETAIL_BYTES); // who is refused asks again
    return kd_service_room(s, caller, permission, name, &why);
}

// An entry that exists and that no other change holds.
static enum kd_err take_entry(const struct kd_service *s, const struct kd_caller *caller,
                              enum kd_permission permission, const char *name,
                              struct kd_entry **out) {
    enum kd_err r = kd_service_admit(s, caller, permission, name);
    if (r != KD_OK) {
        return r;
    }
    struct kd_entry *e = kd_registry_get(&s->registry, name);
    if (e == NULL || (e->key.n_versions == 0 && !kd_entry_is_busy(e))) {
        return KD_ERR_NO_KEY;
    }
    if (kd_entry_is_busy(e)) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    *out = e;
    return KD_OK;
}

static enum kd_err check_free(const struct kd_service *s, const struct kd_caller *caller,
                              enum kd_permission permission, const char *name) {
    if (!kd_name_is_valid(kd_bytes_of_text(name))) {
        return KD_ERR_BAD_NAME;
    }
    enum kd_err r = kd_service_admit(s, caller, permission, name);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_entry *e = kd_registry_get(&s->registry, name);
    if (e == NULL) {
        return KD_OK;
    }
    return e->key.n_versions == 0 ? KD_ERR_CHANGE_UNDER_WAY : KD_ERR_KEY_EXISTS;
}

// The name of another key, if there is room for one; after all else, as the keys are counted.
static enum kd_err reserve(struct kd_service *s, const struct kd_caller *caller,
                           enum kd_permission permission, const char *name, enum kd_key_type type,
                           unsigned usages, enum kd_key_origin origin, kd_key_done *done, void *arg,
                           struct kd_change **out) {
    struct kd_entry *e = NULL;
    enum kd_err r = check_room(s, caller, permission, name);
    if (r != KD_OK ||
        (r = kd_registry_reserve(&s->registry, name, type, usages, origin, &e)) != KD_OK) {
        return r;
    }
    r = kd_change_new(s, e, done, arg, out);
    if (r != KD_OK) {
        kd_registry_remove(&s->registry, e);
    }
    return r;
}

// ---- create, rotate --------------------------------------------------------

static enum kd_err make_version(struct kd_change *c) {
    enum kd_err r = kd_change_make_version(c);
    if (r != KD_OK) {
        kd_change_free(c);
    }
    return r;
}

enum kd_err kd_service_key_create(struct kd_service *s, const struct kd_caller *caller,
                                  const struct kd_key_spec *spec, kd_key_done *done, void *arg) {
    const char *detail;
    struct kd_change *c = NULL;
    enum kd_err r = check_free(s, caller, KD_MAY_CREATE, spec->name);
    if (r != KD_OK) {
        return r;
    }
    if (spec->type < KD_KEY_EC_P256 || spec->type > KD_KEY_TYPE_LAST) {
        return KD_ERR_FIELD_INVALID;
    }
    if (!kd_key_usages_fit(spec->type, spec->usages)) {
        return KD_ERR_KEY_USAGE;
    }
    if ((r = kd_workers_ready(s->workers, &detail)) != KD_OK ||
        (r = reserve(s, caller, KD_MAY_CREATE, spec->name, spec->type, spec->usages,
                     KD_ORIGIN_CREATED, done, arg, &c)) != KD_OK) {
        return r;
    }
    return make_version(c);
}

// An entry that can have another version.
static enum kd_err take_rotatable(const struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, struct kd_entry **out) {
    enum kd_err r = take_entry(s, caller, KD_MAY_ROTATE, name, out);
    if (r != KD_OK) {
        return r;
    }
    if ((*out)->key.origin == KD_ORIGIN_IMPORTED) {
        return KD_ERR_PUBLIC_ONLY;
    }
    return (*out)->is_deleting ? KD_ERR_CHANGE_UNDER_WAY
                               : check_room(s, caller, KD_MAY_ROTATE, name);
}

enum kd_err kd_service_key_rotate(struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, kd_key_done *done, void *arg) {
    const char *detail;
    struct kd_entry *e = NULL;
    struct kd_change *c = NULL;
    enum kd_err r = take_rotatable(s, caller, name, &e);
    if (r != KD_OK) {
        return r;
    }
    if (!kd_key_usages_fit(e->key.type, e->key.usages)) {
        return KD_ERR_KEY_USAGE; // adopted, with usages that keyd gives no new key
    }
    if ((r = kd_workers_ready(s->workers, &detail)) != KD_OK ||
        (r = kd_change_new(s, e, done, arg, &c)) != KD_OK) {
        return r;
    }
    return make_version(c);
}

// ---- adopt, import ---------------------------------------------------------

static void after_add(struct kd_change *c, enum kd_err err) {
    struct kd_entry *e = c->entry;
    if (err != KD_OK) {
        kd_entry_drop_pending(e);
    } else {
        kd_entry_take_pending(e);
        const bool is_imported = e->key.origin == KD_ORIGIN_IMPORTED;
        kd_log(KD_LOG_INFO, "keys", "a key was registered", "key=%s origin=%s version=%u",
               e->key.name,
               kd_key_origin_name(is_imported ? KD_ORIGIN_IMPORTED : KD_ORIGIN_ADOPTED),
               kd_entry_last_number(e));
    }
    kd_change_end(c, err);
}

// Registers what exists, as the next version.
static enum kd_err add_existing(struct kd_change *c, const struct kd_key_ref *ref,
                                bool is_extractable) {
    const struct kd_key_version v = {
        .number = kd_entry_last_number(c->entry) + 1,
        .state = KD_VERSION_ENABLED,
        .created_ms = kd_clock_wall_ms(),
        .ref = *ref,
        .is_extractable = is_extractable,
    };
    enum kd_err r = v.number == 0 ? KD_ERR_TOO_MANY : kd_entry_set_pending(c->entry, &v);
    if (r == KD_OK) {
        kd_change_store_pending(c, after_add);
    }
    return r;
}

static unsigned adopted_usages(const struct kd_hsm_object *o) {
    if (kd_key_type_is_ec(o->ref.type)) {
        return o->usages & (KD_USE_SIGN | KD_USE_DERIVE);
    }
    return o->ref.type == KD_KEY_AES_256
               ? o->usages & (KD_USE_ENCRYPT | KD_USE_DECRYPT | KD_USE_DERIVE)
               : o->usages & (KD_USE_SIGN | KD_USE_VERIFY | KD_USE_DERIVE);
}

// An object that a keyd has made is labelled NAME.vN (version.c).  At another node its key may be
// reserved, or somebody's to whom the policy there gives nothing: here it has the same name, or
// none.
static bool has_another_name(const struct kd_hsm_object *o, const char *name) {
    char label[KD_HSM_LABEL_MAX_BYTES + 1] = "";
    if (o->ref.id.n != KD_OWN_ID_BYTES || o->ref.label.n >= sizeof(label)) {
        return false;
    }
    memcpy(label, o->ref.label.p, o->ref.label.n);
    char *dot = strrchr(label, '.');
    if (dot == NULL || dot[1] != 'v' || dot[2] == '\0' ||
        dot[2 + strspn(dot + 2, "0123456789")] != '\0') {
        return false;
    }
    *dot = '\0';
    return kd_name_is_valid(kd_bytes_of_text(label)) && strcmp(label, name) != 0;
}

static enum kd_err adopt(struct kd_change *c, const struct kd_hsm_object *o) {
    struct kd_key *key = &c->entry->key;
    if (!o->has_type || adopted_usages(o) == 0) {
        snprintf(c->detail, sizeof(c->detail),
                 o->has_type ? "it has none of the usages of its type"
                             : "keyd uses EC keys on P-256 and P-384, AES-256 and HMAC keys");
        return KD_ERR_OBJECT_UNFIT;
    }
    if (o->ref.id.n == 0) {
        snprintf(c->detail, sizeof(c->detail), "the object has no CKA_ID; give it one first");
        return KD_ERR_OBJECT_UNFIT;
    }
    if (kd_key_type_is_ec(o->ref.type) && o->ref.proof.n != kd_key_type_point_bytes(o->ref.type)) {
        snprintf(c->detail, sizeof(c->detail),
                 "its public key is not in the token, or not the only one of its CKA_ID");
        return KD_ERR_OBJECT_UNFIT;
    }
    // Under a second name another policy would hold for it.
    if (kd_registry_has_object(&c->s->registry, &o->ref)) {
        snprintf(c->detail, sizeof(c->detail), "the object belongs to a key of keyd already");
        return KD_ERR_KEY_EXISTS;
    }
    if (has_another_name(o, key->name)) {
        snprintf(c->detail, sizeof(c->detail),
                 "a keyd has made this object, %.*s, for the key of that name: adopt it as that",
                 (int)o->ref.label.n, (const char *)o->ref.label.p);
        return KD_ERR_OBJECT_UNFIT;
    }
    if (key->n_versions == 0) {
        key->type = o->ref.type;
        key->usages = adopted_usages(o);
    } else if (o->ref.type != key->type || (adopted_usages(o) & key->usages) != key->usages) {
        snprintf(c->detail, sizeof(c->detail), "the object has not the key's type and usages");
        return KD_ERR_OBJECT_UNFIT;
    }
    return add_existing(c, &o->ref, o->is_extractable || !o->is_sensitive);
}

static enum kd_err on_found(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct kd_change *c = arg;
    struct kd_hsm_object object = { 0 };
    size_t n = 0;
    kd_detail_copy(c->detail, reply->detail);
    enum kd_err r = reply->err;
    for (size_t i = 0; r == KD_OK && i < reply->n_items; i++) {
        struct kd_hsm_result result;
        if (kd_hsm_get_result(items, KD_HSM_FIND, &result) != KD_OK) {
            kd_change_end(c, KD_ERR_MALFORMED);
            return KD_ERR_MALFORMED;
        }
        if (result.err != KD_OK) {
            snprintf(c->detail, sizeof(c->detail),
                     "the object is not the private half of the public key beside it");
            r = result.err;
        } else if (result.object.is_private) {
            object = result.object;
            n++;
        }
    }
    if (r == KD_OK) {
        r = n == 0 ? KD_ERR_NO_OBJECT : n > 1 ? KD_ERR_OBJECT_AMBIGUOUS : adopt(c, &object);
    }
    if (r != KD_OK) {
        kd_change_end(c, r);
    }
    return KD_OK;
}

static enum kd_err check_uri(const char *uri) {
    return strncmp(uri, "pkcs11:", 7) == 0 && strstr(uri, "pin-value") == NULL &&
                   strstr(uri, "pin-source") == NULL
               ? KD_OK
               : KD_ERR_BAD_URI;
}

static enum kd_err find_object(struct kd_change *c, const char *uri) {
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(uri), .n = 1 }; // and prove it
    enum kd_err r = kd_change_ask(c, KD_HSM_FIND, &item, on_found);
    if (r != KD_OK) {
        kd_change_free(c);
    }
    return r;
}

enum kd_err kd_service_key_adopt(struct kd_service *s, const struct kd_caller *caller,
                                 const char *name, const char *uri, kd_key_done *done, void *arg) {
    struct kd_change *c = NULL;
    enum kd_err r;
    if ((r = check_free(s, caller, KD_MAY_ADOPT, name)) != KD_OK || (r = check_uri(uri)) != KD_OK ||
        // Type and usages are known when the object is.
        (r = reserve(s, caller, KD_MAY_ADOPT, name, KD_KEY_AES_256, 0, KD_ORIGIN_ADOPTED, done, arg,
                     &c)) != KD_OK) {
        return r;
    }
    return find_object(c, uri);
}

enum kd_err kd_service_key_rotate_to(struct kd_service *s, const struct kd_caller *caller,
                                     const char *name, const char *uri, kd_key_done *done,
                                     void *arg) {
    struct kd_entry *e = NULL;
    struct kd_change *c = NULL;
    enum kd_err r;
    if ((r = take_rotatable(s, caller, name, &e)) != KD_OK ||
        (r = kd_service_admit(s, caller, KD_MAY_ADOPT, name)) != KD_OK ||
        (r = check_uri(uri)) != KD_OK || (r = kd_change_new(s, e, done, arg, &c)) != KD_OK) {
        return r;
    }
    return find_object(c, uri);
}

enum kd_err kd_service_key_import(struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, enum kd_key_type type, struct kd_bytes point,
                                  struct kd_bytes certificate, kd_key_done *done, void *arg) {
    struct kd_change *c = NULL;
    struct kd_public_key key;
    enum kd_err r = check_free(s, caller, KD_MAY_IMPORT, name);
    if (r != KD_OK) {
        return r;
    }
    r = certificate.n > 0 ? kd_import_certificate(certificate, &key)
                          : kd_import_point(type, point, &key);
    if (r != KD_OK || (r = reserve(s, caller, KD_MAY_IMPORT, name, key.type, KD_USE_VERIFY,
                                   KD_ORIGIN_IMPORTED, done, arg, &c)) != KD_OK) {
        return r;
    }
    const struct kd_key_ref ref = { .type = key.type, .proof = { key.point, key.n_point } };
    if ((r = kd_entry_set_certificate(c->entry, certificate)) != KD_OK ||
        (r = add_existing(c, &ref, false)) != KD_OK) {
        kd_change_free(c);
    }
    return r;
}

// ---- enable, disable, delete -----------------------------------------------

static enum kd_err run_set_state(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_change *c = (const struct kd_change *)job;
    return kd_store_set_state(store, c->entry->key.name, c->number, c->state);
}

static void after_set_state(struct kd_change *c, enum kd_err err) {
    struct kd_key *key = &c->entry->key;
    for (size_t i = 0; err == KD_OK && i < key->n_versions; i++) {
        struct kd_key_version *v = &key->versions[i];
        if ((c->number == 0 || v->number == c->number) && v->state != KD_VERSION_DESTROYING) {
            v->state = c->state;
        }
    }
    if (err == KD_OK) {
        kd_log(KD_LOG_INFO, "keys", "a key was switched", "key=%s version=%u enabled=%d", key->name,
               c->number, c->state == KD_VERSION_ENABLED);
    }
    kd_change_end(c, err);
}

enum kd_err kd_service_key_set_state(struct kd_service *s, const struct kd_caller *caller,
                                     const char *name, uint32_t number, bool enable,
                                     kd_key_done *done, void *arg) {
    struct kd_entry *e = NULL;
    struct kd_change *c = NULL;
    enum kd_err r = take_entry(s, caller, KD_MAY_DISABLE, name, &e);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_key_version *v = kd_entry_version(e, number);
    if (number != 0 && v == NULL) {
        return KD_ERR_NO_VERSION;
    }
    if (e->is_deleting || (v != NULL && v->state == KD_VERSION_DESTROYING)) {
        return KD_ERR_CHANGE_UNDER_WAY; // some of its objects may be gone
    }
    if ((r = kd_change_new(s, e, done, arg, &c)) != KD_OK) {
        return r;
    }
    c->number = number;
    c->state = enable ? KD_VERSION_ENABLED : KD_VERSION_DISABLED;
    kd_change_store(c, run_set_state, after_set_state);
    return KD_OK;
}

enum kd_err kd_service_key_delete(struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, kd_key_done *done, void *arg) {
    const char *detail;
    struct kd_entry *e = NULL;
    struct kd_change *c = NULL;
    enum kd_err r = take_entry(s, caller, KD_MAY_DELETE, name, &e);
    if (r != KD_OK || (r = kd_service_check_free(s, name)) != KD_OK) {
        return r;
    }
    if (e->key.origin == KD_ORIGIN_CREATED &&
        (r = kd_workers_ready(s->workers, &detail)) != KD_OK) {
        return r; // nothing begun
    }
    if ((r = kd_change_new(s, e, done, arg, &c)) == KD_OK) {
        kd_change_delete(c);
    }
    return r;
}

// Could the key do without the version?
static enum kd_err check_spare(const struct kd_service *s, const struct kd_entry *e,
                               const struct kd_key_version *v) {
    size_t n_left = 0;
    for (size_t i = 0; i < e->key.n_versions; i++) {
        const struct kd_key_version *other = &e->key.versions[i];
        n_left += other != v && other->state != KD_VERSION_DESTROYING;
    }
    if (v->state == KD_VERSION_DESTROYING) {
        return KD_OK; // it was asked before
    }
    if (n_left == 0 || v == kd_key_primary(&e->key)) {
        return KD_ERR_VERSION_PRIMARY;
    }
    // Its object would stay in the token, and could be adopted under another name.
    const enum kd_err r = v->is_local ? KD_OK : kd_service_check_free(s, e->key.name);
    if (r != KD_OK) {
        return r;
    }
    return kd_channel_is_certified(s->channel, e, v) ||
                   kd_bootstrap_is_certified(s->bootstrap, e, v)
               ? KD_ERR_VERSION_CERTIFIED
               : KD_OK;
}

enum kd_err kd_service_key_delete_version(struct kd_service *s, const struct kd_caller *caller,
                                          const char *name, uint32_t number, kd_key_done *done,
                                          void *arg) {
    const char *detail;
    struct kd_entry *e = NULL;
    struct kd_change *c = NULL;
    enum kd_err r = take_entry(s, caller, KD_MAY_DELETE, name, &e);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_key_version *v = kd_entry_version(e, number);
    if (v == NULL) {
        return KD_ERR_NO_VERSION;
    }
    if (e->is_deleting) {
        return KD_ERR_CHANGE_UNDER_WAY;
    }
    if ((r = check_spare(s, e, v)) != KD_OK ||
        (v->is_local && (r = kd_workers_ready(s->workers, &detail)) != KD_OK)) {
        return r; // nothing begun
    }
    if ((r = kd_change_new(s, e, done, arg, &c)) == KD_OK) {
        c->number = number;
        kd_change_delete_version(c);
    }
    return r;
}
