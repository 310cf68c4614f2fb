// SPDX-License-Identifier: Apache-2.0
// audit.h: the audit log (docs/audit.md): who asked for what, and what became of it.  An entry is
// made and given here; a thread writes it, with all others that came meanwhile, and waits for the
// disk.  All functions are for the loop's thread, and callbacks run there.
//
// While the file cannot be written, what must stand in it is refused: kd_audit_admit says so
// before the work, and an entry that somebody waits for fails.  Entries that nobody waits for are
// kept, up to KD_AUDIT_KEPT_MAX, and written when there is room again.
#ifndef KD_KEYD_AUDIT_H
#define KD_KEYD_AUDIT_H

#include "keyd/audit_log.h"

#define KD_AUDIT_KEPT_MAX 4096
#define KD_AUDIT_RETRY_MS 1000
#define KD_AUDIT_REASON_BYTES 96

struct kd_audit;

struct kd_audit_config; // config.h

// `known`: the last line as the registry has it; zero: none.  The first lines that are written say
// that keyd starts, and what was found.  KD_ERR_CONFIG, KD_ERR_SYSTEM: the log says why.
KD_MUST_CHECK enum kd_err kd_audit_open(struct kd_loop *loop, const struct kd_audit_config *config,
                                        const struct kd_chain *known, struct kd_audit **out);
// Says that keyd stops, writes what was given, delivers answers, and gives the last line of all.
// The loop must not run any more.  NULL does nothing.
void kd_audit_close(struct kd_audit *a, struct kd_chain *last);
// SIGHUP: the next file is begun if somebody has renamed this one.
void kd_audit_reopen(struct kd_audit *a);

// ---- entries ---------------------------------------------------------------

struct kd_audit_entry {
    struct kd_audit_line line;                                   // first
    void (*done)(struct kd_audit_entry *entry, enum kd_err err); // NULL: nobody waits
    void *arg;                                                   // for done
    enum kd_err err;                                             // the thread's
};

// NULL: no memory.  `event` is a constant: "key.create".
struct kd_audit_entry *kd_audit_entry_new(const char *event);
void kd_audit_entry_free(struct kd_audit_entry *entry);
KD_AUTO_DEFINE(audit_entry, struct kd_audit_entry *, kd_audit_entry_free)
// Members; "" adds none.  Any bytes may be given as text.
void kd_audit_put(struct kd_audit_entry *entry, const char *name, const char *text);
void kd_audit_put_json(struct kd_audit_entry *entry, const char *name, struct kd_bytes json);
void kd_audit_put_number(struct kd_audit_entry *entry, const char *name, uint64_t value);

// KD_ERR_AUDIT while the file cannot be written, and counts who is refused for that; *why is
// borrowed until the next call.  `a` may be NULL: no log is kept, and everything is admitted.
KD_MUST_CHECK enum kd_err kd_audit_admit(struct kd_audit *a, const char **why);
// With `done`: it is called exactly once, later, with KD_OK when the line is on the disk
// (line.seq is its number), or KD_ERR_AUDIT, and has the entry to free.  Without: it is freed here.
// `a` is not NULL.  KD_ERR_NO_MEMORY: there is no entry (NULL), or it has not got all its members;
// it is freed and counted as lost, and `done` is not called.
KD_MUST_CHECK enum kd_err kd_audit_write(struct kd_audit *a, struct kd_audit_entry *take_entry);
// A line of its own about something that happened, with one member or none ("").  `a` may be NULL.
void kd_audit_say(struct kd_audit *a, const char *event, const char *name, const char *text);

// The service's; NULL: none is kept.
struct kd_service;
struct kd_audit *kd_service_audit(const struct kd_service *s);
// The operations that have a line each: bits 1 << enum kd_permission.
uint32_t kd_service_audited(const struct kd_service *s);

// ---- reports ---------------------------------------------------------------

struct kd_audit_report {
    struct kd_chain last; // what is on the disk
    uint64_t lines;       // written since the start
    uint64_t refused;     // requests
    uint64_t lost;        // entries that could not be kept
    bool is_failing;
    char reason[KD_AUDIT_REASON_BYTES];
    const char *key; // of seals, "": none; this and the next: kd_service_audit_report only
    uint64_t sealed; // the last line that a seal of this process covers
};
void kd_audit_get(struct kd_audit *a, struct kd_audit_report *out);
// KD_ERR_DENIED (KD_MAY_STATUS), KD_ERR_CONFIG: no log is kept.
struct kd_caller;
KD_MUST_CHECK enum kd_err kd_service_audit_report(const struct kd_service *s,
                                                  const struct kd_caller *caller,
                                                  struct kd_audit_report *out);

#endif
