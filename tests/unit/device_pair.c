// SPDX-License-Identifier: Apache-2.0
// device_pair.c: see device_pair.h.
#include "tests/unit/device_pair.h"

#include "tests/unit/folder.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void device_pair_open(struct device_pair *p, const struct pki_spec *spec) {
    static const struct pki_spec usual = { .name = "d" };
    memset(p, 0, sizeof(*p));
    p->theirs = pki_make(&(struct pki_spec) { .name = "s" }, NULL);
    p->own = pki_make(spec == NULL ? &usual : spec, NULL);
    strcpy(p->folder, "/tmp/kd-pair-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(p->folder));
    snprintf(p->key_file, sizeof(p->key_file), "%s/key", p->folder);
    snprintf(p->certificate_file, sizeof(p->certificate_file), "%s/certificate", p->folder);
    snprintf(p->server_file, sizeof(p->server_file), "%s/server", p->folder);
    FILE *f = fdopen(open(p->key_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
    ck_assert(f != NULL && PEM_write_PrivateKey(f, p->own.key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(f);
    pki_write_pem(p->certificate_file, &p->own, 1);
    pki_write_pem(p->server_file, &p->theirs, 1);
    device_server_open(&p->server, &p->theirs, &p->own);
    p->config = (struct keyd_config) { .key_file = p->key_file,
                                       .certificate_file = p->certificate_file,
                                       .server_certificate_file = p->server_file,
                                       .timeout_ms = 10000,
                                       .send = device_server_send,
                                       .receive = device_server_receive,
                                       .transport_arg = &p->server };
}

void device_pair_close(struct device_pair *p) {
    keyd_device_free(p->device);
    device_server_close(&p->server);
    pki_wipe(&p->own);
    pki_wipe(&p->theirs);
    folder_remove(p->folder);
}

enum keyd_err device_pair_ask(struct device_pair *p) {
    uint8_t *answer = NULL;
    size_t n = 0;
    const enum keyd_err r = keyd_request(p->device, "hello", 5, &answer, &n);
    if (r == KEYD_OK) {
        ck_assert(n == 5 && memcmp(answer, "hello", n) == 0);
    }
    free(answer);
    return r;
}
