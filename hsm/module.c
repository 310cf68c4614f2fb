// SPDX-License-Identifier: Apache-2.0
// module.c: loads and initialises modules.  One that is named by its path is used
// without p11-kit's counting layer: this process has one user of it, us.  Those
// that p11-kit has configured go through it, since it alone knows how to start
// them (x-init-reserved).
#include "hsm/module.h"

#include <p11-kit/p11-kit.h>
#include <string.h>
#include <unistd.h>

static enum kd_err open_path(const char *path, const char *init_args, struct kd_modules *out,
                             struct kd_buf *detail) {
    if (access(path, R_OK) != 0) {
        kd_buf_printf(detail, "The module %s cannot be read. Is its package installed?", path);
        return KD_ERR_NO_MODULE;
    }
    CK_FUNCTION_LIST *module = p11_kit_module_load(path, P11_KIT_MODULE_UNMANAGED);
    if (module == NULL) {
        const char *why = p11_kit_message();
        kd_buf_printf(detail, "The module %s cannot be loaded: %s", path,
                      why == NULL ? "no reason given" : why);
        return KD_ERR_NO_MODULE;
    }
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    args.pReserved = init_args[0] == '\0' ? NULL : kd_p11_bytes(init_args);
    const CK_RV rv = module->C_Initialize(&args);
    if (rv != CKR_OK) {
        kd_buf_printf(detail,
                      "The module %s refuses to start (C_Initialize: %s). Check its own "
                      "configuration, init-args and environment.",
                      path, kd_ckr_name(rv));
        p11_kit_module_release(module);
        return KD_ERR_NO_MODULE;
    }
    *out = (struct kd_modules) { .n = 1, .list = { module } };
    return KD_OK;
}

static enum kd_err open_configured(struct kd_modules *out, struct kd_buf *detail) {
    CK_FUNCTION_LIST **list = p11_kit_modules_load(NULL, 0);
    if (list == NULL) {
        kd_buf_text(detail,
                    "p11-kit cannot load its configured modules; try p11-kit list-modules.");
        return KD_ERR_NO_MODULE;
    }
    // A module that does not start is left out, with p11-kit's own warning.
    (void)p11_kit_modules_initialize(list, NULL);
    struct kd_modules m = { .is_configured = true, .configured = list };
    while (list[m.n] != NULL && m.n < KD_MODULES_MAX) {
        m.list[m.n] = list[m.n];
        m.n++;
    }
    if (m.n == 0) {
        kd_buf_text(detail, "p11-kit has no module configured; name one with 'module'.");
        p11_kit_modules_release(list);
        return KD_ERR_NO_MODULE;
    }
    *out = m;
    return KD_OK;
}

enum kd_err kd_modules_open(const char *path, const char *init_args, struct kd_modules *out,
                            struct kd_buf *detail) {
    return path[0] == '\0' ? open_configured(out, detail) : open_path(path, init_args, out, detail);
}

void kd_modules_close(struct kd_modules *m) {
    if (m->is_configured) {
        p11_kit_modules_finalize(m->configured);
        p11_kit_modules_release(m->configured);
    } else if (m->n == 1) {
        m->list[0]->C_Finalize(NULL);
        p11_kit_module_release(m->list[0]);
    }
    *m = (struct kd_modules) { 0 };
}

void kd_p11_put_padded(struct kd_buf *out, const CK_UTF8CHAR *field, size_t n) {
    while (n > 0 && (field[n - 1] == ' ' || field[n - 1] == '\0')) {
        n--;
    }
    kd_buf_put(out, field, n);
}
