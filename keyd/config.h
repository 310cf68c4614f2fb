// SPDX-License-Identifier: Apache-2.0
// config.h: the configuration file (keyd.conf(5)) as the rest of keyd sees it.
// config.c has the one table of keys.
#ifndef KD_KEYD_CONFIG_H
#define KD_KEYD_CONFIG_H

#include "base/base.h"
#include "hsm/channel.h"
#include "hsm/hsm.h"

struct kd_http_config; // api/api.h

#define KD_CONFIG_DEFAULT_PATH KD_SYSCONFDIR "/keyd.conf"

struct kd_token_config {
    const char *module;    // "": those that p11-kit has configured
    const char *init_args; // pReserved of C_Initialize
    size_t n_environment;
    const char *environment[KD_HSM_ENV_MAX];
    const char *uri;
    const char *pin_file; // absolute; "" before kd_config_find_credential, where that has it
    const char *pin_credential;
};

struct kd_workers_config {
    const char *program;
    const char *user; // "": keyd's own
    uint32_t processes; // as resolved: never 0
    uint32_t threads;   // the same
    uint32_t deadline_ms;
    uint32_t start_deadline_ms;
    uint32_t ping_ms; // without anything else to do
    uint32_t queue_max; // requests in flight at one worker
    uint32_t restart_delay_ms;
};

struct kd_secrets_config {
    uint32_t lifetime_default_sec;
    uint32_t lifetime_max_sec;
    uint32_t per_principal_max;
    uint32_t total_max;
    uint32_t cached_in_token; // by each worker
    bool allow_extractable;
};

struct kd_number_list {
    uint8_t n;
    uint8_t values[4];
};

#define KD_SESSION_LIFETIME_MAX_SEC 31536000

#define KD_TEXTS_MAX 16

struct kd_text_list {
    size_t n;
    const char *values[KD_TEXTS_MAX];
};

// Peers that nobody registered (trust.h).
struct kd_trust_config {
    const char *anchors_file; // "": none is believed
    const char *crl_file;
    bool accept_unregistered;
    const char *peer_uri;
    struct kd_text_list required_uris;
};

// Certificates from elsewhere (fetch.h); off where both lists are empty.
struct kd_fetch_config {
    const char *program;
    struct kd_text_list allow;         // https prefixes
    struct kd_text_list allow_private; // also at addresses that are not public
    const char *ca_file;               // "": those of the system
    uint32_t timeout_ms;
    uint32_t bytes_max;
    uint32_t pending_max;
    uint32_t failed_sec; // how long a failure is remembered
    uint32_t failed_max; // how many
};

struct kd_channel_config {
    const char *identity; // names of keys; "": the channel is off
    const char *certificate_file;
    enum kd_idcred_kind id_cred; // unless the peer asks for another
    const char *certificate_uri;
    int x5t_hash; // KD_COSE_...
    uint32_t certificate_warn_days;
    const char *root;
    const char *ticket;
    struct kd_number_list methods;
    struct kd_number_list suites; // most preferred first
    enum kd_profile profile;
    uint32_t session_lifetime_sec;
    uint64_t session_records_max;
    uint64_t session_bytes_max;
    uint32_t otp_digits; // of new sessions, as are the next two
    uint32_t otp_step_sec;
    uint32_t otp_window;
    uint32_t sessions_max;
    uint32_t sessions_per_peer;
    uint32_t ended_max;
    uint32_t handshakes_max;
    uint32_t handshakes_retry; // 0: half of them
    uint32_t handshake_timeout_ms;
    uint32_t peers_max;
    const char *envelope; // name of a key; "": no envelopes
    uint32_t envelope_validity_max_sec;
    uint32_t envelope_leeway_sec;
    uint32_t envelopes_max;
};

struct kd_ca_config {
    const char *key; // name; "": the bootstrap server is off
    const char *certificate_file;
    const char *server_id;
    const char *base_uri;
    uint32_t device_validity_sec;
    uint32_t server_validity_sec;
    uint32_t root_validity_sec;
    uint32_t renew_grace_sec;
    uint32_t secret_lifetime_sec;
    uint32_t secret_lifetime_max_sec;
    uint32_t devices_max;
};

struct kd_bootstrap_config { // the listener for devices
    const char *tcp_address; // "": none
    uint16_t tcp_port;
    const char *tls_certificate;
    const char *tls_key;
    uint32_t connections_max;
    uint32_t body_max_bytes;
};

struct kd_audit_config { // audit.h
    const char *file;   // "": off
    const char *key;    // name of the HMAC key for seals; "": none are made
    uint32_t seal_sec;  // between two seals
    uint64_t bytes_max; // of a file, before the next is begun
    uint32_t operations; // bit 1 << enum kd_permission: those that are written down
};

// Strings live as long as the configuration.
struct kd_config {
    const char *state_directory;
    const char *policy_file;
    enum kd_log_level log_level;
    uint32_t stop_timeout_sec;
    struct kd_token_config token;
    struct kd_workers_config workers;
    struct kd_secrets_config secrets;
    struct kd_channel_config channel;
    struct kd_trust_config trust;
    struct kd_fetch_config fetch;
    struct kd_ca_config ca;
    struct kd_bootstrap_config bootstrap;
    struct kd_audit_config audit;
    struct kd_http_config *http;
    struct cfg_t *source;  // owns the strings
    char *credential_path; // owned
};

// Reads and checks the file.  KD_ERR_NO_FILE, KD_ERR_CONFIG: the lines in
// *errors say which file, line and key, and what would be right.
KD_MUST_CHECK enum kd_err kd_config_read(const char *path, struct kd_buf *errors,
                                         struct kd_config **out);
// The file of token.pin-credential, in the directory that the service manager names: for who
// serves, as only he is told.  KD_ERR_CONFIG: said in the log; KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_config_find_credential(struct kd_config *c);
void kd_config_free(struct kd_config *c);
KD_AUTO_DEFINE(config, struct kd_config *, kd_config_free)

// The sample file: every key with its default, range and meaning.
void kd_config_print(struct kd_buf *out);

// One row of the table, for the tests of the man page and of the ranges.
struct kd_config_key {
    const char *section; // "": top level
    const char *name;
    const char *type;    // "text", "path", "number", "octal", "switch", "level", "list",
                         // "name", "numbers", "hash", "profile", "credential", "texts"
    const char *initial; // as in the file
    uint64_t low;        // numbers: values; text: bytes; lists: entries
    uint64_t high;
    const char *help;
};
// false past the last.
bool kd_config_key_at(size_t i, struct kd_config_key *out);

#endif
