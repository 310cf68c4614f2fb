libkeyd_sources = \
	client/device.c client/keyd.h \
	client/device_ask.c client/device_state.h \
	client/device_boot.c client/device_boot.h \
	client/device_credentials.c client/device_credentials.h \
	client/device_detail.c client/device_detail.h \
	client/device_home.c client/device_home.h \
	client/device_http.c client/device_http.h \
	client/device_link.c client/device_link.h \
	client/device_provision.c \
	client/device_push.c \
	client/device_renew.c \
	client/device_session.c client/device_session.h \
	client/device_wire.c client/device_wire.h

libkeyd_service_sources = \
	client/service.c client/keyd_service.h client/service_state.h \
	client/service_batch.c \
	client/service_channel.c \
	client/service_derive.c \
	client/service_json.c \
	client/service_keys.c \
	client/service_operate.c \
	client/service_peers.c \
	client/service_records.c \
	client/service_sessions.c

# libclient.a: the REST client, the load generator and all of keydctl but its
# main(), for keydctl, its tests and the benchmarks.
noinst_LIBRARIES += libclient.a
libclient_a_SOURCES = \
	client/args.c client/args.h \
	client/audit_check.c client/audit_check.h \
	client/cmd_audit.c \
	client/cmd_backup.c \
	client/cmd_bench.c \
	client/cmd_channel.c client/cmd_records.c \
	client/cmd_demo.c \
	client/cmd_derive.c \
	client/cmd_device.c \
	client/cmd_doctor.c \
	client/cmd_encrypt.c \
	client/cmd_endpoint.c \
	client/cmd_envelope.c \
	client/cmd_init.c \
	client/cmd_init_channel.c \
	client/cmd_key.c \
	client/cmd_sign.c \
	client/cmd_status.c \
	client/cmd_token.c client/cmd_token_list.c \
	client/commands.c \
	client/ctl.c client/ctl.h \
	client/ctl_data.c \
	client/demo.c client/demo.h client/demo_backend.c client/demo_tls.c \
	client/doctor.h client/doctor_daemon.c client/doctor_files.c \
	client/doctor_status.c client/doctor_token.c \
	client/eckey.c client/eckey.h \
	client/histogram.c client/histogram.h \
	client/io.c client/io.h \
	client/load.c client/load.h \
	client/output.c client/output.h \
	client/process.c client/process.h \
	client/rest.c client/rest.h client/rest_json.c client/rest_json.h \
	client/selfcert.c client/selfcert.h \
	client/settings.c client/settings.h \
	client/setup.c client/setup.h \
	client/trace.c client/trace.h \
	$(libkeyd_sources) $(libkeyd_service_sources)
libclient_a_CPPFLAGS = $(AM_CPPFLAGS) -DKD_SBINDIR='"$(sbindir)"'
libclient_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(MHD_CFLAGS) $(JANSSON_CFLAGS) $(CONFUSE_CFLAGS)

bin_PROGRAMS += client/keydctl
client_keydctl_SOURCES = client/main.c
client_keydctl_CFLAGS = $(libclient_a_CFLAGS)
client_libs = libclient.a libchannel.a libbase.a \
	$(CURL_LIBS) $(MHD_LIBS) $(JANSSON_LIBS) $(CONFUSE_LIBS) $(CRYPTO_LIBS)
client_keydctl_LDADD = $(client_libs)
EXTRA_DIST += packages quickstart

# libkeyd: a device's end of the secure channel.  channel/ and base/ are compiled into it,
# hidden; all it needs is libcrypto, and libcurl for frames over HTTP.  Unwind tables would be
# a seventh of it, and nothing is thrown through C.
lib_LTLIBRARIES = client/libkeyd.la client/libkeyd-service.la
include_HEADERS = client/keyd.h client/keyd_service.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = client/keyd.pc client/keyd-service.pc
small_library_cflags = -fvisibility=hidden -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables -falign-functions=1 -falign-jumps=1 -falign-loops=1 \
	-fno-inline-functions -fno-plt -fno-tree-vectorize -fno-tree-ch -fno-gcse
small_library_ldflags = -no-undefined -Wl,--gc-sections $(PACK_RELOCATIONS)
client_libkeyd_la_SOURCES = $(libkeyd_sources) $(libchannel_a_SOURCES) $(libbase_a_SOURCES)
client_libkeyd_la_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(small_library_cflags)
client_libkeyd_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 $(small_library_ldflags) \
	-export-symbols-regex '^(keyd_|kd_detail_)'
client_libkeyd_la_LIBADD = $(CURL_LIBS) $(CRYPTO_LIBS)

# libkeyd-service: keyd's API for programs beside it, which a device has no use for: a library of
# its own, so that a device's stays small.  Its errors are those of libkeyd.
client_libkeyd_service_la_SOURCES = $(libkeyd_service_sources) client/rest.c client/rest.h \
	$(libbase_a_SOURCES)
client_libkeyd_service_la_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(small_library_cflags)
client_libkeyd_service_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 $(small_library_ldflags) \
	-export-symbols-regex '^keyd_'
client_libkeyd_service_la_LIBADD = client/libkeyd.la $(CURL_LIBS) $(CRYPTO_LIBS)

# Examples that the tests compile and run.
check_PROGRAMS += client/examples/request client/examples/sign client/examples/threads
client_examples_request_LDADD = client/libkeyd.la
client_examples_threads_LDADD = client/libkeyd.la
client_examples_sign_LDADD = client/libkeyd-service.la client/libkeyd.la
EXTRA_DIST += client/keyd.pc.in client/keyd-service.pc.in
dist_man_MANS += docs/libkeyd.3 docs/libkeyd-service.3
