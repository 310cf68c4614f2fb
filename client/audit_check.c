// SPDX-License-Identifier: Apache-2.0
// audit_check.c: see audit_check.h.
#include "client/audit_check.h"

#include "client/rest_json.h" // json_t that frees itself

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// A seal is written within moments of the line that it covers.
enum { HEADS_KEPT = 65536, MAC_MAX_BYTES = 64 };

struct check {
    const struct kd_audit_checker *checker;
    struct kd_audit_result result;
    struct kd_audit_at at;
    struct kd_chain last;
    bool is_known_seen;
    struct kd_chain *heads; // by number, the latest HEADS_KEPT
};

KD_PRINTF(2, 3) static void blame(struct check *c, const char *format, ...) {
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    c->result.faults++;
    c->checker->fault(c->checker->arg, &c->at, what);
}

// Hashes of the log: everybody who reads it knows them.
static bool is_same_head(const uint8_t *a, const uint8_t *b) {
    return kd_bytes_equal((struct kd_bytes) { a, KD_CHAIN_HASH_BYTES },
                          (struct kd_bytes) { b, KD_CHAIN_HASH_BYTES });
}

// ---- seals -----------------------------------------------------------------

static const struct kd_chain *head_of(const struct check *c, uint64_t seq) {
    const struct kd_chain *h = &c->heads[seq % HEADS_KEPT];
    return h->seq == seq ? h : NULL;
}

static bool read_covered(const json_t *seal, struct kd_chain *out) {
    const char *head = json_string_value(json_object_get(seal, "head"));
    const json_int_t covers = json_integer_value(json_object_get(seal, "covers"));
    out->seq = covers > 0 ? (uint64_t)covers : 0;
    return covers > 0 && head != NULL && kd_hex_decode(head, out->head, sizeof(out->head)) == KD_OK;
}

static void take_seal(struct check *c, const json_t *json) {
    uint8_t room[MAC_MAX_BYTES];
    struct kd_buf mac = KD_BUF_OVER(room);
    const char *text = json_string_value(json_object_get(json, "mac"));
    struct kd_audit_seal seal = {
        .key = json_string_value(json_object_get(json, "key")),
        .version = (uint32_t)json_integer_value(json_object_get(json, "version")),
    };
    if (!read_covered(json, &seal.covers) || seal.key == NULL || text == NULL ||
        kd_b64_decode(kd_bytes_of_text(text), &mac) != KD_OK || kd_buf_finish(&mac) != KD_OK) {
        blame(c, "a seal that is not well formed");
        return;
    }
    const struct kd_chain *covered = head_of(c, seal.covers.seq);
    if (covered == NULL && seal.covers.seq < c->result.first) {
        return; // of a file that was not given
    }
    if (covered == NULL || !is_same_head(covered->head, seal.covers.head)) {
        blame(c, "a seal of another line %" PRIu64 " than the one that is here", seal.covers.seq);
        return;
    }
    seal.mac = kd_buf_get(&mac);
    if (!c->checker->seal(c->checker->arg, &c->at, &seal)) {
        blame(c, "a seal that the key \"%.64s\" did not make", seal.key);
        return;
    }
    c->result.seals++;
    c->result.sealed = seal.covers.seq;
}

// ---- lines -----------------------------------------------------------------

static void compare(struct check *c, const struct kd_chain_line *line) {
    switch (kd_chain_check(&c->last, line)) {
    case KD_CHAIN_GOOD:
        break;
    case KD_CHAIN_CHANGED:
        blame(c, "the line before, %" PRIu64 ", is not the one that was written there",
              c->last.seq);
        break;
    case KD_CHAIN_MISSING:
        blame(c, "%" PRIu64 " lines before it are missing, from %" PRIu64 " on",
              line->seq - c->last.seq - 1, c->last.seq + 1);
        break;
    case KD_CHAIN_BACK:
        blame(c, "its number comes after %" PRIu64 ": a line was put in, repeated or moved",
              c->last.seq);
        break;
    }
}

static void take_line(struct check *c, struct kd_bytes text) {
    struct kd_chain_line line;
    c->result.lines++;
    c->at.seq = 0;
    if (kd_chain_read(text, &line) != KD_OK) {
        blame(c, "it is no line of an audit log");
        return;
    }
    c->at.seq = line.seq;
    if (c->result.first == 0) {
        c->result.first = line.seq;
    } else {
        compare(c, &line);
    }
    c->last = kd_chain_at(&line);
    c->result.last = line.seq;
    c->heads[line.seq % HEADS_KEPT] = c->last;
    const struct kd_chain *known = &c->checker->known;
    if (known->seq != 0 && line.seq == known->seq) {
        c->is_known_seen = true;
        if (!is_same_head(known->head, line.hash)) {
            blame(c, "it is not the line that keyd wrote last");
        }
    }
    kd_auto(json) json_t *json = json_loadb((const char *)text.p, text.n, 0, NULL);
    const char *event = json_string_value(json_object_get(json, "event"));
    if (event == NULL) {
        blame(c, "it is not JSON with an event");
    } else if (strcmp(event, "audit.seal") == 0) {
        take_seal(c, json);
    }
}

static enum kd_err take_file(struct check *c, const char *path) {
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return errno == ENOENT ? KD_ERR_NO_FILE : KD_ERR_SYSTEM;
    }
    char *line = NULL;
    size_t room = 0;
    c->at = (struct kd_audit_at) { .file = path };
    for (ssize_t n; (n = getline(&line, &room, in)) > 0;) {
        c->at.line++;
        if (line[n - 1] != '\n') {
            c->at.seq = 0;
            blame(c, "half a line at the end");
            break;
        }
        take_line(c, (struct kd_bytes) { (const uint8_t *)line, (size_t)n - 1 });
    }
    const bool is_read = ferror(in) == 0;
    free(line);
    fclose(in);
    return is_read ? KD_OK : KD_ERR_SYSTEM;
}

// Lines at the end are missing where keyd knows of later ones.
static void check_end(struct check *c) {
    const uint64_t known = c->checker->known.seq;
    if (known == 0 || c->is_known_seen || known < c->result.first) {
        return;
    }
    c->at.seq = c->result.last;
    blame(c, "keyd has written lines up to %" PRIu64 ": those after this one are missing", known);
}

enum kd_err kd_audit_check(const char *const *files, size_t n,
                           const struct kd_audit_checker *checker, struct kd_audit_result *out,
                           const char **at_file) {
    struct check c = { .checker = checker };
    c.heads = calloc(HEADS_KEPT, sizeof(*c.heads));
    enum kd_err r = c.heads == NULL ? KD_ERR_NO_MEMORY : KD_OK;
    for (size_t i = 0; r == KD_OK && i < n; i++) {
        *at_file = files[i];
        r = take_file(&c, files[i]);
    }
    if (r == KD_OK) {
        check_end(&c);
        *out = c.result;
    }
    free(c.heads);
    return r;
}

enum kd_err kd_audit_first_seq(const char *path, uint64_t *out) {
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return errno == ENOENT ? KD_ERR_NO_FILE : KD_ERR_SYSTEM;
    }
    char *text = NULL;
    size_t room = 0;
    struct kd_chain_line line;
    const ssize_t n = getline(&text, &room, in);
    enum kd_err r = ferror(in) != 0 ? KD_ERR_SYSTEM : KD_ERR_BAD_JSON;
    if (r != KD_ERR_SYSTEM && n > 0 && text[n - 1] == '\n' &&
        kd_chain_read((struct kd_bytes) { (uint8_t *)text, (size_t)n - 1 }, &line) == KD_OK) {
        *out = line.seq;
        r = KD_OK;
    }
    free(text);
    fclose(in);
    return r;
}
