// SPDX-License-Identifier: Apache-2.0
// notify.c: libsystemd, or nothing.
#include "kd-build.h"

#include "keyd/notify.h"

#include "base/base.h"

#ifdef HAVE_SYSTEMD

#include <inttypes.h>
#include <systemd/sd-daemon.h>

void kd_notify_ready(void) {
    sd_notify(0, "READY=1\nSTATUS=Serving.");
}

void kd_notify_reloading(void) {
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, kd_clock_mono_us());
}

void kd_notify_stopping(void) {
    sd_notify(0, "STOPPING=1\nSTATUS=Finishing requests.");
}

void kd_notify_alive(void) {
    sd_notify(0, "WATCHDOG=1");
}

uint64_t kd_notify_interval_ms(void) {
    uint64_t us = 0;
    return sd_watchdog_enabled(0, &us) > 0 ? us / 2000 : 0; // twice as often as asked
}

#else

void kd_notify_ready(void) {
}

void kd_notify_reloading(void) {
}

void kd_notify_stopping(void) {
}

void kd_notify_alive(void) {
}

uint64_t kd_notify_interval_ms(void) {
    return 0;
}

#endif
