client_unit_tests = \
	tests/unit/test_args \
	tests/unit/test_bench \
	tests/unit/test_ctl \
	tests/unit/test_device_calls \
	tests/unit/test_device_ask \
	tests/unit/test_ctl_memory \
	tests/unit/test_device_http \
	tests/unit/test_device_link \
	tests/unit/test_device_memory \
	tests/unit/test_device_renew \
	tests/unit/test_device_wire \
	tests/unit/test_doctor \
	tests/unit/test_eckey \
	tests/unit/test_histogram \
	tests/unit/test_io \
	tests/unit/test_keyd_service \
	tests/unit/test_keyd_service_batch \
	tests/unit/test_keyd_service_objects \
	tests/unit/test_keyd_service_openapi \
	tests/unit/test_load \
	tests/unit/test_output \
	tests/unit/test_process \
	tests/unit/test_provision \
	tests/unit/test_session_memory \
	tests/unit/test_rest \
	tests/unit/test_selfcert \
	tests/unit/test_settings \
	tests/unit/test_setup
check_PROGRAMS += $(client_unit_tests)
TESTS += $(client_unit_tests)

client_unit_cflags = $(unit_cflags) $(libclient_a_CFLAGS)
client_unit_libs = $(client_libs) $(CHECK_LIBS)
fake_http = tests/unit/fake_http.c tests/unit/fake_http.h tests/unit/run_ctl.h
tests_unit_test_args_CFLAGS = $(client_unit_cflags)
tests_unit_test_args_LDADD = $(client_unit_libs)
tests_unit_test_ctl_SOURCES = tests/unit/test_ctl.c $(fake_http)
tests_unit_test_ctl_CFLAGS = $(client_unit_cflags)
tests_unit_test_ctl_LDADD = $(client_unit_libs)
tests_unit_test_device_link_CFLAGS = $(client_unit_cflags)
tests_unit_test_device_link_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=poll,--wrap=getaddrinfo,--wrap=freeaddrinfo
tests_unit_test_device_link_LDADD = $(client_unit_libs)
tests_unit_test_ctl_memory_SOURCES = tests/unit/test_ctl_memory.c $(fake_http) $(failing_memory)
tests_unit_test_ctl_memory_CFLAGS = $(client_unit_cflags)
tests_unit_test_ctl_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_ctl_memory_LDADD = $(client_unit_libs)
tests_unit_test_device_wire_CFLAGS = $(client_unit_cflags)
tests_unit_test_device_wire_LDADD = $(client_unit_libs)
tests_unit_test_eckey_CFLAGS = $(client_unit_cflags)
tests_unit_test_eckey_LDADD = $(client_unit_libs)
tests_unit_test_io_CFLAGS = $(client_unit_cflags)
tests_unit_test_io_LDADD = $(client_unit_libs)
tests_unit_test_load_SOURCES = tests/unit/test_load.c $(fake_http)
tests_unit_test_load_CFLAGS = $(client_unit_cflags)
tests_unit_test_load_LDADD = $(client_unit_libs)
tests_unit_test_output_CFLAGS = $(client_unit_cflags)
tests_unit_test_output_LDADD = $(client_unit_libs)
tests_unit_test_process_CFLAGS = $(client_unit_cflags)
tests_unit_test_process_LDADD = $(client_unit_libs)
tests_unit_test_rest_SOURCES = tests/unit/test_rest.c $(fake_http)
tests_unit_test_rest_CFLAGS = $(client_unit_cflags)
tests_unit_test_rest_LDADD = $(client_unit_libs)
tests_unit_test_selfcert_CFLAGS = $(client_unit_cflags)
tests_unit_test_selfcert_LDADD = $(client_unit_libs)
tests_unit_test_settings_CFLAGS = $(client_unit_cflags)
tests_unit_test_settings_LDADD = $(client_unit_libs)
tests_unit_test_setup_CFLAGS = $(client_unit_cflags)
tests_unit_test_setup_LDADD = $(client_unit_libs)
tests_unit_test_bench_SOURCES = tests/unit/test_bench.c $(fake_http)
tests_unit_test_bench_CFLAGS = $(client_unit_cflags)
tests_unit_test_bench_LDADD = $(client_unit_libs)
tests_unit_test_doctor_SOURCES = tests/unit/test_doctor.c $(fake_http)
tests_unit_test_doctor_CFLAGS = $(client_unit_cflags)
tests_unit_test_doctor_LDADD = $(client_unit_libs)
tests_unit_test_histogram_CFLAGS = $(client_unit_cflags)
tests_unit_test_histogram_LDADD = $(client_unit_libs)
app_fixture = tests/unit/app_fixture.c tests/unit/app_fixture.h tests/unit/keyd_assert.h \
	$(fake_http) $(failing_memory)
tests_unit_test_keyd_service_SOURCES = tests/unit/test_keyd_service.c $(app_fixture)
tests_unit_test_keyd_service_CFLAGS = $(client_unit_cflags)
tests_unit_test_keyd_service_LDADD = $(client_unit_libs)
tests_unit_test_keyd_service_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_keyd_service_batch_SOURCES = tests/unit/test_keyd_service_batch.c $(app_fixture)
tests_unit_test_keyd_service_batch_CFLAGS = $(client_unit_cflags)
tests_unit_test_keyd_service_batch_LDADD = $(client_unit_libs)
tests_unit_test_keyd_service_batch_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_keyd_service_objects_SOURCES = tests/unit/test_keyd_service_objects.c $(app_fixture)
tests_unit_test_keyd_service_objects_CFLAGS = $(client_unit_cflags)
tests_unit_test_keyd_service_objects_LDADD = $(client_unit_libs)
tests_unit_test_keyd_service_objects_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_keyd_service_openapi_SOURCES = tests/unit/test_keyd_service_openapi.c $(app_fixture)
tests_unit_test_keyd_service_openapi_CFLAGS = $(client_unit_cflags)
tests_unit_test_keyd_service_openapi_LDADD = $(client_unit_libs)
tests_unit_test_keyd_service_openapi_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_provision_SOURCES = tests/unit/test_provision.c \
	tests/unit/keyd_assert.h $(fake_tls) $(failing_memory)
tests_unit_test_provision_CFLAGS = $(unit_cflags)
tests_unit_test_provision_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_provision_LDADD = $(client_unit_libs) -lssl
tests_unit_test_device_http_SOURCES = tests/unit/test_device_http.c $(fake_tls) $(failing_memory)
tests_unit_test_device_http_CFLAGS = $(unit_cflags) $(CURL_CFLAGS)
tests_unit_test_device_http_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_device_http_LDADD = $(client_unit_libs) -lssl
device_pair = tests/unit/device_pair.c tests/unit/device_pair.h \
	tests/unit/device_server.c tests/unit/device_server.h tests/unit/folder.h \
	tests/unit/keyd_assert.h
tests_unit_test_device_ask_SOURCES = tests/unit/test_device_ask.c $(device_pair) \
	tests/unit/pki.c tests/unit/pki.h $(failing_memory)
tests_unit_test_device_ask_CFLAGS = $(unit_cflags)
tests_unit_test_device_ask_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_device_ask_LDADD = $(client_unit_libs)
tests_unit_test_device_renew_SOURCES = tests/unit/test_device_renew.c $(device_pair) \
	tests/unit/pki.c tests/unit/pki.h $(failing_memory)
tests_unit_test_device_renew_CFLAGS = $(unit_cflags)
tests_unit_test_device_renew_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_device_renew_LDADD = $(client_unit_libs)
tests_unit_test_session_memory_SOURCES = tests/unit/test_session_memory.c $(device_pair) \
	tests/unit/pki.c tests/unit/pki.h $(failing_memory)
tests_unit_test_session_memory_CFLAGS = $(unit_cflags)
tests_unit_test_session_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_session_memory_LDADD = $(client_unit_libs)
tests_unit_test_device_calls_SOURCES = tests/unit/test_device_calls.c $(device_pair) \
	tests/unit/pki.c tests/unit/pki.h $(failing_memory)
tests_unit_test_device_calls_CFLAGS = $(unit_cflags)
tests_unit_test_device_calls_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_device_calls_LDADD = $(client_unit_libs)
tests_unit_test_device_memory_SOURCES = tests/unit/test_device_memory.c \
	tests/unit/pki.c tests/unit/pki.h $(failing_memory)
tests_unit_test_device_memory_CFLAGS = $(unit_cflags)
tests_unit_test_device_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_device_memory_LDADD = $(client_unit_libs)
