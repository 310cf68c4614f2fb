// SPDX-License-Identifier: Apache-2.0
// The worker: each allocation of each request fails in turn, on the fake module and, where records
// and handshakes are concerned, on SoftHSM.  Who asks is told that there is no memory, in a reply
// that is whole, or gets none and the worker ends; nothing stays in the token or in the lists of
// the worker; and the next request succeeds.
#include "failing_memory.h"
#include "fake_fixture.h"
#include "hsm/serve.h"
#include "hsm_channel_peer.h"
#include "token_fixture.h"
#include "unit.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

KD_AUTO_DEFINE_IN_PLACE(meeting, struct meeting, meeting_wipe)

// ---- what the linker gives us ----------------------------------------------

enum kd_err __real_kd_exec_request(struct kd_session *s, struct kd_bytes frame, struct kd_buf *out);
enum kd_err __wrap_kd_exec_request(struct kd_session *s, struct kd_bytes frame, struct kd_buf *out);

static bool is_served; // by kd_serve, which lacks memory as a whole

// The worker alone lacks memory; the test around it, which plays the front, does not.
enum kd_err __wrap_kd_exec_request(struct kd_session *s, struct kd_bytes frame,
                                   struct kd_buf *out) {
    if (is_served) {
        return __real_kd_exec_request(s, frame, out);
    }
    memory_resume();
    const enum kd_err r = __real_kd_exec_request(s, frame, out);
    memory_pause();
    return r;
}

// What is only kept ready can be done without.
static void expect(enum kd_err r, unsigned turn) {
    const bool fails = memory_has_failed();
    ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                  kd_err_name(r));
}

// ---- keys and secrets ------------------------------------------------------

static const char text[] = "some text";

static struct kd_session *first(void) {
    return &hf.sessions[0];
}

static enum kd_err op_sign(void) {
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(call) struct call_result verdict = { 0 };
    enum kd_err r = call_sign(first(), &hf.signer, kd_bytes_of_text(text), &c);
    const struct kd_hsm_request q = {
        .op = KD_HSM_VERIFY, .n_keys = 1, .keys = { hf.signer.ref }, .hash = KD_HASH_SHA256
    };
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(text), .tag = c.result.out };
    return r == KD_OK ? call_exec(first(), &q, &item, &verdict) : r;
}

static enum kd_err op_mac(void) {
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(call) struct call_result verdict = { 0 };
    enum kd_err r = call_mac(first(), &hf.mac_key, NULL, kd_bytes_of_text(text), &c);
    const struct kd_hsm_request q = { .op = KD_HSM_MAC_VERIFY,
                                      .n_keys = 1,
                                      .keys = { hf.mac_key.ref } };
    const struct kd_hsm_item item = { .data = kd_bytes_of_text(text), .tag = c.result.out };
    return r == KD_OK ? call_exec(first(), &q, &item, &verdict) : r;
}

static enum kd_err seal_and_open(const struct call_key *key, const struct kd_recipe *by) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result opened = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    enum kd_err r = call_encrypt(first(), key, by, data, data, &sealed);
    if (r == KD_OK) {
        r = call_decrypt(first(), key, by, sealed.result.iv, sealed.result.out, data, &opened);
    }
    ck_assert(r != KD_OK || kd_bytes_equal(opened.result.out, data));
    return r;
}

static enum kd_err op_encrypt_decrypt(void) {
    return seal_and_open(&hf.aes_key, NULL);
}

static enum kd_err op_rewrap(void) {
    kd_auto(call) struct call_result sealed = { 0 };
    kd_auto(call) struct call_result again = { 0 };
    const struct kd_bytes data = kd_bytes_of_text(text);
    const enum kd_err r = call_encrypt(first(), &hf.aes_key, NULL, data, data, &sealed);
    return r == KD_OK ? call_rewrap(first(), &hf.aes_key, &hf.aes_key, sealed.result.iv,
                                    sealed.result.out, data, &again)
                      : r;
}

// More of them than are kept, so that one gives way.
static enum kd_err op_secrets(void) {
    struct kd_recipe recipe = hf.recipe;
    enum kd_err r = KD_OK;
    for (uint8_t i = 0; i < 4 && r == KD_OK; i++) {
        recipe.id[0] = i;
        r = seal_and_open(NULL, &recipe);
    }
    for (uint8_t i = 0; i < 4 && r == KD_OK; i++) {
        recipe.id[0] = i;
        r = call_forget(first(), &recipe);
    }
    return r;
}

static enum kd_err op_derive(void) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = { .op = KD_HSM_DERIVE };
    const struct kd_hsm_item item = { .recipe = hf.recipe };
    const enum kd_err r = call_exec(first(), &q, &item, &c);
    return r == KD_OK ? call_forget(first(), &hf.recipe) : r;
}

static enum kd_err op_release(void) {
    kd_auto(call) struct call_result c = { 0 };
    return call_release(first(), &hf.recipe, &c);
}

static enum kd_err op_random(void) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = { .op = KD_HSM_RANDOM };
    const struct kd_hsm_item item = { .n = 4096 };
    return call_exec(first(), &q, &item, &c);
}

static enum kd_err op_find(void) {
    kd_auto(call) struct call_result c = { 0 };
    const enum kd_err r = call_find_all(first(), "pkcs11:object=test", &c);
    ck_assert(r != KD_OK || c.head.n_items == 5);
    return r;
}

// A key that could not be told of is not there.
static enum kd_err op_generate(void) {
    struct call_key key;
    enum kd_err r = call_generate(first(), KD_KEY_EC_P256, KD_USE_SIGN, 9, &key);
    if (r != KD_OK || (r = call_destroy(first(), &key)) == KD_OK) {
        return r;
    }
    ck_assert_err(call_destroy(first(), &key), KD_OK);
    return r;
}

static const struct {
    const char *name;
    enum kd_err (*fn)(void);
} operations[] = {
    { "sign and verify", op_sign },
    { "mac and mac-verify", op_mac },
    { "encrypt and decrypt", op_encrypt_decrypt },
    { "encrypt and rewrap", op_rewrap },
    { "secrets", op_secrets },
    { "derive", op_derive },
    { "release", op_release },
    { "random", op_random },
    { "find", op_find },
    { "generate and destroy", op_generate },
};

START_TEST(an_operation_is_done_or_there_is_no_memory) {
    unsigned turn = 0;
    hsm_fixture_setup();
    const unsigned n_keys = fake_count().token_objects;
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        const enum kd_err r = operations[_i].fn();
        memory_resume();
        expect(r, turn);
        const struct fake_counts c = fake_count();
        ck_assert_uint_eq(c.active, 0);
        ck_assert_uint_eq(c.sessions, SESSIONS);
        ck_assert_msg(c.token_objects == n_keys, "%s, turn %u: %u objects", operations[_i].name,
                      turn, c.token_objects);
        ck_assert_uint_eq(c.session_objects, kd_cached_count(&hf.token));
        // What the worker keeps ready would find its memory already.
        kd_objects_wipe(&hf.token);
        for (uint8_t i = 0; i < 8; i++) {
            struct kd_recipe recipe = hf.recipe;
            recipe.id[0] = i;
            memory_pause();
            ck_assert_err(call_forget(first(), &recipe), KD_OK);
            memory_resume();
        }
    }
    ck_assert_uint_gt(turn, 1);
    hsm_fixture_teardown();
}
END_TEST

static TCase *tcase_operations(void) {
    TCase *c = tcase_create("operations");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, an_operation_is_done_or_there_is_no_memory, 0, KD_COUNT_OF(operations));
    return c;
}

// ---- the channel -----------------------------------------------------------

static enum kd_err drop(struct meeting *m) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = ask_of(m, KD_HSM_HS_DROP);
    struct kd_hsm_handshake h = { .id = "meeting" };
    const struct kd_hsm_item item = { .handshake = &h };
    return call_exec(token_session(), &q, &item, &c);
}

static enum kd_err each_record_way(struct meeting *m) {
    kd_auto(call) struct call_result c = { 0 };
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(KD_RECORD_MAX_BYTES);
    const struct kd_record_end end = client_end(m);
    const struct kd_record record = { KD_RECORD_DATA, kd_bytes_of_text(text) };
    ck_assert_err(
        kd_record_seal(&end, 0, kd_clock_wall_ms(), kd_bytes_of_text("header"), &record, &b),
        KD_OK);
    enum kd_err r = ask_seal(m, 0, kd_bytes_of_text(text), &c);
    if (r == KD_OK) {
        r = ask_open(m, kd_buf_get(&b), &c);
    }
    ck_assert(r != KD_OK || kd_bytes_equal(c.result.out, kd_bytes_of_text(text)));
    return r;
}

static enum kd_err read_ticket(struct meeting *m) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = ask_of(m, KD_HSM_TICKET_READ);
    const struct kd_hsm_item item = { .data = m->session.ticket };
    return call_exec(token_session(), &q, &item, &c);
}

static enum kd_err update_ticket(struct meeting *m) {
    kd_auto(call) struct call_result c = { 0 };
    const struct kd_hsm_request q = ask_of(m, KD_HSM_TICKET_UPDATE);
    struct kd_hsm_session_terms next = m->terms;
    const struct kd_hsm_item item = { .session = &m->session,
                                      .terms = &next,
                                      .data = kd_bytes_of_text("\x01") };
    next.update = 1;
    return call_exec(token_session(), &q, &item, &c);
}

static enum kd_err release(struct meeting *m) {
    kd_auto(call) struct call_result c = { 0 };
    struct kd_hsm_request q = ask_of(m, KD_HSM_SESSION_RELEASE);
    const struct kd_hsm_item item = { .session = &m->session };
    q.n_keys = 1;
    return m->profile == KD_PROFILE_RELEASED ? call_exec(token_session(), &q, &item, &c) : KD_OK;
}

// All that a worker does for a session, from the session's first message on.
static enum kd_err live(struct meeting *m) {
    enum kd_err r;
    if ((r = meeting_try(m)) != KD_OK || (r = each_record_way(m)) != KD_OK ||
        (r = read_ticket(m)) != KD_OK || (r = update_ticket(m)) != KD_OK) {
        return r;
    }
    return release(m);
}

static const struct {
    int method;
    enum kd_profile profile;
    bool is_reverse;
} lives[] = {
    { 0, KD_PROFILE_RESIDENT, false },
    { 3, KD_PROFILE_RESIDENT, false },
    { 0, KD_PROFILE_RELEASED, true },
};

START_TEST(a_session_lives_or_there_is_no_memory) {
    kd_auto(meeting) struct meeting m = { .method = lives[_i].method,
                                          .suite = 3,
                                          .profile = lives[_i].profile,
                                          .is_reverse = lives[_i].is_reverse };
    struct kd_token *t = &token_opened()->token;
    unsigned turn = 0;
    meeting_init(&m, token_session());
    for (; memory_fails_at(turn); turn++) {
        memory_pause();
        const enum kd_err r = live(&m);
        memory_resume();
        expect(r, turn);
        memory_pause();
        ck_assert_err(drop(&m), KD_OK); // of one that has begun
        const struct kd_bytes kept = { m.session.cache, sizeof(m.session.cache) };
        kd_traffic_cache_forget(token_session(), kept);
        kd_objects_wipe(t);
        ck_assert_uint_eq(kd_map_count(&t->handshakes), 0);
        ck_assert_uint_eq(kd_traffic_cache_count(t), 0);
        meeting_again(&m);
        memory_resume();
    }
    ck_assert_uint_gt(turn, 20);
}
END_TEST

START_TEST(an_envelope_is_opened_or_there_is_no_memory) {
    struct call_key key;
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(1000);
    kd_auto(hpke) struct kd_hpke *h = NULL;
    const struct kd_keys keys = { &kd_keyops_openssl, NULL };
    struct kd_point point;
    unsigned turn = 0;
    ck_assert_err(call_generate(token_session(), KD_KEY_EC_P256, KD_USE_DERIVE, 5, &key), KD_OK);
    ck_assert_err(kd_point_read(KD_CURVE_P256, key.ref.proof, &point), KD_OK);
    ck_assert_err(
        kd_hpke_new_sender(&keys, &point, KD_BYTES_NONE, kd_buf_extend(&b, KD_HPKE_ENC_BYTES), &h),
        KD_OK);
    ck_assert_err(kd_hpke_seal(h, KD_BYTES_NONE, kd_bytes_of_text(text), &b), KD_OK);
    const struct kd_hsm_request q = { .op = KD_HSM_ENVELOPE_OPEN,
                                      .n_keys = 1,
                                      .keys = { key.ref } };
    const struct kd_hsm_item item = { .data = kd_buf_get(&b) };
    for (; memory_fails_at(turn); turn++) {
        kd_auto(call) struct call_result c = { 0 };
        memory_pause();
        const enum kd_err r = call_exec(token_session(), &q, &item, &c);
        memory_resume();
        expect(r, turn);
        ck_assert(r != KD_OK || kd_bytes_equal(c.result.out, kd_bytes_of_text(text)));
        kd_objects_wipe(&token_opened()->token);
    }
    ck_assert_uint_gt(turn, 3);
}
END_TEST

static TCase *tcase_channel(void) {
    TCase *c = tcase_create("channel");
    tcase_add_checked_fixture(c, token_setup, token_teardown);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, a_session_lives_or_there_is_no_memory, 0, KD_COUNT_OF(lives));
    tcase_add_test(c, an_envelope_is_opened_or_there_is_no_memory);
    return c;
}

// ---- the start -------------------------------------------------------------

static void setup_closed(void) {
    kd_log_set_level(KD_LOG_ERROR);
    token_make();
}

START_TEST(a_token_is_opened_or_there_is_no_memory) {
    static struct kd_opened opened;
    const struct kd_hsm_hello hello = token_hello();
    unsigned turn = 0;
    for (; memory_fails_at(turn); turn++) {
        struct kd_hsm_status status;
        const enum kd_err r = kd_open(&hello, true, &opened);
        kd_open_status(&opened, r, &status);
        const bool fails = memory_has_failed();
        // Some can be done without: what a probe could not try counts as lacking.
        ck_assert_msg(r == KD_OK || (fails && r == KD_ERR_NO_MEMORY), "turn %u: %s", turn,
                      kd_err_name(r));
        ck_assert(r != KD_OK || (opened.threads == hello.threads && status.refused_pin.n == 0));
        kd_close(&opened);
    }
    ck_assert_uint_gt(turn, 5);
}
END_TEST

// A hello and a request, and then the front is gone.
static void write_requests(int fd) {
    kd_auto(buf) struct kd_buf b = KD_BUF_INIT(65536);
    struct kd_hsm_hello hello = token_hello();
    const struct kd_hsm_request q = { .op = KD_HSM_RANDOM, .id = 7, .n_items = 1 };
    const struct kd_hsm_item item = { .n = 32 };
    hello.threads = 1;
    size_t at = kd_hsm_frame_begin(&b);
    kd_hsm_put_hello(&b, &hello);
    kd_hsm_frame_end(&b, at);
    at = kd_hsm_frame_begin(&b);
    kd_hsm_put_request(&b, &q);
    kd_hsm_put_item(&b, q.op, &item);
    kd_hsm_frame_end(&b, at);
    ck_assert_err(kd_buf_finish(&b), KD_OK);
    ck_assert_int_eq(send(fd, b.p, b.n, MSG_NOSIGNAL), (ssize_t)b.n);
    shutdown(fd, SHUT_WR);
}

// How many frames came, each of them whole.
static size_t read_replies(int fd) {
    static uint8_t bytes[1 << 17];
    struct kd_bytes rest = { bytes, 0 };
    size_t n_frames = 0;
    for (ssize_t n = 1; n > 0; rest.n += n > 0 ? (size_t)n : 0) {
        n = recv(fd, bytes + rest.n, sizeof(bytes) - rest.n, 0);
    }
    while (rest.n > 0) {
        struct kd_bytes frame;
        size_t size = 0;
        ck_assert_err(kd_hsm_frame_next(rest, &frame, &size), KD_OK);
        ck_assert_uint_gt(size, 0);
        rest = (struct kd_bytes) { rest.p + size, rest.n - size };
        n_frames++;
    }
    return n_frames;
}

START_TEST(a_worker_serves_or_ends) {
    unsigned turn = 0;
    is_served = true;
    for (; memory_fails_at(turn); turn++) {
        int pair[2];
        memory_pause();
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        write_requests(pair[0]);
        memory_resume();
        const enum kd_worker_exit reason = kd_serve(pair[1]);
        const bool fails = memory_has_failed();
        close(pair[1]);
        const size_t n_frames = read_replies(pair[0]);
        close(pair[0]);
        ck_assert_msg(n_frames <= 2 && (fails || n_frames == 2), "turn %u: %zu frames", turn,
                      n_frames);
        ck_assert_msg(
            reason == KD_WORKER_EXIT_CLOSED ||
                (fails && (reason == KD_WORKER_EXIT_STREAM || reason == KD_WORKER_EXIT_REFUSED)),
            "turn %u: %d", turn, (int)reason);
        ck_assert(reason != KD_WORKER_EXIT_CLOSED || n_frames == 2);
    }
    ck_assert_uint_gt(turn, 10);
}
END_TEST

static TCase *tcase_start(void) {
    TCase *c = tcase_create("start");
    tcase_add_checked_fixture(c, setup_closed, token_remove);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_token_is_opened_or_there_is_no_memory);
    tcase_add_test(c, a_worker_serves_or_ends);
    return c;
}

TOKEN_MAIN(TOKEN_SOFTHSM, "hsm memory", tcase_operations(), tcase_channel(), tcase_start())
