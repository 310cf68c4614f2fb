// SPDX-License-Identifier: Apache-2.0
// peer.c: a device with a software key, for the system tests of the channel.  It
// reads a command a line from stdin and answers with a line: "ok ...", "err NAME".
// Bytes are in hexadecimal, "-" is none.  It does what it is told, also what is
// wrong (a sequence number twice, another time), so that the server can be tried.
//
//   own KEY.pem CERT.der NAME             its credential, and how it is named: chain, x5t,
//                                         x5t+URI, URI, raw:ID_CRED (bytes)
//   own KEY.pem CRED kid:HEX              the same of a public key alone: the CBOR item
//   ask FORM HASH                         how the server shall name itself (EAD_1); 0: no wish
//   ride LABEL VALUE                      another item of EAD on the next message that it writes,
//                                         critical below 0: ok
//   named                                 ok ID_CRED, how the server has named itself
//   server CERT.der POINT                 the server's certificate, and its public key
//   begin METHOD SUITES                   handshake as initiator: ok MESSAGE_1
//   await METHOD SUITES                   as responder, the server initiates: ok
//   read MESSAGE                          ok NEXT_MESSAGE|- ID|-, the id when it is done
//   seal TYPE SEQUENCE SHIFT_MS AAD BODY  ok RECORD
//   seals FIRST N BYTES FILE              N records of so many zeros, from sequence number FIRST
//                                         on, into the file, each after its length (u32): ok
//   open AAD RECORD                       ok TYPE SEQUENCE BODY
//   attach CLIENT_NONCE NODE_NONCE        the keys of a resumed session: ok
//   update NUMBER                         EDHOC_KeyUpdate: ok
//   terms                                 ok SERVER_TIME_MS LIFETIME_SEC PROFILE DIGITS STEP WINDOW
//   otp DIGITS STEP WINDOW                do as if the server had said so: ok
//   take ID KEYS DIGITS STEP WINDOW       be a message server instead, with the keys (c2s, s2c,
//                                         otp, both IVs) that keyd released: ok
//   connection                            ok the server's connection identifier
#include "channel/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_MAX_BYTES = 400000,
    FILE_MAX_BYTES = 8000,
    WORDS_MAX = 8,
    EAD_LABEL = 32768,
    PROFILE_RESIDENT = 1,
    LAST_MESSAGE = 4,
};

struct device {
    struct kd_buf own_cert, own_cred, own_id, server_cert, server_cred;
    struct kd_identity identity;
    struct kd_point server_point;
    struct kd_edhoc *edhoc;
    bool is_initiator;
    uint64_t wish; // form of the server's ID_CRED
    int64_t wish_hash;
    int64_t rider; // label of another item; 0: none
    struct kd_buf rider_value;
    struct kd_buf server_id;
    int message; // the last that was written or read
    // the session
    struct kd_secret *prk_out;
    enum kd_md md;
    uint64_t time_ms, lifetime_sec, profile;
    uint8_t id[KD_RECORD_ID_MAX_BYTES];
    size_t n_id;
    uint8_t nonces[2][KD_SESSION_NONCE_MAX_BYTES]; // of the attachment: client's, node's
    size_t n_nonces[2];
    struct kd_key32 share;
    struct kd_soft_traffic traffic;
    struct kd_record_ivs ivs;
    struct kd_otp_params otp;
    bool is_server;
};

static struct device d;
static char *words[WORDS_MAX];
static size_t n_words;

// ---- words and bytes -------------------------------------------------------

static struct kd_bytes bytes_of(const char *word) {
    static uint8_t room[4][LINE_MAX_BYTES / 2];
    static size_t next;
    uint8_t *to = room[next++ % KD_COUNT_OF(room)];
    const size_t n = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
    if (n > 0 && kd_hex_decode(word, to, n) != KD_OK) {
        fprintf(stderr, "peer: not hexadecimal: %.20s\n", word);
        exit(1);
    }
    return (struct kd_bytes) { to, n };
}

static void print_bytes(struct kd_bytes b) {
    printf(" ");
    for (size_t i = 0; i < b.n; i++) {
        printf("%02x", b.p[i]);
    }
    if (b.n == 0) {
        printf("-");
    }
}

// For commands that have nothing else to say.
static enum kd_err said_ok(enum kd_err r) {
    if (r == KD_OK) {
        printf("ok");
    }
    return r;
}

static enum kd_err read_file(const char *path, struct kd_buf *out) {
    kd_buf_wipe(out);
    *out = KD_BUF_INIT(FILE_MAX_BYTES);
    FILE *f = fopen(path, "rb");
    uint8_t *to = kd_buf_extend(out, FILE_MAX_BYTES);
    if (f == NULL || to == NULL) {
        return KD_ERR_NO_FILE;
    }
    out->n = fread(to, 1, FILE_MAX_BYTES, f);
    fclose(f);
    return KD_OK;
}

static struct kd_suites suites_of(const char *word) {
    struct kd_suites list = { 0 };
    for (const char *p = word; p != NULL && list.n < KD_SUITES_MAX; p = strchr(p, ',')) {
        p += *p == ',' ? 1 : 0;
        list.ids[list.n++] = (int)strtol(p, NULL, 10);
    }
    return list;
}

// ---- credentials -----------------------------------------------------------

static enum kd_err put_name(const char *name, struct kd_bytes cert) {
    if (strncmp(name, "raw:", 4) == 0) {
        const struct kd_bytes raw = bytes_of(name + 4);
        kd_buf_put(&d.own_id, raw.p, raw.n);
    } else if (strncmp(name, "kid:", 4) == 0) {
        kd_idcred_put_kid(&d.own_id, bytes_of(name + 4));
    } else if (strncmp(name, "x5t+", 4) == 0) {
        return kd_idcred_put_x5u_x5t(&d.own_id, kd_bytes_of_text(name + 4), KD_COSE_SHA256, cert);
    } else if (strcmp(name, "chain") == 0) {
        kd_idcred_put_x5chain(&d.own_id, &cert, 1);
    } else if (strcmp(name, "x5t") == 0) {
        return kd_idcred_put_x5t(&d.own_id, KD_COSE_SHA256, cert);
    } else {
        kd_idcred_put_x5u(&d.own_id, kd_bytes_of_text(name));
    }
    return KD_OK;
}

static enum kd_err own(void) {
    kd_auto(buf) struct kd_buf key = KD_BUF_INIT(FILE_MAX_BYTES);
    struct kd_point point;
    const uint64_t old_key = d.identity.key;
    enum kd_err r;
    if ((r = read_file(words[1], &key)) != KD_OK ||
        (r = kd_openssl_key_load(kd_buf_get(&key), &d.identity.key)) != KD_OK ||
        (r = kd_openssl_key_point(d.identity.key, &point)) != KD_OK ||
        (r = read_file(words[2], &d.own_cert)) != KD_OK) {
        return r;
    }
    const struct kd_bytes cert = kd_buf_get(&d.own_cert);
    kd_keyops_openssl.destroy(NULL, old_key);
    kd_buf_reset(&d.own_id);
    kd_buf_reset(&d.own_cred);
    r = put_name(words[3], cert);
    if (strncmp(words[3], "kid:", 4) == 0) {
        kd_buf_put(&d.own_cred, cert.p, cert.n);
    } else {
        kd_cred_put_certificate(&d.own_cred, cert);
    }
    d.identity.curve = point.curve;
    d.identity.id_cred = kd_buf_get(&d.own_id);
    d.identity.cred = kd_buf_get(&d.own_cred);
    return said_ok(r);
}

static enum kd_err server(void) {
    enum kd_err r = read_file(words[1], &d.server_cert);
    kd_buf_reset(&d.server_cred);
    kd_cred_put_certificate(&d.server_cred, kd_buf_get(&d.server_cert));
    const struct kd_bytes point = bytes_of(words[2]);
    const enum kd_curve curve =
        point.n == kd_point_bytes(KD_CURVE_P256) ? KD_CURVE_P256 : KD_CURVE_P384;
    return said_ok(r == KD_OK ? kd_point_read(curve, point, &d.server_point) : r);
}

static enum kd_err find_server(void *arg KD_UNUSED, const struct kd_idcred *id,
                               struct kd_peer *peer) {
    kd_buf_reset(&d.server_id);
    kd_buf_put(&d.server_id, id->encoded.p, id->encoded.n);
    *peer = (struct kd_peer) { d.server_point, kd_buf_get(&d.server_cred) };
    return kd_idcred_fits(id, peer->cred);
}

// ---- handshake -------------------------------------------------------------

static enum kd_err open_handshake(bool is_initiator) {
    kd_edhoc_free(d.edhoc);
    d.edhoc = NULL;
    d.message = 0;
    d.is_initiator = is_initiator;
    const unsigned method = (unsigned)strtoul(words[1], NULL, 10);
    d.identity.is_static_dh = (method & (is_initiator ? 2u : 1u)) != 0;
    const struct kd_edhoc_config config = {
        .role = is_initiator ? KD_EDHOC_INITIATOR : KD_EDHOC_RESPONDER,
        .keys = { &kd_keyops_openssl, NULL },
        .identities = &d.identity,
        .n_identities = 1,
        .methods = 1u << method,
        .suites = suites_of(words[2]),
        .conn_id = kd_bytes_of_text("7"),
        .ead_labels = { 1, { EAD_LABEL } },
        .ead_messages = 1u << 3 | 1u << 4, // of the server's last message
        .keep_ephemeral = true,
    };
    return kd_edhoc_new(&config, &d.edhoc);
}

static void put_item(struct kd_ead *ead, int64_t label, struct kd_bytes value) {
    ead->items[ead->n++] = (struct kd_ead_item) { .label = label < 0 ? -label : label,
                                                  .is_critical = label<0, .has_value = value.n> 0,
                                                  .value = value };
}

static enum kd_err write_message(int n, struct kd_buf *out) {
    kd_auto(buf) struct kd_buf wish = KD_BUF_INIT(32);
    kd_cbor_put_array(&wish, d.wish_hash == 0 ? 1 : 2);
    kd_cbor_put_uint(&wish, d.wish);
    if (d.wish_hash != 0) {
        kd_cbor_put_int(&wish, d.wish_hash);
    }
    struct kd_ead ead = { .n = 0 };
    if (n == 1 && d.wish != 0) {
        put_item(&ead, EAD_LABEL, kd_buf_get(&wish));
    }
    if (d.rider != 0) {
        put_item(&ead, d.rider, kd_buf_get(&d.rider_value));
    }
    d.message = n;
    d.rider = 0;
    switch (n) {
    case 1:
        return kd_edhoc_write_1(d.edhoc, &ead, out);
    case 2:
        return kd_edhoc_write_2(d.edhoc, &ead, out);
    case 3:
        return kd_edhoc_write_3(d.edhoc, &ead, out);
    default:
        return kd_edhoc_write_4(d.edhoc, &ead, out);
    }
}

static enum kd_err read_message(int n, struct kd_bytes message) {
    enum kd_err r = KD_OK;
    switch (n) {
    case 1:
        return kd_edhoc_read_1(d.edhoc, message);
    case 2:
        r = kd_edhoc_read_2(d.edhoc, message);
        break;
    case 3:
        r = kd_edhoc_read_3(d.edhoc, message);
        break;
    default:
        return kd_edhoc_read_4(d.edhoc, message);
    }
    return r == KD_OK ? kd_edhoc_authenticate_by(d.edhoc, find_server, NULL) : r;
}

// ---- the session -----------------------------------------------------------

// The attachment stays the same over a key update.
static bool set_attachment(struct kd_bytes client_nonce, struct kd_bytes node_nonce) {
    const struct kd_bytes nonces[] = { client_nonce, node_nonce };
    for (size_t i = 0; i < KD_COUNT_OF(nonces); i++) {
        if (nonces[i].n > sizeof(d.nonces[i])) {
            return false;
        }
        memcpy(d.nonces[i], nonces[i].p, nonces[i].n);
        d.n_nonces[i] = nonces[i].n;
    }
    return true;
}

static enum kd_err make_keys(void) {
    kd_auto(secret) struct kd_secret *s = NULL;
    enum kd_err r;
    if ((r = kd_secret_new(kd_md_bytes(d.md), &s)) != KD_OK ||
        (r = kd_exporter_export(d.md, d.prk_out, KD_SESSION_EXPORT_LABEL, KD_BYTES_NONE, s)) !=
            KD_OK) {
        return r;
    }
    const struct kd_attachment attachment = { { d.nonces[0], d.n_nonces[0] },
                                              { d.nonces[1], d.n_nonces[1] } };
    kd_soft_traffic_init(&d.traffic, d.profile == PROFILE_RESIDENT ? &d.share : NULL);
    return kd_schedule_run(d.md, s, &attachment, kd_soft_traffic_install, &d.traffic, &d.ivs);
}

static enum kd_err make_share(struct kd_bytes root) {
    struct kd_point point;
    uint64_t secret = KD_HANDLE_NONE;
    enum kd_err r;
    if ((r = kd_point_read(kd_edhoc_suite(d.edhoc)->curve, root, &point)) != KD_OK ||
        (r = kd_edhoc_share(d.edhoc, &point, &secret)) != KD_OK) {
        return r;
    }
    r = kd_openssl_secret_share(secret, &d.share);
    kd_keyops_openssl.destroy(NULL, secret);
    return r;
}

// What the server says of the session: on message_4, or message_3 where it initiates.
static enum kd_err take_terms(void) {
    const struct kd_ead_item *item = kd_ead_get(kd_edhoc_ead(d.edhoc), EAD_LABEL);
    if (item == NULL) {
        return KD_ERR_HS_EAD;
    }
    struct kd_cbor c = kd_cbor_of(item->value);
    const size_t n = kd_cbor_read_array(&c);
    d.time_ms = kd_cbor_read_uint(&c);
    const struct kd_bytes id = kd_cbor_read_bytes(&c);
    d.lifetime_sec = kd_cbor_read_uint(&c);
    d.profile = kd_cbor_read_uint(&c);
    struct kd_bytes root = KD_BYTES_NONE;
    if (n >= 6) {
        (void)kd_cbor_read_uint(&c);
        root = kd_cbor_read_bytes(&c);
    }
    d.otp = n % 2 == 0 ? KD_OTP_DEFAULT : kd_otp_params_read(&c);
    enum kd_err r = kd_cbor_finish(&c);
    if (r != KD_OK || id.n > sizeof(d.id) || id.n == 0) {
        return KD_ERR_HS_EAD;
    }
    memcpy(d.id, id.p, id.n);
    d.n_id = id.n;
    return d.profile == PROFILE_RESIDENT ? make_share(root) : KD_OK;
}

static enum kd_err take_session(void) {
    d.md = kd_edhoc_suite(d.edhoc)->md;
    kd_secret_free(d.prk_out);
    d.prk_out = NULL;
    enum kd_err r = kd_edhoc_take_prk_out(d.edhoc, &d.prk_out);
    d.n_nonces[0] = d.n_nonces[1] = 0;
    return r == KD_OK ? make_keys() : r;
}

// ---- commands --------------------------------------------------------------

static enum kd_err begin(void) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    enum kd_err r = open_handshake(true);
    if (r != KD_OK || (r = write_message(1, &out)) != KD_OK) {
        return r;
    }
    printf("ok");
    print_bytes(kd_buf_get(&out));
    return KD_OK;
}

static enum kd_err await(void) {
    return said_ok(open_handshake(false));
}

static enum kd_err read_next(void) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_EDHOC_MESSAGE_MAX_BYTES);
    const int n = d.message + 1;
    const int with_terms = d.is_initiator ? 4 : 3;
    enum kd_err r = d.edhoc == NULL ? KD_ERR_HS_STATE : read_message(n, bytes_of(words[1]));
    if (r != KD_OK) {
        return r;
    }
    d.message = n;
    if ((n == with_terms && (r = take_terms()) != KD_OK) ||
        (n < LAST_MESSAGE && (r = write_message(n + 1, &out)) != KD_OK)) {
        return r;
    }
    const bool is_done = d.message == LAST_MESSAGE;
    if (is_done && (r = take_session()) != KD_OK) {
        return r;
    }
    printf("ok");
    print_bytes(kd_buf_get(&out));
    print_bytes((struct kd_bytes) { d.id, is_done ? d.n_id : 0 });
    return KD_OK;
}

static struct kd_record_end end_of_session(void) {
    return (struct kd_record_end) {
        .ops = &kd_traffic_ops_soft,
        .ctx = &d.traffic,
        .is_client = !d.is_server,
        .id = { d.id, d.n_id },
        .ivs = d.ivs,
        .otp = d.otp,
    };
}

static enum kd_err seal(void) {
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_record_end end = end_of_session();
    const struct kd_record record = { (enum kd_record_type)strtoul(words[1], NULL, 10),
                                      bytes_of(words[5]) };
    const uint64_t now_ms = kd_clock_wall_ms() + (uint64_t)strtoll(words[3], NULL, 10);
    enum kd_err r = kd_record_seal(&end, strtoull(words[2], NULL, 10), now_ms, bytes_of(words[4]),
                                   &record, &out);
    if (r == KD_OK) {
        printf("ok");
        print_bytes(kd_buf_get(&out));
    }
    return r;
}

static enum kd_err seals(void) {
    static const uint8_t zeros[KD_RECORD_MAX_BYTES];
    const struct kd_record_end end = end_of_session();
    const uint64_t first = strtoull(words[1], NULL, 10);
    const uint64_t n = strtoull(words[2], NULL, 10);
    const size_t n_body = strtoul(words[3], NULL, 10);
    const struct kd_record record = { .body = { zeros, n_body } };
    FILE *f = fopen(words[4], "wb");
    enum kd_err r = f == NULL || n_body > sizeof(zeros) ? KD_ERR_NO_FILE : KD_OK;
    kd_auto(buf) struct kd_buf out = KD_BUF_INIT(KD_RECORD_MAX_BYTES + 4);
    for (uint64_t i = 0; r == KD_OK && i < n; i++) {
        kd_auto(buf) struct kd_buf one = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
        r = kd_record_seal(&end, first + i, kd_clock_wall_ms(), KD_BYTES_NONE, &record, &one);
        kd_buf_reset(&out);
        kd_buf_block32(&out, kd_buf_get(&one));
        if (r == KD_OK && fwrite(out.p, 1, out.n, f) != out.n) {
            r = KD_ERR_SYSTEM;
        }
    }
    if (f != NULL && fclose(f) != 0) {
        r = KD_ERR_SYSTEM;
    }
    return said_ok(r);
}

static enum kd_err open_record(void) {
    kd_auto(buf) struct kd_buf text = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_record_end end = end_of_session();
    struct kd_record_head head;
    struct kd_record record;
    enum kd_err r = kd_record_parse(bytes_of(words[2]), &head);
    if (r != KD_OK || (r = kd_record_open(&end, &head, bytes_of(words[1]), kd_clock_wall_ms(),
                                          &text, &record)) != KD_OK) {
        return r;
    }
    printf("ok %d %llu", (int)record.type, (unsigned long long)head.sequence);
    print_bytes(record.body);
    return KD_OK;
}

static enum kd_err attach(void) {
    return said_ok(set_attachment(bytes_of(words[1]), bytes_of(words[2])) ? make_keys()
                                                                          : KD_ERR_FIELD_INVALID);
}

static enum kd_err update(void) {
    kd_auto(buf) struct kd_buf context = KD_BUF_INIT(16);
    kd_cbor_put_uint(&context, strtoull(words[1], NULL, 10));
    enum kd_err r = kd_exporter_update(d.md, d.prk_out, kd_buf_get(&context));
    return said_ok(r == KD_OK ? make_keys() : r);
}

static enum kd_err ask(void) {
    d.wish = strtoull(words[1], NULL, 10);
    d.wish_hash = strtoll(words[2], NULL, 10);
    return said_ok(KD_OK);
}

static enum kd_err ride(void) {
    const struct kd_bytes value = bytes_of(words[2]);
    d.rider = strtoll(words[1], NULL, 10);
    kd_buf_reset(&d.rider_value);
    kd_buf_put(&d.rider_value, value.p, value.n);
    return said_ok(kd_buf_finish(&d.rider_value));
}

static enum kd_err named(void) {
    printf("ok");
    print_bytes(kd_buf_get(&d.server_id));
    return KD_OK;
}

static enum kd_err terms(void) {
    printf("ok %llu %llu %llu %u %u %u", (unsigned long long)d.time_ms,
           (unsigned long long)d.lifetime_sec, (unsigned long long)d.profile, d.otp.digits,
           d.otp.step_sec, d.otp.window);
    return KD_OK;
}

static enum kd_err take_otp(char *const *from) {
    d.otp = (struct kd_otp_params) { (uint8_t)strtoul(from[0], NULL, 10),
                                     (uint16_t)strtoul(from[1], NULL, 10),
                                     (uint8_t)strtoul(from[2], NULL, 10) };
    return said_ok(kd_otp_params_are_valid(&d.otp) ? KD_OK : KD_ERR_FIELD_INVALID);
}

static enum kd_err otp(void) {
    return take_otp(&words[1]);
}

static enum kd_err take(void) {
    const struct kd_bytes id = bytes_of(words[1]);
    const struct kd_bytes keys = bytes_of(words[2]);
    struct kd_reader in = kd_reader_of(keys);
    if (id.n == 0 || id.n > sizeof(d.id) ||
        keys.n != sizeof(d.traffic.keys) + sizeof(d.ivs.c2s) + sizeof(d.ivs.s2c)) {
        return KD_ERR_FIELD_INVALID;
    }
    memcpy(d.id, id.p, id.n);
    d.n_id = id.n;
    kd_soft_traffic_init(&d.traffic, NULL);
    memcpy(d.traffic.keys, kd_read_bytes(&in, sizeof(d.traffic.keys)).p, sizeof(d.traffic.keys));
    memcpy(d.ivs.c2s, kd_read_bytes(&in, sizeof(d.ivs.c2s)).p, sizeof(d.ivs.c2s));
    memcpy(d.ivs.s2c, kd_read_bytes(&in, sizeof(d.ivs.s2c)).p, sizeof(d.ivs.s2c));
    d.is_server = true;
    return take_otp(&words[3]);
}

static enum kd_err connection(void) {
    printf("ok");
    print_bytes(kd_edhoc_peer_conn_id(d.edhoc));
    return KD_OK;
}

static const struct command {
    const char *name;
    size_t n_words;
    enum kd_err (*fn)(void);
} commands[] = {
    { "own", 4, own },       { "server", 3, server },    { "begin", 3, begin },
    { "await", 3, await },   { "seal", 6, seal },        { "read", 2, read_next },
    { "seals", 5, seals },   { "open", 3, open_record }, { "terms", 1, terms },
    { "attach", 3, attach }, { "update", 2, update },    { "ask", 3, ask },
    { "ride", 3, ride },     { "named", 1, named },      { "connection", 1, connection },
    { "take", 6, take },     { "otp", 4, otp },
};

static void run_line(char *line) {
    n_words = 0;
    for (char *w = strtok(line, " \n"); w != NULL && n_words < WORDS_MAX; w = strtok(NULL, " \n")) {
        words[n_words++] = w;
    }
    for (size_t i = 0; i < KD_COUNT_OF(commands); i++) {
        if (n_words == commands[i].n_words && strcmp(words[0], commands[i].name) == 0) {
            const enum kd_err r = commands[i].fn();
            if (r != KD_OK) {
                printf("err %s", kd_err_name(r));
            }
            printf("\n");
            fflush(stdout);
            return;
        }
    }
    printf("err command\n");
    fflush(stdout);
}

int main(void) {
    static char line[LINE_MAX_BYTES];
    d.own_cert = d.own_cred = d.own_id = KD_BUF_INIT(FILE_MAX_BYTES);
    d.server_cert = d.server_cred = d.server_id = d.rider_value = KD_BUF_INIT(FILE_MAX_BYTES);
    d.otp = KD_OTP_DEFAULT;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        run_line(line);
    }
    kd_edhoc_free(d.edhoc);
    kd_secret_free(d.prk_out);
    kd_keyops_openssl.destroy(NULL, d.identity.key);
    kd_buf_wipe(&d.own_cert);
    kd_buf_wipe(&d.own_cred);
    kd_buf_wipe(&d.own_id);
    kd_buf_wipe(&d.server_cert);
    kd_buf_wipe(&d.server_cred);
    kd_buf_wipe(&d.server_id);
    kd_buf_wipe(&d.rider_value);
    kd_soft_traffic_wipe(&d.traffic);
    kd_key32_wipe(&d.share);
    return 0;
}
