# Real programs on real tokens.  One program a topic; each runs its cases on
# every token that they concern (tests/system/harness/tap.py).  The longest comes
# first, so that the others run beside it.
system_tests = \
	tests/system/many_sessions.py \
	tests/system/attacks.py \
	tests/system/audit.py \
	tests/system/backup.py \
	tests/system/certificates.py \
	tests/system/certificates_kept.py \
	tests/system/channel.py \
	tests/system/channel_sessions.py \
	tests/system/channel_edges.py \
	tests/system/config.py \
	tests/system/confinement.py \
	tests/system/privileges.py \
	tests/system/connections.py \
	tests/system/derive.py \
	tests/system/device.py \
	tests/system/endpoint.py \
	tests/system/envelopes.py \
	tests/system/faults.py \
	tests/system/fleet.py \
	tests/system/gateway.py \
	tests/system/gateway_limits.py \
	tests/system/gateway_busy.py \
	tests/system/gateway_push.py \
	tests/system/gateway_released.py \
	tests/system/handshake_size.py \
	tests/system/intruder.py \
	tests/system/keydctl.py \
	tests/system/keys.py \
	tests/system/kills.py \
	tests/system/libkeyd.py \
	tests/system/memory.py \
	tests/system/metrics.py \
	tests/system/openapi.py \
	tests/system/overload.py \
	tests/system/operations.py \
	tests/system/pin.py \
	tests/system/places.py \
	tests/system/policy.py \
	tests/system/references.py \
	tests/system/fetching.py \
	tests/system/release.py \
	tests/system/service.py \
	tests/system/service_objects.py \
	tests/system/tls.py \
	tests/system/token_faults.py \
	tests/system/wycheproof.py
repo_tests = tests/check-analysis.sh tests/check-layers.sh tests/check-size.sh \
	tests/check-style.sh

TESTS += $(system_tests)
if !SANITIZE
TESTS += $(repo_tests)
endif

check_DATA = tests/system/faulty.so
CLEANFILES += tests/system/faulty.so
tests/system/faulty.so: tests/system/faulty.c
	$(AM_V_CC)$(MKDIR_P) tests/system && \
	$(CC) -std=gnu11 -O2 -g -fPIC -shared -Wall -Wextra $(P11KIT_CFLAGS) \
		-o $@ $(top_srcdir)/tests/system/faulty.c -ldl

EXTRA_DIST += $(repo_tests) tests/analyzer-suppressions tests/cppcheck-suppressions .clang-tidy $(system_tests) packages run-tests .ci/run \
	tests/system/faulty.c \
	tests/system/harness/__init__.py \
	tests/system/harness/app.py \
	tests/system/harness/boot.py \
	tests/system/harness/cbor.py \
	tests/system/harness/ctl.py \
	tests/system/harness/daemon.py \
	tests/system/harness/described.py \
	tests/system/harness/gateway.py \
	tests/system/harness/health.py \
	tests/system/harness/mailbox.py \
	tests/system/harness/oracle.py \
	tests/system/harness/peer.py \
	tests/system/harness/pki.py \
	tests/system/harness/remote.py \
	tests/system/harness/rest.py \
	tests/system/harness/schema.py \
	tests/system/harness/tap.py \
	tests/system/harness/tokens.py \
	tests/vectors/wycheproof/LICENSE \
	tests/vectors/wycheproof/README.md \
	tests/vectors/wycheproof/aes_gcm_test.json \
	tests/vectors/wycheproof/ecdh_secp256r1_ecpoint_test.json \
	tests/vectors/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json \
	tests/vectors/wycheproof/hkdf_sha256_test.json \
	tests/vectors/wycheproof/hmac_sha256_test.json

# Runs a program that can make no filters of system calls, for confinement.py.
check_PROGRAMS += tests/system/unconfined
tests_system_unconfined_SOURCES = tests/system/unconfined.c
tests_system_unconfined_LDADD = $(SECCOMP_LIBS)

# A device with a software key, for channel.py.
check_PROGRAMS += tests/system/peer
tests_system_peer_SOURCES = tests/system/peer.c
tests_system_peer_LDADD = libchannel.a libbase.a $(CRYPTO_LIBS)

# Every call of libkeyd-service, for service.py and service_objects.py.
check_PROGRAMS += tests/system/service
tests_system_service_SOURCES = tests/system/service.c tests/system/service_app.h \
	tests/system/service_objects.c
tests_system_service_LDADD = client/libkeyd-service.la client/libkeyd.la

# A thousand devices, for fleet.py.
check_PROGRAMS += tests/system/fleet
tests_system_fleet_SOURCES = tests/system/fleet.c
tests_system_fleet_LDADD = client/libkeyd.la $(CRYPTO_LIBS)
