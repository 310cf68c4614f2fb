bench_modules = \
	tests/bench/alt_agent.py \
	tests/bench/alt_common.py \
	tests/bench/alt_engine.py \
	tests/bench/alt_p11_kit.py \
	tests/bench/alt_tang.py \
	tests/bench/alternatives.py \
	tests/bench/bench.py \
	tests/bench/keyd_rates.py \
	tests/bench/limits.py \
	tests/bench/load.py \
	tests/bench/report.py \
	tests/bench/sizes.py \
	tests/bench/slow.py
EXTRA_DIST += $(bench_modules) tests/bench/slow_module.c tests/bench/alt_turn.h

EXTRA_PROGRAMS = tests/bench/http_load tests/bench/alt_module tests/bench/alt_engine
tests_bench_http_load_SOURCES = tests/bench/http_load.c tests/bench/input.c tests/bench/input.h
tests_bench_http_load_LDADD = libclient.a libbase.a $(CRYPTO_LIBS)
tests_bench_alt_module_CFLAGS = $(AM_CFLAGS) $(P11KIT_CFLAGS)
tests_bench_alt_module_LDADD = -ldl
tests_bench_alt_engine_LDADD = $(CRYPTO_LIBS)
CLEANFILES += tests/bench/http_load tests/bench/alt_module tests/bench/alt_engine \
	tests/bench/slow_module.so tests/bench/benchmark.json \
	tests/bench/benchmark.txt tests/bench/benchmark.svg

tests/bench/slow_module.so: tests/bench/slow_module.c
	$(AM_V_CC)$(MKDIR_P) tests/bench && \
	$(CC) -std=gnu11 -O2 -g -fPIC -shared -Wall -Wextra $(P11KIT_CFLAGS) \
		-o $@ $(top_srcdir)/tests/bench/slow_module.c -ldl -pthread

# Writes tests/bench/benchmark.txt and .svg in the build tree.
bench: all tests/bench/http_load tests/bench/alt_module tests/bench/alt_engine \
		tests/bench/slow_module.so tests/system/peer
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' \
	$(PYTHON3) $(srcdir)/tests/bench/bench.py
.PHONY: bench

# Puts what `make bench` has measured last into the documentation.
bench-docs:
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' \
	$(PYTHON3) $(srcdir)/tests/bench/bench.py --docs
.PHONY: bench-docs

# The table and the plot of fixed figures.
TESTS += tests/bench/test_report.py
EXTRA_DIST += tests/bench/test_report.py

# Bytes of handshakes: EDHOC against TLS.
check_PROGRAMS += tests/bench/handshake_bytes
EXTRA_DIST += tests/bench/handshake_bytes.py
tests_bench_handshake_bytes_LDADD = libchannel.a libbase.a $(CRYPTO_LIBS)

bench-bytes: tests/bench/handshake_bytes
	KD_BUILDDIR='$(abs_top_builddir)' $(PYTHON3) $(srcdir)/tests/bench/handshake_bytes.py
.PHONY: bench-bytes

# Messages through the gateway.
EXTRA_PROGRAMS += tests/bench/echo tests/bench/gateway_load
EXTRA_DIST += tests/bench/gateway_bench.py
tests_bench_echo_CFLAGS = $(AM_CFLAGS) $(MHD_CFLAGS)
tests_bench_echo_LDADD = $(MHD_LIBS)
tests_bench_gateway_load_SOURCES = tests/bench/gateway_load.c \
	tests/bench/input.c tests/bench/input.h
tests_bench_gateway_load_LDADD = libclient.a libbase.a $(CRYPTO_LIBS)
CLEANFILES += tests/bench/echo tests/bench/gateway_load

bench-gateway: all tests/bench/echo tests/bench/gateway_load tests/system/peer
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' \
	$(PYTHON3) $(srcdir)/tests/bench/gateway_bench.py
.PHONY: bench-gateway

# Records as a device's library makes them, against bare AES-256-GCM; and the library's size.
check_PROGRAMS += tests/bench/records
TESTS += tests/bench/test_records.sh
EXTRA_DIST += tests/bench/test_records.sh
tests_bench_records_SOURCES = tests/bench/records.c
tests_bench_records_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
# What libkeyd hides, as it was compiled for it.
tests_bench_records_LDADD = $(client_libkeyd_la_OBJECTS) $(CURL_LIBS) $(CRYPTO_LIBS)

bench-client: client/libkeyd.la client/libkeyd-service.la tests/bench/records
	tests/bench/records
	size client/.libs/libkeyd.so client/.libs/libkeyd-service.so
.PHONY: bench-client
