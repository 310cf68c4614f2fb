EXTRA_DIST += docs/api.md
EXTRA_DIST += docs/architecture.md
dist_man_MANS += docs/keydctl.1
dist_man_MANS += docs/keyd.8 docs/keyd.conf.5 docs/keyd-policy.5
EXTRA_DIST += docs/keyd.conf.sample docs/policy.conf.sample docs/keyd.service
EXTRA_DIST += docs/benchmark.md
EXTRA_DIST += docs/protocol.md
