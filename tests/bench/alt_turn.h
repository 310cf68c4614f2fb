// SPDX-License-Identifier: Apache-2.0
// alt_turn.h: how a program that stands for an alternative takes its turn: it says that it is
// ready, waits for a line, and prints how many calls a second it made.
#ifndef KD_BENCH_ALT_TURN_H
#define KD_BENCH_ALT_TURN_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// False: nobody wants it any more.
static inline bool alt_wait(void) {
    char line[256];
    puts("ready");
    fflush(stdout);
    return fgets(line, sizeof(line), stdin) != NULL;
}

static inline double alt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// `ms` is a number as text.
static inline void alt_call_for(const char *ms, void (*call)(void *arg), void *arg) {
    const double seconds = strtod(ms, NULL) / 1000;
    unsigned long n = 0;
    const double start = alt_now();
    double end = start;
    for (; end - start < seconds; n++, end = alt_now()) {
        call(arg);
    }
    printf("%.1f\n", (double)n / (end - start));
    fflush(stdout);
}

#endif
