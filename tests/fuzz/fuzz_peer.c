// SPDX-License-Identifier: Apache-2.0
// fuzz_peer.c: who a peer says that it is.  The first byte says what the rest is: ID_CRED, its
// compact form, the subjectAltName of a certificate that a trusted CA has signed, a whole
// certificate, a body with a JWK or PEM, or a retry cookie.
#include "fuzz.h"

#include "api/jwk.h"
#include "channel/cred.h"
#include "keyd/cookie.h"
#include "keyd/trust.h"
#include "tests/unit/pki.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "urn:keyd:device:"

static void must(bool is_so) {
    if (!is_so) {
        abort();
    }
}

// ---- ID_CRED ---------------------------------------------------------------

static void read_id_cred(struct kd_bytes in) {
    struct kd_idcred id;
    if (kd_idcred_parse(in, &id) == KD_OK) {
        must(kd_bytes_equal(id.encoded, in) && id.n_chain <= KD_X5CHAIN_MAX);
        must(id.x5u.n <= KD_X5U_MAX_BYTES &&
             (id.x5u.n == 0 || memchr(id.x5u.p, 0, id.x5u.n) == NULL));
        (void)!kd_idcred_fits(&id, in);
    }
}

static void read_compact(struct kd_bytes in) {
    kd_auto(buf) struct kd_buf whole = KD_BUF_INIT(1 << 16);
    kd_auto(buf) struct kd_buf again = KD_BUF_INIT(1 << 16);
    struct kd_cbor c = kd_cbor_of(in);
    struct kd_idcred id;
    memset(&id, 0, sizeof(id));
    kd_idcred_read_compact(&c, &whole, &id);
    if (kd_cbor_finish(&c) == KD_OK) {
        kd_idcred_put_compact(&again, &id);
        must(kd_bytes_equal(kd_buf_get(&again), in));
    }
}

// ---- certificates ----------------------------------------------------------

static struct kd_trust *trust;
static struct pki_cert ca;

static void start(void) {
    char path[] = "/tmp/keyd-fuzz-XXXXXX";
    const int fd = mkstemp(path);
    ca = pki_ca("root", NULL);
    pki_write_pem(path, &ca, 1);
    must(fd >= 0 && kd_trust_open(path, "", &trust) == KD_OK);
    close(fd);
    unlink(path);
}

static enum kd_err check_chain(struct kd_bytes der, struct kd_trust_name *name) {
    static const char *const required[] = { "urn:keyd:relation:*" };
    const struct kd_trust_rules rules = { PREFIX, der.n % 2, required };
    const char *why = NULL;
    char relation[KD_NAME_MAX_BYTES + 1];
    const enum kd_err r =
        kd_trust_check(trust, &rules, &der, 1, KD_TRUST_SIGNS, kd_clock_wall_ms(), name, &why);
    must(r == KD_OK || r == KD_ERR_NO_MEMORY || why != NULL);
    kd_trust_relation(der, relation);
    return r;
}

// Signed anew with these bytes as the names that it is for.
static void check_names(struct kd_bytes names) {
    static const struct pki_spec spec = { .name = "d" };
    struct kd_trust_name name = { .name = "" };
    struct pki_cert c = pki_make(&spec, &ca);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    must(value != NULL && ASN1_OCTET_STRING_set(value, names.p, (int)names.n) == 1);
    X509_EXTENSION *e = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, value);
    must(e != NULL && X509_add_ext(c.x, e, -1) == 1 && X509_sign(c.x, ca.key, EVP_sha256()) > 0);
    uint8_t *der = NULL;
    const int n = i2d_X509(c.x, &der);
    must(n > 0);
    if (check_chain((struct kd_bytes) { der, (size_t)n }, &name) == KD_OK) {
        char uri[KD_NAME_MAX_BYTES + 32];
        snprintf(uri, sizeof(uri), "%s%s", PREFIX, name.name);
        must(name.name[0] != '\0' && memmem(names.p, names.n, uri, strlen(uri)) != NULL);
    }
    OPENSSL_free(der);
    X509_EXTENSION_free(e);
    ASN1_OCTET_STRING_free(value);
    pki_wipe(&c);
}

// Nobody has signed it.
static void check_certificate(struct kd_bytes der) {
    struct kd_trust_name name = { .name = "" };
    must(check_chain(der, &name) != KD_OK && name.name[0] == '\0');
}

// ---- what callers register -------------------------------------------------

static void read_body(struct kd_bytes text) {
    struct kd_why why = { "", "" };
    kd_auto(buf) struct kd_buf arena = KD_BUF_INIT(1 << 20);
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(1 << 20);
    kd_auto(json_tree) struct kd_json_tree json = KD_JSON_TREE_INIT;
    kd_buf_put(&body, text.p, text.n);
    if (kd_json_parse(&body, &why, &json) != KD_OK) {
        return;
    }
    (void)kd_buf_extend(&arena, text.n + 1);
    arena.n = 0;
    const struct kd_json_in in = { .object = json.root, .arena = &arena, .why = &why };
    struct kd_public_key key;
    struct kd_bytes certificate = KD_BYTES_NONE;
    if (kd_jwk_read(&in, "k", &key) == KD_OK) {
        must(key.n == 65 || key.n == 97);
        (void)!kd_public_key_is_on_curve(&key);
    }
    if (kd_pem_read(&in, "p", &key, &certificate) == KD_OK) {
        must(kd_public_key_is_on_curve(&key) && certificate.n <= arena.n);
    }
}

static void show_cookie(struct kd_bytes cookie) {
    static const struct kd_cookie_of of = { { (const uint8_t *)"m", 1 },
                                            { (const uint8_t *)"a", 1 },
                                            { (const uint8_t *)"p", 1 } };
    struct kd_cookies cookies = { .has_key = false };
    uint8_t good[KD_COOKIE_BYTES];
    must(!kd_cookie_is_good(&cookies, &of, 1000, cookie));
    must(kd_cookie_make(&cookies, &of, 1000, good) == KD_OK);
    must(kd_cookie_is_good(&cookies, &of, 1000, (struct kd_bytes) { good, sizeof(good) }));
    must(!kd_cookie_is_good(&cookies, &of, 1000, cookie));
    kd_cookies_wipe(&cookies);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static void (*const readers[])(struct kd_bytes in) = { read_id_cred,      read_compact,
                                                           check_names,       read_body,
                                                           check_certificate, show_cookie };
    if (n == 0 || n > 65536) {
        return 0;
    }
    if (trust == NULL) {
        start();
    }
    readers[data[0] % KD_COUNT_OF(readers)]((struct kd_bytes) { data + 1, n - 1 });
    return 0;
}
