// SPDX-License-Identifier: Apache-2.0
#include "client/device_home.h"

#include "client/device_detail.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POINT_BYTES = 65 };

// ---- what there is ---------------------------------------------------------

const char *kd_home_path(const char *directory, const char *name,
                         char out[static KD_HOME_PATH_BYTES]) {
    snprintf(out, KD_HOME_PATH_BYTES, "%s/%s", directory, name);
    return out;
}

bool kd_home_has(const char *directory, const char *name) {
    char path[KD_HOME_PATH_BYTES];
    return access(kd_home_path(directory, name, path), F_OK) == 0;
}

KD_COLD void kd_home_read_line(const char *directory, const char *name,
                               char out[static KD_HOME_LINE_BYTES]) {
    char path[KD_HOME_PATH_BYTES];
    FILE *f = fopen(kd_home_path(directory, name, path), "re");
    out[0] = '\0';
    if (f != NULL) {
        if (fgets(out, KD_HOME_LINE_BYTES, f) == NULL) {
            out[0] = '\0';
        }
        fclose(f);
    }
    out[strcspn(out, "\n")] = '\0';
}

KD_COLD EVP_PKEY *kd_home_read_key(const char *directory) {
    char path[KD_HOME_PATH_BYTES];
    FILE *f = fopen(kd_home_path(directory, KD_HOME_KEY, path), "re");
    EVP_PKEY *key = f == NULL ? NULL : PEM_read_PrivateKey(f, NULL, NULL, NULL);
    if (f != NULL) {
        fclose(f);
    }
    return key;
}

// ---- beside their places -----------------------------------------------------

KD_COLD enum keyd_err kd_home_unwritten(const char *path) {
    return kd_detail_fail(KEYD_ERR_FILE, "\"%.150s\" cannot be written: %s", path, strerror(errno));
}

static const char *staged_path(const char *directory, const char *name,
                               char out[static KD_HOME_PATH_BYTES]) {
    snprintf(out, KD_HOME_PATH_BYTES, "%s/%s" KD_HOME_STAGED, directory, name);
    return out;
}

KD_COLD enum keyd_err kd_home_stage(const char *directory, const char *name, struct kd_bytes text) {
    char path[KD_HOME_PATH_BYTES];
    // Of an attempt before; what another holds open gets no key.
    if (unlink(staged_path(directory, name, path)) != 0 && errno != ENOENT) {
        return kd_home_unwritten(path);
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return kd_home_unwritten(path);
    }
    errno = ENOSPC; // of a write that was short
    const bool is_written =
        (text.n == 0 || write(fd, text.p, text.n) == (ssize_t)text.n) && fsync(fd) == 0;
    const enum keyd_err r = is_written ? KEYD_OK : kd_home_unwritten(path);
    return close(fd) == 0 || r != KEYD_OK ? r : kd_home_unwritten(path);
}

KD_COLD static enum keyd_err stage_bio(const char *directory, const char *name, BIO *bio) {
    char *p = NULL;
    const long n = bio == NULL ? 0 : BIO_get_mem_data(bio, &p);
    return n <= 0 ? KEYD_ERR_MEMORY
                  : kd_home_stage(directory, name,
                                  (struct kd_bytes) { (const uint8_t *)p, (size_t)n });
}

KD_COLD enum keyd_err kd_home_stage_certificate(const char *directory, const char *name,
                                                struct kd_bytes der) {
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    BIO *bio = BIO_new(BIO_s_mem());
    const bool is_ok = x != NULL && bio != NULL && PEM_write_bio_X509(bio, x) == 1;
    const enum keyd_err r = is_ok ? stage_bio(directory, name, bio) : KEYD_ERR_SERVER;
    BIO_free(bio);
    X509_free(x);
    return r;
}

// As SubjectPublicKeyInfo (RFC 5480), whose head is always this.
KD_COLD enum keyd_err kd_home_stage_point(const char *directory, const char *name,
                                          struct kd_bytes point) {
    static const uint8_t head[] = { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 };
    uint8_t der[sizeof(head) + POINT_BYTES];
    if (point.n == 0) {
        return kd_home_stage(directory, name, KD_BYTES_NONE);
    }
    if (point.n != POINT_BYTES) {
        return KEYD_ERR_SERVER;
    }
    memcpy(der, head, sizeof(head));
    memcpy(der + sizeof(head), point.p, point.n);
    BIO *bio = BIO_new(BIO_s_mem());
    const bool is_ok = bio != NULL && PEM_write_bio(bio, "PUBLIC KEY", "", der, sizeof(der)) > 0;
    const enum keyd_err r = is_ok ? stage_bio(directory, name, bio) : KEYD_ERR_MEMORY;
    BIO_free(bio);
    return r;
}

KD_COLD enum keyd_err kd_home_stage_server(const char *directory, struct kd_bytes der,
                                           const char *uri, struct kd_bytes envelope) {
    enum keyd_err r = kd_home_stage_certificate(directory, KD_HOME_SERVER, der);
    r = r == KEYD_OK ? kd_home_stage(directory, KD_HOME_URI, kd_bytes_of_text(uri)) : r;
    return r == KEYD_OK ? kd_home_stage_point(directory, KD_HOME_ENVELOPE, envelope) : r;
}

// ---- into their places -------------------------------------------------------

// A name is on the disk when its folder is; some file systems have no such call (EINVAL).
KD_COLD static enum keyd_err sync_folder(const char *directory) {
    const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool is_ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    const enum keyd_err r = is_ok ? KEYD_OK : kd_home_unwritten(directory);
    if (fd >= 0) {
        close(fd);
    }
    return r;
}

KD_COLD static bool put_in_place(const char *staged, const char *path) {
    struct stat st;
    if (stat(staged, &st) != 0) {
        return false;
    }
    return st.st_size > 0 ? rename(staged, path) == 0
                          : (unlink(path) == 0 || errno == ENOENT) && unlink(staged) == 0;
}

KD_COLD enum keyd_err kd_home_commit(const char *directory, const char *const *names, size_t n) {
    char path[KD_HOME_PATH_BYTES], staged[KD_HOME_PATH_BYTES];
    for (size_t i = 0; i < n; i++) {
        kd_home_path(directory, names[i], path);
        if (!put_in_place(staged_path(directory, names[i], staged), path)) {
            return kd_home_unwritten(path);
        }
    }
    return sync_folder(directory);
}

// ---- the key ---------------------------------------------------------------

// Handshakes have the suite of its curve (RFC 9528 3.6).  A request whose answer was lost is made
// again with the same key.
KD_COLD enum keyd_err kd_home_make_key(const char *directory, bool is_p384, EVP_PKEY **out) {
    static const char *const names[] = { KD_HOME_KEY };
    if (kd_home_has(directory, KD_HOME_KEY)) {
        *out = kd_home_read_key(directory);
        return *out != NULL ? KEYD_OK
                            : kd_detail_fail(KEYD_ERR_FILE,
                                             "\"%.150s/" KD_HOME_KEY "\" holds no key.", directory);
    }
    EVP_PKEY *key = EVP_EC_gen(is_p384 ? "P-384" : "P-256");
    BIO *bio = BIO_new(BIO_s_secmem());
    const bool is_ok = key != NULL && bio != NULL &&
                       PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;
    enum keyd_err r = is_ok ? stage_bio(directory, KD_HOME_KEY, bio) : KEYD_ERR_MEMORY;
    r = r == KEYD_OK ? kd_home_commit(directory, names, KD_COUNT_OF(names)) : r;
    BIO_free(bio);
    if (r != KEYD_OK) {
        EVP_PKEY_free(key);
        return r;
    }
    *out = key;
    return KEYD_OK;
}
