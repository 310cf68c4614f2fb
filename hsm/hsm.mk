# libhsmwire.a: what the front process links.  libhsm.a: the worker and its tests.
noinst_LIBRARIES += libhsmwire.a
libhsmwire_a_SOURCES = \
	hsm/hsm.h \
	hsm/names.c \
	hsm/wire.c hsm/wire.h \
	hsm/wire_hello.c
