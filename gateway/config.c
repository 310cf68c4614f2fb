// SPDX-License-Identifier: Apache-2.0
#include "gateway/config.h"

#include "channel/channel.h"
#include "gateway/gateway.h"
#include "keyd/conf.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct kd_gateway_config, field)

static const struct text_row {
    const char *name;
    size_t at;
    const char *value;
    const char *help;
} texts[] = {
    { "keyd-socket", AT(keyd.unix_path), KD_RUNDIR "/keyd.sock", "keyd's Unix socket." },
    { "keyd-token-file", AT(keyd.bearer), "",
      "File with a bearer token for keyd, closed to others. Empty: the user of this process is who "
      "keyd sees." },
    { "backend-url", AT(backend.url), "",
      "Where the messages of devices go, http:// or https://. It is needed." },
    { "backend-unix-path", AT(backend.unix_path), "",
      "A Unix socket that the backend listens on, in place of the host in its URL." },
    { "backend-ca-file", AT(backend.ca_file), "",
      "CA certificates (PEM) for an https backend. Empty: those of the system." },
    { "admin", AT(admin), "",
      "Address and port for /healthz, /readyz and /metrics, such as 127.0.0.1:9470." },
    { "push", AT(push), "",
      "Address and port where the backend POSTs messages to devices, such as 127.0.0.1:4712." },
    { "push-token-file", AT(push_token_file), "",
      "File with the bearer token that the backend shows there. Needed but on loopback." },
    { "mode", AT(takes_over), "resident",
      "resident: keyd seals and opens. released: this gateway, where keyd gives it the keys." },
    { "log-level", AT(log_level), "info", "debug, info, warn or error." },
};

static const struct list_row {
    const char *name;
    size_t at;
    const char *help;
} lists[] = {
    { "tcp", AT(tcp),
      "Addresses for devices over TCP, such as {\"0.0.0.0:4711\", \"[::]:4711\"}." },
    { "udp", AT(udp), "The same over UDP." },
    { "http", AT(http), "The same over HTTP." },
};

static const struct number_row {
    const char *name;
    size_t at;
    uint32_t value, low, high;
    const char *help;
} numbers[] = {
    { "keyd-timeout-ms", AT(keyd.timeout_ms), 30000, 100, 600000, "For an answer of keyd." },
    { "keyd-connections", AT(keyd.connections_max), 8, 1, 1000,
      "To keyd, at once; as many again for handshakes, resumptions and envelopes." },
    { "backend-timeout-ms", AT(backend.timeout_ms), 10000, 10, 600000,
      "For an answer of the backend; the device then gets an error record with 504, or with 503 "
      "where the message has not been sent." },
    { "backend-connections", AT(backend.connections_max), 64, 1, 10000,
      "To the backend, at once." },
    { "backend-per-peer", AT(backend.per_who_max), 0, 0, 10000,
      "Of them, for messages of one device, and for all in envelopes. 0: half." },
    { "connections-max", AT(connections_max), 10000, 1, 1000000, "Of devices over TCP and HTTP." },
    { "pending-max", AT(pending_max), 10000, 1, 1000000,
      "Frames without an answer, of all devices; more are told to come again later." },
    { "pending-per-peer", AT(pending_per_peer), 256, 1, 1000000,
      "Of them, those of one device, by whatever connections; at least in-flight-max." },
    { "in-flight-max", AT(in_flight_max), 64, 1, 65536,
      "Frames of one connection without an answer; more are not read yet." },
    { "unsent-max-bytes", AT(unsent_max_bytes), 1048576, 70000, 1073741824,
      "Answers that a connection does not take; then nothing is read from it." },
    { "idle-timeout-ms", AT(idle_timeout_ms), 300000, 100, 86400000,
      "A connection without a frame is closed; an address over UDP is no way for pushes." },
    { "frame-timeout-ms", AT(frame_timeout_ms), 30000, 100, 600000,
      "From the first byte of a frame to its last, and for a device to take what is sent to it." },
    { "datagram-max-bytes", AT(datagram_max_bytes), KD_FRAME_DATAGRAM_MAX_BYTES, 256, 65507,
      "The largest frame over UDP, both ways." },
    { "answers-max", AT(answers_max), 65536, 1, 10000000,
      "Datagrams whose answers are kept for those that come twice." },
    { "answers-for-ms", AT(answers_for_ms), 20000, 1000, 600000, "How long." },
    { "batch-max", AT(batch_max), 64, 1, 1024, "Records in one request to keyd." },
    { "released-check-ms", AT(released_check_ms), 10000, 100, 600000,
      "Mode released: after that time a session in use is looked up at keyd, which may have ended "
      "it." },
    { "push-timeout-ms", AT(push_timeout_ms), 10000, 10, 600000,
      "For a device to acknowledge a message; the backend is then told that nobody knows." },
    { "stop-timeout-ms", AT(stop_timeout_ms), 30000, 0, 600000,
      "For what was accepted to be answered, when the gateway stops." },
};

enum { OPTIONS = KD_COUNT_OF(texts) + KD_COUNT_OF(lists) + KD_COUNT_OF(numbers) };

static void describe(cfg_opt_t options[OPTIONS + 1]) {
    size_t n = 0;
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        options[n++] = (cfg_opt_t)CFG_STR(texts[i].name, texts[i].value, CFGF_NONE);
    }
    for (size_t i = 0; i < KD_COUNT_OF(lists); i++) {
        options[n++] = (cfg_opt_t)CFG_STR_LIST(lists[i].name, (char *)(uintptr_t) "{}", CFGF_NONE);
    }
    for (size_t i = 0; i < KD_COUNT_OF(numbers); i++) {
        options[n++] = (cfg_opt_t)CFG_INT(numbers[i].name, (long)numbers[i].value, CFGF_NONE);
    }
    options[n] = (cfg_opt_t)CFG_END();
}

static void complain(struct kd_buf *errors, const char *path, const char *name, const char *what) {
    kd_buf_printf(errors, "%s: %s %s\n", path, name, what);
}

static bool take_level(const char *text, enum kd_log_level *out) {
    static const char *const names[] = { [KD_LOG_DEBUG] = "debug",
                                         [KD_LOG_INFO] = "info",
                                         [KD_LOG_WARN] = "warn",
                                         [KD_LOG_ERROR] = "error" };
    for (size_t i = 0; i < KD_COUNT_OF(names); i++) {
        if (names[i] != NULL && strcmp(names[i], text) == 0) {
            *out = (enum kd_log_level)i;
            return true;
        }
    }
    return false;
}

static void take_texts(struct kd_gateway_config *c, cfg_t *file, const char *path,
                       struct kd_buf *errors) {
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        const char *text = cfg_getstr(file, texts[i].name);
        if (texts[i].at == AT(log_level)) {
            if (!take_level(text, &c->log_level)) {
                complain(errors, path, texts[i].name, "must be debug, info, warn or error");
            }
            continue;
        }
        if (texts[i].at == AT(takes_over)) {
            c->takes_over = strcmp(text, "released") == 0;
            if (!c->takes_over && strcmp(text, "resident") != 0) {
                complain(errors, path, texts[i].name, "must be resident or released");
            }
            continue;
        }
        memcpy((char *)c + texts[i].at, &text, sizeof(text));
    }
    if (strncmp(c->backend.url, "http://", 7) != 0 && strncmp(c->backend.url, "https://", 8) != 0) {
        complain(errors, path, "backend-url", "must begin with http:// or https://");
    }
    if (c->push[0] != '\0' && c->push_token_file[0] == '\0' && !kd_address_is_loopback(c->push)) {
        complain(errors, path, "push", "is not on loopback: push-token-file is needed");
    }
}

static void take_lists(struct kd_gateway_config *c, cfg_t *file, const char *path,
                       struct kd_buf *errors) {
    size_t all = 0;
    for (size_t i = 0; i < KD_COUNT_OF(lists); i++) {
        struct kd_addresses a = { .n = cfg_size(file, lists[i].name) };
        if (a.n > KD_GATEWAY_ADDRESSES_MAX) {
            complain(errors, path, lists[i].name, "has more than 8 addresses");
            continue;
        }
        for (unsigned k = 0; k < a.n; k++) {
            a.where[k] = cfg_getnstr(file, lists[i].name, k);
        }
        memcpy((char *)c + lists[i].at, &a, sizeof(a));
        all += a.n;
    }
    if (all == 0) {
        complain(errors, path, "tcp, udp, http", "name no address: devices could not reach it");
    }
}

static void take_numbers(struct kd_gateway_config *c, cfg_t *file, const char *path,
                         struct kd_buf *errors) {
    for (size_t i = 0; i < KD_COUNT_OF(numbers); i++) {
        const struct number_row *row = &numbers[i];
        const long v = cfg_getint(file, row->name);
        if (v < (long)row->low || v > (long)row->high) {
            char what[80];
            snprintf(what, sizeof(what), "must be from %u to %u", row->low, row->high);
            complain(errors, path, row->name, what);
            continue;
        }
        const uint32_t value = (uint32_t)v;
        memcpy((char *)c + row->at, &value, sizeof(value));
    }
    if (c->backend.per_who_max == 0) {
        c->backend.per_who_max = (c->backend.connections_max + 1) / 2;
    }
    if (c->pending_per_peer < c->in_flight_max) { // a device by one connection waits its turn
        complain(errors, path, "pending-per-peer", "must not be less than in-flight-max");
    }
}

enum kd_err kd_gateway_config_read(const char *path, struct kd_buf *errors,
                                   struct kd_gateway_config **out) {
    cfg_opt_t options[OPTIONS + 1];
    kd_auto(gateway_config) struct kd_gateway_config *c = calloc(1, sizeof(*c));
    kd_auto(cfg) cfg_t *file = NULL;
    describe(options);
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const enum kd_err r = kd_conf_read(path, options, errors, &file);
    if (r != KD_OK) {
        return r;
    }
    c->keyd.url = "http://keyd";
    c->keyd.ca_file = "";
    c->backend.bearer = "";
    c->keyd.answer_max_bytes = 1u << 27; // a batch of the longest
    c->backend.answer_max_bytes = KD_RECORD_BODY_MAX_BYTES;
    const size_t before = errors->n;
    take_texts(c, file, path, errors);
    take_lists(c, file, path, errors);
    take_numbers(c, file, path, errors);
    c->file = KD_STEAL(file);
    if (kd_buf_finish(errors) == KD_ERR_NO_MEMORY) {
        return KD_ERR_NO_MEMORY; // a complaint may be missing
    }
    if (errors->n > before) {
        return KD_ERR_CONFIG;
    }
    *out = KD_STEAL(c);
    return KD_OK;
}

void kd_gateway_config_free(struct kd_gateway_config *c) {
    if (c != NULL && c->file != NULL) {
        cfg_free(c->file);
    }
    free(c);
}

void kd_gateway_config_print(struct kd_buf *out) {
    kd_buf_text(out,
                "# Configuration of keyd-gateway; see keyd-gateway.conf(5).  What is commented out "
                "is the default.\n");
    for (size_t i = 0; i < KD_COUNT_OF(texts); i++) {
        kd_buf_printf(out, "\n# %s\n# %s = \"%s\"\n", texts[i].help, texts[i].name, texts[i].value);
    }
    for (size_t i = 0; i < KD_COUNT_OF(lists); i++) {
        kd_buf_printf(out, "\n# %s\n# %s = {}\n", lists[i].help, lists[i].name);
    }
    for (size_t i = 0; i < KD_COUNT_OF(numbers); i++) {
        kd_buf_printf(out, "\n# %s\n# (%u to %u)\n# %s = %u\n", numbers[i].help, numbers[i].low,
                      numbers[i].high, numbers[i].name, numbers[i].value);
    }
}
