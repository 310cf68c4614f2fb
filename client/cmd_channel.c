// SPDX-License-Identifier: Apache-2.0
// cmd_channel.c: keydctl peer ... and session ...: who may use the secure channel,
// and who does.  Handshakes and records are in cmd_records.c.
#include "client/ctl.h"
#include "client/eckey.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_MAX_BYTES = 256,
    CREDENTIAL_MAX_BYTES = 65536,
    KID_MAX_BYTES = 16,
    SESSION_ID_DIGITS = 16,
};

// ---- peer add --------------------------------------------------------------

// A certificate goes as it is; any other credential is read here, so that what
// is no public key does not leave this host.
static enum kd_exit put_credential(const struct kd_ctl *ctl, json_t *body) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(CREDENTIAL_MAX_BYTES + 1);
    const enum kd_exit code =
        kd_ctl_read_file(ctl, kd_args_text(ctl->args, "pem"), CREDENTIAL_MAX_BYTES, &text);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (kd_eckey_is_private(kd_buf_get(&text))) {
        kd_wipe(text.p, text.n);
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "This file holds a private key. It was not sent: a peer keeps its own; "
                           "keyd needs the certificate or the public key (openssl pkey -in FILE "
                           "-pubout).");
    }
    if (strstr(kd_buf_get_text(&text), "-----BEGIN CERTIFICATE-----") != NULL) {
        return json_object_set_new(body, "certificate", json_stringn((char *)text.p, text.n)) == 0
                   ? KD_EXIT_OK
                   : kd_ctl_fail(ctl, KD_EXIT_USAGE, "The file is not a certificate in PEM.");
    }
    json_t *jwk = NULL;
    const enum kd_err e = kd_eckey_read(kd_buf_get(&text), &jwk);
    if (e == KD_ERR_NO_MEMORY) {
        return kd_ctl_no_memory(ctl);
    }
    if (e != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "The file is neither a certificate nor a public key on P-256 or P-384, "
                           "as PEM or JWK.");
    }
    return json_object_set_new(body, "public_key", jwk) == 0 ? KD_EXIT_OK : kd_ctl_no_memory(ctl);
}

static enum kd_exit put_kid(const struct kd_ctl *ctl, json_t *body) {
    const char *text = kd_args_text(ctl->args, "kid");
    if (text == NULL) {
        return KD_EXIT_OK;
    }
    uint8_t kid[KID_MAX_BYTES];
    const size_t n = strlen(text) / 2;
    if (n == 0 || n > sizeof(kid) || kd_hex_decode(text, kid, n) != KD_OK) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--kid is 1 to %d bytes in hexadecimal.",
                           KID_MAX_BYTES);
    }
    return kd_ctl_put_bytes(ctl, body, "kid", (struct kd_bytes) { kid, n });
}

static enum kd_exit check_name(const struct kd_ctl *ctl, const char *name) {
    return kd_name_is_valid(kd_bytes_of_text(name))
               ? KD_EXIT_OK
               : kd_ctl_fail(ctl, KD_EXIT_USAGE,
                             "\"%.80s\" is no name of a peer: 1 to 64 of A-Z a-z 0-9 . _ - and a "
                             "letter or digit first.",
                             name);
}

// ---- peer list, show -------------------------------------------------------

// As --kid takes it; what keyd gives is base64url.
static void put_kid_text(struct kd_buf *out, const json_t *peer) {
    uint8_t room[KID_MAX_BYTES];
    struct kd_buf kid = KD_BUF_OVER(room);
    char text[2 * KID_MAX_BYTES + 1];
    if (kd_b64_decode(kd_bytes_of_text(kd_json_text(peer, "kid")), &kid) == KD_OK &&
        kd_buf_finish(&kid) == KD_OK && kid.n > 0) {
        kd_hex_encode(kid.p, kid.n, text);
        kd_buf_text(out, text);
    }
}

static void put_peer_row(struct kd_table *t, const json_t *peer) {
    uint8_t room[2 * KID_MAX_BYTES + 1];
    struct kd_buf kid = KD_BUF_OVER(room);
    put_kid_text(&kid, peer);
    kd_table_put(t, kd_json_text(peer, "name"));
    kd_table_put(t, json_is_string(json_object_get(peer, "certificate")) ? "certificate"
                                                                         : "public key");
    kd_table_put(t, kid.n > 0 ? kd_buf_get_text(&kid) : NULL);
    const char *uri = kd_json_text(peer, "uri");
    kd_table_put(t, uri[0] != '\0' ? uri : NULL);
    kd_table_put(t, kd_json_text(peer, "created"));
}

static enum kd_exit print_peer(const struct kd_ctl *ctl, json_t *peer) {
    if (ctl->json) {
        return kd_ctl_print_json(ctl, peer);
    }
    uint8_t room[2 * KID_MAX_BYTES + 1];
    struct kd_buf kid = KD_BUF_OVER(room);
    kd_auto(json) json_t *shown = json_copy(peer);
    put_kid_text(&kid, peer);
    if (kid.n > 0) {
        json_object_set_new(shown, "kid", json_string(kd_buf_get_text(&kid)));
    }
    if (json_object_del(shown, "certificate") == 0) {
        json_object_set_new(shown, "credential", json_string("certificate (--pem prints it)"));
    }
    kd_output_members(ctl->out, shown);
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_peer_add(struct kd_ctl *ctl) {
    const char *name = ctl->args->words[0];
    const char *uri = kd_args_text(ctl->args, "uri");
    kd_auto(json) json_t *body = json_pack("{s:s}", "name", name);
    kd_auto(json) json_t *peer = NULL;
    enum kd_exit code;
    if ((code = check_name(ctl, name)) != KD_EXIT_OK || (code = put_kid(ctl, body)) != KD_EXIT_OK ||
        (code = put_credential(ctl, body)) != KD_EXIT_OK) {
        return code;
    }
    if (uri != NULL && json_object_set_new(body, "uri", json_string(uri)) != 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE, "--uri is not text in UTF-8.");
    }
    code = kd_ctl_call(ctl, "POST", "/v1/peers", body, &peer);
    return code != KD_EXIT_OK ? code : print_peer(ctl, peer);
}

enum kd_exit kd_ctl_print_list(struct kd_ctl *ctl, const char *folder, const char *const *heads,
                               size_t n_heads,
                               void (*put_row)(struct kd_table *t, const json_t *one)) {
    kd_auto(json) json_t *all = json_array();
    kd_auto(table) struct kd_table *t = NULL;
    const enum kd_exit code = kd_ctl_get_pages(ctl, folder, all);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        kd_auto(json) json_t *answer = json_pack("{s:O, s:n}", folder, all, "next");
        return kd_ctl_print_json(ctl, answer);
    }
    if (kd_table_new(heads, n_heads, &t) != KD_OK) {
        return kd_ctl_no_memory(ctl);
    }
    size_t i;
    json_t *one;
    json_array_foreach(all, i, one) {
        put_row(t, one);
    }
    return kd_ctl_print_table(ctl, t);
}

enum kd_exit kd_cmd_peer_list(struct kd_ctl *ctl) {
    static const char *const heads[] = { "NAME", "CREDENTIAL", "KID", "URI", "CREATED" };
    return kd_ctl_print_list(ctl, "peers", heads, KD_COUNT_OF(heads), put_peer_row);
}

// Calls METHOD /v1/peers/NAME.
static enum kd_exit call_peer(struct kd_ctl *ctl, const char *method, json_t **answer) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    const char *name = ctl->args->words[0];
    const enum kd_exit code = check_name(ctl, name);
    kd_buf_printf(&path, "/v1/peers/%s", name);
    return code != KD_EXIT_OK ? code
                              : kd_ctl_call(ctl, method, kd_buf_get_text(&path), NULL, answer);
}

enum kd_exit kd_cmd_peer_show(struct kd_ctl *ctl) {
    kd_auto(json) json_t *peer = NULL;
    const enum kd_exit code = call_peer(ctl, "GET", &peer);
    if (code != KD_EXIT_OK || !kd_args_has(ctl->args, "pem")) {
        return code != KD_EXIT_OK ? code : print_peer(ctl, peer);
    }
    const char *pem = kd_json_text(peer, "certificate");
    return pem[0] != '\0'
               ? kd_ctl_write(ctl, kd_bytes_of_text(pem), false)
               : kd_ctl_fail(ctl, KD_EXIT_USAGE,
                             "The peer has no certificate, but a public key of its own.");
}

enum kd_exit kd_cmd_peer_delete(struct kd_ctl *ctl) {
    kd_auto(json) json_t *none = NULL;
    return call_peer(ctl, "DELETE", &none);
}

// ---- session list, show, delete --------------------------------------------

static void put_session_row(struct kd_table *t, const json_t *session) {
    kd_table_put(t, kd_json_text(session, "session"));
    kd_table_put(t, kd_json_text(session, "peer"));
    kd_table_put(t, kd_json_text(session, "profile"));
    kd_table_printf(t, "%lld", kd_json_number(session, "sent"));
    kd_table_printf(t, "%lld", kd_json_number(session, "received"));
    kd_table_printf(t, "%lld", kd_json_number(session, "bytes"));
    kd_table_put(t, kd_json_text(session, "created"));
    kd_table_put(t, kd_json_text(session, "expires"));
}

enum kd_exit kd_cmd_session_list(struct kd_ctl *ctl) {
    static const char *const heads[] = { "SESSION",  "PEER",  "PROFILE", "SENT",
                                         "RECEIVED", "BYTES", "CREATED", "EXPIRES" };
    return kd_ctl_print_list(ctl, "sessions", heads, KD_COUNT_OF(heads), put_session_row);
}

// Calls METHOD /v1/sessions/ID, or what is below it: "/ticket".
static enum kd_exit call_session(struct kd_ctl *ctl, const char *method, const char *below,
                                 const json_t *body, json_t **answer) {
    kd_auto(buf) struct kd_buf path = KD_BUF_INIT(PATH_MAX_BYTES);
    const char *id = ctl->args->words[0];
    if (strlen(id) != SESSION_ID_DIGITS || strspn(id, "0123456789abcdef") != SESSION_ID_DIGITS) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "\"%.80s\" is no id of a session; keydctl session list shows yours.",
                           id);
    }
    kd_buf_printf(&path, "/v1/sessions/%s%s", id, below);
    return kd_ctl_call(ctl, method, kd_buf_get_text(&path), body, answer);
}

enum kd_exit kd_cmd_session_show(struct kd_ctl *ctl) {
    kd_auto(json) json_t *session = NULL;
    const enum kd_exit code = call_session(ctl, "GET", "", NULL, &session);
    if (code != KD_EXIT_OK) {
        return code;
    }
    if (ctl->json) {
        return kd_ctl_print_json(ctl, session);
    }
    kd_output_members(ctl->out, session);
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_session_delete(struct kd_ctl *ctl) {
    kd_auto(json) json_t *none = NULL;
    return call_session(ctl, "DELETE", "", NULL, &none);
}

// ---- session ticket, update ---------------------------------------------------

enum kd_exit kd_cmd_session_ticket(struct kd_ctl *ctl) {
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = call_session(ctl, "GET", "/ticket", NULL, &answer);
    return code == KD_EXIT_OK ? kd_ctl_write_member(ctl, answer, "ticket", false) : code;
}

enum kd_exit kd_cmd_session_update(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    const enum kd_exit code = call_session(ctl, "POST", "/key-update", body, &answer);
    if (code == KD_EXIT_OK && !ctl->json && kd_json_text(answer, "record")[0] == '\0') {
        fputs("The old keys were released: who has them tells the peer.\n", ctl->err);
        return KD_EXIT_OK;
    }
    return code == KD_EXIT_OK ? kd_ctl_write_member(ctl, answer, "record", false) : code;
}

// ---- session release -------------------------------------------------------

// The keys come once: where they shall go must be known before they are asked for.
static enum kd_exit check_place(const struct kd_ctl *ctl) {
    const char *path = kd_args_text(ctl->args, "out");
    if (path == NULL && ctl->terminal) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "The keys would stand on the terminal: name a new file with --out.");
    }
    if (path != NULL && strcmp(path, "-") != 0 && access(path, F_OK) == 0) {
        return kd_ctl_fail(ctl, KD_EXIT_USAGE,
                           "%s is there already. What is secret goes into a new file only.", path);
    }
    return KD_EXIT_OK;
}

enum kd_exit kd_cmd_session_release(struct kd_ctl *ctl) {
    kd_auto(json) json_t *body = json_object();
    kd_auto(json) json_t *answer = NULL;
    enum kd_exit code = check_place(ctl);
    if (code != KD_EXIT_OK ||
        (code = call_session(ctl, "POST", "/release", body, &answer)) != KD_EXIT_OK) {
        return code;
    }
    char *text = json_dumps(answer, JSON_COMPACT);
    if (text == NULL) {
        return kd_ctl_no_memory(ctl);
    }
    code = kd_ctl_write(ctl, kd_bytes_of_text(text), true);
    kd_wipe(text, strlen(text));
    free(text);
    return code;
}
