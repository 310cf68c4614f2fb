// SPDX-License-Identifier: Apache-2.0
// audit_seal.c: see audit_seal.h.
#include "keyd/state.h"

#include <string.h>

static const char last_fact[] = "audit-last";

enum { FACT_BYTES = 8 + KD_CHAIN_HASH_BYTES };

// ---- what the registry knows -----------------------------------------------

static enum kd_err read_last(struct kd_store *store, struct kd_chain *out) {
    uint8_t room[KD_FACT_MAX_BYTES];
    struct kd_buf value = KD_BUF_OVER(room);
    const enum kd_err r = kd_store_get_fact(store, last_fact, &value);
    if (r != KD_OK || value.n != FACT_BYTES) {
        return r;
    }
    struct kd_reader in = kd_reader_of(kd_buf_get(&value));
    out->seq = kd_read_u64(&in);
    memcpy(out->head, kd_read_bytes(&in, sizeof(out->head)).p, sizeof(out->head));
    return KD_OK;
}

static void write_last(struct kd_service *s, const struct kd_chain *last) {
    uint8_t room[FACT_BYTES];
    struct kd_buf value = KD_BUF_OVER(room);
    kd_buf_u64(&value, last->seq);
    kd_buf_put(&value, last->head, sizeof(last->head));
    kd_service_set_fact(s, &s->audit_last, last_fact, kd_buf_get(&value));
}

// ---- a seal ----------------------------------------------------------------

static void fail(struct kd_service *s, enum kd_err err) {
    s->seal.is_under_way = false;
    if (!s->seal.has_failed) {
        kd_log(KD_LOG_WARN, "audit", "the audit log cannot be sealed; it is tried again",
               "key=%s error=%s", s->config->audit.key, kd_err_name(err));
    }
    s->seal.has_failed = true;
}

static void on_written(struct kd_audit_entry *entry, enum kd_err err) {
    struct kd_service *s = entry->arg;
    const uint64_t seq = entry->line.seq;
    kd_audit_entry_free(entry);
    s->pending--;
    if (err != KD_OK) {
        fail(s, err);
        return;
    }
    s->seal.is_under_way = false;
    s->seal.has_failed = false;
    s->seal.sealed_seq = s->seal.covers.seq;
    s->seal.own_seq = seq;
    write_last(s, &s->seal.covers);
}

static enum kd_err write_seal(struct kd_service *s, struct kd_bytes mac) {
    kd_auto(audit_entry) struct kd_audit_entry *e = kd_audit_entry_new("audit.seal");
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(256);
    char head[2 * KD_CHAIN_HASH_BYTES + 1];
    kd_hex_encode(s->seal.covers.head, KD_CHAIN_HASH_BYTES, head);
    kd_b64_encode(&text, mac);
    if (e == NULL || kd_buf_finish(&text) != KD_OK) {
        return KD_ERR_NO_MEMORY;
    }
    kd_audit_put_number(e, "covers", s->seal.covers.seq);
    kd_audit_put(e, "head", head);
    kd_audit_put(e, "key", s->config->audit.key);
    kd_audit_put_number(e, "version", s->seal.version);
    kd_audit_put(e, "mac", kd_buf_get_text(&text));
    e->done = on_written;
    e->arg = s;
    return kd_audit_write(s->audit, KD_STEAL(e));
}

static enum kd_err on_mac(void *service, const struct kd_hsm_reply *reply,
                          struct kd_reader *items) {
    struct kd_service *s = service;
    struct kd_hsm_result result = { .err = KD_OK };
    enum kd_err r = reply->err != KD_OK   ? reply->err
                    : reply->n_items != 1 ? KD_ERR_MALFORMED
                                          : kd_hsm_get_result(items, KD_HSM_MAC, &result);
    if (r == KD_OK) {
        r = kd_reader_finish(items);
    }
    const enum kd_err read = reply->err == KD_OK ? r : KD_OK;
    r = r == KD_OK ? result.err : r;
    r = r == KD_OK ? write_seal(s, result.out) : r;
    if (r != KD_OK) {
        s->pending--;
        fail(s, r);
    }
    return read;
}

static enum kd_err find_key(const struct kd_service *s, const struct kd_key_version **out) {
    const struct kd_entry *e = kd_registry_get(&s->registry, s->config->audit.key);
    if (e == NULL || e->key.n_versions == 0) {
        return KD_ERR_NO_KEY;
    }
    if (e->key.type != KD_KEY_HMAC_SHA256 && e->key.type != KD_KEY_HMAC_SHA384) {
        return KD_ERR_KEY_TYPE;
    }
    return (e->key.usages & KD_USE_SIGN) == 0 ? KD_ERR_KEY_USAGE : kd_service_version(e, 0, out);
}

static enum kd_err ask(struct kd_service *s) {
    const struct kd_key_version *key = NULL;
    struct kd_call *call = NULL;
    enum kd_err r = find_key(s, &key);
    if (r != KD_OK) {
        return r;
    }
    uint8_t room[KD_CHAIN_SEAL_BYTES];
    kd_chain_seal_input(&s->seal.covers, room);
    struct kd_hsm_request head = {
        .op = KD_HSM_MAC, .n_keys = 1, .keys = { key->ref }, .n_items = 1
    };
    const struct kd_hsm_item item = { .data = { room, sizeof(room) } };
    s->seal.version = key->number;
    if ((r = kd_service_begin(s, &head, NULL, &call)) != KD_OK) {
        return r;
    }
    kd_call_put(call, &item);
    return kd_call_send(call, on_mac, s);
}

void kd_seal_now(struct kd_service *s) {
    struct kd_audit_report report;
    if (s->audit == NULL || s->config->audit.key[0] == '\0' || s->seal.is_under_way) {
        return;
    }
    kd_audit_get(s->audit, &report);
    if (report.last.seq == s->seal.own_seq && s->seal.own_seq == s->seal.sealed_seq + 1) {
        return; // the seal is the last line itself, and covers all before it
    }
    s->seal.covers = report.last;
    s->seal.is_under_way = true;
    const enum kd_err r = ask(s);
    if (r != KD_OK) {
        fail(s, r);
    } else {
        s->pending++;
    }
}

// ---- life ------------------------------------------------------------------

static void on_time(void *service) {
    struct kd_service *s = service;
    kd_seal_now(s);
    kd_timer_set(s->seal.timer, (uint64_t)s->config->audit.seal_sec * 1000);
}

enum kd_err kd_seal_open(struct kd_service *s, struct kd_store *store) {
    struct kd_chain known = { .seq = 0 };
    enum kd_err r;
    if (s->config->audit.file[0] == '\0') {
        return KD_OK;
    }
    if ((r = read_last(store, &known)) != KD_OK ||
        (r = kd_audit_open(s->loop, &s->config->audit, &known, &s->audit)) != KD_OK ||
        (r = kd_timer_new(s->loop, on_time, s, &s->seal.timer)) != KD_OK) {
        return r;
    }
    kd_timer_set(s->seal.timer, (uint64_t)s->config->audit.seal_sec * 1000);
    return KD_OK;
}

void kd_seal_close(struct kd_service *s) {
    struct kd_chain last;
    kd_timer_free(s->seal.timer);
    if (s->audit == NULL) {
        return;
    }
    kd_audit_close(s->audit, &last);
    s->audit = NULL;
    if (s->store != NULL && last.seq > 0) {
        write_last(s, &last);
    }
}

void kd_seal_metrics(const struct kd_service *s, struct kd_buf *out) {
    struct kd_audit_report r;
    if (s->audit == NULL) {
        return;
    }
    kd_audit_get(s->audit, &r);
    kd_tally_head(out, "keyd_audit_lines_total", "counter", "Lines of the audit log.");
    kd_buf_printf(out, "keyd_audit_lines_total %llu\n", (unsigned long long)r.lines);
    kd_tally_head(out, "keyd_audit_failing", "gauge", "1 while the audit log cannot be written.");
    kd_buf_printf(out, "keyd_audit_failing %d\n", r.is_failing);
    kd_tally_head(out, "keyd_audit_refused_total", "counter",
                  "Requests that were refused as they could not be written down.");
    kd_buf_printf(out, "keyd_audit_refused_total %llu\n", (unsigned long long)r.refused);
    kd_tally_head(out, "keyd_audit_lost_total", "counter",
                  "Lines that could not be written or kept.");
    kd_buf_printf(out, "keyd_audit_lost_total %llu\n", (unsigned long long)r.lost);
    kd_tally_head(out, "keyd_audit_unsealed_lines", "gauge",
                  "Lines after the last that a seal covers.");
    kd_buf_printf(out, "keyd_audit_unsealed_lines %llu\n",
                  (unsigned long long)(r.last.seq - s->seal.sealed_seq));
}

// ---- for the HTTP layer ----------------------------------------------------

struct kd_audit *kd_service_audit(const struct kd_service *s) {
    return s->audit;
}

uint32_t kd_service_audited(const struct kd_service *s) {
    return s->audit == NULL ? 0 : s->config->audit.operations;
}

enum kd_err kd_service_audit_report(const struct kd_service *s, const struct kd_caller *caller,
                                    struct kd_audit_report *out) {
    const enum kd_err r = kd_service_allows(s, caller, KD_MAY_STATUS, NULL);
    if (r != KD_OK || s->audit == NULL) {
        return r != KD_OK ? r : KD_ERR_CONFIG;
    }
    kd_audit_get(s->audit, out);
    out->key = s->config->audit.key;
    out->sealed = s->seal.sealed_seq;
    return KD_OK;
}
