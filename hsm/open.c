// SPDX-License-Identifier: Apache-2.0
// open.c: loads the module, finds the token, logs in once, opens the sessions.
#include "hsm/open.h"

#include "hsm/probe.h"

#include <stdlib.h>
#include <string.h>

enum { DETAIL_MAX_BYTES = 8192, FIELDS_MAX_BYTES = 4096 };

// ---- texts -----------------------------------------------------------------

static enum kd_err copy_text(struct kd_bytes from, char *to, size_t size) {
    if (from.n >= size || (from.n > 0 && memchr(from.p, '\0', from.n) != NULL)) {
        return KD_ERR_MALFORMED;
    }
    if (from.n > 0) {
        memcpy(to, from.p, from.n);
    }
    to[from.n] = '\0';
    return KD_OK;
}

static enum kd_err set_environment(const struct kd_hsm_hello *h) {
    for (size_t i = 0; i < h->n_env; i++) {
        char entry[4096];
        enum kd_err r = copy_text(h->env[i], entry, sizeof(entry));
        char *value = r == KD_OK ? strchr(entry, '=') : NULL;
        if (value == NULL || value == entry) {
            return KD_ERR_MALFORMED;
        }
        *value++ = '\0';
        if (setenv(entry, value, 1) != 0) {
            return KD_ERR_NO_MEMORY;
        }
    }
    return KD_OK;
}

static enum kd_err take_texts(const struct kd_hsm_hello *h, struct kd_opened *o) {
    enum kd_err r;
    if ((r = copy_text(h->module, o->module_path, sizeof(o->module_path))) != KD_OK ||
        (r = copy_text(h->init_args, o->init_args, sizeof(o->init_args))) != KD_OK ||
        (r = copy_text(h->token_uri, o->token_uri, sizeof(o->token_uri))) != KD_OK ||
        (r = copy_text(h->pin_file, o->pin_file, sizeof(o->pin_file))) != KD_OK) {
        return r;
    }
    return set_environment(h);
}

// ---- sessions --------------------------------------------------------------

// As many as asked for, but never more than the token has.
static uint16_t threads_allowed(const struct kd_token *t, uint16_t asked) {
    const CK_ULONG max = t->info.ulMaxSessionCount;
    const CK_ULONG max_rw = t->info.ulMaxRwSessionCount;
    CK_ULONG n = asked;
    if (max != CK_UNAVAILABLE_INFORMATION && max != CK_EFFECTIVELY_INFINITE && max < n) {
        n = max;
    }
    if (max_rw != CK_UNAVAILABLE_INFORMATION && max_rw != CK_EFFECTIVELY_INFINITE && max_rw < n) {
        n = max_rw;
    }
    return (uint16_t)n;
}

static enum kd_err open_sessions(struct kd_opened *o, uint16_t wanted) {
    o->sessions = calloc(wanted, sizeof(*o->sessions));
    if (o->sessions == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    while (o->threads < wanted) {
        enum kd_err r = kd_session_open(&o->token, &o->sessions[o->threads]);
        if (r == KD_ERR_TOKEN_FULL && o->threads > 0) {
            kd_log(KD_LOG_WARN, "token", "the token has fewer sessions than threads were asked for",
                   "threads=%u", o->threads);
            return KD_OK;
        }
        if (r != KD_OK) {
            kd_buf_text(&o->detail, "The token opens no session. Are all of its sessions in use?");
            return r;
        }
        o->threads++;
    }
    return KD_OK;
}

// The first session alone logs the process in; the others inherit it.
static enum kd_err open_token(const struct kd_hsm_hello *h, struct kd_opened *o) {
    enum kd_err r = kd_token_find(&o->modules, o->token_uri, &o->token, &o->detail);
    if (r != KD_OK) {
        return r;
    }
    kd_token_init(&o->token);
    o->token.pin_file = o->pin_file;
    o->token.may_extract = h->may_extract;
    o->token.secrets_max = h->cached_secrets;
    if ((r = open_sessions(o, threads_allowed(&o->token, h->threads))) != KD_OK) {
        return r;
    }
    return kd_login(&o->token, o->sessions[0].handle, h->refused_pin, &o->record, &o->detail);
}

enum kd_err kd_open_modules(const struct kd_hsm_hello *h, struct kd_opened *o) {
    *o = (struct kd_opened) { .detail = KD_BUF_INIT(DETAIL_MAX_BYTES),
                              .record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES),
                              .module = KD_BUF_INIT(FIELDS_MAX_BYTES),
                              .fields = KD_BUF_INIT(FIELDS_MAX_BYTES) };
    enum kd_err r = take_texts(h, o);
    return r != KD_OK ? r : kd_modules_open(o->module_path, o->init_args, &o->modules, &o->detail);
}

enum kd_err kd_open(const struct kd_hsm_hello *h, bool with_probe, struct kd_opened *o) {
    enum kd_err r;
    if ((r = kd_open_modules(h, o)) != KD_OK || (r = open_token(h, o)) != KD_OK) {
        return r == KD_ERR_DEVICE ? KD_ERR_TOKEN_AWAY : r; // it may be better the next time
    }
    if (!with_probe) {
        return KD_OK;
    }
    kd_probe(&o->sessions[0]);
    if (!kd_session_answers(&o->sessions[0])) { // what the probe found says nothing
        kd_buf_text(&o->detail, "The token failed while it was being tried.");
        return KD_ERR_TOKEN_AWAY;
    }
    return KD_OK;
}

void kd_close(struct kd_opened *o) {
    if (o->token.p11 != NULL) {
        if (o->threads > 0) {
            kd_handshakes_wipe(&o->sessions[0]);
        }
        kd_objects_wipe(&o->token);
        kd_cached_wipe(&o->token);
        kd_traffic_cache_wipe(&o->token);
        for (size_t i = 0; i < o->threads; i++) {
            kd_session_close(&o->sessions[i]);
        }
        kd_token_wipe(&o->token);
    }
    free(o->sessions);
    o->sessions = NULL;
    kd_modules_close(&o->modules);
    kd_buf_wipe(&o->detail);
    kd_buf_wipe(&o->record);
    kd_buf_wipe(&o->module);
    kd_buf_wipe(&o->fields);
}

// ---- status ----------------------------------------------------------------

static struct kd_bytes put_field(struct kd_buf *fields, const CK_UTF8CHAR *text, size_t n) {
    const size_t start = fields->n;
    kd_p11_put_padded(fields, text, n);
    return (struct kd_bytes) { fields->p + start, fields->n - start };
}

static uint32_t sessions_max(const CK_TOKEN_INFO *info) {
    const CK_ULONG n = info->ulMaxSessionCount;
    return n == CK_UNAVAILABLE_INFORMATION || n == CK_EFFECTIVELY_INFINITE || n > UINT32_MAX
               ? 0
               : (uint32_t)n;
}

static void describe_token(struct kd_opened *o, struct kd_hsm_status *out) {
    const CK_TOKEN_INFO *info = &o->token.info;
    const CK_INFO *module = &o->token.module_info;
    kd_buf_reset(&o->fields);
    if (kd_buf_extend(&o->fields, FIELDS_MAX_BYTES) == NULL) {
        return; // without memory there are no texts
    }
    kd_buf_reset(&o->fields); // the room is there now: slices stay where they are
    out->token_label = put_field(&o->fields, info->label, sizeof(info->label));
    out->token_manufacturer =
        put_field(&o->fields, info->manufacturerID, sizeof(info->manufacturerID));
    out->token_model = put_field(&o->fields, info->model, sizeof(info->model));
    out->token_serial = put_field(&o->fields, info->serialNumber, sizeof(info->serialNumber));
    const size_t start = o->fields.n;
    kd_token_put_uri(&o->fields, info);
    out->token_uri = (struct kd_bytes) { o->fields.p + start, o->fields.n - start };
    kd_buf_reset(&o->module);
    kd_p11_put_padded(&o->module, module->libraryDescription, sizeof(module->libraryDescription));
    kd_buf_printf(&o->module, " %u.%u (%s)", module->libraryVersion.major,
                  module->libraryVersion.minor,
                  o->module_path[0] == '\0' ? "p11-kit" : o->module_path);
    out->module = kd_buf_get(&o->module);
    out->sessions_max = sessions_max(info);
    out->hkdf = o->token.hkdf;
    memcpy(out->probe, o->token.probe, sizeof(out->probe));
}

void kd_open_status(struct kd_opened *o, enum kd_err err, struct kd_hsm_status *out) {
    *out = (struct kd_hsm_status) { .err = err,
                                    .detail = kd_buf_get(&o->detail),
                                    .refused_pin = kd_buf_get(&o->record),
                                    .threads = o->threads };
    if (o->token.p11 != NULL) {
        describe_token(o, out);
        out->secrets_cached = (uint32_t)kd_cached_count(&o->token);
    }
}
