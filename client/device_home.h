// SPDX-License-Identifier: Apache-2.0
// device_home.h: the directory of a device that its bootstrap server has provisioned: the names
// of its files (libkeyd(3), FILES), and how they change: each is written beside its place, and
// put there when all are on the disk.
#ifndef KD_CLIENT_DEVICE_HOME_H
#define KD_CLIENT_DEVICE_HOME_H

#include "base/base.h"
#include "client/keyd.h"

#include <openssl/evp.h>

#define KD_HOME_KEY "key.pem"
#define KD_HOME_CERTIFICATE "certificate.pem"
#define KD_HOME_URI "certificate.uri"
#define KD_HOME_SERVER "server.pem"
#define KD_HOME_ENVELOPE "envelope.pem"
#define KD_HOME_BOOTSTRAP "bootstrap.url"
#define KD_HOME_TRUSTED "bootstrap.pem"
#define KD_HOME_STAGED ".new" // behind a name: what is not in its place yet

#define KD_HOME_PATH_BYTES 512
#define KD_HOME_DIRECTORY_MAX_BYTES (KD_HOME_PATH_BYTES - 32) // its path
#define KD_HOME_LINE_BYTES 512

const char *kd_home_path(const char *directory, const char *name,
                         char out[static KD_HOME_PATH_BYTES]);
bool kd_home_has(const char *directory, const char *name);
// A line that this library has written; "" where there is no file.
void kd_home_read_line(const char *directory, const char *name,
                       char out[static KD_HOME_LINE_BYTES]);
EVP_PKEY *kd_home_read_key(const char *directory); // NULL: there is none

// On the disk beside their places; of an empty text, that there will be no file.
// KEYD_ERR_FILE, KEYD_ERR_MEMORY; of the last two also KEYD_ERR_SERVER: it is none.
enum keyd_err kd_home_stage(const char *directory, const char *name, struct kd_bytes text);
enum keyd_err kd_home_stage_certificate(const char *directory, const char *name,
                                        struct kd_bytes der);
// On P-256, uncompressed.
enum keyd_err kd_home_stage_point(const char *directory, const char *name, struct kd_bytes point);
// What there is to know of the server.
enum keyd_err kd_home_stage_server(const char *directory, struct kd_bytes der, const char *uri,
                                   struct kd_bytes envelope);
// Puts the names, which are all staged, into their places one after the other.  KEYD_ERR_FILE:
// perhaps some are there, and the rest is staged still.
enum keyd_err kd_home_commit(const char *directory, const char *const *names, size_t n);

// Makes a key and keeps it; the one that is there, where there is one.
enum keyd_err kd_home_make_key(const char *directory, bool is_p384, EVP_PKEY **out);

KD_COLD enum keyd_err kd_home_unwritten(const char *path); // errno says why

#endif
