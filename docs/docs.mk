EXTRA_DIST += docs/api.md
