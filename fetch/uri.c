// SPDX-License-Identifier: Apache-2.0
// uri.c: which URIs may be fetched.  Their grammar is smaller than RFC 3986's on purpose:
// nothing is left in them that a client and a server could read differently.
#include "fetch/fetch.h"

#include <string.h>
#include <strings.h>

static const char scheme[] = "https://";
enum { SCHEME_BYTES = sizeof(scheme) - 1 };

// A host is a name, an IPv4 address or [IPv6], with a port or without.
static bool is_host_byte(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr(".-:[]", c) != NULL);
}

static bool is_path_byte(uint8_t c) {
    return is_host_byte(c) || (c != '\0' && strchr("/_~!$&'()*+,;=@%", c) != NULL);
}

// %2e, %2f, %5c and their like are the bytes that a server may take for others; a control
// byte has no business in a name.
static bool has_bad_escape(struct kd_bytes uri) {
    static const char *const bad[] = { "2e", "2f", "5c", "25", "7f" };
    for (size_t i = 0; i < uri.n; i++) {
        if (uri.p[i] != '%') {
            continue;
        }
        char digits[3] = "";
        uint8_t byte = 0;
        if (uri.n - i < 3) {
            return true;
        }
        memcpy(digits, uri.p + i + 1, 2);
        if (kd_hex_decode(digits, &byte, 1) != KD_OK || byte < ' ') {
            return true;
        }
        for (size_t k = 0; k < KD_COUNT_OF(bad); k++) {
            if (strcasecmp(digits, bad[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool has_bad_segment(struct kd_bytes path) {
    size_t start = 1; // path[0] is '/'
    for (size_t i = 1; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/') {
            continue;
        }
        const size_t n = i - start;
        const bool is_dots = (n == 1 && path.p[start] == '.') ||
                             (n == 2 && path.p[start] == '.' && path.p[start + 1] == '.');
        if (is_dots || (n == 0 && i < path.n)) {
            return true; // a dot segment, or an empty one that is not the last
        }
        start = i + 1;
    }
    return false;
}

bool kd_fetch_uri_is_plain(struct kd_bytes uri) {
    if (uri.n <= SCHEME_BYTES || uri.n > KD_FETCH_URI_MAX_BYTES ||
        memcmp(uri.p, scheme, SCHEME_BYTES) != 0) {
        return false;
    }
    size_t i = SCHEME_BYTES;
    while (i < uri.n && is_host_byte(uri.p[i])) {
        i++;
    }
    // It begins with a letter, a digit or a bracket.
    if (i == SCHEME_BYTES || i == uri.n || uri.p[i] != '/' ||
        strchr(".-:]", uri.p[SCHEME_BYTES]) != NULL) {
        return false;
    }
    const struct kd_bytes path = { uri.p + i, uri.n - i };
    for (; i < uri.n; i++) {
        if (!is_path_byte(uri.p[i])) {
            return false;
        }
    }
    return !has_bad_escape(path) && !has_bad_segment(path);
}

bool kd_fetch_prefix_is_valid(const char *text) {
    const struct kd_bytes uri = kd_bytes_of_text(text);
    return kd_fetch_uri_is_plain(uri) && uri.p[uri.n - 1] == '/';
}

const struct kd_fetch_prefix *kd_fetch_find_prefix(const struct kd_fetch_prefix *list, size_t n,
                                                   struct kd_bytes uri) {
    for (size_t i = 0; i < n; i++) {
        if (uri.n > list[i].text.n && memcmp(uri.p, list[i].text.p, list[i].text.n) == 0) {
            return &list[i];
        }
    }
    return NULL;
}
