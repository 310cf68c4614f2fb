// SPDX-License-Identifier: Apache-2.0
// sources.h: TLS handshakes that are begun in a second, of all and of each source, so that who
// floods an address leaves some for others.  No I/O, no clock.
#ifndef KD_API_SOURCES_H
#define KD_API_SOURCES_H

#include "base/base.h"

#include <sys/socket.h>

struct kd_sources { // zero: none yet
    uint64_t second;
    uint32_t n;         // in it, of all
    struct kd_map each; // those that have begun one in it
};

// One more, in this second: false where there are `max`, or `per_source` of the source: an IPv4
// address, or the 64 bits of an IPv6 address that a host has as a rule for itself.  What is refused
// counts for nobody.  Also false without memory.
bool kd_sources_take(struct kd_sources *s, uint64_t second, const struct sockaddr *from,
                     uint32_t max, uint32_t per_source);
void kd_sources_wipe(struct kd_sources *s);

#endif
