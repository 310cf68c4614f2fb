# libfetchwire.a: what keyd links.  keyd-fetch: the process that gets certificates.
noinst_LIBRARIES += libfetchwire.a
libfetchwire_a_SOURCES = fetch/fetch.h fetch/uri.c fetch/wire.c

noinst_LIBRARIES += libfetch.a
libfetch_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
libfetch_a_SOURCES = \
	fetch/address.c fetch/address.h \
	fetch/get.c fetch/get.h

pkglibexec_PROGRAMS += keyd-fetch
keyd_fetch_CFLAGS = $(libfetch_a_CFLAGS)
keyd_fetch_SOURCES = fetch/main.c
keyd_fetch_LDADD = libfetch.a libfetchwire.a libconfine.a libbase.a $(CURL_LIBS) $(SECCOMP_LIBS) $(CRYPTO_LIBS)
