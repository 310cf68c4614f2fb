// SPDX-License-Identifier: Apache-2.0
// identity.c: the server's own certificate: read when it is used first and after a reload,
// looked at before each handshake, and named to the peer.
#include "keyd/channel_state.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

enum { DAY_MS = 86400000 };

// ---- reading ---------------------------------------------------------------

static enum kd_err put_der(const X509 *x, struct kd_buf *out) {
    unsigned char *p = NULL;
    const int n = i2d_X509(x, &p);
    if (n > 0) {
        kd_buf_put(out, p, (size_t)n);
    }
    OPENSSL_free(p);
    return n > 0 ? kd_buf_finish(out) : KD_ERR_BAD_PUBLIC_KEY;
}

// Our own certificate, and behind it those of its issuers for x5chain.
static enum kd_err read_chain(struct kd_channel_identity *id, const char *path) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return KD_ERR_NO_FILE;
    }
    enum kd_err r = KD_OK;
    id->n_chain = 0;
    for (X509 *x; r == KD_OK && (x = PEM_read_X509(f, NULL, NULL, NULL)) != NULL;) {
        if (id->n_chain == KD_X5CHAIN_MAX) {
            r = KD_ERR_TOO_MANY;
        } else {
            kd_buf_reset(&id->chain[id->n_chain]);
            r = put_der(x, &id->chain[id->n_chain++]);
        }
        X509_free(x);
    }
    fclose(f);
    ERR_clear_error();
    return r == KD_OK && id->n_chain == 0 ? KD_ERR_BAD_PUBLIC_KEY : r;
}

static enum kd_err read_identity(struct kd_channel *c) {
    struct kd_channel_identity *id = &c->identity;
    kd_auto(buf) struct kd_buf trial = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES);
    enum kd_err r = read_chain(id, c->config->certificate_file);
    const struct kd_bytes der = kd_buf_get(&id->chain[0]);
    if (r != KD_OK || (r = kd_import_certificate(der, &id->key)) != KD_OK ||
        (r = kd_import_dates(der, &id->from_ms, &id->upto_ms)) != KD_OK) {
        return r;
    }
    kd_buf_reset(&id->cred);
    kd_cred_put_certificate(&id->cred, der);
    r = kd_buf_finish(&id->cred);
    id->is_read = r == KD_OK;
    // What the configuration wants must fit, so that it is known now.
    return r == KD_OK ? kd_channel_put_id_cred(c, KD_BYTES_NONE, &trial) : r;
}

void kd_channel_identity_init(struct kd_channel *c) {
    c->identity.cred = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES);
    for (size_t i = 0; i < KD_X5CHAIN_MAX; i++) {
        c->identity.chain[i] = KD_BUF_INIT(KD_EDHOC_CRED_MAX_BYTES - 8);
    }
}

void kd_channel_identity_wipe(struct kd_channel *c) {
    kd_buf_wipe(&c->identity.cred);
    for (size_t i = 0; i < KD_X5CHAIN_MAX; i++) {
        kd_buf_wipe(&c->identity.chain[i]);
    }
}

// ---- its time --------------------------------------------------------------

static void warn_of_end(struct kd_channel *c, uint64_t now) {
    struct kd_channel_identity *id = &c->identity;
    const uint64_t mono = kd_clock_mono_ms();
    const uint64_t soon = (uint64_t)c->config->certificate_warn_days * DAY_MS;
    if (soon == 0 || id->upto_ms > now + soon ||
        (id->warned_ms != 0 && mono - id->warned_ms < DAY_MS)) {
        return;
    }
    kd_log(KD_LOG_WARN, "channel", "the server's certificate expires soon, or has expired",
           "file=%s expires_in_sec=%lld", c->config->certificate_file,
           (long long)((int64_t)(id->upto_ms - now) / 1000));
    id->warned_ms = mono;
}

// A file that cannot be read now, or has no key yet, is looked at again by the first handshake.
void kd_channel_identity_reload(struct kd_channel *c) {
    c->identity.is_read = false;
    c->identity.warned_ms = 0;
    if (read_identity(c) == KD_OK) {
        warn_of_end(c, kd_clock_wall_ms());
    } else {
        c->identity.is_read = false;
    }
}

static enum kd_err refuse(const struct kd_channel *c, enum kd_err err, const char *why) {
    kd_log(KD_LOG_ERROR, "channel", "the identity cannot be used", "key=%s file=%s error=%s why=%s",
           c->config->identity, c->config->certificate_file, kd_err_name(err), why);
    return err == KD_ERR_NO_MEMORY ? err : KD_ERR_OWN_CERTIFICATE;
}

static bool is_of(const struct kd_channel_identity *id, const struct kd_key_version *v) {
    return kd_bytes_equal(v->ref.proof, (struct kd_bytes) { id->key.point, id->key.n_point });
}

bool kd_channel_is_certified(struct kd_channel *c, const struct kd_entry *e,
                             const struct kd_key_version *v) {
    if (c == NULL || strcmp(e->key.name, c->config->identity) != 0) {
        return false;
    }
    return (!c->identity.is_read && read_identity(c) != KD_OK) || is_of(&c->identity, v);
}

enum kd_err kd_channel_identity(struct kd_channel *c, const struct kd_key_version **out) {
    struct kd_channel_identity *id = &c->identity;
    const struct kd_entry *e = kd_registry_get(&c->s->registry, c->config->identity);
    const uint64_t now = kd_clock_wall_ms();
    if (e == NULL || e->key.n_versions == 0) {
        return refuse(c, KD_ERR_NO_KEY, "there is no such key");
    }
    const enum kd_err r = id->is_read ? KD_OK : read_identity(c);
    if (r != KD_OK) {
        return refuse(c, r, "the certificate cannot be read");
    }
    warn_of_end(c, now);
    if (now < id->from_ms || now > id->upto_ms) {
        return refuse(c, KD_ERR_HS_CREDENTIAL, "the certificate is not valid now");
    }
    id->is_static_dh = (e->key.usages & KD_USE_DERIVE) != 0;
    for (size_t i = e->key.n_versions; i > 0; i--) {
        const struct kd_key_version *v = &e->key.versions[i - 1];
        if (v->state == KD_VERSION_ENABLED && e->key.origin != KD_ORIGIN_IMPORTED && is_of(id, v)) {
            *out = v;
            return KD_OK;
        }
    }
    return refuse(c, KD_ERR_OBJECT_CHANGED, "the certificate is of no enabled version of the key");
}

// ---- how it is named -------------------------------------------------------

struct form {
    enum kd_idcred_kind kind;
    int hash;
};

// The wish in EAD_1 (docs/protocol.md): [form, ? hash], the form by its number in the protocol.
static bool take_wish(struct kd_bytes value, struct form *form) {
    static const enum kd_idcred_kind kinds[] = { 0, KD_IDCRED_X5T, KD_IDCRED_X5U, KD_IDCRED_X5U_X5T,
                                                 KD_IDCRED_X5CHAIN };
    struct kd_cbor c = kd_cbor_of(value);
    const size_t n = kd_cbor_read_array(&c);
    const uint64_t kind = kd_cbor_read_uint(&c);
    const int64_t hash = n == 2 ? kd_cbor_read_int(&c) : form->hash;
    const bool is_known = kd_cbor_finish(&c) == KD_OK && kind > 0 && kind < KD_COUNT_OF(kinds) &&
                          n <= 2 && hash < 0 && hash > -100;
    if (is_known) {
        *form = (struct form) { kinds[kind], (int)hash };
    }
    return is_known;
}

static enum kd_err put(const struct kd_channel *c, const struct form *form, struct kd_buf *out) {
    const struct kd_channel_identity *id = &c->identity;
    const struct kd_bytes uri = kd_bytes_of_text(c->config->certificate_uri);
    struct kd_bytes chain[KD_X5CHAIN_MAX];
    for (size_t i = 0; i < id->n_chain; i++) {
        chain[i] = kd_buf_get(&id->chain[i]);
    }
    switch (form->kind) {
    case KD_IDCRED_X5T:
        return kd_idcred_put_x5t(out, form->hash, chain[0]);
    case KD_IDCRED_X5U_X5T:
        return uri.n == 0 ? KD_ERR_HS_CREDENTIAL
                          : kd_idcred_put_x5u_x5t(out, uri, form->hash, chain[0]);
    case KD_IDCRED_X5U:
        if (uri.n == 0) {
            return KD_ERR_HS_CREDENTIAL;
        }
        kd_idcred_put_x5u(out, uri);
        return KD_OK;
    case KD_IDCRED_X5CHAIN:
        kd_idcred_put_x5chain(out, chain, id->n_chain);
        return KD_OK;
    case KD_IDCRED_KID:
        break;
    }
    return KD_ERR_HS_CREDENTIAL;
}

enum kd_err kd_channel_put_id_cred(const struct kd_channel *c, struct kd_bytes message_1,
                                   struct kd_buf *out) {
    static const struct kd_ead_labels labels = { 1, { KD_CHANNEL_EAD_LABEL } };
    const struct form own = { c->config->id_cred, c->config->x5t_hash };
    struct form form = own;
    struct kd_ead ead = { .n = 0 };
    const struct kd_ead_item *wish = NULL;
    if (message_1.n > 0 && kd_edhoc_peek_ead_1(message_1, &labels, &ead) == KD_OK) {
        wish = kd_ead_get(&ead, KD_CHANNEL_EAD_LABEL);
    }
    const bool is_known = wish == NULL || take_wish(wish->value, &form);
    const size_t start = out->n;
    enum kd_err r = is_known ? put(c, &form, out) : KD_ERR_HS_CREDENTIAL;
    if (r == KD_ERR_HS_CREDENTIAL && wish != NULL) { // it cannot be met
        if (wish->is_critical) {
            return KD_ERR_HS_EAD; // RFC 9528 3.8
        }
        out->n = start;
        r = put(c, &own, out);
    }
    return r == KD_OK ? kd_buf_finish(out) : r;
}
