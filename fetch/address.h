// SPDX-License-Identifier: Apache-2.0
// address.h: addresses that a certificate may be fetched from.
#ifndef KD_FETCH_ADDRESS_H
#define KD_FETCH_ADDRESS_H

#include "base/base.h"

#include <sys/socket.h>

// Globally reachable by the registries of RFC 6890 (IPv4) and, for IPv6, global unicast without
// what carries an IPv4 address or is for documentation.  false for any other family.
bool kd_address_is_public(const struct sockaddr *address, size_t n);

#endif
