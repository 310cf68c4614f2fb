// SPDX-License-Identifier: Apache-2.0
// config.h: keyd-gateway.conf.
#ifndef KD_GATEWAY_CONFIG_H
#define KD_GATEWAY_CONFIG_H

#include "gateway/client.h"

#define KD_GATEWAY_ADDRESSES_MAX 8

struct kd_addresses {
    size_t n;
    const char *where[KD_GATEWAY_ADDRESSES_MAX]; // "address:port"
};

// Strings live as long as the configuration.
struct kd_gateway_config {
    struct kd_client_config keyd;
    struct kd_client_config backend;
    struct kd_addresses tcp, udp, http;
    const char *admin; // "address:port" of health and metrics; "": none
    const char *push;  // "address:port" for the backend's messages to devices; "": none
    const char *push_token_file;
    enum kd_log_level log_level;
    bool takes_over; // the keys of sessions of profile released (mode = released)
    uint32_t released_check_ms;
    uint32_t connections_max;
    uint32_t pending_max;      // questions without an answer, of all devices
    uint32_t pending_per_peer; // of one device
    uint32_t in_flight_max;    // of one connection
    uint32_t unsent_max_bytes; // answers that one connection does not take
    uint32_t idle_timeout_ms;
    uint32_t frame_timeout_ms; // from the first byte of a frame to its last
    uint32_t datagram_max_bytes;
    uint32_t answers_max; // datagrams whose answers are kept
    uint32_t answers_for_ms;
    uint32_t batch_max; // records in one request to keyd
    uint32_t push_timeout_ms;
    uint32_t stop_timeout_ms;
    void *file; // what the strings are of
};

// Complaints go to *errors, a line each; KD_ERR_CONFIG, KD_ERR_NO_FILE.
KD_MUST_CHECK enum kd_err kd_gateway_config_read(const char *path, struct kd_buf *errors,
                                                 struct kd_gateway_config **out);
void kd_gateway_config_free(struct kd_gateway_config *c);
KD_AUTO_DEFINE(gateway_config, struct kd_gateway_config *, kd_gateway_config_free)
void kd_gateway_config_print(struct kd_buf *out); // every key with its default and what it is

#endif
