gateway_unit_tests = tests/unit/test_gateway_config
check_PROGRAMS += $(gateway_unit_tests)
TESTS += $(gateway_unit_tests)
tests_unit_test_gateway_config_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_config_LDADD = $(gateway_libs) $(CHECK_LIBS)
