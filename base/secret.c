// SPDX-License-Identifier: Apache-2.0
// secret.c: secret bytes in pages of their own: locked, not dumped, not
// inherited by a fork, wiped before they go back.
#include "base/secret.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__ // the header comes with the sanitizer
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

struct kd_secret {
    size_t n;
    size_t mapped;
    uint8_t *bytes;
};

void kd_wipe(void *p, size_t n) {
    OPENSSL_cleanse(p, n);
}

void kd_key32_wipe(struct kd_key32 *k) {
    kd_wipe(k->bytes, sizeof(k->bytes));
}

// ---- pages -----------------------------------------------------------------

// Pages that had a secret and are wiped: still locked, for the next one.  To map and lock a page
// anew takes longer than many a use of what is in it.
static struct {
    pthread_mutex_t lock;
    pid_t owner; // a child has the pages too, but not locked
    size_t n;
    struct kd_secret *secrets[KD_SECRET_SPARE_MAX];
} spare = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void unmap(struct kd_secret *s) {
    ASAN_UNPOISON_MEMORY_REGION(s->bytes, s->mapped); // another may come to the same place
    munmap(s->bytes, s->mapped);
    free(s);
}

static struct kd_secret *take_spare(void) {
    struct kd_secret *s = NULL;
    pthread_mutex_lock(&spare.lock);
    if (spare.n > 0 && spare.owner == getpid()) {
        s = spare.secrets[--spare.n];
        ASAN_UNPOISON_MEMORY_REGION(s->bytes, s->mapped);
    }
    pthread_mutex_unlock(&spare.lock);
    return s;
}

// False where there are enough.
static bool keep_spare(struct kd_secret *s) {
    pthread_mutex_lock(&spare.lock);
    while (spare.owner != getpid() && spare.n > 0) {
        unmap(spare.secrets[--spare.n]);
    }
    spare.owner = getpid();
    const bool is_kept = spare.n < KD_SECRET_SPARE_MAX;
    if (is_kept) {
        ASAN_POISON_MEMORY_REGION(s->bytes, s->mapped);
        spare.secrets[spare.n++] = s;
    }
    pthread_mutex_unlock(&spare.lock);
    return is_kept;
}

static enum kd_err map(size_t n_bytes, struct kd_secret **out) {
    struct kd_secret *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    void *p = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        free(s);
        return KD_ERR_NO_MEMORY;
    }
    *s = (struct kd_secret) { .mapped = n_bytes, .bytes = p };
    // mlock2: mlock does nothing in a build with sanitizers.
    if (mlock2(p, n_bytes, 0) != 0 || madvise(p, n_bytes, MADV_DONTDUMP) != 0) {
        kd_log(KD_LOG_ERROR, "secret", "memory cannot be locked; raise the limit (ulimit -l)",
               "errno=%d bytes=%zu", errno, n_bytes);
        unmap(s);
        return KD_ERR_NO_MEMORY;
    }
    // A child would get a copy; where the kernel lacks the flag, no process of
    // ours forks while it holds a secret.
    (void)madvise(p, n_bytes, MADV_WIPEONFORK);
    *out = s;
    return KD_OK;
}

// ---- secrets ---------------------------------------------------------------

enum kd_err kd_secret_new(size_t n, struct kd_secret **out) {
    assert(n > 0 && n <= KD_SECRET_MAX_BYTES);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct kd_secret *s = n <= page ? take_spare() : NULL;
    enum kd_err r = s == NULL ? map((n + page - 1) / page * page, &s) : KD_OK;
    if (r == KD_OK) {
        s->n = n;
        *out = s;
    }
    return r;
}

void kd_secret_free(struct kd_secret *s) {
    if (s == NULL) {
        return;
    }
    kd_wipe(s->bytes, s->mapped);
    if (s->mapped > (size_t)sysconf(_SC_PAGESIZE) || !keep_spare(s)) {
        unmap(s);
    }
}

uint8_t *kd_secret_get(struct kd_secret *s) {
    return s->bytes;
}

size_t kd_secret_len(const struct kd_secret *s) {
    return s->n;
}

void kd_secret_truncate(struct kd_secret *s, size_t n) {
    assert(n <= s->n);
    kd_wipe(s->bytes + n, s->n - n);
    s->n = n;
}

static enum kd_err check_file(int fd, const char *path) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return kd_err_from_errno(errno);
    }
    if (!S_ISREG(st.st_mode)) {
        kd_log(KD_LOG_ERROR, "secret", "not a regular file", "path=%s", path);
        return KD_ERR_CONFIG;
    }
    if ((st.st_mode & S_IRWXO) != 0) {
        kd_log(KD_LOG_ERROR, "secret", "the file is open to everybody; use chmod 600",
               "path=%s mode=%03o", path, (unsigned)(st.st_mode & 0777));
        return KD_ERR_CONFIG;
    }
    return KD_OK;
}

// Reads to the end of the file or until the secret is full.
static enum kd_err read_all(int fd, struct kd_secret *s, size_t *n_read) {
    size_t n = 0;
    while (n < s->n) {
        ssize_t got = read(fd, s->bytes + n, s->n - n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return kd_err_from_errno(errno);
        }
        if (got == 0) {
            break;
        }
        n += (size_t)got;
    }
    *n_read = n;
    return KD_OK;
}

// The length of the first line, without its end.
static size_t line_length(const uint8_t *p, size_t n) {
    const uint8_t *end = memchr(p, '\n', n);
    size_t len = end == NULL ? n : (size_t)(end - p);
    return len > 0 && p[len - 1] == '\r' ? len - 1 : len;
}

enum kd_err kd_secret_read_file(const char *path, size_t max_bytes, struct kd_secret **out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return kd_err_from_errno(errno);
    }
    kd_auto(secret) struct kd_secret *s = NULL;
    size_t n = 0;
    enum kd_err r = check_file(fd, path);
    // Two more than allowed, for the end of line; and one to see that it is too long.
    if (r == KD_OK && (r = kd_secret_new(max_bytes + 3, &s)) == KD_OK) {
        r = read_all(fd, s, &n);
    }
    close(fd);
    if (r != KD_OK) {
        return r;
    }
    size_t len = line_length(s->bytes, n);
    if (len == 0 || len > max_bytes) {
        kd_log(KD_LOG_ERROR, "secret", len == 0 ? "the file is empty" : "the file is too long",
               "path=%s max_bytes=%zu", path, max_bytes);
        return KD_ERR_CONFIG;
    }
    kd_secret_truncate(s, len);
    *out = KD_STEAL(s);
    return KD_OK;
}

// In a folder that all may write each has his own only where it is sticky, as /tmp is.
static bool has_others(const char *folder) {
    struct stat st;
    return stat(folder, &st) != 0 || ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0);
}

bool kd_secret_folder_is_own(const char *path) {
    char part[PATH_MAX];
    struct stat st;
    if (strlen(path) >= sizeof(part) || (path[0] != '/' && has_others("."))) {
        return false;
    }
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const size_t n = (size_t)(slash - path) + 1;
        memcpy(part, path, n);
        part[n] = '\0';
        if (has_others(part)) {
            return false;
        }
    }
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & S_IWOTH) == 0 &&
           (st.st_uid == geteuid() || st.st_uid == 0);
}

bool kd_ct_equal(struct kd_bytes a, struct kd_bytes b) {
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}
