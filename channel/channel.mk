# The message channel: handshake, session keys, records.  No I/O.
noinst_LIBRARIES += libchannel.a
libchannel_a_SOURCES = \
	channel/host.c channel/host.h \
	channel/keyops.h channel/keyops_openssl.c channel/openssl_ec.h \
	channel/point.c \
	channel/suite.c channel/suite.h
