// SPDX-License-Identifier: Apache-2.0
// module.h: PKCS#11 modules, loaded through p11-kit.
#ifndef KD_HSM_MODULE_H
#define KD_HSM_MODULE_H

#include "hsm/p11.h"

#define KD_MODULES_MAX 32

// One module named by its path, or all that p11-kit has configured.
struct kd_modules {
    bool is_configured; // p11-kit's own list
    size_t n;
    CK_FUNCTION_LIST *list[KD_MODULES_MAX];
    CK_FUNCTION_LIST **configured; // p11-kit's, to give back
};

// `path` empty: the modules p11-kit has configured, with their x-init-reserved.
// `init_args` (may be empty) goes to the module at `path` as pReserved.  On
// failure KD_ERR_NO_MODULE and a sentence for the operator in detail.
KD_MUST_CHECK enum kd_err kd_modules_open(const char *path, const char *init_args,
                                          struct kd_modules *out, struct kd_buf *detail);
void kd_modules_close(struct kd_modules *m); // C_Finalize

// Text of a fixed field that is padded with blanks (PKCS#11 3.2): appends.
void kd_p11_put_padded(struct kd_buf *out, const CK_UTF8CHAR *field, size_t n);

#endif
