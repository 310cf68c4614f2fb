#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Holds what a machine can hold of the project's C style.  The rest is review.
set -eu
cd "${KD_SRCDIR:-$(dirname "$0")/..}"

# Files that may use memcmp: on values of our own or of the token, never on what
# is compared with a secret or with something that a peer sent as proof.
memcmp_allowed='base/buf.c api/route.c client/args.c client/cmd_bench.c client/ctl.c client/doctor_token.c hsm/command.c hsm/manage.c hsm/probe.c keyd/sessions.c'

sources=$(for file in base/*.[ch] channel/*.[ch] ca/*.[ch] hsm/*.[ch] keyd/*.[ch] api/*.[ch] client/*.[ch] \
    tests/unit/*.[ch] tests/bench/*.[ch] tests/system/*.[ch]; do
    case $file in
    *\** | *.gen.c) ;;
    *) [ ! -e "$file" ] || echo "$file" ;;
    esac
done)
scripts=$(for file in tests/*.sh tests/system/*.py tests/system/harness/*.py; do
    [ ! -e "$file" ] || echo "$file"
done)

n=0
check() {
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
        return
    fi
    echo "not ok $n - $1"
    echo "$2" | head -n 40 | sed 's/^/#   /'
}

# Lines of the C files that match, without those in comments.
lines() {
    # shellcheck disable=SC2086
    grep -En "$1" $sources | grep -Ev '^[^:]*:[0-9]+:[ ]*(//|\*)' || true
}

echo 1..12

found=$(for file in $sources $scripts; do
    head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
done)
check "every file says its licence" "$found"

tab=$(printf '\t')
# shellcheck disable=SC2086
check "no tabs" "$(grep -n "$tab" $sources || true)"
# shellcheck disable=SC2086
check "no blanks at the end of a line" "$(grep -nE ' +$' $sources $scripts || true)"
# shellcheck disable=SC2086
check "lines of at most 100 columns, but for tables" "$(awk '
    /clang-format off/ { table = 1 }
    /clang-format on/ { table = 0 }
    FNR == 1 { table = 0 }
    length > 100 && !table { print FILENAME ":" FNR ": " length " columns" }' $sources)"

found=$(for file in $sources; do
    count=$(wc -l <"$file")
    [ "$count" -le 600 ] || echo "$file has $count lines"
done)
check "files of at most 600 lines" "$found"

check "no goto" "$(lines '(^|[^A-Za-z_])goto[ ]')"
# Of the product; a test may copy its own constants.
check "no function that writes without a length" \
    "$(lines '(^|[^A-Za-z_>.])(strcpy|strcat|sprintf|vsprintf|gets|stpcpy|strncpy|strncat)\(' |
        grep -v '^tests/' || true)"
check "no alloca, system, popen, strtok, atoi, rand, tmpnam" \
    "$(lines '(^|[^A-Za-z_>.])(alloca|system|popen|strtok|atoi|atol|rand|srand|tmpnam|mktemp)\(' |
        grep -v '^tests/' || true)"
# Types of functions have typedefs, with their parameters in the line.
check "no typedef of a struct, a union or an enum" \
    "$(lines '^[ ]*typedef (struct|union|enum)[^(]*$')"

found=$(lines '(^|[^A-Za-z_])memcmp\(' | while IFS=: read -r file line text; do
    case " $memcmp_allowed " in
    *" $file "*) ;;
    *) case $file in tests/*) ;; *) echo "$file:$line:$text" ;; esac ;;
    esac
done)
check "memcmp only where nothing secret is compared (kd_ct_equal)" "$found"

# shellcheck disable=SC2086
check "a task in a comment names its issue" \
    "$(grep -nE '(^|[^A-Za-z])(TODO|FIXME|XXX|HACK)([^A-Za-z]|$)' $sources | grep -vE 'TODO\(#[0-9]+\)' || true)"

# In the documents a test is cited as `file: name`, those of tests/system without the folder.
found=$(grep -ohE '`[a-z_/]+\.(py|c): [A-Za-z0-9_]+`' docs/*.md | tr -d '`' | sort -u |
    while IFS=': ' read -r file name; do
        case $file in */*) ;; *) file=tests/system/$file ;; esac
        grep -qsE "(def |START_TEST\()$name[():]" "$file" || echo "$file has no test $name"
    done)
check "each test that the documents cite is there" "$found"
