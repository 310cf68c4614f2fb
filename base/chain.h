// SPDX-License-Identifier: Apache-2.0
// chain.h: the lines of the audit log (docs/audit.md): JSON objects, one a line, each with its
// number and the SHA-256 of the line before, so that none can be changed, taken out, put in or
// moved unseen.  keyd writes them (keyd/audit_log.h), keydctl audit verify reads them.  No I/O.
#ifndef KD_BASE_CHAIN_H
#define KD_BASE_CHAIN_H

#include "attr.h"
#include "buf.h"
#include "err.h"

#define KD_CHAIN_HASH_BYTES 32
#define KD_CHAIN_LINE_MAX_BYTES 16384 // with its newline

// The last line: its number, and its hash (of the line without its newline).  Before the
// first line both are zero.
struct kd_chain {
    uint64_t seq;
    uint8_t head[KD_CHAIN_HASH_BYTES];
};

// Appends {"seq":N,"prev":"...","time":"...",MEMBERS} and a newline, and makes it the last
// line.  `members` is JSON, "event" first, without a newline.  KD_ERR_ITEM_TOO_LARGE: the line
// is longer than its limit; chain and buffer are then as before, as with KD_ERR_NO_MEMORY.
KD_MUST_CHECK enum kd_err kd_chain_put(struct kd_chain *chain, uint64_t time_ms,
                                       struct kd_bytes members, struct kd_buf *out);

// Members: "name":"text" of any bytes (what is not printable ASCII stands as \u00NN, byte by byte),
// and "name":[1,2].  Names are constants.
void kd_chain_put_text(struct kd_buf *members, const char *name, const char *text);
void kd_chain_put_numbers(struct kd_buf *members, const char *name, const uint64_t *numbers,
                          size_t n);

struct kd_chain_line {
    uint64_t seq;
    uint8_t prev[KD_CHAIN_HASH_BYTES];
    uint8_t hash[KD_CHAIN_HASH_BYTES]; // of this line
};

// Reads a line, without its newline, as far as kd_chain_put has one form for it.
// KD_ERR_BAD_JSON: it is not of that form.
KD_MUST_CHECK enum kd_err kd_chain_read(struct kd_bytes text, struct kd_chain_line *out);

// What is wrong between a line and the one before it.
enum kd_chain_fault {
    KD_CHAIN_GOOD,
    KD_CHAIN_CHANGED, // the number is the next one, the hash is not that of the line before
    KD_CHAIN_MISSING, // numbers were left out
    KD_CHAIN_BACK,    // the number, or a higher one, was there already
};
enum kd_chain_fault kd_chain_check(const struct kd_chain *before, const struct kd_chain_line *line);
struct kd_chain kd_chain_at(const struct kd_chain_line *line); // where it is the last one

// What a seal is the MAC of: "keyd audit seal", a zero byte, the number (64 bits, big endian) and
// the hash of the last line that it covers.
#define KD_CHAIN_SEAL_BYTES (16 + 8 + KD_CHAIN_HASH_BYTES)
void kd_chain_seal_input(const struct kd_chain *covered, uint8_t out[static KD_CHAIN_SEAL_BYTES]);

#endif
