// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/keyd_fixture.h"

#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 50000, LOOK_MS = 5 };

struct fixture fx;

const char *fixture_path(const char *name) {
    static char paths[8][160];
    static unsigned turn;
    char *out = paths[turn++ % 8];
    snprintf(out, sizeof(paths[0]), "%s/%s", fx.directory, name);
    return out;
}

void fixture_file(const char *name, const char *text) {
    FILE *f = fopen(fixture_path(name), "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(fixture_path(name), 0600), 0);
}

void fixture_script(const char *text) {
    fixture_file("script", text);
}

static uint64_t check_until(void *arg KD_UNUSED) {
    if (fx.until != NULL && fx.until()) {
        kd_loop_stop(fx.loop);
    }
    return KD_LOOP_NO_LIMIT;
}

static void lose_patience(void *arg KD_UNUSED) {
    ck_abort_msg("what the test waits for does not come");
}

static void read_config(void) {
    char text[2048];
    const char *build = getenv("KD_BUILDDIR");
    snprintf(text, sizeof(text),
             "state-directory = \"%s/state\"\npolicy-file = \"%s/policy\"\n"
             "token { module = \"%s/script\" uri = \"pkcs11:token=fake\" pin-file = \"%s/pin\" }\n"
             "workers { program = \"%s/tests/unit/fake_worker\" processes = 1 threads = 1\n"
             " deadline-ms = 60000 restart-delay = 1 queue-max = 8 }\n",
             fx.directory, fx.directory, fx.directory, fx.directory, build == NULL ? "." : build);
    fixture_file("keyd.conf", text);
    kd_auto(buf) struct kd_buf errors = KD_BUF_INIT(65536);
    const char *path = fixture_path("keyd.conf");
    ck_assert_err(kd_config_read(path, &errors, &fx.config), KD_OK);
    if (fx.config->workers.program[0] != '/') {
        fx.config->workers.program = "tests/unit/fake_worker";
    }
}

void fixture_new_loop(void) {
    kd_timer_free(fx.watchdog);
    kd_loop_free(fx.loop);
    ck_assert_err(kd_loop_new(&fx.loop), KD_OK);
    fx.is_watched = false;
    ck_assert_err(kd_timer_new(fx.loop, lose_patience, NULL, &fx.watchdog), KD_OK);
}

void fixture_setup(void) {
    memset(&fx, 0, sizeof(fx));
    snprintf(fx.directory, sizeof(fx.directory), "%s", "/tmp/keyd-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fx.directory));
    kd_log_set_level(KD_LOG_ERROR);
    fixture_script("start ok\n");
    fixture_file("pin", "1234\n");
    fixture_file("policy", "principal \"app\" { uid = 7 }\nprincipal \"reader\" { uid = 8 }\n"
                           "allow \"app\" { operations = {\"*\"} keys = {\"*\"} }\n"
                           "allow \"reader\" { operations = {show} keys = {\"r-*\"} }\n");
    read_config();
    fixture_new_loop();
}

void fixture_teardown(void) {
    kd_timer_free(fx.watchdog);
    kd_loop_free(fx.loop);
    kd_config_free(fx.config);
    folder_remove(fx.directory);
}

void fixture_run_until(bool (*condition)(void)) {
    if (!fx.is_watched) { // after the hooks of what it looks at: they may have made it true
        ck_assert_err(kd_loop_prepare(fx.loop, check_until, NULL), KD_OK);
        fx.is_watched = true;
    }
    fx.until = condition;
    kd_timer_set(fx.watchdog, PATIENCE_MS);
    ck_assert_err(kd_loop_run(fx.loop), KD_OK);
    kd_timer_stop(fx.watchdog);
    fx.until = NULL;
}

static void on_tick(void *timer) {
    kd_timer_set(*(struct kd_timer **)timer, LOOK_MS);
}

void fixture_look_until(bool (*condition)(void)) {
    struct kd_timer *tick = NULL;
    ck_assert_err(kd_timer_new(fx.loop, on_tick, &tick, &tick), KD_OK);
    kd_timer_set(tick, LOOK_MS);
    fixture_run_until(condition);
    kd_timer_free(tick);
}

unsigned fixture_count(const char *line) {
    char got[256];
    unsigned n = 0;
    FILE *f = fopen(fixture_path("script.log"), "r");
    while (f != NULL && fgets(got, sizeof(got), f) != NULL) {
        n += strncmp(got, line, strlen(line)) == 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}
