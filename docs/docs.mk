EXTRA_DIST += docs/api.md docs/audit.md docs/channel.md
EXTRA_DIST += docs/architecture.md
EXTRA_DIST += docs/certificates.md
dist_man_MANS += docs/keydctl.1
dist_man_MANS += docs/keyd.8 docs/keyd.conf.5 docs/keyd-policy.5
EXTRA_DIST += docs/keyd.conf.sample docs/policy.conf.sample docs/keyd.service
EXTRA_DIST += docs/keyd-workers-user.conf
EXTRA_DIST += docs/benchmark.md docs/benchmark.svg
EXTRA_DIST += docs/operation.md docs/protocol.md
EXTRA_DIST += docs/gateway.md docs/keyd-gateway.service docs/keyd-gateway.conf.sample
dist_man_MANS += docs/keyd-gateway.8 docs/keyd-gateway.conf.5
EXTRA_DIST += docs/references.md docs/requirements.md docs/threat-model.md docs/field.md
EXTRA_DIST += docs/fuzzing.md

# What systemd needs, where it looks for it: units, and the users that they run as.  Only in the
# system's places: the units let nothing be written outside of /var/lib/keyd and /run/keyd.
EXTRA_DIST += docs/keyd.sysusers
UNITS = docs/units/keyd.service docs/units/keyd-gateway.service
CLEANFILES += $(UNITS) docs/units/keyd.conf
docs/units/keyd.service: docs/keyd.service Makefile
	$(AM_V_GEN)$(MKDIR_P) docs/units && $(place_unit) $(srcdir)/docs/keyd.service >$@
docs/units/keyd-gateway.service: docs/keyd-gateway.service Makefile
	$(AM_V_GEN)$(MKDIR_P) docs/units && $(place_unit) $(srcdir)/docs/keyd-gateway.service >$@
docs/units/keyd.conf: docs/keyd.sysusers
	$(AM_V_GEN)$(MKDIR_P) docs/units && cp $(srcdir)/docs/keyd.sysusers $@
place_unit = sed -e 's|/usr/sbin/|$(sbindir)/|' -e 's|/etc/keyd|$(sysconfdir)/keyd|'
if SYSTEM_PLACES
systemdsystemunitdir = $(prefix)/lib/systemd/system
sysusersdir = $(prefix)/lib/sysusers.d
systemdsystemunit_DATA = $(UNITS)
sysusers_DATA = docs/units/keyd.conf
endif
