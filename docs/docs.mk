EXTRA_DIST += docs/api.md
EXTRA_DIST += docs/architecture.md
dist_man_MANS += docs/keydctl.1
