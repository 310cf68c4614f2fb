gateway_unit_tests = tests/unit/test_client_memory \
	tests/unit/test_client_queue \
	tests/unit/test_gateway_client \
	tests/unit/test_gateway_config \
	tests/unit/test_gateway_memory \
	tests/unit/test_gateway_places \
	tests/unit/test_gateway_ready \
	tests/unit/test_gateway_records \
	tests/unit/test_gateway_released \
	tests/unit/test_web_memory
check_PROGRAMS += $(gateway_unit_tests)
TESTS += $(gateway_unit_tests)
tests_unit_test_client_memory_CFLAGS = $(unit_cflags) $(CURL_CFLAGS)
tests_unit_test_client_memory_SOURCES = tests/unit/test_client_memory.c \
	tests/unit/fake_http.c tests/unit/fake_http.h $(failing_memory)
tests_unit_test_client_memory_LDFLAGS = $(failing_memory_ldflags) \
	-Wl,--wrap=curl_global_init_mem,--wrap=curl_easy_setopt \
	-Wl,--wrap=curl_easy_init,--wrap=curl_multi_init,--wrap=curl_multi_add_handle \
	-Wl,--wrap=curl_multi_socket_action
tests_unit_test_client_memory_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_client_queue_CFLAGS = $(unit_cflags)
tests_unit_test_client_queue_SOURCES = tests/unit/test_client_queue.c
tests_unit_test_client_queue_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_client_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_client_SOURCES = tests/unit/test_gateway_client.c \
	tests/unit/fake_http.c tests/unit/fake_http.h
tests_unit_test_gateway_client_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_config_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_config_SOURCES = tests/unit/test_gateway_config.c \
	tests/unit/document.c tests/unit/document.h
tests_unit_test_gateway_config_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_memory_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_memory_SOURCES = tests/unit/test_gateway_memory.c \
	tests/fuzz/fuzz_gateway.c tests/unit/fake_client.c tests/unit/fake_client.h \
	$(failing_memory)
tests_unit_test_gateway_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_gateway_memory_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_places_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_places_SOURCES = tests/unit/test_gateway_places.c \
	tests/unit/fake_client.c tests/unit/fake_client.h
tests_unit_test_gateway_places_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_ready_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_ready_SOURCES = tests/unit/test_gateway_ready.c \
	tests/unit/fake_client.c tests/unit/fake_client.h
tests_unit_test_gateway_ready_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_records_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_records_SOURCES = tests/unit/test_gateway_records.c \
	tests/unit/fake_client.c tests/unit/fake_client.h
tests_unit_test_gateway_records_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_gateway_released_CFLAGS = $(unit_cflags)
tests_unit_test_gateway_released_SOURCES = tests/unit/test_gateway_released.c \
	tests/unit/fake_client.c tests/unit/fake_client.h
tests_unit_test_gateway_released_LDADD = $(gateway_libs) $(CHECK_LIBS)
tests_unit_test_web_memory_CFLAGS = $(unit_cflags)
tests_unit_test_web_memory_SOURCES = tests/unit/test_web_memory.c \
	tests/unit/fake_client.c tests/unit/fake_client.h $(failing_memory)
tests_unit_test_web_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_web_memory_LDADD = $(gateway_libs) $(CHECK_LIBS)
