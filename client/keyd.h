/* SPDX-License-Identifier: Apache-2.0
 *
 * keyd.h: a device's end of keyd's secure channel (libkeyd).  A device has a private
 * key in software, a certificate, and the certificate of its server.  It asks; the
 * handshake, the renewal of a session that has expired, and repeats over UDP happen by
 * themselves.  docs/protocol.md says what is on the wire; libkeyd(3) more about this.
 *
 * Threads: one device may be used by many at once, and their requests are under way together; it
 * is freed when no call of it is under way any more.
 * Devices have nothing in common: one process may have many, with different servers.
 * Fork: a child begins anew, with a session and a connection of its own; none of its parent's
 * threads may be in a call at that time.
 * Memory: what is passed in is copied; what is given out is the caller's.
 */
#ifndef KEYD_H
#define KEYD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

enum keyd_err {
    KEYD_OK = 0,
    KEYD_ERR_ARGUMENT,  /* the call is wrong: a missing or too long argument */
    KEYD_ERR_FILE,      /* a file cannot be read, or its key be used */
    KEYD_ERR_MEMORY,
    KEYD_ERR_TRANSPORT, /* no connection, or it was lost, or the answer is too large for this way;
                           perhaps the message was delivered */
    KEYD_ERR_TIMEOUT,   /* no answer in time; perhaps the message was delivered */
    KEYD_ERR_BUSY,      /* the server says: later */
    KEYD_ERR_REFUSED,   /* the server did not accept handshake or message */
    KEYD_ERR_SERVER,    /* it is not the server that we know, or it sent what is not its own */
    KEYD_ERR_BACKEND,   /* the backend has not answered, or with an error: keyd_status */
    KEYD_ERR_EXPIRED,   /* the own certificate has expired */
    /* Of keyd_service.h only. */
    KEYD_ERR_DENIED,  /* the caller is not known, or the policy does not let him */
    KEYD_ERR_MISSING, /* what is named is not there */
    KEYD_ERR_STATE,   /* what is named has not the state or type for this, or the name is taken */
};

/* A name that does not change, "timeout"; and a sentence for people. */
const char *keyd_err_name(enum keyd_err err);
const char *keyd_err_text(enum keyd_err err);
/* What the last function of this library that failed in this thread says of it, for people: which
 * file, which address, which side refused.  Until the next call. */
const char *keyd_detail(void);

#define KEYD_BODY_MAX 65536 /* bytes of a message and of an answer */

/* A transport of the caller's, for whole frames.  One call of each may run at the same time as
 * one of the other, in any thread; never two of the same function.  0: it is sent, or *n is set;
 * -1: the transport is broken, and the next call begins anew; 1 of keyd_receive_fn: nothing has
 * come within the time. */
typedef int keyd_send_fn(void *arg, const uint8_t *frame, size_t n, unsigned timeout_ms);
typedef int keyd_receive_fn(void *arg, uint8_t *frame, size_t max, size_t *n,
                            unsigned timeout_ms);

/* The own certificate is in the last third of its life, or has expired: writes a later one (DER)
 * and its length, and 0; or -1, and is asked again in a minute or, when it has expired, the next
 * time.
 * It is sent whole with the next handshake, as the server may not know it yet. */
typedef int keyd_renew_fn(void *arg, uint8_t *certificate, size_t max, size_t *n);

/* A frame that was sent (again or not, it is told of once), or has come.  In any thread; must not
 * call the device. */
typedef void keyd_trace_fn(void *arg, int has_come, const uint8_t *frame, size_t n);

struct keyd_config {
    const char *server; /* "tcp://HOST:PORT", "udp://HOST:PORT", "http://HOST:PORT" (or https);
                           NULL: `send` and `receive` are there */
    const char *key_file; /* private key on P-256 or P-384, PEM; others may not read it */
    const char *certificate_file;        /* own certificate, PEM or DER */
    const char *certificate_uri;         /* sent in its place; NULL: its fingerprint is sent */
    const char *server_certificate_file; /* the stored copy that the server's fingerprint is
                                            compared with, PEM or DER */
    unsigned timeout_ms;                 /* for an answer; 0: 30000 */
    keyd_send_fn *send;
    keyd_receive_fn *receive;
    void *transport_arg;
    int is_lossy; /* frames can be lost by `send`: they are sent again, as over UDP */
    unsigned datagram_max_bytes; /* of a frame over UDP, as the gateway's datagram-max-bytes; 256 to
                                    65507, 0: 1200 */
    keyd_renew_fn *renew; /* before a handshake; NULL: an expired certificate is KEYD_ERR_EXPIRED */
    void *renew_arg;
    const char *envelope_key_file; /* the server's public key for envelopes, PEM, P-256; or NULL */
    keyd_trace_fn *trace;          /* NULL: nobody watches */
    void *trace_arg;
};

struct keyd_device;

/* What a device knows of its bootstrap server before it has anything (docs/certificates.md). */
struct keyd_bootstrap {
    const char *url;         /* "https://HOST[:PORT]" */
    const char *ca_file;     /* whom its TLS certificate may come from, PEM; NULL: the system's */
    const char *id;          /* the device's */
    const char *secret_file; /* its one-time secret; others may not read it */
    const char *directory;   /* where key, certificates and names go; made if it is not there */
    unsigned timeout_ms;     /* for each request; 0: 30000 */
};

/* Makes a private key on the curve of the server's suite, has it certified, and learns the
 * server's certificate and keys.  All files are put in their places at the end, and a failure
 * leaves those of a device that works.  After one it may be called again: the key that was made
 * is kept, and a certificate that the bootstrap server has made for it is found.
 * KEYD_ERR_REFUSED: the secret is not good (any more), and there is no such certificate. */
enum keyd_err keyd_provision(const struct keyd_bootstrap *bootstrap);

/* A device from the directory that keyd_provision has filled: what the configuration leaves NULL
 * of files and of `renew` comes from there, with a renewal by its bootstrap server. */
enum keyd_err keyd_device_open(const char *directory, const struct keyd_config *config,
                               struct keyd_device **out);

/* Reads the files, and connects to nobody yet. */
enum keyd_err keyd_device_new(const struct keyd_config *config, struct keyd_device **out);
/* Wipes what it knew; the server is not told. */
void keyd_device_free(struct keyd_device *device);

/* A message and its answer.  Without a session, or with one that has expired or is not known
 * any more, first a handshake, or a resumption by ticket; the message is then sent once more.
 * *answer is allocated (free it) where there is one; may be NULL: not wanted. */
enum keyd_err keyd_request(struct keyd_device *device, const void *message, size_t n,
                           uint8_t **answer, size_t *n_answer);
/* The error that the last KEYD_ERR_BACKEND of this device brought: in this thread, if it has got
 * none of another device since, else in any: an HTTP status; 0: there was none. */
unsigned keyd_status(struct keyd_device *device);

/* Waits for a message that the server sends unasked, and tells it that it has come.  Not over
 * HTTP; connects where that has to be.  Where frames can be lost, the server learns of what has
 * come at the latest with the next call.  *message is allocated (free it).  KEYD_ERR_TIMEOUT: none
 * came. */
enum keyd_err keyd_receive(struct keyd_device *device, unsigned timeout_ms, uint8_t **message,
                           size_t *n);

#define KEYD_ENVELOPE_VALID_MAX 31536000 /* seconds; a server may have a lower limit: a day */

/* Without a session: seals the message to the server's key (envelope_key_file) and sends it.
 * Whoever opens it within `valid_s` seconds knows what `sender` says (up to 64 bytes, NULL for
 * none), and nothing proves it.  KEYD_OK: it was accepted, and nothing is answered;
 * KEYD_ERR_REFUSED also where the server's limit is lower. */
enum keyd_err keyd_envelope(struct keyd_device *device, const char *sender, unsigned valid_s,
                            const void *message, size_t n);

/* A handshake now; also where there is a session. */
enum keyd_err keyd_connect(struct keyd_device *device);
/* Fresh keys for the session. */
enum keyd_err keyd_update(struct keyd_device *device);
/* Takes a ticket, for keyd_move. */
enum keyd_err keyd_save(struct keyd_device *device);
/* Of a device from a directory: asks the bootstrap server which certificate and keys the server has
 * now, and which certificate the device has, and writes them there.  A handshake that one side does
 * not accept does so by itself, once a minute at most; keys for envelopes are asked for here. */
enum keyd_err keyd_refresh(struct keyd_device *device);
/* Goes on at another server of the same keys: as `server` of the configuration. */
enum keyd_err keyd_move(struct keyd_device *device, const char *server);
/* Ends the session at the server too, and the connection.  Whoever waits in keyd_receive, in other
 * threads, ends with KEYD_ERR_TRANSPORT (over functions of the caller's when `receive` returns), so
 * that keyd_device_free can follow. */
enum keyd_err keyd_close(struct keyd_device *device);
/* The server's clock, as the last handshake told, less ours, as it is now, in milliseconds. */
int64_t keyd_clock_offset(struct keyd_device *device);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
