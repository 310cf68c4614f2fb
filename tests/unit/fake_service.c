// SPDX-License-Identifier: Apache-2.0
// fake_service.c: the functions of keyd/service.h, without a service.
#include "tests/unit/fake_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- answers that come later -----------------------------------------------

struct fake_job {
    struct kd_post post;
    struct fake_job *next; // held
    struct kd_service *service;
    enum { JOB_KEY, JOB_WORK, JOB_DERIVE, JOB_BACKUP } kind;
    kd_key_done *key_done;
    kd_work_done *work_done;
    kd_derivation_done *derive_done;
    kd_backup_done *backup_done;
    void *arg;
    const struct kd_key *key;
    size_t n;
    struct kd_work_result *results;
    struct kd_derivation_result *derived;
    struct kd_buf bytes; // of all results; never grows
};

static void free_job(struct fake_job *job) {
    free(job->results);
    free(job->derived);
    kd_buf_wipe(&job->bytes);
    free(job);
}

static void answer(struct kd_post *post) {
    struct fake_job *job = (struct fake_job *)post;
    struct kd_service *s = job->service;
    if (s->holds) {
        job->next = s->held;
        s->held = job;
        s->n_held++;
        return;
    }
    const enum kd_err err = s->later;
    switch (job->kind) {
    case JOB_KEY:
        job->key_done(job->arg, err, s->detail, err == KD_OK ? job->key : NULL);
        break;
    case JOB_WORK:
        job->work_done(job->arg, err, s->detail, err == KD_OK ? job->results : NULL,
                       err == KD_OK ? job->n : 0);
        break;
    case JOB_DERIVE:
        job->derive_done(job->arg, err, s->detail, err == KD_OK ? job->derived : NULL,
                         err == KD_OK ? job->n : 0);
        break;
    case JOB_BACKUP:
        job->backup_done(job->arg, err, s->detail,
                         err == KD_OK ? &(struct kd_backup_info) { "/state/backup.db", 4096 }
                                      : NULL);
        break;
    }
    free_job(job);
}

void fake_service_init(struct kd_service *s, struct kd_loop *loop) {
    *s = (struct kd_service) { .loop = loop, .detail = "" };
}

void fake_service_release(struct kd_service *s) {
    s->holds = false;
    while (s->held != NULL) {
        struct fake_job *job = s->held;
        s->held = job->next;
        answer(&job->post);
    }
}

static enum kd_err accept_job(struct kd_service *s, const struct kd_caller *caller,
                              const char *call, const char *name, struct fake_job **out) {
    if (s->at_once != KD_OK) {
        return s->at_once;
    }
    struct fake_job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    job->service = s;
    job->post.fn = answer;
    s->n_calls++;
    snprintf(s->call, sizeof(s->call), "%s", call);
    snprintf(s->name, sizeof(s->name), "%s", name == NULL ? "" : name);
    snprintf(s->request_id, sizeof(s->request_id), "%s", caller->request_id);
    s->text[0] = '\0';
    *out = job;
    return KD_OK;
}

// ---- callers ---------------------------------------------------------------

enum kd_err kd_service_identify(const struct kd_service *service,
                                const struct kd_credential *credential, struct kd_caller *out) {
    struct kd_service *s = (struct kd_service *)(uintptr_t)service;
    s->n_identified++;
    s->credential = *credential;
    snprintf(s->bearer, sizeof(s->bearer), "%.*s", (int)credential->bearer.n,
             credential->bearer.n == 0 ? "" : (const char *)credential->bearer.p);
    s->n_certificate = credential->certificate.n;
    if (credential->certificate.n == sizeof(s->certificate)) {
        memcpy(s->certificate, credential->certificate.p, sizeof(s->certificate));
    }
    const bool is_known =
        credential->has_peer || credential->bearer.n > 0 || credential->certificate.n > 0;
    if (s->identify != KD_OK || !is_known) {
        return s->identify != KD_OK ? s->identify : KD_ERR_UNAUTHENTICATED;
    }
    out->principal = strcmp(s->bearer, "other") == 0 ? "other" : "tester";
    out->policy = s;
    return KD_OK;
}

enum kd_err kd_service_allows(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                              enum kd_permission permission KD_UNUSED, const char *key KD_UNUSED) {
    return s->allows;
}

// ---- keys ------------------------------------------------------------------

// Both curves' generators (SEC 2): points that are on them.
const uint8_t fake_point[65] = {
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
    0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4,
    0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
    0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
    0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
};
static const uint8_t p384_point[97] = {
    0x04, 0xaa, 0x87, 0xca, 0x22, 0xbe, 0x8b, 0x05, 0x37, 0x8e, 0xb1, 0xc7, 0x1e, 0xf3,
    0x20, 0xad, 0x74, 0x6e, 0x1d, 0x3b, 0x62, 0x8b, 0xa7, 0x9b, 0x98, 0x59, 0xf7, 0x41,
    0xe0, 0x82, 0x54, 0x2a, 0x38, 0x55, 0x02, 0xf2, 0x5d, 0xbf, 0x55, 0x29, 0x6c, 0x3a,
    0x54, 0x5e, 0x38, 0x72, 0x76, 0x0a, 0xb7, 0x36, 0x17, 0xde, 0x4a, 0x96, 0x26, 0x2c,
    0x6f, 0x5d, 0x9e, 0x98, 0xbf, 0x92, 0x92, 0xdc, 0x29, 0xf8, 0xf4, 0x1d, 0xbd, 0x28,
    0x9a, 0x14, 0x7c, 0xe9, 0xda, 0x31, 0x13, 0xb5, 0xf0, 0xb8, 0xc0, 0x0a, 0x60, 0xb1,
    0xce, 0x1d, 0x7e, 0x81, 0x9d, 0x7a, 0x43, 0x1d, 0x7c, 0x90, 0xea, 0x0e, 0x5f,
};

static struct kd_key_version versions[][2] = {
    { { 1, KD_VERSION_DISABLED, 1000, { .type = KD_KEY_AES_256 }, true, false },
      { 2, KD_VERSION_DISABLED, 2000, { .type = KD_KEY_AES_256 }, true, false } },
    { { 1,
        KD_VERSION_ENABLED,
        1000,
        { .type = KD_KEY_EC_P256, .proof = { fake_point, sizeof(fake_point) } },
        true,
        false },
      { 2, KD_VERSION_PENDING, 2000, { .type = KD_KEY_EC_P256 }, true, false } },
    { { 1,
        KD_VERSION_ENABLED,
        1000,
        { .type = KD_KEY_EC_P384, .proof = { p384_point, sizeof(p384_point) } },
        false,
        true } },
};
static const struct kd_key keys[FAKE_KEYS] = {
    { "aes",
      KD_KEY_AES_256,
      KD_USE_ENCRYPT | KD_USE_DECRYPT,
      KD_ORIGIN_CREATED,
      500,
      { NULL, 0 },
      2,
      versions[0] },
    { "ec", KD_KEY_EC_P256, KD_USE_SIGN, KD_ORIGIN_CREATED, 500, { NULL, 0 }, 2, versions[1] },
    { "pub",
      KD_KEY_EC_P384,
      KD_USE_VERIFY,
      KD_ORIGIN_IMPORTED,
      500,
      { (const uint8_t *)"not really DER", 14 },
      1,
      versions[2] },
};

const char *kd_key_origin_name(enum kd_key_origin origin) {
    static const char *const names[] = { "created", "adopted", "imported" };
    return names[origin];
}

const struct kd_key_version *kd_key_primary(const struct kd_key *key) {
    for (size_t i = key->n_versions; i > 0; i--) {
        if (key->versions[i - 1].state == KD_VERSION_ENABLED) {
            return &key->versions[i - 1];
        }
    }
    return NULL;
}

enum kd_err kd_service_key(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                           const char *name, const struct kd_key **out) {
    if (s->allows != KD_OK) {
        return s->allows;
    }
    for (size_t i = 0; i < FAKE_KEYS; i++) {
        if (strcmp(keys[i].name, name) == 0) {
            *out = &keys[i];
            return KD_OK;
        }
    }
    return KD_ERR_NO_KEY;
}

size_t kd_service_keys(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                       const char *after, const struct kd_key **out, size_t max) {
    const struct kd_key *from = s->listed == NULL ? keys : s->listed;
    const size_t n_from = s->listed == NULL ? FAKE_KEYS : s->n_listed;
    size_t n = 0;
    for (size_t i = 0; i < n_from && n < max; i++) {
        if (after == NULL || strcmp(from[i].name, after) > 0) {
            out[n++] = &from[i];
        }
    }
    return n;
}

enum kd_err kd_service_room(const struct kd_service *s, const struct kd_caller *caller KD_UNUSED,
                            enum kd_permission permission, const char *name, struct kd_buf *why) {
    kd_buf_printf(why, "no room to %s %s", kd_permission_name(permission), name);
    return s->at_once;
}

static enum kd_err key_call(struct kd_service *s, const struct kd_caller *caller, const char *call,
                            const char *name, const char *text, kd_key_done *done, void *arg) {
    struct fake_job *job = NULL;
    enum kd_err err = accept_job(s, caller, call, name, &job);
    if (err != KD_OK) {
        return err;
    }
    job->kind = JOB_KEY;
    job->key_done = done;
    job->arg = arg;
    job->key = strncmp(call, "delete", 6) == 0 ? NULL : &keys[1];
    snprintf(s->text, sizeof(s->text), "%s", text);
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

enum kd_err kd_service_key_create(struct kd_service *s, const struct kd_caller *caller,
                                  const struct kd_key_spec *spec, kd_key_done *done, void *arg) {
    char text[64];
    snprintf(text, sizeof(text), "%d %u", (int)spec->type, spec->usages);
    return key_call(s, caller, "create", spec->name, text, done, arg);
}

enum kd_err kd_service_key_adopt(struct kd_service *s, const struct kd_caller *caller,
                                 const char *name, const char *uri, kd_key_done *done, void *arg) {
    return key_call(s, caller, "adopt", name, uri, done, arg);
}

enum kd_err kd_service_key_import(struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, enum kd_key_type type, struct kd_bytes point,
                                  struct kd_bytes certificate, kd_key_done *done, void *arg) {
    char text[64];
    snprintf(text, sizeof(text), "%d point=%zu certificate=%s", (int)type, point.n,
             certificate.n > 0 ? "yes" : "no");
    return key_call(s, caller, "import", name, text, done, arg);
}

enum kd_err kd_service_key_rotate(struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, kd_key_done *done, void *arg) {
    return key_call(s, caller, "rotate", name, "", done, arg);
}

enum kd_err kd_service_key_rotate_to(struct kd_service *s, const struct kd_caller *caller,
                                     const char *name, const char *uri, kd_key_done *done,
                                     void *arg) {
    return key_call(s, caller, "rotate-to", name, uri, done, arg);
}

enum kd_err kd_service_key_set_state(struct kd_service *s, const struct kd_caller *caller,
                                     const char *name, uint32_t number, bool enable,
                                     kd_key_done *done, void *arg) {
    char text[32];
    snprintf(text, sizeof(text), "%u", number);
    return key_call(s, caller, enable ? "enable" : "disable", name, text, done, arg);
}

enum kd_err kd_service_key_delete(struct kd_service *s, const struct kd_caller *caller,
                                  const char *name, kd_key_done *done, void *arg) {
    return key_call(s, caller, "delete", name, "", done, arg);
}

enum kd_err kd_service_key_delete_version(struct kd_service *s, const struct kd_caller *caller,
                                          const char *name, uint32_t number, kd_key_done *done,
                                          void *arg) {
    char text[32];
    snprintf(text, sizeof(text), "%u", number);
    return key_call(s, caller, "delete-version", name, text, done, arg);
}

// ---- operations ------------------------------------------------------------

static struct kd_bytes put_out(struct fake_job *job, char first, struct kd_bytes a,
                               struct kd_bytes b) {
    const size_t start = job->bytes.n;
    if (first != '\0') {
        kd_buf_u8(&job->bytes, (uint8_t)first);
    }
    kd_buf_put(&job->bytes, a.p, a.n);
    kd_buf_put(&job->bytes, b.p, b.n);
    return (struct kd_bytes) { job->bytes.p + start, job->bytes.n - start };
}

static bool is_tag(char first, const struct kd_hsm_item *item) {
    return item->tag.n == item->data.n + 1 && item->tag.p[0] == (uint8_t)first &&
           memcmp(item->tag.p + 1, item->data.p, item->data.n) == 0;
}

static void decrypt(struct fake_job *job, const struct kd_hsm_item *item,
                    struct kd_work_result *r) {
    const size_t head = 1 + item->aad.n;
    if (item->iv.n != 12 || item->data.n < head || item->data.p[0] != 'E') {
        r->err = KD_ERR_NOT_AUTHENTIC;
        return;
    }
    r->out = put_out(job, '\0', (struct kd_bytes) { item->data.p + head, item->data.n - head },
                     KD_BYTES_NONE);
}

static void work_item(struct fake_job *job, const struct kd_work *work,
                      const struct kd_hsm_item *item, struct kd_work_result *r) {
    static const uint8_t iv[12] = { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 };
    r->version = work->key == NULL ? 0 : work->version != 0 ? work->version : 1;
    switch (work->operation) {
    case KD_OPERATION_SIGN:
        r->out = put_out(job, 'S', item->data, KD_BYTES_NONE);
        break;
    case KD_OPERATION_MAC:
        r->out = put_out(job, 'M', item->data, KD_BYTES_NONE);
        break;
    case KD_OPERATION_VERIFY:
        r->ok = is_tag('S', item);
        break;
    case KD_OPERATION_MAC_VERIFY:
        r->ok = is_tag('M', item);
        break;
    case KD_OPERATION_ENCRYPT:
        r->iv = (struct kd_bytes) { iv, sizeof(iv) };
        r->out = put_out(job, 'E', item->aad, item->data);
        break;
    case KD_OPERATION_REWRAP:
        r->version = 9;
        r->iv = (struct kd_bytes) { iv, sizeof(iv) };
        r->out = put_out(job, 'R', item->data, item->aad);
        break;
    case KD_OPERATION_DECRYPT:
        decrypt(job, item, r);
        break;
    case KD_OPERATION_RANDOM: {
        uint8_t *at = kd_buf_extend(&job->bytes, item->n);
        memset(at, 0x5a, item->n);
        r->out = (struct kd_bytes) { at, item->n };
        break;
    }
    }
}

enum kd_err kd_service_work(struct kd_service *s, const struct kd_caller *caller,
                            const struct kd_work *work, kd_work_done *done, void *arg) {
    struct fake_job *job = NULL;
    enum kd_err err =
        accept_job(s, caller, "work", work->key != NULL ? work->key : work->secret, &job);
    if (err != KD_OK) {
        return err;
    }
    size_t room = 1;
    for (size_t i = 0; i < work->n_items; i++) {
        const struct kd_hsm_item *item = &work->items[i];
        room += 1 + item->data.n + item->aad.n + item->n;
    }
    job->kind = JOB_WORK;
    job->work_done = done;
    job->arg = arg;
    job->n = work->n_items;
    job->results = calloc(job->n, sizeof(*job->results));
    job->bytes = KD_BUF_INIT(room);
    (void)kd_buf_extend(&job->bytes, room);
    job->bytes.n = 0;
    if (job->results == NULL || kd_buf_finish(&job->bytes) != KD_OK) {
        free_job(job);
        return KD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < job->n; i++) {
        if (s->item != KD_OK && i == job->n - 1) {
            job->results[i].err = s->item;
        } else {
            work_item(job, work, &work->items[i], &job->results[i]);
        }
    }
    if (kd_log_is_on(KD_LOG_INFO)) {
        snprintf(s->text, sizeof(s->text), "%d version=%u prehashed=%d%s n=%zu",
                 (int)work->operation, work->version, work->prehashed, work->is_der ? " der" : "",
                 work->n_items);
    }
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

size_t kd_work_data_max_bytes(enum kd_operation operation) {
    return KD_WORK_DATA_MAX_BYTES - (operation == KD_OPERATION_ENCRYPT ? KD_HSM_GCM_TAG_BYTES : 0);
}

size_t kd_service_digest_bytes(const struct kd_service *s KD_UNUSED,
                               const struct kd_work *work KD_UNUSED) {
    return FAKE_DIGEST_BYTES;
}

// ---- secrets ---------------------------------------------------------------

enum kd_err kd_service_derive(struct kd_service *s, const struct kd_caller *caller,
                              const struct kd_derivation *items, size_t n, kd_derivation_done *done,
                              void *arg) {
    struct fake_job *job = NULL;
    const char *base = items[0].key != NULL ? items[0].key : items[0].secret;
    enum kd_err err = accept_job(s, caller, "derive", base, &job);
    if (err != KD_OK) {
        return err;
    }
    size_t room = 1;
    for (size_t i = 0; i < n; i++) {
        room += 1 + items[i].peer.n + items[i].info.n;
    }
    job->kind = JOB_DERIVE;
    job->derive_done = done;
    job->arg = arg;
    job->n = n;
    job->derived = calloc(n, sizeof(*job->derived));
    job->bytes = KD_BUF_INIT(room);
    (void)kd_buf_extend(&job->bytes, room);
    job->bytes.n = 0;
    if (job->derived == NULL || kd_buf_finish(&job->bytes) != KD_OK) {
        free_job(job);
        return KD_ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        struct kd_derivation_result *r = &job->derived[i];
        r->err = i == n - 1 ? s->item : KD_OK;
        r->version = items[i].key != NULL ? 1 : 0;
        if (items[i].release) {
            r->out = put_out(job, 'R', items[i].peer, items[i].info);
        } else {
            snprintf(r->secret, sizeof(r->secret), "%s", FAKE_SECRET);
            r->expires_ms = 1000 * (uint64_t)items[i].lifetime_sec;
            r->residence = "token";
        }
    }
    snprintf(s->text, sizeof(s->text),
             "kdf=%d type=%d salt=%zu info=%zu peer=%zu len=%u version=%u",
             items[0].has_kdf ? (int)items[0].kdf : 0, (int)items[0].type, items[0].salt.n,
             items[0].info.n, items[0].peer.n, items[0].out_len, items[0].version);
    kd_loop_post(s->loop, &job->post);
    return KD_OK;
}

static const struct kd_secret_info secret = {
    FAKE_SECRET, "ec", 1, KD_KEY_AES_256, 1000, 2000, "token",
};

enum kd_err kd_service_secret(const struct kd_service *s KD_UNUSED,
                              const struct kd_caller *caller KD_UNUSED, const char *id,
                              struct kd_secret_info *out) {
    if (strcmp(id, FAKE_SECRET) != 0) {
        return KD_ERR_NO_SECRET;
    }
    *out = secret;
    return KD_OK;
}

size_t kd_service_secrets(const struct kd_service *s KD_UNUSED,
                          const struct kd_caller *caller KD_UNUSED, const char *after,
                          struct kd_secret_info *out, size_t max) {
    if (after != NULL || max == 0) {
        return 0;
    }
    out[0] = secret;
    return 1;
}

enum kd_err kd_service_secret_delete(struct kd_service *s, const struct kd_caller *caller,
                                     const char *id) {
    struct kd_secret_info info;
    return kd_service_secret(s, caller, id, &info);
}

// ---- reports ---------------------------------------------------------------

enum kd_err kd_service_ready(const struct kd_service *s, const char **detail) {
    *detail = s->detail;
    return s->ready;
}

void kd_service_report(const struct kd_service *s, struct kd_service_report *out) {
    static const struct kd_hsm_status token = {
        .token_label = { (const uint8_t *)"fake    ", 8 },
        .threads = 1,
        .hkdf = KD_HSM_HKDF_DIGEST,
    };
    *out = (struct kd_service_report) {
        .token = s->ready == KD_OK ? &token : NULL,
        .n_workers = 1,
        .workers = { { .state = KD_WORKER_READY, .pid = 1 } },
        .n_keys = FAKE_KEYS,
        .policy_error = "",
    };
}

enum kd_err kd_service_backup(struct kd_service *s, const struct kd_caller *caller,
                              kd_backup_done *done, void *arg) {
    struct fake_job *job = NULL;
    const enum kd_err err = accept_job(s, caller, "backup", NULL, &job);
    if (err == KD_OK) {
        job->kind = JOB_BACKUP;
        job->backup_done = done;
        job->arg = arg;
        kd_loop_post(s->loop, &job->post);
    }
    return err;
}

void kd_service_metrics(const struct kd_service *s KD_UNUSED, struct kd_buf *out) {
    kd_buf_text(out, "keyd_fake 1\n");
}

// ---- the audit log ---------------------------------------------------------

struct kd_audit *kd_service_audit(const struct kd_service *s) {
    return s->audit;
}

uint32_t kd_service_audited(const struct kd_service *s) {
    return s->audited;
}

enum kd_err kd_service_audit_report(const struct kd_service *s,
                                    const struct kd_caller *caller KD_UNUSED,
                                    struct kd_audit_report *out) {
    if (s->audit == NULL || s->allows != KD_OK) {
        return s->allows != KD_OK ? s->allows : KD_ERR_CONFIG;
    }
    kd_audit_get(s->audit, out);
    out->key = "audit";
    out->sealed = 1;
    return KD_OK;
}
