// SPDX-License-Identifier: Apache-2.0
// ca.c: the handlers of /v1/ca: the CA's own papers.
#include "api/json_in.h"
#include "api/jwk.h"
#include "api/route.h"

#include "ca/ca.h"
#include "keyd/bootstrap.h"

#include <string.h>

enum { SUBJECT_MAX_BYTES = 64, PEM_MAX_BYTES = 16384 }; // RFC 5280, ub-common-name

static enum kd_err told(struct kd_request *q, enum kd_err err) {
    if (err == KD_ERR_CONFIG) {
        kd_request_say(q, "There is no CA: keyd.conf(5) names no key for it (ca.key).");
    } else if (err == KD_ERR_OWN_CERTIFICATE) {
        kd_request_say(
            q,
            "The CA has no certificate that can be used now, see keyd's log: where there is none, "
            "keydctl ca init makes one.");
    }
    return err;
}

enum kd_err kd_handle_ca_show(struct kd_request *q) {
    struct kd_bootstrap_info ca;
    const enum kd_err err = told(q, kd_bootstrap_show(q->http->service, &q->caller, &ca));
    if (err != KD_OK) {
        return err;
    }
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, "key");
    kd_json_put_text(&q->out, ca.key);
    kd_json_member(&q->out, "server");
    kd_json_put_text(&q->out, ca.server);
    kd_json_member(&q->out, "base_uri");
    kd_json_put_text(&q->out, ca.base_uri);
    kd_json_member(&q->out, "devices");
    kd_json_put_number(&q->out, ca.n_devices);
    kd_json_member(&q->out, "certificates");
    kd_buf_u8(&q->out, '[');
    for (size_t i = 0; i < ca.n_certificates; i++) {
        kd_json_element(&q->out);
        kd_certificate_pem_write(&q->out, ca.certificates[i]);
    }
    kd_buf_u8(&q->out, ']');
    if (ca.n_certificates > 0) {
        kd_json_member(&q->out, "not_before");
        kd_json_put_time(&q->out, ca.from_ms);
        kd_json_member(&q->out, "not_after");
        kd_json_put_time(&q->out, ca.upto_ms);
    }
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}

static void on_made(void *arg, enum kd_err err, const char *detail, struct kd_bytes der) {
    struct kd_request *q = arg;
    const bool is_request = q->route->operation == KD_PAPER_REQUEST;
    kd_auto(buf) struct kd_buf pem = KD_BUF_INIT(PEM_MAX_BYTES);
    const char *text = "";
    if (err == KD_OK) {
        kd_ca_put_pem(&pem, is_request ? "CERTIFICATE REQUEST" : "CERTIFICATE", der);
        text = kd_buf_get_text(&pem);
        err = kd_buf_finish(&pem);
    }
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    kd_buf_u8(&q->out, '{');
    kd_json_member(&q->out, is_request ? "request" : "certificate");
    kd_json_put_text(&q->out, text);
    kd_buf_u8(&q->out, '}');
    kd_request_end(q, 200);
}

enum kd_err kd_handle_ca_make(struct kd_request *q) {
    const struct kd_json_in in = { .object = q->json.root, .arena = &q->arena, .why = &q->why };
    const enum kd_bootstrap_paper paper = (enum kd_bootstrap_paper)q->route->operation;
    const bool has_subject = paper != KD_PAPER_SERVER;
    static const char *const names[] = { "subject" };
    const char *subject = "";
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, names, has_subject ? 1 : 0);
    if (err != KD_OK ||
        (has_subject && (err = kd_json_text(&in, "subject", true, &subject)) != KD_OK)) {
        return err;
    }
    if (has_subject && (subject[0] == '\0' || strlen(subject) > SUBJECT_MAX_BYTES)) {
        return kd_json_blame(&in, "subject", KD_ERR_FIELD_INVALID,
                             "A common name of 1 to 64 bytes is expected.");
    }
    err = told(q, kd_bootstrap_make(q->http->service, &q->caller, paper, subject, on_made, q));
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    }
    return err;
}
