// SPDX-License-Identifier: Apache-2.0
// fake_worker.c: stands in for keyd-hsm in the tests of the front process.  It
// speaks the wire format on descriptor 3, has no token, and behaves as the
// script says that is its configured "module" (a file with one line a rule):
//
//     start ok | start no-token | start hang | start exit | start garbage
//     start refuse PIN      the PIN file must not hold this PIN
//     start refuse-late PIN the same, and the login takes a second
//     on OP die|hang|garbage|error NAME|lost|logged-out|malformed
//     on OP after N die|...         the first N requests of the kind are answered
//     on DATA die|hang              a request whose first item's data is DATA
//     signs                         SIGN is an ECDSA signature that verifies
//     once                          each rule counts once for all workers (a mark file)
//
// Answers: MAC, and SIGN but for that, is the data reversed; objects live in a directory, so that
// all workers see them, as in a token; a log (SCRIPT.log) has a line for each HELLO and each
// request.
#include "channel/hpke.h"
#include "channel/keyops.h"
#include "hsm/hsm.h"
#include "tests/unit/fake_worker_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RULES_MAX = 16, STREAM = 3, SIGNATURE_BYTES = 64 };

struct rule {
    char what[32];
    unsigned after;
    char action[32];
    char arg[64];
    unsigned seen;
};

struct fake {
    char script[256];
    char start[32];
    char start_arg[64];
    bool once;
    bool signs; // so that it can be verified
    size_t n_rules;
    struct rule rules[RULES_MAX];
    struct kd_buf out;
};

static struct fake f;

static void note(const char *what, const char *arg) {
    char path[300];
    char line[128];
    snprintf(path, sizeof(path), "%s.log", f.script);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int n = snprintf(line, sizeof(line), "%s %s\n", what, arg);
    if (fd < 0 || write(fd, line, (size_t)n) != n) {
        _exit(90);
    }
    close(fd);
}

// True the first time that anybody asks.
static bool take_mark(const char *name) {
    char path[400];
    snprintf(path, sizeof(path), "%s.mark-%s", f.script, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

static void read_script(struct kd_bytes path) {
    char line[256];
    snprintf(f.script, sizeof(f.script), "%.*s", (int)path.n, (const char *)path.p);
    FILE *in = fopen(f.script, "r");
    if (in == NULL) {
        _exit(91);
    }
    snprintf(f.start, sizeof(f.start), "%s", "ok");
    while (fgets(line, sizeof(line), in) != NULL) {
        struct rule r = { 0 };
        if (sscanf(line, "start %31s %63s", f.start, f.start_arg) >= 1) {
            continue;
        }
        if (sscanf(line, "on %31s after %u %31s %63s", r.what, &r.after, r.action, r.arg) >= 3 ||
            sscanf(line, "on %31s %31s %63s", r.what, r.action, r.arg) >= 2) {
            f.rules[f.n_rules++] = r;
        } else if (strncmp(line, "once", 4) == 0) {
            f.once = true;
        } else if (strncmp(line, "signs", 5) == 0) {
            f.signs = true;
        }
    }
    fclose(in);
}

static void send_all(const void *p, size_t n) {
    const char *at = p;
    while (n > 0) {
        ssize_t sent = write(STREAM, at, n);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            _exit(0);
        }
        at += sent;
        n -= (size_t)sent;
    }
}

static void flush(void) {
    if (f.out.n > 0) {
        send_all(f.out.p, f.out.n);
    }
    kd_buf_reset(&f.out);
}

static void send_garbage(void) {
    flush();
    static const uint8_t garbage[] = { 0xff, 0xff, 0xff, 0xff, 1, 2, 3 };
    send_all(garbage, sizeof(garbage));
}

static void hang(void) {
    flush();
    for (;;) {
        pause();
    }
}

static void send_status(uint32_t id, enum kd_err err, const char *detail, struct kd_bytes refused) {
    struct kd_hsm_status s = {
        .err = err,
        .detail = kd_bytes_of_text(detail),
        .refused_pin = refused,
        .module = kd_bytes_of_text("fake"),
        .token_label = kd_bytes_of_text("fake-token"),
        .threads = 1,
        .hkdf = KD_HSM_HKDF_DIGEST,
    };
    const size_t start = kd_hsm_frame_begin(&f.out);
    kd_hsm_put_status(&f.out, id, &s);
    kd_hsm_frame_end(&f.out, start);
    flush();
}

static void start(const struct kd_hsm_hello *h) {
    if (strcmp(f.start, "exit") == 0) {
        _exit(7);
    }
    if (strcmp(f.start, "hang") == 0) {
        hang();
    }
    if (strcmp(f.start, "garbage") == 0) {
        send_garbage();
        char rest[64];
        while (read(STREAM, rest, sizeof(rest)) > 0) { // as the real one ends
        }
        _exit(0);
    }
    if (strcmp(f.start, "no-token") == 0) {
        send_status(0, KD_ERR_NO_TOKEN, "no token of this name; found: other", KD_BYTES_NONE);
        _exit(1);
    }
    if (strncmp(f.start, "refuse", 6) == 0) {
        char path[256];
        char pin[64] = "";
        snprintf(path, sizeof(path), "%.*s", (int)h->pin_file.n, (const char *)h->pin_file.p);
        FILE *in = fopen(path, "r");
        if (in == NULL || fscanf(in, "%63s", pin) != 1) {
            _exit(92);
        }
        fclose(in);
        // The record is the PIN itself here: a fake's PIN is no secret.
        if (kd_bytes_equal(h->refused_pin, kd_bytes_of_text(pin))) {
            send_status(0, KD_ERR_PIN_REFUSED, "this PIN was refused before", h->refused_pin);
            _exit(1);
        }
        note("login", pin);
        if (strcmp(f.start, "refuse-late") == 0) {
            sleep(1);
        }
        note("done-login", pin);
        if (strcmp(pin, f.start_arg) == 0) {
            send_status(0, KD_ERR_PIN_REFUSED, "the token refused the PIN", kd_bytes_of_text(pin));
            _exit(1);
        }
    }
    send_status(0, KD_OK, "", KD_BYTES_NONE);
}

// ---- objects ---------------------------------------------------------------

static void object_path(struct kd_bytes id, char out[static 400]) {
    int n = snprintf(out, 300, "%s.object-", f.script);
    for (size_t i = 0; i < id.n; i++) {
        n += snprintf(out + n, 4, "%02x", id.p[i]);
    }
}

static void generate(const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    // The generator of P-256 (SEC 2 2.4.2): the public key of the private key 1.
    static uint8_t proof[KD_HSM_POINT_MAX_BYTES] = {
        0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5,
        0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4,
        0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a,
        0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
        0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
    };
    char path[400];
    object_path(item->key.id, path);
    FILE *out = fopen(path, "w");
    if (out == NULL) {
        _exit(93);
    }
    fprintf(out, "%d %u %.*s\n", (int)item->key.type, item->usages, (int)item->key.label.n,
            (const char *)item->key.label.p);
    fclose(out);
    result->object = (struct kd_hsm_object) {
        .ref = item->key,
        .has_type = true,
        .usages = item->usages,
        .is_private = true,
        .is_sensitive = true,
        .is_local = true,
    };
    result->object.ref.proof =
        (struct kd_bytes) { proof, kd_key_type_is_ec(item->key.type)
                                       ? kd_key_type_point_bytes(item->key.type)
                                       : KD_HSM_CHECK_BYTES };
}

// A URI with id=%.. and perhaps more, as the front writes it.
static bool find(const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    static uint8_t id[KD_HSM_ID_MAX_BYTES];
    static char label[128];
    char text[300];
    char path[400];
    int type = 0;
    unsigned usages = 0;
    size_t n = 0;
    snprintf(text, sizeof(text), "%.*s", (int)item->data.n, (const char *)item->data.p);
    const char *at = strstr(text, "id=");
    for (at = at == NULL ? "" : at + 3; *at == '%' && n < sizeof(id); at += 3) {
        const char digits[3] = { at[1], at[2], 0 };
        id[n++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    object_path((struct kd_bytes) { id, n }, path);
    FILE *in = fopen(path, "r");
    if (in == NULL || fscanf(in, "%d %u %127s", &type, &usages, label) < 2) {
        return false;
    }
    fclose(in);
    struct kd_hsm_item made = { .key = { .type = (enum kd_key_type)type,
                                         .id = { id, n },
                                         .label = kd_bytes_of_text(label) },
                                .usages = usages };
    generate(&made, result);
    if (strcmp(label, "alone") == 0) { // no public half beside it
        result->object.ref.proof = KD_BYTES_NONE;
    }
    return true;
}

static void destroy(const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    char path[400];
    object_path(item->key.id, path);
    result->err = unlink(path) == 0 ? KD_OK : KD_ERR_NO_OBJECT;
}

// By the private key 1, as all keys are that generate() makes.
static void sign(const struct kd_hsm_item *item, uint8_t out[static SIGNATURE_BYTES]) {
    static const uint8_t one[32] = { [31] = 1 };
    uint64_t key = 0;
    if (kd_openssl_key_from_scalar(KD_CURVE_P256, (struct kd_bytes) { one, sizeof(one) }, &key) !=
            KD_OK ||
        kd_keyops_openssl.sign(NULL, key, KD_MD_SHA256, item->data, out, SIGNATURE_BYTES) !=
            KD_OK) {
        _exit(89);
    }
    kd_keyops_openssl.destroy(NULL, key);
}

// ---- requests --------------------------------------------------------------

static void answer(enum kd_hsm_op op, const struct kd_hsm_item *item,
                   struct kd_hsm_result *result) {
    static uint8_t bytes[65536];
    if (fake_channel_answer(op, item, result)) {
        return;
    }
    *result = (struct kd_hsm_result) { .err = KD_OK, .out = { bytes, 0 } };
    switch (op) {
    case KD_HSM_GENERATE:
        generate(item, result);
        break;
    case KD_HSM_DESTROY:
        destroy(item, result);
        break;
    case KD_HSM_SIGN:
    case KD_HSM_MAC:
        if (f.signs && op == KD_HSM_SIGN) {
            sign(item, bytes);
            result->out.n = SIGNATURE_BYTES;
            break;
        }
        for (size_t i = 0; i < item->data.n; i++) {
            bytes[i] = item->data.p[item->data.n - 1 - i];
        }
        result->out.n = item->data.n;
        break;
    case KD_HSM_VERIFY:
    case KD_HSM_MAC_VERIFY:
        result->ok = item->tag.n > 0;
        result->which = item->tag.n > 0 ? item->tag.p[0] : 0;
        break;
    case KD_HSM_ENCRYPT:
        result->iv = (struct kd_bytes) { bytes, KD_HSM_GCM_IV_BYTES };
        result->out = item->data;
        break;
    case KD_HSM_DECRYPT:
        result->out = item->data;
        break;
    case KD_HSM_REWRAP: // says by which key it would be
        result->iv = (struct kd_bytes) { bytes, KD_HSM_GCM_IV_BYTES };
        result->out = item->key.label;
        result->which = item->data.n > 0 ? item->data.p[0] : 0;
        break;
    case KD_HSM_RANDOM:
        result->out.n = item->n;
        break;
    case KD_HSM_RELEASE:
        result->out.n =
            item->recipe.n_steps == 0 ? 32 : item->recipe.steps[item->recipe.n_steps - 1].out_len;
        break;
    case KD_HSM_FIND:
    case KD_HSM_DERIVE:
    case KD_HSM_FORGET:
    case KD_HSM_HELLO:
    case KD_HSM_PING:
    case KD_HSM_HS_START:
    case KD_HSM_HS_READ:
    case KD_HSM_HS_FINISH:
    case KD_HSM_HS_CONFIRM:
    case KD_HSM_HS_DROP:
    case KD_HSM_RECORD_SEAL:
    case KD_HSM_RECORD_OPEN:
    case KD_HSM_TICKET_READ:
    case KD_HSM_TICKET_UPDATE:
    case KD_HSM_SESSION_RELEASE:
        break;
    case KD_HSM_ENVELOPE_OPEN: // what stands between the point and the tag
        result->out = item->data;
        result->out.p += KD_HPKE_ENC_BYTES;
        result->out.n -= KD_HPKE_ENC_BYTES + KD_HPKE_TAG_BYTES;
        break;
    }
}

// What the script has for this request, or NULL.
static const struct rule *rule_for(enum kd_hsm_op op, struct kd_bytes data) {
    for (size_t i = 0; i < f.n_rules; i++) {
        struct rule *r = &f.rules[i];
        const bool is_it = strcmp(r->what, kd_hsm_op_name(op)) == 0 ||
                           kd_bytes_equal(kd_bytes_of_text(r->what), data);
        if (is_it && r->seen++ >= r->after && (!f.once || take_mark(r->what))) {
            return r;
        }
    }
    return NULL;
}

static enum kd_err err_named(const char *name) {
    for (unsigned e = 0; e < KD_ERR_COUNT; e++) {
        if (strcmp(kd_err_name((enum kd_err)e), name) == 0) {
            return (enum kd_err)e;
        }
    }
    _exit(94);
}

static void reply_error(uint32_t id, enum kd_err err) {
    const struct kd_hsm_reply reply = {
        .id = id, .err = err, .detail = kd_bytes_of_text("as the script says"), .token_us = 5
    };
    const size_t start = kd_hsm_frame_begin(&f.out);
    kd_hsm_put_reply(&f.out, &reply);
    kd_hsm_frame_end(&f.out, start);
}

// False: no normal answer.
static bool follow(const struct rule *r, const struct kd_hsm_request *q) {
    if (r == NULL) {
        return true;
    }
    if (strcmp(r->action, "die") == 0) {
        flush();
        _exit(3);
    }
    if (strcmp(r->action, "hang") == 0) {
        note("hang", kd_hsm_op_name(q->op));
        hang();
    }
    if (strcmp(r->action, "garbage") == 0) {
        send_garbage();
        hang();
    }
    if (strcmp(r->action, "logged-out") == 0) {
        send_status(0, KD_ERR_SESSION_LOST, "", KD_BYTES_NONE);
        _exit(4);
    }
    if (strcmp(r->action, "error") == 0) {
        reply_error(q->id, err_named(r->arg));
        return false;
    }
    if (strcmp(r->action, "unasked") == 0) {
        reply_error(q->id + 1, KD_OK); // an id that nobody gave
        return false;
    }
    if (strcmp(r->action, "malformed") == 0) { // a good head and no results
        const struct kd_hsm_reply reply = { .id = q->id, .n_items = q->n_items };
        const size_t start = kd_hsm_frame_begin(&f.out);
        kd_hsm_put_reply(&f.out, &reply);
        kd_hsm_frame_end(&f.out, start);
        return false;
    }
    return strcmp(r->action, "made-then-die") == 0;
}

static void serve_frame(struct kd_bytes frame) {
    struct kd_reader in = kd_reader_of(frame);
    static struct kd_hsm_request q;
    static struct kd_hsm_item items[KD_HSM_BATCH_MAX_ITEMS];
    memset(&q, 0, sizeof(q));
    if (kd_hsm_get_request(&in, &q) != KD_OK) {
        note("bad-request", "");
        _exit(95);
    }
    static struct fake_channel_room rooms[KD_HSM_BATCH_MAX_ITEMS];
    for (size_t i = 0; i < q.n_items; i++) {
        fake_channel_give(&rooms[i], &items[i]);
        if (kd_hsm_get_item(&in, q.op, &items[i]) != KD_OK) {
            note("bad-item", kd_hsm_op_name(q.op));
            _exit(96);
        }
    }
    if (kd_reader_finish(&in) != KD_OK) {
        note("bad-end", kd_hsm_op_name(q.op));
        _exit(97);
    }
    note("request", kd_hsm_op_name(q.op));
    if (q.op == KD_HSM_PING) {
        send_status(q.id, KD_OK, "", KD_BYTES_NONE);
        return;
    }
    const struct rule *rule = rule_for(q.op, q.n_items > 0 ? items[0].data : KD_BYTES_NONE);
    if (!follow(rule, &q)) {
        return;
    }
    for (size_t i = 0; q.op == KD_HSM_RECORD_SEAL && i < q.n_items; i++) {
        char at[32];
        const uint8_t *id = items[i].session->cache;
        snprintf(at, sizeof(at), "%02x%02x%02x%02x %d", id[0], id[1], id[2], id[3], (int)getpid());
        note("sealed", at);
    }
    struct kd_hsm_result found = { .err = KD_OK };
    const bool has_found = q.op == KD_HSM_FIND && find(&items[0], &found);
    const struct kd_hsm_reply reply = {
        .id = q.id,
        .token_us = 7,
        .n_items = q.op == KD_HSM_FIND ? (uint16_t)has_found : q.n_items,
    };
    const size_t start = kd_hsm_frame_begin(&f.out);
    kd_hsm_put_reply(&f.out, &reply);
    for (size_t i = 0; i < reply.n_items; i++) {
        struct kd_hsm_result result;
        answer(q.op, &items[i], &result);
        kd_hsm_put_result(&f.out, q.op, q.op == KD_HSM_FIND ? &found : &result);
    }
    kd_hsm_frame_end(&f.out, start);
    if (rule != NULL && strcmp(rule->action, "made-then-die") == 0) {
        _exit(3);
    }
}

int main(void) {
    kd_auto(buf) struct kd_buf in = KD_BUF_INIT(64u << 20);
    f.out = KD_BUF_INIT(64u << 20);
    bool is_greeted = false;
    for (;;) {
        const size_t before = in.n;
        uint8_t *at = kd_buf_extend(&in, 65536);
        const ssize_t got = at == NULL ? -1 : read(STREAM, at, 65536);
        if (got <= 0) {
            return 0;
        }
        in.n = before + (size_t)got;
        struct kd_bytes frame;
        size_t taken = 0;
        while (kd_hsm_frame_next(kd_buf_get(&in), &frame, &taken) == KD_OK && taken > 0) {
            if (!is_greeted) {
                struct kd_hsm_hello hello = { 0 };
                struct kd_reader r = kd_reader_of(frame);
                if (kd_hsm_get_hello(&r, &hello) != KD_OK) {
                    return 98;
                }
                read_script(hello.module);
                note("hello", f.start);
                start(&hello);
                is_greeted = true;
            } else {
                serve_frame(frame);
            }
            kd_buf_drop_front(&in, taken);
        }
        flush();
    }
}
