// SPDX-License-Identifier: Apache-2.0
// Each allocation on a certificate's way fails in turn, from the request to the device's answer:
// nothing is left of it, and it is made when it is asked for again; or it is given out, can be
// found, and is what the store has.
#include "keyd/bootstrap_state.h"
#include "tests/unit/ca_keys.h"
#include "tests/unit/channel_fixture.h"
#include "tests/unit/failing_memory.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

static char ca_file[160], id[16], secret[KD_DEVICE_SECRET_TEXT_BYTES];
static EVP_PKEY *device_key;
static struct kd_buf request, got;
static bool is_done;
static enum kd_err last;

static bool done(void) {
    return is_done;
}

static enum kd_err wait_for(enum kd_err accepted) {
    if (accepted == KD_OK) {
        fixture_run_until(done);
    }
    return accepted == KD_OK ? last : accepted;
}

static void on_certificate(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                           struct kd_bytes der) {
    memory_pause();
    ck_assert((der.n > 0) == (err == KD_OK));
    is_done = true;
    last = err;
    kd_buf_reset(&got);
    kd_buf_put(&got, der.p, der.n);
    memory_resume();
}

static void on_device(void *arg KD_UNUSED, enum kd_err err, const char *detail KD_UNUSED,
                      const struct kd_device_info *device KD_UNUSED, const char *told) {
    is_done = true;
    last = err;
    snprintf(secret, sizeof(secret), "%s", told);
}

// ---- a CA ------------------------------------------------------------------

static enum kd_err make_paper(enum kd_bootstrap_paper paper) {
    const struct kd_caller c = service_caller_of(7);
    is_done = false;
    return wait_for(kd_bootstrap_make(sx.service, &c, paper, "CA", on_certificate, NULL));
}

static void write_ca(void) {
    X509 *x = keys_parse(kd_buf_get(&got));
    FILE *f = fopen(ca_file, "w");
    ck_assert(f != NULL && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    X509_free(x);
}

static void restart(void) {
    service_reset();
    service_start("start ok\nsigns\n");
}

static void set_up(void) {
    channel_setup();
    request = got = KD_BUF_INIT(KD_CA_CSR_MAX_BYTES);
    device_key = keys_new("P-256");
    keys_request(device_key, device_key, "SHA256", NULL, NULL, &request);
    snprintf(ca_file, sizeof(ca_file), "%s", fixture_path("ca.pem"));
    fx.config->ca.key = "ca";
    fx.config->ca.server_id = "s";
    fx.config->ca.base_uri = "https://pki.example";
    fx.config->ca.certificate_file = ca_file;
    channel_start("start ok\nsigns\n");
    ck_assert_err(service_create(7, "ca", KD_KEY_EC_P256, KD_USE_SIGN), KD_OK);
    ck_assert_err(make_paper(KD_PAPER_ROOT), KD_OK);
    write_ca();
    restart();
}

static void tear_down(void) {
    channel_teardown();
    kd_buf_wipe(&request);
    kd_buf_wipe(&got);
    EVP_PKEY_free(device_key);
}

// ---- a device --------------------------------------------------------------

// Another for each turn.
static void enrol(unsigned turn) {
    const struct kd_caller c = service_caller_of(7);
    const struct kd_device_spec spec = { .id = id };
    memory_pause();
    snprintf(id, sizeof(id), "d%u", turn);
    is_done = false;
    ck_assert_err(wait_for(kd_bootstrap_enrol(sx.service, &c, &spec, on_device, NULL)), KD_OK);
    memory_resume();
}

static enum kd_err certify(void) {
    const struct kd_device_proof proof = { .id = id, .secret = kd_bytes_of_text(secret) };
    is_done = false;
    return wait_for(kd_bootstrap_certify(sx.service, &proof, kd_buf_get(&request), false,
                                         on_certificate, NULL));
}

static enum kd_err renew(const uint8_t hash[static 32]) {
    const struct kd_device_proof proof = { .certificate = { hash, 32 } };
    is_done = false;
    return wait_for(
        kd_bootstrap_certify(sx.service, &proof, kd_buf_get(&request), true, on_certificate, NULL));
}

static void hash_of(struct kd_bytes der, uint8_t out[static 32]) {
    ck_assert_err(kd_host_hash(KD_MD_SHA256, &der, 1, out), KD_OK);
}

// One entry more makes it grow.
static void fill_up(struct kd_map *m) {
    static char something;
    const struct kd_bytes key = kd_bytes_of_text("a key that nobody has");
    while ((m->used + m->gone + m->kept + 1) * 4 <= m->cap * 3) {
        ck_assert_err(kd_map_add(m, key, &something), KD_OK);
        ck_assert_ptr_eq(kd_map_remove(m, key), &something);
    }
}

static void fill_maps(void) {
    struct kd_peers *peers = &sx.service->channel->peers;
    memory_pause();
    fill_up(&peers->by_name);
    fill_up(&peers->by_uri);
    fill_up(&peers->by_hash);
    fill_up(&peers->by_short);
    fill_up(&sx.service->bootstrap->devices.by_hash);
    memory_resume();
}

static void check_nothing(void) {
    struct kd_bytes der;
    const struct kd_device_entry *e = kd_devices_get(&sx.service->bootstrap->devices, id);
    ck_assert(e->state == KD_DEVICE_ENROLLED && e->has_secret && !e->is_busy);
    ck_assert_err(kd_bootstrap_find(sx.service, "s", id, &der), KD_ERR_NO_DEVICE);
    ck_assert_ptr_null(kd_peers_get(&sx.service->channel->peers, id));
}

// The certificate with this hash is the device's, by each way to it.
static void check_certificate(const uint8_t hash[static 32]) {
    struct kd_bytes der;
    uint8_t found[32];
    const struct kd_bytes wanted = { hash, 32 };
    const struct kd_device_entry *e = kd_devices_get(&sx.service->bootstrap->devices, id);
    const struct kd_peer_entry *peer = kd_peers_get(&sx.service->channel->peers, id);
    ck_assert(e->state == KD_DEVICE_ACTIVE && !e->has_secret && !e->is_busy);
    ck_assert_err(kd_bootstrap_find(sx.service, "s", id, &der), KD_OK);
    hash_of(der, found);
    ck_assert_mem_eq(found, hash, 32);
    ck_assert_ptr_eq(kd_devices_by_hash(&sx.service->bootstrap->devices, wanted), e);
    ck_assert(peer != NULL && !peer->is_changing);
    ck_assert_mem_eq(peer->hash, hash, 32);
    ck_assert_ptr_eq(kd_map_get(&sx.service->channel->peers.by_hash, wanted), peer);
    ck_assert_ptr_eq(
        kd_map_get(&sx.service->channel->peers.by_uri, kd_bytes_of_text(peer->info.uri)), peer);
    ck_assert_uint_eq(sx.service->bootstrap->devices.by_hash.kept, 0);
    ck_assert_uint_eq(sx.service->channel->peers.by_hash.kept, 0);
    ck_assert_uint_eq(kd_service_pending(sx.service), 0);
}

START_TEST(a_device_gets_its_first_certificate_or_nothing_is_left) {
    uint8_t hash[32];
    unsigned turn = 0, n_failed = 0;
    for (; memory_fails_at(turn); turn++) {
        enrol(turn);
        fill_maps();
        const enum kd_err r = certify();
        ck_assert_err(r, memory_has_failed() && r != KD_OK ? KD_ERR_NO_MEMORY : KD_OK);
        if (r != KD_OK) {
            n_failed++;
            check_nothing();
            fixture_run_until(service_ready); // its worker's answer may have had no room
            ck_assert_err(certify(), KD_OK);
        }
        hash_of(kd_buf_get(&got), hash);
        check_certificate(hash);
    }
    ck_assert_uint_gt(n_failed, 8);
    restart();
    check_certificate(hash);
}
END_TEST

START_TEST(a_device_renews_its_certificate_or_keeps_the_one_before) {
    uint8_t before[32], hash[32];
    unsigned turn = 0, n_failed = 0;
    enrol(turn);
    ck_assert_err(certify(), KD_OK);
    hash_of(kd_buf_get(&got), hash);
    for (; memory_fails_at(turn); turn++) {
        memcpy(before, hash, sizeof(before));
        fill_maps();
        const enum kd_err r = renew(before);
        ck_assert_err(r, memory_has_failed() && r != KD_OK ? KD_ERR_NO_MEMORY : KD_OK);
        if (r != KD_OK) {
            n_failed++;
            check_certificate(before);
            fixture_run_until(service_ready);
            ck_assert_err(renew(before), KD_OK);
        }
        hash_of(kd_buf_get(&got), hash);
        ck_assert_mem_ne(hash, before, sizeof(hash));
        check_certificate(hash);
    }
    ck_assert_uint_gt(n_failed, 8);
    restart();
    check_certificate(hash);
}
END_TEST

START_TEST(a_paper_of_the_ca_is_made_or_there_is_no_memory) {
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        const enum kd_err r = make_paper(turn % 2 == 0 ? KD_PAPER_SERVER : KD_PAPER_REQUEST);
        ck_assert_err(r, memory_has_failed() && r != KD_OK ? KD_ERR_NO_MEMORY : KD_OK);
        ck_assert_uint_eq(kd_service_pending(sx.service), 0);
        fixture_run_until(service_ready);
    }
    ck_assert_uint_gt(turn, 3);
}
END_TEST

static TCase *tcase_memory(void) {
    TCase *t = tcase_create("memory");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_device_gets_its_first_certificate_or_nothing_is_left);
    tcase_add_test(t, a_device_renews_its_certificate_or_keeps_the_one_before);
    tcase_add_test(t, a_paper_of_the_ca_is_made_or_there_is_no_memory);
    return t;
}

UNIT_MAIN("issue memory", tcase_memory())
