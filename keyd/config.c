// SPDX-License-Identifier: Apache-2.0
// config.c: the table of all configuration keys, and what is made from it: the
// parser's options and the values.  Checks of one value are in config_check.c, the sample
// file in config_print.c.  keyd.conf(5) is
// held against this table by tests/unit/test_config.c.
#include "keyd/config.h"

#include "api/api.h"
#include "keyd/conf.h"
#include "keyd/config_row.h"
#include "keyd/words.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = KD_CONFIG_TEXT_MAX, PATH_MAX_BYTES = 1024, SOCKET_PATH_MAX = 107 };
enum { HSM_THREADS_AUTO = 16, PROCESSES_AUTO_MAX = 8, SECTION_ROWS_MAX = 48 };

#define TOP(field) false, offsetof(struct kd_config, field)
#define TOKEN(field) false, offsetof(struct kd_config, token.field)
#define WORKERS(field) false, offsetof(struct kd_config, workers.field)
#define SECRETS(field) false, offsetof(struct kd_config, secrets.field)
#define CHANNEL(field) false, offsetof(struct kd_config, channel.field)
#define TRUST(field) false, offsetof(struct kd_config, trust.field)
#define CA(field) false, offsetof(struct kd_config, ca.field)
#define BOOTSTRAP(field) false, offsetof(struct kd_config, bootstrap.field)
#define FETCH(field) false, offsetof(struct kd_config, fetch.field)
#define AUDIT(field) false, offsetof(struct kd_config, audit.field)
#define HTTP(field) true, offsetof(struct kd_http_config, field)

// clang-format off
static const struct kd_config_row rows[] = {
    { "", "state-directory", PATH, TOP(state_directory), KD_STATEDIR, 1, PATH_MAX_BYTES, "Where the registry of keys is kept. Made with mode 0700 if it is not there; refused where others may write." },
    { "", "policy-file", PATH, TOP(policy_file), KD_SYSCONFDIR "/policy.conf", 1, PATH_MAX_BYTES, "Who may do what with which keys: keyd-policy(5)." },
    { "", "log-level", LEVEL, TOP(log_level), "info", 1, 16, "error, warn, info or debug." },
    { "", "stop-timeout", NUMBER, TOP(stop_timeout_sec), "20", 0, 3600, "Seconds that a stop waits for requests under way." },

    { "token", "module", PATH, TOKEN(module), "", 0, PATH_MAX_BYTES, "The PKCS#11 module. Empty: the modules that p11-kit has configured." },
    { "token", "init-args", TEXT, TOKEN(init_args), "", 0, TEXT_MAX, "Text for the reserved field of C_Initialize; NSS softokn needs it." },
    { "token", "environment", LIST, TOKEN(environment), "{}", 0, KD_HSM_ENV_MAX, "NAME=value for the module, set in the workers only. No secrets here." },
    { "token", "uri", TEXT, TOKEN(uri), "pkcs11:", 7, TEXT_MAX, "PKCS#11 URI (RFC 7512) that names one token, without pin-value and pin-source." },
    { "token", "pin-file", PATH, TOKEN(pin_file), "", 0, PATH_MAX_BYTES, "File with the PIN in its first line, not readable by others. Read by the workers only." },
    { "token", "pin-credential", TEXT, TOKEN(pin_credential), "", 0, 255, "Name of a systemd credential that holds the PIN, in place of pin-file." },

    { "workers", "program", PATH, WORKERS(program), KD_LIBEXECDIR "/keyd-hsm", 1, PATH_MAX_BYTES, "The worker program." },
    { "workers", "user", TEXT, WORKERS(user), "", 0, 32, "The user that workers run as, who alone need read the PIN and the token's files. Empty: keyd's own. keyd(8) says what keyd needs for it." },
    { "workers", "processes", NUMBER, WORKERS(processes), "0", 0, KD_WORKERS_MAX, "Worker processes. 0: one a core, at most 8, for SoftHSM and NSS softokn, else 1." },
    { "workers", "threads", NUMBER, WORKERS(threads), "0", 0, 256, "Threads in each worker, each with a session of its own. 0: 1 for SoftHSM and NSS softokn, else 16." },
    { "workers", "deadline-ms", NUMBER, WORKERS(deadline_ms), "10000", 100, 600000, "A request (a batch is one) that takes longer ends with an error, and its worker is replaced." },
    { "workers", "start-deadline-ms", NUMBER, WORKERS(start_deadline_ms), "30000", 1000, 600000, "The longest that a worker may take to load the module, log in and probe the token." },
    { "workers", "ping-ms", NUMBER, WORKERS(ping_ms), "5000", 100, 600000, "A worker that had nothing to do for so long asks the token whether it is there, so that readyz tells, and sessions are not closed for being idle." },
    { "workers", "queue-max", NUMBER, WORKERS(queue_max), "1024", 1, 4096, "Requests in flight at one worker. When all are full, callers get 503." },
    { "workers", "restart-delay", NUMBER, WORKERS(restart_delay_ms), "100", 1, 30000, "Milliseconds before a worker that died is started again; doubled after each failure, to 30 seconds." },

    { "http", "unix-path", PATH, HTTP(unix_path), KD_RUNDIR "/keyd.sock", 0, SOCKET_PATH_MAX, "The Unix socket. Empty: none." },
    { "http", "unix-mode", OCTAL, HTTP(unix_mode), "0660", 0, 0777, "Mode of the Unix socket." },
    { "http", "unix-group", TEXT, HTTP(unix_group), "", 0, 32, "Group of the Unix socket. Empty: the group that keyd runs as." },
    { "http", "tcp-address", TEXT, HTTP(tcp_address), "", 0, 64, "Numeric IPv4 or IPv6 address to listen on. Empty: no TCP." },
    { "http", "tcp-port", NUMBER16, HTTP(tcp_port), "0", 0, 65535, "TCP port. 0: any free one; the log says which." },
    { "http", "tls-certificate", PATH, HTTP(tls_certificate), "", 0, PATH_MAX_BYTES, "Server certificate chain (PEM). Empty: TCP without TLS, on loopback addresses only. Read again on SIGHUP, with its key." },
    { "http", "tls-key", PATH, HTTP(tls_key), "", 0, PATH_MAX_BYTES, "Private key of the certificate (PEM)." },
    { "http", "tls-client-ca", PATH, HTTP(tls_client_ca), "", 0, PATH_MAX_BYTES, "CA certificates (PEM) for client certificates. Empty: clients are not asked for one. Read again on SIGHUP." },
    { "http", "connections-max", NUMBER, HTTP(connections_max), "4096", 1, 1000000, "Connections at once. When there are so many, another takes the place of the oldest over TCP by which nobody has shown who he is; without such a one, of the longest idle one of the user or principal who has the most and keeps no fewer than the other then has, or of one of his by which for two seconds a request has been half sent or its answer not taken; else it is told busy." },
    { "http", "tls-handshakes-max", NUMBER, HTTP(tls_handshakes_max), "500", 1, 1000000, "New TLS connections in a second, at http.tcp-port and at bootstrap.tcp-port each; more are closed before their handshake, whose time keyd needs for all others." },
    { "http", "tls-handshakes-per-source", NUMBER, HTTP(tls_handshakes_per_source), "0", 0, 1000000, "Of them, those of one source: an IPv4 address, or an IPv6 /64. Where all come through one NAT or balancer, as many as of all. 0: a quarter." },
    { "http", "principal-max", NUMBER, HTTP(principal_max), "0", 0, 262144, "Requests of one principal that are worked on at once; more get 503. 0: three quarters of what fits into the queues of all workers." },
    { "http", "body-max-bytes", NUMBER, HTTP(body_max_bytes), "4194304", 1024, 16777216, "The largest request body." },
    { "http", "large-max-bytes", NUMBER, HTTP(large_max_bytes), "536870912", 67108864, 4294967295, "Memory for the bodies and answers of all requests that take over 64 KiB. When it is used up, more of these get 503." },
    { "http", "header-max-bytes", NUMBER, HTTP(header_max_bytes), "8192", 1024, 1048576, "The largest request header." },
    { "http", "header-timeout-ms", NUMBER, HTTP(header_timeout_ms), "10000", 100, 600000, "From the first byte of a request to the end of its header." },
    { "http", "body-timeout-ms", NUMBER, HTTP(body_timeout_ms), "30000", 100, 600000, "From the end of the header to the end of the body." },
    { "http", "idle-timeout-ms", NUMBER, HTTP(idle_timeout_ms), "60000", 100, 3600000, "How long a connection may stay without a request." },
    { "http", "retry-after", NUMBER, HTTP(retry_after_sec), "1", 1, 3600, "Seconds, said in Retry-After of a 503 answer." },

    { "secrets", "lifetime-default", NUMBER, SECRETS(lifetime_default_sec), "3600", 1, 31536000, "Seconds that a derived secret lives when the caller does not say." },
    { "secrets", "lifetime-max", NUMBER, SECRETS(lifetime_max_sec), "86400", 1, 31536000, "The longest lifetime that a caller may ask for, in seconds." },
    { "secrets", "per-principal-max", NUMBER, SECRETS(per_principal_max), "10000", 1, 1000000, "Secrets of one principal at once." },
    { "secrets", "total-max", NUMBER, SECRETS(total_max), "100000", 1, 1000000, "Secrets of all principals at once." },
    { "secrets", "cached-in-token", NUMBER, SECRETS(cached_in_token), "1000", 1, 1000000, "Session objects that each worker keeps for derived secrets; others are derived again when used." },
    { "secrets", "allow-extractable", SWITCH, SECRETS(allow_extractable), "false", 0, 1, "HKDF on a token that has neither HKDF nor C_DigestKey: may the input pass through the worker's locked memory?" },

    { "channel", "identity", NAME, CHANNEL(identity), "", 0, KD_NAME_MAX_BYTES, "Name of the EC key that this server proves itself with. Empty: the channel is off." },
    { "channel", "certificate-file", PATH, CHANNEL(certificate_file), "", 0, PATH_MAX_BYTES, "Certificate (PEM) of an enabled version of the identity. Read again on SIGHUP." },
    { "channel", "id-cred", CREDENTIAL, CHANNEL(id_cred), "x5t", 1, 16, "How the certificate is named to peers that do not ask for a way: x5t (fingerprint), x5u (URI), x5u+x5t (both) or x5chain (the whole of certificate-file)." },
    { "channel", "certificate-uri", TEXT, CHANNEL(certificate_uri), "", 0, KD_X5U_MAX_BYTES, "Where peers can get the certificate, for x5u." },
    { "channel", "certificate-warn", NUMBER, CHANNEL(certificate_warn_days), "14", 0, 3650, "Days before its certificate expires that the log begins to warn, once a day. 0: it does not." },
    { "channel", "x5t-hash", HASH, CHANNEL(x5t_hash), "sha-256/64", 1, 16, "Hash of the fingerprint: sha-256/64, sha-256, sha-384, sha-512, sha-512/256, shake128 or shake256." },
    { "channel", "root", NAME, CHANNEL(root), "", 0, KD_NAME_MAX_BYTES, "Name of the EC key (derive) that is the token's share of each resident session." },
    { "channel", "ticket", NAME, CHANNEL(ticket), "", 0, KD_NAME_MAX_BYTES, "Name of the AES-256 key (encrypt, decrypt) that seals session tickets." },
    { "channel", "methods", NUMBERS, CHANNEL(methods), "{0, 1, 2, 3}", 0, 3, "EDHOC methods that are accepted, as far as the identity's key fits: a signing key signs, one that derives does static Diffie-Hellman." },
    { "channel", "suites", NUMBERS, CHANNEL(suites), "{3, 2, 24}", 2, 24, "EDHOC cipher suites, the most preferred first. Those of the identity's curve are used: 3 and 2 for P-256, 24 for P-384." },
    { "channel", "profile", PROFILE, CHANNEL(profile), "resident", 1, 16, "Where traffic keys are: resident (in the token) or released (in the worker's locked memory)." },
    { "channel", "session-lifetime", NUMBER, CHANNEL(session_lifetime_sec), "86400", 1, KD_SESSION_LIFETIME_MAX_SEC, "Seconds that a session lives." },
    { "channel", "session-records-max", NUMBER64, CHANNEL(session_records_max), "16777216", 1, 1099511627775, "Records of a session, both ways, before it expires." },
    { "channel", "session-bytes-max", NUMBER64, CHANNEL(session_bytes_max), "68719476736", 1, 1099511627776, "Bytes in the bodies of a session's records, both ways, before it expires." },
    { "channel", "otp-digits", NUMBER, CHANNEL(otp_digits), "8", KD_OTP_DIGITS_MIN, KD_OTP_DIGITS_MAX, "Digits of the one-time password in each record (RFC 6238), in sessions made from now on. Peers learn the three." },
    { "channel", "otp-step", NUMBER, CHANNEL(otp_step_sec), "30", 1, KD_OTP_STEP_MAX_SEC, "Seconds that a one-time password is the one of the time." },
    { "channel", "otp-window", NUMBER, CHANNEL(otp_window), "1", 0, KD_OTP_WINDOW_MAX, "Steps before and after the one of the time whose one-time passwords are taken, too." },
    { "channel", "sessions-max", NUMBER, CHANNEL(sessions_max), "100000", 1, 10000000, "Sessions at once; more are told to come later." },
    { "channel", "sessions-per-peer", NUMBER, CHANNEL(sessions_per_peer), "100", 1, 10000000, "Sessions of one peer at once. When it makes another, the one that it made first ends." },
    { "channel", "ended-max", NUMBER, CHANNEL(ended_max), "100000", 1, 10000000, "Sessions and peers that were ended or deleted, whose tickets are refused until they expire. When it is full, the peer that has the most of them has one end in their place: no ticket of a session that it made up to the last of these is taken. Where none has two, tickets of the sessions that were made first are refused without looking." },
    { "channel", "handshakes-max", NUMBER, CHANNEL(handshakes_max), "1000", 1, 100000, "Handshakes that are not finished, at once. When all are taken, callers get 503." },
    { "channel", "handshakes-retry", NUMBER, CHANNEL(handshakes_retry), "0", 0, 100000, "Unfinished handshakes from which another message_1 must come back with a retry cookie. 0: half of handshakes-max." },
    { "channel", "handshake-timeout-ms", NUMBER, CHANNEL(handshake_timeout_ms), "30000", 100, 600000, "From the first message of a handshake to its last." },
    { "channel", "peers-max", NUMBER, CHANNEL(peers_max), "100000", 1, 10000000, "Peers in the registry. With more than 1000, those that name their certificate by another hash than SHA-256 (whole or 64 bits) are not found." },
    { "channel", "envelope", NAME, CHANNEL(envelope), "", 0, KD_NAME_MAX_BYTES, "Name of the EC P-256 key (derive) that envelopes are sealed to. Empty: none are opened." },
    { "channel", "envelope-validity-max", NUMBER, CHANNEL(envelope_validity_max_sec), "86400", 1, 31536000, "Seconds from an envelope's time to its expiry, at most." },
    { "channel", "envelope-leeway", NUMBER, CHANNEL(envelope_leeway_sec), "60", 0, 3600, "Seconds that a sender's clock may be wrong." },
    { "channel", "envelopes-max", NUMBER, CHANNEL(envelopes_max), "100000", 1, 10000000, "Envelopes that were opened and have not expired, at once: each is opened once. Half of the places are for those that expire within a minute. Who has no place gets 503." },

    { "trust", "anchors-file", PATH, TRUST(anchors_file), "", 0, PATH_MAX_BYTES, "Certificates (PEM) of CAs, on P-256 or P-384, that may vouch for peers that nobody registered. Read again on SIGHUP." },
    { "trust", "crl-file", PATH, TRUST(crl_file), "", 0, PATH_MAX_BYTES, "Revocation lists (PEM) of these CAs. With it, each CA of a path needs a list that has not expired. Read again on SIGHUP." },
    { "trust", "accept-unregistered", SWITCH, TRUST(accept_unregistered), "false", 0, 1, "May a peer that is not registered make a session with a certificate of these CAs?" },
    { "trust", "peer-uri", TEXT, TRUST(peer_uri), "urn:keyd:device:", 1, KD_X5U_MAX_BYTES, "Beginning of the one URI in the certificate's subjectAltName whose rest is the peer's name." },
    { "trust", "required-uris", TEXTS, TRUST(required_uris), "{}", 0, KD_X5U_MAX_BYTES, "Patterns; each must fit a URI in the certificate's subjectAltName: the ids of server and relation." },

    { "fetch", "allow", TEXTS, FETCH(allow), "{}", 0, KD_X5U_MAX_BYTES, "Beginnings (https://HOST/, with a path that ends in /) of URIs that keyd-fetch may get certificates from. Empty, as allow-private: none is fetched." },
    { "fetch", "allow-private", TEXTS, FETCH(allow_private), "{}", 0, KD_X5U_MAX_BYTES, "The same, for hosts at loopback, private and other addresses that are not public." },
    { "fetch", "program", PATH, FETCH(program), KD_LIBEXECDIR "/keyd-fetch", 1, PATH_MAX_BYTES, "The program that fetches." },
    { "fetch", "ca-file", PATH, FETCH(ca_file), "", 0, PATH_MAX_BYTES, "CA certificates (PEM) for the web servers' own. Empty: those of the system." },
    { "fetch", "timeout-ms", NUMBER, FETCH(timeout_ms), "3000", 100, 30000, "From the request for a certificate to its last byte." },
    { "fetch", "bytes-max", NUMBER, FETCH(bytes_max), "16384", 256, 65536, "The largest answer." },
    { "fetch", "pending-max", NUMBER, FETCH(pending_max), "64", 1, 1024, "URIs that are fetched at once. With more, handshakes that need one are refused." },
    { "fetch", "failed-for", NUMBER, FETCH(failed_sec), "30", 0, 3600, "Seconds that a URI is not tried again after it failed." },
    { "fetch", "failed-max", NUMBER, FETCH(failed_max), "1024", 1, 100000, "Failed URIs that are remembered; the oldest goes first." },

    { "audit", "file", PATH, AUDIT(file), "", 0, 1024, "The audit log, made with mode 0600 if it is not there. Empty: none is kept." },
    { "audit", "key", NAME, AUDIT(key), "", 0, KD_NAME_MAX_BYTES, "Name of the HMAC key (sign, verify) that seals the audit log; nobody can make MACs with it but keyd. Empty: it is not sealed." },
    { "audit", "interval", NUMBER, AUDIT(seal_sec), "60", 1, 86400, "Seconds between two seals, where lines were written." },
    { "audit", "file-max-bytes", NUMBER64, AUDIT(bytes_max), "67108864", 65536, 1099511627776, "Bytes of a file, before it is renamed to FILE.N (N: the number of its first line) and the next is begun." },
    { "audit", "operations", OPERATIONS, AUDIT(operations), "{}", 0, 0, "Operations with keys and secrets that have a line each, written before the answer: of sign, verify, mac, mac-verify, encrypt, decrypt, rewrap, ecdh, derive and random. Empty: none; they are counted in /metrics." },

    { "ca", "key", NAME, CA(key), "", 0, KD_NAME_MAX_BYTES, "Name of the EC key (sign) that issues certificates to devices. Empty: this is no bootstrap server." },
    { "ca", "certificate-file", PATH, CA(certificate_file), "", 0, PATH_MAX_BYTES, "The CA's certificate (PEM), then those above it. Read again on SIGHUP; it may be missing until keydctl ca init has made it." },
    { "ca", "server-id", NAME, CA(server_id), "", 0, KD_NAME_MAX_BYTES, "This server's id, in certificates and in their URIs." },
    { "ca", "base-uri", TEXT, CA(base_uri), "", 0, 120, "https://host[:port] of the bootstrap server, as devices reach it; certificates are at BASE/c/SERVER-ID/DEVICE-ID." },
    { "ca", "device-validity", NUMBER, CA(device_validity_sec), "31536000", 1, 3153600000, "Seconds that a device's certificate is valid, at most as long as the CA's." },
    { "ca", "server-validity", NUMBER, CA(server_validity_sec), "31536000", 60, 3153600000, "The same for the server's own certificate." },
    { "ca", "root-validity", NUMBER, CA(root_validity_sec), "315360000", 3600, 3153600000, "The same for the CA's own certificate, where keyd signs it." },
    { "ca", "renew-grace", NUMBER, CA(renew_grace_sec), "2592000", 0, 315360000, "Seconds after its end that a certificate is still good to get the next one with." },
    { "ca", "secret-lifetime", NUMBER, CA(secret_lifetime_sec), "86400", 1, 31536000, "Seconds that a one-time enrolment secret is good when the operator does not say." },
    { "ca", "secret-lifetime-max", NUMBER, CA(secret_lifetime_max_sec), "2592000", 1, 31536000, "The longest that an operator may ask for." },
    { "ca", "devices-max", NUMBER, CA(devices_max), "100000", 1, 10000000, "Devices in the registry, revoked ones too, until they are deleted. The ids of ten times as many deleted ones are kept." },

    { "bootstrap", "tcp-address", TEXT, BOOTSTRAP(tcp_address), "", 0, 64, "Numeric IPv4 or IPv6 address on which devices are served (EST, certificates, provisioning), always with TLS. Empty: they are not." },
    { "bootstrap", "tcp-port", NUMBER16, BOOTSTRAP(tcp_port), "0", 0, 65535, "TCP port. 0: any free one; the log says which." },
    { "bootstrap", "tls-certificate", PATH, BOOTSTRAP(tls_certificate), "", 0, PATH_MAX_BYTES, "Server certificate chain (PEM) of this listener. Read again on SIGHUP, with its key." },
    { "bootstrap", "tls-key", PATH, BOOTSTRAP(tls_key), "", 0, PATH_MAX_BYTES, "Private key of the certificate (PEM)." },
    { "bootstrap", "clients-max", NUMBER, BOOTSTRAP(connections_max), "1024", 1, 1000000, "Connections of devices at once. Times are those of http." },
    { "bootstrap", "request-max-bytes", NUMBER, BOOTSTRAP(body_max_bytes), "16384", 1024, 1048576, "The largest request body of a device." },
};
// clang-format on

static const char *const sections[] = { "token", "workers", "http", "secrets",   "channel",
                                        "trust", "fetch",   "ca",   "bootstrap", "audit" };

static const struct kd_config_row *row_of(const char *section, const char *name) {
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].section, section) == 0 && strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static int check(cfg_t *cfg, cfg_opt_t *option) {
    const struct kd_config_row *row =
        row_of(strcmp(cfg->name, "root") == 0 ? "" : cfg->name, option->name);
    assert(row != NULL);
    return kd_conf_once(cfg, option) != 0 ? -1 : kd_config_check(cfg, row, option);
}

// ---- reading ---------------------------------------------------------------

static cfg_opt_t option_of(const struct kd_config_row *row) {
    cfg_opt_t text = CFG_STR(row->name, row->initial, CFGF_NONE);
    cfg_opt_t number = CFG_INT(row->name, 0, CFGF_NONE);
    cfg_opt_t boolean = CFG_BOOL(row->name, cfg_false, CFGF_NONE);
    cfg_opt_t list = CFG_STR_LIST(row->name, NULL, CFGF_NODEFAULT);
    cfg_opt_t numbers = CFG_INT_LIST(row->name, NULL, CFGF_NODEFAULT);
    cfg_opt_t o = text;
    switch (row->type) {
    case TEXT:
    case PATH:
    case LEVEL:
    case NAME:
    case HASH:
    case PROFILE:
    case CREDENTIAL:
        break;
    case NUMBERS:
        o = numbers;
        break;
    case NUMBER:
    case NUMBER16:
    case NUMBER64:
    case OCTAL:
        o = number;
        o.def.number = strtol(row->initial, NULL, 0);
        break;
    case SWITCH:
        o = boolean;
        o.def.boolean = strcmp(row->initial, "true") == 0 ? cfg_true : cfg_false;
        break;
    case LIST:
    case TEXTS:
    case OPERATIONS:
        o = list;
        break;
    }
    o.validcb = check;
    return o;
}

// The options of one section ("": those outside of sections), ended.
static size_t options_of(const char *section, cfg_opt_t *out) {
    const cfg_opt_t end = CFG_END();
    size_t n = 0;
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        if (strcmp(rows[i].section, section) == 0) {
            assert(n + 1 < SECTION_ROWS_MAX);
            out[n++] = option_of(&rows[i]);
        }
    }
    out[n] = end;
    return n;
}

// An empty list is the default.
static void take_numbers(cfg_t *section, const struct kd_config_row *row,
                         struct kd_number_list *out) {
    const unsigned n = cfg_size(section, row->name);
    for (unsigned i = 0; i < n; i++) {
        out->values[out->n++] = (uint8_t)cfg_getnint(section, row->name, i);
    }
    const char *at = row->initial;
    while (n == 0 && *(at += strcspn(at, "0123456789")) != '\0') {
        char *end = NULL;
        out->values[out->n++] = (uint8_t)strtol(at, &end, 10);
        at = end;
    }
}

static void take_texts(cfg_t *section, const char *name, struct kd_text_list *out) {
    out->n = cfg_size(section, name);
    for (size_t i = 0; i < out->n; i++) {
        out->values[i] = cfg_getnstr(section, name, (unsigned)i);
    }
}

static void take_operations(cfg_t *section, const char *name, uint32_t *out) {
    for (unsigned i = 0; i < cfg_size(section, name); i++) {
        enum kd_permission p;
        *out |= kd_permission_parse(cfg_getnstr(section, name, i), &p) ? 1u << p : 0;
    }
}

static void take_value(struct kd_config *c, const struct kd_config_row *row) {
    cfg_t *section = row->section[0] == '\0' ? c->source : cfg_getsec(c->source, row->section);
    uint8_t *at = (row->in_http ? (uint8_t *)c->http : (uint8_t *)c) + row->offset;
    switch (row->type) {
    case TEXT:
    case PATH:
    case NAME:
        *(const char **)(void *)at = cfg_getstr(section, row->name);
        break;
    case NUMBER:
        *(uint32_t *)(void *)at = (uint32_t)cfg_getint(section, row->name);
        break;
    case NUMBER64:
        *(uint64_t *)(void *)at = (uint64_t)cfg_getint(section, row->name);
        break;
    case NUMBERS:
        take_numbers(section, row, (struct kd_number_list *)(void *)at);
        break;
    case HASH: // checked before
        (void)kd_config_hash_parse(cfg_getstr(section, row->name), (int *)(void *)at);
        break;
    case CREDENTIAL:
        (void)kd_config_credential_parse(cfg_getstr(section, row->name),
                                         (enum kd_idcred_kind *)(void *)at);
        break;
    case TEXTS:
        take_texts(section, row->name, (struct kd_text_list *)(void *)at);
        break;
    case OPERATIONS: // checked before
        take_operations(section, row->name, (uint32_t *)(void *)at);
        break;
    case PROFILE:
        (void)kd_config_profile_parse(cfg_getstr(section, row->name),
                                      (enum kd_profile *)(void *)at);
        break;
    case NUMBER16:
        *(uint16_t *)(void *)at = (uint16_t)cfg_getint(section, row->name);
        break;
    case OCTAL:
        *(unsigned *)(void *)at = (unsigned)cfg_getint(section, row->name);
        break;
    case SWITCH:
        *(bool *)(void *)at = cfg_getbool(section, row->name) == cfg_true;
        break;
    case LEVEL:
        if (!kd_log_level_parse(cfg_getstr(section, row->name), (enum kd_log_level *)(void *)at)) {
            assert(false);
        }
        break;
    case LIST: // there is one
        c->token.n_environment = cfg_size(section, row->name);
        for (size_t i = 0; i < c->token.n_environment; i++) {
            c->token.environment[i] = cfg_getnstr(section, row->name, (unsigned)i);
        }
        break;
    }
}

// A module that works in this machine's memory, where processes scale and
// threads do not (docs/architecture.md).
static bool is_software_token(const struct kd_token_config *t) {
    static const char *const marks[] = { "softhsm", "softokn" };
    for (size_t i = 0; i < KD_COUNT_OF(marks); i++) {
        if (strcasestr(t->module, marks[i]) != NULL || strcasestr(t->uri, marks[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static void choose_workers(struct kd_config *c) {
    const bool is_software = is_software_token(&c->token);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->workers.processes == 0 && is_software) {
        c->workers.processes = cores < 1                    ? 1
                               : cores > PROCESSES_AUTO_MAX ? PROCESSES_AUTO_MAX
                                                            : (uint32_t)cores;
    }
    c->workers.processes = c->workers.processes == 0 ? 1 : c->workers.processes;
    if (c->workers.threads == 0) {
        c->workers.threads = is_software ? 1 : HSM_THREADS_AUTO;
    }
    if (c->http->tls_handshakes_per_source == 0) {
        c->http->tls_handshakes_per_source = (c->http->tls_handshakes_max + 3) / 4;
    }
    if (c->http->principal_max == 0) { // at least one; processes * queue_max is under 2^19
        c->http->principal_max = (c->workers.processes * c->workers.queue_max * 3 + 3) / 4;
    }
}

static const char *check_references(const struct kd_config *c) {
    const bool names_uri =
        c->channel.id_cred == KD_IDCRED_X5U || c->channel.id_cred == KD_IDCRED_X5U_X5T;
    if (names_uri && c->channel.certificate_uri[0] == '\0') {
        return "channel: id-cred with x5u needs certificate-uri";
    }
    if (c->trust.accept_unregistered && c->trust.anchors_file[0] == '\0') {
        return "trust: accept-unregistered needs anchors-file";
    }
    if (c->fetch.allow.n + c->fetch.allow_private.n > 0 && !c->trust.accept_unregistered) {
        return "fetch: allow and allow-private need trust.accept-unregistered";
    }
    return NULL;
}

// What no value is wrong for by itself.  Gives NULL or the complaint.
static const char *check_together(const struct kd_config *c) {
    if (c->token.pin_file[0] != '\0' && c->token.pin_credential[0] != '\0') {
        return "token: pin-file and pin-credential are both set; one says where the PIN is";
    }
    if (c->token.pin_file[0] == '\0' && c->token.pin_credential[0] == '\0') {
        return "token: pin-file (or pin-credential) is not set; it says where the PIN is";
    }
    if (c->http->unix_path[0] == '\0' && c->http->tcp_address[0] == '\0') {
        return "http: neither unix-path nor tcp-address is set; nobody could call";
    }
    if ((c->http->tls_certificate[0] == '\0') != (c->http->tls_key[0] == '\0')) {
        return "http: tls-certificate and tls-key go together";
    }
    if (c->http->tls_client_ca[0] != '\0' && c->http->tls_certificate[0] == '\0') {
        return "http: tls-client-ca needs tls-certificate and tls-key";
    }
    if (c->secrets.lifetime_default_sec > c->secrets.lifetime_max_sec) {
        return "secrets: lifetime-default is longer than lifetime-max";
    }
    if (c->audit.key[0] != '\0' && c->audit.file[0] == '\0') {
        return "audit: key needs file";
    }
    const char *wrong = check_references(c);
    wrong = wrong == NULL ? kd_config_check_ca(c) : wrong;
    if (wrong != NULL || c->channel.identity[0] == '\0') {
        return wrong;
    }
    if (c->channel.certificate_file[0] == '\0' || c->channel.ticket[0] == '\0') {
        return "channel: identity needs certificate-file and ticket";
    }
    if (c->channel.root[0] == '\0' && c->channel.profile == KD_PROFILE_RESIDENT) {
        return "channel: the profile resident needs root";
    }
    return NULL;
}

enum kd_err kd_config_find_credential(struct kd_config *c) {
    if (c->token.pin_credential[0] == '\0') {
        return KD_OK;
    }
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    if (directory == NULL || directory[0] != '/') {
        kd_log(KD_LOG_ERROR, "config",
               "token.pin-credential is set, but the service manager gave no "
               "CREDENTIALS_DIRECTORY; use LoadCredential= in the unit, or pin-file",
               "credential=%s", c->token.pin_credential);
        return KD_ERR_CONFIG;
    }
    if (asprintf(&c->credential_path, "%s/%s", directory, c->token.pin_credential) < 0) {
        c->credential_path = NULL;
        return KD_ERR_NO_MEMORY;
    }
    c->token.pin_file = c->credential_path;
    return KD_OK;
}

enum kd_err kd_config_read(const char *path, struct kd_buf *errors, struct kd_config **out) {
    cfg_opt_t section_options[KD_COUNT_OF(sections)][SECTION_ROWS_MAX];
    cfg_opt_t root[SECTION_ROWS_MAX + KD_COUNT_OF(sections)];
    const cfg_opt_t end = CFG_END();
    size_t n = options_of("", root);
    for (size_t i = 0; i < KD_COUNT_OF(sections); i++) {
        options_of(sections[i], section_options[i]);
        cfg_opt_t section = CFG_SEC(sections[i], section_options[i], CFGF_NONE);
        section.validcb = kd_conf_one;
        root[n++] = section;
    }
    root[n] = end;

    kd_auto(config) struct kd_config *c = calloc(1, sizeof(*c));
    struct kd_http_config *http = calloc(1, sizeof(*http));
    if (c == NULL || http == NULL) {
        free(http);
        return KD_ERR_NO_MEMORY;
    }
    c->http = http;
    enum kd_err r = kd_conf_read(path, root, errors, &c->source);
    if (r != KD_OK) {
        return r;
    }
    for (size_t i = 0; i < KD_COUNT_OF(rows); i++) {
        take_value(c, &rows[i]);
    }
    const char *wrong = check_together(c);
    if (wrong != NULL) {
        kd_buf_printf(errors, "%s: %s\n", path, wrong);
        return KD_ERR_CONFIG;
    }
    choose_workers(c);
    *out = KD_STEAL(c);
    return KD_OK;
}

void kd_config_free(struct kd_config *c) {
    if (c == NULL) {
        return;
    }
    if (c->source != NULL) {
        cfg_free(c->source);
    }
    free(c->credential_path);
    free(c->http);
    free(c);
}

// ---- the table for others ---------------------------------------------------

bool kd_config_key_at(size_t i, struct kd_config_key *out) {
    if (i >= KD_COUNT_OF(rows)) {
        return false;
    }
    const struct kd_config_row *row = &rows[i];
    *out = (struct kd_config_key) {
        .section = row->section,
        .name = row->name,
        .type = kd_config_type_name(row->type),
        .initial = row->initial,
        .low = row->low,
        .high = row->high,
        .help = row->help,
    };
    return true;
}
