// SPDX-License-Identifier: Apache-2.0
// exporter.h: what is left of a handshake when it is over: PRK_out, from which
// keys are exported and which can be renewed (RFC 9528 4.2.1 and appendix H).
#ifndef KD_CHANNEL_EXPORTER_H
#define KD_CHANNEL_EXPORTER_H

#include "channel/host.h"

// EDHOC_KDF (RFC 9528 4.1.2): HKDF-Expand(prk, (label, context, n), n).
KD_MUST_CHECK enum kd_err kd_edhoc_kdf(enum kd_md md, const uint8_t *prk, int label,
                                       struct kd_bytes context, uint8_t *out, size_t n);

// EDHOC_Exporter(label, context, length of out): fills the whole of `out`.
KD_MUST_CHECK enum kd_err kd_exporter_export(enum kd_md md, struct kd_secret *prk_out, int label,
                                             struct kd_bytes context, struct kd_secret *out);

// EDHOC_KeyUpdate: PRK_out is replaced in place, the old one is gone.
KD_MUST_CHECK enum kd_err kd_exporter_update(enum kd_md md, struct kd_secret *prk_out,
                                             struct kd_bytes context);

#endif
