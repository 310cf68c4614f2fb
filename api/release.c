// SPDX-License-Identifier: Apache-2.0
// release.c: POST /v1/sessions/{id}/release: the traffic keys of a session for a
// message server that seals and opens by itself.  The answer is wiped with the request.
#include "api/channel.h"
#include "api/route.h"

enum { ANSWER_BYTES = 2048 }; // more than the longest

static void put_number(struct kd_buf *out, const char *name, uint64_t n) {
    kd_json_member(out, name);
    kd_json_put_number(out, n);
}

static void put_bytes(struct kd_buf *out, const char *name, struct kd_bytes b) {
    kd_json_member(out, name);
    kd_json_put_bytes(out, b);
}

static void open_object(struct kd_buf *out, const char *name) {
    kd_json_member(out, name);
    kd_buf_u8(out, '{');
}

static void put_keys(struct kd_buf *out, const struct kd_released *r) {
    open_object(out, "keys");
    put_bytes(out, "c2s", r->keys[KD_TRAFFIC_C2S]);
    put_bytes(out, "s2c", r->keys[KD_TRAFFIC_S2C]);
    put_bytes(out, "otp", r->keys[KD_TRAFFIC_OTP]);
    kd_buf_u8(out, '}');
    open_object(out, "ivs");
    put_bytes(out, "c2s", r->iv_c2s);
    put_bytes(out, "s2c", r->iv_s2c);
    kd_buf_u8(out, '}');
}

static void put_state(struct kd_buf *out, const struct kd_released *r) {
    put_number(out, "send_next", r->send_next);
    if (r->has_received) {
        open_object(out, "window");
        put_number(out, "highest", r->received_top);
        put_bytes(out, "seen", r->received);
        kd_buf_u8(out, '}');
    } else {
        kd_json_member(out, "window");
        kd_buf_text(out, "null");
    }
    open_object(out, "left");
    put_number(out, "milliseconds", r->left_ms);
    put_number(out, "records", r->records_left);
    put_number(out, "bytes", r->bytes_left);
    kd_buf_u8(out, '}');
    open_object(out, "otp");
    put_number(out, "digits", r->otp.digits);
    put_number(out, "step", r->otp.step_sec);
    put_number(out, "window", r->otp.window);
    kd_buf_u8(out, '}');
}

static void on_released(void *arg, enum kd_err err, const char *detail,
                        const struct kd_released *r) {
    struct kd_request *q = arg;
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    (void)kd_buf_extend(&q->out, ANSWER_BYTES); // all at once: growing would leave keys behind
    q->out.n = 0;
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "session");
    kd_session_put(&q->out, &r->session);
    kd_json_member(&q->out, "role");
    kd_json_put_text(&q->out, r->is_client ? "client" : "server");
    put_keys(&q->out, r);
    put_state(&q->out, r);
    kd_buf_u8(&q->out, '}');
    kd_request_end(q, 200);
}

enum kd_err kd_handle_session_release(struct kd_request *q) {
    const struct kd_json_in in = kd_channel_input(q);
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, NULL, 0);
    if (err != KD_OK || (err = kd_request_hold(q, ANSWER_BYTES)) != KD_OK) {
        return err;
    }
    return kd_channel_wait(
        q, kd_channel_release(q->http->service, &q->caller, q->name, on_released, q));
}
