// SPDX-License-Identifier: Apache-2.0
// audit_log.c: opening, appending, the next file.  Reading what is there is in audit_scan.c.
#include "keyd/audit_log.h"

#include "keyd/audit_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 1024 + 32, ROUND_MAX_BYTES = 1 << 20, REASON_BYTES = 96 };

struct kd_audit_log {
    char path[PATH_BYTES];
    int fd;
    uint64_t size;        // of whole lines on the disk
    uint64_t first_seq;   // of this file; 0: it is empty
    uint64_t last_of_old; // the last number of the file before; 0: there was none
    struct kd_chain last;
    struct kd_audit_open open;
    struct kd_buf round;
    char reason[REASON_BYTES];
};

const char *kd_audit_log_reason(const struct kd_audit_log *log) {
    return log->reason;
}

struct kd_chain kd_audit_log_last(const struct kd_audit_log *log) {
    return log->last;
}

uint64_t kd_audit_log_size(const struct kd_audit_log *log) {
    return log->size;
}

static enum kd_err fail(struct kd_audit_log *log, int errnum) {
    char text[REASON_BYTES];
    snprintf(log->reason, sizeof(log->reason), "%s", strerror_r(errnum, text, sizeof(text)));
    return KD_ERR_AUDIT;
}

// ---- opening ---------------------------------------------------------------

static enum kd_err refuse(const char *path, const char *why, int errnum) {
    kd_log(KD_LOG_ERROR, "audit", why, "file=%s errno=%d", path, errnum);
    return errnum == 0 ? KD_ERR_CONFIG : KD_ERR_SYSTEM;
}

// A regular file that nobody else writes; *errnum is 0 where that is what is wrong.
static bool open_file(const char *path, int *fd, int *errnum) {
    struct stat st;
    *errnum = 0;
    *fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (*fd < 0) {
        *errnum = errno;
        return false;
    }
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) && flock(*fd, LOCK_EX | LOCK_NB) == 0) {
        return true;
    }
    close(*fd);
    *fd = -1;
    return false;
}

// That the name is there is on the disk, too.
static bool sync_folder(const char *path) {
    char folder[PATH_BYTES];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    const int fd = open(slash == NULL ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool is_ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_ok;
}

static void look(struct kd_audit_log *log, const struct kd_chain *known,
                 const struct kd_audit_scan *scan, struct kd_audit_found *found) {
    *found = (struct kd_audit_found) {
        .is_new = scan->n_lines == 0 && scan->n_cut == 0,
        .n_lines = scan->n_lines,
        .n_cut = scan->n_cut,
        .bad_line = scan->bad_line,
        .unanswered = scan->open,
    };
    log->size = scan->size;
    log->first_seq = scan->first_seq;
    log->last = scan->last;
    log->open = scan->open;
    // None is also what a keyd leaves that was killed before the first line of a file.
    found->is_missing = scan->n_lines == 0 && known->seq > 0;
    if (scan->last.seq == 0) {
        log->last = *known; // the file was taken away, or this is the first
        log->last_of_old = known->seq;
    } else {
        found->is_behind = known->seq > scan->last.seq || scan->is_other;
        log->last.seq = known->seq > scan->last.seq ? known->seq : scan->last.seq;
        log->last_of_old = scan->n_lines == 0 ? scan->last.seq : 0;
    }
    found->is_ahead = scan->n_seals > KD_AUDIT_SEALS_UNTOLD;
    found->last = log->last;
}

enum kd_err kd_audit_log_open(const char *path, const struct kd_chain *known,
                              struct kd_audit_log **out, struct kd_audit_found *found) {
    kd_auto(audit_log) struct kd_audit_log *log = calloc(1, sizeof(*log));
    struct kd_audit_scan *scan = calloc(1, sizeof(*scan));
    if (log == NULL || scan == NULL) {
        free(scan);
        return KD_ERR_NO_MEMORY;
    }
    log->fd = -1;
    log->round = KD_BUF_INIT(ROUND_MAX_BYTES + KD_CHAIN_LINE_MAX_BYTES);
    int errnum = ENAMETOOLONG;
    const int n = snprintf(log->path, sizeof(log->path), "%s", path);
    enum kd_err r = KD_OK;
    if (n >= (int)sizeof(log->path) || !open_file(path, &log->fd, &errnum)) {
        r = refuse(path,
                   "the audit log cannot be opened: a regular file in a folder that is "
                   "there is needed, and one process to write it",
                   errnum);
    } else if ((r = kd_audit_scan(log->fd, known, scan)) != KD_OK) {
        r = r == KD_ERR_SYSTEM ? refuse(path, "the audit log cannot be read", errno) : r;
    } else if (scan->n_cut > 0 &&
               (ftruncate(log->fd, (off_t)scan->size) != 0 || fsync(log->fd) != 0)) {
        r = refuse(path, "half a line cannot be cut from the audit log", errno);
    } else if (!sync_folder(path)) {
        r = refuse(path, "the folder of the audit log cannot be written", errno);
    } else if ((r = kd_audit_scan_old(path, known, scan)) == KD_OK) {
        look(log, known, scan, found);
    }
    free(scan);
    if (r != KD_OK) {
        return r;
    }
    *out = KD_STEAL(log);
    return KD_OK;
}

void kd_audit_log_close(struct kd_audit_log *log) {
    if (log == NULL) {
        return;
    }
    if (log->fd >= 0) {
        close(log->fd);
    }
    kd_buf_wipe(&log->round);
    free(log);
}

// ---- writing ---------------------------------------------------------------

void kd_audit_open_note(struct kd_audit_open *open, uint64_t asked, uint64_t answers) {
    for (size_t i = 0; answers != 0 && i < open->n; i++) {
        if (open->seqs[i] == answers) {
            memmove(&open->seqs[i], &open->seqs[i + 1], (open->n - i - 1) * sizeof(open->seqs[0]));
            open->n--;
            break;
        }
    }
    if (asked != 0 && open->n < KD_AUDIT_OPEN_MAX) {
        open->seqs[open->n++] = asked;
    }
}

// The first line of a file that is not the log's first: what was asked in files before and is
// not answered stands here, so that reading one file is enough.
static enum kd_err put_continue(const struct kd_audit_log *log, struct kd_chain *chain,
                                struct kd_buf *out) {
    kd_auto(buf) struct kd_buf members = KD_BUF_INIT(KD_CHAIN_LINE_MAX_BYTES);
    kd_chain_put_text(&members, "event", "audit.continue");
    kd_buf_u8(&members, ',');
    kd_chain_put_numbers(&members, "open", log->open.seqs, log->open.n);
    enum kd_err r = kd_buf_finish(&members);
    return r == KD_OK ? kd_chain_put(chain, kd_clock_wall_ms(), kd_buf_get(&members), out) : r;
}

// All of it on the disk, or nothing of it in the file.
static enum kd_err put_on_disk(struct kd_audit_log *log, struct kd_bytes bytes) {
    size_t n = 0;
    while (n < bytes.n) {
        const ssize_t written = write(log->fd, bytes.p + n, bytes.n - n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            break;
        }
        n += (size_t)written;
    }
    if (n == bytes.n && fdatasync(log->fd) == 0) {
        log->size += n;
        return KD_OK;
    }
    const enum kd_err r = fail(log, n == bytes.n || errno != 0 ? errno : ENOSPC);
    if (ftruncate(log->fd, (off_t)log->size) != 0) {
        return fail(log, errno);
    }
    return r;
}

// An earlier write may have failed half way, and its rest may not have been cut.  What goes to a
// file without a name nobody will read.
static enum kd_err check_end(struct kd_audit_log *log) {
    struct stat st;
    if (fstat(log->fd, &st) != 0) {
        return fail(log, errno);
    }
    const char *wrong = st.st_nlink == 0 ? "The file was removed: SIGHUP begins another."
                        : (uint64_t)st.st_size < log->size
                            ? "The file is shorter than what was written."
                            : NULL;
    if (wrong != NULL) {
        snprintf(log->reason, sizeof(log->reason), "%s", wrong);
        return KD_ERR_AUDIT;
    }
    if ((uint64_t)st.st_size > log->size && ftruncate(log->fd, (off_t)log->size) != 0) {
        return fail(log, errno);
    }
    return KD_OK;
}

enum kd_err kd_audit_log_write(struct kd_audit_log *log, struct kd_audit_line *first,
                               struct kd_audit_line **rest) {
    struct kd_chain chain = log->last;
    enum kd_err r = check_end(log);
    kd_buf_reset(&log->round);
    if (r == KD_OK && log->size == 0 && log->last_of_old != 0) {
        r = put_continue(log, &chain, &log->round);
    }
    struct kd_audit_line *line = first;
    for (; r == KD_OK && line != NULL && log->round.n < ROUND_MAX_BYTES; line = line->next) {
        r = kd_chain_put(&chain, line->time_ms, kd_buf_get(&line->members), &log->round);
        line->seq = chain.seq;
    }
    if (r != KD_OK) {
        return r == KD_ERR_AUDIT ? r : fail(log, r == KD_ERR_NO_MEMORY ? ENOMEM : EMSGSIZE);
    }
    if ((r = put_on_disk(log, kd_buf_get(&log->round))) != KD_OK) {
        return r;
    }
    log->first_seq = log->first_seq == 0 ? log->last.seq + 1 : log->first_seq;
    log->last = chain;
    for (struct kd_audit_line *l = first; l != line; l = l->next) {
        kd_audit_open_note(&log->open, l->is_asked ? l->seq : 0, l->answers);
    }
    *rest = line;
    return KD_OK;
}

// ---- the next file ---------------------------------------------------------

static enum kd_err begin_next(struct kd_audit_log *log) {
    int fd = -1;
    int errnum = 0;
    struct stat st = { .st_size = 0 };
    if (!open_file(log->path, &fd, &errnum)) {
        return fail(log, errnum == 0 ? EBUSY : errnum);
    }
    if (fstat(fd, &st) != 0 || st.st_size != 0 || !sync_folder(log->path)) {
        close(fd);
        return fail(log, st.st_size != 0 ? EEXIST : EIO); // somebody else's lines
    }
    close(log->fd);
    log->fd = fd;
    log->size = 0;
    log->first_seq = 0;
    log->last_of_old = log->last.seq;
    return KD_OK;
}

enum kd_err kd_audit_log_rotate(struct kd_audit_log *log) {
    char name[PATH_BYTES + 32];
    if (log->first_seq == 0) {
        return KD_OK; // nothing in it
    }
    snprintf(name, sizeof(name), "%s.%0*" PRIu64, log->path, KD_AUDIT_NUMBER_DIGITS,
             log->first_seq);
    // Not there: an attempt before got this far.  A file of the new name is never written over.
    if (renameat2(AT_FDCWD, log->path, AT_FDCWD, name, RENAME_NOREPLACE) != 0 && errno != ENOENT) {
        return fail(log, errno);
    }
    return begin_next(log);
}

enum kd_err kd_audit_log_reopen(struct kd_audit_log *log, bool *is_other) {
    struct stat ours;
    struct stat there;
    *is_other = false;
    if (fstat(log->fd, &ours) != 0) {
        return fail(log, errno);
    }
    if (lstat(log->path, &there) == 0 && there.st_ino == ours.st_ino &&
        there.st_dev == ours.st_dev) {
        return KD_OK;
    }
    *is_other = true;
    return begin_next(log);
}
