# The message channel: handshake, session keys, records.  No I/O.
noinst_LIBRARIES += libchannel.a
libchannel_a_SOURCES = \
	channel/cred.c channel/cred.h \
	channel/ead.c channel/ead.h \
	channel/edhoc.c channel/edhoc.h channel/edhoc_state.h \
	channel/error.c \
	channel/exporter.c channel/exporter.h \
	channel/host.c channel/host.h \
	channel/keyops.h channel/keyops_openssl.c channel/openssl_ec.h \
	channel/message1.c channel/message2.c channel/message3.c channel/message4.c \
	channel/point.c \
	channel/proof.c \
	channel/suite.c channel/suite.h \
	channel/transcript.c
