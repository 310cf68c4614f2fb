// SPDX-License-Identifier: Apache-2.0
// ctl.h: what the parts of keydctl share: the table of commands, exit codes,
// and the way from an answer of keyd to what the user sees.
#ifndef KD_CLIENT_CTL_H
#define KD_CLIENT_CTL_H

#include "client/args.h"
#include "client/io.h"
#include "client/output.h"
#include "client/rest_json.h"
#include "client/settings.h"

#include <stdio.h>

enum kd_exit {
    KD_EXIT_OK = 0,
    KD_EXIT_NO = 1,          // the answer is no: not valid, not ready
    KD_EXIT_USAGE = 2,       // arguments, or a file that cannot be used
    KD_EXIT_REFUSED = 3,     // keyd said no
    KD_EXIT_UNREACHABLE = 4, // keyd could not be asked
};

struct kd_ctl {
    const struct kd_args *args;
    bool json;     // --json
    bool terminal; // out is one
    FILE *out;
    FILE *err;
    struct kd_settings settings;
    struct kd_rest *rest; // opened by the first call
};

struct kd_command {
    const char *name;  // "status", "key create"
    const char *words; // what follows, for the help: "NAME"
    size_t words_min;
    size_t words_max;
    const struct kd_option *options; // NULL: none of its own
    const char *summary;             // one line
    const char *help;                // the rest, may be ""
    enum kd_exit (*run)(struct kd_ctl *ctl);
    bool is_offline; // goes on where keyd.conf cannot be read
};

// commands.c: ends with a row without a name.
extern const struct kd_command kd_commands[];
extern const struct kd_option kd_global_options[];

// Before all else: JSON is wiped when it is given back, and where there is no memory for it the
// program says so and ends with KD_EXIT_USAGE: an answer or a request that lacks a member would be
// another one.
void kd_ctl_init_library(void);
// ctl.c: all of keydctl but the streams.
enum kd_exit kd_ctl_run(int argc, char *const argv[], FILE *out, FILE *err);

// ---- for the commands ------------------------------------------------------

// Says on err what is wrong and gives the exit code back.
KD_PRINTF(3, 4)
enum kd_exit kd_ctl_fail(const struct kd_ctl *ctl, enum kd_exit code, const char *format, ...);
enum kd_exit kd_ctl_no_memory(const struct kd_ctl *ctl); // KD_EXIT_USAGE

// One call.  With anything but KD_EXIT_OK the user has been told why.  *answer
// (owned by the caller) is NULL where the answer has no body.
KD_MUST_CHECK enum kd_exit kd_ctl_call(struct kd_ctl *ctl, const char *method, const char *path,
                                       const json_t *body, json_t **answer);
// GET /v1/FOLDER, which is also the member with the list: all its pages, appended to `all`.  With
// --state, where the command has it, of what is in this state.
KD_MUST_CHECK enum kd_exit kd_ctl_get_pages(struct kd_ctl *ctl, const char *folder, json_t *all);
// All of a folder: for programs as it came, else row by row.
enum kd_exit kd_ctl_print_list(struct kd_ctl *ctl, const char *folder, const char *const *heads,
                               size_t n_heads,
                               void (*put_row)(struct kd_table *t, const json_t *one));
// Prints an item of a batch that is a problem, as kd_ctl_call does.
enum kd_exit kd_ctl_problem(const struct kd_ctl *ctl, unsigned status, const json_t *problem);
// The connection to keyd, opened if it is not.
KD_MUST_CHECK enum kd_exit kd_ctl_connect(struct kd_ctl *ctl);

// "/v1/keys/NAME/TAIL" (tail may be ""); refuses what is no name.
KD_MUST_CHECK enum kd_exit kd_ctl_key_path(const struct kd_ctl *ctl, const char *name,
                                           const char *tail, struct kd_buf *path);
KD_MUST_CHECK enum kd_exit kd_ctl_secret_path(const struct kd_ctl *ctl, const char *id,
                                              const char *tail, struct kd_buf *path);
// For operations on a key (the first word) or on a secret (--secret ID).
KD_MUST_CHECK enum kd_exit kd_ctl_subject_path(const struct kd_ctl *ctl, const char *tail,
                                               struct kd_buf *path);

// --in FILE or standard input.
KD_MUST_CHECK enum kd_exit kd_ctl_read_input(const struct kd_ctl *ctl, struct kd_buf *data);
KD_MUST_CHECK enum kd_exit kd_ctl_read_file(const struct kd_ctl *ctl, const char *path,
                                            size_t max_bytes, struct kd_buf *data);
// object[member] = base64url of data.
KD_MUST_CHECK enum kd_exit kd_ctl_put_bytes(const struct kd_ctl *ctl, json_t *object,
                                            const char *member, struct kd_bytes data);
// --version N, where given, into the body.
KD_MUST_CHECK enum kd_exit kd_ctl_put_version(const struct kd_ctl *ctl, json_t *body);
// The bytes of answer[member], which keyd gave as base64url.
KD_MUST_CHECK enum kd_exit kd_ctl_get_bytes(const struct kd_ctl *ctl, const json_t *answer,
                                            const char *member, struct kd_buf *data);
// --format; base64 where not given.
KD_MUST_CHECK enum kd_exit kd_ctl_get_form(const struct kd_ctl *ctl, bool may_be_der,
                                           enum kd_form *form);
// To --out FILE or standard output.  A secret makes a new file of mode 0600.
KD_MUST_CHECK enum kd_exit kd_ctl_write(const struct kd_ctl *ctl, struct kd_bytes data,
                                        bool is_secret);
// The bytes of answer[member] in the same way; with --json the whole answer on standard output.
KD_MUST_CHECK enum kd_exit kd_ctl_write_member(const struct kd_ctl *ctl, const json_t *answer,
                                               const char *member, bool is_secret);
enum kd_exit kd_ctl_print_json(const struct kd_ctl *ctl, const json_t *value);
enum kd_exit kd_ctl_print_table(const struct kd_ctl *ctl, const struct kd_table *table);

// Members of answers that are there or read as "".
const char *kd_json_text(const json_t *object, const char *member);
long long kd_json_number(const json_t *object, const char *member);

// ---- the commands (cmd_*.c) ------------------------------------------------

enum kd_exit kd_cmd_status(struct kd_ctl *ctl);
enum kd_exit kd_cmd_backup(struct kd_ctl *ctl);
enum kd_exit kd_cmd_audit_status(struct kd_ctl *ctl);
enum kd_exit kd_cmd_audit_verify(struct kd_ctl *ctl);
enum kd_exit kd_cmd_random(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_create(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_list(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_show(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_rotate(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_enable(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_disable(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_delete(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_adopt(struct kd_ctl *ctl);
enum kd_exit kd_cmd_key_import(struct kd_ctl *ctl);
enum kd_exit kd_cmd_sign(struct kd_ctl *ctl);
enum kd_exit kd_cmd_verify(struct kd_ctl *ctl);
enum kd_exit kd_cmd_mac(struct kd_ctl *ctl);
enum kd_exit kd_cmd_mac_verify(struct kd_ctl *ctl);
enum kd_exit kd_cmd_ecdh(struct kd_ctl *ctl);
enum kd_exit kd_cmd_derive(struct kd_ctl *ctl);
enum kd_exit kd_cmd_secret_list(struct kd_ctl *ctl);
enum kd_exit kd_cmd_secret_show(struct kd_ctl *ctl);
enum kd_exit kd_cmd_secret_delete(struct kd_ctl *ctl);
enum kd_exit kd_cmd_encrypt(struct kd_ctl *ctl);
enum kd_exit kd_cmd_decrypt(struct kd_ctl *ctl);
enum kd_exit kd_cmd_rewrap(struct kd_ctl *ctl);
enum kd_exit kd_cmd_init(struct kd_ctl *ctl);
// --channel; the keys are made by cmd_init.c.
enum kd_exit kd_cmd_init_channel(struct kd_ctl *ctl);
KD_MUST_CHECK enum kd_exit kd_init_channel_keys(struct kd_ctl *ctl);
enum kd_exit kd_cmd_doctor(struct kd_ctl *ctl);
enum kd_exit kd_cmd_bench(struct kd_ctl *ctl);
enum kd_exit kd_cmd_demo(struct kd_ctl *ctl);
enum kd_exit kd_cmd_token_new(struct kd_ctl *ctl);
enum kd_exit kd_cmd_token_list(struct kd_ctl *ctl);
enum kd_exit kd_cmd_peer_add(struct kd_ctl *ctl);
enum kd_exit kd_cmd_peer_list(struct kd_ctl *ctl);
enum kd_exit kd_cmd_peer_show(struct kd_ctl *ctl);
enum kd_exit kd_cmd_peer_delete(struct kd_ctl *ctl);
enum kd_exit kd_cmd_ca_init(struct kd_ctl *ctl);
enum kd_exit kd_cmd_ca_show(struct kd_ctl *ctl);
enum kd_exit kd_cmd_server_cert(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_enroll(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_list(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_show(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_renew(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_revoke(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_delete(struct kd_ctl *ctl);
// Its own end of the channel.
enum kd_exit kd_cmd_device_provision(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_connect(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_send(struct kd_ctl *ctl);
enum kd_exit kd_cmd_device_listen(struct kd_ctl *ctl);
enum kd_exit kd_cmd_handshake_begin(struct kd_ctl *ctl);
enum kd_exit kd_cmd_handshake_step(struct kd_ctl *ctl);
enum kd_exit kd_cmd_handshake_delete(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_list(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_show(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_delete(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_ticket(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_update(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_release(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_seal(struct kd_ctl *ctl);
enum kd_exit kd_cmd_session_open(struct kd_ctl *ctl);
enum kd_exit kd_cmd_envelope_key(struct kd_ctl *ctl);
enum kd_exit kd_cmd_envelope_seal(struct kd_ctl *ctl);
enum kd_exit kd_cmd_envelope_open(struct kd_ctl *ctl);

#endif
