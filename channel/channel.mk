# The message channel: handshake, session keys, records.  No I/O.
noinst_LIBRARIES += libchannel.a
libchannel_a_SOURCES = \
	channel/channel.h \
	channel/cred.c channel/cred.h \
	channel/ead.c channel/ead.h \
	channel/edhoc.c channel/edhoc.h channel/edhoc_state.h \
	channel/envelope.c channel/envelope.h \
	channel/error.c \
	channel/exporter.c channel/exporter.h \
	channel/frame.c channel/frame.h \
	channel/host.c channel/host_gcm.c channel/host.h \
	channel/hpke.c channel/hpke.h \
	channel/keyops.h channel/keyops_openssl.c channel/openssl_ec.c channel/openssl_ec.h \
	channel/message1.c channel/message2.c channel/message3.c channel/message4.c \
	channel/otp.c channel/otp.h \
	channel/point.c \
	channel/proof.c \
	channel/record.c channel/record.h \
	channel/schedule.c channel/schedule.h \
	channel/suite.c channel/suite.h \
	channel/traffic.c channel/traffic_kept.c channel/traffic.h \
	channel/transcript.c \
	channel/window.c channel/window.h
