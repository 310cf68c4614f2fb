api_unit_tests = \
	tests/unit/test_api_problem \
	tests/unit/test_api_json_in \
	tests/unit/test_api_jwk \
	tests/unit/test_api_route \
	tests/unit/test_api_openapi \
	tests/unit/test_api_request \
	tests/unit/test_api_intake \
	tests/unit/test_api_connection \
	tests/unit/test_api_listener \
	tests/unit/test_api_est \
	tests/unit/test_api_handlers \
	tests/unit/test_api_channel \
	tests/unit/test_api_cbor \
	tests/unit/test_api_raw \
	tests/unit/test_api_release \
	tests/unit/test_api_alloc \
	tests/unit/test_api_audit \
	tests/unit/test_api_pages \
	tests/unit/test_api_places \
	tests/unit/test_api_share \
	tests/unit/test_api_sources
check_PROGRAMS += $(api_unit_tests)
TESTS += $(api_unit_tests)

# The server in front of a fake service, and a client.
check_LIBRARIES = tests/unit/libapifixture.a
tests_unit_libapifixture_a_SOURCES = \
	tests/unit/api_fixture.c tests/unit/api_fixture.h \
	tests/unit/fake_bootstrap.c \
	tests/unit/fake_channel.c \
	tests/unit/fake_service.c tests/unit/fake_service.h
tests_unit_libapifixture_a_CFLAGS = $(unit_cflags)
# twice: the fixture opens the server, and the server calls the fake service
api_unit_libs = tests/unit/libapifixture.a libapi.a tests/unit/libapifixture.a \
	libkeyd_service.a libca.a libhsmwire.a \
	libbase.a \
	$(api_libs) $(JANSSON_LIBS) $(CHECK_LIBS)

tests_unit_test_api_est_CFLAGS = $(unit_cflags)
tests_unit_test_api_est_SOURCES = tests/unit/test_api_est.c tests/unit/pki.c tests/unit/pki.h
tests_unit_test_api_est_LDADD = $(api_unit_libs)
tests_unit_test_api_problem_CFLAGS = $(unit_cflags)
tests_unit_test_api_problem_LDADD = $(api_unit_libs)
tests_unit_test_api_json_in_SOURCES = tests/unit/test_api_json_in.c \
	tests/unit/json_body.c tests/unit/json_body.h
tests_unit_test_api_json_in_CFLAGS = $(unit_cflags)
tests_unit_test_api_json_in_LDADD = $(api_unit_libs)
tests_unit_test_api_jwk_SOURCES = tests/unit/test_api_jwk.c \
	tests/unit/json_body.c tests/unit/json_body.h
tests_unit_test_api_jwk_CFLAGS = $(unit_cflags)
tests_unit_test_api_jwk_LDADD = $(api_unit_libs)
tests_unit_test_api_route_CFLAGS = $(unit_cflags)
tests_unit_test_api_route_LDADD = $(api_unit_libs)
tests_unit_test_api_openapi_CFLAGS = $(unit_cflags)
tests_unit_test_api_openapi_LDADD = $(api_unit_libs)
tests_unit_test_api_pages_CFLAGS = $(unit_cflags)
tests_unit_test_api_pages_LDADD = $(api_unit_libs)
tests_unit_test_api_request_CFLAGS = $(unit_cflags)
tests_unit_test_api_request_LDADD = $(api_unit_libs)
tests_unit_test_api_intake_CFLAGS = $(unit_cflags)
tests_unit_test_api_intake_LDADD = $(api_unit_libs)
tests_unit_test_api_connection_CFLAGS = $(unit_cflags)
tests_unit_test_api_connection_LDADD = $(api_unit_libs)
tests_unit_test_api_listener_CFLAGS = $(unit_cflags)
tests_unit_test_api_listener_LDADD = $(api_unit_libs)
tests_unit_test_api_handlers_CFLAGS = $(unit_cflags)
tests_unit_test_api_handlers_LDADD = $(api_unit_libs)
tests_unit_test_api_channel_CFLAGS = $(unit_cflags)
tests_unit_test_api_channel_LDADD = $(api_unit_libs)
tests_unit_test_api_cbor_CFLAGS = $(unit_cflags)
tests_unit_test_api_raw_CFLAGS = $(unit_cflags)
tests_unit_test_api_cbor_LDADD = $(api_unit_libs)
tests_unit_test_api_raw_LDADD = $(api_unit_libs)
tests_unit_test_api_release_CFLAGS = $(unit_cflags)
tests_unit_test_api_release_LDADD = $(api_unit_libs)
tests_unit_test_api_places_SOURCES = tests/unit/test_api_places.c $(failing_memory)
tests_unit_test_api_places_CFLAGS = $(unit_cflags)
tests_unit_test_api_places_LDADD = $(api_unit_libs)
tests_unit_test_api_places_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_api_share_CFLAGS = $(unit_cflags)
tests_unit_test_api_share_LDADD = $(api_unit_libs)
tests_unit_test_api_sources_SOURCES = tests/unit/test_api_sources.c $(failing_memory)
tests_unit_test_api_sources_CFLAGS = $(unit_cflags)
tests_unit_test_api_sources_LDADD = $(api_unit_libs)
tests_unit_test_api_sources_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_api_audit_CFLAGS = $(unit_cflags)
tests_unit_test_api_audit_LDADD = $(api_unit_libs)
tests_unit_test_api_alloc_SOURCES = tests/unit/test_api_alloc.c tests/unit/pki.c tests/unit/pki.h \
	$(failing_memory)
tests_unit_test_api_alloc_CFLAGS = $(unit_cflags)
tests_unit_test_api_alloc_LDADD = $(api_unit_libs)
tests_unit_test_api_alloc_LDFLAGS = $(failing_memory_ldflags)
