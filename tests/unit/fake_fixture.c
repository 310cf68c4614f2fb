// SPDX-License-Identifier: Apache-2.0
#include "fake_fixture.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hsm_fixture hf;

void hsm_fixture_write_pin(const char *pin) {
    FILE *f = fopen(hf.pin_file, "w");
    fprintf(f, "%s\n", pin);
    fclose(f);
}

void hsm_fixture_setup(void) {
    struct kd_session *const s = &hf.sessions[0];
    kd_auto(buf) struct kd_buf record = KD_BUF_INIT(KD_HSM_PIN_RECORD_MAX_BYTES);
    kd_auto(buf) struct kd_buf detail = KD_BUF_INIT(1024);
    kd_log_set_level(KD_LOG_ERROR);
    snprintf(hf.pin_file, sizeof(hf.pin_file), "/tmp/keyd-test-XXXXXX");
    close(mkstemp(hf.pin_file));
    hsm_fixture_write_pin(FAKE_PIN);
    hf.token = fake_token(fake_begin(), hf.pin_file);
    hf.token.secrets_max = 2;
    kd_token_init(&hf.token);
    for (size_t i = 0; i < SESSIONS; i++) {
        ck_assert_err(kd_session_open(&hf.token, &hf.sessions[i]), KD_OK);
    }
    ck_assert_err(kd_login(&hf.token, hf.sessions[0].handle, KD_BYTES_NONE, &record, &detail),
                  KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_SIGN, 1, &hf.signer), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_SIGN, 2, &hf.other_signer), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_EC_P256, KD_USE_DERIVE, 3, &hf.deriver), KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_HMAC_SHA256, KD_USE_SIGN | KD_USE_VERIFY, 4, &hf.mac_key),
                  KD_OK);
    ck_assert_err(call_generate(s, KD_KEY_AES_256, KD_USE_ENCRYPT | KD_USE_DECRYPT, 5, &hf.aes_key),
                  KD_OK);
    hf.recipe = call_recipe(&hf.deriver, hf.signer.ref.proof, 7, KD_KEY_AES_256);
    fake_count_anew();
}

void hsm_fixture_teardown(void) {
    kd_objects_wipe(&hf.token);
    kd_cached_wipe(&hf.token);
    for (size_t i = 0; i < SESSIONS; i++) {
        kd_session_close(&hf.sessions[i]);
    }
    kd_token_wipe(&hf.token);
    ck_assert_uint_eq(fake_count().sessions, 0);
    fake_end();
    unlink(hf.pin_file);
}
