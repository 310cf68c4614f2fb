// SPDX-License-Identifier: Apache-2.0
// echo.c: a backend for the gateway's benchmark: answers each POST with its body.
//     echo PORT | PATH-OF-A-UNIX-SOCKET
#include <microhttpd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BODY_MAX_BYTES = 65536,
    HEADER_BYTES = 2048, // of memory for each connection, which is cleared for each request
};

struct request {
    size_t n;
    char body[BODY_MAX_BYTES];
};

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **state) {
    struct request *r = *state;
    (void)arg, (void)url, (void)method, (void)version;
    if (r == NULL) {
        *state = r = malloc(sizeof(*r));
        if (r != NULL) {
            r->n = 0; // the body stays as it is: to clear it would take longer than the rest
        }
        return r == NULL ? MHD_NO : MHD_YES;
    }
    if (*n > 0) {
        const size_t room = sizeof(r->body) - r->n;
        const size_t part = *n < room ? *n : room;
        memcpy(r->body + r->n, data, part);
        r->n += part;
        *n = 0;
        return MHD_YES;
    }
    struct MHD_Response *answer =
        MHD_create_response_from_buffer(r->n, r->body, MHD_RESPMEM_MUST_COPY);
    const enum MHD_Result result = MHD_queue_response(c, MHD_HTTP_OK, answer);
    MHD_destroy_response(answer);
    return result;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why) {
    (void)arg, (void)c, (void)why;
    free(*state);
    *state = NULL;
}

// Until standard input ends.  Not libmicrohttpd's own thread: where exactly 128 connections are
// ready at once, that of 0.9.75 waits for one more before it serves any.
static void serve(struct MHD_Daemon *d) {
    struct pollfd fds[] = {
        { .fd = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, .events = POLLIN },
        { .fd = STDIN_FILENO, .events = POLLIN },
    };
    while (fds[1].revents == 0) {
        MHD_UNSIGNED_LONG_LONG ms;
        const bool has_timeout = MHD_get_timeout(d, &ms) == MHD_YES;
        (void)poll(fds, 2, has_timeout ? (int)ms : -1);
        (void)MHD_run(d);
    }
}

static int listen_unix(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(path) >= sizeof(address.sun_path)) {
        return -1;
    }
    strcpy(address.sun_path, path);
    const bool is_ok =
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, SOMAXCONN) == 0;
    return is_ok ? fd : -1;
}

int main(int argc, char **argv) {
    const bool is_unix = argc == 2 && argv[1][0] == '/';
    const unsigned port = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    const int fd = is_unix ? listen_unix(argv[1]) : -1;
    if (is_unix && fd < 0) {
        return EXIT_FAILURE;
    }
    struct MHD_OptionItem options[] = { { MHD_OPTION_LISTEN_SOCKET, fd, NULL },
                                        { MHD_OPTION_END, 0, NULL } };
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_EPOLL, (uint16_t)port, NULL, NULL, on_request, NULL, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HEADER_BYTES, MHD_OPTION_ARRAY, is_unix ? options : options + 1, MHD_OPTION_END);
    if (d == NULL) {
        return EXIT_FAILURE;
    }
    serve(d);
    MHD_stop_daemon(d);
    return EXIT_SUCCESS;
}
