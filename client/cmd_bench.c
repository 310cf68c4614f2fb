// SPDX-License-Identifier: Apache-2.0
// cmd_bench.c: keydctl bench: the user's own token, through keyd with the load
// generator (load.h), and in one thread of the module by itself (keyd-hsm
// --bench).  Its keys are named keydctl-bench-... and deleted afterwards.
#include "client/ctl.h"
#include "client/eckey.h"
#include "client/load.h"
#include "client/process.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_ITEMS = 64,
    SEALED_BYTES = 256,
    DATA_BYTES = 32,
    REQUEST_MAX_BYTES = 1 << 20,
    WORKER_TIMEOUT_MS = 120000,
};
#define PREFIX "keydctl-bench-"

struct row {
    const char *operation; // of the API
    const char *key;
    const char *type;
    const char *usage;
    double module_per_sec; // 0: not known
    struct kd_load_result single;
    struct kd_load_result batch;
};

static const struct row all_rows[] = {
    { .operation = "mac", .key = PREFIX "mac", .type = "hmac-sha256", .usage = "sign" },
    { .operation = "sign", .key = PREFIX "sign", .type = "ec-p256", .usage = "sign" },
    { .operation = "ecdh", .key = PREFIX "ecdh", .type = "ec-p256", .usage = "derive" },
    { .operation = "encrypt", .key = PREFIX "encrypt", .type = "aes-256", .usage = "encrypt" },
};
#define ROWS KD_COUNT_OF(all_rows)

// ---- keys ------------------------------------------------------------------

// Of this run or of one that was broken off.
static void delete_keys(struct kd_ctl *ctl) {
    for (size_t i = 0; i < ROWS; i++) {
        kd_auto(rest_answer) struct kd_rest_answer a = KD_REST_ANSWER_INIT;
        char path[128];
        snprintf(path, sizeof(path), "/v1/keys/%s", all_rows[i].key);
        if (kd_rest_call(ctl->rest, "DELETE", path, NULL, &a) != KD_OK) {
            return;
        }
    }
}

static enum kd_exit make_keys(struct kd_ctl *ctl) {
    for (size_t i = 0; i < ROWS; i++) {
        kd_auto(json) json_t *body = json_pack("{s:s, s:s, s:[s]}", "name", all_rows[i].key, "type",
                                               all_rows[i].type, "usages", all_rows[i].usage);
        kd_auto(json) json_t *key = NULL;
        const enum kd_exit code = kd_ctl_call(ctl, "POST", "/v1/keys", body, &key);
        if (code != KD_EXIT_OK) {
            return code;
        }
    }
    return KD_EXIT_OK;
}

// The public half of a key made here, as a JWK.
static json_t *make_peer(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    json_t *jwk = NULL;
    char *p = NULL;
    if (key != NULL && bio != NULL && PEM_write_bio_PUBKEY(bio, key) == 1) {
        const long n = BIO_get_mem_data(bio, &p);
        if (kd_eckey_read((struct kd_bytes) { (uint8_t *)p, (size_t)n }, &jwk) != KD_OK) {
            jwk = NULL;
        }
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return jwk;
}

// One item of an operation.
static json_t *make_item(const struct row *row) {
    static const uint8_t zeros[SEALED_BYTES];
    if (strcmp(row->operation, "ecdh") == 0) {
        // Released, so that no secrets pile up; the token's work is the same.
        return json_pack("{s:o, s:b}", "peer", make_peer(), "release", 1);
    }
    const bool encrypts = strcmp(row->operation, "encrypt") == 0;
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_B64_LEN(SEALED_BYTES) + 1);
    kd_b64_encode(&text, (struct kd_bytes) { zeros, encrypts ? SEALED_BYTES : DATA_BYTES });
    return json_pack("{s:s}", encrypts ? "plaintext" : "data", kd_buf_get_text(&text));
}

static enum kd_err make_request(const struct row *row, bool batch, struct kd_buf *out) {
    kd_auto(json) json_t *item = make_item(row);
    kd_auto(json) json_t *whole = batch ? json_pack("{s:[]}", "items") : json_incref(item);
    for (size_t i = 0; batch && i < BATCH_ITEMS; i++) {
        json_array_append(json_object_get(whole, "items"), item);
    }
    char path[128];
    snprintf(path, sizeof(path), "/v1/keys/%s/%s", row->key, row->operation);
    char *text = json_dumps(whole, JSON_COMPACT);
    if (text == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const enum kd_err e = kd_load_request(path, text, out);
    free(text);
    return e;
}

// ---- measuring -------------------------------------------------------------

static enum kd_exit measure(struct kd_ctl *ctl, const struct row *row, bool batch,
                            unsigned connections, uint64_t seconds, struct kd_load_result *result) {
    kd_auto(buf) struct kd_buf request = KD_BUF_INIT(REQUEST_MAX_BYTES);
    char why[KD_LOAD_WHY_BYTES] = "";
    enum kd_err e = make_request(row, batch, &request);
    const struct kd_bytes bytes = kd_buf_get(&request);
    const struct kd_load_config config = {
        .socket = kd_rest_place(ctl->rest),
        .connections = connections,
        .duration_ms = seconds * 1000,
        .warmup_ms = 200,
        .requests = &bytes,
        .n_requests = 1,
    };
    e = e != KD_OK ? e : kd_load_run(&config, result, why);
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "%s: %s", row->operation,
                           why[0] != '\0' ? why : kd_err_sentence(e));
    }
    if (result->answers == 0) {
        return kd_ctl_fail(
            ctl, KD_EXIT_REFUSED,
            "keyd refuses %s with status %u. The caller needs all of create, delete, "
            "mac, sign, ecdh, release and encrypt on " PREFIX "* (policy file).",
            row->operation, result->status);
    }
    return KD_EXIT_OK;
}

static enum kd_exit measure_all(struct kd_ctl *ctl, struct row rows[static ROWS],
                                unsigned connections, uint64_t seconds) {
    for (size_t i = 0; i < ROWS; i++) {
        enum kd_exit code;
        if (ctl->terminal && !ctl->json) {
            fprintf(ctl->err, "%s ...\n", rows[i].operation);
        }
        if ((code = measure(ctl, &rows[i], false, connections, seconds, &rows[i].single)) !=
                KD_EXIT_OK ||
            (code = measure(ctl, &rows[i], true, connections, seconds, &rows[i].batch)) !=
                KD_EXIT_OK) {
            return code;
        }
    }
    return KD_EXIT_OK;
}

// ---- the module by itself --------------------------------------------------

// Of keyd-hsm --bench: {"session": {"mac": PER-SECOND, ...}, "token": {...}}.
static void read_module_rates(struct kd_bytes text, struct row rows[static ROWS]) {
    kd_auto(json) json_t *report = json_loadb((const char *)text.p, text.n, 0, NULL);
    const json_t *rates = json_object_get(report, "session");
    for (size_t i = 0; i < ROWS; i++) {
        rows[i].module_per_sec = json_number_value(json_object_get(rates, rows[i].operation));
    }
}

static void measure_module(struct kd_ctl *ctl, struct row rows[static ROWS], uint64_t seconds) {
    const struct kd_settings *s = &ctl->settings;
    kd_auto(buf) struct kd_buf worker = KD_BUF_INIT(4096);
    char seconds_text[24];
    snprintf(seconds_text, sizeof(seconds_text), "%llu", (unsigned long long)seconds);
    if (s->pin_file == NULL || s->module == NULL ||
        (s->worker_program == NULL &&
         kd_process_find(kd_args_text(ctl->args, "programs"), "keyd-hsm", &worker) != KD_OK)) {
        fputs("keydctl: without keyd.conf the module by itself is not measured (--config FILE)\n",
              ctl->err);
        return;
    }
    const char *argv[KD_SETTINGS_ARGS_MAX + 12] = { s->worker_program != NULL
                                                        ? s->worker_program
                                                        : kd_buf_get_text(&worker),
                                                    "--bench",
                                                    "--seconds",
                                                    seconds_text,
                                                    "--uri",
                                                    s->uri != NULL ? s->uri : "pkcs11:",
                                                    "--pin-file",
                                                    s->pin_file };
    (void)kd_settings_put_module(s, argv, 8);
    kd_auto(process) struct kd_process p = KD_PROCESS_INIT;
    const enum kd_err e = kd_process_run(argv, WORKER_TIMEOUT_MS, &p);
    if (e != KD_OK || p.status != 0) {
        fputs("keydctl: the module by itself could not be measured:\n", ctl->err);
        kd_output_text(ctl->err, e != KD_OK ? kd_err_sentence(e) : kd_buf_get_text(&p.err));
        fputc('\n', ctl->err);
        return;
    }
    read_module_rates(kd_buf_get(&p.out), rows);
}

// ---- what was found --------------------------------------------------------

static void put_ratio(struct kd_table *t, double rate, double module) {
    if (module > 0) {
        kd_table_printf(t, "%.2f", rate / module);
    } else {
        kd_table_put(t, NULL);
    }
}

static enum kd_exit print_table(const struct kd_ctl *ctl, const struct row rows[static ROWS]) {
    static const char *const heads[] = { "OPERATION",  "MODULE/S", "KEYD/S",    "RATIO",
                                         "BATCH 64/S", "RATIO",    "MEDIAN US", "P99 US" };
    kd_auto(table) struct kd_table *t = NULL;
    if (kd_table_new(heads, KD_COUNT_OF(heads), &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        const double batch = r->batch.per_sec * BATCH_ITEMS;
        kd_table_put(t, r->operation);
        if (r->module_per_sec > 0) {
            kd_table_printf(t, "%.0f", r->module_per_sec);
        } else {
            kd_table_put(t, NULL);
        }
        kd_table_printf(t, "%.0f", r->single.per_sec);
        put_ratio(t, r->single.per_sec, r->module_per_sec);
        kd_table_printf(t, "%.0f", batch);
        put_ratio(t, batch, r->module_per_sec);
        kd_table_printf(t, "%u", (unsigned)r->single.p50_us);
        kd_table_printf(t, "%u", (unsigned)r->single.p99_us);
    }
    return kd_ctl_print_table(ctl, t);
}

static enum kd_exit print_rows(const struct kd_ctl *ctl, const struct row rows[static ROWS],
                               unsigned connections) {
    if (!ctl->json) {
        return print_table(ctl, rows);
    }
    kd_auto(json) json_t *list = json_array();
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        json_array_append_new(
            list, json_pack("{s:s, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "operation", r->operation,
                            "module_per_sec", r->module_per_sec, "per_sec", r->single.per_sec,
                            "batch_items_per_sec", r->batch.per_sec * BATCH_ITEMS, "refused",
                            (json_int_t)r->single.refused + (json_int_t)r->batch.refused, "p50_us",
                            (json_int_t)r->single.p50_us, "p99_us", (json_int_t)r->single.p99_us,
                            "max_us", (json_int_t)r->single.max_us));
    }
    kd_auto(json) json_t *answer =
        json_pack("{s:i, s:O}", "connections", (int)connections, "operations", list);
    return kd_ctl_print_json(ctl, answer);
}

enum kd_exit kd_cmd_bench(struct kd_ctl *ctl) {
    uint64_t seconds = 3;
    uint64_t connections = 16;
    char why[KD_WHY_BYTES];
    if (kd_args_number(ctl->args, "seconds", 1, 3600, &seconds, why) != KD_OK ||
        kd_args_number(ctl->args, "connections", 1, KD_LOAD_CONNECTIONS_MAX, &connections, why) !=
            KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "%s", why);
    }
    if (kd_args_has(ctl->args, "url") || kd_args_has(ctl->args, "token-file")) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "bench measures over the Unix socket, as this user.");
    }
    struct row rows[ROWS];
    memcpy(rows, all_rows, sizeof(rows));
    enum kd_exit code = kd_ctl_connect(ctl);
    if (code != KD_EXIT_OK) {
        return code;
    }
    delete_keys(ctl);
    code = make_keys(ctl);
    if (code == KD_EXIT_OK) {
        measure_module(ctl, rows, seconds);
        code = measure_all(ctl, rows, (unsigned)connections, seconds);
    }
    delete_keys(ctl);
    return code != KD_EXIT_OK ? code : print_rows(ctl, rows, (unsigned)connections);
}
