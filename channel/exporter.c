// SPDX-License-Identifier: Apache-2.0
// exporter.c: see exporter.h.
#include "channel/exporter.h"

#include "channel/edhoc_state.h"

#include <assert.h>
#include <string.h>

// Room for a PRK on the stack: a kd_secret costs ten microseconds.
struct prk {
    struct kd_key32 halves[2];
};
static_assert(sizeof(struct prk) >= KD_HASH_MAX_BYTES, "a PRK fits");

static void prk_wipe(struct prk *p) {
    kd_wipe(p, sizeof(*p));
}
KD_AUTO_DEFINE_IN_PLACE(prk, struct prk, prk_wipe)

enum { INFO_MAX_BYTES = 3 * KD_EDHOC_MESSAGE_MAX_BYTES }; // ID_CRED, CRED and EAD of a context

enum kd_err kd_edhoc_kdf(enum kd_md md, const uint8_t *prk, int label, struct kd_bytes context,
                         uint8_t *out, size_t n) {
    kd_auto(buf) struct kd_buf info = KD_BUF_INIT(INFO_MAX_BYTES);
    kd_cbor_put_int(&info, label);
    kd_cbor_put_bytes(&info, context);
    kd_cbor_put_uint(&info, n);
    enum kd_err r = kd_buf_finish(&info);
    if (r != KD_OK) {
        return r;
    }
    return kd_host_expand(md, (struct kd_bytes) { prk, kd_md_bytes(md) }, kd_buf_get(&info), out,
                          n);
}

enum kd_err kd_exporter_export(enum kd_md md, struct kd_secret *prk_out, int label,
                               struct kd_bytes context, struct kd_secret *out) {
    assert(kd_secret_len(prk_out) == kd_md_bytes(md));
    kd_auto(prk) struct prk prk_exporter;
    uint8_t *p = (uint8_t *)&prk_exporter;
    enum kd_err r = kd_edhoc_kdf(md, kd_secret_get(prk_out), KD_LABEL_PRK_EXPORTER, KD_BYTES_NONE,
                                 p, kd_md_bytes(md));
    return r == KD_OK ? kd_edhoc_kdf(md, p, label, context, kd_secret_get(out), kd_secret_len(out))
                      : r;
}

enum kd_err kd_exporter_update(enum kd_md md, struct kd_secret *prk_out, struct kd_bytes context) {
    assert(kd_secret_len(prk_out) == kd_md_bytes(md));
    kd_auto(secret) struct kd_secret *next = NULL;
    size_t n = kd_md_bytes(md);
    enum kd_err r = kd_secret_new(n, &next);
    if (r != KD_OK || (r = kd_edhoc_kdf(md, kd_secret_get(prk_out), KD_LABEL_KEY_UPDATE, context,
                                        kd_secret_get(next), n)) != KD_OK) {
        return r;
    }
    memcpy(kd_secret_get(prk_out), kd_secret_get(next), n);
    return KD_OK;
}
