// SPDX-License-Identifier: Apache-2.0
// store_backup.c: a copy of the registry while it is in use.  Nobody but its own connection reads
// it then (store_sql.c), so that makes the copy, some pages at a time: changes that come in between
// are in the copy, too, as SQLite sees to it where they are made by the same connection.
#include "keyd/store_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGES_AT_ONCE = 256, PATH_BYTES = 4096 };

struct kd_store_copy {
    sqlite3 *to;
    sqlite3_backup *backup;
    char *path;     // where it will be, in the place of the one before
    char *new_path; // where it is made
    int folder;
};

static enum kd_err fail(const struct kd_store_copy *c, const char *reason) {
    kd_log(KD_LOG_ERROR, "store", "the copy of the registry cannot be written", "path=%s reason=%s",
           c->new_path, reason);
    return KD_ERR_STORE;
}

static enum kd_err fail_sqlite(const struct kd_store_copy *c) {
    return fail(c, c->to == NULL ? "no memory" : sqlite3_errmsg(c->to));
}

static enum kd_err put_new_path(struct kd_buf *out, const char *path) {
    kd_buf_printf(out, "%s.new", path);
    return kd_buf_finish(out);
}

static enum kd_err set_paths(struct kd_store_copy *c, const char *path) {
    kd_auto(buf) struct kd_buf new_path = KD_BUF_INIT(PATH_BYTES);
    if (put_new_path(&new_path, path) != KD_OK || (c->path = strdup(path)) == NULL ||
        (c->new_path = strdup(kd_buf_get_text(&new_path))) == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    return KD_OK;
}

void kd_store_copy_clear(const char *path) {
    kd_auto(buf) struct kd_buf new_path = KD_BUF_INIT(PATH_BYTES);
    if (put_new_path(&new_path, path) != KD_OK) {
        return; // the next start, or the next copy, does it
    }
    const char *left = kd_buf_get_text(&new_path);
    if (unlink(left) == 0) {
        kd_log(KD_LOG_INFO, "store", "a copy of the registry that was not made whole is removed",
               "path=%s", left);
    } else if (errno != ENOENT) {
        kd_log(KD_LOG_WARN, "store",
               "a copy of the registry that was not made whole cannot be removed",
               "path=%s reason=%s", left, strerror(errno));
    }
}

// A new file that nobody else can read, in the place of one that a killed process left.
static enum kd_err make_file(const struct kd_store_copy *c) {
    (void)unlink(c->new_path);
    const int fd = open(c->new_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(c, strerror(errno));
    }
    close(fd);
    return KD_OK;
}

static enum kd_err open_copy(struct kd_store_copy *c, struct kd_store *from) {
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(c->new_path, &c->to, flags, NULL) != SQLITE_OK ||
        // Half a copy is thrown away: there is nothing to go back to.
        sqlite3_exec(c->to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL", NULL, NULL, NULL) !=
            SQLITE_OK ||
        (c->backup = sqlite3_backup_init(c->to, "main", from->db, "main")) == NULL) {
        return fail_sqlite(c);
    }
    return KD_OK;
}

enum kd_err kd_store_copy_begin(struct kd_store *from, const char *directory, const char *path,
                                struct kd_store_copy **out) {
    kd_auto(store_copy) struct kd_store_copy *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    c->folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum kd_err r = set_paths(c, path);
    if (r == KD_OK && c->folder < 0) {
        return fail(c, strerror(errno));
    }
    if (r != KD_OK || (r = make_file(c)) != KD_OK || (r = open_copy(c, from)) != KD_OK) {
        return r;
    }
    *out = KD_STEAL(c);
    return KD_OK;
}

// It is whole and on the disk: under its name it goes.
static enum kd_err finish(struct kd_store_copy *c, uint64_t *n_bytes) {
    struct stat st;
    const int r = sqlite3_backup_finish(c->backup);
    c->backup = NULL;
    if (r != SQLITE_OK || sqlite3_close(c->to) != SQLITE_OK) {
        return fail_sqlite(c);
    }
    c->to = NULL;
    if (stat(c->new_path, &st) != 0 || rename(c->new_path, c->path) != 0) {
        return fail(c, strerror(errno));
    }
    *n_bytes = (uint64_t)st.st_size;
    return fsync(c->folder) == 0 ? KD_OK : fail(c, strerror(errno));
}

enum kd_err kd_store_copy_step(struct kd_store_copy *c, uint64_t *n_bytes) {
    const int r = sqlite3_backup_step(c->backup, PAGES_AT_ONCE);
    if (r != SQLITE_OK && r != SQLITE_DONE) {
        return fail(c, sqlite3_errstr(r));
    }
    return r == SQLITE_DONE ? finish(c, n_bytes) : KD_OK;
}

void kd_store_copy_free(struct kd_store_copy *c) {
    if (c == NULL) {
        return;
    }
    (void)sqlite3_backup_finish(c->backup);
    if (c->folder >= 0) {
        close(c->folder);
    }
    if (c->to != NULL) {
        sqlite3_close(c->to);
    }
    if (c->new_path != NULL) {
        (void)unlink(c->new_path); // not there where it is whole
    }
    free(c->path);
    free(c->new_path);
    free(c);
}
