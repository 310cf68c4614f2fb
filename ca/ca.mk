# libca.a: certificates from bytes, without I/O and without keys.
noinst_LIBRARIES += libca.a
libca_a_SOURCES = \
	ca/ca.h \
	ca/certificate.c \
	ca/chain.c \
	ca/est.c \
	ca/point.c ca/point.h \
	ca/request.c
