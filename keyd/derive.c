// SPDX-License-Identifier: Apache-2.0
// derive.c: ecdh and derive, in batches.  What is to be kept goes to a worker
// first (DERIVE), what is to be released after it (RELEASE): so released bytes
// are told to the caller straight from the reply and never copied.
#include "keyd/recipe.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

// The items of one request: written already, with the places of their results.
struct part {
    struct kd_buf items;
    uint16_t n;
    uint16_t *index; // [batch size]
};

struct derive {
    struct kd_post post; // first: a post's address is its derive's
    struct kd_service *s;
    kd_derivation_done *done;
    void *arg;
    size_t n;
    size_t n_answered; // items that a worker has said something about
    enum kd_err err;   // of a whole request
    char detail[KD_DETAIL_BYTES];
    struct kd_derivation_result *results;
    struct part kept;
    struct part released;
};

static void free_derive(struct derive *d) {
    kd_buf_wipe(&d->kept.items);
    kd_buf_wipe(&d->released.items);
    free(d->kept.index);
    free(d->released.index);
    free(d->results);
    free(d);
}

static void end(struct derive *d) {
    // A request that failed as a whole is told as a whole where there is nothing else to tell.
    const bool is_all =
        d->err != KD_OK && d->n_answered == 0 && (size_t)d->kept.n + d->released.n == d->n;
    if (is_all) {
        d->done(d->arg, d->err, d->detail, NULL, 0);
    } else {
        d->done(d->arg, KD_OK, d->detail, d->results, d->n);
    }
    d->s->pending--;
    free_derive(d);
}

// ---- results ---------------------------------------------------------------

// A kept secret is there, or is not.
static void settle(struct derive *d, size_t at, enum kd_err err) {
    struct kd_derivation_result *result = &d->results[at];
    struct kd_secret_entry *e = kd_secrets_find(d->s->secrets, result->secret);
    if (err == KD_OK && e == NULL) {
        err = KD_ERR_NO_KEY; // the key, or its version, was deleted meanwhile
    }
    if (err == KD_OK) {
        e->is_made = true;
        return;
    }
    if (e != NULL) {
        kd_secrets_remove(d->s->secrets, e);
    }
    memset(result->secret, 0, sizeof(result->secret));
    result->expires_ms = 0;
    result->err = err;
}

static void fail_part(struct derive *d, const struct part *part, enum kd_err err) {
    d->err = err;
    for (size_t i = 0; i < part->n; i++) {
        if (part == &d->kept) {
            settle(d, part->index[i], err);
        } else {
            d->results[part->index[i]].err = err;
        }
    }
}

static enum kd_err read_part(struct derive *d, const struct part *part, enum kd_hsm_op op,
                             const struct kd_hsm_reply *reply, struct kd_reader *items) {
    if (reply->n_items != part->n) {
        return KD_ERR_MALFORMED;
    }
    for (size_t i = 0; i < part->n; i++) {
        struct kd_hsm_result from;
        enum kd_err r = kd_hsm_get_result(items, op, &from);
        if (r != KD_OK) {
            return r;
        }
        if (op == KD_HSM_DERIVE) {
            settle(d, part->index[i], from.err);
        } else {
            d->results[part->index[i]].err = from.err;
            d->results[part->index[i]].out = from.out;
        }
        d->n_answered++;
    }
    return kd_reader_finish(items);
}

static enum kd_err take_reply(struct derive *d, const struct part *part, enum kd_hsm_op op,
                              const struct kd_hsm_reply *reply, struct kd_reader *items) {
    enum kd_err r = reply->err;
    if (r != KD_OK) {
        kd_detail_copy(d->detail, reply->detail);
        fail_part(d, part, r);
        return KD_OK;
    }
    r = read_part(d, part, op, reply, items);
    if (r != KD_OK) {
        fail_part(d, part, r);
    }
    return r;
}

// ---- requests --------------------------------------------------------------

static enum kd_err send_part(struct derive *d, const struct part *part, enum kd_hsm_op op,
                             const uint8_t *near, kd_call_done *done) {
    struct kd_hsm_request head = { .op = op, .n_items = part->n };
    struct kd_call *call = NULL;
    enum kd_err r = kd_service_begin(d->s, &head, near, &call);
    if (r != KD_OK) {
        return r;
    }
    kd_call_put_written(call, kd_buf_get(&part->items));
    return kd_call_send(call, done, d);
}

static enum kd_err on_released(void *arg, const struct kd_hsm_reply *reply,
                               struct kd_reader *items) {
    struct derive *d = arg;
    const enum kd_err r = take_reply(d, &d->released, KD_HSM_RELEASE, reply, items);
    end(d);
    return r;
}

static enum kd_err on_kept(void *arg, const struct kd_hsm_reply *reply, struct kd_reader *items) {
    struct derive *d = arg;
    const enum kd_err r = take_reply(d, &d->kept, KD_HSM_DERIVE, reply, items);
    if (d->released.n > 0) {
        const enum kd_err sent = send_part(d, &d->released, KD_HSM_RELEASE, NULL, on_released);
        if (sent == KD_OK) {
            return r;
        }
        fail_part(d, &d->released, sent);
    }
    end(d);
    return r;
}

static void on_post(struct kd_post *post) {
    end((struct derive *)post);
}

// ---- the batch -------------------------------------------------------------

static void add_item(struct part *part, enum kd_hsm_op op, const struct kd_recipe *recipe,
                     size_t at) {
    const struct kd_hsm_item item = { .recipe = *recipe };
    kd_hsm_put_item(&part->items, op, &item);
    part->index[part->n++] = (uint16_t)at;
}

static struct kd_wrong which_limit(const struct kd_service *s) {
    const struct kd_secrets_config *c = &s->config->secrets;
    if (kd_secrets_count(s->secrets) >= c->total_max) {
        return (struct kd_wrong) {
            .detail = "There are as many secrets as secrets.total-max of keyd.conf(5) allows",
            .bound = c->total_max,
        };
    }
    return (struct kd_wrong) {
        .detail =
            "The caller has as many secrets as secrets.per-principal-max of keyd.conf(5) allows",
        .bound = c->per_principal_max,
    };
}

static enum kd_err add_derivation(struct derive *d, const struct kd_caller *caller,
                                  const struct kd_derivation *x, size_t at, uint8_t *near) {
    struct kd_plan plan;
    struct kd_derivation_result *result = &d->results[at];
    plan.wrong = (struct kd_wrong) { NULL, NULL, 0 };
    enum kd_err r = kd_plan_make(d->s, caller, x, &plan);
    if (r != KD_OK) {
        result->wrong = plan.wrong;
        return r;
    }
    result->version = plan.version;
    if (x->release) {
        // Nothing is kept, but the id must not be one that a worker knows.
        if (getrandom(plan.recipe.id, sizeof(plan.recipe.id), 0) !=
            (ssize_t)sizeof(plan.recipe.id)) {
            return KD_ERR_SYSTEM;
        }
        add_item(&d->released, KD_HSM_RELEASE, &plan.recipe, at);
        return KD_OK;
    }
    struct kd_secret_entry *e = NULL;
    r = kd_secrets_add(d->s->secrets, caller->principal, plan.key, plan.version, &plan.recipe,
                       plan.lifetime_sec, &e);
    if (r != KD_OK) {
        result->wrong = r == KD_ERR_TOO_MANY ? which_limit(d->s) : result->wrong;
        return r;
    }
    e->is_resident = plan.is_resident;
    memcpy(result->secret, e->id, sizeof(result->secret));
    result->residence = plan.is_resident ? "token" : "worker";
    result->expires_ms = e->expires_ms;
    *near = plan.recipe.id[0];
    add_item(&d->kept, KD_HSM_DERIVE, &plan.recipe, at);
    return KD_OK;
}

static struct derive *new_derive(struct kd_service *s, size_t n, kd_derivation_done *done,
                                 void *arg) {
    struct derive *d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return NULL;
    }
    d->post.fn = on_post;
    d->s = s;
    d->done = done;
    d->arg = arg;
    d->n = n;
    d->results = calloc(n, sizeof(*d->results));
    d->kept = (struct part) { .items = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES),
                              .index = calloc(n, sizeof(uint16_t)) };
    d->released = (struct part) { .items = KD_BUF_INIT(KD_HSM_FRAME_MAX_BYTES),
                                  .index = calloc(n, sizeof(uint16_t)) };
    if (d->results == NULL || d->kept.index == NULL || d->released.index == NULL) {
        free_derive(d);
        return NULL;
    }
    return d;
}

static enum kd_err start(struct derive *d, uint8_t near) {
    enum kd_err r;
    if ((r = kd_buf_finish(&d->kept.items)) != KD_OK ||
        (r = kd_buf_finish(&d->released.items)) != KD_OK) {
        return r;
    }
    if (d->kept.n > 0) {
        return send_part(d, &d->kept, KD_HSM_DERIVE, &near, on_kept);
    }
    if (d->released.n > 0) {
        return send_part(d, &d->released, KD_HSM_RELEASE, NULL, on_released);
    }
    kd_loop_post(d->s->loop, &d->post);
    return KD_OK;
}

enum kd_err kd_service_derive(struct kd_service *s, const struct kd_caller *caller,
                              const struct kd_derivation *items, size_t n, kd_derivation_done *done,
                              void *arg) {
    if (s->is_stopping) {
        return KD_ERR_STOPPING;
    }
    if (n == 0) {
        return KD_ERR_BATCH_EMPTY;
    }
    if (n > KD_HSM_BATCH_MAX_ITEMS) {
        return KD_ERR_BATCH_TOO_LARGE;
    }
    struct derive *d = new_derive(s, n, done, arg);
    if (d == NULL) {
        return KD_ERR_NO_MEMORY;
    }
    uint8_t near = 0;
    for (size_t i = 0; i < n; i++) {
        d->results[i].err = add_derivation(d, caller, &items[i], i, &near);
    }
    enum kd_err r = start(d, near);
    if (r != KD_OK) {
        fail_part(d, &d->kept, r);
        free_derive(d);
        return r;
    }
    s->pending++;
    return KD_OK;
}
