// SPDX-License-Identifier: Apache-2.0
// fake_service.h: a service without keys or a token, for tests of what is in
// front of it.  It answers by rule, later and from the loop, as the real one
// does, and copies what it is given, so that a borrowed pointer that dies too
// early is found.
//   sign, mac: out = 'S' or 'M', then the data.  verify, mac-verify: ok where
//   the tag is just that.  encrypt: iv = 12 times 7, out = 'E', aad, data.
//   decrypt: the reverse, or KD_ERR_NOT_AUTHENTIC.  random: n times 0x5a.
//   The caller is "tester", with the bearer token "other" it is "other".
//   ecdh, derive: a secret with the id "AAAAAAAAAAAAAAAAAAAAAA"; released:
//   'R', peer, info.
// The channel (fake_channel.c) has one session, and a handshake of the same id:
//   begin: '2', then message_1; or '1'.  step: '4', then the message, and the session.
//   seal: the type's digit, aad, body.  open: the reverse.
// The bootstrap server (fake_bootstrap.c) of `ca` is the server "k" and has the device "d":
//   its secret is "once", any certificate is its own.  certify: `ca` for a request that begins as
//   DER does, and KD_ERR_BAD_CSR for others; the certificate of "k" at "k" is `ca`, too.  What an
//   operator asks for is done to "d", whatever its name; each paper of the CA is `ca`.
#ifndef KD_TESTS_FAKE_SERVICE_H
#define KD_TESTS_FAKE_SERVICE_H

#include "keyd/audit.h"
#include "keyd/channel.h"
#include "keyd/service.h"

#define FAKE_SECRET "AAAAAAAAAAAAAAAAAAAAAA"
#define FAKE_DIGEST_BYTES 32
#define FAKE_SECRET_LIFETIME_MAX 1000
#define FAKE_KEYS 3 // "aes" (AES), "ec" (P-256, the generator), "pub" (imported, P-384)

#define FAKE_SESSION "00112233445566aa"
#define FAKE_PEERS 2 // "device" (certificate), "sensor" (P-256, the generator)

extern const uint8_t fake_point[65];

struct fake_job;

// What the tests set and look at.
struct kd_service {
    struct kd_loop *loop;
    struct fake_job *held;
    struct kd_audit *audit; // a real one, where the fixture opens it
    uint32_t audited;       // operations that have a line each
    // set by tests
    enum kd_err identify; // what the calls of this name answer
    enum kd_err allows;
    enum kd_err ready;
    enum kd_err at_once; // of asynchronous calls, before anything is accepted
    enum kd_err later;   // given to done
    enum kd_err item;    // of the second item, and of the only one; of a handshake
    const char *detail;  // given to done and to ready
    const struct kd_key *listed; // NULL: the three; else n_listed others, by name
    size_t n_listed;
    bool is_channel_off;
    struct kd_bytes ca; // a certificate, DER; empty: there is no bootstrap server
    bool has_received;  // of a release
    bool holds;         // done waits for fake_service_release
    // seen
    unsigned n_calls; // asynchronous ones that were accepted
    unsigned n_identified;
    unsigned n_held;
    struct kd_credential credential; // the last; without pointers
    char bearer[64];
    uint8_t certificate[32];
    size_t n_certificate;
    char call[32];  // the last asynchronous one: "work", "create", ...
    char name[80];  // of the key or secret
    char text[256]; // the rest of its arguments, one way or other
    char request_id[40];
};

void fake_service_init(struct kd_service *s, struct kd_loop *loop);
// In the loop's thread: lets all that is held go on.
void fake_service_release(struct kd_service *s);

#endif
