// SPDX-License-Identifier: Apache-2.0
// config_parts.c: what the keys of the bootstrap server must have in common.
#include "keyd/conf.h"
#include "keyd/config.h"

#include <string.h>

// No path and no slash at the end: "/c/..." follows.
static bool is_base_uri(const char *text) {
    static const char scheme[] = "https://";
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789.-:[]";
    const size_t n = sizeof(scheme) - 1;
    return strncmp(text, scheme, n) == 0 && text[n] != '\0' &&
           text[n + strspn(text + n, allowed)] == '\0';
}

static const char *check_bootstrap(const struct kd_config *c) {
    if (c->bootstrap.tcp_address[0] == '\0') {
        return NULL;
    }
    if (c->ca.key[0] == '\0') {
        return "bootstrap: tcp-address needs the section ca";
    }
    return c->bootstrap.tls_certificate[0] == '\0' || c->bootstrap.tls_key[0] == '\0'
               ? "bootstrap: tcp-address needs tls-certificate and tls-key"
               : NULL;
}

const char *kd_config_check_ca(const struct kd_config *c) {
    const struct kd_ca_config *ca = &c->ca;
    if (ca->key[0] == '\0') {
        return check_bootstrap(c);
    }
    if (c->channel.identity[0] == '\0') {
        return "ca: key needs channel: devices are its peers";
    }
    if (ca->certificate_file[0] == '\0' || ca->server_id[0] == '\0' || ca->base_uri[0] == '\0') {
        return "ca: key needs certificate-file, server-id and base-uri";
    }
    if (!is_base_uri(ca->base_uri)) {
        return "ca: base-uri must be https://host or https://host:port";
    }
    if (ca->secret_lifetime_sec > ca->secret_lifetime_max_sec) {
        return "ca: secret-lifetime is longer than secret-lifetime-max";
    }
    return check_bootstrap(c);
}
