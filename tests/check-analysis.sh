#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Static analyses of all sources: cppcheck, clang-tidy and gcc's -fanalyzer.  Nothing is found but
# what tests/cppcheck-suppressions, .clang-tidy and tests/analyzer-suppressions explain.
set -eu
build=${KD_BUILDDIR:-$PWD}
cd "${KD_SRCDIR:-$(dirname "$0")/..}"
jobs=$(nproc)
folders='base channel ca hsm fetch keyd api client gateway'
include=$(pkg-config --cflags p11-kit-1 jansson libcurl libconfuse sqlite3 libmicrohttpd gnutls)
systemd=$(pkg-config --cflags libsystemd 2>/dev/null || true)
flags="-std=gnu11 -D_GNU_SOURCE -I. -I$build $include $systemd
    -DKD_LIBEXECDIR=\"/l\" -DKD_SYSCONFDIR=\"/e\" -DKD_STATEDIR=\"/s\" -DKD_RUNDIR=\"/r\"
    -DKD_SBINDIR=\"/b\""
export flags

# say NUMBER WHO FOUND: one point.
say() {
    if [ -z "$3" ]; then
        echo "ok $1 - $2 finds nothing"
    else
        echo "not ok $1 - $2 finds nothing"
        echo "$3" | sed 's/^/#   /'
    fi
}

sources() {
    find $folders -name '*.c' ! -name '*.gen.c' | sort
}

tidy() {
    # shellcheck disable=SC2016
    sources | xargs -P "$jobs" -n 8 sh -c 'clang-tidy --quiet "$@" -- $flags 2>&1' sh |
        grep -E '(warning|error):|^Error' || true
}

# Those of tests/analyzer-suppressions for one file, as options.
suppressed() {
    awk -v file="$1" '!/^#/ && ($2 == file || $2 == "*") { sub(/^-W/, "-Wno-", $1); print $1 }' \
        tests/analyzer-suppressions
}

follow() {
    sources | while read -r file; do # a line's last blank would join it with the next
        echo "$file" "$(suppressed "$file" | tr '\n' ' ')" | sed 's/ *$//'
    done | xargs -P "$jobs" -L 1 sh -c \
        'file=$1; shift; gcc $flags -O1 -fanalyzer "$@" -S -o /dev/null "$file" 2>&1' sh |
        grep -E '(warning|error):' || true
}

echo 1..3
# shellcheck disable=SC2086
say 1 cppcheck "$(cppcheck --quiet --std=c11 --enable=warning,performance,portability \
    --error-exitcode=0 --suppressions-list=tests/cppcheck-suppressions \
    --suppress=missingIncludeSystem -I. --template='{file}:{line}: {severity}: {message} [{id}]' \
    $folders 2>&1)"
if command -v clang-tidy >/dev/null; then
    say 2 clang-tidy "$(tidy)"
else
    echo 'ok 2 - clang-tidy # SKIP not installed'
fi
if gcc -fanalyzer -E -x c /dev/null >/dev/null 2>&1; then
    say 3 -fanalyzer "$(follow)"
else
    echo 'ok 3 - -fanalyzer # SKIP this gcc has none'
fi
