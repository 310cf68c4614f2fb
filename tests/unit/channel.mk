channel_unit_tests = \
	tests/unit/test_channel_nomem \
	tests/unit/test_cred \
	tests/unit/test_edhoc \
	tests/unit/test_edhoc_refusals \
	tests/unit/test_edhoc_traces \
	tests/unit/test_host \
	tests/unit/test_hpke \
	tests/unit/test_otp \
	tests/unit/test_envelope \
	tests/unit/test_frame \
	tests/unit/test_record \
	tests/unit/test_window
check_PROGRAMS += $(channel_unit_tests)
TESTS += $(channel_unit_tests)

channel_unit_cflags = $(unit_cflags) $(JANSSON_CFLAGS)
channel_unit_libs = libchannel.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS) $(JANSSON_LIBS)
channel_unit_helpers = tests/unit/vectors.c tests/unit/vectors.h

tests_unit_test_edhoc_traces_SOURCES = tests/unit/test_edhoc_traces.c \
	tests/unit/replay_keys.c tests/unit/replay_keys.h $(channel_unit_helpers)
tests_unit_test_edhoc_traces_CFLAGS = $(channel_unit_cflags)
tests_unit_test_edhoc_traces_LDADD = $(channel_unit_libs)
tests_unit_test_edhoc_SOURCES = tests/unit/test_edhoc.c \
	tests/unit/edhoc_pair.c tests/unit/edhoc_pair.h $(channel_unit_helpers)
tests_unit_test_edhoc_CFLAGS = $(channel_unit_cflags)
tests_unit_test_edhoc_LDADD = $(channel_unit_libs)
tests_unit_test_edhoc_refusals_SOURCES = tests/unit/test_edhoc_refusals.c \
	tests/unit/edhoc_pair.c tests/unit/edhoc_pair.h $(channel_unit_helpers)
tests_unit_test_edhoc_refusals_CFLAGS = $(channel_unit_cflags)
tests_unit_test_edhoc_refusals_LDADD = $(channel_unit_libs)
tests_unit_test_hpke_SOURCES = tests/unit/test_hpke.c \
	tests/unit/replay_keys.c tests/unit/replay_keys.h $(channel_unit_helpers)
tests_unit_test_hpke_CFLAGS = $(channel_unit_cflags)
tests_unit_test_hpke_LDADD = $(channel_unit_libs)
tests_unit_test_otp_SOURCES = tests/unit/test_otp.c $(channel_unit_helpers)
tests_unit_test_otp_CFLAGS = $(channel_unit_cflags)
tests_unit_test_otp_LDADD = $(channel_unit_libs)
tests_unit_test_envelope_SOURCES = tests/unit/test_envelope.c \
	tests/unit/replay_keys.c tests/unit/replay_keys.h $(channel_unit_helpers)
tests_unit_test_frame_SOURCES = tests/unit/test_frame.c $(channel_unit_helpers)
tests_unit_test_envelope_CFLAGS = $(channel_unit_cflags)
tests_unit_test_frame_CFLAGS = $(channel_unit_cflags)
tests_unit_test_envelope_LDADD = $(channel_unit_libs)
tests_unit_test_frame_LDADD = $(channel_unit_libs)
tests_unit_test_record_SOURCES = tests/unit/test_record.c $(channel_unit_helpers)
tests_unit_test_record_CFLAGS = $(channel_unit_cflags)
tests_unit_test_record_LDADD = $(channel_unit_libs)
tests_unit_test_window_SOURCES = tests/unit/test_window.c $(channel_unit_helpers)
tests_unit_test_window_CFLAGS = $(channel_unit_cflags)
tests_unit_test_window_LDADD = $(channel_unit_libs)
tests_unit_test_host_SOURCES = tests/unit/test_host.c $(channel_unit_helpers)
tests_unit_test_host_CFLAGS = $(channel_unit_cflags)
tests_unit_test_host_LDADD = $(channel_unit_libs)
tests_unit_test_cred_SOURCES = tests/unit/test_cred.c $(channel_unit_helpers)
tests_unit_test_cred_CFLAGS = $(channel_unit_cflags)
tests_unit_test_cred_LDADD = $(channel_unit_libs)
tests_unit_test_channel_nomem_SOURCES = tests/unit/test_channel_nomem.c \
	tests/unit/edhoc_pair.c tests/unit/edhoc_pair.h $(channel_unit_helpers) $(failing_memory)
tests_unit_test_channel_nomem_CFLAGS = $(channel_unit_cflags)
tests_unit_test_channel_nomem_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_channel_nomem_LDADD = $(channel_unit_libs)
