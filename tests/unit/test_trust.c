// SPDX-License-Identifier: Apache-2.0
// Which certificates of strangers are believed, and what the operator is told of the others.
#include "keyd/trust.h"
#include "tests/unit/pki.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define URIS "URI:urn:keyd:device:d1,URI:urn:keyd:server:s1,URI:urn:keyd:relation:42"

static char folder[] = "/tmp/kd-trust-XXXXXX";
static char anchors[64];
static char crls[64];
static struct pki_cert root;
static struct kd_trust *trust;
static const char *required[] = { "urn:keyd:server:s1", "urn:keyd:relation:*" };
static struct kd_trust_rules rules;
static struct kd_trust_name name;
static const char *why;

static void set_up(void) {
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(anchors, sizeof(anchors), "%s/anchors", folder);
    snprintf(crls, sizeof(crls), "%s/crls", folder);
    root = pki_ca("root", NULL);
    pki_write_pem(anchors, &root, 1);
    ck_assert_err(kd_trust_open(anchors, "", &trust), KD_OK);
    rules = (struct kd_trust_rules) { .peer_uri = "urn:keyd:device:" };
    memset(&name, 0, sizeof(name));
}

static void tear_down(void) {
    kd_trust_free(trust);
    pki_wipe(&root);
    unlink(anchors);
    unlink(crls);
    rmdir(folder);
}

static enum kd_err check_chain(const struct pki_cert *certs, size_t n, enum kd_trust_use use) {
    struct kd_bytes chain[KD_X5CHAIN_MAX + 1];
    for (size_t i = 0; i < n; i++) {
        chain[i] = pki_der(&certs[i]);
    }
    return kd_trust_check(trust, &rules, chain, n, use, kd_clock_wall_ms(), &name, &why);
}

// A certificate of the root with these traits is refused for this reason.
static void refuses(const struct pki_spec *spec, const char *reason) {
    struct pki_cert c = pki_make(spec, &root);
    ck_assert_err(check_chain(&c, 1, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, reason);
    ck_assert_str_eq(name.name, ""); // untouched
    pki_wipe(&c);
}

static void takes(const struct pki_spec *spec, enum kd_trust_use use) {
    struct pki_cert c = pki_make(spec, &root);
    const enum kd_err r = check_chain(&c, 1, use);
    ck_assert_msg(r == KD_OK, "%s", why);
    ck_assert_str_eq(name.name, "d1");
    pki_wipe(&c);
}

START_TEST(what_does_not_fit_is_refused_with_its_reason) {
    static const struct {
        struct pki_spec spec;
        const char *why;
    } cases[] = {
        { { .name = "d", .uris = URIS, .from_sec = -7200, .upto_sec = -3600 },
          "a certificate of its path has expired" },
        { { .name = "d", .uris = URIS, .from_sec = 3600, .upto_sec = 7200 },
          "a certificate of its path is not valid yet" },
        { { .name = "d", .uris = URIS, .usage = "" }, "its key usage does not allow signatures" },
        { { .name = "d", .uris = URIS, .usage = "keyEncipherment,keyAgreement" },
          "its key usage does not allow signatures" },
        { { .name = "d", .uris = URIS, .extended = "serverAuth" },
          "its extended key usage is not that of a client" },
        { { .name = "d",
            .uris = URIS,
            .is_ca = true,
            .usage = "critical,digitalSignature,keyCertSign" },
          "it is a CA's" },
        { { .name = "d", .uris = URIS, .curve = "P-521" },
          "a key of its path is not on P-256 or P-384" },
        { { .name = "d", .uris = URIS, .curve = "RSA" },
          "a key of its path is not on P-256 or P-384" },
        { { .name = "d" }, "it has no peer's name: no URI that begins with trust.peer-uri" },
        { { .name = "d", .uris = "URI:urn:keyd:device:" },
          "its peer's name is not one that keyd uses" },
        { { .name = "d", .uris = "URI:urn:keyd:device:../x" },
          "its peer's name is not one that keyd uses" },
        { { .name = "d", .uris = "URI:urn:keyd:device:d1,URI:urn:keyd:device:d2" },
          "it has two peers' names" },
        { { .name = "d", .uris = "DNS:urn.keyd.device.d1" },
          "it has no peer's name: no URI that begins with trust.peer-uri" },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        refuses(&cases[i].spec, cases[i].why);
    }
}
END_TEST

START_TEST(a_certificate_has_so_many_uris_and_no_more) {
    char uris[1024] = URIS; // three
    struct pki_spec spec = { .name = "d", .uris = uris };
    size_t n = strlen(uris);
    for (unsigned i = 3; i < KD_TRUST_URIS_MAX; i++) {
        n += (size_t)snprintf(uris + n, sizeof(uris) - n, ",URI:urn:x:%u", i);
    }
    takes(&spec, KD_TRUST_SIGNS);
    memset(&name, 0, sizeof(name));
    snprintf(uris + n, sizeof(uris) - n, ",URI:urn:x:more");
    refuses(&spec, "its URIs are too many, too long, or no text");
}
END_TEST

START_TEST(weak_hashes_are_refused) { // A07
    const struct pki_spec sha1 = { .name = "d", .uris = URIS, .md = EVP_sha1() };
    const struct pki_spec sha224 = { .name = "d", .uris = URIS, .md = EVP_sha224() };
    refuses(&sha1, "a signature of its path is by a weak hash");
    refuses(&sha224, "a signature of its path is not ECDSA with SHA-2 or SHA-3");
}
END_TEST

START_TEST(another_issuer_and_a_look_alike_are_refused) {
    struct pki_cert other = pki_ca("other", NULL);
    struct pki_cert twin = pki_ca("root", NULL); // the root's name, another key
    const struct pki_spec spec = { .name = "d", .uris = URIS };
    struct pki_cert certs[] = { pki_make(&spec, &other), pki_make(&spec, &twin),
                                pki_make(&spec, NULL) };
    ck_assert_err(check_chain(&certs[0], 1, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, "no path leads to a trust anchor");
    ck_assert_err(check_chain(&certs[1], 1, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, "no path leads to a trust anchor"); // another key id
    ck_assert_err(check_chain(&certs[2], 1, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, "it is self-signed and no trust anchor");
    struct pki_cert chain[] = { certs[0], other }; // brings its own root
    ck_assert_err(check_chain(chain, 2, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, "its path ends at a root that is no trust anchor");
    for (size_t i = 0; i < KD_COUNT_OF(certs); i++) {
        pki_wipe(&certs[i]);
    }
    pki_wipe(&other);
    pki_wipe(&twin);
}
END_TEST

START_TEST(a_changed_bit_is_refused) {
    const struct pki_spec spec = { .name = "d", .uris = URIS };
    struct pki_cert c = pki_make(&spec, &root);
    const struct kd_bytes der = pki_der(&c);
    uint8_t bad[2048];
    for (size_t i = 0; i < der.n; i++) {
        memcpy(bad, der.p, der.n);
        bad[i] ^= 0x04;
        const struct kd_bytes b = { bad, der.n };
        ck_assert_err(
            kd_trust_check(trust, &rules, &b, 1, KD_TRUST_SIGNS, kd_clock_wall_ms(), &name, &why),
            KD_ERR_HS_CREDENTIAL);
    }
    for (size_t n = 0; n <= der.n + 1; n += n + 40 < der.n ? 40 : 1) { // cut, and one byte more
        const struct kd_bytes b = { bad, n };
        memcpy(bad, der.p, der.n);
        const enum kd_err r =
            kd_trust_check(trust, &rules, &b, 1, KD_TRUST_SIGNS, kd_clock_wall_ms(), &name, &why);
        ck_assert_err(r, n == der.n ? KD_OK : KD_ERR_HS_CREDENTIAL);
    }
    pki_wipe(&c);
}
END_TEST

START_TEST(chains_are_followed_up_to_their_limit) { // A10
    const struct pki_spec spec = { .name = "d", .uris = URIS };
    struct pki_cert cas[KD_X5CHAIN_MAX + 1];
    for (size_t i = 0; i < KD_COUNT_OF(cas); i++) {
        char text[8];
        snprintf(text, sizeof(text), "ca%zu", i);
        cas[i] = pki_ca(text, i == 0 ? &root : &cas[i - 1]);
    }
    // own, ca2, ca1, ca0 is the longest; in another order it is the same.
    struct pki_cert own = pki_make(&spec, &cas[2]);
    struct pki_cert chain[] = { own, cas[2], cas[1], cas[0], cas[3] };
    ck_assert_err(check_chain(chain, 4, KD_TRUST_SIGNS), KD_OK);
    struct pki_cert mixed[] = { own, cas[0], cas[2], cas[1] };
    ck_assert_err(check_chain(mixed, 4, KD_TRUST_SIGNS), KD_OK);
    ck_assert_err(check_chain(chain, 3, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, "no path leads to a trust anchor");
    ck_assert_err(check_chain(chain, 5, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_err(check_chain(chain, 0, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    // An end entity does not issue.
    struct pki_cert below = pki_make(&spec, &own);
    struct pki_cert wrong[] = { below, own, cas[2], cas[1] };
    ck_assert_err(check_chain(wrong, 4, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    pki_wipe(&own);
    pki_wipe(&below);
    for (size_t i = 0; i < KD_COUNT_OF(cas); i++) {
        pki_wipe(&cas[i]);
    }
}
END_TEST

// A CA whose certificate is for other purposes issues no clients, as TLS libraries have it; the
// anchor is believed whatever it says it is for.
START_TEST(an_issuer_for_other_purposes_is_refused) { // A10
    static const struct {
        const char *extended;
        const char *why; // NULL: believed
    } cases[] = {
        { "serverAuth,emailProtection",
          "the extended key usage of an issuer of its path is not that of a client" },
        { "critical,codeSigning",
          "the extended key usage of an issuer of its path is not that of a client" },
        { "serverAuth,clientAuth", NULL },
        { "anyExtendedKeyUsage", NULL },
        { NULL, NULL },
    };
    const struct pki_spec spec = { .name = "d", .uris = URIS };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        const struct pki_spec middle = { .name = "middle",
                                         .is_ca = true,
                                         .extended = cases[i].extended };
        struct pki_cert ca = pki_make(&middle, &root);
        struct pki_cert chain[] = { pki_make(&spec, &ca), ca };
        const enum kd_err r = check_chain(chain, 2, KD_TRUST_SIGNS);
        ck_assert_err(r, cases[i].why == NULL ? KD_OK : KD_ERR_HS_CREDENTIAL);
        ck_assert_str_eq(why, cases[i].why == NULL ? "" : cases[i].why);
        pki_write_pem(anchors, &ca, 1);
        struct kd_trust *of_middle = NULL;
        ck_assert_err(kd_trust_open(anchors, "", &of_middle), KD_OK);
        const struct kd_bytes der = pki_der(&chain[0]);
        ck_assert_err(kd_trust_check(of_middle, &rules, &der, 1, KD_TRUST_SIGNS,
                                     kd_clock_wall_ms(), &name, &why),
                      KD_OK);
        kd_trust_free(of_middle);
        pki_wipe(&chain[0]);
        pki_wipe(&ca);
    }
}
END_TEST

// Two CAs that have certified each other, and nothing else.
START_TEST(a_loop_in_the_chain_ends) {
    const struct pki_spec spec = { .name = "d", .uris = URIS };
    struct pki_cert a = pki_ca("a", NULL);
    struct pki_cert b = pki_ca("b", &a);
    struct pki_cert back = { X509_dup(a.x), a.key }; // a's name and key, certified by b
    X509_set_issuer_name(back.x, X509_get_subject_name(b.x));
    X509_sign(back.x, b.key, EVP_sha256());
    struct pki_cert own = pki_make(&spec, &a);
    struct pki_cert chain[] = { own, back, b, back };
    ck_assert_err(check_chain(chain, 4, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_ne(why, "");
    X509_free(back.x);
    pki_wipe(&own);
    pki_wipe(&a);
    pki_wipe(&b);
}
END_TEST

START_TEST(the_usage_must_fit_the_method) {
    const struct pki_spec both = { .name = "d",
                                   .uris = URIS,
                                   .usage = "digitalSignature,keyAgreement" };
    const struct pki_spec agree = { .name = "d", .uris = URIS, .usage = "keyAgreement" };
    const struct pki_spec sign = { .name = "d", .uris = URIS, .extended = "clientAuth" };
    takes(&both, KD_TRUST_SIGNS);
    takes(&both, KD_TRUST_AGREES);
    ck_assert_uint_eq(name.uses, KD_TRUST_SIGNS | KD_TRUST_AGREES);
    takes(&agree, KD_TRUST_AGREES);
    takes(&sign, KD_TRUST_SIGNS);
    ck_assert_uint_eq(name.uses, KD_TRUST_SIGNS);
    struct pki_cert c = pki_make(&sign, &root);
    ck_assert_err(check_chain(&c, 1, KD_TRUST_AGREES), KD_ERR_HS_CREDENTIAL);
    ck_assert_str_eq(why, "its key usage does not allow key agreement");
    pki_wipe(&c);
}
END_TEST

START_TEST(the_ids_of_server_and_relation_are_asked_for) { // A11
    rules.n_required = 2;
    rules.required = required;
    const struct pki_spec good = { .name = "d", .uris = URIS };
    const struct pki_spec bad = {
        .name = "d",
        .uris = "URI:urn:keyd:device:d1,URI:urn:keyd:server:s2,URI:urn:keyd:relation:42"
    };
    takes(&good, KD_TRUST_SIGNS);
    memset(&name, 0, sizeof(name));
    refuses(&bad, "it lacks a URI of trust.required-uris");
}
END_TEST

START_TEST(revoked_certificates_are_refused) {
    const struct pki_spec spec = { .name = "d", .uris = URIS };
    struct pki_cert good = pki_make(&spec, &root);
    struct pki_cert bad = pki_make(&spec, &root);
    struct pki_cert other = pki_ca("other", NULL);
    static const struct {
        long upto_sec;
        bool is_of_other;
        const char *good, *bad;
    } cases[] = {
        { 3600, false, "", "a certificate of its path is revoked" },
        { -60, false, "the revocation list of an issuer of its path has expired", NULL },
        { 3600, true, "there is no revocation list of an issuer of its path", NULL },
    };
    for (size_t i = 0; i < KD_COUNT_OF(cases); i++) {
        pki_write_crl(crls, cases[i].is_of_other ? &other : &root, &bad, cases[i].upto_sec);
        kd_trust_free(trust);
        trust = NULL;
        ck_assert_err(kd_trust_open(anchors, crls, &trust), KD_OK);
        const bool is_good = cases[i].good[0] == '\0';
        ck_assert_err(check_chain(&good, 1, KD_TRUST_SIGNS),
                      is_good ? KD_OK : KD_ERR_HS_CREDENTIAL);
        ck_assert_str_eq(why, cases[i].good);
        // And again, when the list's signature has been seen.
        ck_assert_err(check_chain(&good, 1, KD_TRUST_SIGNS),
                      is_good ? KD_OK : KD_ERR_HS_CREDENTIAL);
        const uint64_t later = kd_clock_wall_ms() + UINT64_C(2) * 3600 * 1000;
        const struct kd_bytes der = pki_der(&good);
        ck_assert_err(kd_trust_check(trust, &rules, &der, 1, KD_TRUST_SIGNS, later, &name, &why),
                      KD_ERR_HS_CREDENTIAL); // the list has expired by then
        ck_assert_err(check_chain(&bad, 1, KD_TRUST_SIGNS), KD_ERR_HS_CREDENTIAL);
        ck_assert_str_eq(why, cases[i].bad == NULL ? cases[i].good : cases[i].bad);
    }
    pki_wipe(&good);
    pki_wipe(&bad);
    pki_wipe(&other);
}
END_TEST

START_TEST(files_that_are_none_are_refused) {
    struct kd_trust *t = NULL;
    const struct pki_spec rsa = { .name = "r", .curve = "RSA", .is_ca = true };
    struct pki_cert c = pki_make(&rsa, NULL);
    kd_log_set_level(KD_LOG_ERROR);
    ck_assert_err(kd_trust_open("/nonexistent", "", &t), KD_ERR_NO_FILE);
    ck_assert_err(kd_trust_open(anchors, "/nonexistent", &t), KD_ERR_NO_FILE);
    ck_assert_err(kd_trust_open("/dev/null", "", &t), KD_ERR_BAD_PUBLIC_KEY);
    ck_assert_err(kd_trust_open(anchors, anchors, &t), KD_ERR_BAD_PUBLIC_KEY);
    pki_write_crl(crls, &root, NULL, 60);
    ck_assert_err(kd_trust_open(crls, "", &t), KD_ERR_BAD_PUBLIC_KEY);
    pki_write_pem(crls, &c, 1);
    ck_assert_err(kd_trust_open(crls, "", &t), KD_ERR_BAD_PUBLIC_KEY); // RSA
    ck_assert_ptr_null(t);
    pki_wipe(&c);
}
END_TEST

static TCase *tcase_trust(void) {
    TCase *t = tcase_create("trust");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, what_does_not_fit_is_refused_with_its_reason);
    tcase_add_test(t, a_certificate_has_so_many_uris_and_no_more);
    tcase_add_test(t, weak_hashes_are_refused);
    tcase_add_test(t, another_issuer_and_a_look_alike_are_refused);
    tcase_add_test(t, a_changed_bit_is_refused);
    tcase_add_test(t, chains_are_followed_up_to_their_limit);
    tcase_add_test(t, an_issuer_for_other_purposes_is_refused);
    tcase_add_test(t, a_loop_in_the_chain_ends);
    tcase_add_test(t, the_usage_must_fit_the_method);
    tcase_add_test(t, the_ids_of_server_and_relation_are_asked_for);
    tcase_add_test(t, revoked_certificates_are_refused);
    tcase_add_test(t, files_that_are_none_are_refused);
    return t;
}

UNIT_MAIN("trust", tcase_trust())
