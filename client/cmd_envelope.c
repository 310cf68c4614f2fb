// SPDX-License-Identifier: Apache-2.0
// cmd_envelope.c: keydctl envelope ...: data sealed to a key of keyd's, which opens it
// once (docs/protocol.md, Envelope).  To seal to a key from a file needs no keyd.
#include "channel/channel.h"
#include "client/ctl.h"
#include "client/eckey.h"

#include <string.h>
#include <time.h>

enum {
    KEY_FILE_MAX_BYTES = 65536,
    VALIDITY_SEC = 3600,
    VALIDITY_MAX_SEC = 31536000,
};

// ---- key -------------------------------------------------------------------

enum kd_exit kd_cmd_envelope_key(struct kd_ctl *ctl) {
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/envelopes/key", NULL, &answer);
    if (code != KD_EXIT_OK) {
        return code;
    }
    return ctl->json ? kd_ctl_print_json(ctl, answer)
                     : kd_ctl_write(ctl, kd_bytes_of_text(kd_json_text(answer, "pem")), false);
}

// ---- seal ------------------------------------------------------------------

struct recipient {
    struct kd_point point;
    uint64_t validity_max_s;
};

static bool put_coordinate(const json_t *jwk, const char *member, struct kd_buf *point) {
    const size_t start = point->n;
    return kd_b64_decode(kd_bytes_of_text(kd_json_text(jwk, member)), point) == KD_OK &&
           point->n - start == 32;
}

static bool read_point(const json_t *jwk, struct kd_point *out) {
    uint8_t room[128];
    struct kd_buf point = KD_BUF_OVER(room);
    kd_buf_u8(&point, 4);
    return put_coordinate(jwk, "x", &point) && put_coordinate(jwk, "y", &point) &&
           kd_point_read(KD_CURVE_P256, kd_buf_get(&point), out) == KD_OK;
}

static enum kd_exit read_file(const struct kd_ctl *ctl, const char *path, struct kd_point *out) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KEY_FILE_MAX_BYTES + 1);
    kd_auto(json) json_t *jwk = NULL;
    const enum kd_exit code = kd_ctl_read_file(ctl, path, KEY_FILE_MAX_BYTES, &text);
    if (code != KD_EXIT_OK) {
        return code;
    }
    return kd_eckey_read(kd_buf_get(&text), &jwk) == KD_OK && read_point(jwk, out)
               ? KD_EXIT_OK
               : kd_ctl_fail(ctl, KD_EXIT_USAGE, "\"%.200s\" is no public key on P-256.", path);
}

static enum kd_exit ask_keyd(struct kd_ctl *ctl, struct recipient *out) {
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = kd_ctl_call(ctl, "GET", "/v1/envelopes/key", NULL, &answer);
    if (code != KD_EXIT_OK) {
        return code;
    }
    const long long most = kd_json_number(answer, "validity_max");
    if (most < 1 || !read_point(json_object_get(answer, "jwk"), &out->point)) {
        return kd_ctl_fail(ctl, KD_EXIT_UNREACHABLE, "keyd's answer holds no key on P-256.");
    }
    out->validity_max_s = (uint64_t)most;
    return KD_EXIT_OK;
}

// From the file, or keyd's own.
static enum kd_exit read_recipient(struct kd_ctl *ctl, struct recipient *out) {
    const char *path = kd_args_text(ctl->args, "to");
    out->validity_max_s = VALIDITY_MAX_SEC;
    return path == NULL ? ask_keyd(ctl, out) : read_file(ctl, path, &out->point);
}

static enum kd_exit read_terms(const struct kd_ctl *ctl, uint64_t validity_max_s,
                               uint8_t id[static KD_ENVELOPE_ID_BYTES], struct kd_envelope *out) {
    const char *validity = kd_args_text(ctl->args, "validity");
    const char *sender = kd_args_text(ctl->args, "sender");
    uint64_t seconds = validity_max_s < VALIDITY_SEC ? validity_max_s : VALIDITY_SEC;
    if (validity != NULL && kd_number_parse(validity, 1, validity_max_s, &seconds) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--validity is a number of seconds from 1 to %llu.",
                           (unsigned long long)validity_max_s);
    }
    if (sender != NULL && strlen(sender) > KD_ENVELOPE_SENDER_MAX_BYTES) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--sender has at most %d bytes.",
                           KD_ENVELOPE_SENDER_MAX_BYTES);
    }
    if (kd_keyops_openssl.random(NULL, id, KD_ENVELOPE_ID_BYTES) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "This host gives no random bytes.");
    }
    const uint64_t now = kd_clock_wall_ms() / 1000;
    *out = (struct kd_envelope) {
        .id = { id, KD_ENVELOPE_ID_BYTES },
        .time_s = now,
        .expires_s = now + seconds,
        .sender = kd_bytes_of_text(sender == NULL ? "" : sender),
    };
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_envelope_seal(struct kd_ctl *ctl) {
    static const struct kd_keys keys = { &kd_keyops_openssl, NULL };
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(KD_INPUT_MAX_BYTES + 1);
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    uint8_t id[KD_ENVELOPE_ID_BYTES];
    struct kd_envelope terms;
    struct recipient recipient;
    enum kd_exit code;
    if ((code = read_recipient(ctl, &recipient)) != KD_EXIT_OK ||
        (code = read_terms(ctl, recipient.validity_max_s, id, &terms)) != KD_EXIT_OK ||
        (code = kd_ctl_read_input(ctl, &body)) != KD_EXIT_OK) {
        return code;
    }
    const enum kd_err r =
        kd_envelope_seal(&keys, &recipient.point, &terms, kd_buf_get(&body), &out);
    if (r == KD_ERR_ITEM_TOO_LARGE) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "An envelope holds at most %d bytes.",
                           KD_ENVELOPE_BODY_MAX_BYTES);
    }
    return r != KD_OK ? kd_ctl_fail(ctl, KD_EXIT_USAGE, "The envelope was not made: %s",
                                    kd_err_sentence(r))
                      : kd_ctl_write(ctl, kd_buf_get(&out), false);
}

// ---- open ------------------------------------------------------------------

enum kd_exit kd_cmd_envelope_open(struct kd_ctl *ctl) {
    kd_auto(buf) struct kd_buf envelope = KD_BUF_INIT(KD_INPUT_MAX_BYTES + 1);
    kd_auto(buf) struct kd_buf body = KD_BUF_INIT(KD_ENVELOPE_MAX_BYTES);
    kd_auto(json) json_t *request = json_object();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code;
    if ((code = kd_ctl_read_input(ctl, &envelope)) != KD_EXIT_OK ||
        (code = kd_ctl_put_bytes(ctl, request, "envelope", kd_buf_get(&envelope))) != KD_EXIT_OK ||
        (code = kd_ctl_call(ctl, "POST", "/v1/envelopes/open", request, &answer)) != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        return kd_ctl_print_json(ctl, answer);
    }
    code = kd_ctl_get_bytes(ctl, answer, "data", &body);
    return code == KD_EXIT_OK ? kd_ctl_write(ctl, kd_buf_get(&body), true) : code;
}
