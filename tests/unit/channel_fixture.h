// SPDX-License-Identifier: Apache-2.0
// channel_fixture.h: the service with its channel on, on the fake worker, and
// calls that wait for their answer.  uid 7 may do all, and uid 9 too; uid 8 little.
#ifndef KD_TESTS_CHANNEL_FIXTURE_H
#define KD_TESTS_CHANNEL_FIXTURE_H

#include "keyd/channel.h"
#include "keyd/cookie.h"
#include "tests/unit/fake_worker_channel.h"
#include "tests/unit/service_fixture.h"

struct channel_fixture {
    uint8_t cookie[KD_COOKIE_BYTES];
    // of the last handshake step
    enum kd_err refusal;
    char handshake[KD_SESSION_TEXT_BYTES];
    struct kd_buf message;
    bool has_session;
    struct kd_session_info session; // without its peer; also of a resume or update
    char peer[80];
    // of the last records
    size_t n;
    struct {
        enum kd_err err;
        char session[KD_SESSION_TEXT_BYTES];
        uint8_t type;
        uint64_t sequence;
        struct kd_buf out, answer;
    } results[4];
    // of the last resume or update
    struct kd_buf record, node_nonce;
};

extern struct channel_fixture cx;

void channel_setup(void);
void channel_teardown(void);
void channel_start(const char *script); // with identity, root and ticket key, and peer "device"
void channel_restart(void);             // the same service again, with a good worker
enum kd_err channel_add_peer(const char *name, const char *kid);
enum kd_err channel_delete_peer(uid_t uid, const char *name);
struct kd_bytes channel_certificate(unsigned scalar, long days); // DER, in a static buffer

enum kd_err channel_begin(uid_t uid, const char *message, unsigned method);
// The cookie of a KD_ERR_HS_RETRY is in cx.cookie.
enum kd_err channel_begin_with(uid_t uid, const char *message, unsigned method, const char *address,
                               struct kd_bytes cookie);
enum kd_err channel_step(uid_t uid, const char *id, struct kd_bytes message);
struct kd_bytes channel_says(const char *kid);           // a message with this ID_CRED
const char *channel_session(uid_t uid, const char *kid); // a handshake from begin to end
void channel_on_records(void *arg, enum kd_err err, const char *detail,
                        const struct kd_record_result *results, size_t n);
enum kd_err channel_records(uid_t uid, const struct kd_record_work *work);
enum kd_err channel_seal(uid_t uid, const char *id, const char *body); // the item's error
enum kd_err channel_open(uid_t uid, struct kd_bytes record);
// A record of the peer, under the keys that the ticket of the session gives.
struct kd_bytes channel_record(const char *id, uint64_t sequence, uint8_t type, const char *body);
// The same for a resume, with this node nonce.
struct kd_bytes channel_resumed_record(const char *id, struct kd_bytes ticket, const char *nonce,
                                       struct kd_bytes node_nonce, uint64_t sequence,
                                       const char *body);
enum kd_err channel_resume(uid_t uid, struct kd_bytes ticket, const char *nonce);
enum kd_err channel_update(uid_t uid, const char *id);
enum kd_err channel_end(uid_t uid, const char *id); // deletes the session

#endif
