ca_unit_tests = tests/unit/test_ca tests/unit/test_ca_request
check_PROGRAMS += $(ca_unit_tests)
TESTS += $(ca_unit_tests)

ca_unit_libs = libca.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
tests_unit_test_ca_SOURCES = tests/unit/test_ca.c tests/unit/ca_keys.c tests/unit/ca_keys.h
tests_unit_test_ca_CFLAGS = $(unit_cflags)
tests_unit_test_ca_LDADD = $(ca_unit_libs)
tests_unit_test_ca_request_SOURCES = tests/unit/test_ca_request.c \
	tests/unit/ca_keys.c tests/unit/ca_keys.h
tests_unit_test_ca_request_CFLAGS = $(unit_cflags)
tests_unit_test_ca_request_LDADD = $(ca_unit_libs)
