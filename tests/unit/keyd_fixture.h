// SPDX-License-Identifier: Apache-2.0
// keyd_fixture.h: a directory of its own, a configuration that starts the fake
// worker with a script, and a loop that runs until something is true.
#ifndef KD_TESTS_KEYD_FIXTURE_H
#define KD_TESTS_KEYD_FIXTURE_H

#include "keyd/config.h"

struct fixture {
    char directory[64];
    char script_path[96];
    struct kd_loop *loop;
    struct kd_timer *watchdog;
    bool is_watched; // the loop has the hook that looks at `until`
    struct kd_config *config;
    bool (*until)(void);
};

extern struct fixture fx;

// One worker, one thread, deadline 20 s, restart delay 1 ms, queue of 8; the
// policy lets uid 7 ("app") do all and uid 8 ("reader") show "r-*".
void fixture_setup(void);
void fixture_teardown(void);
// A loop keeps its hooks: what is opened again needs a new one.
void fixture_new_loop(void);
void fixture_script(const char *text); // before workers start
void fixture_file(const char *name, const char *text);
const char *fixture_path(const char *name);
// Runs the loop until the condition holds; fails after twenty seconds.
void fixture_run_until(bool (*condition)(void));
// As that, for what does not wake the loop.
void fixture_look_until(bool (*condition)(void));
// Lines of the fake workers' log that begin with this text.
unsigned fixture_count(const char *line);

#endif
