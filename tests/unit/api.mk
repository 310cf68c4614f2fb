api_unit_tests = \
	tests/unit/test_api_request \
	tests/unit/test_api_connection
check_PROGRAMS += $(api_unit_tests)
TESTS += $(api_unit_tests)

# The server in front of a fake service, and a client.
check_LIBRARIES = tests/unit/libapifixture.a
tests_unit_libapifixture_a_SOURCES = \
	tests/unit/api_fixture.c tests/unit/api_fixture.h \
	tests/unit/fake_service.c tests/unit/fake_service.h
tests_unit_libapifixture_a_CFLAGS = $(unit_cflags)
api_unit_libs = tests/unit/libapifixture.a libapi.a libhsmwire.a libbase.a $(api_libs) $(CHECK_LIBS)

tests_unit_test_api_request_CFLAGS = $(unit_cflags)
tests_unit_test_api_request_LDADD = $(api_unit_libs)
tests_unit_test_api_connection_CFLAGS = $(unit_cflags)
tests_unit_test_api_connection_LDADD = $(api_unit_libs)
