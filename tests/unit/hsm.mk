hsm_unit_tests = \
	tests/unit/test_hsm_channel_nss \
	tests/unit/test_hsm_channel_softhsm \
	tests/unit/test_hsm_faults \
	tests/unit/test_hsm_memory \
	tests/unit/test_hsm_nss \
	tests/unit/test_hsm_secrets \
	tests/unit/test_hsm_softhsm \
	tests/unit/test_hsm_vendors \
	tests/unit/test_names \
	tests/unit/test_serve \
	tests/unit/test_wire \
	tests/unit/test_wire_channel
check_PROGRAMS += $(hsm_unit_tests)
TESTS += $(hsm_unit_tests)

hsm_wire_test_libs = libhsmwire.a libchannel.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
hsm_test_cflags = $(unit_cflags) $(P11KIT_CFLAGS) $(JANSSON_CFLAGS)
hsm_test_libs = libhsm.a libhsmwire.a libchannel.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS) $(P11KIT_LIBS) $(JANSSON_LIBS)
hsm_token_sources = \
	tests/unit/exec_call.c tests/unit/exec_call.h \
	tests/unit/hsm_token_cases.c tests/unit/hsm_token_cases.h \
	tests/unit/hsm_rewrap_cases.c \
	tests/unit/hsm_wycheproof.c \
	tests/unit/token_fixture.c tests/unit/token_fixture.h

hsm_channel_sources = \
	tests/unit/exec_call.c tests/unit/exec_call.h \
	tests/unit/hsm_channel_cases.c tests/unit/hsm_channel_cases.h \
	tests/unit/hsm_channel_peer.c tests/unit/hsm_channel_peer.h \
	tests/unit/token_fixture.c tests/unit/token_fixture.h

tests_unit_test_hsm_channel_nss_SOURCES = tests/unit/test_hsm_channel_nss.c $(hsm_channel_sources)
tests_unit_test_hsm_channel_nss_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_channel_nss_LDADD = $(hsm_test_libs)
tests_unit_test_hsm_channel_softhsm_SOURCES = tests/unit/test_hsm_channel_softhsm.c \
	$(hsm_channel_sources)
tests_unit_test_hsm_channel_softhsm_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_channel_softhsm_LDADD = $(hsm_test_libs)

hsm_fake_sources = \
	tests/unit/exec_call.c tests/unit/exec_call.h \
	tests/unit/fake_crypto.c \
	tests/unit/fake_fixture.c tests/unit/fake_fixture.h \
	tests/unit/fake_p11.c tests/unit/fake_p11.h tests/unit/fake_state.h

tests_unit_test_hsm_secrets_SOURCES = tests/unit/test_hsm_secrets.c $(hsm_fake_sources)
tests_unit_test_hsm_secrets_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_secrets_LDADD = $(hsm_test_libs)
tests_unit_test_hsm_faults_SOURCES = tests/unit/test_hsm_faults.c $(hsm_fake_sources)
tests_unit_test_hsm_faults_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_faults_LDADD = $(hsm_test_libs)
tests_unit_test_hsm_vendors_SOURCES = tests/unit/test_hsm_vendors.c $(hsm_fake_sources)
tests_unit_test_hsm_vendors_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_vendors_LDADD = $(hsm_test_libs)
tests_unit_test_hsm_memory_SOURCES = tests/unit/test_hsm_memory.c $(hsm_fake_sources) \
	tests/unit/hsm_channel_peer.c tests/unit/hsm_channel_peer.h \
	tests/unit/token_fixture.c tests/unit/token_fixture.h $(failing_memory)
tests_unit_test_hsm_memory_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_memory_LDFLAGS = $(failing_memory_ldflags) -Wl,--wrap=kd_exec_request
tests_unit_test_hsm_memory_LDADD = $(hsm_test_libs)
tests_unit_test_hsm_nss_SOURCES = tests/unit/test_hsm_nss.c $(hsm_token_sources)
tests_unit_test_hsm_nss_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_nss_LDADD = $(hsm_test_libs)
tests_unit_test_hsm_softhsm_SOURCES = tests/unit/test_hsm_softhsm.c $(hsm_token_sources)
tests_unit_test_hsm_softhsm_CFLAGS = $(hsm_test_cflags)
tests_unit_test_hsm_softhsm_LDADD = $(hsm_test_libs)
tests_unit_test_names_CFLAGS = $(unit_cflags)
tests_unit_test_names_LDADD = $(hsm_wire_test_libs)
tests_unit_test_serve_SOURCES = tests/unit/test_serve.c \
	tests/unit/token_fixture.c tests/unit/token_fixture.h
tests_unit_test_serve_CFLAGS = $(hsm_test_cflags)
tests_unit_test_serve_LDADD = $(hsm_test_libs)
tests_unit_test_wire_SOURCES = tests/unit/test_wire.c \
	tests/unit/wire_samples.c tests/unit/wire_samples.h
tests_unit_test_wire_channel_SOURCES = tests/unit/test_wire_channel.c \
	tests/unit/wire_samples.c tests/unit/wire_samples.h
tests_unit_test_wire_channel_CFLAGS = $(unit_cflags)
tests_unit_test_wire_channel_LDADD = $(hsm_wire_test_libs)
tests_unit_test_wire_CFLAGS = $(unit_cflags)
tests_unit_test_wire_LDADD = $(hsm_wire_test_libs)
EXTRA_DIST += \
	tests/vectors/wycheproof/LICENSE \
	tests/vectors/wycheproof/README.md \
	tests/vectors/wycheproof/aes_gcm_test.json \
	tests/vectors/wycheproof/ecdh_secp256r1_ecpoint_test.json \
	tests/vectors/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json \
	tests/vectors/wycheproof/hkdf_sha256_test.json \
	tests/vectors/wycheproof/hmac_sha256_test.json
