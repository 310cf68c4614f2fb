// SPDX-License-Identifier: Apache-2.0
// records.h: what the forms of records have in common: JSON, or one record as it
// is (records.c), or many in CBOR (records_cbor.c).
#ifndef KD_API_RECORDS_H
#define KD_API_RECORDS_H

#include "api/channel.h"

bool kd_record_type_is_callers(uint64_t type); // the others are keyd's own
// What a body must be by its type (docs/protocol.md, Records); NULL: it is.
const char *kd_record_wrong_with_data(const struct kd_record_item *item);

// The items of a request whose body is a sequence in CBOR; they are freed with it.
KD_MUST_CHECK enum kd_err kd_records_cbor_read(struct kd_request *q, struct kd_record_work *work);
void kd_records_cbor_put(struct kd_request *q, bool is_open, const struct kd_record_result *results,
                         size_t n);

#endif
