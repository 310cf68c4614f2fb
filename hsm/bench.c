// SPDX-License-Identifier: Apache-2.0
// bench.c: what the module itself does in this process with one thread or more:
// the limit that keyd's own figures are held against.  Once with session keys,
// where it is fastest, and once with keys that are kept in the token, which is what
// a program would use; those are destroyed afterwards.  Threads have a session
// each and share the keys.  With --only nothing is made in the token.
#include "hsm/command.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_BYTES = 256, MAC_DATA_BYTES = 32, CLOCK_EVERY = 16 };

static const char label[] = "keyd-hsm --bench";

struct bench {
    struct kd_session *s;
    CK_OBJECT_HANDLE mac_key;
    CK_OBJECT_HANDLE aes_key;
    struct kd_pair sign_pair;
    struct kd_pair derive_pair;
    CK_OBJECT_HANDLE root_key; // AES, of which keys are derived
    uint8_t data[DATA_BYTES];
    uint8_t out[DATA_BYTES + 64];
    uint8_t iv[KD_HSM_GCM_IV_BYTES];
};

typedef enum kd_err bench_fn(struct bench *b);

static enum kd_err sign_with(struct bench *b, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key) {
    CK_FUNCTION_LIST *p11 = b->s->token->p11;
    CK_MECHANISM mechanism = { type, NULL, 0 };
    CK_ULONG n = sizeof(b->out);
    enum kd_err r = kd_ckr("C_SignInit", p11->C_SignInit(b->s->handle, &mechanism, key));
    return r != KD_OK
               ? r
               : kd_ckr("C_Sign", p11->C_Sign(b->s->handle, b->data, MAC_DATA_BYTES, b->out, &n));
}

static enum kd_err run_mac(struct bench *b) {
    return sign_with(b, CKM_SHA256_HMAC, b->mac_key);
}

static enum kd_err run_sign(struct bench *b) {
    return sign_with(b, CKM_ECDSA, b->sign_pair.private_key);
}

// As a secret is released: derived, read, destroyed.
static enum kd_err read_and_destroy(struct bench *b, CK_OBJECT_HANDLE secret) {
    kd_buf_reset(&b->s->out);
    const enum kd_err r = kd_read_value(b->s, secret);
    kd_destroy(b->s, secret);
    return r;
}

static enum kd_err agree(struct bench *b, const struct kd_secret_form *form,
                         CK_OBJECT_HANDLE *out) {
    return kd_derive_ecdh(b->s, b->derive_pair.private_key, KD_KEY_EC_P256,
                          kd_host_generator(KD_KEY_EC_P256), form, out);
}

static enum kd_err run_ecdh(struct bench *b) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, 32, 0, true };
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    const enum kd_err r = agree(b, &form, &secret);
    return r != KD_OK ? r : read_and_destroy(b, secret);
}

// That of a handshake, which stays in the token.
static enum kd_err run_agree(struct bench *b) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, 32, KD_USE_DERIVE, false };
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    const enum kd_err r = agree(b, &form, &secret);
    if (r == KD_OK) {
        kd_destroy(b->s, secret);
    }
    return r;
}

static enum kd_err run_encrypt(struct bench *b) {
    CK_FUNCTION_LIST *p11 = b->s->token->p11;
    CK_GCM_PARAMS params = { b->iv, sizeof(b->iv),           sizeof(b->iv) * 8, NULL,
                             0,     KD_HSM_GCM_TAG_BYTES * 8 };
    CK_MECHANISM gcm = { CKM_AES_GCM, &params, sizeof(params) };
    CK_ULONG n = sizeof(b->out);
    for (size_t i = 0; i < sizeof(b->iv) && ++b->iv[i] == 0; i++) { // never the same twice
    }
    enum kd_err r = kd_ckr("C_EncryptInit", p11->C_EncryptInit(b->s->handle, &gcm, b->aes_key));
    return r != KD_OK
               ? r
               : kd_ckr("C_Encrypt", p11->C_Encrypt(b->s->handle, b->data, DATA_BYTES, b->out, &n));
}

static enum kd_err make_pair(struct bench *b, CK_ATTRIBUTE_TYPE usage, bool is_token,
                             struct kd_pair *out) {
    const struct kd_bytes p256 = kd_host_curve_oid(KD_KEY_EC_P256);
    const CK_BBOOL yes = CK_TRUE;
    const CK_BBOOL token = is_token;
    CK_ATTRIBUTE public[] = { KD_ATTRIBUTE(CKA_TOKEN, token),
                              KD_ATTRIBUTE_BYTES(CKA_EC_PARAMS, p256),
                              KD_ATTRIBUTE(CKA_LABEL, label) };
    CK_ATTRIBUTE private[] = { KD_ATTRIBUTE(CKA_TOKEN, token), KD_ATTRIBUTE(CKA_SENSITIVE, yes),
                               KD_ATTRIBUTE(usage, yes), KD_ATTRIBUTE(CKA_LABEL, label) };
    return kd_generate_pair(b->s, public, KD_COUNT_OF(public), private, KD_COUNT_OF(private), out);
}

static enum kd_err run_derive(struct bench *b) {
    const struct kd_secret_form form = { CKK_GENERIC_SECRET, 32, 0, true };
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    const enum kd_err r =
        kd_derive_cbc_data(b->s, b->root_key, (struct kd_bytes) { b->data, 32 }, &form, &secret);
    return r != KD_OK ? r : read_and_destroy(b, secret);
}

// A key pair for one handshake.
static enum kd_err run_generate(struct bench *b) {
    struct kd_pair pair;
    const enum kd_err r = kd_session_pair_make(b->s, KD_KEY_EC_P256, KD_USE_DERIVE, &pair);
    if (r == KD_OK) {
        kd_pair_destroy(b->s, &pair);
    }
    return r;
}

static const struct {
    const char *name;
    bench_fn *fn;
} benches[] = {
    { "generate", run_generate }, { "mac", run_mac },         { "sign", run_sign },
    { "ecdh", run_ecdh },         { "encrypt", run_encrypt }, { "derive", run_derive },
    { "agree", run_agree },
};

static enum kd_err make_secret(struct bench *b, CK_MECHANISM_TYPE type, CK_ATTRIBUTE_TYPE usage,
                               bool is_token, CK_OBJECT_HANDLE *out) {
    CK_FUNCTION_LIST *p11 = b->s->token->p11;
    const CK_BBOOL yes = CK_TRUE;
    const CK_BBOOL token = is_token;
    const CK_ULONG n = 32;
    CK_ATTRIBUTE template[] = { KD_ATTRIBUTE(CKA_TOKEN, token), KD_ATTRIBUTE(CKA_SENSITIVE, yes),
                                KD_ATTRIBUTE(usage, yes), KD_ATTRIBUTE(CKA_VALUE_LEN, n),
                                KD_ATTRIBUTE(CKA_LABEL, label) };
    CK_MECHANISM make = { type, NULL, 0 };
    return kd_ckr_made(
        "C_GenerateKey",
        p11->C_GenerateKey(b->s->handle, &make, template, KD_COUNT_OF(template), out), out);
}

static enum kd_err make_keys(struct bench *b, bool is_token) {
    enum kd_err r;
    if ((r = make_secret(b, CKM_GENERIC_SECRET_KEY_GEN, CKA_SIGN, is_token, &b->mac_key)) !=
            KD_OK ||
        (r = make_secret(b, CKM_AES_KEY_GEN, CKA_ENCRYPT, is_token, &b->aes_key)) != KD_OK ||
        (r = make_secret(b, CKM_AES_KEY_GEN, CKA_DERIVE, is_token, &b->root_key)) != KD_OK ||
        (r = make_pair(b, CKA_SIGN, is_token, &b->sign_pair)) != KD_OK) {
        return r;
    }
    return make_pair(b, CKA_DERIVE, is_token, &b->derive_pair);
}

static void destroy_keys(struct bench *b) {
    const CK_OBJECT_HANDLE secrets[] = { b->mac_key, b->aes_key, b->root_key };
    for (size_t i = 0; i < KD_COUNT_OF(secrets); i++) {
        kd_destroy(b->s, secrets[i]);
    }
    kd_pair_destroy(b->s, &b->sign_pair);
    kd_pair_destroy(b->s, &b->derive_pair);
}

// One thread's part.
struct runner {
    pthread_t id;
    bool is_started;
    struct bench bench;
    bench_fn *fn;
    unsigned duration_ms;
    double per_sec; // 0 after a failure
};

static void *run(void *argument) {
    struct runner *r = argument;
    const uint64_t start = kd_clock_mono_us();
    const uint64_t until = start + (uint64_t)r->duration_ms * 1000;
    uint64_t now = start;
    uint64_t n = 0;
    while (now < until) {
        for (size_t i = 0; i < CLOCK_EVERY; i++, n++) {
            if (r->fn(&r->bench) != KD_OK) {
                return NULL;
            }
        }
        now = kd_clock_mono_us();
    }
    r->per_sec = (double)n * 1e6 / (double)(now - start);
    return NULL;
}

// Operations a second of all threads together; 0 after a failure.
static double measure(struct kd_opened *o, const struct bench *keys, bench_fn *fn,
                      unsigned duration_ms) {
    struct runner *runners = calloc(o->threads, sizeof(*runners));
    double sum = 0;
    bool is_good = runners != NULL;
    for (size_t i = 0; is_good && i < o->threads; i++) {
        runners[i] = (struct runner) { .bench = *keys, .fn = fn, .duration_ms = duration_ms };
        runners[i].bench.s = &o->sessions[i];
        runners[i].is_started = pthread_create(&runners[i].id, NULL, run, &runners[i]) == 0;
        is_good = runners[i].is_started;
    }
    for (size_t i = 0; runners != NULL && i < o->threads && runners[i].is_started; i++) {
        pthread_join(runners[i].id, NULL);
        is_good = is_good && runners[i].per_sec > 0;
        sum += runners[i].per_sec;
    }
    free(runners);
    return is_good ? sum : 0;
}

// A word of the list.
static bool is_chosen(const char *only, const char *name) {
    const size_t n = strlen(name);
    for (const char *at = only; at != NULL; at = strchr(at, ',')) {
        at += *at == ',' ? 1 : 0;
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0')) {
            return true;
        }
    }
    return only == NULL;
}

static enum kd_err measure_all(struct kd_opened *o, bool is_token,
                               const struct kd_command_options *options) {
    struct bench b = { .s = &o->sessions[0] };
    const enum kd_err r = make_keys(&b, is_token);
    if (r == KD_OK) {
        const char *before = "";
        printf("%s  \"%s\": {", is_token ? ",\n" : "", is_token ? "token" : "session");
        for (size_t i = 0; i < KD_COUNT_OF(benches); i++) {
            if (is_chosen(options->only, benches[i].name)) {
                printf("%s \"%s\": %.1f", before, benches[i].name,
                       measure(o, &b, benches[i].fn, options->duration_ms));
                before = ",";
            }
        }
        printf(" }");
    }
    destroy_keys(&b);
    return r;
}

int kd_command_bench(const struct kd_command_options *o) {
    struct kd_opened *opened = kd_command_open(o, false);
    if (opened == NULL) {
        return EXIT_FAILURE;
    }
    enum kd_err r;
    printf("{\n");
    if ((r = measure_all(opened, false, o)) != KD_OK ||
        (o->only == NULL && (r = measure_all(opened, true, o)) != KD_OK)) {
        fprintf(stderr, "keyd-hsm: the keys for the measurement cannot be made: %s\n",
                kd_err_sentence(r));
    }
    printf("\n}\n");
    kd_command_close(opened);
    return r == KD_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
