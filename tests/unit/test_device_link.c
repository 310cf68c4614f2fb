// SPDX-License-Identifier: Apache-2.0
// test_device_link.c: what a device does when its connection is silent, closed or gone.  The other
// end of the sockets is in this thread: it has its turn when the device begins to wait.  The clock
// stands, and goes on by as much as the device would have waited for nothing.
#include "channel/frame.h"
#include "client/device_detail.h"
#include "client/device_wire.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 10000, WALL_MS = 1 };

enum mood { ANSWERS, IS_SILENT, PUSHES, CLOSES };

static struct {
    int fd;     // listens, or gets datagrams
    int stream; // -1: none
    enum mood mood;
    bool is_due;    // a question is on its way, and has not been read
    bool is_closed; // by us: who looks at his end will see it
    unsigned n_questions;
} server;
static struct kd_wire wire;
static uint64_t now_ms;
static uint32_t last_id;

// ---- the other end ---------------------------------------------------------

static void put(const struct kd_frame *f, const struct sockaddr_in *to) {
    kd_auto(buf) struct kd_buf frame = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(64);
    kd_frame_put(&frame, f);
    if (to == NULL) {
        kd_buf_block32(&out, kd_buf_get(&frame));
        ck_assert_int_eq(send(server.stream, out.p, out.n, MSG_NOSIGNAL), (ssize_t)out.n);
    } else {
        ck_assert_int_eq(sendto(server.fd, frame.p, frame.n, 0, (const void *)to, sizeof(*to)),
                         (ssize_t)frame.n);
    }
}

static void close_stream(void) {
    close(server.stream);
    server.stream = -1;
    server.is_closed = true;
}

static void react(const struct kd_frame *question, const struct sockaddr_in *to) {
    const struct kd_frame push = { .kind = KD_FRAME_PUSH, .id = 1 };
    const struct kd_frame answer = { KD_FRAME_ANSWER, question->kind, question->id, KD_BYTES_NONE };
    if (server.mood == CLOSES) {
        close_stream();
    } else if (server.mood != IS_SILENT) {
        put(server.mood == PUSHES ? &push : &answer, to);
    }
    server.n_questions++;
}

static void take_from_stream(void) {
    uint8_t bytes[64];
    struct kd_frame f;
    if (server.stream < 0) {
        server.stream = accept(server.fd, NULL, NULL);
        server.is_closed = false;
    }
    ck_assert_int_eq(recv(server.stream, bytes, 4 + KD_FRAME_HEAD_BYTES, MSG_WAITALL),
                     4 + KD_FRAME_HEAD_BYTES);
    ck_assert_err(kd_frame_parse((struct kd_bytes) { bytes + 4, KD_FRAME_HEAD_BYTES }, &f), KD_OK);
    react(&f, NULL);
}

// Those of a question before this one are passed over.
static void take_datagram(void) {
    uint8_t bytes[64];
    struct sockaddr_in from;
    socklen_t n_from = sizeof(from);
    struct kd_frame f = { .id = 0 };
    while (f.id != last_id) {
        const ssize_t n = recvfrom(server.fd, bytes, sizeof(bytes), 0, (void *)&from, &n_from);
        ck_assert_int_gt(n, 0);
        ck_assert_err(kd_frame_parse((struct kd_bytes) { bytes, (size_t)n }, &f), KD_OK);
    }
    react(&f, &from);
}

// True: there is, or will be, something to read.
static bool serve(void) {
    int type = 0;
    socklen_t n = sizeof(type);
    if (!server.is_due) {
        return false;
    }
    server.is_due = false;
    ck_assert_int_eq(getsockopt(server.fd, SOL_SOCKET, SO_TYPE, &type, &n), 0);
    if (type == SOCK_STREAM) {
        take_from_stream();
    } else {
        take_datagram();
    }
    return server.mood != IS_SILENT;
}

// ---- in place of the system's (ld(1), --wrap) ------------------------------

enum { ADDRESSES = 3 };

// What a name has: addresses, the first of which do not answer; or an error.
static struct {
    int error;
    struct addrinfo all[ADDRESSES];
    struct sockaddr_in to[ADDRESSES];
    size_t n, n_hanging;
    int waited_ms[ADDRESSES];
} names;

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **all);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **all);
void __real_freeaddrinfo(struct addrinfo *all);
void __wrap_freeaddrinfo(struct addrinfo *all);

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **all) {
    if (names.error != 0 || names.n == 0) {
        return names.error != 0 ? names.error : __real_getaddrinfo(host, port, hints, all);
    }
    for (size_t i = 0; i < names.n; i++) {
        names.all[i] = (struct addrinfo) { .ai_family = AF_INET,
                                           .ai_socktype = SOCK_STREAM,
                                           .ai_addr = (void *)&names.to[i],
                                           .ai_addrlen = sizeof(names.to[i]),
                                           .ai_next = i + 1 < names.n ? &names.all[i + 1] : NULL };
    }
    *all = names.all;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *all) {
    if (all != names.all) {
        __real_freeaddrinfo(all);
    }
}

static int hang(int timeout_ms) {
    static size_t n;
    names.n_hanging--;
    names.waited_ms[n++] = timeout_ms;
    now_ms += (uint64_t)timeout_ms;
    kd_clock_hold(now_ms, WALL_MS);
    return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms) {
    static const struct timespec at_once;
    const bool is_to_read = n == 1 && (fds->events & POLLIN) != 0;
    if (n == 1 && !is_to_read && names.n_hanging > 0) {
        return hang(timeout_ms);
    }
    const bool comes = is_to_read && (timeout_ms == 0 ? server.is_closed : serve());
    const bool waits = comes || (n == 1 && !is_to_read);
    const int r = ppoll(fds, n, waits ? NULL : &at_once, NULL);
    if (r == 0) {
        now_ms += (uint64_t)timeout_ms;
        kd_clock_hold(now_ms, WALL_MS);
    }
    return r;
}

// ---- a device --------------------------------------------------------------

static int bind_any(int type, struct sockaddr_in *a) {
    socklen_t n = sizeof(*a);
    const int fd = socket(AF_INET, type, 0);
    *a = (struct sockaddr_in) { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    ck_assert_int_eq(bind(fd, (void *)a, n), 0);
    ck_assert_int_eq(getsockname(fd, (void *)a, &n), 0);
    return fd;
}

static char url[64];

static void use(int type, const struct sockaddr_in *a) {
    snprintf(url, sizeof(url), "%s://127.0.0.1:%u", type == SOCK_STREAM ? "tcp" : "udp",
             ntohs(a->sin_port));
    ck_assert_err(kd_wire_set(&wire, url), KD_OK);
}

static void open_server(int type) {
    struct sockaddr_in a;
    server.fd = bind_any(type, &a);
    ck_assert(type == SOCK_DGRAM || listen(server.fd, 8) == 0);
    use(type, &a);
}

static void set_up(void) {
    memset(&server, 0, sizeof(server));
    memset(&names, 0, sizeof(names));
    server.stream = -1;
    now_ms = 1000;
    kd_clock_hold(now_ms, WALL_MS);
    ck_assert_err(kd_wire_init(&wire), KD_OK);
}

static void tear_down(void) {
    kd_wire_wipe(&wire);
    close(server.stream);
    close(server.fd);
    kd_clock_release();
}

static void ask(enum mood mood, enum kd_err expected) {
    kd_auto(buf) struct kd_buf question = KD_BUF_INIT(64);
    kd_auto(buf) struct kd_buf answer = KD_BUF_INIT(KD_FRAME_MAX_BYTES);
    kd_frame_put(&question, &(struct kd_frame) { .kind = KD_FRAME_MESSAGE, .id = ++last_id });
    server.mood = mood;
    server.is_due = true;
    ck_assert_err(kd_wire_exchange(&wire, kd_buf_get(&question), TIMEOUT_MS, &answer), expected);
}

static void must_end(enum mood mood, enum kd_err expected) {
    const uint64_t began_ms = now_ms;
    ask(mood, expected);
    ck_assert_uint_eq(now_ms - began_ms, expected == KD_ERR_DEADLINE ? TIMEOUT_MS : 0);
}

// "URL: why."
static void must_fail(enum mood mood, enum kd_err expected, const char *why) {
    char detail[256];
    snprintf(detail, sizeof(detail), "%s: %s.", url, why);
    kd_detail_begin();
    must_end(mood, expected);
    ck_assert_str_eq(keyd_detail(), detail);
}

// ---- TCP -------------------------------------------------------------------

START_TEST(silent_stream_is_given_up_after_a_time_out) {
    open_server(SOCK_STREAM);
    must_end(ANSWERS, KD_OK);
    must_end(IS_SILENT, KD_ERR_DEADLINE);
    ck_assert_uint_eq(kd_wire_link(&wire), 0);
    close_stream();
    must_end(ANSWERS, KD_OK);
    ck_assert_uint_eq(kd_wire_link(&wire), 2);
    ck_assert_uint_eq(server.n_questions, 3);
}
END_TEST

START_TEST(stream_over_which_something_came_is_kept_after_a_time_out) {
    open_server(SOCK_STREAM);
    must_end(PUSHES, KD_ERR_DEADLINE);
    ck_assert_uint_eq(kd_wire_link(&wire), 1);
    must_end(ANSWERS, KD_OK);
    ck_assert_uint_eq(kd_wire_link(&wire), 1);
}
END_TEST

START_TEST(stream_that_is_closed_while_idle_costs_no_message) {
    open_server(SOCK_STREAM);
    for (unsigned i = 1; i <= 3; i++) {
        must_end(ANSWERS, KD_OK);
        ck_assert_uint_eq(kd_wire_link(&wire), i);
        ck_assert_uint_eq(server.n_questions, i);
        close_stream();
    }
}
END_TEST

START_TEST(connection_that_fails_says_why) {
    open_server(SOCK_STREAM);
    names.error = EAI_NONAME;
    must_fail(IS_SILENT, KD_ERR_SYSTEM, gai_strerror(EAI_NONAME));
    names.error = 0;
    must_fail(CLOSES, KD_ERR_SYSTEM, "The other side closed the connection");
    struct sockaddr_in deaf; // does not listen
    const int fd = bind_any(SOCK_STREAM, &deaf);
    use(SOCK_STREAM, &deaf);
    must_fail(IS_SILENT, KD_ERR_SYSTEM, strerror(ECONNREFUSED));
    close(fd);
}
END_TEST

START_TEST(addresses_of_a_name_share_the_time) {
    struct sockaddr_in other, own;
    socklen_t n = sizeof(own);
    const int fd = bind_any(SOCK_STREAM, &other);
    open_server(SOCK_STREAM);
    ck_assert(listen(fd, 8) == 0 && getsockname(server.fd, (void *)&own, &n) == 0);
    names.n = ADDRESSES;
    names.n_hanging = ADDRESSES - 1;
    for (size_t i = 0; i < ADDRESSES; i++) {
        names.to[i] = i < ADDRESSES - 1 ? other : own;
    }
    const uint64_t began_ms = now_ms;
    ask(ANSWERS, KD_OK);
    ck_assert_int_eq(names.waited_ms[0], TIMEOUT_MS / 3);
    ck_assert_int_eq(names.waited_ms[1], (TIMEOUT_MS - TIMEOUT_MS / 3) / 2);
    ck_assert_uint_lt(now_ms - began_ms, TIMEOUT_MS);
    close(fd);
}
END_TEST

// ---- names -----------------------------------------------------------------

START_TEST(server_with_a_bad_port_is_refused) {
    static const char *const bad[] = {
        "tcp://h:0",
        "tcp://h:65536",
        "tcp://h:12x",
        "tcp://h:",
        "tcp://h:-1",
        "tcp://h:+1",
        "tcp://h: 1",
        "udp://h:0",
        "udp://h:65536",
        "udp://h:000080",
        "tcp://h:http",
        "tcp://h",
        "tcp://:1",
        "http://h:0",
        "http://h:65536",
        "http://h:12x",
        "https://h:-1",
        "http://",
        "https:///",
        "http://:1",
        "ftp://h:1",
        "h:1",
        "",
        "udp://[::1]:1x",
    };
    static const char *const good[] = {
        "tcp://h:1", "tcp://h:65535", "udp://h:1",       "udp://[::1]:65535",
        "http://h",  "http://h:1",    "https://h:65535", "http://[::1]:8080/",
    };
    for (size_t i = 0; i < KD_COUNT_OF(bad); i++) {
        ck_assert_msg(kd_wire_set(&wire, bad[i]) == KD_ERR_BAD_URI, "%s", bad[i]);
    }
    for (size_t i = 0; i < KD_COUNT_OF(good); i++) {
        ck_assert_msg(kd_wire_set(&wire, good[i]) == KD_OK, "%s", good[i]);
    }
}
END_TEST

// ---- UDP -------------------------------------------------------------------

// The address of the device may be another one, which the socket does not know.
START_TEST(socket_for_datagrams_is_another_one_after_a_time_out) {
    open_server(SOCK_DGRAM);
    must_end(ANSWERS, KD_OK);
    must_end(IS_SILENT, KD_ERR_DEADLINE);
    ck_assert_uint_eq(kd_wire_link(&wire), 0);
    must_end(ANSWERS, KD_OK);
    ck_assert_uint_eq(kd_wire_link(&wire), 2);
    must_end(PUSHES, KD_ERR_DEADLINE);
    ck_assert_uint_eq(kd_wire_link(&wire), 2);
}
END_TEST

static TCase *tcase_streams(void) {
    TCase *t = tcase_create("streams");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, silent_stream_is_given_up_after_a_time_out);
    tcase_add_test(t, stream_over_which_something_came_is_kept_after_a_time_out);
    tcase_add_test(t, stream_that_is_closed_while_idle_costs_no_message);
    tcase_add_test(t, connection_that_fails_says_why);
    tcase_add_test(t, addresses_of_a_name_share_the_time);
    tcase_add_test(t, server_with_a_bad_port_is_refused);
    return t;
}

static TCase *tcase_datagrams(void) {
    TCase *t = tcase_create("datagrams");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, socket_for_datagrams_is_another_one_after_a_time_out);
    return t;
}

UNIT_MAIN("device link", tcase_streams(), tcase_datagrams())
