// SPDX-License-Identifier: Apache-2.0
// channel_report.c: the channel in numbers, for /v1/status and /metrics.
#include "keyd/channel_state.h"

const char *kd_session_end_name(enum kd_session_end why) {
    switch (why) {
    case KD_SESSION_DELETED:
        return "deleted";
    case KD_SESSION_CLOSED:
        return "closed";
    case KD_SESSION_EXPIRED:
        return "expired";
    case KD_SESSION_UNUSED:
        return "unused";
    case KD_SESSION_OF_NO_PEER:
        return "peer-deleted";
    case KD_SESSION_OF_OTHER:
        return "peer-changed";
    case KD_SESSION_UNTRUSTED:
        return "peer-untrusted";
    case KD_SESSION_DISPLACED:
        return "displaced";
    }
    return "";
}

const char *kd_session_expiry_name(enum kd_record_expiry why) {
    switch (why) {
    case KD_EXPIRED_LIFETIME:
        return "lifetime";
    case KD_EXPIRED_RECORDS:
        return "records";
    case KD_EXPIRED_BYTES:
        return "bytes";
    }
    return "";
}

void kd_channel_report(const struct kd_service *s, struct kd_channel_report *out) {
    const struct kd_channel *c = s->channel;
    *out = (struct kd_channel_report) { .is_on = c != NULL };
    if (c != NULL) {
        out->n_peers = c->peers.n;
        out->n_handshakes = kd_map_count(&c->handshakes);
        out->n_sessions = c->sessions.due.n;
        out->certificate_upto_ms = c->identity.is_read ? c->identity.upto_ms : 0;
        kd_fetcher_report(c->fetcher, &out->fetch);
    }
}

static void print_certificate(struct kd_buf *out, const struct kd_channel *c) {
    if (c->identity.is_read) {
        const int64_t left = (int64_t)c->identity.upto_ms - (int64_t)kd_clock_wall_ms();
        kd_tally_head(out, "keyd_channel_certificate_expires_seconds", "gauge",
                      "Until the server's own certificate expires; below 0 when it has.");
        kd_buf_printf(out, "keyd_channel_certificate_expires_seconds %lld\n",
                      (long long)(left / 1000));
    }
}

static void print_fetches(struct kd_buf *out, const struct kd_channel *c) {
    struct kd_fetcher_report report;
    kd_fetcher_report(c->fetcher, &report);
    if (!report.is_on) {
        return;
    }
    kd_tally_head(out, "keyd_channel_fetches", "gauge", "Certificates that are being fetched.");
    kd_buf_printf(out, "keyd_channel_fetches %zu\n", report.n_flights);
    kd_tally_head(out, "keyd_channel_fetch_restarts_total", "counter",
                  "Starts of keyd-fetch after the first.");
    kd_buf_printf(out, "keyd_channel_fetch_restarts_total %u\n", report.restarts);
    kd_tally_head(out, "keyd_channel_fetches_total", "counter", "Fetches that ended, by result.");
    for (unsigned i = 0; i < KD_COUNT_OF(report.counts); i++) {
        if (report.counts[i] > 0) {
            kd_buf_printf(out, "keyd_channel_fetches_total{result=\"%s\"} %llu\n",
                          kd_fetch_result_name(i), (unsigned long long)report.counts[i]);
        }
    }
}

void kd_channel_metrics(const struct kd_service *s, struct kd_buf *out) {
    const struct kd_channel *c = s->channel;
    if (c == NULL) {
        return;
    }
    kd_tally_head(out, "keyd_channel_peers", "gauge", "Peers in the registry.");
    kd_buf_printf(out, "keyd_channel_peers %zu\n", c->peers.n);
    kd_tally_head(out, "keyd_channel_sessions", "gauge", "Sessions that are held.");
    kd_buf_printf(out, "keyd_channel_sessions %zu\n", c->sessions.due.n);
    kd_tally_head(out, "keyd_channel_handshakes", "gauge", "Handshakes that are not finished.");
    kd_buf_printf(out, "keyd_channel_handshakes %zu\n", kd_map_count(&c->handshakes));
    kd_tally_head(out, "keyd_channel_handshakes_total", "counter",
                  "Handshakes that ended, or were refused at once.");
    kd_tally_results(out, "keyd_channel_handshakes_total", "", c->counts.handshakes);
    kd_tally_head(out, "keyd_channel_resumes_total", "counter", "Tickets that were brought.");
    kd_tally_results(out, "keyd_channel_resumes_total", "", c->counts.resumed);
    kd_tally_head(out, "keyd_channel_updates_total", "counter", "Keys of sessions renewed.");
    kd_tally_results(out, "keyd_channel_updates_total", "", c->counts.updated);
    kd_tally_head(out, "keyd_channel_releases_total", "counter", "Keys of sessions given out.");
    kd_tally_results(out, "keyd_channel_releases_total", "", c->counts.released);
    kd_tally_head(out, "keyd_channel_sessions_expired_total", "counter",
                  "Sessions that came to a limit, by which.");
    for (unsigned i = KD_EXPIRED_LIFETIME; i <= KD_EXPIRED_BYTES; i++) {
        kd_buf_printf(out, "keyd_channel_sessions_expired_total{why=\"%s\"} %llu\n",
                      kd_session_expiry_name((enum kd_record_expiry)i),
                      (unsigned long long)c->counts.expired[i]);
    }
    kd_tally_head(out, "keyd_channel_sessions_ended_total", "counter",
                  "Sessions that ended, by why.");
    for (unsigned i = 0; i <= KD_SESSION_END_LAST; i++) {
        kd_buf_printf(out, "keyd_channel_sessions_ended_total{why=\"%s\"} %llu\n",
                      kd_session_end_name((enum kd_session_end)i),
                      (unsigned long long)c->counts.ended[i]);
    }
    kd_tally_head(out, "keyd_channel_ended", "gauge", "Ends that are remembered.");
    kd_buf_printf(out, "keyd_channel_ended %zu\n", c->ended.n);
    kd_tally_head(out, "keyd_channel_records_total", "counter", "Records sealed and opened.");
    kd_tally_results(out, "keyd_channel_records_total", "op=\"seal\",", c->counts.sealed);
    kd_tally_results(out, "keyd_channel_records_total", "op=\"open\",", c->counts.opened);
    if (c->config->envelope[0] != '\0') {
        kd_envelopes_metrics(&c->envelopes, out);
    }
    print_certificate(out, c);
    print_fetches(out, c);
}
