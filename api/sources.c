// SPDX-License-Identifier: Apache-2.0
// sources.c: see sources.h.  There are never more entries than handshakes may be begun in a second:
// a source gets its entry with the first that is let through.
#include "api/sources.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct source { // kd_map_named
    char address[KD_NAME_MAX_BYTES + 1];
    uint32_t n;
};

static void print_source(const struct sockaddr *from, char out[static INET6_ADDRSTRLEN]) {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    out[0] = '\0';
    if (from->sa_family == AF_INET) {
        memcpy(&in, from, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, out, INET6_ADDRSTRLEN);
    } else if (from->sa_family == AF_INET6) {
        memcpy(&in6, from, sizeof(in6));
        memset(in6.sin6_addr.s6_addr + 8, 0, 8);
        inet_ntop(AF_INET6, &in6.sin6_addr, out, INET6_ADDRSTRLEN);
    }
}

static void forget(struct kd_sources *s) {
    size_t cursor = 0;
    for (void *one; (one = kd_map_next(&s->each, &cursor)) != NULL;) {
        kd_map_free_named(&s->each, one);
    }
    s->n = 0;
}

bool kd_sources_take(struct kd_sources *s, uint64_t second, const struct sockaddr *from,
                     uint32_t max, uint32_t per_source) {
    char address[INET6_ADDRSTRLEN];
    if (second != s->second) {
        forget(s);
        s->second = second;
    }
    if (s->n >= max) {
        return false;
    }
    print_source(from, address);
    struct source *one = kd_map_named(&s->each, address, sizeof(*one));
    if (one == NULL || one->n >= per_source) {
        return false;
    }
    one->n++;
    s->n++;
    return true;
}

void kd_sources_wipe(struct kd_sources *s) {
    forget(s);
    kd_map_wipe(&s->each);
}
