// SPDX-License-Identifier: Apache-2.0
// devices.c: the handlers of /v1/devices, for operators of the bootstrap server.
#include "api/json_in.h"
#include "api/jwk.h"
#include "api/page.h"
#include "api/route.h"

#include "keyd/bootstrap.h"

#include <stdio.h>
#include <stdlib.h>

static enum kd_err told(struct kd_request *q, enum kd_err err) {
    if (err == KD_ERR_CONFIG) {
        kd_request_say(q,
                       "There is no bootstrap server: keyd.conf(5) names no key for it (ca.key).");
    } else if (err == KD_ERR_TOO_MANY) {
        kd_request_say(q, "There are as many devices as ca.devices-max of keyd.conf(5) allows, "
                          "revoked ones too.");
    }
    return err;
}

static enum kd_err wait_for(struct kd_request *q, enum kd_err err) {
    if (err == KD_OK) {
        q->state = KD_REQUEST_WAITING;
    }
    return told(q, err);
}

// ---- writing ---------------------------------------------------------------

static void put_device(struct kd_buf *out, const struct kd_device_info *d, const char *secret) {
    kd_json_element(out);
    kd_buf_u8(out, '{');
    kd_json_member(out, "id");
    kd_json_put_text(out, d->id);
    if (d->relation[0] != '\0') {
        kd_json_member(out, "relation");
        kd_json_put_text(out, d->relation);
    }
    kd_json_member(out, "usage");
    kd_json_put_text(out, kd_device_usage_name(d->usage));
    kd_json_member(out, "state");
    kd_json_put_text(out, kd_device_state_name(d->state));
    kd_json_member(out, "uri");
    kd_json_put_text(out, d->uri);
    kd_json_member(out, "created");
    kd_json_put_time(out, d->created_ms);
    if (d->secret_until_ms > 0) {
        kd_json_member(out, "secret_expires");
        kd_json_put_time(out, d->secret_until_ms);
    }
    if (secret[0] != '\0') {
        kd_json_member(out, "secret");
        kd_json_put_text(out, secret);
    }
    if (d->certificate.n > 0) {
        kd_json_member(out, "serial");
        kd_json_put_text(out, d->serial);
        kd_json_member(out, "not_before");
        kd_json_put_time(out, d->from_ms);
        kd_json_member(out, "not_after");
        kd_json_put_time(out, d->upto_ms);
        kd_json_member(out, "certificate");
        kd_certificate_pem_write(out, d->certificate);
    }
    kd_buf_u8(out, '}');
}

static void finish(struct kd_request *q, enum kd_err err, const char *detail,
                   const struct kd_device_info *device, const char *secret, unsigned status) {
    if (err != KD_OK) {
        kd_request_refuse(q, err, detail);
        return;
    }
    if (device != NULL) {
        put_device(&q->out, device, secret);
    }
    kd_request_end(q, status);
}

static void on_made(void *arg, enum kd_err err, const char *detail,
                    const struct kd_device_info *device, const char *secret) {
    struct kd_request *q = arg;
    if (err == KD_OK) {
        snprintf(q->location, sizeof(q->location), "/v1/devices/%s", device->id);
    }
    finish(q, err, detail, device, secret, 201);
}

static void on_changed(void *arg, enum kd_err err, const char *detail,
                       const struct kd_device_info *device, const char *secret) {
    finish(arg, err, detail, device, secret, 200);
}

static void on_deleted(void *arg, enum kd_err err, const char *detail,
                       const struct kd_device_info *device KD_UNUSED,
                       const char *secret KD_UNUSED) {
    finish(arg, err, detail, NULL, "", 204);
}

// ---- reading ---------------------------------------------------------------

static struct kd_json_in input(struct kd_request *q) {
    return (struct kd_json_in) { .object = q->json.root, .arena = &q->arena, .why = &q->why };
}

static enum kd_err read_name(const struct kd_json_in *in, const char *member, bool needed,
                             const char **out) {
    enum kd_err err = kd_json_text(in, member, needed, out);
    return err == KD_OK && *out != NULL && !kd_name_is_valid(kd_bytes_of_text(*out))
               ? kd_json_blame(in, member, KD_ERR_BAD_NAME, "")
               : err;
}

static enum kd_err read_lifetime(const struct kd_json_in *in, uint32_t *out) {
    return kd_json_number(in, "secret_lifetime", false, 1, 31536000, out);
}

// Of what the service has refused: whether that was why, which is told then.
static bool is_too_long(struct kd_request *q, const struct kd_json_in *in, uint32_t lifetime_sec) {
    const uint32_t max = kd_bootstrap_secret_lifetime_max(q->http->service);
    char detail[128];
    if (lifetime_sec <= max) {
        return false;
    }
    snprintf(detail, sizeof(detail),
             "At most %u seconds are expected (ca.secret-lifetime-max of keyd.conf(5)).",
             (unsigned)max);
    (void)kd_json_blame(in, "secret_lifetime", KD_ERR_FIELD_INVALID, detail);
    return true;
}

static enum kd_err read_usage(const struct kd_json_in *in, enum kd_device_usage *out) {
    const char *text = "sign";
    enum kd_err err = kd_json_text(in, "usage", false, &text);
    return err == KD_OK && !kd_device_usage_parse(text, out)
               ? kd_json_blame(in, "usage", KD_ERR_FIELD_INVALID, "sign or agree is expected.")
               : err;
}

enum kd_err kd_handle_device_new(struct kd_request *q) {
    static const char *const names[] = { "id", "relation", "usage", "secret_lifetime" };
    const struct kd_json_in in = input(q);
    struct kd_device_spec spec = { .id = NULL };
    enum kd_err err;
    if ((err = kd_json_only(&in, names, KD_COUNT_OF(names))) != KD_OK ||
        (err = read_name(&in, "id", true, &spec.id)) != KD_OK ||
        (err = read_name(&in, "relation", false, &spec.relation)) != KD_OK ||
        (err = read_usage(&in, &spec.usage)) != KD_OK ||
        (err = read_lifetime(&in, &spec.secret_lifetime_sec)) != KD_OK) {
        return err;
    }
    err = kd_bootstrap_enrol(q->http->service, &q->caller, &spec, on_made, q);
    if (err == KD_ERR_FIELD_INVALID && !is_too_long(q, &in, spec.secret_lifetime_sec)) {
        err = kd_json_blame(&in, "id", err, "The URI of its certificate would be too long.");
    }
    return wait_for(q, err);
}

enum kd_err kd_handle_device_secret(struct kd_request *q) {
    static const char *const names[] = { "secret_lifetime" };
    const struct kd_json_in in = input(q);
    uint32_t lifetime_sec = 0;
    if (q->json.root != NULL) {
        enum kd_err err = kd_json_only(&in, names, KD_COUNT_OF(names));
        if (err != KD_OK || (err = read_lifetime(&in, &lifetime_sec)) != KD_OK) {
            return err;
        }
    }
    const enum kd_err err =
        kd_bootstrap_new_secret(q->http->service, &q->caller, q->name, lifetime_sec, on_changed, q);
    (void)(err == KD_ERR_FIELD_INVALID && is_too_long(q, &in, lifetime_sec));
    return wait_for(q, err);
}

enum kd_err kd_handle_device_revoke(struct kd_request *q) {
    const struct kd_json_in in = input(q);
    enum kd_err err = q->json.root == NULL ? KD_OK : kd_json_only(&in, NULL, 0);
    if (err != KD_OK) {
        return err;
    }
    return wait_for(q, kd_bootstrap_revoke(q->http->service, &q->caller, q->name, on_changed, q));
}

enum kd_err kd_handle_device_delete(struct kd_request *q) {
    const enum kd_err err =
        wait_for(q, kd_bootstrap_delete(q->http->service, &q->caller, q->name, on_deleted, q));
    if (err == KD_ERR_TOO_MANY) { // what is told of other requests is not so here
        kd_request_say(q, "As many ids of deleted devices are kept as may be: ten for each of "
                          "ca.devices-max (keyd.conf(5)).");
    }
    return err;
}

// ---- looking ---------------------------------------------------------------

enum kd_err kd_handle_device_show(struct kd_request *q) {
    struct kd_device_info device;
    enum kd_err err = told(q, kd_bootstrap_device(q->http->service, &q->caller, q->name, &device));
    if (err != KD_OK) {
        return err;
    }
    put_device(&q->out, &device, "");
    kd_request_answer(q, 200);
    return KD_OK;
}

static enum kd_err read_state(struct kd_request *q, enum kd_device_state *room,
                              const enum kd_device_state **out) {
    const char *name = MHD_lookup_connection_value(q->mhd, MHD_GET_ARGUMENT_KIND, "state");
    if (name != NULL && !kd_device_state_parse(name, room)) {
        snprintf(q->why.field, sizeof(q->why.field), "state");
        kd_request_say(q, "enrolled, active or revoked is expected.");
        return KD_ERR_FIELD_INVALID;
    }
    *out = name == NULL ? NULL : room;
    return KD_OK;
}

enum kd_err kd_handle_device_list(struct kd_request *q) {
    struct kd_page page;
    struct kd_bootstrap_info ca;
    enum kd_device_state state;
    const enum kd_device_state *only = NULL;
    enum kd_err err = told(q, kd_bootstrap_show(q->http->service, &q->caller, &ca));
    err = err == KD_ERR_DENIED ? KD_OK : err; // then the list is empty
    if (err != KD_OK || (err = kd_page_read(q, &page)) != KD_OK ||
        (err = read_state(q, &state, &only)) != KD_OK) {
        return err;
    }
    struct kd_device_info *devices = calloc(page.limit + 1, sizeof(*devices));
    q->work = devices; // freed with the request
    if (devices == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    const size_t n = kd_bootstrap_devices(q->http->service, &q->caller, page.after, only, devices,
                                          page.limit + 1);
    const size_t shown = n > page.limit ? page.limit : n;
    kd_buf_text(&q->out, "{\"devices\":[");
    for (size_t i = 0; i < shown; i++) {
        put_device(&q->out, &devices[i], "");
    }
    kd_buf_u8(&q->out, ']');
    kd_page_put_next(&q->out, n > shown ? devices[shown - 1].id : NULL);
    kd_buf_u8(&q->out, '}');
    kd_request_answer(q, 200);
    return KD_OK;
}
