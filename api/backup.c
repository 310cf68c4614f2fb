// SPDX-License-Identifier: Apache-2.0
// backup.c: POST /v1/backup.  The copy is a file of keyd's own user; it does not come here.
#include "api/json_in.h"
#include "api/route.h"

static void on_copied(void *arg, enum kd_err err, const char *detail,
                      const struct kd_backup_info *info) {
    struct kd_request *q = arg;
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "file");
    kd_json_put_text(&q->out, info->file);
    kd_json_member(&q->out, "bytes");
    kd_json_put_number(&q->out, info->n_bytes);
    kd_buf_u8(&q->out, '}');
    kd_request_end(q, 200);
}

enum kd_err kd_handle_backup(struct kd_request *q) {
    const struct kd_json_in in = { .object = q->json.root, .arena = &q->arena, .why = &q->why };
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, NULL, 0);
    if (err != KD_OK ||
        (err = kd_service_backup(q->http->service, &q->caller, on_copied, q)) != KD_OK) {
        kd_request_say(q, err == KD_ERR_BUSY ? "Another copy is being made." : "");
        return err;
    }
    q->state = KD_REQUEST_WAITING;
    return KD_OK;
}
