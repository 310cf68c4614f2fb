EXTRA_DIST += tests/bench/bench.py

EXTRA_PROGRAMS = tests/bench/http_load
tests_bench_http_load_LDADD = libclient.a libbase.a $(CRYPTO_LIBS)
CLEANFILES += tests/bench/http_load

bench: all tests/bench/http_load
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' \
	$(PYTHON3) $(srcdir)/tests/bench/bench.py
.PHONY: bench

# Bytes of handshakes: EDHOC against TLS.
EXTRA_PROGRAMS += tests/bench/handshake_bytes
EXTRA_DIST += tests/bench/handshake_bytes.py
tests_bench_handshake_bytes_LDADD = libchannel.a libbase.a $(CRYPTO_LIBS)
CLEANFILES += tests/bench/handshake_bytes

bench-bytes: tests/bench/handshake_bytes
	KD_BUILDDIR='$(abs_top_builddir)' $(PYTHON3) $(srcdir)/tests/bench/handshake_bytes.py
.PHONY: bench-bytes

# The secure channel: handshakes, records, many sessions.
EXTRA_DIST += tests/bench/channel_bench.py

bench-channel: all tests/system/peer
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' \
	$(PYTHON3) $(srcdir)/tests/bench/channel_bench.py
.PHONY: bench-channel

# Messages through the gateway.
EXTRA_PROGRAMS += tests/bench/echo
EXTRA_DIST += tests/bench/gateway_bench.py
tests_bench_echo_CFLAGS = $(AM_CFLAGS) $(MHD_CFLAGS)
tests_bench_echo_LDADD = $(MHD_LIBS)
CLEANFILES += tests/bench/echo

bench-gateway: all tests/bench/echo tests/system/peer
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' \
	$(PYTHON3) $(srcdir)/tests/bench/gateway_bench.py
.PHONY: bench-gateway

# Records as a device's library makes them, against bare AES-256-GCM; and the library's size.
EXTRA_PROGRAMS += tests/bench/records
tests_bench_records_SOURCES = tests/bench/records.c client/device_session.c
tests_bench_records_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
tests_bench_records_LDADD = libchannel.a libbase.a $(CRYPTO_LIBS)
CLEANFILES += tests/bench/records

bench-client: client/libkeyd.la tests/bench/records
	tests/bench/records
	size client/.libs/libkeyd.so
.PHONY: bench-client
