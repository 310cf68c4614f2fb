# Fuzz targets (docs/fuzzing.md).  Each is replayed over its corpus by `make check`; with
# --enable-fuzz (clang) each is also a libFuzzer program:
#     tests/fuzz/fuzz_cbor -max_total_time=60 NEWDIR tests/fuzz/corpus/cbor
EXTRA_DIST += tests/fuzz/fuzz.h tests/fuzz/assertions.c tests/fuzz/corpus

fuzz_libs = libchannel.a libbase.a $(CRYPTO_LIBS) $(CHECK_LIBS)
fuzz_answer_sources = tests/fuzz/fuzz_answer.c $(fake_tls)
fuzz_answer_libs = libfetch.a libfetchwire.a $(client_libs) -lssl $(CHECK_LIBS)
fuzz_ca_sources = tests/fuzz/fuzz_ca.c
fuzz_ca_libs = libca.a $(fuzz_libs)
fuzz_cbor_sources = tests/fuzz/fuzz_cbor.c
fuzz_cbor_libs = $(fuzz_libs)
fuzz_edhoc_sources = tests/fuzz/fuzz_edhoc.c tests/unit/edhoc_pair.c tests/unit/edhoc_pair.h
fuzz_edhoc_libs = $(fuzz_libs)
fuzz_envelope_sources = tests/fuzz/fuzz_envelope.c
fuzz_envelope_libs = $(fuzz_libs)
fuzz_fetch_sources = tests/fuzz/fuzz_fetch.c
fuzz_fetch_libs = libfetchwire.a $(fuzz_libs)
fuzz_file_sources = tests/fuzz/fuzz_file.c
fuzz_file_libs = libclient.a libgateway.a $(keyd_service_libs) $(JANSSON_LIBS) $(CHECK_LIBS)
fuzz_frame_sources = tests/fuzz/fuzz_frame.c
fuzz_frame_libs = $(fuzz_libs)
fuzz_gateway_sources = tests/fuzz/fuzz_gateway.c tests/unit/fake_client.c tests/unit/fake_client.h
fuzz_gateway_libs = libgateway.a $(fuzz_libs)
fuzz_http_sources = tests/fuzz/fuzz_http.c tests/unit/pki.c tests/unit/pki.h
fuzz_http_libs = $(api_unit_libs)
fuzz_json_sources = tests/fuzz/fuzz_json.c
fuzz_json_libs = libapi.a $(fuzz_libs) $(JANSSON_LIBS)
fuzz_listen_sources = tests/fuzz/fuzz_listen.c tests/unit/fake_client.c tests/unit/fake_client.h
fuzz_listen_libs = libgateway.a $(fuzz_libs) $(MHD_LIBS)
fuzz_peer_sources = tests/fuzz/fuzz_peer.c tests/unit/pki.c tests/unit/pki.h
fuzz_peer_libs = libapi.a $(keyd_service_libs) $(CHECK_LIBS)
fuzz_provision_sources = tests/fuzz/fuzz_provision.c
fuzz_provision_libs = $(client_libs) $(CHECK_LIBS)
fuzz_provision_ldflags = -Wl,--wrap=kd_http_ask,--wrap=fsync
fuzz_record_sources = tests/fuzz/fuzz_record.c
fuzz_record_libs = $(fuzz_libs)
fuzz_ticket_sources = tests/fuzz/fuzz_ticket.c
fuzz_ticket_libs = libhsm.a libhsmwire.a $(fuzz_libs) $(P11KIT_LIBS)
fuzz_wire_sources = tests/fuzz/fuzz_wire.c
fuzz_wire_libs = libhsmwire.a $(fuzz_libs)

if HAVE_CHECK
fuzz_replays = \
	tests/fuzz/replay_answer \
	tests/fuzz/replay_ca \
	tests/fuzz/replay_cbor \
	tests/fuzz/replay_edhoc \
	tests/fuzz/replay_envelope \
	tests/fuzz/replay_fetch \
	tests/fuzz/replay_file \
	tests/fuzz/replay_frame \
	tests/fuzz/replay_gateway \
	tests/fuzz/replay_http \
	tests/fuzz/replay_json \
	tests/fuzz/replay_listen \
	tests/fuzz/replay_peer \
	tests/fuzz/replay_provision \
	tests/fuzz/replay_record \
	tests/fuzz/replay_ticket \
	tests/fuzz/replay_wire
check_PROGRAMS += $(fuzz_replays)
TESTS += $(fuzz_replays)

tests_fuzz_replay_answer_SOURCES = $(fuzz_answer_sources) tests/fuzz/replay.c
tests_fuzz_replay_answer_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"answer"'
tests_fuzz_replay_answer_CFLAGS = $(unit_cflags) $(CURL_CFLAGS)
tests_fuzz_replay_answer_LDADD = $(fuzz_answer_libs)
tests_fuzz_replay_ca_SOURCES = $(fuzz_ca_sources) tests/fuzz/replay.c
tests_fuzz_replay_ca_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"ca"'
tests_fuzz_replay_ca_CFLAGS = $(unit_cflags)
tests_fuzz_replay_ca_LDADD = $(fuzz_ca_libs)
tests_fuzz_replay_cbor_SOURCES = $(fuzz_cbor_sources) tests/fuzz/replay.c
tests_fuzz_replay_cbor_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"cbor"'
tests_fuzz_replay_cbor_CFLAGS = $(unit_cflags)
tests_fuzz_replay_cbor_LDADD = $(fuzz_cbor_libs)
tests_fuzz_replay_edhoc_SOURCES = $(fuzz_edhoc_sources) tests/fuzz/replay.c
tests_fuzz_replay_edhoc_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"edhoc"'
tests_fuzz_replay_edhoc_CFLAGS = $(unit_cflags)
tests_fuzz_replay_edhoc_LDADD = $(fuzz_edhoc_libs)
tests_fuzz_replay_envelope_SOURCES = $(fuzz_envelope_sources) tests/fuzz/replay.c
tests_fuzz_replay_envelope_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"envelope"'
tests_fuzz_replay_envelope_CFLAGS = $(unit_cflags)
tests_fuzz_replay_envelope_LDADD = $(fuzz_envelope_libs)
tests_fuzz_replay_fetch_SOURCES = $(fuzz_fetch_sources) tests/fuzz/replay.c
tests_fuzz_replay_fetch_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"fetch"'
tests_fuzz_replay_fetch_CFLAGS = $(unit_cflags)
tests_fuzz_replay_fetch_LDADD = $(fuzz_fetch_libs)
tests_fuzz_replay_file_SOURCES = $(fuzz_file_sources) tests/fuzz/replay.c
tests_fuzz_replay_file_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"file"'
tests_fuzz_replay_file_CFLAGS = $(unit_cflags)
tests_fuzz_replay_file_LDADD = $(fuzz_file_libs)
tests_fuzz_replay_frame_SOURCES = $(fuzz_frame_sources) tests/fuzz/replay.c
tests_fuzz_replay_frame_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"frame"'
tests_fuzz_replay_frame_CFLAGS = $(unit_cflags)
tests_fuzz_replay_frame_LDADD = $(fuzz_frame_libs)
tests_fuzz_replay_gateway_SOURCES = $(fuzz_gateway_sources) tests/fuzz/replay.c
tests_fuzz_replay_gateway_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"gateway"'
tests_fuzz_replay_gateway_CFLAGS = $(unit_cflags)
tests_fuzz_replay_gateway_LDADD = $(fuzz_gateway_libs)
tests_fuzz_replay_http_SOURCES = $(fuzz_http_sources) tests/fuzz/replay.c
tests_fuzz_replay_http_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"http"'
tests_fuzz_replay_http_CFLAGS = $(unit_cflags)
tests_fuzz_replay_http_LDADD = $(fuzz_http_libs)
tests_fuzz_replay_json_SOURCES = $(fuzz_json_sources) tests/fuzz/replay.c
tests_fuzz_replay_json_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"json"'
tests_fuzz_replay_json_CFLAGS = $(unit_cflags)
tests_fuzz_replay_json_LDADD = $(fuzz_json_libs)
tests_fuzz_replay_listen_SOURCES = $(fuzz_listen_sources) tests/fuzz/replay.c
tests_fuzz_replay_listen_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"listen"'
tests_fuzz_replay_listen_CFLAGS = $(unit_cflags)
tests_fuzz_replay_listen_LDADD = $(fuzz_listen_libs)
tests_fuzz_replay_peer_SOURCES = $(fuzz_peer_sources) tests/fuzz/replay.c
tests_fuzz_replay_peer_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"peer"'
tests_fuzz_replay_peer_CFLAGS = $(unit_cflags)
tests_fuzz_replay_peer_LDADD = $(fuzz_peer_libs)
tests_fuzz_replay_provision_SOURCES = $(fuzz_provision_sources) tests/fuzz/replay.c
tests_fuzz_replay_provision_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"provision"'
tests_fuzz_replay_provision_CFLAGS = $(unit_cflags)
tests_fuzz_replay_provision_LDFLAGS = $(AM_LDFLAGS) $(fuzz_provision_ldflags)
tests_fuzz_replay_provision_LDADD = $(fuzz_provision_libs)
tests_fuzz_replay_record_SOURCES = $(fuzz_record_sources) tests/fuzz/replay.c
tests_fuzz_replay_record_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"record"'
tests_fuzz_replay_record_CFLAGS = $(unit_cflags)
tests_fuzz_replay_record_LDADD = $(fuzz_record_libs)
tests_fuzz_replay_ticket_SOURCES = $(fuzz_ticket_sources) tests/fuzz/replay.c
tests_fuzz_replay_ticket_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"ticket"'
tests_fuzz_replay_ticket_CFLAGS = $(unit_cflags) $(P11KIT_CFLAGS)
tests_fuzz_replay_ticket_LDADD = $(fuzz_ticket_libs)
tests_fuzz_replay_wire_SOURCES = $(fuzz_wire_sources) tests/fuzz/replay.c
tests_fuzz_replay_wire_CPPFLAGS = $(AM_CPPFLAGS) -DKD_FUZZ_CORPUS='"wire"'
tests_fuzz_replay_wire_CFLAGS = $(unit_cflags)
tests_fuzz_replay_wire_LDADD = $(fuzz_wire_libs)
endif

if FUZZ
fuzz_ldflags = $(AM_LDFLAGS) -fsanitize=fuzzer
noinst_PROGRAMS += \
	tests/fuzz/fuzz_answer \
	tests/fuzz/fuzz_ca \
	tests/fuzz/fuzz_cbor \
	tests/fuzz/fuzz_edhoc \
	tests/fuzz/fuzz_envelope \
	tests/fuzz/fuzz_fetch \
	tests/fuzz/fuzz_file \
	tests/fuzz/fuzz_frame \
	tests/fuzz/fuzz_gateway \
	tests/fuzz/fuzz_http \
	tests/fuzz/fuzz_json \
	tests/fuzz/fuzz_listen \
	tests/fuzz/fuzz_peer \
	tests/fuzz/fuzz_provision \
	tests/fuzz/fuzz_record \
	tests/fuzz/fuzz_ticket \
	tests/fuzz/fuzz_wire
tests_fuzz_fuzz_answer_SOURCES = $(fuzz_answer_sources) tests/fuzz/assertions.c
tests_fuzz_fuzz_answer_CFLAGS = $(unit_cflags) $(CURL_CFLAGS)
tests_fuzz_fuzz_answer_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_answer_LDADD = $(fuzz_answer_libs)
tests_fuzz_fuzz_ca_SOURCES = $(fuzz_ca_sources)
tests_fuzz_fuzz_ca_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_ca_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_ca_LDADD = $(fuzz_ca_libs)
tests_fuzz_fuzz_cbor_SOURCES = $(fuzz_cbor_sources)
tests_fuzz_fuzz_cbor_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_cbor_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_cbor_LDADD = $(fuzz_cbor_libs)
tests_fuzz_fuzz_edhoc_SOURCES = $(fuzz_edhoc_sources)
tests_fuzz_fuzz_edhoc_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_edhoc_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_edhoc_LDADD = $(fuzz_edhoc_libs)
tests_fuzz_fuzz_envelope_SOURCES = $(fuzz_envelope_sources)
tests_fuzz_fuzz_envelope_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_envelope_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_envelope_LDADD = $(fuzz_envelope_libs)
tests_fuzz_fuzz_fetch_SOURCES = $(fuzz_fetch_sources)
tests_fuzz_fuzz_fetch_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_fetch_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_fetch_LDADD = $(fuzz_fetch_libs)
tests_fuzz_fuzz_file_SOURCES = $(fuzz_file_sources)
tests_fuzz_fuzz_file_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_file_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_file_LDADD = $(fuzz_file_libs)
tests_fuzz_fuzz_frame_SOURCES = $(fuzz_frame_sources)
tests_fuzz_fuzz_frame_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_frame_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_frame_LDADD = $(fuzz_frame_libs)
tests_fuzz_fuzz_gateway_SOURCES = $(fuzz_gateway_sources)
tests_fuzz_fuzz_gateway_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_gateway_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_gateway_LDADD = $(fuzz_gateway_libs)
tests_fuzz_fuzz_http_SOURCES = $(fuzz_http_sources) tests/fuzz/assertions.c
tests_fuzz_fuzz_http_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_http_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_http_LDADD = $(fuzz_http_libs)
tests_fuzz_fuzz_json_SOURCES = $(fuzz_json_sources)
tests_fuzz_fuzz_json_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_json_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_json_LDADD = $(fuzz_json_libs)
tests_fuzz_fuzz_listen_SOURCES = $(fuzz_listen_sources)
tests_fuzz_fuzz_listen_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_listen_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_listen_LDADD = $(fuzz_listen_libs)
tests_fuzz_fuzz_peer_SOURCES = $(fuzz_peer_sources) tests/fuzz/assertions.c
tests_fuzz_fuzz_peer_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_peer_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_peer_LDADD = $(fuzz_peer_libs)
tests_fuzz_fuzz_provision_SOURCES = $(fuzz_provision_sources)
tests_fuzz_fuzz_provision_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_provision_LDFLAGS = $(fuzz_ldflags) $(fuzz_provision_ldflags)
tests_fuzz_fuzz_provision_LDADD = $(fuzz_provision_libs)
tests_fuzz_fuzz_record_SOURCES = $(fuzz_record_sources)
tests_fuzz_fuzz_record_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_record_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_record_LDADD = $(fuzz_record_libs)
tests_fuzz_fuzz_ticket_SOURCES = $(fuzz_ticket_sources)
tests_fuzz_fuzz_ticket_CFLAGS = $(unit_cflags) $(P11KIT_CFLAGS)
tests_fuzz_fuzz_ticket_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_ticket_LDADD = $(fuzz_ticket_libs)
tests_fuzz_fuzz_wire_SOURCES = $(fuzz_wire_sources)
tests_fuzz_fuzz_wire_CFLAGS = $(unit_cflags)
tests_fuzz_fuzz_wire_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_fuzz_wire_LDADD = $(fuzz_wire_libs)
endif
