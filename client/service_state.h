// SPDX-License-Identifier: Apache-2.0
// service_state.h: what the functions of keyd_service.h are made of: a pool of connections, one
// question and its answer, an operation on one item or many, and JSON both ways.  What may be
// secret is written and read without copies that nobody wipes: requests by kd_buf, answers in the
// place where they came.
#ifndef KD_CLIENT_SERVICE_STATE_H
#define KD_CLIENT_SERVICE_STATE_H

#include "client/device_detail.h"
#include "client/keyd_service.h"
#include "client/rest.h"

#define KD_SERVICE_PATH_BYTES 160

// ---- a question ------------------------------------------------------------

struct kd_service_answer {
    struct keyd_service *service; // `rest` goes back there
    struct kd_rest *rest;         // has the headers
    struct kd_rest_reply http;
    struct kd_json_tree tree; // over its text, where JSON came
};
#define KD_SERVICE_ANSWER_INIT ((struct kd_service_answer) { .http = KD_REST_REPLY_INIT })
void kd_service_answer_wipe(struct kd_service_answer *a);
KD_AUTO_DEFINE_IN_PLACE(service_answer, struct kd_service_answer, kd_service_answer_wipe)

// At the beginning of each function of keyd_service.h; kd_detail_end is its end.
void kd_service_begin(void);
// KEYD_OK: keyd did it.  Else keyd_detail and keyd_problem are set, and *a may have the problem.
enum keyd_err kd_service_ask(struct keyd_service *s, const struct kd_rest_request *q,
                             struct kd_service_answer *a);
// A POST of JSON.
enum keyd_err kd_service_post(struct keyd_service *s, const char *path, const struct kd_buf *json,
                              struct kd_service_answer *a);
// GET, DELETE and POST without a body.
enum keyd_err kd_service_do(struct keyd_service *s, const char *method, const char *path,
                            struct kd_service_answer *a);
// What is no JSON, as it came.
static inline struct kd_bytes kd_service_text(const struct kd_service_answer *a) {
    return a->http.is_json ? KD_BYTES_NONE : kd_buf_get(&a->http.text);
}
// NULL, which has no members: it is no JSON.
static inline const struct kd_json *kd_service_json(const struct kd_service_answer *a) {
    return a->tree.root;
}
// By the name of a problem: what it is to the caller.
enum keyd_err kd_service_err_of(struct kd_bytes name, unsigned status);
// A problem that is ours: `name` is in no list of keyd's.  Gives back err.
enum keyd_err kd_service_problem(enum keyd_err err, const char *name, const char *text);
// What came is not what docs/api.md says.
enum keyd_err kd_service_strange(void);
enum keyd_err kd_service_wrong(const char *what); // KEYD_ERR_ARGUMENT

// False: no name of a key, no id.  Nothing else goes into a path.
bool kd_service_is_name(const char *name);
bool kd_service_is_id(const char *id);
// "/v1/keys/NAME/operation", or the secret's; KEYD_ERR_ARGUMENT.
enum keyd_err kd_service_path(const struct keyd_with *with, const char *operation,
                              char path[static KD_SERVICE_PATH_BYTES]);
// GET, DELETE or a POST without a body of "/v1/KIND/ID", or "/v1/KIND/ID/MORE"; KEYD_ERR_ARGUMENT.
enum keyd_err kd_service_on(struct keyd_service *s, const char *method, const char *kind,
                            const char *id, const char *more, struct kd_service_answer *a);

static inline struct kd_bytes kd_service_bytes(struct keyd_bytes b) {
    return (struct kd_bytes) { b.p, b.n };
}
static inline bool kd_service_is_missing(struct keyd_bytes b) {
    return b.p == NULL && b.n > 0;
}
static inline bool kd_service_is_room(const struct keyd_room *out, size_t n) {
    return out != NULL && (out->p != NULL || n == 0) && out->max >= n;
}

// ---- an operation ----------------------------------------------------------

struct kd_service_result {
    enum keyd_err err;
    char problem[32];
    unsigned version;
    const struct kd_json *item; // where there is no error
};

// Items in, results out, both in arrays of the caller, which the three functions know.
struct kd_service_batch {
    const struct keyd_with *with;
    const char *operation;
    size_t n;
    bool is_alone; // no batch: the item's members are the request's own, and its refusal the call's
    bool is_digest;
    bool is_der;
    bool has_own_version; // each item says it, not the request
    const void *arg;
    // Bytes that the item takes of KEYD_DATA_MAX; SIZE_MAX: it is wrong, or its room is.
    size_t (*size)(const void *arg, size_t i);
    void (*put)(const void *arg, size_t i, struct kd_buf *b);                   // its members
    bool (*take)(const void *arg, size_t i, const struct kd_service_result *r); // false: strange
};
enum keyd_err kd_service_run(struct keyd_service *s, const struct kd_service_batch *q);
// Of two byte strings, for `size`.
size_t kd_service_size(struct keyd_bytes a, struct keyd_bytes b);

// ---- a list ----------------------------------------------------------------

typedef bool kd_service_read_fn(const struct kd_json *json, void *out);

struct kd_service_list {
    const char *kind; // in the path and of the answer's array
    size_t size;      // of an element of the caller's array
    kd_service_read_fn *read;
};
enum keyd_err kd_service_page(struct keyd_service *s, const struct kd_service_list *l,
                              struct keyd_page *page, void *out, size_t max);

// ---- JSON, written ---------------------------------------------------------

// Members.  An uncompressed point of coordinates of n bytes, as a JWK (RFC 7518 6.2.1);
// kd_service_find_point reads it.
#define KD_SERVICE_POINT_FORM 4
void kd_service_put_point(struct kd_buf *b, const char *name, const uint8_t *point, size_t n);
void kd_service_put_given(struct kd_buf *b, const char *name, struct keyd_bytes value); // n > 0

// ---- JSON, read in place ---------------------------------------------------

// False: it is not there, or of another type, or longer than there is room.
bool kd_service_find_text(const struct kd_json *object, const char *name, struct keyd_room *out);
bool kd_service_find_word(const struct kd_json *object, const char *name, size_t max, char *out);
bool kd_service_find_number(const struct kd_json *object, const char *name, uint64_t *out);
bool kd_service_find_bytes(const struct kd_json *object, const char *name, struct keyd_room *out);
bool kd_service_find_fixed(const struct kd_json *object, const char *name, uint8_t *out, size_t n);
// A public key as JWK: SEC 1 2.3.3, uncompressed.
bool kd_service_find_point(const struct kd_json *object, const char *name,
                           uint8_t point[static KEYD_POINT_MAX], size_t *n_point);
// The elements of an array in turn; false: it is none, or `take` says so.
typedef bool kd_service_element_fn(void *arg, size_t i, const struct kd_json *element);
bool kd_service_each(const struct kd_json *array, kd_service_element_fn *take, void *arg,
                     size_t *n);

enum kd_service_kind {
    KD_SERVICE_TEXT,   // char[size]
    KD_SERVICE_NUMBER, // unsigned, or uint64_t
    KD_SERVICE_TIME,   // uint64_t, seconds since 1970
    KD_SERVICE_FLAG,   // int
    KD_SERVICE_ENUM,   // the place in `words`
    KD_SERVICE_BYTES,  // uint8_t[size], all of it
};
struct kd_service_field {
    const char *name;
    size_t at, size; // in the struct
    enum kd_service_kind kind;
    bool is_optional; // may be missing, or null
    const char *const *words;
    size_t n_words;
};
#define KD_SERVICE_PLACE(type, member)                                                             \
    offsetof(struct type, member), sizeof(((struct type *)0)->member)
// What the fields say of an object; the rest of *out is left as it was.
bool kd_service_read(const struct kd_json *object, const struct kd_service_field *fields, size_t n,
                     void *out);

// ---- into the caller's memory ----------------------------------------------

// False: it is too small.
bool kd_service_copy(struct kd_bytes from, struct keyd_room *out);
// "" and false where the name is longer.
bool kd_service_copy_text(struct kd_bytes from, size_t max, char *out);

// Zeroed memory that is locked; NULL: there is none.  Unlocking wipes it; NULL: nothing.
void *kd_service_locked(size_t n);
void kd_service_unlock(void *p);

// By enum keyd_key_type; those of secrets first.
enum { KD_SERVICE_KEY_TYPES = 5 };
extern const char *const kd_service_key_types[KD_SERVICE_KEY_TYPES];

#endif
