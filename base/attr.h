// SPDX-License-Identifier: Apache-2.0
// attr.h: the compiler attributes and the ownership helpers that all of keyd
// uses.  No functions of its own; read base.h next.
#ifndef KD_BASE_ATTR_H
#define KD_BASE_ATTR_H

#include <stddef.h>

#define KD_MUST_CHECK __attribute__((warn_unused_result))
#define KD_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define KD_UNUSED __attribute__((unused))

// Declares that kd_auto(name) variables of `type` are released by `fn`, which
// must accept a NULL or empty value.
#define KD_AUTO_DEFINE(name, type, fn)                                                             \
    KD_UNUSED static inline void kd_auto_##name(type *p) {                                         \
        fn(*p);                                                                                    \
    }

// The same for objects that live in place: `fn` gets their address.
#define KD_AUTO_DEFINE_IN_PLACE(name, type, fn)                                                    \
    KD_UNUSED static inline void kd_auto_##name(type *p) {                                         \
        fn(p);                                                                                     \
    }

// Releases the local when it goes out of scope:
//     kd_auto(buf) struct kd_buf b = KD_BUF_INIT(4096);
#define kd_auto(name) __attribute__((cleanup(kd_auto_##name)))

// Moves an owned pointer out of its variable, which is left NULL.
#define KD_STEAL(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) kd_steal_ = (p);                                                             \
        (p) = NULL;                                                                                \
        kd_steal_;                                                                                 \
    })

#define KD_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// An array that is written before it is read and is too long to be zeroed each time, as
// the compiler is told to do with all others.
#define KD_NO_INIT __attribute__((uninitialized))

// Seldom called: made small rather than fast, and not put into its callers.
#define KD_COLD __attribute__((noinline, cold))

#endif
