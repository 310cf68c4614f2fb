// SPDX-License-Identifier: Apache-2.0
// handshake_bytes: runs one EDHOC handshake in memory between a device and a
// server with the keys and certificates given (PEM key, DER certificate), and
// prints the bytes of its four messages.  With "refs" the server is named by the fingerprint of
// its certificate (SHA-256/64) and the device by the URI of its own, with "both" the device's
// fingerprint goes with its URI; with "whole" both send their certificate, with "chain" that of
// its issuer too.  message_4 carries so many bytes of external data as the service's does.
//     handshake_bytes METHOD SUITE FORM DEVICE.key DEVICE.der SERVER.key SERVER.der URI
//                     ISSUER.der EAD_4_BYTES
#include "channel/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX_BYTES = 8000, MESSAGES = 4, ARGUMENTS = 11, EAD_LABEL = 32768 };

struct side {
    struct kd_buf key_file;
    struct kd_buf certificate;
    struct kd_buf id_cred;
    struct kd_buf cred;
    struct kd_identity identity;
    struct kd_point point;
    struct kd_edhoc *edhoc;
};

static void must(enum kd_err r, const char *what) {
    if (r != KD_OK) {
        fprintf(stderr, "handshake_bytes: %s: %s\n", what, kd_err_name(r));
        exit(1);
    }
}

static void read_file(const char *path, struct kd_buf *out) {
    *out = KD_BUF_INIT(FILE_MAX_BYTES);
    FILE *f = fopen(path, "rb");
    uint8_t *to = kd_buf_extend(out, FILE_MAX_BYTES);
    if (f == NULL || to == NULL) {
        perror(path);
        exit(1);
    }
    out->n = fread(to, 1, FILE_MAX_BYTES, f);
    fclose(f);
}

// How the side names its certificate.  uri: the device's, NULL for the server.
static void put_name(struct side *s, const char *form, const char *uri, struct kd_bytes issuer) {
    const struct kd_bytes chain[] = { kd_buf_get(&s->certificate), issuer };
    if (strcmp(form, "whole") == 0 || strcmp(form, "chain") == 0) {
        kd_idcred_put_x5chain(&s->id_cred, chain, strcmp(form, "chain") == 0 ? 2 : 1);
    } else if (uri == NULL) {
        must(kd_idcred_put_x5t(&s->id_cred, KD_COSE_SHA256_64, chain[0]), "fingerprint");
    } else if (strcmp(form, "both") == 0) {
        must(kd_idcred_put_x5u_x5t(&s->id_cred, kd_bytes_of_text(uri), KD_COSE_SHA256_64, chain[0]),
             "fingerprint");
    } else {
        kd_idcred_put_x5u(&s->id_cred, kd_bytes_of_text(uri));
    }
}

static void side_init(struct side *s, const char *key, const char *certificate, bool is_static_dh) {
    read_file(key, &s->key_file);
    read_file(certificate, &s->certificate);
    s->id_cred = KD_BUF_INIT(FILE_MAX_BYTES);
    s->cred = KD_BUF_INIT(FILE_MAX_BYTES);
    const struct kd_bytes der = kd_buf_get(&s->certificate);
    kd_cred_put_certificate(&s->cred, der);
    must(kd_openssl_key_load(kd_buf_get(&s->key_file), &s->identity.key), key);
    must(kd_openssl_key_point(s->identity.key, &s->point), key);
    s->identity.curve = s->point.curve;
    s->identity.is_static_dh = is_static_dh;
    s->identity.cred = kd_buf_get(&s->cred);
}

static void open_side(struct side *s, enum kd_edhoc_role role, unsigned method, int suite) {
    s->identity.id_cred = kd_buf_get(&s->id_cred);
    const struct kd_edhoc_config config = {
        .role = role,
        .keys = { &kd_keyops_openssl, NULL },
        .identities = &s->identity,
        .n_identities = 1,
        .methods = 1u << method,
        .suites = { 1, { suite } },
        .conn_id = kd_bytes_of_text(role == KD_EDHOC_INITIATOR ? "7" : "+"), // one byte each
    };
    must(kd_edhoc_new(&config, &s->edhoc), "configuration");
}

static void run(struct side *device, struct side *server, const struct kd_ead *ead,
                struct kd_buf m[MESSAGES]) {
    const struct kd_peer as_device = { device->point, device->identity.cred };
    const struct kd_peer as_server = { server->point, server->identity.cred };
    must(kd_edhoc_write_1(device->edhoc, NULL, &m[0]), "message_1");
    must(kd_edhoc_read_1(server->edhoc, kd_buf_get(&m[0])), "message_1");
    must(kd_edhoc_write_2(server->edhoc, NULL, &m[1]), "message_2");
    must(kd_edhoc_read_2(device->edhoc, kd_buf_get(&m[1])), "message_2");
    must(kd_edhoc_authenticate(device->edhoc, &as_server), "server");
    must(kd_edhoc_write_3(device->edhoc, NULL, &m[2]), "message_3");
    must(kd_edhoc_read_3(server->edhoc, kd_buf_get(&m[2])), "message_3");
    must(kd_edhoc_authenticate(server->edhoc, &as_device), "device");
    must(kd_edhoc_write_4(server->edhoc, ead, &m[3]), "message_4");
    must(kd_edhoc_read_4(device->edhoc, kd_buf_get(&m[3])), "message_4");
}

static void side_wipe(struct side *s) {
    kd_edhoc_free(s->edhoc);
    kd_keyops_openssl.destroy(NULL, s->identity.key);
    kd_buf_wipe(&s->key_file);
    kd_buf_wipe(&s->certificate);
    kd_buf_wipe(&s->id_cred);
    kd_buf_wipe(&s->cred);
}

int main(int argc, char **argv) {
    if (argc != ARGUMENTS) {
        fprintf(stderr, "usage: handshake_bytes METHOD SUITE refs|both|whole|chain DEVICE.key "
                        "DEVICE.der SERVER.key SERVER.der URI ISSUER.der EAD_4_BYTES\n");
        return 2;
    }
    static const uint8_t zeros[512];
    const unsigned method = (unsigned)strtoul(argv[1], NULL, 10) & KD_EDHOC_METHOD_MAX;
    const int suite = (int)strtol(argv[2], NULL, 10);
    const size_t n_ead = (size_t)strtoul(argv[10], NULL, 10) % sizeof(zeros);
    const struct kd_ead ead = {
        n_ead > 0 ? 1 : 0, { { .label = EAD_LABEL, .has_value = true, .value = { zeros, n_ead } } }
    };
    struct side device = { .edhoc = NULL };
    struct side server = { .edhoc = NULL };
    struct kd_buf issuer;
    struct kd_buf m[MESSAGES];
    for (size_t i = 0; i < MESSAGES; i++) {
        m[i] = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    }
    side_init(&device, argv[4], argv[5], (method & 2) != 0);
    side_init(&server, argv[6], argv[7], (method & 1) != 0);
    read_file(argv[9], &issuer);
    put_name(&device, argv[3], argv[8], kd_buf_get(&issuer));
    put_name(&server, argv[3], NULL, kd_buf_get(&issuer));
    open_side(&device, KD_EDHOC_INITIATOR, method, suite);
    open_side(&server, KD_EDHOC_RESPONDER, method, suite);
    run(&device, &server, &ead, m);
    printf("%zu %zu %zu %zu\n", m[0].n, m[1].n, m[2].n, m[3].n);
    for (size_t i = 0; i < MESSAGES; i++) {
        kd_buf_wipe(&m[i]);
    }
    kd_buf_wipe(&issuer);
    side_wipe(&device);
    side_wipe(&server);
    return 0;
}
