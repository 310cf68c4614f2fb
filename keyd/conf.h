// SPDX-License-Identifier: Apache-2.0
// conf.h: reads a file in libconfuse's syntax strictly: what config.c and
// policy.c share.  Every complaint carries file and line.
#ifndef KD_KEYD_CONF_H
#define KD_KEYD_CONF_H

#include "base/base.h"

#include <confuse.h>

#define KD_CONF_MAX_BYTES (1u << 20)

// Parses the file.  Each complaint is a line "file:line: what" in *errors, and
// KD_ERR_CONFIG; KD_ERR_NO_FILE where there is none (said in *errors too).
// The caller frees *out with cfg_free.
KD_MUST_CHECK enum kd_err kd_conf_read(const char *path, cfg_opt_t *options, struct kd_buf *errors,
                                       cfg_t **out);

// For options: refuses a second assignment in the same section.
int kd_conf_once(cfg_t *section, cfg_opt_t *option);

// For sections with CFGF_MULTI and CFGF_TITLE: libconfuse would let a second
// section of the same title take the place of the first; this keeps both.
int kd_conf_keep(cfg_t *parent, cfg_opt_t *option);
// The title as it was written, of a section that went through kd_conf_keep.
const char *kd_conf_title(cfg_t *section);

// For untitled sections: refuses a second one.
int kd_conf_one(cfg_t *parent, cfg_opt_t *option);

KD_AUTO_DEFINE(cfg, cfg_t *, cfg_free)

// What is wrong between the keys of the sections ca and bootstrap, or NULL (config_parts.c).
struct kd_config;
const char *kd_config_check_ca(const struct kd_config *c);

#endif
