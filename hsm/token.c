// SPDX-License-Identifier: Apache-2.0
// token.c: finds the token that a PKCS#11 URI names.  Slot numbers change, so
// they are never the way to a token.
#include "hsm/token.h"

#include "hsm/traffic_token.h"

#include <p11-kit/uri.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_MAX = 256 };

KD_AUTO_DEFINE(p11_uri, P11KitUri *, p11_kit_uri_free)

static enum kd_err parse(const char *text, P11KitUri *uri, struct kd_buf *detail) {
    const int r = p11_kit_uri_parse(text, P11_KIT_URI_FOR_TOKEN, uri);
    if (r != P11_KIT_URI_OK) {
        kd_buf_printf(detail, "The token's URI is not valid: %s.", p11_kit_uri_message(r));
        return KD_ERR_BAD_URI;
    }
    if (p11_kit_uri_any_unrecognized(uri)) {
        kd_buf_text(detail, "The token's URI has a part that keyd does not know.");
        return KD_ERR_BAD_URI;
    }
    return KD_OK;
}

void kd_token_put_uri(struct kd_buf *out, const CK_TOKEN_INFO *info) {
    kd_auto(p11_uri) P11KitUri *uri = p11_kit_uri_new();
    char *text = NULL;
    memcpy(p11_kit_uri_get_token_info(uri), info, sizeof(*info));
    if (p11_kit_uri_format(uri, P11_KIT_URI_FOR_TOKEN, &text) == P11_KIT_URI_OK) {
        kd_buf_text(out, text);
        free(text);
    }
}

struct search {
    P11KitUri *uri;
    size_t n_found;
    struct kd_token found;
    struct kd_buf seen; // what is there, for the operator
};

static void visit_slot(struct search *s, CK_FUNCTION_LIST *p11, const CK_INFO *module_info,
                       CK_SLOT_ID slot) {
    CK_TOKEN_INFO info;
    CK_RV rv = p11->C_GetTokenInfo(slot, &info);
    if (rv != CKR_OK) {
        kd_log(KD_LOG_DEBUG, "token", "a slot has no token that can be read", "slot=%lu rv=%s",
               (unsigned long)slot, kd_ckr_name(rv));
        return;
    }
    if ((info.flags & CKF_TOKEN_INITIALIZED) == 0) {
        return;
    }
    kd_buf_text(&s->seen, s->seen.n == 0 ? "" : ", ");
    kd_token_put_uri(&s->seen, &info);
    if (!p11_kit_uri_match_token_info(s->uri, &info)) {
        return;
    }
    CK_SLOT_INFO slot_info = { 0 };
    s->n_found++;
    s->found =
        (struct kd_token) { .p11 = p11, .slot = slot, .info = info, .module_info = *module_info };
    s->found.is_software =
        p11->C_GetSlotInfo(slot, &slot_info) == CKR_OK && (slot_info.flags & CKF_HW_SLOT) == 0;
}

static void visit_module(struct search *s, CK_FUNCTION_LIST *p11) {
    CK_INFO info = { 0 };
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG n = SLOTS_MAX;
    if (kd_ckr("C_GetInfo", p11->C_GetInfo(&info)) != KD_OK ||
        !p11_kit_uri_match_module_info(s->uri, &info) ||
        kd_ckr("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n)) != KD_OK) {
        return;
    }
    for (CK_ULONG i = 0; i < n; i++) {
        visit_slot(s, p11, &info, slots[i]);
    }
}

enum kd_err kd_token_find(const struct kd_modules *modules, const char *uri, struct kd_token *out,
                          struct kd_buf *detail) {
    kd_auto(p11_uri) P11KitUri *parsed = p11_kit_uri_new();
    enum kd_err r = parse(uri, parsed, detail);
    if (r != KD_OK) {
        return r;
    }
    struct search s = { .uri = parsed, .seen = KD_BUF_INIT(4096) };
    for (size_t i = 0; i < modules->n; i++) {
        visit_module(&s, modules->list[i]);
    }
    if (s.n_found == 1) {
        *out = s.found;
    } else if (s.n_found == 0) {
        kd_buf_printf(detail,
                      "No token matches %s (keydctl token list). Tokens that are there: %s.", uri,
                      s.seen.n == 0 ? "none" : kd_buf_get_text(&s.seen));
        r = KD_ERR_NO_TOKEN;
    } else {
        kd_buf_printf(detail,
                      "More than one token matches %s (keydctl token list); name one of: %s.", uri,
                      kd_buf_get_text(&s.seen));
        r = KD_ERR_NO_TOKEN;
    }
    kd_buf_wipe(&s.seen);
    return r;
}

void kd_token_init(struct kd_token *t) {
    // Under load there is always a reader.
    pthread_rwlockattr_t prefers_writer;
    pthread_rwlockattr_init(&prefers_writer);
    pthread_rwlockattr_setkind_np(&prefers_writer, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&t->use, &prefers_writer);
    pthread_rwlockattr_destroy(&prefers_writer);
    pthread_rwlock_init(&t->copying, NULL);
    pthread_mutex_init(&t->lock, NULL);
    kd_cells_init(&t->cells, sizeof(struct kd_traffic_secrets));
    t->objects = KD_MAP_INIT;
    kd_cached_init(t);
    kd_traffic_cache_init(t);
    t->handshakes = KD_MAP_INIT;
}

void kd_token_wipe(struct kd_token *t) {
    kd_map_wipe(&t->objects);
    kd_map_wipe(&t->secrets.by_id);
    kd_map_wipe(&t->handshakes);
    kd_map_wipe(&t->traffic.by_id);
    pthread_mutex_destroy(&t->lock);
    pthread_rwlock_destroy(&t->copying);
    pthread_rwlock_destroy(&t->use);
    kd_cells_wipe(&t->cells);
}
