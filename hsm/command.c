// SPDX-License-Identifier: Apache-2.0
// command.c: what modules and tokens are there, what a token can do, which keys
// it holds, and a new SoftHSM token.
#include "hsm/command.h"

#include "hsm/exec.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 256, LABEL_BYTES = 32, TEXT_MAX_BYTES = 4096, PIN_LEAST_BYTES = 4 };

KD_AUTO_DEFINE(json, json_t *, json_decref)

static int fail(const char *what, struct kd_buf *detail, enum kd_err r) {
    const char *more = detail == NULL ? "" : kd_buf_get_text(detail);
    fprintf(stderr, "keyd-hsm: %s: %s\n", what, more[0] != '\0' ? more : kd_err_sentence(r));
    return EXIT_FAILURE;
}

static int print(json_t *value) {
    const bool ok = value != NULL && json_dumpf(value, stdout, JSON_INDENT(2)) == 0;
    return ok && puts("") >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static json_t *text_of(struct kd_bytes b) {
    json_t *text = json_stringn((const char *)b.p, b.n);
    return text != NULL ? text : json_string("(not UTF-8)");
}

static json_t *padded(const CK_UTF8CHAR *field, size_t n) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(TEXT_MAX_BYTES);
    kd_p11_put_padded(&text, field, n);
    return text_of(kd_buf_get(&text));
}

// ---- list ------------------------------------------------------------------

static const struct {
    CK_FLAGS flag;
    const char *name;
} token_flags[] = {
    { CKF_TOKEN_INITIALIZED, "initialized" },
    { CKF_LOGIN_REQUIRED, "login-required" },
    { CKF_WRITE_PROTECTED, "write-protected" },
    { CKF_PROTECTED_AUTHENTICATION_PATH, "protected-authentication-path" },
    { CKF_USER_PIN_INITIALIZED, "user-pin-initialized" },
    { CKF_USER_PIN_COUNT_LOW, "user-pin-count-low" },
    { CKF_USER_PIN_FINAL_TRY, "user-pin-final-try" },
    { CKF_USER_PIN_LOCKED, "user-pin-locked" },
    { CKF_USER_PIN_TO_BE_CHANGED, "user-pin-to-be-changed" },
};

static json_t *describe_slot(CK_FUNCTION_LIST *p11, CK_SLOT_ID slot) {
    CK_TOKEN_INFO info;
    const CK_RV rv = p11->C_GetTokenInfo(slot, &info);
    if (rv != CKR_OK) {
        return json_pack("{s:I,s:s}", "slot", (json_int_t)slot, "error", kd_ckr_name(rv));
    }
    if ((info.flags & CKF_TOKEN_INITIALIZED) == 0) {
        return json_pack("{s:I,s:[]}", "slot", (json_int_t)slot, "flags");
    }
    kd_auto(buf) struct kd_buf uri = KD_BUF_INIT(TEXT_MAX_BYTES);
    kd_token_put_uri(&uri, &info);
    json_t *flags = json_array();
    for (size_t i = 0; i < KD_COUNT_OF(token_flags); i++) {
        if ((info.flags & token_flags[i].flag) != 0) {
            json_array_append_new(flags, json_string(token_flags[i].name));
        }
    }
    return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "slot", (json_int_t)slot, "label",
                     padded(info.label, sizeof(info.label)), "manufacturer",
                     padded(info.manufacturerID, sizeof(info.manufacturerID)), "model",
                     padded(info.model, sizeof(info.model)), "serial",
                     padded(info.serialNumber, sizeof(info.serialNumber)), "uri",
                     text_of(kd_buf_get(&uri)), "flags", flags);
}

static json_t *describe_module(CK_FUNCTION_LIST *p11) {
    CK_INFO info = { 0 };
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    json_t *tokens = json_array();
    if (kd_ckr("C_GetInfo", p11->C_GetInfo(&info)) == KD_OK &&
        kd_ckr("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n)) == KD_OK) {
        for (CK_ULONG i = 0; i < n; i++) {
            json_array_append_new(tokens, describe_slot(p11, slots[i]));
        }
    }
    return json_pack("{s:o,s:o,s:o}", "description",
                     padded(info.libraryDescription, sizeof(info.libraryDescription)),
                     "manufacturer", padded(info.manufacturerID, sizeof(info.manufacturerID)),
                     "tokens", tokens);
}

// The module or modules alone: no token is chosen, nobody logs in.
static struct kd_opened *open_modules(const struct kd_command_options *o) {
    struct kd_opened *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        fail("modules", NULL, KD_ERR_NO_MEMORY);
        return NULL;
    }
    const enum kd_err r = kd_open_modules(&o->hello, opened);
    if (r != KD_OK) {
        fail("the module cannot be used", &opened->detail, r);
        kd_command_close(opened);
        return NULL;
    }
    return opened;
}

int kd_command_list(const struct kd_command_options *o) {
    struct kd_opened *opened = open_modules(o);
    if (opened == NULL) {
        return EXIT_FAILURE;
    }
    json_t *modules = json_array();
    for (size_t i = 0; i < opened->modules.n; i++) {
        json_array_append_new(modules, describe_module(opened->modules.list[i]));
    }
    kd_auto(json) json_t *all = json_pack("{s:o}", "modules", modules);
    kd_command_close(opened);
    return print(all);
}

// ---- open, probe, objects --------------------------------------------------

struct kd_opened *kd_command_open(const struct kd_command_options *o, bool with_probe) {
    struct kd_opened *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        fail("token", NULL, KD_ERR_NO_MEMORY);
        return NULL;
    }
    const enum kd_err r = kd_open(&o->hello, with_probe, opened);
    if (r != KD_OK) {
        fail("the token cannot be used", &opened->detail, r);
        kd_command_close(opened);
        return NULL;
    }
    return opened;
}

void kd_command_close(struct kd_opened *opened) {
    kd_close(opened);
    free(opened);
}

int kd_command_probe(const struct kd_command_options *o) {
    struct kd_opened *opened = kd_command_open(o, true);
    if (opened == NULL) {
        return EXIT_FAILURE;
    }
    struct kd_hsm_status s;
    kd_open_status(opened, KD_OK, &s);
    json_t *abilities = json_object();
    for (size_t i = 0; i < KD_HSM_ABILITIES; i++) {
        json_object_set_new(abilities, kd_hsm_ability_name((enum kd_hsm_ability)i),
                            json_string(kd_hsm_probe_name(s.probe[i])));
    }
    kd_auto(json) json_t *all =
        json_pack("{s:o,s:{s:o,s:o,s:o,s:o,s:o},s:i,s:s,s:o}", "module", text_of(s.module), "token",
                  "label", text_of(s.token_label), "manufacturer", text_of(s.token_manufacturer),
                  "model", text_of(s.token_model), "serial", text_of(s.token_serial), "uri",
                  text_of(s.token_uri), "sessions_max", (int)s.sessions_max, "hkdf",
                  kd_hsm_hkdf_name(s.hkdf), "abilities", abilities);
    kd_command_close(opened);
    return print(all);
}

static json_t *describe_object(const struct kd_hsm_object *o) {
    static const enum kd_key_usage usages[] = { KD_USE_SIGN, KD_USE_VERIFY, KD_USE_ENCRYPT,
                                                KD_USE_DECRYPT, KD_USE_DERIVE };
    char id[2 * KD_HSM_ID_MAX_BYTES + 1];
    kd_hex_encode(o->ref.id.p, o->ref.id.n, id);
    json_t *list = json_array();
    for (size_t i = 0; i < KD_COUNT_OF(usages); i++) {
        if ((o->usages & usages[i]) != 0) {
            json_array_append_new(list, json_string(kd_key_usage_name(usages[i])));
        }
    }
    return json_pack("{s:o,s:s,s:s,s:o,s:b,s:b,s:b}", "label", text_of(o->ref.label), "id", id,
                     "type", o->has_type ? kd_key_type_name(o->ref.type) : "other", "usages", list,
                     "sensitive", o->is_sensitive, "extractable", o->is_extractable, "local",
                     o->is_local);
}

int kd_command_objects(const struct kd_command_options *o) {
    struct kd_opened *opened = kd_command_open(o, false);
    if (opened == NULL) {
        return EXIT_FAILURE;
    }
    kd_auto(buf) struct kd_buf found = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES);
    uint16_t n = 0;
    const enum kd_err r =
        kd_exec_find(&opened->sessions[0], kd_bytes_of_text("pkcs11:"), false, &found, &n);
    if (r != KD_OK) {
        kd_command_close(opened);
        return fail("the objects cannot be listed", NULL, r);
    }
    json_t *objects = json_array();
    struct kd_reader in = kd_reader_of(kd_buf_get(&found));
    for (size_t i = 0; i < n; i++) {
        struct kd_hsm_result result;
        if (kd_hsm_get_result(&in, KD_HSM_FIND, &result) == KD_OK) {
            json_array_append_new(objects, describe_object(&result.object));
        }
    }
    kd_auto(json) json_t *all = json_pack("{s:o}", "objects", objects);
    kd_command_close(opened);
    return print(all);
}

// ---- a new token -----------------------------------------------------------

// The first slot whose token is not initialised; false with the reason told.
static bool find_empty_slot(CK_FUNCTION_LIST *p11, const CK_UTF8CHAR *label, CK_SLOT_ID *out) {
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    bool found = false;
    if (kd_ckr("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n)) != KD_OK) {
        return false;
    }
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        if (p11->C_GetTokenInfo(slots[i], &info) != CKR_OK) {
            continue;
        }
        const bool is_used = (info.flags & CKF_TOKEN_INITIALIZED) != 0;
        if (is_used && memcmp(info.label, label, LABEL_BYTES) == 0) {
            fprintf(stderr, "keyd-hsm: there is a token of this label already\n");
            return false;
        }
        if (!is_used && !found) {
            *out = slots[i];
            found = true;
        }
    }
    if (!found) {
        fprintf(stderr, "keyd-hsm: the module has no slot for a new token\n");
    }
    return found;
}

static enum kd_err init_token(CK_FUNCTION_LIST *p11, CK_SLOT_ID slot, CK_UTF8CHAR *label,
                              struct kd_secret *so_pin, struct kd_secret *pin) {
    CK_SESSION_HANDLE session;
    enum kd_err r;
    if ((r = kd_ckr("C_InitToken", p11->C_InitToken(slot, kd_secret_get(so_pin),
                                                    kd_secret_len(so_pin), label))) != KD_OK ||
        (r = kd_ckr("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION,
                                                        NULL, NULL, &session))) != KD_OK) {
        return r;
    }
    if ((r = kd_ckr("C_Login", p11->C_Login(session, CKU_SO, kd_secret_get(so_pin),
                                            kd_secret_len(so_pin)))) == KD_OK) {
        r = kd_ckr("C_InitPIN", p11->C_InitPIN(session, kd_secret_get(pin), kd_secret_len(pin)));
    }
    p11->C_CloseSession(session);
    return r;
}

int kd_command_init_token(const struct kd_command_options *o) {
    kd_auto(secret) struct kd_secret *pin = NULL;
    kd_auto(secret) struct kd_secret *so_pin = NULL;
    CK_UTF8CHAR label[LABEL_BYTES];
    memset(label, ' ', sizeof(label));
    // The module is named: the first of many might be that of an HSM with an empty slot.
    if (o->label == NULL || o->so_pin_file == NULL || o->hello.pin_file.n == 0 ||
        o->hello.module.n == 0 || strlen(o->label) == 0 || strlen(o->label) > sizeof(label)) {
        fprintf(stderr,
                "keyd-hsm: a new token needs --module, --label (up to 32 bytes), --pin-file "
                "and --so-pin-file\n");
        return EXIT_FAILURE;
    }
    memcpy(label, o->label, strlen(o->label));
    struct kd_opened *opened = open_modules(o);
    if (opened == NULL) {
        return EXIT_FAILURE;
    }
    CK_SLOT_ID slot;
    enum kd_err r;
    int status = EXIT_FAILURE;
    if ((r = kd_secret_read_file(opened->pin_file, KD_PIN_MAX_BYTES, &pin)) != KD_OK ||
        (r = kd_secret_read_file(o->so_pin_file, KD_PIN_MAX_BYTES, &so_pin)) != KD_OK) {
        fail("a PIN file cannot be used", NULL, r);
    } else if (kd_secret_len(pin) < PIN_LEAST_BYTES) {
        fprintf(stderr, "keyd-hsm: the PIN is shorter than %d characters\n", PIN_LEAST_BYTES);
    } else if (find_empty_slot(opened->modules.list[0], label, &slot)) {
        r = init_token(opened->modules.list[0], slot, label, so_pin, pin);
        status = r == KD_OK ? EXIT_SUCCESS : fail("the token cannot be made", NULL, r);
    }
    kd_command_close(opened);
    return status;
}
