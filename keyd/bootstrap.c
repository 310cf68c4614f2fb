// SPDX-License-Identifier: Apache-2.0
// bootstrap.c: what all of the bootstrap server needs: the CA's certificates, who a device
// is, and the answers that change nothing.  Devices are changed in device_work.c,
// certificates made in issue.c.
#include "keyd/bootstrap_state.h"
#include "keyd/words.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX_BYTES = 65536 };

// ---- names -----------------------------------------------------------------

static const char *const usages[] = { [KD_DEVICE_SIGN] = "sign", [KD_DEVICE_AGREE] = "agree" };
static const char *const states[] = { [KD_DEVICE_ENROLLED] = "enrolled",
                                      [KD_DEVICE_ACTIVE] = "active",
                                      [KD_DEVICE_REVOKED] = "revoked" };

const char *kd_device_usage_name(enum kd_device_usage usage) {
    return usages[usage];
}

bool kd_device_usage_parse(const char *name, enum kd_device_usage *out) {
    for (size_t i = 0; i < KD_COUNT_OF(usages); i++) {
        if (strcmp(name, usages[i]) == 0) {
            *out = (enum kd_device_usage)i;
            return true;
        }
    }
    return false;
}

const char *kd_device_state_name(enum kd_device_state state) {
    return states[state];
}

bool kd_device_state_parse(const char *name, enum kd_device_state *out) {
    for (size_t i = 0; i < KD_COUNT_OF(states); i++) {
        if (strcmp(name, states[i]) == 0) {
            *out = (enum kd_device_state)i;
            return true;
        }
    }
    return false;
}

// ---- the CA's certificates -------------------------------------------------

static enum kd_err read_file(const char *path, struct kd_buf *out) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return KD_ERR_NO_FILE;
    }
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;) {
        kd_buf_put(out, chunk, n);
    }
    const bool failed = ferror(f) != 0;
    fclose(f);
    return failed ? KD_ERR_SYSTEM : kd_buf_finish(out);
}

// What cannot be read leaves what was there before.
static void read_chain(struct kd_bootstrap *b) {
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(PEM_MAX_BYTES);
    const char *why = "";
    enum kd_err r = read_file(b->config->certificate_file, &pem);
    if (r == KD_OK) {
        r = kd_ca_read_chain(kd_buf_get(&pem), &b->chain, &why);
    }
    if (r != KD_OK) {
        kd_log(KD_LOG_WARN, "ca",
               b->chain.n > 0 ? "the CA's certificate cannot be read; the one before is used"
                              : "the CA has no certificate yet (keydctl ca init)",
               "file=%s error=%s why=%s", b->config->certificate_file, kd_err_name(r), why);
        return;
    }
    kd_log(KD_LOG_INFO, "ca", "the CA's certificate is read", "file=%s certificates=%zu",
           b->config->certificate_file, b->chain.n);
}

bool kd_bootstrap_is_of_chain(const struct kd_bootstrap *b, const struct kd_key_version *v) {
    const struct kd_bytes point = { b->chain.key.bytes, b->chain.key.n };
    return b->chain.n > 0 && kd_bytes_equal(v->ref.proof, point);
}

bool kd_bootstrap_is_certified(const struct kd_bootstrap *b, const struct kd_entry *e,
                               const struct kd_key_version *v) {
    return b != NULL && strcmp(e->key.name, b->config->key) == 0 &&
           (b->chain.n == 0 || kd_bootstrap_is_of_chain(b, v));
}

static void describe_ca(const struct kd_bootstrap *b, struct kd_bootstrap_info *out) {
    *out = (struct kd_bootstrap_info) {
        .key = b->config->key,
        .server = b->config->server_id,
        .base_uri = b->config->base_uri,
        .n_certificates = b->chain.n,
        .from_ms = b->chain.from_ms,
        .upto_ms = b->chain.upto_ms,
        .n_devices = b->devices.n,
    };
    memcpy(out->certificates, b->chain.certificates, sizeof(out->certificates));
}

_Static_assert(KD_BOOTSTRAP_CHAIN_MAX == KD_CA_CHAIN_MAX, "one is copied to the other");

enum kd_err kd_bootstrap_chain(const struct kd_service *s, struct kd_bootstrap_info *out) {
    if (s->bootstrap == NULL || s->bootstrap->chain.n == 0) {
        return KD_ERR_CONFIG;
    }
    describe_ca(s->bootstrap, out);
    return KD_OK;
}

enum kd_err kd_bootstrap_show(const struct kd_service *s, const struct kd_caller *caller,
                              struct kd_bootstrap_info *out) {
    if (s->bootstrap == NULL) {
        return KD_ERR_CONFIG;
    }
    enum kd_err r = kd_service_allows(s, caller, KD_MAY_SHOW, s->config->ca.key);
    if (r == KD_OK) {
        describe_ca(s->bootstrap, out);
    }
    return r;
}

enum kd_err kd_bootstrap_attributes(struct kd_service *s, struct kd_buf *out) {
    if (s->bootstrap == NULL) {
        return KD_ERR_CONFIG;
    }
    // Suites fit the curve of the identity, so a device's key is best of the same.
    const struct kd_entry *e = kd_registry_get(&s->registry, s->config->channel.identity);
    const bool is_p384 = e != NULL && e->key.type == KD_KEY_EC_P384;
    const struct kd_ca_point like = { .n = kd_key_type_point_bytes(is_p384 ? KD_KEY_EC_P384
                                                                           : KD_KEY_EC_P256) };
    kd_ca_put_csrattrs(out, &like);
    return kd_buf_finish(out);
}

// ---- devices ---------------------------------------------------------------

enum kd_err kd_bootstrap_admit(const struct kd_service *s, const struct kd_caller *caller,
                               enum kd_permission permission, struct kd_bootstrap **out) {
    if (s->bootstrap == NULL) {
        return KD_ERR_CONFIG;
    }
    *out = s->bootstrap;
    return kd_service_admit(s, caller, permission, s->config->ca.key);
}

void kd_device_describe(const struct kd_bootstrap *b, const struct kd_device_entry *e,
                        struct kd_device_info *out) {
    *out = (struct kd_device_info) {
        .id = e->id,
        .relation = e->relation,
        .usage = e->usage,
        .state = e->state,
        .created_ms = e->created_ms,
        .secret_until_ms = e->has_secret ? e->secret_until_ms : 0,
        .certificate = kd_buf_get(&e->current.der),
        .from_ms = e->current.from_ms,
        .upto_ms = e->current.upto_ms,
    };
    snprintf(out->uri, sizeof(out->uri), "%s/c/%s/%s", b->config->base_uri, b->config->server_id,
             e->id);
    if (e->current.der.n > 0) {
        kd_hex_encode(e->current.serial, sizeof(e->current.serial), out->serial);
    }
}

enum kd_err kd_bootstrap_device(const struct kd_service *s, const struct kd_caller *caller,
                                const char *id, struct kd_device_info *out) {
    if (s->bootstrap == NULL) {
        return KD_ERR_CONFIG;
    }
    enum kd_err r = kd_service_allows(s, caller, KD_MAY_SHOW, s->config->ca.key);
    if (r != KD_OK) {
        return r;
    }
    const struct kd_device_entry *e = kd_devices_get(&s->bootstrap->devices, id);
    if (e == NULL || e->is_new) {
        return KD_ERR_NO_DEVICE;
    }
    kd_device_describe(s->bootstrap, e, out);
    return KD_OK;
}

size_t kd_bootstrap_devices(const struct kd_service *s, const struct kd_caller *caller,
                            const char *after, const enum kd_device_state *only,
                            struct kd_device_info *out, size_t max) {
    const struct kd_bootstrap *b = s->bootstrap;
    if (b == NULL || kd_service_allows(s, caller, KD_MAY_SHOW, b->config->key) != KD_OK) {
        return 0;
    }
    size_t n = 0;
    const struct kd_device_entry *e = kd_devices_next(&b->devices, after);
    for (; e != NULL && n < max; e = kd_devices_next(&b->devices, e->id)) {
        if (!e->is_new && (only == NULL || e->state == *only)) {
            kd_device_describe(b, e, &out[n++]);
        }
    }
    return n;
}

enum kd_err kd_bootstrap_find(const struct kd_service *s, const char *server, const char *device,
                              struct kd_bytes *der) {
    const struct kd_bootstrap *b = s->bootstrap;
    const struct kd_device_entry *e = b == NULL ? NULL : kd_devices_get(&b->devices, device);
    if (e == NULL || e->state != KD_DEVICE_ACTIVE || strcmp(server, b->config->server_id) != 0) {
        return KD_ERR_NO_DEVICE;
    }
    *der = kd_buf_get(&e->current.der);
    return KD_OK;
}

bool kd_bootstrap_has_peer(const struct kd_service *s, const char *name) {
    const struct kd_device_entry *e =
        s->bootstrap == NULL ? NULL : kd_devices_get(&s->bootstrap->devices, name);
    return e != NULL && e->state != KD_DEVICE_REVOKED;
}

// ---- who it is -------------------------------------------------------------

static bool is_hash(const struct kd_device_certificate *c, struct kd_bytes hash) {
    return c->der.n > 0 && kd_bytes_equal((struct kd_bytes) { c->hash, sizeof(c->hash) }, hash);
}

// TLS has shown that the device has the key; that we issued the certificate is known from
// finding it.  One that has expired is good for a while, to get another with (A05).
static const char *judge_certificate(const struct kd_bootstrap *b, struct kd_bytes hash,
                                     struct kd_device_entry **out) {
    struct kd_device_entry *e = kd_devices_by_hash(&b->devices, hash);
    if (e == NULL) {
        return "its certificate is not one of a device's last two";
    }
    const struct kd_device_certificate *c = is_hash(&e->current, hash) ? &e->current : &e->previous;
    const uint64_t now = kd_clock_wall_ms();
    if (e->state == KD_DEVICE_REVOKED) {
        return "it is revoked";
    }
    if (now < c->from_ms || now > c->upto_ms + b->config->renew_grace_sec * UINT64_C(1000)) {
        return "its certificate has expired too long ago";
    }
    *out = e;
    return NULL;
}

// As long for an id that is not there as for a wrong secret.
static const char *judge_secret(const struct kd_bootstrap *b, const struct kd_device_proof *proof,
                                struct kd_device_entry **out) {
    static const uint8_t nobody[KD_ENROL_HASH_BYTES] = { 0 };
    uint8_t hash[KD_ENROL_HASH_BYTES];
    struct kd_device_entry *e = kd_devices_get(&b->devices, proof->id);
    const bool has_one = e != NULL && !e->is_new && e->has_secret;
    if (kd_host_hash(KD_MD_SHA256, &proof->secret, 1, hash) != KD_OK) {
        return "its secret cannot be looked at";
    }
    const bool is_it =
        kd_ct_equal((struct kd_bytes) { hash, sizeof(hash) },
                    (struct kd_bytes) { has_one ? e->secret : nobody, KD_ENROL_HASH_BYTES });
    if (e == NULL || e->is_new) {
        return "there is no such device";
    }
    if (e->state == KD_DEVICE_REVOKED) {
        return "it is revoked";
    }
    if (!has_one) {
        return "it has no one-time secret, or has used it";
    }
    if (!is_it) {
        return "its secret is wrong";
    }
    if (kd_clock_wall_ms() >= e->secret_until_ms) {
        return "its secret has expired";
    }
    *out = e;
    return NULL;
}

enum kd_err kd_bootstrap_judge(struct kd_bootstrap *b, const struct kd_device_proof *proof,
                               struct kd_device_entry **out) {
    struct kd_device_entry *e = NULL;
    const char *id = proof->id == NULL ? "" : proof->id;
    const char *why = "it shows neither certificate nor secret";
    if (proof->certificate.n > 0) {
        why = judge_certificate(b, proof->certificate, &e);
    } else if (proof->secret.n > 0 && kd_name_is_valid(kd_bytes_of_text(id))) {
        why = judge_secret(b, proof, &e);
    }
    if (why != NULL) {
        b->refused++;
        kd_channel_warn(b->s->channel, "a device was refused by the bootstrap server",
                        KD_ERR_ENROLMENT, kd_name_is_valid(kd_bytes_of_text(id)) ? id : "-", why);
        return KD_ERR_ENROLMENT;
    }
    *out = e;
    return KD_OK;
}

// ---- provisioning ----------------------------------------------------------

static enum kd_err put_server(struct kd_bootstrap *b, struct kd_provision *out) {
    struct kd_channel *c = b->s->channel;
    const struct kd_key_version *v = NULL;
    struct kd_idcred id;
    enum kd_err r = kd_channel_identity(c, &v);
    if (r != KD_OK) {
        return r;
    }
    out->server_certificate = kd_buf_get(&c->identity.chain[0]);
    kd_buf_reset(&b->fingerprint);
    if ((r = kd_idcred_put_x5t(&b->fingerprint, c->config->x5t_hash, out->server_certificate)) !=
            KD_OK ||
        (r = kd_idcred_parse(kd_buf_get(&b->fingerprint), &id)) != KD_OK) {
        return r;
    }
    out->hash = kd_config_hash_name(c->config->x5t_hash);
    out->fingerprint = id.x5t;
    out->profile = c->config->profile == KD_PROFILE_RESIDENT ? "resident" : "released";
    for (unsigned i = 0; i < c->config->suites.n; i++) {
        const struct kd_suite *suite = kd_suite_get(c->config->suites.values[i]);
        const bool is_p384 = c->identity.key.type == KD_KEY_EC_P384;
        if (suite != NULL && suite->curve == (is_p384 ? KD_CURVE_P384 : KD_CURVE_P256)) {
            out->suites[out->n_suites++] = c->config->suites.values[i];
        }
    }
    return KD_OK;
}

// RFC 9528 3.2: bit 0 of a method is the responder's way, bit 1 the initiator's (1 is static DH).
// The device initiates in the default flow.
static void put_methods(const struct kd_channel *c, struct kd_provision *out) {
    const unsigned wanted =
        (out->device.usage == KD_DEVICE_AGREE ? 2U : 0U) | (c->identity.is_static_dh ? 1U : 0U);
    for (unsigned i = 0; i < c->config->methods.n; i++) {
        if (c->config->methods.values[i] == wanted) {
            out->methods[out->n_methods++] = (uint8_t)wanted;
        }
    }
}

// A public key of the channel's, where it has one of that name.
static void put_key(struct kd_channel *c, const char *name, struct kd_bytes *point,
                    uint32_t *version) {
    const struct kd_key_version *key = NULL;
    if (name[0] != '\0' && kd_channel_key(c, name, 0, &key) == KD_OK) {
        *point = key->ref.proof;
        *version = key->number;
    }
}

enum kd_err kd_bootstrap_provision(struct kd_service *s, const struct kd_device_proof *proof,
                                   struct kd_provision *out) {
    struct kd_device_entry *e = NULL;
    if (s->bootstrap == NULL) {
        return KD_ERR_CONFIG;
    }
    struct kd_provision p = { .server = s->bootstrap->config->server_id };
    enum kd_err r = kd_bootstrap_judge(s->bootstrap, proof, &e);
    if (r != KD_OK || (r = put_server(s->bootstrap, &p)) != KD_OK ||
        (r = kd_bootstrap_chain(s, &p.ca)) != KD_OK) {
        return r;
    }
    kd_device_describe(s->bootstrap, e, &p.device);
    put_methods(s->channel, &p);
    put_key(s->channel, s->config->channel.root, &p.channel_key, &p.channel_key_version);
    put_key(s->channel, s->config->channel.envelope, &p.envelope_key, &p.envelope_key_version);
    *out = p;
    return KD_OK;
}

// ---- life ------------------------------------------------------------------

void kd_bootstrap_metrics(const struct kd_service *s, struct kd_buf *out) {
    const struct kd_bootstrap *b = s->bootstrap;
    if (b == NULL) {
        return;
    }
    kd_tally_head(out, "keyd_devices", "gauge", "Devices of the bootstrap server.");
    kd_buf_printf(out, "keyd_devices %zu\n", b->devices.n);
    kd_tally_head(out, "keyd_devices_deleted", "gauge",
                  "Devices that were deleted, whose ids are not given again.");
    kd_buf_printf(out, "keyd_devices_deleted %zu\n", kd_map_count(&b->devices.deleted));
    kd_tally_head(out, "keyd_certificates_issued_total", "counter",
                  "Certificates that were issued.");
    kd_buf_printf(out, "keyd_certificates_issued_total %llu\n", (unsigned long long)b->issued);
    kd_tally_head(out, "keyd_enrolments_refused_total", "counter",
                  "Devices that could not show who they are, or asked for what they may not have.");
    kd_buf_printf(out, "keyd_enrolments_refused_total %llu\n", (unsigned long long)b->refused);
    kd_tally_head(out, "keyd_devices_revoked_total", "counter", "Devices that were revoked.");
    kd_buf_printf(out, "keyd_devices_revoked_total %llu\n", (unsigned long long)b->revoked);
}

enum kd_err kd_bootstrap_open(struct kd_service *s, struct kd_store *store,
                              struct kd_bootstrap **out) {
    struct kd_bootstrap *b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    b->s = s;
    b->config = &s->config->ca;
    b->chain = KD_CA_CHAIN_INIT;
    b->fingerprint = KD_BUF_INIT(256);
    enum kd_err r;
    if ((r = kd_store_load_devices(store, kd_devices_load, &b->devices)) != KD_OK ||
        (r = kd_store_load_deleted(store, kd_devices_note_deleted, &b->devices)) != KD_OK) {
        kd_bootstrap_free(b);
        return r;
    }
    read_chain(b);
    *out = b;
    return KD_OK;
}

void kd_bootstrap_free(struct kd_bootstrap *b) {
    if (b != NULL) {
        kd_devices_wipe(&b->devices);
        kd_ca_chain_wipe(&b->chain);
        kd_buf_wipe(&b->fingerprint);
        free(b);
    }
}

void kd_bootstrap_reload(struct kd_bootstrap *b) {
    if (b != NULL) {
        read_chain(b);
    }
}
