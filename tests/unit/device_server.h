// SPDX-License-Identifier: Apache-2.0
// device_server.h: a server of libkeyd in the test's own process, by a transport of the caller's:
// handshakes with a key in software, records of profile released, tickets and resumptions.  It has
// memory where the device has none.
#ifndef KD_TESTS_DEVICE_SERVER_H
#define KD_TESTS_DEVICE_SERVER_H

#include "channel/channel.h"
#include "tests/unit/pki.h"

struct device_server {
    struct kd_identity identity;
    struct kd_buf id_cred, cred, device_cred;
    struct kd_point device; // its public key
    struct kd_edhoc *edhoc; // under way
    struct kd_secret *prk_out;
    enum kd_md md;
    struct kd_kept_traffic traffic;
    struct kd_record_ivs ivs;
    uint64_t sequence, update;
    uint8_t out[KD_FRAME_MAX_BYTES]; // the frame that is received next
    size_t n_out;
    unsigned status;     // of the backend; 0: it answers
    int64_t ahead_ms;    // its clock, of this process's
    bool forgets;        // the session, at the next record
    int fails;           // the next record, with this failure; 0: it does not
    unsigned n_sessions; // handshakes that came to their end
    unsigned n_resumed;
    unsigned n_messages; // delivered
    uint8_t ack[256];    // the last acknowledgement of a push, a frame
    size_t n_ack;
    unsigned n_acks;
};

// The certificates of both; `own` has its key.
void device_server_open(struct device_server *s, const struct pki_cert *own,
                        const struct pki_cert *device);
void device_server_close(struct device_server *s);

// A frame with a message that the device did not ask for.
void device_server_push(struct device_server *s, uint32_t id, const char *text,
                        struct kd_buf *frame);

// The device has another certificate of its key.
void device_server_know(struct device_server *s, const struct pki_cert *device);

// The transport (client/keyd.h); arg: the server.  A message is answered by itself.
int device_server_send(void *server, const uint8_t *frame, size_t n, unsigned timeout_ms);
int device_server_receive(void *server, uint8_t *frame, size_t max, size_t *n, unsigned timeout_ms);

#endif
