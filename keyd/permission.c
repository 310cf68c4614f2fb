// SPDX-License-Identifier: Apache-2.0
// permission.c: the names of what policy speaks of (service.h).
#include "keyd/service.h"

#include <string.h>

static const char *const permission_names[KD_PERMISSIONS] = {
    [KD_MAY_CREATE] = "create",
    [KD_MAY_IMPORT] = "import",
    [KD_MAY_ADOPT] = "adopt",
    [KD_MAY_SHOW] = "show",
    [KD_MAY_ROTATE] = "rotate",
    [KD_MAY_DISABLE] = "disable",
    [KD_MAY_DELETE] = "delete",
    [KD_MAY_SIGN] = "sign",
    [KD_MAY_VERIFY] = "verify",
    [KD_MAY_MAC] = "mac",
    [KD_MAY_MAC_VERIFY] = "mac-verify",
    [KD_MAY_ENCRYPT] = "encrypt",
    [KD_MAY_DECRYPT] = "decrypt",
    [KD_MAY_REWRAP] = "rewrap",
    [KD_MAY_ECDH] = "ecdh",
    [KD_MAY_DERIVE] = "derive",
    [KD_MAY_RELEASE] = "release",
    [KD_MAY_RANDOM] = "random",
    [KD_MAY_STATUS] = "status",
    [KD_MAY_METRICS] = "metrics",
    [KD_MAY_HANDSHAKE] = "handshake",
    [KD_MAY_PEER] = "peer",
    [KD_MAY_ENVELOPE] = "envelope",
    [KD_MAY_DEVICE] = "device",
    [KD_MAY_CA] = "ca",
    [KD_MAY_BACKUP] = "backup",
};

const char *kd_permission_name(enum kd_permission p) {
    return (unsigned)p < KD_PERMISSIONS ? permission_names[p] : "?";
}

bool kd_permission_parse(const char *name, enum kd_permission *out) {
    for (size_t i = 0; i < KD_PERMISSIONS; i++) {
        if (strcmp(name, permission_names[i]) == 0) {
            *out = (enum kd_permission)i;
            return true;
        }
    }
    return false;
}
