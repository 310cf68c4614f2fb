// SPDX-License-Identifier: Apache-2.0
// test_api_openapi.c: the description and the routes say the same.
#include "api/openapi.h"

#include "api/problem.h"
#include "api/route.h"

#include "tests/unit/unit.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static json_t *doc;

static void setup(void) {
    json_error_t error;
    doc = json_loads(kd_openapi_json, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(doc != NULL, "%d: %s", error.line, error.text);
}

static void teardown(void) {
    json_decref(doc);
}

static json_t *operation_of(const struct kd_route *r) {
    char method[8] = "";
    for (size_t i = 0; r->method[i] != '\0'; i++) {
        method[i] = (char)(r->method[i] | 0x20);
    }
    return json_object_get(json_object_get(json_object_get(doc, "paths"), r->path), method);
}

static json_t *resolve(const char *ref) {
    char text[128];
    snprintf(text, sizeof(text), "%s", ref);
    json_t *at = doc;
    char *rest = NULL;
    ck_assert_str_eq(strtok_r(text, "/", &rest), "#");
    for (char *part = strtok_r(NULL, "/", &rest); part != NULL; part = strtok_r(NULL, "/", &rest)) {
        at = json_object_get(at, part);
    }
    return at;
}

START_TEST(every_route_is_described) {
    for (size_t i = 0; i < kd_route_count(); i++) {
        const struct kd_route *r = kd_route_at(i);
        // What devices are served is EST's and docs/certificates.md's.
        ck_assert_msg((operation_of(r) != NULL) == !r->is_for_devices,
                      "%s %s: is it described, and should it be?", r->method, r->path);
    }
}
END_TEST

static bool is_route(const char *path, const char *method) {
    for (size_t i = 0; i < kd_route_count(); i++) {
        const struct kd_route *r = kd_route_at(i);
        if (strcmp(r->path, path) == 0 && strcasecmp(r->method, method) == 0) {
            return true;
        }
    }
    return false;
}

START_TEST(nothing_else_is_described) {
    const char *path;
    json_t *item;
    json_object_foreach(json_object_get(doc, "paths"), path, item) {
        const char *method;
        json_t *operation;
        json_object_foreach(item, method, operation) {
            ck_assert_msg(strcmp(method, "parameters") == 0 || is_route(path, method),
                          "%s %s is not a route", method, path);
        }
    }
}
END_TEST

// The routes of the secure channel.
static bool is_channel(const struct kd_route *r) {
    static const char *const heads[] = { "/v1/peers", "/v1/handshakes", "/v1/sessions",
                                         "/v1/records", "/v1/envelopes" };
    for (size_t i = 0; i < KD_COUNT_OF(heads); i++) {
        if (strncmp(r->path, heads[i], strlen(heads[i])) == 0) {
            return true;
        }
    }
    return false;
}

static bool can_channel_answer(const struct kd_route *r, int status) {
    const bool is_post = strcmp(r->method, "POST") == 0;
    const bool is_delete = strcmp(r->method, "DELETE") == 0;
    const bool is_peer = strncmp(r->path, "/v1/peers", 9) == 0;
    const bool is_begin = strcmp(r->path, "/v1/handshakes") == 0;
    const bool is_resume = strcmp(r->path, "/v1/sessions/resume") == 0;
    const bool is_record = strncmp(r->path, "/v1/records", 11) == 0;
    const bool is_envelope_key = strcmp(r->path, "/v1/envelopes/key") == 0;
    const bool is_made = is_post && (strcmp(r->path, "/v1/peers") == 0 || is_begin || is_resume);
    switch (status) {
    case 200:
        return !is_made && !is_delete;
    case 201:
        return is_made;
    case 204:
        return is_delete;
    case 400:
    case 401:
    case 500:
    case 503:
        return true;
    case 403: // a session that is not one's own is not there
        return !r->has_page && r->may[0] != '\0';
    case 404: // a ticket may be of a peer that is gone
        return r->param != KD_PARAM_NONE || is_resume || is_record || is_envelope_key;
    case 409:
        return is_post || (is_delete && is_peer) || strstr(r->path, "/ticket") != NULL ||
               is_envelope_key;
    case 413:
    case 415:
        return r->body != KD_BODY_NONE;
    case 422: // what the peer sends, and tickets
        return is_post && !is_peer && strstr(r->path, "/key-update") == NULL &&
               strstr(r->path, "/release") == NULL && strstr(r->path, "/seal") == NULL;
    case 501:
    case 502:
    case 504:
        return is_post && !is_peer; // peers are a matter of the disk
    default:
        return false;
    }
}

// Of the operators of the bootstrap server: the disk, and for the CA's papers the token.
static bool is_certificates(const struct kd_route *r) {
    return strncmp(r->path, "/v1/devices", 11) == 0 || strncmp(r->path, "/v1/ca", 6) == 0;
}

static bool can_certificates_answer(const struct kd_route *r, int status) {
    const bool is_post = strcmp(r->method, "POST") == 0;
    const bool is_delete = strcmp(r->method, "DELETE") == 0;
    const bool is_enrol = is_post && strcmp(r->path, "/v1/devices") == 0;
    const bool is_paper = strncmp(r->path, "/v1/ca/", 7) == 0;
    switch (status) {
    case 200:
        return !is_enrol && !is_delete;
    case 201:
        return is_enrol;
    case 204:
        return is_delete;
    case 400:
    case 401:
    case 500:
    case 503:
        return true;
    case 403:
        return !r->has_page;
    case 404: // the keys of papers are in the configuration
        return r->param != KD_PARAM_NONE || is_paper;
    case 409:
    case 413: // of a delete: ids of deleted devices
        return is_post || is_delete;
    case 415:
        return is_post;
    case 501:
    case 502:
    case 504:
        return is_paper;
    default:
        return false;
    }
}

// The statuses that a route can answer with, by what it is.
static bool can_answer(const struct kd_route *r, int status) {
    const bool is_post = strcmp(r->method, "POST") == 0;
    const bool is_delete = strcmp(r->method, "DELETE") == 0;
    const bool is_key = strncmp(r->path, "/v1/keys", 8) == 0;
    const bool is_made =
        is_post && (strcmp(r->path, "/v1/keys") == 0 || strstr(r->path, "/rotate") != NULL);
    const bool changes_state =
        strstr(r->path, "/disable") != NULL || strstr(r->path, "/enable") != NULL;
    const bool is_verify = is_key && strstr(r->path, "/verify") != NULL;
    const bool is_alone = strcmp(r->path, "/v1/backup") == 0; // with the store
    const bool waits_for_worker = (is_post && !changes_state && !is_alone) || (is_delete && is_key);
    switch (status) {
    case 200:
        return !is_made && !is_delete;
    case 201:
        return is_made;
    case 204:
        return is_delete;
    case 400:
    case 500:
    case 503:
        return true;
    case 401:
        return !r->is_open;
    case 403: // lists leave out what is not allowed; a secret that is not one's own is not there
        return !r->is_open && !r->has_page && r->may[0] != '\0';
    case 404:
        return r->param != KD_PARAM_NONE || (is_post && strcmp(r->path, "/v1/keys") == 0);
    case 409:
        return (is_post && !is_alone && strcmp(r->path, "/v1/random") != 0) ||
               (is_delete && is_key);
    case 501:
    case 502:
        return waits_for_worker && !is_verify; // which the worker does without the token
    case 504:
        return waits_for_worker;
    case 413:
    case 415:
        return r->body != KD_BODY_NONE;
    case 422:
        return strstr(r->path, "/decrypt") != NULL || strstr(r->path, "/rewrap") != NULL ||
               strstr(r->path, "/ecdh") != NULL;
    default:
        return false;
    }
}

START_TEST(each_status_is_described_and_no_other) {
    for (size_t i = 0; i < kd_route_count(); i++) {
        const struct kd_route *r = kd_route_at(i);
        if (r->is_for_devices) {
            continue;
        }
        const json_t *responses = json_object_get(operation_of(r), "responses");
        for (int status = 100; status < 600; status++) {
            char text[8];
            snprintf(text, sizeof(text), "%d", status);
            const bool is_described = json_object_get(responses, text) != NULL;
            const bool can = is_certificates(r) ? can_certificates_answer(r, status)
                             : is_channel(r)    ? can_channel_answer(r, status)
                                                : can_answer(r, status);
            ck_assert_msg(is_described == can, "%s %s %d", r->method, r->path, status);
        }
    }
}
END_TEST

START_TEST(every_problem_is_described_with_its_status) {
    const json_t *responses = json_object_get(json_object_get(doc, "components"), "responses");
    for (unsigned e = 1; e < KD_ERR_COUNT; e++) {
        char type[128];
        snprintf(type, sizeof(type), KD_PROBLEM_TYPE "%s", kd_err_name((enum kd_err)e));
        unsigned found = 0;
        const char *name;
        json_t *response;
        json_object_foreach((json_t *)(uintptr_t)responses, name, response) {
            const json_t *schema = json_object_get(
                json_object_get(json_object_get(response, "content"), "application/problem+json"),
                "schema");
            const json_t *properties =
                json_object_get(json_array_get(json_object_get(schema, "allOf"), 1), "properties");
            const json_t *types = json_object_get(json_object_get(properties, "type"), "enum");
            for (size_t i = 0; i < json_array_size(types); i++) {
                if (strcmp(json_string_value(json_array_get(types, i)), type) == 0) {
                    found++;
                    ck_assert_int_eq(json_integer_value(json_object_get(
                                         json_object_get(properties, "status"), "const")),
                                     kd_problem_status((enum kd_err)e));
                }
            }
        }
        ck_assert_msg(found == 1, "%s stands %u times", type, found);
    }
}
END_TEST

static void check_refs(const json_t *v) {
    const char *name;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)v, name, child) {
        if (strcmp(name, "$ref") == 0) {
            ck_assert_msg(resolve(json_string_value(child)) != NULL, "%s",
                          json_string_value(child));
        }
        check_refs(child);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        check_refs(json_array_get(v, i));
    }
}

START_TEST(references_lead_somewhere) {
    check_refs(doc);
}
END_TEST

START_TEST(bodies_permissions_and_callers_are_described) {
    for (size_t i = 0; i < kd_route_count(); i++) {
        const struct kd_route *r = kd_route_at(i);
        if (r->is_for_devices) {
            continue;
        }
        const json_t *operation = operation_of(r);
        const json_t *body = json_object_get(operation, "requestBody");
        ck_assert_msg((body != NULL) == (r->body != KD_BODY_NONE), "%s", r->path);
        ck_assert_msg(body == NULL || json_is_true(json_object_get(body, "required")) ==
                                          (r->body == KD_BODY_NEEDED),
                      "%s", r->path);
        const json_t *media = json_object_get(body, "content");
        ck_assert_msg(json_object_size(media) ==
                          (body == NULL ? 0u : 1u + (r->raw != NULL) + r->may_be_cbor),
                      "%s", r->path);
        ck_assert_msg(r->raw == NULL || json_object_get(media, r->raw) != NULL, "%s", r->path);
        ck_assert_msg(!r->may_be_cbor || json_object_get(media, KD_MEDIA_CBOR_SEQUENCE) != NULL,
                      "%s", r->path);
        const json_t *security = json_object_get(operation, "security");
        ck_assert_msg((security != NULL) == r->is_open, "%s", r->path);
        const char *description = json_string_value(json_object_get(operation, "description"));
        ck_assert_msg((description != NULL) == (r->may[0] != '\0'), "%s", r->path);
        ck_assert_msg(description == NULL || strstr(description, r->may) != NULL, "%s", r->path);
        const size_t n = json_array_size(json_object_get(operation, "parameters"));
        ck_assert_uint_eq(n, r->has_state ? 3 : r->has_page ? 2 : 0);
    }
}
END_TEST

static TCase *tcase_openapi(void) {
    TCase *c = tcase_create("openapi");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, every_route_is_described);
    tcase_add_test(c, nothing_else_is_described);
    tcase_add_test(c, each_status_is_described_and_no_other);
    tcase_add_test(c, every_problem_is_described_with_its_status);
    tcase_add_test(c, references_lead_somewhere);
    tcase_add_test(c, bodies_permissions_and_callers_are_described);
    return c;
}

UNIT_MAIN("api_openapi", tcase_openapi())
