// SPDX-License-Identifier: Apache-2.0
// address.c: the special-purpose addresses (RFC 6890 and IANA's registries), which no
// certificate is fetched from.
#include "fetch/address.h"

#include <netinet/in.h>
#include <string.h>

static const struct {
    uint8_t prefix[4];
    unsigned bits;
} special4[] = {
    { { 0, 0, 0, 0 }, 8 },       // this network
    { { 10, 0, 0, 0 }, 8 },      // private
    { { 100, 64, 0, 0 }, 10 },   // shared, RFC 6598
    { { 127, 0, 0, 0 }, 8 },     // loopback
    { { 169, 254, 0, 0 }, 16 },  // link-local; clouds keep their secrets there
    { { 172, 16, 0, 0 }, 12 },   // private
    { { 192, 0, 0, 0 }, 24 },    // protocol assignments
    { { 192, 0, 2, 0 }, 24 },    // documentation
    { { 192, 88, 99, 0 }, 24 },  // 6to4 relays
    { { 192, 168, 0, 0 }, 16 },  // private
    { { 198, 18, 0, 0 }, 15 },   // benchmarks
    { { 198, 51, 100, 0 }, 24 }, // documentation
    { { 203, 0, 113, 0 }, 24 },  // documentation
    { { 224, 0, 0, 0 }, 4 },     // multicast
    { { 240, 0, 0, 0 }, 4 },     // reserved, broadcast
};

// Within 2000::/3, which is all that is global unicast.
static const struct {
    uint8_t prefix[6];
    unsigned bits;
} special6[] = {
    { { 0x20, 0x01, 0x00 }, 23 },       // protocol assignments, Teredo, ORCHID
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, // documentation
    { { 0x20, 0x02 }, 16 },             // 6to4: carries an IPv4 address
    { { 0x3f, 0xff, 0x00 }, 20 },       // documentation, RFC 9637
};

static bool is_in(const uint8_t *address, const uint8_t *prefix, unsigned bits) {
    const unsigned bytes = bits / 8;
    const unsigned rest = bits % 8;
    return memcmp(address, prefix, bytes) == 0 &&
           (rest == 0 || (address[bytes] ^ prefix[bytes]) >> (8 - rest) == 0);
}

static bool is_public4(const uint8_t address[static 4]) {
    for (size_t i = 0; i < KD_COUNT_OF(special4); i++) {
        if (is_in(address, special4[i].prefix, special4[i].bits)) {
            return false;
        }
    }
    return true;
}

static bool is_public6(const uint8_t address[static 16]) {
    if (address[0] >> 5 != 1) { // 2000::/3: not ::1, mapped, NAT64, fc00::/7, fe80::/10, ff00::/8
        return false;
    }
    for (size_t i = 0; i < KD_COUNT_OF(special6); i++) {
        if (is_in(address, special6[i].prefix, special6[i].bits)) {
            return false;
        }
    }
    return true;
}

bool kd_address_is_public(const struct sockaddr *address, size_t n) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (n >= sizeof(v4) && address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        return is_public4((const uint8_t *)&v4.sin_addr);
    }
    if (n >= sizeof(v6) && address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof(v6));
        return is_public6(v6.sin6_addr.s6_addr);
    }
    return false;
}
