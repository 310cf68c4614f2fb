hsm_unit_tests = \
	tests/unit/test_names \
	tests/unit/test_wire
check_PROGRAMS += $(hsm_unit_tests)
TESTS += $(hsm_unit_tests)

hsm_wire_test_libs = libhsmwire.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
tests_unit_test_names_CFLAGS = $(unit_cflags)
tests_unit_test_names_LDADD = $(hsm_wire_test_libs)
tests_unit_test_wire_CFLAGS = $(unit_cflags)
tests_unit_test_wire_LDADD = $(hsm_wire_test_libs)
