// SPDX-License-Identifier: Apache-2.0
// fetcher.h: gets certificates from elsewhere through keyd-fetch (fetch/fetch.h), which is
// started, watched and started again here.  One flight for each URI, however many wait for it;
// failures are remembered for a while.  The loop's thread only.
#ifndef KD_KEYD_FETCHER_H
#define KD_KEYD_FETCHER_H

#include "keyd/config.h"
#include "fetch/fetch.h"

struct kd_loop;
struct kd_fetcher;
struct kd_fetch_wait;

// Off, and everything is refused, where the configuration allows no prefix.
KD_MUST_CHECK enum kd_err kd_fetcher_open(struct kd_loop *loop, const struct kd_fetch_config *c,
                                          struct kd_fetcher **out);
void kd_fetcher_close(struct kd_fetcher *f); // calls nobody; NULL does nothing

// body is borrowed: a certificate, or with is_chain a COSE_X509.  With an error: why.
typedef void kd_fetcher_done(void *arg, enum kd_err err, const char *why, struct kd_bytes body,
                             bool is_chain);
// KD_OK: `done` comes later, exactly once, unless it is cancelled.  KD_ERR_HS_CREDENTIAL: not
// allowed, or it failed lately; KD_ERR_BUSY: pending-max, or there is no process.  *why, for the
// log.
KD_MUST_CHECK enum kd_err kd_fetcher_begin(struct kd_fetcher *f, struct kd_bytes uri,
                                           kd_fetcher_done *done, void *arg,
                                           struct kd_fetch_wait **out, const char **why);
void kd_fetcher_cancel(struct kd_fetch_wait *w); // NULL does nothing

struct kd_fetcher_report {
    bool is_on;
    bool is_running;
    size_t n_flights;
    size_t n_failed; // that are remembered
    uint32_t restarts;
    uint64_t counts[KD_FETCH_RESULTS + 1]; // by result; the last: the process ended meanwhile
};
void kd_fetcher_report(const struct kd_fetcher *f, struct kd_fetcher_report *out);
const char *kd_fetch_result_name(unsigned result); // for labels

#endif
