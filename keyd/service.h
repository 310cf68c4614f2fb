// SPDX-License-Identifier: Apache-2.0
// service.h: the key service as the HTTP layer sees it: who may call
// (kd_service_identify), what can be done to keys and with them, and what there
// is to report.  The service checks policy, finds keys, and talks to the
// workers; it knows nothing of HTTP or JSON.
//
// One thread: everything here runs in the loop's thread, callbacks too.
//
// Asynchronous calls: KD_OK means that `done` will be called exactly once,
// later, from the loop; any other result means that it will not be called.
// What `done` is given is borrowed and lives until it returns.
#ifndef KD_KEYD_SERVICE_H
#define KD_KEYD_SERVICE_H

#include "base/base.h"
#include "hsm/hsm.h"

#include <sys/types.h>

struct kd_service;
struct kd_config; // config.h

KD_MUST_CHECK enum kd_err kd_service_open(struct kd_loop *loop, const struct kd_config *config,
                                          struct kd_service **out);
void kd_service_close(struct kd_service *s);
KD_AUTO_DEFINE(service, struct kd_service *, kd_service_close)

// SIGHUP: reads the policy again and lets a refused PIN be tried again if the
// file has changed.  A policy with an error keeps the old one, and the log says why.
void kd_service_reload(struct kd_service *s);
// No new operations (KD_ERR_STOPPING); those accepted are finished.
void kd_service_stop(struct kd_service *s);
size_t kd_service_pending(const struct kd_service *s); // operations accepted and not done

// ---- callers ---------------------------------------------------------------

// What the connection and the request showed; absent parts are empty.
struct kd_credential {
    bool has_peer; // Unix socket
    uid_t uid;
    gid_t gid;
    const gid_t *groups; // supplementary
    size_t n_groups;
    struct kd_bytes bearer;      // the token of "Authorization: Bearer ..."
    struct kd_bytes certificate; // SHA-256 of the client certificate (DER), verified by TLS
};

// A known caller.  Valid until the next kd_service_reload takes effect, that
// is: within one callback of the loop.
struct kd_caller {
    const char *principal;
    const void *policy;  // the service's
    char request_id[40]; // filled in by the HTTP layer
};

// KD_ERR_UNAUTHENTICATED: no principal matches.  A bearer token, when given,
// decides alone, then a certificate, then the peer.
KD_MUST_CHECK enum kd_err kd_service_identify(const struct kd_service *s,
                                              const struct kd_credential *credential,
                                              struct kd_caller *out);

// What policy speaks of.  `key` is the key's name, or NULL for operations that
// concern no key (random, status, metrics, peer, backup).
enum kd_permission {
    KD_MAY_CREATE,
    KD_MAY_IMPORT, // public keys and certificates
    KD_MAY_ADOPT,
    KD_MAY_SHOW, // list and show
    KD_MAY_ROTATE,
    KD_MAY_DISABLE,
    KD_MAY_DELETE,
    KD_MAY_SIGN,
    KD_MAY_VERIFY,
    KD_MAY_MAC,
    KD_MAY_MAC_VERIFY,
    KD_MAY_ENCRYPT,
    KD_MAY_DECRYPT,
    KD_MAY_REWRAP, // encrypt anew what is encrypted, without seeing it
    KD_MAY_ECDH,
    KD_MAY_DERIVE,
    KD_MAY_RELEASE, // besides ecdh or derive: the result may leave the token
    KD_MAY_RANDOM,
    KD_MAY_STATUS,
    KD_MAY_METRICS,
    KD_MAY_HANDSHAKE, // the secure channel (keyd/channel.h), on its identity
    KD_MAY_PEER,
    KD_MAY_ENVELOPE, // open envelopes, on their key
    KD_MAY_DEVICE,   // the bootstrap server (keyd/bootstrap.h), on the CA's key
    KD_MAY_CA,
    KD_MAY_BACKUP,
};
#define KD_PERMISSIONS (KD_MAY_BACKUP + 1)
const char *kd_permission_name(enum kd_permission p); // "create", "mac-verify", ...
KD_MUST_CHECK bool kd_permission_parse(const char *name, enum kd_permission *out);

// KD_ERR_DENIED unless policy allows it.
KD_MUST_CHECK enum kd_err kd_service_allows(const struct kd_service *s,
                                            const struct kd_caller *caller,
                                            enum kd_permission permission, const char *key);

// ---- keys ------------------------------------------------------------------

enum kd_version_state {
    KD_VERSION_PENDING, // being made; not shown
    KD_VERSION_ENABLED,
    KD_VERSION_DISABLED,
    KD_VERSION_DESTROYING, // disabled for good: its object goes, or has gone
};

struct kd_key_version {
    uint32_t number; // 1, 2, ...
    enum kd_version_state state;
    uint64_t created_ms;   // wall clock
    struct kd_key_ref ref; // without id for public keys that were imported
    bool is_local;         // made in the token (false: adopted or imported)
    bool is_extractable;   // only adopted keys can be; said in show and status
};

enum kd_key_origin {
    KD_ORIGIN_CREATED,
    KD_ORIGIN_ADOPTED,
    KD_ORIGIN_IMPORTED, // public only
};
const char *kd_key_origin_name(enum kd_key_origin origin);

// A key as the registry has it.  Versions are in ascending order; the newest
// enabled one is the primary, with which new results are made.
struct kd_key {
    char name[KD_NAME_MAX_BYTES + 1];
    enum kd_key_type type;
    unsigned usages;
    enum kd_key_origin origin;
    uint64_t created_ms;
    struct kd_bytes certificate; // DER; empty unless one was imported
    size_t n_versions;
    struct kd_key_version *versions;
};

#define KD_KEY_VERSIONS_MAX 1000 // nor could a key with many more be shown in one answer

// NULL where no version is enabled.
const struct kd_key_version *kd_key_primary(const struct kd_key *key);

// The key, if the caller may show it: KD_ERR_NO_KEY, KD_ERR_DENIED.  A caller
// with no permission at all on the name gets KD_ERR_DENIED whether it exists or not.
KD_MUST_CHECK enum kd_err kd_service_key(const struct kd_service *s, const struct kd_caller *caller,
                                         const char *name, const struct kd_key **out);
// The keys that the caller may show, in the order of their names, from the
// first that is greater than `after` (NULL: from the start): fills at most
// `max` pointers, returns how many.
size_t kd_service_keys(const struct kd_service *s, const struct kd_caller *caller,
                       const char *after, const struct kd_key **out, size_t max);

// `key` is NULL after a failure and after a delete.  `detail` is for the
// caller, may be "".
typedef void kd_key_done(void *arg, enum kd_err err, const char *detail, const struct kd_key *key);

// Is there room for what a caller may do: another key of this name (KD_MAY_CREATE, KD_MAY_IMPORT,
// KD_MAY_ADOPT), another version of it (KD_MAY_ROTATE)?  KD_ERR_TOO_MANY where a limit of the
// policy or KD_KEY_VERSIONS_MAX is reached, and then *why says which; KD_ERR_DENIED, and what is
// needed.  The calls below look themselves.
KD_MUST_CHECK enum kd_err kd_service_room(const struct kd_service *s,
                                          const struct kd_caller *caller,
                                          enum kd_permission permission, const char *name,
                                          struct kd_buf *why);

struct kd_key_spec {
    const char *name;
    enum kd_key_type type;
    unsigned usages; // exactly these
};
KD_MUST_CHECK enum kd_err kd_service_key_create(struct kd_service *s,
                                                const struct kd_caller *caller,
                                                const struct kd_key_spec *spec, kd_key_done *done,
                                                void *arg);
// A key that is in the token already.  The URI must match exactly one private
// or secret key of a type and with usages that keyd can use.
KD_MUST_CHECK enum kd_err kd_service_key_adopt(struct kd_service *s, const struct kd_caller *caller,
                                               const char *name, const char *uri, kd_key_done *done,
                                               void *arg);
// A public key, as an uncompressed point, or in a certificate (DER; then point
// is empty and is taken from it).  It can verify and nothing else.
KD_MUST_CHECK enum kd_err kd_service_key_import(struct kd_service *s,
                                                const struct kd_caller *caller, const char *name,
                                                enum kd_key_type type, struct kd_bytes point,
                                                struct kd_bytes certificate, kd_key_done *done,
                                                void *arg);
KD_MUST_CHECK enum kd_err kd_service_key_rotate(struct kd_service *s,
                                                const struct kd_caller *caller, const char *name,
                                                kd_key_done *done, void *arg);
// The next version is a key that is in the token already, found as in adopt, of the key's type and
// with its usages at least: one that another node made, or of a registry that was lost.  Needs
// KD_MAY_ADOPT, too.
KD_MUST_CHECK enum kd_err kd_service_key_rotate_to(struct kd_service *s,
                                                   const struct kd_caller *caller, const char *name,
                                                   const char *uri, kd_key_done *done, void *arg);
// Disables (or enables again) one version; number 0: all of them.
KD_MUST_CHECK enum kd_err kd_service_key_set_state(struct kd_service *s,
                                                   const struct kd_caller *caller, const char *name,
                                                   uint32_t number, bool enable, kd_key_done *done,
                                                   void *arg);
// Destroys the key with all versions that were made in the token.  Adopted ones are only
// forgotten, the objects stay.
KD_MUST_CHECK enum kd_err kd_service_key_delete(struct kd_service *s,
                                                const struct kd_caller *caller, const char *name,
                                                kd_key_done *done, void *arg);

// The same with one version of it.  KD_ERR_VERSION_PRIMARY also for the last one that there is;
// KD_ERR_VERSION_CERTIFIED: the channel or the CA has a certificate of it; KD_ERR_KEY_RESERVED: it
// is of one of their keys, and was adopted.  Its number is not given again.
KD_MUST_CHECK enum kd_err kd_service_key_delete_version(struct kd_service *s,
                                                        const struct kd_caller *caller,
                                                        const char *name, uint32_t number,
                                                        kd_key_done *done, void *arg);

// ---- operations ------------------------------------------------------------

enum kd_operation {
    KD_OPERATION_SIGN,
    KD_OPERATION_VERIFY,
    KD_OPERATION_MAC,
    KD_OPERATION_MAC_VERIFY,
    KD_OPERATION_ENCRYPT,
    KD_OPERATION_DECRYPT,
    KD_OPERATION_REWRAP, // what decrypt takes, to what encrypt gives with the primary
    KD_OPERATION_RANDOM,
};
#define KD_OPERATIONS (KD_OPERATION_RANDOM + 1)

// What an operation takes: of one item, and of all items together with what is given beside the
// data to the operation that undoes or verifies this one.  A plaintext is shorter by its tag.
#define KD_WORK_DATA_MAX_BYTES (3u << 20)
#define KD_WORK_AAD_MAX_BYTES 65536u
#define KD_WORK_PROOF_MAX_BYTES 1024u // a signature or MAC
#define KD_WORK_REQUEST_MAX_BYTES (7u << 19)

// Of the data of an item.
size_t kd_work_data_max_bytes(enum kd_operation operation);

// One operation, on 1 to KD_HSM_BATCH_MAX_ITEMS items, by a key or by a secret.
struct kd_work {
    enum kd_operation operation;
    const char *key;    // name; NULL: `secret` says which (or neither: random)
    const char *secret; // id
    uint32_t version;   // 0: the primary; verify, mac-verify, decrypt, rewrap: every
                        // enabled one, the newest first, at most KD_HSM_KEYS_MAX
    bool prehashed;     // sign, verify: data is the digest (32 bytes for P-256, 48 for P-384)
    bool is_der;        // sign, verify: signatures are in DER, not r then s (base/ecdsa.h); to
                        // verify, what is not DER of one is no good signature
    size_t n_items;
    const struct kd_hsm_item *items; // fields by operation as hsm.h says; each field's
                                     // length is checked by the service
};

// For each item its result (err, ok, iv, out); `version` is the key version
// that was used, 0 for secrets and where no key verified.
struct kd_work_result {
    enum kd_err err;
    bool ok;
    uint32_t version;
    struct kd_bytes iv;
    struct kd_bytes out;
};
// Exactly n_items results if err is KD_OK, else none.
typedef void kd_work_done(void *arg, enum kd_err err, const char *detail,
                          const struct kd_work_result *results, size_t n_items);
KD_MUST_CHECK enum kd_err kd_service_work(struct kd_service *s, const struct kd_caller *caller,
                                          const struct kd_work *work, kd_work_done *done,
                                          void *arg);
// How long a digest is that this work's key signs; 0: there is no such key.
size_t kd_service_digest_bytes(const struct kd_service *s, const struct kd_work *work);

// ---- secrets ---------------------------------------------------------------

// ecdh (base is an EC key), derive (base is an AES or HMAC key, or a secret).
struct kd_derivation {
    const char *key;      // base: a key's name, or NULL
    const char *secret;   // base: a secret's id, or NULL
    uint32_t version;     // of the key; 0: the primary
    struct kd_bytes peer; // ecdh: the peer's point, uncompressed
    bool has_kdf;         // false (ecdh only): the shared secret itself
    enum kd_kdf kdf;
    struct kd_bytes salt;
    struct kd_bytes info;  // any, up to KD_HSM_INFO_MAX_BYTES; for aes-cbc-data the service
                           // makes the 32 bytes: SHA-256(result type's name || 0x00 || info)
    bool release;          // give the bytes to the caller instead of keeping a secret
    uint16_t out_len;      // release with HKDF: 16..255 bytes; else 0
    enum kd_key_type type; // kept: AES-256, HMAC-SHA-256 or HMAC-SHA-384
    uint32_t lifetime_sec; // kept: 1..the configured limit; 0: the default
};

#define KD_SECRET_ID_TEXT_BYTES 23 // base64url of 16 bytes, with NUL

// Of an item that failed, where more is known of it than the error.
struct kd_wrong {
    const char *field;  // the member; NULL: none of its own
    const char *detail; // NULL: nothing
    uint32_t bound;     // what it ends with; 0: nothing
};

struct kd_derivation_result {
    enum kd_err err;
    struct kd_wrong wrong; // static texts
    char secret[KD_SECRET_ID_TEXT_BYTES]; // kept: its id
    uint64_t expires_ms;                  // wall clock
    uint32_t version;                     // of the base key
    const char *residence;                // kept: as in kd_secret_info
    struct kd_bytes out;                  // released
};
typedef void kd_derivation_done(void *arg, enum kd_err err, const char *detail,
                                const struct kd_derivation_result *results, size_t n);
// One batch; each derivation names its own base.  Those that fail stand in
// their result; the others are done.
KD_MUST_CHECK enum kd_err kd_service_derive(struct kd_service *s, const struct kd_caller *caller,
                                            const struct kd_derivation *items, size_t n,
                                            kd_derivation_done *done, void *arg);

// What is known of a secret.  Only its maker sees it: to others it is KD_ERR_NO_SECRET.
struct kd_secret_info {
    char id[KD_SECRET_ID_TEXT_BYTES];
    const char *key; // name of the base key
    uint32_t version;
    enum kd_key_type type;
    uint64_t created_ms;
    uint64_t expires_ms;
    const char *residence; // "token": was never outside; "worker": passed through the
                           // worker's locked memory on its way into the token
};
KD_MUST_CHECK enum kd_err kd_service_secret(const struct kd_service *s,
                                            const struct kd_caller *caller, const char *id,
                                            struct kd_secret_info *out);
// The caller's own, in the order of their ids: the first ones behind `after`, which may be of one
// that has ended (NULL: start).
size_t kd_service_secrets(const struct kd_service *s, const struct kd_caller *caller,
                          const char *after, struct kd_secret_info *out, size_t max);
KD_MUST_CHECK enum kd_err kd_service_secret_delete(struct kd_service *s,
                                                   const struct kd_caller *caller, const char *id);

// ---- reports ---------------------------------------------------------------

#define KD_WORKERS_MAX 64

struct kd_worker_report {
    enum { KD_WORKER_STARTING, KD_WORKER_READY, KD_WORKER_FAILED } state;
    pid_t pid; // 0: not running
    uint32_t restarts;
    uint32_t in_flight; // requests
    uint64_t ready_ms;  // monotonic, since when
};

// Readiness: KD_OK, or why not (KD_ERR_TOKEN_AWAY, KD_ERR_PIN_REFUSED, ...) with a
// sentence for the operator in *detail ("" where there is none), borrowed until the next call.
enum kd_err kd_service_ready(const struct kd_service *s, const char **detail);

struct kd_service_report {
    const struct kd_hsm_status *token; // the last that a ready worker said; NULL: none yet
    size_t n_workers;
    struct kd_worker_report workers[KD_WORKERS_MAX];
    size_t n_keys;
    size_t n_secrets;
    size_t in_flight;         // requests at the workers
    size_t queued;            // waiting for a worker
    uint64_t started_ms;      // wall clock
    uint64_t policy_ms;       // wall clock, when the policy in force was read
    const char *policy_error; // why the last reload was refused; "" if it was not
};
void kd_service_report(const struct kd_service *s, struct kd_service_report *out);

// A copy of the registry, in the state directory, where it takes the place of the one before when
// it is whole.  KD_MAY_BACKUP.  KD_ERR_BUSY: another is under way.
struct kd_backup_info {
    const char *file;
    uint64_t n_bytes;
};
typedef void kd_backup_done(void *arg, enum kd_err err, const char *detail,
                            const struct kd_backup_info *info);
KD_MUST_CHECK enum kd_err kd_service_backup(struct kd_service *s, const struct kd_caller *caller,
                                            kd_backup_done *done, void *arg);

// The service's own lines for GET /metrics (Prometheus text format): token
// operations and latencies, queue, workers, keys, secrets.
void kd_service_metrics(const struct kd_service *s, struct kd_buf *out);

#endif
