// SPDX-License-Identifier: Apache-2.0
// listener_unix.c: the Unix socket.  A file that was left behind by a process
// that is gone is replaced; a socket that somebody serves is not.
#include "api/http.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static enum kd_err complain(const char *path, const char *what, enum kd_err err) {
    kd_log(KD_LOG_ERROR, "http", what, "socket=%s error=%s", path,
           err == KD_ERR_SYSTEM ? strerror(errno) : "");
    return err;
}

// Connects to what is there; *is_live if somebody accepts.
static enum kd_err probe(const char *path, const struct sockaddr_un *address, bool *is_live) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return complain(path, "no socket can be made", KD_ERR_SYSTEM);
    }
    const int r = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    // A full backlog is EAGAIN: somebody is there, if busy.
    *is_live = r == 0 || errno == EAGAIN || errno == EINPROGRESS || errno == EACCES;
    close(fd);
    return KD_OK;
}

static enum kd_err clear_path(const char *path, const struct sockaddr_un *address) {
    struct stat st;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? KD_OK
                               : complain(path, "the socket's path cannot be used", KD_ERR_SYSTEM);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return complain(path, "the socket's path names something that is not a socket",
                        KD_ERR_CONFIG);
    }
    bool is_live = false;
    enum kd_err err = probe(path, address, &is_live);
    if (err != KD_OK) {
        return err;
    }
    if (is_live) {
        return complain(path, "another process serves this socket", KD_ERR_CONFIG);
    }
    if (unlink(path) != 0) {
        return complain(path, "the old socket cannot be removed", KD_ERR_SYSTEM);
    }
    kd_log(KD_LOG_INFO, "http", "a socket that nobody serves was replaced", "socket=%s", path);
    return KD_OK;
}

// Group and mode, before anybody is accepted.
static enum kd_err open_to_group(const struct kd_http_config *config) {
    if (config->unix_group != NULL && config->unix_group[0] != '\0') {
        const struct group *group = getgrnam(config->unix_group);
        if (group == NULL) {
            kd_log(KD_LOG_ERROR, "http", "the group for the socket does not exist", "group=%s",
                   config->unix_group);
            return KD_ERR_CONFIG;
        }
        if (chown(config->unix_path, (uid_t)-1, group->gr_gid) != 0) {
            return complain(config->unix_path, "the socket cannot be given to the group",
                            KD_ERR_SYSTEM);
        }
    }
    return chmod(config->unix_path, config->unix_mode) == 0
               ? KD_OK
               : complain(config->unix_path, "the socket's mode cannot be set", KD_ERR_SYSTEM);
}

static enum kd_err bind_and_listen(const struct kd_http_config *config,
                                   const struct sockaddr_un *address, int fd) {
    const mode_t mask = umask(0177); // nobody else until the group is set
    const int r = bind(fd, (const struct sockaddr *)address, sizeof(*address));
    umask(mask);
    if (r != 0) {
        return complain(config->unix_path, "the socket cannot be bound", KD_ERR_SYSTEM);
    }
    enum kd_err err = open_to_group(config);
    if (err == KD_OK && listen(fd, SOMAXCONN) != 0) {
        err = complain(config->unix_path, "the socket cannot be listened to", KD_ERR_SYSTEM);
    }
    if (err != KD_OK) {
        unlink(config->unix_path);
    }
    return err;
}

enum kd_err kd_listener_unix_open(const struct kd_http_config *config, struct kd_listener *l) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(config->unix_path) >= sizeof(address.sun_path)) {
        return complain(config->unix_path, "the socket's path is too long", KD_ERR_CONFIG);
    }
    memcpy(address.sun_path, config->unix_path, strlen(config->unix_path) + 1);
    enum kd_err err = clear_path(config->unix_path, &address);
    if (err != KD_OK) {
        return err;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return complain(config->unix_path, "no socket can be made", KD_ERR_SYSTEM);
    }
    err = bind_and_listen(config, &address, fd);
    if (err != KD_OK) {
        close(fd);
        return err;
    }
    struct stat st;
    if (lstat(config->unix_path, &st) == 0) {
        l->inode = st.st_ino;
        l->device = st.st_dev;
    }
    l->fd = fd;
    return KD_OK;
}

void kd_listener_unix_remove(const struct kd_http_config *config, const struct kd_listener *l) {
    struct stat st;
    if (lstat(config->unix_path, &st) == 0 && st.st_ino == l->inode && st.st_dev == l->device) {
        unlink(config->unix_path);
    }
}
