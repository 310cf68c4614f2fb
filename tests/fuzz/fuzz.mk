# Fuzz targets.  Each is replayed over its corpus by `make check`; with
# --enable-fuzz (clang) each is also a libFuzzer program:
#     tests/fuzz/fuzz_cbor -max_total_time=60 NEWDIR tests/fuzz/corpus/cbor
EXTRA_DIST += tests/fuzz/fuzz.h tests/fuzz/corpus

if HAVE_CHECK
fuzz_replays = tests/fuzz/replay_cbor
check_PROGRAMS += $(fuzz_replays)
TESTS += $(fuzz_replays)

tests_fuzz_replay_cbor_SOURCES = tests/fuzz/fuzz_cbor.c tests/fuzz/replay.c
tests_fuzz_replay_cbor_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"cbor"'
tests_fuzz_replay_cbor_CFLAGS = $(unit_cflags)
tests_fuzz_replay_cbor_LDADD = libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
endif

if FUZZ
fuzz_flags = -fsanitize=fuzzer
noinst_PROGRAMS += tests/fuzz/fuzz_cbor
tests_fuzz_fuzz_cbor_SOURCES = tests/fuzz/fuzz_cbor.c
tests_fuzz_fuzz_cbor_LDFLAGS = $(AM_LDFLAGS) $(fuzz_flags)
tests_fuzz_fuzz_cbor_LDADD = libbase.a $(CRYPTO_LIBS)
endif
