TEST_EXTENSIONS = .py .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/tap-driver.sh
PY_LOG_DRIVER = $(LOG_DRIVER)
PY_LOG_COMPILER = $(PYTHON3)
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = $(SHELL)
AM_TESTS_ENVIRONMENT = \
	KD_SRCDIR='$(abs_top_srcdir)' KD_BUILDDIR='$(abs_top_builddir)' CK_DEFAULT_TIMEOUT=60; \
	export KD_SRCDIR KD_BUILDDIR CK_DEFAULT_TIMEOUT;

unit_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
EXTRA_DIST += tests/unit/unit.h tests/unit/folder.h tests/vectors

fake_tls = tests/unit/fake_tls.c tests/unit/fake_tls.h tests/unit/pki.c tests/unit/pki.h
failing_memory = tests/unit/failing_memory.c tests/unit/failing_memory.h
failing_memory_ldflags = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup \
	-Wl,--wrap=emalloc,--wrap=erealloc,--wrap=_mark_point

if HAVE_CHECK
include $(top_srcdir)/tests/unit/base.mk
include $(top_srcdir)/tests/unit/channel.mk
include $(top_srcdir)/tests/unit/ca.mk
include $(top_srcdir)/tests/unit/hsm.mk
include $(top_srcdir)/tests/unit/keyd.mk
include $(top_srcdir)/tests/unit/gateway.mk
include $(top_srcdir)/tests/unit/api.mk
include $(top_srcdir)/tests/unit/client.mk
endif
include $(top_srcdir)/tests/fuzz/fuzz.mk
include $(top_srcdir)/tests/system/system.mk
include $(top_srcdir)/tests/bench/bench.mk
