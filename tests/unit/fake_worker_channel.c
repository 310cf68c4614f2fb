// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/fake_worker_channel.h"

#include <string.h>
#include <unistd.h>

enum { HANDSHAKES_MAX = 64, OUT_MAX = 1 << 18 };

static struct {
    bool is_used, is_initiator;
    uint8_t id[KD_HSM_HANDSHAKE_ID_BYTES];
} handshakes[HANDSHAKES_MAX];

static struct kd_buf out, ticket;

void fake_channel_give(struct fake_channel_room *room, struct kd_hsm_item *item) {
    *room = (struct fake_channel_room) { .terms = { .id = { 0 } } };
    room->handshake.terms = &room->terms;
    *item = (struct kd_hsm_item) { .handshake = &room->handshake,
                                   .session = &room->session,
                                   .terms = &room->terms };
}

// ---- the peer's side too ---------------------------------------------------

void fake_tag(struct kd_bytes of, struct kd_bytes client_nonce, struct kd_bytes node_nonce,
              uint8_t tag[static FAKE_TAG_BYTES]) {
    const struct kd_bytes parts[] = { of, client_nonce, node_nonce };
    uint8_t digest[KD_MD_MAX_BYTES];
    if (kd_host_hash(KD_MD_SHA256, parts, 3, digest) != KD_OK) {
        _exit(88);
    }
    memcpy(tag, digest, FAKE_TAG_BYTES);
}

void fake_record(struct kd_buf *to, struct kd_bytes session, uint64_t sequence,
                 const uint8_t tag[static FAKE_TAG_BYTES], uint8_t type, struct kd_bytes body) {
    static const uint8_t protected[] = { 0xa1, 0x01, 0x03 };
    uint8_t iv[8];
    size_t n = 0;
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t byte = (uint8_t)(sequence >> (56 - 8 * i));
        if (byte != 0 || n > 0 || i == 7) {
            iv[n++] = byte;
        }
    }
    kd_cbor_put_array(to, 3);
    kd_cbor_put_bytes(to, (struct kd_bytes) { protected, sizeof(protected) });
    kd_cbor_put_map(to, 2);
    kd_cbor_put_uint(to, 4);
    kd_cbor_put_bytes(to, session);
    kd_cbor_put_uint(to, 6);
    kd_cbor_put_bytes(to, (struct kd_bytes) { iv, n });
    kd_cbor_put_bytes_head(to, FAKE_TAG_BYTES + 1 + body.n);
    kd_buf_put(to, tag, FAKE_TAG_BYTES);
    kd_buf_u8(to, type);
    kd_buf_put(to, body.p, body.n);
}

// ---- tickets ---------------------------------------------------------------

static void put_ticket(const struct kd_hsm_session_terms *t) {
    kd_buf_reset(&ticket);
    kd_buf_text(&ticket, "T:");
    kd_buf_put(&ticket, t->id, sizeof(t->id));
    kd_buf_u8(&ticket, (uint8_t)t->profile);
    kd_buf_u64(&ticket, t->created_ms);
    kd_buf_u64(&ticket, t->expires_ms);
    kd_buf_u64(&ticket, t->records_max);
    kd_buf_u64(&ticket, t->bytes_max);
    kd_buf_u32(&ticket, t->update);
    kd_buf_u32(&ticket, t->root_version);
    kd_buf_u8(&ticket, t->otp.digits);
    kd_buf_u16(&ticket, t->otp.step_sec);
    kd_buf_u8(&ticket, t->otp.window);
    kd_buf_block8(&ticket, t->peer);
    kd_buf_u8(&ticket, t->is_stranger ? 1 : 0);
    kd_buf_put(&ticket, t->stranger, sizeof(t->stranger));
}

static bool read_ticket(struct kd_bytes from, struct kd_hsm_session_terms *t) {
    struct kd_reader r = kd_reader_of(from);
    *t = (struct kd_hsm_session_terms) { .id = { 0 } };
    const bool is_one = kd_bytes_equal(kd_read_bytes(&r, 2), kd_bytes_of_text("T:"));
    const struct kd_bytes id = kd_read_bytes(&r, sizeof(t->id));
    if (id.n == sizeof(t->id)) {
        memcpy(t->id, id.p, id.n);
    }
    t->profile = (enum kd_profile)kd_read_u8(&r);
    t->created_ms = kd_read_u64(&r);
    t->expires_ms = kd_read_u64(&r);
    t->records_max = kd_read_u64(&r);
    t->bytes_max = kd_read_u64(&r);
    t->update = kd_read_u32(&r);
    t->root_version = kd_read_u32(&r);
    t->otp.digits = kd_read_u8(&r);
    t->otp.step_sec = kd_read_u16(&r);
    t->otp.window = kd_read_u8(&r);
    t->peer = kd_read_block8(&r);
    t->is_stranger = kd_read_u8(&r) == 1;
    const struct kd_bytes stranger = kd_read_bytes(&r, sizeof(t->stranger));
    if (stranger.n == sizeof(t->stranger)) {
        memcpy(t->stranger, stranger.p, stranger.n);
    }
    return is_one && kd_reader_finish(&r) == KD_OK;
}

// ---- handshakes ------------------------------------------------------------

static int find(const uint8_t *id) {
    for (int i = 0; i < HANDSHAKES_MAX; i++) {
        if (handshakes[i].is_used && memcmp(handshakes[i].id, id, sizeof(handshakes[i].id)) == 0) {
            return i;
        }
    }
    return -1;
}

static void start(const struct kd_hsm_handshake *h, struct kd_hsm_result *result) {
    int i = 0;
    while (handshakes[i].is_used) {
        i = (i + 1) % HANDSHAKES_MAX;
    }
    handshakes[i].is_used = true;
    handshakes[i].is_initiator = h->is_initiator;
    memcpy(handshakes[i].id, h->id, sizeof(h->id));
    kd_buf_text(&out, h->is_initiator ? "m1" : "m2");
    result->suite = 3;
}

static void fail(int i, enum kd_err err, struct kd_hsm_result *result) {
    handshakes[i].is_used = false;
    kd_buf_text(&out, "error");
    result->err = err;
}

static void step(enum kd_hsm_op op, const struct kd_hsm_handshake *h,
                 struct kd_hsm_result *result) {
    const int i = find(h->id);
    if (i < 0) {
        result->err = KD_ERR_NO_HANDSHAKE;
    } else if (op == KD_HSM_HS_READ && kd_bytes_equal(h->message, kd_bytes_of_text("early"))) {
        result->err = KD_ERR_HS_STATE;
    } else if (op == KD_HSM_HS_READ && (h->message.n < 3 || memcmp(h->message.p, "id", 2) != 0)) {
        fail(i, KD_ERR_HS_MESSAGE, result);
    } else if (op == KD_HSM_HS_READ) {
        result->id_cred = (struct kd_bytes) { h->message.p + 2, h->message.n - 2 };
        result->suite = 3;
        result->method = handshakes[i].is_initiator ? 1 : 2;
    } else if (op == KD_HSM_HS_FINISH) {
        kd_buf_text(&out, handshakes[i].is_initiator ? "m3" : "m4");
        kd_buf_put(&out, h->ead.p, h->ead.n);
    }
    const bool is_last = op == KD_HSM_HS_DROP || op == KD_HSM_HS_CONFIRM ||
                         (op == KD_HSM_HS_FINISH && i >= 0 && !handshakes[i].is_initiator);
    if (i >= 0 && is_last) {
        handshakes[i].is_used = false;
    }
    if (i >= 0 && is_last && op != KD_HSM_HS_DROP) {
        put_ticket(h->terms);
        result->ticket = kd_buf_get(&ticket);
    }
}

// ---- records ---------------------------------------------------------------

static void seal(const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_hsm_session_terms terms;
    uint8_t tag[FAKE_TAG_BYTES];
    if (!read_ticket(item->session->ticket, &terms)) {
        result->err = KD_ERR_TICKET;
        return;
    }
    fake_tag(item->session->ticket, item->session->client_nonce, item->session->node_nonce, tag);
    fake_record(&out, (struct kd_bytes) { terms.id, sizeof(terms.id) }, item->sequence, tag,
                item->record_type, item->data);
}

static void open_record(const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_record_head head;
    uint8_t tag[FAKE_TAG_BYTES];
    fake_tag(item->session->ticket, item->session->client_nonce, item->session->node_nonce, tag);
    if (kd_record_parse(item->data, &head) != KD_OK || head.ciphertext.n <= FAKE_TAG_BYTES) {
        result->err = KD_ERR_RECORD_FORM;
    } else if (memcmp(head.ciphertext.p, tag, FAKE_TAG_BYTES) != 0) {
        result->err = KD_ERR_NOT_AUTHENTIC;
    } else {
        result->which = head.ciphertext.p[FAKE_TAG_BYTES];
        kd_buf_put(&out, head.ciphertext.p + FAKE_TAG_BYTES + 1,
                   head.ciphertext.n - FAKE_TAG_BYTES - 1);
        result->err = kd_bytes_equal(kd_buf_get(&out), kd_bytes_of_text("wrong code"))
                          ? KD_ERR_RECORD_OTP
                          : KD_OK;
    }
}

// Keys of which the peer's side can tell whose they are: the tag, many times.
static void release(const struct kd_hsm_item *item, struct kd_hsm_result *result) {
    struct kd_hsm_session_terms terms;
    uint8_t tag[FAKE_TAG_BYTES];
    fake_tag(item->session->ticket, item->session->client_nonce, item->session->node_nonce, tag);
    if (!read_ticket(item->session->ticket, &terms)) {
        result->err = KD_ERR_TICKET;
        return;
    }
    while (out.n < KD_HSM_RELEASED_BYTES) {
        const size_t left = KD_HSM_RELEASED_BYTES - out.n;
        kd_buf_put(&out, tag, left < sizeof(tag) ? left : sizeof(tag));
    }
}

bool fake_channel_answer(enum kd_hsm_op op, const struct kd_hsm_item *item,
                         struct kd_hsm_result *result) {
    static struct kd_hsm_session_terms terms;
    out.max = OUT_MAX;
    ticket.max = OUT_MAX;
    kd_buf_reset(&out);
    *result = (struct kd_hsm_result) { .err = KD_OK };
    if (op == KD_HSM_HS_START) {
        start(item->handshake, result);
    } else if (op > KD_HSM_HS_START && op <= KD_HSM_HS_DROP) {
        step(op, item->handshake, result);
    } else if (op == KD_HSM_RECORD_SEAL) {
        seal(item, result);
    } else if (op == KD_HSM_RECORD_OPEN) {
        open_record(item, result);
    } else if (op == KD_HSM_TICKET_READ) {
        result->err = read_ticket(item->data, &terms) ? KD_OK : KD_ERR_TICKET;
        result->terms = &terms;
    } else if (op == KD_HSM_TICKET_UPDATE) {
        put_ticket(item->terms);
        kd_buf_put(&out, ticket.p, ticket.n);
    } else if (op == KD_HSM_SESSION_RELEASE) {
        release(item, result);
    } else {
        return false;
    }
    result->out = kd_buf_get(&out);
    return true;
}
