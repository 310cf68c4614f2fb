base_unit_tests = \
	tests/unit/test_buf \
	tests/unit/test_cbor \
	tests/unit/test_cells \
	tests/unit/test_confine \
	tests/unit/test_chain \
	tests/unit/test_ecdsa \
	tests/unit/test_err \
	tests/unit/test_heap \
	tests/unit/test_json \
	tests/unit/test_json_out \
	tests/unit/test_log \
	tests/unit/test_loop \
	tests/unit/test_map \
	tests/unit/test_secret \
	tests/unit/test_text
check_PROGRAMS += $(base_unit_tests)
TESTS += $(base_unit_tests)

base_unit_libs = libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
tests_unit_test_buf_CFLAGS = $(unit_cflags)
tests_unit_test_buf_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=free
tests_unit_test_buf_LDADD = $(base_unit_libs)
tests_unit_test_cells_CFLAGS = $(unit_cflags)
tests_unit_test_cells_LDADD = $(base_unit_libs)
tests_unit_test_confine_CFLAGS = $(unit_cflags)
tests_unit_test_confine_LDADD = libconfine.a $(base_unit_libs) $(SECCOMP_LIBS)
tests_unit_test_chain_CFLAGS = $(unit_cflags)
tests_unit_test_chain_LDADD = $(base_unit_libs)
tests_unit_test_err_CFLAGS = $(unit_cflags)
tests_unit_test_err_LDADD = $(base_unit_libs)
tests_unit_test_heap_SOURCES = tests/unit/test_heap.c $(failing_memory)
tests_unit_test_heap_CFLAGS = $(unit_cflags)
tests_unit_test_heap_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_heap_LDADD = $(base_unit_libs)
tests_unit_test_json_SOURCES = tests/unit/test_json.c $(failing_memory)
tests_unit_test_json_CFLAGS = $(unit_cflags)
tests_unit_test_json_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_json_LDADD = $(base_unit_libs)
tests_unit_test_json_out_CFLAGS = $(unit_cflags) $(JANSSON_CFLAGS)
tests_unit_test_json_out_LDADD = $(base_unit_libs) $(JANSSON_LIBS)
tests_unit_test_log_CFLAGS = $(unit_cflags)
tests_unit_test_log_LDADD = $(base_unit_libs)
tests_unit_test_loop_CFLAGS = $(unit_cflags)
tests_unit_test_loop_LDADD = $(base_unit_libs)
tests_unit_test_map_CFLAGS = $(unit_cflags)
tests_unit_test_map_LDADD = $(base_unit_libs)
tests_unit_test_secret_CFLAGS = $(unit_cflags)
tests_unit_test_secret_LDADD = $(base_unit_libs)
tests_unit_test_text_CFLAGS = $(unit_cflags)
tests_unit_test_text_LDADD = $(base_unit_libs)

# Vectors are JSON files.
tests_unit_test_cbor_SOURCES = tests/unit/test_cbor.c tests/unit/vectors.c tests/unit/vectors.h
tests_unit_test_cbor_CFLAGS = $(unit_cflags) $(JANSSON_CFLAGS)
tests_unit_test_cbor_LDADD = $(base_unit_libs) $(JANSSON_LIBS)
tests_unit_test_ecdsa_SOURCES = tests/unit/test_ecdsa.c tests/unit/vectors.c tests/unit/vectors.h
tests_unit_test_ecdsa_CFLAGS = $(unit_cflags) $(JANSSON_CFLAGS)
tests_unit_test_ecdsa_LDADD = $(base_unit_libs) $(JANSSON_LIBS)
