// SPDX-License-Identifier: Apache-2.0
// fake_p11.c: sessions, objects, the login, and the faults.
#include "fake_p11.h"
#include "fake_state.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

// PKCS#11 hands its functions no object of the caller's, so this one is global.
static struct {
    pthread_mutex_t lock;
    CK_FUNCTION_LIST list;
    struct fake_session sessions[FAKE_SESSIONS_MAX];
    struct fake_object objects[FAKE_OBJECTS_MAX];
    CK_ULONG next_handle;
    bool is_logged_in;
    int login_signal;
    char pin[KD_PIN_MAX_BYTES + 1];
    CK_FLAGS flags;
    unsigned habits;
    unsigned session_objects_max; // 0: no limit
    struct fake_counts counts;
    // the fault
    unsigned fault_in;
    bool is_fault_lasting;
    const char *fault_call;
    CK_RV fault;
    const char *failed_call;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

// ---- faults ----------------------------------------------------------------

static CK_RV fault_of(const char *call) {
    if (fake.fault_in == 0 || (fake.fault_call != NULL && strcmp(fake.fault_call, call) != 0)) {
        return CKR_OK;
    }
    if (--fake.fault_in > 0) {
        return CKR_OK;
    }
    fake.fault_in = fake.is_fault_lasting ? 1 : 0;
    fake.failed_call = call;
    return fake.fault;
}

static struct fake_session *session_at(CK_SESSION_HANDLE handle) {
    for (size_t i = 0; handle != 0 && i < FAKE_SESSIONS_MAX; i++) {
        if (fake.sessions[i].handle == handle) {
            return &fake.sessions[i];
        }
    }
    return NULL;
}

void fake_end_operation(struct fake_session *s) {
    EVP_MD_CTX_free(s->digest);
    s->digest = NULL;
    s->op = FAKE_NONE;
}

CK_RV fake_enter(const char *call, CK_SESSION_HANDLE handle, struct fake_session **out) {
    pthread_mutex_lock(&fake.lock);
    fake.counts.calls++;
    const CK_RV fault = fault_of(call);
    struct fake_session *s = session_at(handle);
    if (fault != CKR_OK) {
        // An operation ends with the call that fails (PKCS#11 5.2), but for this one.
        if (s != NULL && fault != CKR_BUFFER_TOO_SMALL && strncmp(call, "C_FindObjects", 13) != 0) {
            fake_end_operation(s);
        }
        return fault;
    }
    if (out != NULL) {
        *out = s;
        return s == NULL ? CKR_SESSION_HANDLE_INVALID : CKR_OK;
    }
    return CKR_OK;
}

CK_OBJECT_HANDLE fake_left_behind(void) {
    return fake.objects[0].handle;
}

CK_RV fake_leave_made(CK_RV rv, CK_OBJECT_HANDLE *made) {
    if (rv != CKR_OK) {
        *made = fake_left_behind();
    }
    return fake_leave(rv);
}

CK_RV fake_leave(CK_RV rv) {
    pthread_mutex_unlock(&fake.lock);
    return rv;
}

static void set_fault(const char *call, unsigned n, CK_RV rv, bool is_lasting) {
    pthread_mutex_lock(&fake.lock);
    fake.fault_in = n;
    fake.fault_call = call;
    fake.fault = rv;
    fake.is_fault_lasting = is_lasting;
    fake.failed_call = NULL;
    pthread_mutex_unlock(&fake.lock);
}

void fake_fail(unsigned n, CK_RV rv) {
    set_fault(NULL, n, rv, false);
}

void fake_fail_call(const char *call, unsigned n, CK_RV rv) {
    set_fault(call, n, rv, false);
}

void fake_fail_always(const char *call, CK_RV rv) {
    set_fault(call, 1, rv, true);
}

const char *fake_failed_call(void) {
    return fake.failed_call;
}

// ---- objects ---------------------------------------------------------------

static struct fake_attribute *attribute_at(const struct fake_object *o, CK_ATTRIBUTE_TYPE type) {
    for (size_t i = 0; i < o->n; i++) {
        if (o->list[i].type == type) {
            return (struct fake_attribute *)(uintptr_t)&o->list[i];
        }
    }
    return NULL;
}

struct kd_bytes fake_get(const struct fake_object *o, CK_ATTRIBUTE_TYPE type) {
    const struct fake_attribute *a = attribute_at(o, type);
    return a == NULL ? KD_BYTES_NONE : (struct kd_bytes) { a->value, a->n };
}

void fake_set(struct fake_object *o, CK_ATTRIBUTE_TYPE type, const void *value, size_t n) {
    struct fake_attribute *a = attribute_at(o, type);
    if (a == NULL && o->n < FAKE_ATTRIBUTES_MAX) {
        a = &o->list[o->n++];
    }
    if (a != NULL && n <= sizeof(a->value)) {
        a->type = type;
        a->n = n;
        memcpy(a->value, n == 0 ? "" : value, n);
    }
}

bool fake_is(const struct fake_object *o, CK_ATTRIBUTE_TYPE type) {
    const struct kd_bytes v = fake_get(o, type);
    return v.n == 1 && v.p[0] == CK_TRUE;
}

CK_ULONG fake_number(const struct fake_object *o, CK_ATTRIBUTE_TYPE type) {
    const struct kd_bytes v = fake_get(o, type);
    CK_ULONG n = CK_UNAVAILABLE_INFORMATION;
    if (v.n == sizeof(n)) {
        memcpy(&n, v.p, sizeof(n));
    }
    return n;
}

struct fake_object *fake_object_at(CK_OBJECT_HANDLE handle) {
    for (size_t i = 0; handle != 0 && i < FAKE_OBJECTS_MAX; i++) {
        if (fake.objects[i].handle == handle) {
            return &fake.objects[i];
        }
    }
    return NULL;
}

static unsigned count_objects(bool of_sessions) {
    unsigned n = 0;
    for (size_t i = 0; i < FAKE_OBJECTS_MAX; i++) {
        n += fake.objects[i].handle != 0 && (fake.objects[i].owner != 0) == of_sessions;
    }
    return n;
}

bool fake_has_room(unsigned n) {
    return fake.session_objects_max == 0 || count_objects(true) + n <= fake.session_objects_max;
}

struct fake_object *fake_object_new(struct fake_session *s, const CK_ATTRIBUTE *list, CK_ULONG n) {
    struct fake_object *o = NULL;
    for (size_t i = 0; i < FAKE_OBJECTS_MAX && o == NULL; i++) {
        o = fake.objects[i].handle == 0 ? &fake.objects[i] : NULL;
    }
    if (o == NULL) {
        return NULL;
    }
    *o = (struct fake_object) { .handle = fake.next_handle++ };
    for (CK_ULONG i = 0; i < n; i++) {
        fake_set(o, list[i].type, list[i].pValue, list[i].ulValueLen);
    }
    o->owner = fake_is(o, CKA_TOKEN) ? 0 : s->handle;
    const unsigned now = count_objects(true);
    if (o->owner != 0 && fake.session_objects_max > 0 && now > fake.session_objects_max) {
        *o = (struct fake_object) { 0 };
        return NULL;
    }
    if (now > fake.counts.most_session_objects) {
        fake.counts.most_session_objects = now;
    }
    return o;
}

static void free_object(struct fake_object *o) {
    EVP_PKEY_free(o->pair);
    *o = (struct fake_object) { 0 };
}

CK_OBJECT_HANDLE fake_keep(struct fake_object *o) {
    const CK_BBOOL yes = CK_TRUE;
    fake_set(o, CKA_TOKEN, &yes, sizeof(yes));
    o->owner = 0;
    return o->handle;
}

static CK_RV create_object(CK_SESSION_HANDLE h, CK_ATTRIBUTE *list, CK_ULONG n,
                           CK_OBJECT_HANDLE *out) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_CreateObject", h, &s);
    if (rv == CKR_OK) {
        struct fake_object *o = fake_object_new(s, list, n);
        rv = o == NULL ? CKR_DEVICE_MEMORY : CKR_OK;
        *out = o == NULL ? 0 : o->handle;
    }
    return fake_leave_made(rv, out);
}

static CK_RV destroy_object(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE handle) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_DestroyObject", h, &s);
    if (rv == CKR_OK) {
        struct fake_object *o = fake_object_at(handle);
        rv = o == NULL ? CKR_OBJECT_HANDLE_INVALID : CKR_OK;
        if (o != NULL) {
            free_object(o);
        }
    }
    return fake_leave(rv);
}

static CK_RV get_one(const struct fake_object *o, CK_ATTRIBUTE *a) {
    const struct fake_attribute *has = attribute_at(o, a->type);
    const bool is_hidden = a->type == CKA_VALUE && fake_is(o, CKA_SENSITIVE);
    if (has == NULL || is_hidden) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return has == NULL ? CKR_ATTRIBUTE_TYPE_INVALID : CKR_ATTRIBUTE_SENSITIVE;
    }
    if (a->pValue != NULL && a->ulValueLen < has->n) {
        a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_BUFFER_TOO_SMALL;
    }
    if (a->pValue != NULL) {
        memcpy(a->pValue, has->value, has->n);
    }
    a->ulValueLen =
        a->pValue != NULL && fake_does(FAKE_LIES_OF_LENGTHS) ? CK_UNAVAILABLE_INFORMATION : has->n;
    return CKR_OK;
}

static CK_RV get_attribute_value(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *list,
                                 CK_ULONG n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_GetAttributeValue", h, &s);
    const struct fake_object *o = rv == CKR_OK ? fake_object_at(handle) : NULL;
    if (rv == CKR_OK && o == NULL) {
        rv = CKR_OBJECT_HANDLE_INVALID;
    }
    for (CK_ULONG i = 0; o != NULL && i < n; i++) {
        const CK_RV one = get_one(o, &list[i]);
        rv = one == CKR_OK ? rv : one;
    }
    return fake_leave(rv);
}

// ---- searches --------------------------------------------------------------

static bool is_match(const struct fake_object *o, const CK_ATTRIBUTE *list, CK_ULONG n) {
    const bool is_private = fake_number(o, CKA_CLASS) != CKO_PUBLIC_KEY;
    bool ok = o->handle != 0 && (fake.is_logged_in || !is_private);
    for (CK_ULONG i = 0; ok && i < n; i++) {
        const struct kd_bytes want = { list[i].pValue, list[i].ulValueLen };
        ok = attribute_at(o, list[i].type) != NULL &&
             kd_bytes_equal(fake_get(o, list[i].type), want);
    }
    return ok;
}

static CK_RV find_objects_init(CK_SESSION_HANDLE h, CK_ATTRIBUTE *list, CK_ULONG n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_FindObjectsInit", h, &s);
    fake.counts.searches++;
    if (rv == CKR_OK && s->is_searching) {
        rv = CKR_OPERATION_ACTIVE;
    }
    if (rv == CKR_OK) {
        s->is_searching = true;
        s->n_found = s->n_given = 0;
        for (size_t i = 0; i < FAKE_OBJECTS_MAX; i++) {
            if (is_match(&fake.objects[i], list, n)) {
                s->found[s->n_found++] = fake.objects[i].handle;
            }
        }
    }
    return fake_leave(rv);
}

static CK_RV find_objects(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_FindObjects", h, &s);
    if (rv == CKR_OK && !s->is_searching) {
        rv = CKR_OPERATION_NOT_INITIALIZED;
    }
    if (rv == CKR_OK) {
        *n = 0;
        while (*n < max && s->n_given < s->n_found) {
            out[(*n)++] = s->found[s->n_given++];
        }
    }
    return fake_leave(rv);
}

static CK_RV find_objects_final(CK_SESSION_HANDLE h) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_FindObjectsFinal", h, &s);
    if (rv == CKR_OK) {
        rv = s->is_searching ? CKR_OK : CKR_OPERATION_NOT_INITIALIZED;
        s->is_searching = false;
    }
    return fake_leave(rv);
}

// ---- token, sessions, login --------------------------------------------------

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info) {
    CK_RV rv = fake_enter("C_GetTokenInfo", 0, NULL);
    if (rv == CKR_OK) {
        *info = (CK_TOKEN_INFO) { .flags = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED |
                                           CKF_USER_PIN_INITIALIZED | fake.flags };
        rv = slot == FAKE_SLOT ? CKR_OK : CKR_SLOT_ID_INVALID;
    }
    return fake_leave(rv);
}

static CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info) {
    CK_RV rv = fake_enter("C_GetMechanismInfo", 0, NULL);
    (void)slot;
    (void)type;
    *info = (CK_MECHANISM_INFO) { 0 };
    return fake_leave(rv);
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *out) {
    CK_RV rv = fake_enter("C_OpenSession", 0, NULL);
    (void)slot;
    (void)flags;
    (void)app;
    (void)notify;
    struct fake_session *s = NULL;
    for (size_t i = 0; rv == CKR_OK && i < FAKE_SESSIONS_MAX && s == NULL; i++) {
        s = fake.sessions[i].handle == 0 ? &fake.sessions[i] : NULL;
    }
    if (rv == CKR_OK && s == NULL) {
        rv = CKR_SESSION_COUNT;
    }
    if (rv == CKR_OK) {
        // As modules do, a number that is free is used again.
        *s = (struct fake_session) { .handle = (CK_SESSION_HANDLE)(s - fake.sessions) + 1 };
        *out = s->handle;
        fake.counts.opened++;
    }
    return fake_leave(rv);
}

static bool has_sessions(void) {
    for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
        if (fake.sessions[i].handle != 0) {
            return true;
        }
    }
    return false;
}

static void drop_session(struct fake_session *s) {
    fake_end_operation(s);
    for (size_t i = 0; i < FAKE_OBJECTS_MAX; i++) {
        if (fake.objects[i].handle != 0 && fake.objects[i].owner == s->handle) {
            free_object(&fake.objects[i]);
        }
    }
    *s = (struct fake_session) { 0 };
}

// With the last session the login goes, too (PKCS#11 5.6.2).
static CK_RV close_session(CK_SESSION_HANDLE h) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_CloseSession", h, &s);
    if (rv == CKR_OK) {
        drop_session(s);
        fake.is_logged_in = fake.is_logged_in && has_sessions();
    }
    return fake_leave(rv);
}

static CK_RV get_session_info(CK_SESSION_HANDLE h, CK_SESSION_INFO *info) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_GetSessionInfo", h, &s);
    if (rv == CKR_OK) {
        *info = (CK_SESSION_INFO) { .slotID = FAKE_SLOT,
                                    .state = fake.is_logged_in ? CKS_RW_USER_FUNCTIONS
                                                               : CKS_RW_PUBLIC_SESSION };
    }
    return fake_leave(rv);
}

static CK_RV login(CK_SESSION_HANDLE h, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG n) {
    struct fake_session *s;
    CK_RV rv = fake_enter("C_Login", h, &s);
    fake.counts.logins += !fake.is_logged_in;
    fake.counts.submitted++;
    if (fake.login_signal != 0) {
        raise(fake.login_signal);
        fake.login_signal = 0;
    }
    const bool is_by_session = fake_does(FAKE_LOGS_IN_SESSIONS);
    if (rv == CKR_OK && (is_by_session ? s->is_logged_in : fake.is_logged_in)) {
        rv = CKR_USER_ALREADY_LOGGED_IN;
    } else if (rv == CKR_OK && user == CKU_USER) {
        const struct kd_bytes given = { pin, n };
        rv = kd_bytes_equal(given, kd_bytes_of_text(fake.pin)) ? CKR_OK : CKR_PIN_INCORRECT;
        fake.is_logged_in = s->is_logged_in = rv == CKR_OK;
    }
    return fake_leave(rv);
}

// ---- for tests -------------------------------------------------------------

struct fake_counts fake_count(void) {
    pthread_mutex_lock(&fake.lock);
    struct fake_counts c = fake.counts;
    c.token_objects = count_objects(false);
    c.session_objects = count_objects(true);
    for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
        c.sessions += fake.sessions[i].handle != 0;
        c.active += (fake.sessions[i].op != FAKE_NONE) + fake.sessions[i].is_searching;
    }
    pthread_mutex_unlock(&fake.lock);
    return c;
}

void fake_count_anew(void) {
    pthread_mutex_lock(&fake.lock);
    fake.counts = (struct fake_counts) { .most_session_objects = count_objects(true) };
    pthread_mutex_unlock(&fake.lock);
}

// Each token object gets the handle of the next one of its class.
static void swap_handles(void) {
    for (CK_OBJECT_CLASS class = CKO_PUBLIC_KEY; class <= CKO_SECRET_KEY; class ++) {
        struct fake_object *last = NULL;
        for (size_t i = 0; i < FAKE_OBJECTS_MAX; i++) {
            struct fake_object *o = &fake.objects[i];
            if (o->handle == 0 || o->owner != 0 || fake_number(o, CKA_CLASS) != class) {
                continue;
            }
            if (last != NULL) {
                const CK_OBJECT_HANDLE handle = o->handle;
                o->handle = last->handle;
                last->handle = handle;
            }
            last = o;
        }
    }
}

// At once: a session that lives sees no handle of another object.
void fake_reset_device(void) {
    pthread_mutex_lock(&fake.lock);
    swap_handles();
    for (size_t i = 0; i < FAKE_SESSIONS_MAX; i++) {
        if (fake.sessions[i].handle != 0) {
            drop_session(&fake.sessions[i]);
        }
    }
    pthread_mutex_unlock(&fake.lock);
}

void fake_log_out(void) {
    fake.is_logged_in = false;
}

void fake_signal_in_login(int signal) {
    fake.login_signal = signal;
}

bool fake_is_logged_in(void) {
    return fake.is_logged_in;
}

void fake_set_habits(unsigned habits) {
    fake.habits = habits;
}

void fake_limit_session_objects(unsigned most) {
    fake.session_objects_max = most;
}

bool fake_does(enum fake_habit habit) {
    return (fake.habits & habit) != 0;
}

void fake_set_pin(const char *pin) {
    strncpy(fake.pin, pin, sizeof(fake.pin) - 1);
}

void fake_set_token_flags(CK_FLAGS flags) {
    fake.flags = flags;
}

CK_FUNCTION_LIST *fake_begin(void) {
    fake_end();
    fake.next_handle = 100;
    fake_set_pin(FAKE_PIN);
    fake.list = (CK_FUNCTION_LIST) { .C_GetTokenInfo = get_token_info,
                                     .C_GetMechanismInfo = get_mechanism_info,
                                     .C_OpenSession = open_session,
                                     .C_CloseSession = close_session,
                                     .C_GetSessionInfo = get_session_info,
                                     .C_Login = login,
                                     .C_CreateObject = create_object,
                                     .C_DestroyObject = destroy_object,
                                     .C_GetAttributeValue = get_attribute_value,
                                     .C_FindObjectsInit = find_objects_init,
                                     .C_FindObjects = find_objects,
                                     .C_FindObjectsFinal = find_objects_final };
    fake_fill_crypto(&fake.list);
    return &fake.list;
}

void fake_end(void) {
    fake_fail(0, CKR_OK);
    fake_reset_device();
    for (size_t i = 0; i < FAKE_OBJECTS_MAX; i++) {
        free_object(&fake.objects[i]);
    }
    fake.flags = 0;
    fake.habits = 0;
    fake.session_objects_max = 0;
    fake_count_anew();
}

struct kd_token fake_token(CK_FUNCTION_LIST *p11, const char *pin_file) {
    return (struct kd_token) { .p11 = p11,
                               .slot = FAKE_SLOT,
                               .info = { .flags = CKF_LOGIN_REQUIRED },
                               .pin_file = pin_file,
                               .hkdf = KD_HSM_HKDF_DIGEST,
                               .hkdf_release = KD_HSM_HKDF_DIGEST,
                               .hkdf_extract = KD_HSM_HKDF_DIGEST };
}
