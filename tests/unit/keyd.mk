keyd_unit_tests = \
	tests/unit/test_audit_log \
	tests/unit/test_audit_memory \
	tests/unit/test_bootstrap_memory \
	tests/unit/test_change_memory \
	tests/unit/test_channel_memory \
	tests/unit/test_channel_storm \
	tests/unit/test_claim \
	tests/unit/test_config \
	tests/unit/test_cookie \
	tests/unit/test_devices \
	tests/unit/test_ended \
	tests/unit/test_envelopes \
	tests/unit/test_fetch \
	tests/unit/test_fetch_memory \
	tests/unit/test_fetch_process \
	tests/unit/test_fetcher \
	tests/unit/test_handshakes \
	tests/unit/test_peers \
	tests/unit/test_release \
	tests/unit/test_sessions \
	tests/unit/test_import \
	tests/unit/test_issue_memory \
	tests/unit/test_keyd_memory \
	tests/unit/test_logins \
	tests/unit/test_many_sessions \
	tests/unit/test_policy \
	tests/unit/test_registry \
	tests/unit/test_room \
	tests/unit/test_seal_memory \
	tests/unit/test_secrets \
	tests/unit/test_service \
	tests/unit/test_service_work \
	tests/unit/test_spent \
	tests/unit/test_store \
	tests/unit/test_store_backup \
	tests/unit/test_store_memory \
	tests/unit/test_store_thread \
	tests/unit/test_tally \
	tests/unit/test_trust \
	tests/unit/test_versions \
	tests/unit/test_workers
check_PROGRAMS += $(keyd_unit_tests) tests/unit/failing_fetch tests/unit/fake_fetch tests/unit/fake_worker
TESTS += $(keyd_unit_tests)
EXTRA_DIST += tests/unit/fake_worker_channel.h tests/unit/channel_fixture.h tests/unit/keyd_fixture.h tests/unit/service_fixture.h
channel_fixture = tests/unit/channel_fixture.c tests/unit/fake_worker_channel.c $(service_fixture)
service_fixture = tests/unit/service_fixture.c tests/unit/keyd_fixture.c

keyd_unit_cflags = $(unit_cflags) $(CONFUSE_CFLAGS) $(SQLITE_CFLAGS)
keyd_unit_libs = $(keyd_service_libs) $(CHECK_LIBS)
tests_unit_failing_fetch_CFLAGS = $(unit_cflags) $(CURL_CFLAGS)
tests_unit_failing_fetch_SOURCES = tests/unit/failing_fetch.c tests/unit/failing_fetch.h \
	fetch/main.c tests/fuzz/assertions.c $(failing_memory)
tests_unit_failing_fetch_LDFLAGS = $(failing_memory_ldflags) -Wl,--wrap=_exit
tests_unit_failing_fetch_LDADD = $(keyd_fetch_LDADD) $(CHECK_LIBS)
tests_unit_test_fetch_process_CFLAGS = $(unit_cflags)
tests_unit_test_fetch_process_LDADD = libfetchwire.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
tests_unit_fake_fetch_LDADD = libfetchwire.a libbase.a $(CRYPTO_LIBS)
tests_unit_fake_worker_CFLAGS = $(AM_CFLAGS)
tests_unit_fake_worker_SOURCES = tests/unit/fake_worker.c tests/unit/fake_worker_channel.c
tests_unit_fake_worker_LDADD = libhsmwire.a libchannel.a libbase.a $(CRYPTO_LIBS)
tests_unit_test_audit_log_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_audit_log_LDADD = $(keyd_unit_libs)
tests_unit_test_audit_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_audit_memory_SOURCES = tests/unit/test_audit_memory.c $(failing_memory)
tests_unit_test_audit_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_audit_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_bootstrap_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_bootstrap_memory_SOURCES = tests/unit/test_bootstrap_memory.c $(channel_fixture) \
	$(failing_memory)
tests_unit_test_bootstrap_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_bootstrap_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_config_SOURCES = tests/unit/test_config.c \
	tests/unit/document.c tests/unit/document.h \
	tests/unit/text_file.c tests/unit/text_file.h
tests_unit_test_config_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_config_LDADD = $(keyd_unit_libs)
tests_unit_test_cookie_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_cookie_LDADD = $(keyd_unit_libs)
tests_unit_test_devices_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_devices_LDADD = $(keyd_unit_libs)
tests_unit_test_envelopes_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_envelopes_SOURCES = tests/unit/test_envelopes.c $(channel_fixture) \
	$(failing_memory)
tests_unit_test_envelopes_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_envelopes_LDADD = $(keyd_unit_libs)
tests_unit_test_ended_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_ended_LDADD = $(keyd_unit_libs)
tests_unit_test_issue_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_issue_memory_SOURCES = tests/unit/test_issue_memory.c tests/unit/ca_keys.c \
	tests/unit/ca_keys.h $(channel_fixture) $(failing_memory)
tests_unit_test_issue_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_issue_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_import_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_import_LDADD = $(keyd_unit_libs)
tests_unit_test_policy_SOURCES = tests/unit/test_policy.c \
	tests/unit/text_file.c tests/unit/text_file.h
tests_unit_test_policy_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_policy_LDADD = $(keyd_unit_libs)
tests_unit_test_registry_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_registry_LDADD = $(keyd_unit_libs)
tests_unit_test_room_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_room_SOURCES = tests/unit/test_room.c $(service_fixture)
tests_unit_test_room_LDADD = $(keyd_unit_libs)
tests_unit_test_secrets_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_secrets_LDADD = $(keyd_unit_libs)
tests_unit_test_service_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_seal_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_seal_memory_SOURCES = tests/unit/test_seal_memory.c $(service_fixture) \
	$(failing_memory)
tests_unit_test_seal_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_seal_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_service_SOURCES = tests/unit/test_service.c $(service_fixture)
tests_unit_test_service_LDADD = $(keyd_unit_libs)
tests_unit_test_spent_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_store_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_spent_LDADD = $(keyd_unit_libs)
tests_unit_test_store_LDADD = $(keyd_unit_libs)
tests_unit_test_store_thread_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_store_thread_LDADD = $(keyd_unit_libs)
tests_unit_test_store_backup_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_store_backup_SOURCES = tests/unit/test_store_backup.c $(failing_memory)
tests_unit_test_store_backup_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_store_backup_LDADD = $(keyd_unit_libs)
tests_unit_test_store_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_store_memory_SOURCES = tests/unit/test_store_memory.c $(failing_memory)
tests_unit_test_store_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_store_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_tally_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_tally_LDADD = $(keyd_unit_libs)
tests_unit_test_fetch_CFLAGS = $(unit_cflags)
tests_unit_test_fetch_LDADD = libfetch.a libfetchwire.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
tests_unit_test_fetch_memory_CFLAGS = $(unit_cflags) $(CURL_CFLAGS)
tests_unit_test_fetch_memory_SOURCES = tests/unit/test_fetch_memory.c \
	$(fake_tls) $(failing_memory)
tests_unit_test_fetch_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_fetch_memory_LDADD = libfetch.a libfetchwire.a libbase.a \
	$(CURL_LIBS) -lssl $(CRYPTO_LIBS) $(CHECK_LIBS)
tests_unit_test_fetcher_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_fetcher_SOURCES = tests/unit/test_fetcher.c tests/unit/keyd_fixture.c \
	$(failing_memory)
tests_unit_test_fetcher_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_fetcher_LDADD = $(keyd_unit_libs)
tests_unit_test_trust_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_trust_SOURCES = tests/unit/test_trust.c tests/unit/pki.c tests/unit/pki.h
tests_unit_test_trust_LDADD = $(keyd_unit_libs)
tests_unit_test_logins_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_logins_SOURCES = tests/unit/test_logins.c tests/unit/keyd_fixture.c \
	tests/unit/pool_fixture.c tests/unit/pool_fixture.h
tests_unit_test_logins_LDADD = $(keyd_unit_libs)
tests_unit_test_workers_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_workers_SOURCES = tests/unit/test_workers.c tests/unit/keyd_fixture.c \
	tests/unit/pool_fixture.c tests/unit/pool_fixture.h
tests_unit_test_workers_LDADD = $(keyd_unit_libs)
tests_unit_test_keyd_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_keyd_memory_SOURCES = tests/unit/test_keyd_memory.c tests/unit/keyd_fixture.c \
	$(failing_memory)
tests_unit_test_keyd_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_keyd_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_service_work_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_service_work_SOURCES = tests/unit/test_service_work.c $(service_fixture)
tests_unit_test_service_work_LDADD = $(keyd_unit_libs)
tests_unit_test_handshakes_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_handshakes_SOURCES = tests/unit/test_handshakes.c $(channel_fixture)
tests_unit_test_handshakes_LDADD = $(keyd_unit_libs)
tests_unit_test_peers_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_peers_SOURCES = tests/unit/test_peers.c $(channel_fixture)
tests_unit_test_peers_LDADD = $(keyd_unit_libs)
tests_unit_test_channel_storm_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_channel_storm_SOURCES = tests/unit/test_channel_storm.c $(channel_fixture)
tests_unit_test_channel_storm_LDADD = $(keyd_unit_libs)

tests_unit_test_release_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_release_SOURCES = tests/unit/test_release.c $(channel_fixture)
tests_unit_test_release_LDADD = $(keyd_unit_libs)

tests_unit_test_sessions_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_sessions_SOURCES = tests/unit/test_sessions.c $(channel_fixture)
tests_unit_test_sessions_LDADD = $(keyd_unit_libs)
tests_unit_test_versions_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_versions_SOURCES = tests/unit/test_versions.c $(channel_fixture)
tests_unit_test_versions_LDADD = $(keyd_unit_libs)
tests_unit_test_many_sessions_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_many_sessions_SOURCES = tests/unit/test_many_sessions.c $(channel_fixture)
tests_unit_test_many_sessions_LDADD = $(keyd_unit_libs)
tests_unit_test_change_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_change_memory_SOURCES = tests/unit/test_change_memory.c $(channel_fixture) \
	$(failing_memory)
tests_unit_test_change_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_change_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_channel_memory_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_channel_memory_SOURCES = tests/unit/test_channel_memory.c $(channel_fixture) \
	$(failing_memory)
tests_unit_test_channel_memory_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_channel_memory_LDADD = $(keyd_unit_libs)
tests_unit_test_claim_CFLAGS = $(keyd_unit_cflags)
tests_unit_test_claim_SOURCES = tests/unit/test_claim.c tests/unit/pki.c tests/unit/pki.h \
	$(channel_fixture) $(failing_memory)
tests_unit_test_claim_LDFLAGS = $(failing_memory_ldflags)
tests_unit_test_claim_LDADD = $(keyd_unit_libs)
