// SPDX-License-Identifier: Apache-2.0
// test_keyd_service_openapi.c: libkeyd-service against the description of the API: each operation
// is called by the library, or libkeyd-service(3) says why it is left out.
#include "tests/unit/app_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { OPERATIONS_MAX = 128, PAGE_BYTES = 65536, CALLS = 53, WITH_SECRET = 100 };

// ---- the description -------------------------------------------------------

static struct operation {
    const char *id, *method, *path;
    bool is_called;
} operations[OPERATIONS_MAX];
static size_t n_operations;
static json_t *description;
static char page_text[PAGE_BYTES];

static void read_whole(const char *name, char *out, size_t max) {
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", getenv("KD_SRCDIR"), name);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    out[fread(out, 1, max - 1, f)] = '\0';
    ck_assert(feof(f));
    fclose(f);
}

static void add_operations(const char *path, json_t *item) {
    const char *method;
    json_t *operation;
    json_object_foreach(item, method, operation) {
        const char *id = json_string_value(json_object_get(operation, "operationId"));
        if (id != NULL) {
            ck_assert_uint_lt(n_operations, OPERATIONS_MAX);
            operations[n_operations++] = (struct operation) { id, method, path, false };
        }
    }
}

static void setup(void) {
    static char text[512 * 1024];
    const char *path;
    json_t *item;
    read_whole("api/openapi.json", text, sizeof(text));
    read_whole("docs/libkeyd-service.3", page_text, sizeof(page_text));
    description = json_loads(text, 0, NULL);
    json_object_foreach(json_object_get(description, "paths"), path, item) {
        add_operations(path, item);
    }
    ck_assert_uint_gt(n_operations, 0);
}

static void teardown(void) {
    json_decref(description);
}

// ---- what the library calls ------------------------------------------------

static const struct keyd_with with_secret = { .secret = "s" };
static const struct keyd_derivation plain = { .kdf = KEYD_KDF_AES_CBC_DATA };
static const struct keyd_derivation ecdh = { .peer = { "data", 4 } };
static const struct keyd_peer_config peer = { .name = "p", .pem = "x" };
static uint8_t room_bytes[KEYD_PEM_MAX];
static const struct keyd_bytes sealed = { room_bytes, 16 };
static const uint8_t point_bytes[65] = { 4 };
static const struct keyd_bytes point = { point_bytes, 65 };
static struct keyd_room room = { .p = room_bytes, .max = sizeof(room_bytes) };
static struct keyd_page page;
static struct keyd_handshake first, begun, next = { .id = "h" };
static struct keyd_record record = { .session = "e", .out = { room_bytes, sizeof(room_bytes), 0 } };
static struct keyd_enrolment device = { .id = "d" };
static struct keyd_traffic *traffic;
static struct keyd_one_time *secret;
static size_t n_versions;
static uint8_t iv[KEYD_IV_BYTES];
static union {
    struct keyd_key key;
    struct keyd_key_version version;
    struct keyd_secret secret;
    struct keyd_session session;
    struct keyd_peer peer;
    struct keyd_enrolment enrolment;
    struct keyd_change change;
    struct keyd_state state;
    struct keyd_result result;
    struct keyd_envelope envelope;
    struct keyd_envelope_key envelope_key;
} u;

#define CALL(number, expression)                                                                   \
    case number:                                                                                   \
        (void)(expression);                                                                        \
        break

static void call_key(unsigned i) {
    switch (i) {
        CALL(0, keyd_ready(service));
        CALL(1, keyd_state(service, &u.state));
        CALL(2, keyd_random(service, iv, 1));
        CALL(3, keyd_key_create(service, "k", KEYD_AES_256, KEYD_MAY_ENCRYPT, &u.key));
        CALL(4, keyd_key_show(service, "k", &u.key));
        CALL(5, keyd_key_delete(service, "k"));
        CALL(6, keyd_key_rotate(service, "k", &u.key));
        CALL(7, keyd_key_disable(service, "k", 0, &u.key));
        CALL(8, keyd_key_enable(service, "k", 0, &u.key));
        CALL(9, keyd_key_list(service, &page, &u.key, 1));
    default:
        ck_abort_msg("there is no call %u", i);
    }
}

static void call_operation(unsigned i, const struct keyd_with *with) {
    switch (i) {
        CALL(10, keyd_sign(service, with, data, 0, &u.result));
        CALL(11, keyd_verify(service, with, data, 0, data));
        CALL(12, keyd_mac(service, with, data, &u.result));
        CALL(13, keyd_mac_verify(service, with, data, data));
        CALL(14, keyd_encrypt(service, with, data, data, iv, &room));
        CALL(15, keyd_decrypt(service, with, iv, sealed, data, &room));
        CALL(16, keyd_derive(service, with, &ecdh, &u.secret));
        CALL(17, keyd_derive(service, with, &plain, &u.secret));
        CALL(18, keyd_secret_list(service, &page, &u.secret, 1));
        CALL(19, keyd_secret_show(service, "s", &u.secret));
        CALL(20, keyd_secret_delete(service, "s"));
    default:
        ck_abort_msg("there is no call %u", i);
    }
}

static void call_channel(unsigned i) {
    switch (i) {
        CALL(21, keyd_peer_list(service, &page, &u.peer, 1));
        CALL(22, keyd_peer_create(service, &peer, &u.peer));
        CALL(23, keyd_peer_show(service, "p", &u.peer, NULL));
        CALL(24, keyd_peer_delete(service, "p"));
        CALL(25, keyd_handshake(service, &first, data, &room));
        CALL(26, keyd_handshake(service, &next, data, &room));
        CALL(27, keyd_handshake_begin(service, 0, &begun, &room));
        CALL(28, keyd_handshake_abandon(service, &next));
        CALL(29, keyd_session_list(service, &page, &u.session, 1));
        CALL(30, keyd_session_resume(service, data, data, &u.change));
        CALL(31, keyd_session_show(service, "e", &u.session));
        CALL(32, keyd_session_delete(service, "e"));
        CALL(33, keyd_session_ticket(service, "e", &room));
        CALL(34, keyd_session_update(service, "e", &u.change));
        CALL(35, keyd_session_release(service, "e", &traffic));
        CALL(36, keyd_record_seal(service, &record));
        CALL(37, keyd_record_open(service, &record));
        CALL(38, keyd_envelope_key(service, &u.envelope_key));
        CALL(39, keyd_envelope_open(service, data, &u.envelope, &room));
        CALL(40, keyd_enrolment_list(service, &page, &u.enrolment, 1));
        CALL(41, keyd_enrol(service, &device, 0, &secret));
        CALL(42, keyd_enrolment_show(service, "d", &u.enrolment, NULL));
        CALL(43, keyd_enrolment_renew(service, "d", 0, &secret));
        CALL(44, keyd_enrolment_revoke(service, "d"));
        CALL(45, keyd_key_versions(service, "k", &u.version, 1, &n_versions));
        CALL(46, keyd_key_adopt(service, "k", "pkcs11:", &u.key));
        CALL(47, keyd_key_import(service, "k", "x", &u.key));
        CALL(48, keyd_key_import_point(service, "k", KEYD_EC_P256, point, &u.key));
        CALL(49, keyd_key_rotate_to(service, "k", "pkcs11:", &u.key));
        CALL(50, keyd_key_delete_version(service, "k", 1));
        CALL(51, keyd_enrolment_delete(service, "d"));
        CALL(52, keyd_rewrap(service, &with_key, iv, sealed, data, &room));
    default:
        ck_abort_msg("there is no call %u", i);
    }
}

// Every call once; the answers are wrong, as what counts is the request.
static void call(unsigned i) {
    if (i >= WITH_SECRET) {
        call_operation(i - WITH_SECRET, &with_secret);
    } else if (i >= 21) {
        call_channel(i);
    } else if (i >= 10) {
        call_operation(i, &with_key);
    } else {
        call_key(i);
    }
}
static const unsigned with_secrets[] = { 112, 113, 114, 115, 117 };

// "/v1/keys/{name}" of "/v1/keys/k"; a part that is no parameter counts before one that is.
static bool is_path(const char *pattern, const char *path) {
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern == '{') {
            pattern += strcspn(pattern, "/");
            path += strcspn(path, "/");
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *pattern == *path;
}

static struct operation *find(const char *method, const char *path) {
    struct operation *found = NULL;
    for (size_t i = 0; i < n_operations; i++) {
        struct operation *o = &operations[i];
        const bool is_better = found == NULL || strchr(o->path, '{') == NULL;
        if (strcasecmp(o->method, method) == 0 && is_path(o->path, path) && is_better) {
            found = o;
        }
    }
    return found;
}

static void note(unsigned i) {
    char method[16];
    char path[256];
    app_start(FAKE_JSON(200, "{}"));
    call(i);
    app_stop();
    ck_assert_msg(fake.n_requests == 1, "call %u asked %u times: %s", i, fake.n_requests,
                  keyd_detail());
    ck_assert_int_eq(sscanf(fake.request, "%15s %255[^ ?]", method, path), 2);
    struct operation *o = find(method, path);
    ck_assert_msg(o != NULL, "call %u: %s %s is in no description", i, method, path);
    o->is_called = true;
}

// An item of the list in the manual page.
static bool is_left_out(const char *id) {
    char line[96];
    const char *section = strstr(page_text, "\n.Sh OPERATIONS WITHOUT A CALL\n");
    ck_assert_ptr_nonnull(section);
    const char *end = strstr(section + 1, "\n.Sh ");
    ck_assert_ptr_nonnull(end);
    snprintf(line, sizeof(line), "\n.It Li %s\n", id);
    const char *at = strstr(section, line);
    return at != NULL && at < end;
}

START_TEST(each_operation_is_called_or_the_manual_says_why_not) {
    for (unsigned i = 0; i < CALLS; i++) {
        note(i);
    }
    for (size_t i = 0; i < KD_COUNT_OF(with_secrets); i++) {
        note(with_secrets[i]);
    }
    for (size_t i = 0; i < n_operations; i++) {
        const struct operation *o = &operations[i];
        ck_assert_msg(o->is_called != is_left_out(o->id),
                      "%s (%s %s): either the library calls it, or libkeyd-service(3) has why not",
                      o->id, o->method, o->path);
    }
}
END_TEST

START_TEST(the_manual_leaves_out_nothing_that_is_not_there) {
    const char *at = strstr(page_text, "\n.Sh OPERATIONS WITHOUT A CALL\n");
    const char *end = strstr(at + 1, "\n.Sh ");
    unsigned n = 0;
    while ((at = strstr(at, "\n.It Li ")) != NULL && at < end) {
        char id[64];
        bool is_known = false;
        ck_assert_int_eq(sscanf(at, " .It Li %63s", id), 1);
        for (size_t i = 0; i < n_operations; i++) {
            is_known = is_known || strcmp(operations[i].id, id) == 0;
        }
        ck_assert_msg(is_known, "%s is no operation", id);
        at++;
        n++;
    }
    ck_assert_uint_gt(n, 0);
}
END_TEST

START_TEST(each_function_of_the_header_is_in_the_manual) {
    static char header[PAGE_BYTES];
    unsigned n = 0;
    read_whole("client/keyd_service.h", header, sizeof(header));
    for (const char *at = header; (at = strstr(at, "keyd_")) != NULL; at++) {
        char line[80];
        const size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
        if (at[length] != '(' || at[-1] != (at[-2] == '*' ? '*' : ' ') ||
            strncmp(at + length, "()", 2) == 0) {
            continue;
        }
        snprintf(line, sizeof(line), "\n.Fn %.*s ", (int)length, at);
        ck_assert_msg(strstr(page_text, line) != NULL, "no%s", line);
        n++;
    }
    ck_assert_uint_gt(n, CALLS);
}
END_TEST

static TCase *tcase_openapi(void) {
    TCase *t = tcase_create("openapi");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_operation_is_called_or_the_manual_says_why_not);
    tcase_add_test(t, the_manual_leaves_out_nothing_that_is_not_there);
    tcase_add_test(t, each_function_of_the_header_is_in_the_manual);
    return t;
}

UNIT_MAIN("keyd-service-openapi", tcase_openapi())
