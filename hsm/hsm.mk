# libhsmwire.a: what the front process links.  libhsm.a: the worker and its tests.
noinst_LIBRARIES += libhsmwire.a libhsm.a
libhsmwire_a_SOURCES = \
	hsm/channel.h hsm/hsm.h \
	hsm/names.c \
	hsm/wire.c hsm/wire.h \
	hsm/wire_channel.c \
	hsm/wire_hello.c

libhsm_a_SOURCES = \
	hsm/bench.c \
	hsm/channel_ops.h \
	hsm/ckr.c hsm/p11.h \
	hsm/command.c hsm/command.h \
	hsm/derive.c \
	hsm/describe.c \
	hsm/exec.c hsm/exec.h \
	hsm/gcm.c hsm/gcm.h \
	hsm/handshakes.c hsm/handshakes.h \
	hsm/hkdf.c \
	hsm/host.c \
	hsm/login.c \
	hsm/manage.c \
	hsm/module.c hsm/module.h \
	hsm/objects.c \
	hsm/open.c hsm/open.h \
	hsm/operate.c \
	hsm/pair.c \
	hsm/pinned.c hsm/pinned.h \
	hsm/probe.c hsm/probe.h \
	hsm/proof.c \
	hsm/records.c \
	hsm/secrets.c \
	hsm/serve.c hsm/serve.h \
	hsm/session.c hsm/session.h \
	hsm/ticket.c hsm/ticket.h \
	hsm/steps.c \
	hsm/token.c hsm/token.h \
	hsm/token_keys.c hsm/token_keys.h \
	hsm/traffic_cache.c \
	hsm/traffic_token.c hsm/traffic_token.h
libhsm_a_CFLAGS = $(AM_CFLAGS) $(P11KIT_CFLAGS) $(JANSSON_CFLAGS)

pkglibexec_PROGRAMS += keyd-hsm
keyd_hsm_SOURCES = hsm/main.c
keyd_hsm_CFLAGS = $(libhsm_a_CFLAGS)
keyd_hsm_LDADD = libhsm.a libhsmwire.a libchannel.a libconfine.a libbase.a $(SECCOMP_LIBS) $(P11KIT_LIBS) $(CRYPTO_LIBS) $(JANSSON_LIBS)
