// SPDX-License-Identifier: Apache-2.0
// notify.h: what the service manager is told (sd_notify(3)).  Without
// libsystemd, or without a manager, nothing happens.
#ifndef KD_KEYD_NOTIFY_H
#define KD_KEYD_NOTIFY_H

#include <stdint.h>

void kd_notify_ready(void);
void kd_notify_reloading(void);
void kd_notify_stopping(void);
void kd_notify_alive(void);
// Milliseconds within which kd_notify_alive must be repeated; 0: not asked for.
uint64_t kd_notify_interval_ms(void);

#endif
