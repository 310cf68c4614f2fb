EXTRA_DIST += docs/api.md
EXTRA_DIST += docs/architecture.md
