// SPDX-License-Identifier: Apache-2.0
// device_pair.h: a device of libkeyd and its server in one process, with their files in a folder.
#ifndef KD_TESTS_DEVICE_PAIR_H
#define KD_TESTS_DEVICE_PAIR_H

#include "client/keyd.h"
#include "tests/unit/device_server.h"
#include "tests/unit/keyd_assert.h"

struct device_pair {
    char folder[64], key_file[96], certificate_file[96], server_file[96];
    struct pki_cert own, theirs;
    struct device_server server;
    struct keyd_config config;  // by the transport of device_server.h
    struct keyd_device *device; // NULL: the test makes it
};

// `spec` is of the device's certificate; NULL: one that is good for a day.
void device_pair_open(struct device_pair *p, const struct pki_spec *spec);
void device_pair_close(struct device_pair *p);

// A message and its answer, which is that message.
enum keyd_err device_pair_ask(struct device_pair *p);

#endif
