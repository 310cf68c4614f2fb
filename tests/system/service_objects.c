// SPDX-License-Identifier: Apache-2.0
// service_objects.c: calls of keyd_service.h on what keyd keeps, and batches; see service.c.
#include "tests/system/service_app.h"

#include <stdio.h>
#include <string.h>

static bool is(const char *name, const char *other) {
    return strcmp(name, other) == 0;
}

// ---- lists -----------------------------------------------------------------

// KIND MAX [AFTER]: the names, and at last whether there are more.
static bool list(void) {
    static union {
        struct keyd_key keys[WORDS_MAX];
        struct keyd_secret secrets[WORDS_MAX];
        struct keyd_session sessions[WORDS_MAX];
        struct keyd_peer peers[WORDS_MAX];
        struct keyd_enrolment devices[WORDS_MAX];
    } u;
    const char *kind = word(1);
    const size_t max = number(2);
    struct keyd_page page = { .n = 0 };
    snprintf(page.after, sizeof(page.after), "%s", text(3) == NULL ? "" : word(3));
    const enum keyd_err err =
        is(kind, "keys")       ? keyd_key_list(service, &page, u.keys, max)
        : is(kind, "secrets")  ? keyd_secret_list(service, &page, u.secrets, max)
        : is(kind, "sessions") ? keyd_session_list(service, &page, u.sessions, max)
        : is(kind, "peers")    ? keyd_peer_list(service, &page, u.peers, max)
                               : keyd_enrolment_list(service, &page, u.devices, max);
    if (!begin(err)) {
        return true;
    }
    for (size_t i = 0; i < page.n; i++) {
        put_text(is(kind, "keys")       ? u.keys[i].name
                 : is(kind, "secrets")  ? u.secrets[i].id
                 : is(kind, "sessions") ? u.sessions[i].id
                 : is(kind, "peers")    ? u.peers[i].name
                                        : u.devices[i].id);
    }
    printf(" %d", page.is_more);
    return true;
}

// ---- keys and secrets ------------------------------------------------------

static void versions(void) {
    struct keyd_key_version v[8];
    size_t n = 0;
    if (begin(keyd_key_versions(service, word(1), v, number(2), &n))) {
        for (size_t i = 0; i < n; i++) {
            printf(" %u %d %d %d", v[i].version, v[i].is_enabled, v[i].is_local,
                   v[i].is_extractable);
            put_bytes(v[i].point, v[i].n_point);
        }
    } else {
        printf(" %zu", n);
    }
}

static void put_secret(const struct keyd_secret *s) {
    put_text(s->id);
    put_text(s->key);
    printf(" %u %d %llu %llu", s->version, (int)s->type, (unsigned long long)s->created_s,
           (unsigned long long)s->expires_s);
}

// PEM as hexadecimal of its bytes.
static const char *pem(size_t i) {
    static char text[KEYD_PEM_MAX + 1];
    const struct keyd_bytes b = bytes(i);
    snprintf(text, sizeof(text), "%.*s", (int)b.n, (const char *)b.p);
    return text;
}

static bool keys(const char *name) {
    struct keyd_key key = { .version = 0 };
    struct keyd_secret secret;
    if (is(name, "disable")) {
        put_key(keyd_key_disable(service, word(1), number(2), &key), &key);
    } else if (is(name, "enable")) {
        put_key(keyd_key_enable(service, word(1), number(2), &key), &key);
    } else if (is(name, "adopt")) {
        put_key(keyd_key_adopt(service, word(1), word(2), &key), &key);
        printf(" %d", (int)key.origin);
    } else if (is(name, "rotate-to")) {
        put_key(keyd_key_rotate_to(service, word(1), word(2), &key), &key);
    } else if (is(name, "import")) {
        put_key(keyd_key_import(service, word(1), pem(2), &key), &key);
        printf(" %d", (int)key.origin);
    } else if (is(name, "import-point")) {
        put_key(
            keyd_key_import_point(service, word(1), (enum keyd_key_type)number(2), bytes(3), &key),
            &key);
        printf(" %d", (int)key.origin);
    } else if (is(name, "versions")) {
        versions();
    } else if (is(name, "secret")) {
        if (begin(keyd_secret_show(service, word(1), &secret))) {
            put_secret(&secret);
        }
    } else {
        return false;
    }
    return true;
}

// ---- batches ---------------------------------------------------------------

static void verify_all(bool is_mac) {
    static struct keyd_result out[WORDS_MAX];
    static struct keyd_bytes data[WORDS_MAX];
    static struct keyd_bytes proofs[WORDS_MAX];
    const struct keyd_with w = with(1);
    const size_t n = (n_words - 2) / 2;
    for (size_t i = 0; i < n; i++) {
        data[i] = bytes(2 + 2 * i);
        proofs[i] = bytes(3 + 2 * i);
    }
    put_results(is_mac ? keyd_mac_verify_all(service, &w, data, proofs, n, out)
                       : keyd_verify_all(service, &w, data, proofs, n, 0, out),
                out, n);
}

// TEXT AAD ..., or IV TEXT AAD ...
static void cipher_all(bool is_encrypt) {
    static struct keyd_cipher items[WORDS_MAX];
    const struct keyd_with w = with(1);
    const size_t step = is_encrypt ? 2 : 3;
    const size_t n = (n_words - 2) / step;
    const struct keyd_room all = room();
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t first = 2 + step * i + (is_encrypt ? 0 : 1);
        items[i] = (struct keyd_cipher) { .in = bytes(first), .aad = bytes(first + 1) };
        if (!is_encrypt) {
            memcpy(items[i].iv, bytes(first - 1).p, sizeof(items[i].iv));
        }
        items[i].out = (struct keyd_room) { (char *)all.p + at, items[i].in.n + 16, 0 };
        at += items[i].in.n + 16;
    }
    if (begin(is_encrypt ? keyd_encrypt_all(service, &w, items, n)
                         : keyd_decrypt_all(service, &w, items, n))) {
        for (size_t i = 0; i < n; i++) {
            put_text(items[i].err == KEYD_OK ? "ok" : items[i].problem);
            put_bytes(items[i].iv, sizeof(items[i].iv));
            put_bytes(items[i].out.p, items[i].out.n);
            printf(" %u", items[i].version);
        }
    }
}

// KEY N INFO ...: HKDF-SHA256, kept as HMAC-SHA256 where N is 0, else values of so many bytes.
static void derive_all(void) {
    static struct keyd_derivation d[WORDS_MAX];
    static struct keyd_derived out[WORDS_MAX];
    const struct keyd_with w = with(1);
    const size_t n = n_words - 3;
    const size_t n_value = number(2);
    const struct keyd_room all = room();
    for (size_t i = 0; i < n; i++) {
        d[i] = (struct keyd_derivation) { .kdf = KEYD_KDF_HKDF_SHA256,
                                          .type = KEYD_HMAC_SHA256,
                                          .info = bytes(3 + i) };
        out[i] = (struct keyd_derived) { .value = { (char *)all.p + 256 * i, 256, 0 } };
    }
    if (begin(n_value == 0 ? keyd_derive_all(service, &w, d, n, out)
                           : keyd_derive_value_all(service, &w, d, n, n_value, out))) {
        for (size_t i = 0; i < n; i++) {
            put_text(out[i].err == KEYD_OK ? "ok" : out[i].problem);
            put_text(out[i].secret.id);
            put_bytes(out[i].value.p, out[i].value.n);
        }
        keyd_wipe(all.p, 256 * n);
    }
}

static bool batches(const char *name) {
    if (is(name, "verify-all") || is(name, "mac-verify-all")) {
        verify_all(name[0] == 'm');
    } else if (is(name, "encrypt-all") || is(name, "decrypt-all")) {
        cipher_all(name[0] == 'e');
    } else if (is(name, "derive-all")) {
        derive_all();
    } else {
        return false;
    }
    return true;
}

// ---- sessions --------------------------------------------------------------

static void put_session(const struct keyd_session *s) {
    put_text(s->id);
    put_text(s->peer);
    printf(" %d %d %u %llu %llu", s->can_release, s->is_released, s->update,
           (unsigned long long)s->sent, (unsigned long long)s->received);
}

static void put_change(enum keyd_err err, const struct keyd_change *c) {
    if (begin(err)) {
        put_session(&c->session);
        put_bytes(c->node_nonce, c->n_node_nonce);
        put_bytes(c->record, c->n_record);
    }
}

// As harness/peer.py's MessageServer wants them.
static void release(void) {
    struct keyd_traffic *t = NULL;
    if (begin(keyd_session_release(service, word(1), &t))) {
        put_session(&t->session);
        put_bytes(t->key_c2s, 32);
        put_bytes(t->key_s2c, 32);
        put_bytes(t->key_otp, 32);
        put_bytes(t->iv_c2s, KEYD_IV_BYTES);
        put_bytes(t->iv_s2c, KEYD_IV_BYTES);
        printf(" %u %u %u %d %llu %d %llu %u %llu", t->otp_digits, t->otp_step_s, t->otp_window,
               t->is_client, (unsigned long long)t->send_next, t->has_received,
               (unsigned long long)t->received_top, t->received[0],
               (unsigned long long)t->left_records);
    }
    keyd_traffic_free(t);
}

static bool sessions(const char *name) {
    struct keyd_session session;
    struct keyd_change change;
    struct keyd_handshake h = { .address = NULL };
    struct keyd_envelope_key key;
    struct keyd_room out = room();
    if (is(name, "session")) {
        if (begin(keyd_session_show(service, word(1), &session))) {
            put_session(&session);
        }
    } else if (is(name, "resume")) {
        put_change(keyd_session_resume(service, bytes(1), bytes(2), &change), &change);
    } else if (is(name, "update")) {
        put_change(keyd_session_update(service, word(1), &change), &change);
    } else if (is(name, "release")) {
        release();
    } else if (is(name, "initiate")) {
        put_room(keyd_handshake_begin(service, number(1), &h, &out), &out);
        put_text(h.id);
    } else if (is(name, "abandon")) {
        snprintf(h.id, sizeof(h.id), "%s", word(1));
        begin(keyd_handshake_abandon(service, &h));
    } else if (is(name, "envelope-key")) {
        if (begin(keyd_envelope_key(service, &key))) {
            put_text(key.name);
            printf(" %u %u", key.version, key.body_max);
            put_bytes(key.id, sizeof(key.id));
            put_bytes(key.point, key.n_point);
        }
    } else {
        return false;
    }
    return true;
}

// ---- peers and devices -----------------------------------------------------

static void put_peer(enum keyd_err err, const struct keyd_peer *p) {
    if (begin(err)) {
        put_text(p->name);
        printf(" %d %d", p->has_certificate, p->is_registered);
        put_bytes(p->point, p->n_point);
        put_bytes(p->kid, p->n_kid);
        put_text(p->uri);
    }
}

static bool peers(const char *name) {
    struct keyd_peer peer;
    struct keyd_room out = room();
    if (is(name, "peer-create")) {
        const struct keyd_peer_config c = { word(1), pem(2), bytes(3), text(4) };
        put_peer(keyd_peer_create(service, &c, &peer), &peer);
    } else if (is(name, "peer")) {
        const enum keyd_err err = keyd_peer_show(service, word(1), &peer, &out);
        put_peer(err, &peer);
        put_bytes(out.p, out.n);
    } else if (is(name, "peer-delete")) {
        begin(keyd_peer_delete(service, word(1)));
    } else {
        return false;
    }
    return true;
}

static void put_device(const struct keyd_enrolment *d) {
    put_text(d->id);
    put_text(d->relation);
    printf(" %d %d %d", d->is_agreeing, (int)d->state, d->secret_expires_s > d->created_s);
    put_text(d->serial);
}

static bool devices(const char *name) {
    struct keyd_enrolment device = { .id = "" };
    struct keyd_one_time *secret = NULL;
    struct keyd_room out = room();
    if (is(name, "enrol")) {
        snprintf(device.id, sizeof(device.id), "%s", word(1));
        snprintf(device.relation, sizeof(device.relation), "%s", text(2) == NULL ? "" : word(2));
        device.is_agreeing = (int)number(3);
        if (begin(keyd_enrol(service, &device, number(4), &secret))) {
            put_device(&device);
            put_text(secret->text);
        }
    } else if (is(name, "renew")) {
        if (begin(keyd_enrolment_renew(service, word(1), number(2), &secret))) {
            put_text(secret->text);
        }
    } else if (is(name, "device")) {
        if (begin(keyd_enrolment_show(service, word(1), &device, &out))) {
            put_device(&device);
            put_bytes(out.p, out.n);
        }
    } else if (is(name, "revoke")) {
        begin(keyd_enrolment_revoke(service, word(1)));
    } else if (is(name, "device-delete")) {
        begin(keyd_enrolment_delete(service, word(1)));
    } else {
        return false;
    }
    keyd_one_time_free(secret);
    return true;
}

bool objects(const char *name) {
    return is(name, "list")
               ? list()
               : keys(name) || batches(name) || sessions(name) || peers(name) || devices(name);
}
