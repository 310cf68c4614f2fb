// SPDX-License-Identifier: Apache-2.0
// names.c: the names of the enumerations of hsm.h, as they stand in the API, in
// the log and in the registry.
#include "hsm/hsm.h"

#include <string.h>

static const char *const type_names[] = {
    [KD_KEY_EC_P256] = "ec-p256",         [KD_KEY_EC_P384] = "ec-p384",
    [KD_KEY_HMAC_SHA256] = "hmac-sha256", [KD_KEY_HMAC_SHA384] = "hmac-sha384",
    [KD_KEY_AES_256] = "aes-256",
};

static const struct {
    enum kd_key_usage usage;
    const char *name;
} usage_names[] = {
    { KD_USE_SIGN, "sign" },       { KD_USE_VERIFY, "verify" }, { KD_USE_ENCRYPT, "encrypt" },
    { KD_USE_DECRYPT, "decrypt" }, { KD_USE_DERIVE, "derive" },
};

static const char *const kdf_names[] = {
    [KD_KDF_AES_CBC_DATA] = "aes-cbc-data",
    [KD_KDF_HKDF_SHA256] = "hkdf-sha256",
    [KD_KDF_HKDF_SHA384] = "hkdf-sha384",
};

static const char *const op_names[] = {
    [KD_HSM_HELLO] = "hello",
    [KD_HSM_PING] = "ping",
    [KD_HSM_GENERATE] = "generate",
    [KD_HSM_FIND] = "find",
    [KD_HSM_DESTROY] = "destroy",
    [KD_HSM_FORGET] = "forget",
    [KD_HSM_SIGN] = "sign",
    [KD_HSM_VERIFY] = "verify",
    [KD_HSM_MAC] = "mac",
    [KD_HSM_MAC_VERIFY] = "mac-verify",
    [KD_HSM_ENCRYPT] = "encrypt",
    [KD_HSM_DECRYPT] = "decrypt",
    [KD_HSM_DERIVE] = "derive",
    [KD_HSM_RELEASE] = "release",
    [KD_HSM_RANDOM] = "random",
    [KD_HSM_HS_START] = "handshake-start",
    [KD_HSM_HS_READ] = "handshake-read",
    [KD_HSM_HS_FINISH] = "handshake-finish",
    [KD_HSM_HS_CONFIRM] = "handshake-confirm",
    [KD_HSM_HS_DROP] = "handshake-drop",
    [KD_HSM_RECORD_SEAL] = "record-seal",
    [KD_HSM_RECORD_OPEN] = "record-open",
    [KD_HSM_TICKET_READ] = "ticket-read",
    [KD_HSM_TICKET_UPDATE] = "ticket-update",
    [KD_HSM_ENVELOPE_OPEN] = "envelope-open",
    [KD_HSM_SESSION_RELEASE] = "session-release",
    [KD_HSM_REWRAP] = "rewrap",
};

static const char *const hkdf_names[] = {
    [KD_HSM_HKDF_NONE] = "none",
    [KD_HSM_HKDF_NATIVE] = "native",
    [KD_HSM_HKDF_DIGEST] = "digest-key",
    [KD_HSM_HKDF_EXTRACT] = "extract",
};

static const char *const ability_names[KD_HSM_ABILITIES] = {
    [KD_HSM_CAN_EC_P256] = "ec-p256",
    [KD_HSM_CAN_EC_P384] = "ec-p384",
    [KD_HSM_CAN_ECDSA] = "ecdsa",
    [KD_HSM_CAN_ECDH] = "ecdh",
    [KD_HSM_CAN_HMAC_SHA256] = "hmac-sha256",
    [KD_HSM_CAN_HMAC_SHA384] = "hmac-sha384",
    [KD_HSM_CAN_AES_GCM] = "aes-gcm",
    [KD_HSM_CAN_AES_CBC_DATA] = "aes-cbc-data",
    [KD_HSM_CAN_HKDF] = "hkdf",
    [KD_HSM_CAN_RANDOM] = "random",
    [KD_HSM_CAN_HANDSHAKE] = "handshake",
    [KD_HSM_CAN_RESIDENT] = "resident-records",
};

static const char *const probe_names[] = {
    [KD_HSM_PROBE_MISSING] = "missing", [KD_HSM_PROBE_VERIFIED] = "verified",
    [KD_HSM_PROBE_UNTRIED] = "untried", [KD_HSM_PROBE_REFUSED] = "refused",
    [KD_HSM_PROBE_WRONG] = "wrong",
};

static const char *name_at(const char *const *names, size_t n, size_t i) {
    return i < n && names[i] != NULL ? names[i] : "unknown";
}

// The index of a name, or n.
static size_t index_of(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (names[i] != NULL && strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return n;
}

const char *kd_key_type_name(enum kd_key_type type) {
    return name_at(type_names, KD_COUNT_OF(type_names), type);
}

bool kd_key_type_parse(const char *name, enum kd_key_type *out) {
    const size_t i = index_of(type_names, KD_COUNT_OF(type_names), name);
    if (i == KD_COUNT_OF(type_names)) {
        return false;
    }
    *out = (enum kd_key_type)i;
    return true;
}

const char *kd_key_usage_name(enum kd_key_usage usage) {
    for (size_t i = 0; i < KD_COUNT_OF(usage_names); i++) {
        if (usage_names[i].usage == usage) {
            return usage_names[i].name;
        }
    }
    return "unknown";
}

bool kd_key_usage_parse(const char *name, enum kd_key_usage *out) {
    for (size_t i = 0; i < KD_COUNT_OF(usage_names); i++) {
        if (strcmp(usage_names[i].name, name) == 0) {
            *out = usage_names[i].usage;
            return true;
        }
    }
    return false;
}

const char *kd_kdf_name(enum kd_kdf kdf) {
    return name_at(kdf_names, KD_COUNT_OF(kdf_names), kdf);
}

bool kd_kdf_parse(const char *name, enum kd_kdf *out) {
    const size_t i = index_of(kdf_names, KD_COUNT_OF(kdf_names), name);
    if (i == KD_COUNT_OF(kdf_names)) {
        return false;
    }
    *out = (enum kd_kdf)i;
    return true;
}

const char *kd_hsm_op_name(enum kd_hsm_op op) {
    return name_at(op_names, KD_COUNT_OF(op_names), op);
}

const char *kd_hsm_hkdf_name(enum kd_hsm_hkdf h) {
    return name_at(hkdf_names, KD_COUNT_OF(hkdf_names), h);
}

const char *kd_hsm_ability_name(enum kd_hsm_ability a) {
    return name_at(ability_names, KD_COUNT_OF(ability_names), a);
}

const char *kd_hsm_probe_name(enum kd_hsm_probe p) {
    return name_at(probe_names, KD_COUNT_OF(probe_names), p);
}

bool kd_hsm_op_is_repeatable(enum kd_hsm_op op) {
    const bool is_handshake = op >= KD_HSM_HS_START && op <= KD_HSM_HS_DROP;
    // A record that was sealed again with its number could have another step and
    // code in it: two texts under one nonce.
    return op >= KD_HSM_SIGN && op <= KD_HSM_OP_LAST && !is_handshake && op != KD_HSM_RECORD_SEAL;
}

bool kd_hsm_op_is_secret(enum kd_hsm_op op) {
    return op == KD_HSM_DECRYPT || op == KD_HSM_RELEASE || op == KD_HSM_RANDOM ||
           op == KD_HSM_RECORD_OPEN || op == KD_HSM_ENVELOPE_OPEN || op == KD_HSM_SESSION_RELEASE ||
           op == KD_HSM_REWRAP;
}

bool kd_key_type_is_ec(enum kd_key_type type) {
    return type == KD_KEY_EC_P256 || type == KD_KEY_EC_P384;
}

size_t kd_key_type_point_bytes(enum kd_key_type type) {
    return type == KD_KEY_EC_P256 ? 65 : type == KD_KEY_EC_P384 ? 97 : 0;
}

bool kd_key_usages_fit(enum kd_key_type type, unsigned usages) {
    switch (type) {
    case KD_KEY_EC_P256:
    case KD_KEY_EC_P384:
        return usages == KD_USE_SIGN || usages == KD_USE_DERIVE;
    case KD_KEY_HMAC_SHA256:
    case KD_KEY_HMAC_SHA384:
        return usages != 0 && (usages & ~(KD_USE_SIGN | KD_USE_VERIFY | KD_USE_DERIVE)) == 0;
    case KD_KEY_AES_256:
        return usages != 0 && (usages & ~(KD_USE_ENCRYPT | KD_USE_DECRYPT | KD_USE_DERIVE)) == 0;
    }
    return false;
}
