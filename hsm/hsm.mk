# libhsmwire.a: what the front process links.  libhsm.a: the worker and its tests.
noinst_LIBRARIES += libhsmwire.a libhsm.a
libhsmwire_a_SOURCES = \
	hsm/hsm.h \
	hsm/names.c \
	hsm/wire.c hsm/wire.h \
	hsm/wire_hello.c

libhsm_a_SOURCES = \
	hsm/bench.c \
	hsm/ckr.c hsm/p11.h \
	hsm/command.c hsm/command.h \
	hsm/derive.c \
	hsm/describe.c \
	hsm/exec.c hsm/exec.h \
	hsm/hkdf.c \
	hsm/host.c \
	hsm/login.c \
	hsm/manage.c \
	hsm/module.c hsm/module.h \
	hsm/objects.c \
	hsm/open.c hsm/open.h \
	hsm/operate.c \
	hsm/probe.c hsm/probe.h \
	hsm/proof.c \
	hsm/secrets.c \
	hsm/serve.c hsm/serve.h \
	hsm/session.c hsm/session.h \
	hsm/token.c hsm/token.h
libhsm_a_CFLAGS = $(AM_CFLAGS) $(P11KIT_CFLAGS) $(JANSSON_CFLAGS)

pkglibexec_PROGRAMS += keyd-hsm
keyd_hsm_SOURCES = hsm/main.c
keyd_hsm_CFLAGS = $(libhsm_a_CFLAGS)
keyd_hsm_LDADD = libhsm.a libhsmwire.a libbase.a $(P11KIT_LIBS) $(CRYPTO_LIBS) $(JANSSON_LIBS)
