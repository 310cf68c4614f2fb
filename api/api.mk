# libapi.a: the HTTP layer, for keyd and its tests.
noinst_LIBRARIES += libapi.a
libapi_a_SOURCES = \
	api/api.h \
	api/channel.h \
	api/audit.c api/backup.c api/ca.c \
	api/connection.c \
	api/credential.c \
	api/devices.c \
	api/est.c \
	api/explain.c \
	api/handshakes.c \
	api/headers.c \
	api/http.c api/http.h \
	api/intake.c \
	api/json_in.c api/json_in.h \
	api/jwk.c api/jwk.h \
	api/keys.c \
	api/listener_tcp.c \
	api/listener_tls.c \
	api/listener_unix.c \
	api/metrics.c api/metrics.h \
	api/openapi.h \
	api/operations.c \
	api/page.c api/page.h \
	api/peers.c \
	api/places.c api/places.h \
	api/problem.c api/problem.h \
	api/envelopes.c \
	api/records.c api/records.h \
	api/release.c \
	api/records_cbor.c \
	api/request.c \
	api/route.c api/route.h \
	api/secrets.c \
	api/sessions.c \
	api/share.c api/share.h \
	api/sources.c api/sources.h \
	api/status.c
nodist_libapi_a_SOURCES = api/openapi.gen.c
libapi_a_CFLAGS = $(AM_CFLAGS) $(MHD_CFLAGS) $(GNUTLS_CFLAGS)

# What a program that links libapi.a needs besides.
api_libs = $(MHD_LIBS) $(GNUTLS_LIBS) $(CRYPTO_LIBS)

EXTRA_DIST += api/openapi.json api/embed.sed
CLEANFILES += api/openapi.gen.c
api/openapi.gen.c: api/openapi.json api/embed.sed
	$(AM_V_GEN)$(MKDIR_P) api && { \
	echo '// Generated from api/openapi.json by api/api.mk.'; \
	echo '#include "api/openapi.h"'; \
	echo 'const char kd_openapi_json[] ='; \
	sed -f $(top_srcdir)/api/embed.sed $(top_srcdir)/api/openapi.json; \
	echo '    ;'; } >$@.tmp && mv $@.tmp $@
