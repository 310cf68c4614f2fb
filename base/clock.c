// SPDX-License-Identifier: Apache-2.0
// clock.c: the clocks, and how tests hold them.
#include "base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

// Test state: never set in a program of ours.
static bool is_held;
static uint64_t held_mono_ms;
static uint64_t held_wall_ms;

static uint64_t read_us(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t kd_clock_mono_us(void) {
    return is_held ? held_mono_ms * 1000 : read_us(CLOCK_MONOTONIC);
}

uint64_t kd_clock_mono_ms(void) {
    return kd_clock_mono_us() / 1000;
}

uint64_t kd_clock_boot_ms(void) {
    return is_held ? held_mono_ms : read_us(CLOCK_BOOTTIME) / 1000;
}

uint64_t kd_clock_wall_ms(void) {
    return is_held ? held_wall_ms : read_us(CLOCK_REALTIME) / 1000;
}

uint64_t kd_clock_wall_about_ms(void) {
    return is_held ? held_wall_ms : read_us(CLOCK_REALTIME_COARSE) / 1000;
}

void kd_clock_hold(uint64_t mono_ms, uint64_t wall_ms) {
    is_held = true;
    held_mono_ms = mono_ms;
    held_wall_ms = wall_ms;
}

void kd_clock_release(void) {
    is_held = false;
}

void kd_clock_format(uint64_t wall_ms, char out[static KD_CLOCK_TEXT_BYTES]) {
    const time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm = { 0 };
    gmtime_r(&seconds, &tm);
    char date[KD_CLOCK_TEXT_BYTES];
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, KD_CLOCK_TEXT_BYTES, "%.19s.%03uZ", date, (unsigned)(wall_ms % 1000));
}
