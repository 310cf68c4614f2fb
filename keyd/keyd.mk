# libkeyd_service.a: the service, for keyd and its tests.
noinst_LIBRARIES += libkeyd_service.a
libkeyd_service_a_CFLAGS = $(AM_CFLAGS) $(CONFUSE_CFLAGS) $(SQLITE_CFLAGS)
libkeyd_service_a_SOURCES = \
	keyd/admission.c \
	keyd/audit.c keyd/audit.h \
	keyd/audit_log.c keyd/audit_log.h keyd/audit_scan.c keyd/audit_scan.h \
	keyd/audit_seal.c keyd/audit_seal.h \
	keyd/backup_work.c \
	keyd/bootstrap.c keyd/bootstrap.h keyd/bootstrap_state.h \
	keyd/call.c keyd/call.h \
	keyd/change.c keyd/change.h \
	keyd/channel.c keyd/channel.h keyd/channel_state.h \
	keyd/channel_report.c \
	keyd/conf.c keyd/conf.h \
	keyd/config_parts.c \
	keyd/config.c keyd/config.h \
	keyd/cookie.c keyd/cookie.h \
	keyd/config_check.c keyd/config_print.c keyd/config_row.h \
	keyd/claim.c keyd/claim.h \
	keyd/derive.c \
	keyd/destroy.c \
	keyd/envelope_work.c keyd/envelopes.h keyd/spent.c \
	keyd/device_work.c \
	keyd/devices.c keyd/devices.h \
	keyd/end_work.c \
	keyd/ended.c keyd/ended.h \
	keyd/fetcher.c keyd/fetcher.h \
	keyd/handshake.c \
	keyd/handshake_entry.h \
	keyd/identity.c \
	keyd/import.c keyd/import.h \
	keyd/issue.c \
	keyd/manage.c \
	keyd/peer_work.c \
	keyd/peers.c keyd/peers.h \
	keyd/permission.c \
	keyd/policy.c keyd/policy.h \
	keyd/pool.h \
	keyd/recipe.c keyd/recipe.h \
	keyd/record_work.c \
	keyd/recover.c \
	keyd/registry.c keyd/registry.h \
	keyd/room.c \
	keyd/secrets.c keyd/secrets.h \
	keyd/service.c keyd/service.h \
	keyd/release_work.c \
	keyd/session_work.c keyd/limits.c \
	keyd/sessions.c keyd/sessions.h \
	keyd/spawn.c keyd/spawn.h \
	keyd/starter.c keyd/starter.h \
	keyd/state.h \
	keyd/store.c keyd/store.h keyd/store_channel.c keyd/store_sql.c keyd/store_sql.h \
	keyd/store_backup.c \
	keyd/store_devices.c keyd/store_devices.h \
	keyd/store_thread.c keyd/store_thread.h \
	keyd/supervise.c \
	keyd/tally.c keyd/tally.h \
	keyd/terms.c \
	keyd/trust.c keyd/trust.h \
	keyd/version.c \
	keyd/work.c \
	keyd/worker.c keyd/worker.h \
	keyd/workers.c keyd/workers.h \
	keyd/workers_report.c \
	keyd/words.c keyd/words.h

keyd_service_libs = libkeyd_service.a libca.a libfetchwire.a libhsmwire.a libchannel.a libbase.a \
	$(CONFUSE_LIBS) $(SQLITE_LIBS) $(CRYPTO_LIBS)

sbin_PROGRAMS += keyd/keyd
keyd_keyd_CFLAGS = $(AM_CFLAGS) $(CONFUSE_CFLAGS) $(SYSTEMD_CFLAGS)
keyd_keyd_SOURCES = keyd/main.c keyd/notify.c keyd/notify.h
keyd_keyd_LDADD = libapi.a $(keyd_service_libs) $(MHD_LIBS) $(GNUTLS_LIBS) \
	$(SYSTEMD_LIBS) libconfine.a libbase.a $(SECCOMP_LIBS)
