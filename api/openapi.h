// SPDX-License-Identifier: Apache-2.0
// openapi.h: the text of api/openapi.json, which the build turns into
// openapi.gen.c (see api.mk).
#ifndef KD_API_OPENAPI_H
#define KD_API_OPENAPI_H

extern const char kd_openapi_json[];

#endif
