# libconfine.a: for the programs that are processes of the service.
noinst_LIBRARIES += libconfine.a
libconfine_a_CFLAGS = $(AM_CFLAGS) $(SECCOMP_CFLAGS)
libconfine_a_SOURCES = base/confine.c base/confine.h

noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	base/attr.h base/base.h \
	base/buf.c base/buf.h \
	base/cbor.c base/cbor.h \
	base/cells.c base/cells.h \
	base/chain.c base/chain.h \
	base/clock.c base/clock.h \
	base/ecdsa.c base/ecdsa.h \
	base/err.c base/err_sentence.c base/err.h base/err_list.h \
	base/heap.c base/heap.h \
	base/json.c base/json.h \
	base/json_out.c base/json_out.h \
	base/log.c base/log.h \
	base/loop.c base/loop.h \
	base/map.c base/map.h \
	base/secret.c base/secret.h \
	base/signals.c base/signals.h \
	base/text.c base/text.h
