// SPDX-License-Identifier: Apache-2.0
// clock.h: the time, which tests can set.
#ifndef KD_BASE_CLOCK_H
#define KD_BASE_CLOCK_H

#include <stdint.h>

uint64_t kd_clock_mono_ms(void); // never goes back; for deadlines
uint64_t kd_clock_mono_us(void); // the same clock; for latencies
uint64_t kd_clock_wall_ms(void); // since 1970-01-01 UTC; for dates
// Since the start of the machine, also while it sleeps; nobody sets it.
uint64_t kd_clock_boot_ms(void);
// The wall's, at less cost and up to ten milliseconds old: for what has steps of seconds.
uint64_t kd_clock_wall_about_ms(void);

// Tests only: from now on the clocks stand at these times, that since the start at the first,
// until kd_clock_release.  Not thread safe.
void kd_clock_hold(uint64_t mono_ms, uint64_t wall_ms);
void kd_clock_release(void);

#define KD_CLOCK_TEXT_BYTES 25
// 2026-01-31T23:59:59.999Z, with its NUL.
void kd_clock_format(uint64_t wall_ms, char out[static KD_CLOCK_TEXT_BYTES]);

#endif
