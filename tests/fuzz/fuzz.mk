# Fuzz targets.  Each is replayed over its corpus by `make check`; with
# --enable-fuzz (clang) each is also a libFuzzer program:
#     tests/fuzz/fuzz_cbor -max_total_time=60 NEWDIR tests/fuzz/corpus/cbor
EXTRA_DIST += tests/fuzz/fuzz.h tests/fuzz/corpus

fuzz_cbor_sources = tests/fuzz/fuzz_cbor.c
fuzz_edhoc_sources = tests/fuzz/fuzz_edhoc.c tests/unit/edhoc_pair.c tests/unit/edhoc_pair.h
fuzz_envelope_sources = tests/fuzz/fuzz_envelope.c
fuzz_fetch_sources = tests/fuzz/fuzz_fetch.c
fuzz_record_sources = tests/fuzz/fuzz_record.c
fuzz_libs = libchannel.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)

if HAVE_CHECK
fuzz_replays = tests/fuzz/replay_cbor tests/fuzz/replay_edhoc tests/fuzz/replay_envelope tests/fuzz/replay_fetch tests/fuzz/replay_record
check_PROGRAMS += $(fuzz_replays)
TESTS += $(fuzz_replays)

tests_fuzz_replay_cbor_SOURCES = $(fuzz_cbor_sources) tests/fuzz/replay.c
tests_fuzz_replay_cbor_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"cbor"'
tests_fuzz_replay_cbor_CFLAGS = $(unit_cflags)
tests_fuzz_replay_cbor_LDADD = $(fuzz_libs)
tests_fuzz_replay_edhoc_SOURCES = $(fuzz_edhoc_sources) tests/fuzz/replay.c
tests_fuzz_replay_edhoc_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"edhoc"'
tests_fuzz_replay_edhoc_CFLAGS = $(unit_cflags)
tests_fuzz_replay_edhoc_LDADD = $(fuzz_libs)
tests_fuzz_replay_envelope_SOURCES = $(fuzz_envelope_sources) tests/fuzz/replay.c
tests_fuzz_replay_envelope_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"envelope"'
tests_fuzz_replay_envelope_CFLAGS = $(unit_cflags)
tests_fuzz_replay_envelope_LDADD = $(fuzz_libs)
tests_fuzz_replay_fetch_SOURCES = $(fuzz_fetch_sources) tests/fuzz/replay.c
tests_fuzz_replay_fetch_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"fetch"'
tests_fuzz_replay_fetch_CFLAGS = $(unit_cflags)
tests_fuzz_replay_fetch_LDADD = libfetchwire.a $(fuzz_libs)
tests_fuzz_replay_record_SOURCES = $(fuzz_record_sources) tests/fuzz/replay.c
tests_fuzz_replay_record_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"record"'
tests_fuzz_replay_record_CFLAGS = $(unit_cflags)
tests_fuzz_replay_record_LDADD = $(fuzz_libs)
endif

if FUZZ
fuzz_ldflags = $(AM_LDFLAGS) -fsanitize=fuzzer
noinst_PROGRAMS += tests/fuzz/fuzz_cbor tests/fuzz/fuzz_edhoc tests/fuzz/fuzz_envelope tests/fuzz/fuzz_fetch tests/fuzz/fuzz_record
tests_fuzz_fuzz_cbor_SOURCES = $(fuzz_cbor_sources)
tests_fuzz_fuzz_cbor_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_cbor_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_cbor_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_edhoc_SOURCES = $(fuzz_edhoc_sources)
tests_fuzz_fuzz_edhoc_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_edhoc_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_edhoc_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_envelope_SOURCES = $(fuzz_envelope_sources)
tests_fuzz_fuzz_envelope_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_envelope_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_envelope_LDADD = $(fuzz_libs)
tests_fuzz_fuzz_fetch_SOURCES = $(fuzz_fetch_sources)
tests_fuzz_fuzz_fetch_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_fetch_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_fetch_LDADD = libfetchwire.a $(fuzz_libs)
tests_fuzz_fuzz_record_SOURCES = $(fuzz_record_sources)
tests_fuzz_fuzz_record_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_record_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_record_LDADD = $(fuzz_libs)
endif
