// SPDX-License-Identifier: Apache-2.0
// service.c: puts the parts of the service together, knows its callers, and
// reports.  Keys are changed in manage.c, used in work.c and derive.c.
#include "keyd/bootstrap_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char pin_fact[] = "refused-pin";
enum { SECRETS_AT_ONCE = 256 };

void kd_detail_copy(char out[static KD_DETAIL_BYTES], struct kd_bytes text) {
    const size_t n = text.n < KD_DETAIL_BYTES ? text.n : KD_DETAIL_BYTES - 1;
    if (n > 0) {
        memcpy(out, text.p, n);
    }
    out[n] = '\0';
}

// ---- policy ----------------------------------------------------------------

// Reads the policy; on failure the one in force stays, and the log and status say why.
static enum kd_err read_policy(struct kd_service *s) {
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(65536);
    kd_auto(policy) struct kd_policy *policy = NULL;
    enum kd_err r = kd_policy_read(s->config->policy_file, &errors, &policy);
    if (r != KD_OK) {
        const char *text = errors.n == 0 ? kd_err_sentence(r) : kd_buf_get_text(&errors);
        snprintf(s->policy_error, sizeof(s->policy_error), "%.*s", (int)strcspn(text, "\n"), text);
        kd_log(KD_LOG_ERROR, "policy",
               s->policy == NULL ? "the policy cannot be used"
                                 : "the new policy cannot be used; the old one stays in force",
               "at=%s", s->policy_error);
        kd_audit_say(s->audit, "policy.refused", "at", s->policy_error);
        return r == KD_ERR_NO_MEMORY ? r : KD_ERR_CONFIG;
    }
    kd_policy_free(s->policy);
    s->policy = KD_STEAL(policy);
    s->policy_ms = kd_clock_wall_ms();
    s->policy_error[0] = '\0';
    kd_log(KD_LOG_INFO, "policy", "the policy is in force", "file=%s", s->config->policy_file);
    kd_audit_say(s->audit, "policy.read", "file", s->config->policy_file);
    return KD_OK;
}

enum kd_err kd_service_identify(const struct kd_service *s, const struct kd_credential *credential,
                                struct kd_caller *out) {
    const struct kd_principal *who = kd_policy_identify(s->policy, credential);
    if (who == NULL) {
        return KD_ERR_UNAUTHENTICATED;
    }
    out->principal = kd_principal_name(who);
    out->policy = who;
    return KD_OK;
}

enum kd_err kd_service_allows(const struct kd_service *s KD_UNUSED, const struct kd_caller *caller,
                              enum kd_permission permission, const char *key) {
    const struct kd_principal *who = caller->policy;
    return kd_principal_may(who, permission, key) ? KD_OK : KD_ERR_DENIED;
}

enum kd_err kd_service_admit(const struct kd_service *s, const struct kd_caller *caller,
                             enum kd_permission permission, const char *key) {
    return s->is_stopping ? KD_ERR_STOPPING : kd_service_allows(s, caller, permission, key);
}

// ---- the store's facts -----------------------------------------------------

static enum kd_err run_fact(struct kd_store_job *job, struct kd_store *store) {
    const struct kd_fact *f = (const struct kd_fact *)job;
    return kd_store_set_fact(store, f->name, (struct kd_bytes) { f->value.bytes, f->value.n });
}

static void fact_done(struct kd_store_job *job, enum kd_err err) {
    struct kd_fact *f = (struct kd_fact *)job;
    if (err != KD_OK) {
        kd_log(KD_LOG_ERROR, "service", "a fact could not be written down", "fact=%s error=%s",
               f->name, kd_err_name(err));
    }
    f->is_under_way = f->has_next;
    if (f->has_next) {
        f->value = f->next;
        f->has_next = false;
        kd_store_thread_submit(f->s->store, &f->job);
    }
}

void kd_service_set_fact(struct kd_service *s, struct kd_fact *f, const char *name,
                         struct kd_bytes value) {
    struct kd_fact_value *to = f->is_under_way ? &f->next : &f->value;
    assert(value.n <= sizeof(to->bytes));
    to->n = value.n;
    if (value.n > 0) {
        memcpy(to->bytes, value.p, value.n);
    }
    if (f->is_under_way) {
        f->has_next = true;
        return;
    }
    f->s = s;
    f->name = name;
    f->job.run = run_fact;
    f->job.done = fact_done;
    f->is_under_way = true;
    kd_store_thread_submit(s->store, &f->job);
}

static void on_pin_record(void *service, struct kd_bytes record) {
    struct kd_service *s = service;
    kd_audit_say(s->audit, record.n > 0 ? "pin.refused" : "pin.taken", "", "");
    kd_service_set_fact(s, &s->pin_refused, pin_fact, record);
}

// ---- workers and secrets ---------------------------------------------------

// Said at the start, and not by the first device's handshake alone.
static void check_abilities(const struct kd_service *s) {
    const struct kd_hsm_status *token = kd_workers_token(s->workers);
    if (s->channel == NULL || token == NULL) {
        return;
    }
    const bool is_resident = s->config->channel.profile == KD_PROFILE_RESIDENT;
    const enum kd_hsm_ability needed = is_resident ? KD_HSM_CAN_RESIDENT : KD_HSM_CAN_HANDSHAKE;
    const enum kd_hsm_probe found = token->probe[needed];
    if (found != KD_HSM_PROBE_VERIFIED && found != KD_HSM_PROBE_UNTRIED) {
        kd_log(KD_LOG_ERROR, "channel", "this token cannot do what the channel needs",
               "ability=%s result=%s", kd_hsm_ability_name(needed), kd_hsm_probe_name(found));
    }
}

static void on_ready(void *service) {
    check_abilities(service);
    kd_service_recover(service);
}

static void on_secret_gone(void *service, const uint8_t id[static KD_HSM_SECRET_ID_BYTES]) {
    struct kd_service *s = service;
    if (s->workers != NULL) {
        kd_workers_forget(s->workers, id);
    }
}

enum kd_err kd_service_begin(struct kd_service *s, struct kd_hsm_request *head, const uint8_t *near,
                             struct kd_call **out) {
    return s->workers == NULL ? KD_ERR_STOPPING : kd_workers_begin(s->workers, head, near, out);
}

// ---- life ------------------------------------------------------------------

static enum kd_err open_store(struct kd_service *s, struct kd_buf *pin_record) {
    kd_auto(store) struct kd_store *store = NULL;
    enum kd_err r;
    if ((r = kd_store_open(s->config->state_directory, &store)) != KD_OK ||
        (r = kd_store_load(store, kd_registry_load, &s->registry)) != KD_OK ||
        (r = kd_store_get_fact(store, pin_fact, pin_record)) != KD_OK ||
        (r = kd_seal_open(s, store)) != KD_OK) {
        return r;
    }
    kd_service_clear_backup(s);
    if (s->config->channel.identity[0] != '\0' &&
        (r = kd_channel_open(s, store, &s->channel)) != KD_OK) {
        return r;
    }
    if (s->config->ca.key[0] != '\0' && (r = kd_bootstrap_open(s, store, &s->bootstrap)) != KD_OK) {
        return r;
    }
    return kd_store_thread_new(s->loop, KD_STEAL(store), &s->store);
}

enum kd_err kd_service_open(struct kd_loop *loop, const struct kd_config *config,
                            struct kd_service **out) {
    kd_auto(service) struct kd_service *s = calloc(1, sizeof(*s));
    kd_auto(buf) struct kd_buf pin_record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    if (s == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    s->loop = loop;
    s->config = config;
    s->started_ms = kd_clock_wall_ms();
    s->recover_ms = KD_RECOVER_FIRST_MS;
    enum kd_err r;
    if ((r = kd_timer_new(loop, kd_service_recover_later, s, &s->recover_timer)) != KD_OK ||
        (r = read_policy(s)) != KD_OK || (r = open_store(s, &pin_record)) != KD_OK ||
        (r = kd_secrets_new(loop, &config->secrets, on_secret_gone, s, &s->secrets)) != KD_OK) {
        return r;
    }
    kd_audit_say(s->audit, "policy.read", "file", config->policy_file); // before there was a log
    const struct kd_workers_owner owner = { .arg = s,
                                            .ready = on_ready,
                                            .pin_record = on_pin_record };
    r = kd_workers_new(loop, config, &s->tally, &owner, kd_buf_get(&pin_record), &s->workers);
    if (r != KD_OK) {
        return r;
    }
    kd_log(KD_LOG_INFO, "service", "the registry is read", "keys=%zu",
           kd_registry_count(&s->registry));
    *out = KD_STEAL(s);
    return KD_OK;
}

void kd_service_close(struct kd_service *s) {
    if (s == NULL) {
        return;
    }
    s->is_stopping = true;
    kd_workers_free(s->workers); // every call is answered
    s->workers = NULL;
    kd_channel_run_later(s->channel);
    kd_seal_close(s);
    kd_store_thread_free(s->store); // every change is written and answered
    kd_bootstrap_free(s->bootstrap);
    kd_channel_free(s->channel);
    kd_secrets_free(s->secrets);
    kd_timer_free(s->recover_timer);
    kd_registry_wipe(&s->registry);
    kd_policy_free(s->policy);
    free(s);
}

void kd_service_reload(struct kd_service *s) {
    const enum kd_err r KD_UNUSED = read_policy(s); // the log has said it
    kd_workers_retry(s->workers);                   // the PIN may have been put right
    kd_audit_reopen(s->audit);
    kd_channel_reload(s->channel);
    kd_bootstrap_reload(s->bootstrap);
}

void kd_service_stop(struct kd_service *s) {
    s->is_stopping = true;
    kd_seal_now(s);
}

size_t kd_service_pending(const struct kd_service *s) {
    return s->pending;
}

// ---- keys to look at -------------------------------------------------------

enum kd_err kd_service_key(const struct kd_service *s, const struct kd_caller *caller,
                           const char *name, const struct kd_key **out) {
    enum kd_err r = kd_service_allows(s, caller, KD_MAY_SHOW, name);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_entry *e = kd_registry_get(&s->registry, name);
    if (e == NULL || e->key.n_versions == 0) {
        return KD_ERR_NO_KEY;
    }
    *out = &e->key;
    return KD_OK;
}

size_t kd_service_keys(const struct kd_service *s, const struct kd_caller *caller,
                       const char *after, const struct kd_key **out, size_t max) {
    size_t n = 0;
    const struct kd_entry *e = kd_registry_next(&s->registry, after);
    for (; e != NULL && n < max; e = kd_registry_next(&s->registry, e->key.name)) {
        if (e->key.n_versions > 0 &&
            kd_service_allows(s, caller, KD_MAY_SHOW, e->key.name) == KD_OK) {
            out[n++] = &e->key;
        }
    }
    return n;
}

enum kd_err kd_service_version(const struct kd_entry *e, uint32_t number,
                               const struct kd_key_version **out) {
    const struct kd_key_version *v =
        number == 0 ? kd_key_primary(&e->key) : kd_entry_version(e, number);
    if (v == NULL) {
        return number == 0 ? KD_ERR_VERSION_DISABLED : KD_ERR_NO_VERSION;
    }
    if (v->state != KD_VERSION_ENABLED) {
        return KD_ERR_VERSION_DISABLED;
    }
    *out = v;
    return KD_OK;
}

enum kd_err kd_service_check_free(const struct kd_service *s, const char *key) {
    const struct kd_channel_config *c = &s->config->channel;
    const bool is_reserved = strcmp(key, c->identity) == 0 || strcmp(key, c->root) == 0 ||
                             strcmp(key, c->ticket) == 0 || strcmp(key, c->envelope) == 0 ||
                             strcmp(key, s->config->ca.key) == 0 ||
                             strcmp(key, s->config->audit.key) == 0;
    return is_reserved ? KD_ERR_KEY_RESERVED : KD_OK;
}

// ---- secrets to look at ----------------------------------------------------

enum kd_err kd_service_find_secret(const struct kd_service *s, const struct kd_caller *caller,
                                   const char *id, struct kd_secret_entry **out) {
    struct kd_secret_entry *secret = kd_secrets_get(s->secrets, caller->principal, id);
    if (secret == NULL) {
        return KD_ERR_NO_SECRET;
    }
    // To disable a key stops what was derived from it too.
    const struct kd_entry *e = kd_registry_get(&s->registry, secret->key);
    const struct kd_key_version *v = NULL;
    enum kd_err r = e == NULL ? KD_ERR_NO_SECRET : kd_service_version(e, secret->version, &v);
    if (r != KD_OK) {
        return r == KD_ERR_NO_VERSION ? KD_ERR_NO_SECRET : r;
    }
    *out = secret;
    return KD_OK;
}

static struct kd_secret_info info_of(const struct kd_secret_entry *e) {
    struct kd_secret_info info = {
        .key = e->key,
        .version = e->version,
        .type = e->recipe.type,
        .created_ms = e->created_ms,
        .expires_ms = e->expires_ms,
        .residence = e->is_resident ? "token" : "worker",
    };
    memcpy(info.id, e->id, sizeof(info.id));
    return info;
}

enum kd_err kd_service_secret(const struct kd_service *s, const struct kd_caller *caller,
                              const char *id, struct kd_secret_info *out) {
    const struct kd_secret_entry *e = kd_secrets_get(s->secrets, caller->principal, id);
    if (e == NULL) {
        return KD_ERR_NO_SECRET;
    }
    *out = info_of(e);
    return KD_OK;
}

size_t kd_service_secrets(const struct kd_service *s, const struct kd_caller *caller,
                          const char *after, struct kd_secret_info *out, size_t max) {
    const struct kd_secret_entry *some[SECRETS_AT_ONCE];
    size_t n = 0;
    size_t found = SECRETS_AT_ONCE;
    after = after == NULL ? "" : after;
    while (n < max && found == SECRETS_AT_ONCE) {
        found = kd_secrets_page(s->secrets, caller->principal, after, some, SECRETS_AT_ONCE);
        for (size_t i = 0; i < found && n < max; i++) {
            after = some[i]->id;
            out[n++] = info_of(some[i]);
        }
    }
    return n;
}

enum kd_err kd_service_secret_delete(struct kd_service *s, const struct kd_caller *caller,
                                     const char *id) {
    struct kd_secret_entry *e = kd_secrets_get(s->secrets, caller->principal, id);
    if (e == NULL) {
        return KD_ERR_NO_SECRET;
    }
    uint8_t raw[KD_HSM_SECRET_ID_BYTES];
    memcpy(raw, e->recipe.id, sizeof(raw));
    kd_secrets_remove(s->secrets, e);
    on_secret_gone(s, raw);
    return KD_OK;
}

// ---- reports ---------------------------------------------------------------

enum kd_err kd_service_ready(const struct kd_service *s, const char **detail) {
    return kd_workers_ready(s->workers, detail);
}

void kd_service_report(const struct kd_service *s, struct kd_service_report *out) {
    *out = (struct kd_service_report) {
        .n_keys = kd_registry_count(&s->registry),
        .n_secrets = kd_secrets_count(s->secrets),
        .started_ms = s->started_ms,
        .policy_ms = s->policy_ms,
        .policy_error = s->policy_error,
    };
    kd_workers_report(s->workers, out);
}

void kd_service_metrics(const struct kd_service *s, struct kd_buf *out) {
    kd_channel_metrics(s, out);
    kd_bootstrap_metrics(s, out);
    kd_seal_metrics(s, out);
    kd_tally_print(&s->tally, out);
    kd_workers_metrics(s->workers, out);
    kd_tally_head(out, "keyd_keys", "gauge", "Keys in the registry.");
    kd_buf_printf(out, "keyd_keys %zu\n", kd_registry_count(&s->registry));
    kd_tally_head(out, "keyd_secrets", "gauge", "Derived secrets that are held.");
    kd_buf_printf(out, "keyd_secrets %zu\n", kd_secrets_count(s->secrets));
    kd_tally_head(out, "keyd_operations_pending", "gauge", "Operations accepted and not done.");
    kd_buf_printf(out, "keyd_operations_pending %zu\n", s->pending);
    kd_tally_head(out, "keyd_policy_valid", "gauge",
                  "0 where the last reload was refused and an older policy is in force.");
    kd_buf_printf(out, "keyd_policy_valid %d\n", s->policy_error[0] == '\0');
}
