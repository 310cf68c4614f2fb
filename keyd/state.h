// SPDX-License-Identifier: Apache-2.0
// state.h: the service's own view of itself.  Private to service.c, manage.c,
// recover.c, work.c, derive.c and report.c.
#ifndef KD_KEYD_STATE_H
#define KD_KEYD_STATE_H

#include "keyd/audit_seal.h"
#include "keyd/config.h"
#include "keyd/tally.h"
#include "keyd/policy.h"
#include "keyd/registry.h"
#include "keyd/secrets.h"
#include "keyd/service.h"
#include "keyd/store_thread.h"
#include "keyd/workers.h"

#define KD_DETAIL_BYTES 256
#define KD_RECOVER_FIRST_MS 1000 // doubled at each look, up to KD_RECOVER_MAX_MS
#define KD_RECOVER_MAX_MS 60000

struct kd_channel;   // channel_state.h
struct kd_bootstrap; // bootstrap_state.h

// What stands in the store under a name.  Writing it down needs no memory: a PIN that was refused
// is to be known after a restart, whatever happens.
#define KD_FACT_MAX_BYTES 128
struct kd_fact_value {
    size_t n;
    uint8_t bytes[KD_FACT_MAX_BYTES];
};

struct kd_fact {
    struct kd_store_job job; // first: a job's address is its fact's
    struct kd_service *s;
    const char *name;
    struct kd_fact_value value; // the store's thread reads it while it is under way
    struct kd_fact_value next;  // given meanwhile
    bool is_under_way;
    bool has_next;
};

struct kd_service {
    struct kd_loop *loop;
    const struct kd_config *config;
    struct kd_policy *policy;
    uint64_t policy_ms; // wall clock
    char policy_error[512];
    struct kd_store_thread *store;
    struct kd_registry registry;
    struct kd_secrets *secrets;
    struct kd_workers *workers; // NULL while the service closes
    struct kd_tally tally;
    struct kd_audit *audit; // NULL: off
    struct kd_seal seal;
    struct kd_fact pin_refused, audit_last;
    struct kd_channel *channel;     // NULL: off
    struct kd_bootstrap *bootstrap; // NULL: off
    size_t pending;                 // operations accepted and not done
    bool is_stopping;
    bool is_copying;     // the registry
    uint64_t started_ms; // wall clock
    struct kd_timer *recover_timer;
    uint64_t recover_ms; // until the next look at what is open
};

// kd_workers_begin, also while the service closes.
KD_MUST_CHECK enum kd_err kd_service_begin(struct kd_service *s, struct kd_hsm_request *head,
                                           const uint8_t *near, struct kd_call **out);

// Writes one of the service's facts down, later, or the last of those that come meanwhile; the log
// says if that fails.  `name` is a constant, the value has at most KD_FACT_MAX_BYTES.
void kd_service_set_fact(struct kd_service *s, struct kd_fact *f, const char *name,
                         struct kd_bytes value);

// What every operation checks first: KD_ERR_STOPPING, KD_ERR_DENIED.
KD_MUST_CHECK enum kd_err kd_service_admit(const struct kd_service *s,
                                           const struct kd_caller *caller,
                                           enum kd_permission permission, const char *key);

// The version to make new results with (number 0: the primary): KD_ERR_NO_VERSION,
// KD_ERR_VERSION_DISABLED.
KD_MUST_CHECK enum kd_err kd_service_version(const struct kd_entry *e, uint32_t number,
                                             const struct kd_key_version **out);

// KD_ERR_KEY_RESERVED for the channel's own keys and the CA's, which are for nothing else.
KD_MUST_CHECK enum kd_err kd_service_check_free(const struct kd_service *s, const char *key);

// The caller's secret, with its key still there and enabled: KD_ERR_NO_SECRET,
// KD_ERR_VERSION_DISABLED.
KD_MUST_CHECK enum kd_err kd_service_find_secret(const struct kd_service *s,
                                                 const struct kd_caller *caller, const char *id,
                                                 struct kd_secret_entry **out);

// A worker has become ready: finishes what a crash or a lost worker left open (recover.c).
void kd_service_recover(struct kd_service *s);
void kd_service_recover_later(void *service); // a kd_timer_fn: what is still open

// At the start, with the store open: what a killed process left of a copy goes (backup_work.c).
void kd_service_clear_backup(const struct kd_service *s);

// Text of a worker, ended and cut to size.
void kd_detail_copy(char out[static KD_DETAIL_BYTES], struct kd_bytes text);

#endif
