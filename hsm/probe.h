// SPDX-License-Identifier: Apache-2.0
// probe.h: what the token really does, found out with known answers.
#ifndef KD_HSM_PROBE_H
#define KD_HSM_PROBE_H

#include "hsm/session.h"

// Fills token->probe, token->hkdf and what stands beside them.  Runs alone, before other threads
// start.
void kd_probe(struct kd_session *s);

#endif
