// SPDX-License-Identifier: Apache-2.0
// est.c: what devices ask the bootstrap server for: EST (RFC 7030, RFC 8951), certificates by
// their URI, and the provisioning answer.  Who a device is, the service says.
#include "api/jwk.h"
#include "api/route.h"

#include "ca/ca.h"
#include "keyd/bootstrap.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    PKCS7_MAX_BYTES = 65536,
    PROOF_MAX_BYTES = 256,
    PROVISION_VERSION = 1,
    PROVISION_MEMBERS = 13,
};

// ---- the device's proof ----------------------------------------------------

// RFC 7617: id and one-time secret.  The text lives in *room.
static enum kd_err read_basic(struct kd_request *q, struct kd_buf *room,
                              struct kd_device_proof *out) {
    static const char scheme[] = "Basic ";
    const char *value =
        MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (value == NULL) {
        return KD_OK;
    }
    if (strncasecmp(value, scheme, strlen(scheme)) != 0) {
        kd_request_say(q, "Of the Authorization schemes only Basic is known.");
        return KD_ERR_ENROLMENT;
    }
    value += strlen(scheme);
    enum kd_err err = strlen(value) > PROOF_MAX_BYTES
                          ? KD_ERR_ENROLMENT
                          : kd_ca_read_base64(kd_bytes_of_text(value), room);
    if (err == KD_OK) {
        kd_buf_u8(room, 0);
        err = kd_buf_finish(room);
    }
    if (err != KD_OK) { // without memory the proof may be a good one
        return err == KD_ERR_NO_MEMORY ? err : KD_ERR_ENROLMENT;
    }
    char *colon = memchr(room->p, ':', room->n);
    if (colon == NULL || memchr(room->p, 0, room->n - 1) != NULL) {
        return KD_ERR_ENROLMENT;
    }
    *colon = '\0';
    out->id = (const char *)room->p;
    out->secret = kd_bytes_of_text(colon + 1);
    return KD_OK;
}

static enum kd_err read_proof(struct kd_request *q, struct kd_buf *room,
                              struct kd_device_proof *out) {
    struct kd_device_proof proof = { .certificate = kd_credential_certificate(q) };
    enum kd_err err = read_basic(q, room, &proof);
    if (err == KD_OK) {
        *out = proof;
    }
    return err;
}

// ---- EST -------------------------------------------------------------------

// certs-only (RFC 7030 4.1.3), in base64.
static enum kd_err put_certificates(struct kd_request *q, const struct kd_bytes *all, size_t n) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(PKCS7_MAX_BYTES);
    enum kd_err err = kd_ca_put_pkcs7(all, n, &der);
    if (err != KD_OK || (err = kd_ca_put_base64(kd_buf_get(&der), &q->out)) != KD_OK) {
        return err;
    }
    q->content_type = "application/pkcs7-mime; smime-type=certs-only";
    return KD_OK;
}

enum kd_err kd_handle_est_cacerts(struct kd_request *q) {
    struct kd_bootstrap_info ca;
    enum kd_err err = kd_bootstrap_chain(q->http->service, &ca);
    if (err != KD_OK || (err = put_certificates(q, ca.certificates, ca.n_certificates)) != KD_OK) {
        return err;
    }
    kd_request_answer(q, 200);
    return KD_OK;
}

enum kd_err kd_handle_est_csrattrs(struct kd_request *q) {
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(256);
    enum kd_err err = kd_bootstrap_attributes(q->http->service, &der);
    if (err != KD_OK || (err = kd_ca_put_base64(kd_buf_get(&der), &q->out)) != KD_OK) {
        return err;
    }
    q->content_type = "application/csrattrs";
    kd_request_answer(q, 200);
    return KD_OK;
}

static void note_hash(struct kd_request *q, const char *name, const uint8_t hash[static 32]) {
    char text[2 * 32 + 1];
    kd_hex_encode(hash, 32, text);
    kd_request_note(q, name, text);
}

// As the service judges: a name beside a certificate is nobody's word.
static void note_proof(struct kd_request *q, const struct kd_device_proof *proof) {
    const bool is_renewal = q->route->operation != 0;
    if (!is_renewal && proof->id != NULL && kd_name_is_valid(kd_bytes_of_text(proof->id))) {
        kd_request_note(q, "device", proof->id);
    }
    if (proof->certificate.n == 32) {
        note_hash(q, "with", proof->certificate.p);
    }
}

// The device by whose proof the work was begun.
static void know(struct kd_request *q, const struct kd_device_proof *proof) {
    char text[2 * 32 + 1];
    if (q->route->operation == 0) {
        kd_connection_know(q->connection, proof->id);
    } else {
        kd_hex_encode(proof->certificate.p, 32, text);
        kd_connection_know(q->connection, text);
    }
}

static void on_certified(void *arg, enum kd_err err, const char *detail, struct kd_bytes der) {
    struct kd_request *q = arg;
    if (err == KD_OK) {
        err = put_certificates(q, &der, 1);
    }
    uint8_t hash[32];
    if (err == KD_OK && (err = kd_ca_hash(der, hash)) == KD_OK) {
        note_hash(q, "certificate", hash);
    }
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    kd_request_end(q, 200);
}

// Who asks is looked at before what he asks.
enum kd_err kd_handle_est_enroll(struct kd_request *q) {
    kd_auto(buf) struct kd_buf room = KD_BUF_INIT(PROOF_MAX_BYTES + 1);
    kd_auto(buf) struct kd_buf der = KD_BUF_INIT(q->body.n);
    struct kd_device_proof proof;
    enum kd_err err = read_proof(q, &room, &proof);
    if (err != KD_OK) {
        return err;
    }
    note_proof(q, &proof);
    // What is no base64 is an empty request, which the service refuses when it knows who asks.
    if ((err = kd_ca_read_base64(kd_buf_get(&q->body), &der)) == KD_ERR_NO_MEMORY) {
        return err;
    }
    if (err != KD_OK) {
        kd_buf_reset(&der);
        kd_request_say(q, "The body is not base64 (RFC 4648 4).");
    }
    err = kd_bootstrap_certify(q->http->service, &proof, kd_buf_get(&der), q->route->operation != 0,
                               on_certified, q);
    if (err == KD_OK) {
        know(q, &proof);
        q->state = KD_REQUEST_WAITING;
    }
    return err;
}

// ---- GET /c/{server}/{name} ------------------------------------------------

// The first of the two segments, which the route does not give.
static bool is_of_server(const char *url, const char *server) {
    const size_t n = strlen(server);
    return strncmp(url, "/c/", 3) == 0 && strncmp(url + 3, server, n) == 0 && url[3 + n] == '/';
}

// RFC 9110 8.8.3: the certificate's own hash.
static enum kd_err put_etag(struct kd_request *q, struct kd_bytes der) {
    uint8_t hash[32];
    char text[33]; // half of it is enough
    char quoted[sizeof(text) + 2];
    enum kd_err err = kd_ca_hash(der, hash);
    if (err != KD_OK) {
        return err;
    }
    kd_hex_encode(hash, sizeof(hash) / 2, text);
    snprintf(quoted, sizeof(quoted), "\"%s\"", text);
    kd_request_put_header(q, "ETag", quoted);
    return KD_OK;
}

static bool is_known(struct kd_request *q) {
    const char *etag = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "If-None-Match");
    return etag != NULL && strstr(etag, q->headers[0].value) != NULL;
}

enum kd_err kd_handle_certificate(struct kd_request *q) {
    struct kd_bytes der = KD_BYTES_NONE;
    struct kd_bootstrap_info ca;
    enum kd_err err = kd_bootstrap_chain(q->http->service, &ca);
    if (err != KD_OK || !is_of_server(q->url, ca.server)) {
        return KD_ERR_NO_DEVICE;
    }
    if ((err = kd_bootstrap_find(q->http->service, ca.server, q->name, &der)) != KD_OK ||
        (err = put_etag(q, der)) != KD_OK) {
        return err;
    }
    // Short: a device may be revoked, or have a new one.
    q->cache_control = "public, max-age=300, must-revalidate";
    if (is_known(q)) {
        kd_request_answer(q, 304);
        return KD_OK;
    }
    kd_buf_put(&q->out, der.p, der.n);
    q->content_type = "application/pkix-cert"; // RFC 2585 4.1
    kd_request_answer(q, 200);
    return KD_OK;
}

// ---- GET /provision --------------------------------------------------------

static void put_numbers(struct kd_buf *out, const char *name, const uint8_t *all, size_t n) {
    kd_json_member(out, name);
    kd_buf_u8(out, '[');
    for (size_t i = 0; i < n; i++) {
        kd_json_element(out);
        kd_json_put_number(out, all[i]);
    }
    kd_buf_u8(out, ']');
}

static void put_server(struct kd_buf *out, const struct kd_provision *p) {
    kd_json_member(out, "server");
    kd_buf_u8(out, '{');
    kd_json_member(out, "id");
    kd_json_put_text(out, p->server);
    kd_json_member(out, "certificate");
    kd_certificate_pem_write(out, p->server_certificate);
    kd_json_member(out, "chain");
    kd_buf_u8(out, '[');
    for (size_t i = 0; i < p->ca.n_certificates; i++) {
        kd_json_element(out);
        kd_certificate_pem_write(out, p->ca.certificates[i]);
    }
    kd_buf_u8(out, ']');
    kd_json_member(out, "hash");
    kd_json_put_text(out, p->hash);
    kd_json_member(out, "fingerprint");
    kd_json_put_bytes(out, p->fingerprint);
    kd_buf_u8(out, '}');
}

static void put_device(struct kd_buf *out, const struct kd_device_info *d) {
    kd_json_member(out, "device");
    kd_buf_u8(out, '{');
    kd_json_member(out, "id");
    kd_json_put_text(out, d->id);
    if (d->relation[0] != '\0') {
        kd_json_member(out, "relation");
        kd_json_put_text(out, d->relation);
    }
    kd_json_member(out, "usage");
    kd_json_put_text(out, kd_device_usage_name(d->usage));
    kd_json_member(out, "uri");
    kd_json_put_text(out, d->uri);
    if (d->certificate.n > 0) {
        kd_json_member(out, "certificate");
        kd_certificate_pem_write(out, d->certificate);
        kd_json_member(out, "not_after");
        kd_json_put_time(out, d->upto_ms);
    }
    kd_buf_u8(out, '}');
}

static void put_key(struct kd_buf *out, const char *name, struct kd_bytes point, uint32_t version) {
    if (point.n == 0) {
        return;
    }
    kd_json_member(out, name);
    kd_buf_u8(out, '{');
    kd_json_member(out, "version");
    kd_json_put_number(out, version);
    kd_json_member(out, "public_key");
    kd_jwk_write(out, point.n == 65 ? KD_KEY_EC_P256 : KD_KEY_EC_P384, point);
    kd_buf_u8(out, '}');
}

static void put_provision(struct kd_buf *out, const struct kd_provision *p) {
    kd_buf_u8(out, '{');
    put_device(out, &p->device);
    put_server(out, p);
    put_numbers(out, "suites", p->suites, p->n_suites);
    put_numbers(out, "methods", p->methods, p->n_methods);
    kd_json_member(out, "profiles");
    kd_buf_u8(out, '[');
    kd_json_put_text(out, p->profile);
    kd_buf_u8(out, ']');
    put_key(out, "channel_key", p->channel_key, p->channel_key_version);
    put_key(out, "envelope_key", p->envelope_key, p->envelope_key_version);
    kd_json_member(out, "time");
    kd_json_put_time(out, kd_clock_wall_ms());
    kd_buf_u8(out, '}');
}

// For devices that have no JSON: the same in deterministic CBOR (docs/certificates.md).
static void put_provision_cbor(struct kd_buf *out, const struct kd_provision *p) {
    kd_cbor_put_array(out, PROVISION_MEMBERS);
    kd_cbor_put_uint(out, PROVISION_VERSION);
    kd_cbor_put_text(out, p->device.id);
    kd_cbor_put_text(out, p->device.uri);
    kd_cbor_put_bytes(out, p->device.certificate);
    kd_cbor_put_text(out, p->server);
    kd_cbor_put_bytes(out, p->server_certificate);
    kd_cbor_put_array(out, p->ca.n_certificates);
    for (size_t i = 0; i < p->ca.n_certificates; i++) {
        kd_cbor_put_bytes(out, p->ca.certificates[i]);
    }
    kd_cbor_put_array(out, p->n_suites);
    for (size_t i = 0; i < p->n_suites; i++) {
        kd_cbor_put_uint(out, p->suites[i]);
    }
    kd_cbor_put_array(out, p->n_methods);
    for (size_t i = 0; i < p->n_methods; i++) {
        kd_cbor_put_uint(out, p->methods[i]);
    }
    kd_cbor_put_text(out, p->profile);
    kd_cbor_put_bytes(out, p->channel_key);
    kd_cbor_put_bytes(out, p->envelope_key);
    kd_cbor_put_uint(out, kd_clock_wall_ms() / 1000);
}

static bool wants_cbor(struct kd_request *q) {
    const char *accept = MHD_lookup_connection_value(q->mhd, MHD_HEADER_KIND, "Accept");
    return accept != NULL && strcasecmp(accept, KD_MEDIA_CBOR) == 0;
}

enum kd_err kd_handle_provision(struct kd_request *q) {
    kd_auto(buf) struct kd_buf room = KD_BUF_INIT(PROOF_MAX_BYTES + 1);
    struct kd_device_proof proof;
    struct kd_provision provision;
    enum kd_err err = read_proof(q, &room, &proof);
    if (err != KD_OK ||
        (err = kd_bootstrap_provision(q->http->service, &proof, &provision)) != KD_OK) {
        return err;
    }
    kd_connection_know(q->connection, provision.device.id);
    if (wants_cbor(q)) {
        put_provision_cbor(&q->out, &provision);
        q->content_type = KD_MEDIA_CBOR;
    } else {
        put_provision(&q->out, &provision);
    }
    kd_request_answer(q, 200);
    return KD_OK;
}
