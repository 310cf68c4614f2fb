#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Holds the arrows between the folders (docs/architecture.md): which folder may
# include which header of another.  A new arrow is a change of the design.
set -eu
cd "${KD_SRCDIR:-$(dirname "$0")/..}"

# Prints the headers of other folders that a file of this folder may include.
allowed() {
    case $1 in
    base/*) ;;
    channel/*) echo base/base.h ;;
    ca/*) echo base/base.h ;;
    hsm/*) echo base/base.h channel/channel.h ;;
    client/*) echo base/base.h channel/channel.h ;;
    gateway/*) echo base/base.h channel/channel.h keyd/conf.h keyd/notify.h ;;
    keyd/config.c | keyd/main.c) echo base/base.h hsm/hsm.h api/api.h ;;
    fetch/*) echo base/base.h ;;
    keyd/*) echo base/base.h ca/ca.h channel/channel.h fetch/fetch.h hsm/channel.h hsm/hsm.h ;;
    api/*) echo base/base.h ca/ca.h keyd/audit.h keyd/bootstrap.h keyd/channel.h keyd/service.h ;; # these show it hsm/
    *) echo none ;;
    esac
}

n=0
check() {
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
        return
    fi
    echo "not ok $n - $1"
    echo "$2" | sed 's/^/#   /'
}

# The includes of a file that are not allowed to it.
strangers() {
    folder=${1%%/*}
    may=" kd-build.h $(allowed "$1") "
    sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$1" | while read -r header; do
        case $header in
        "$folder"/*) continue ;;
        */*) ;;
        *) [ ! -e "$folder/$header" ] || continue ;;
        esac
        case $may in
        *" $header "*) ;;
        *) echo "$1 includes \"$header\"" ;;
        esac
    done
}

folders=
for folder in base channel hsm fetch ca keyd api client gateway; do
    [ ! -d "$folder" ] || folders="$folders $folder"
done
echo "1..$(($(echo "$folders" | wc -w) + 2))"
for folder in $folders; do
    found=$(for file in "$folder"/*.[ch]; do
        [ ! -e "$file" ] || strangers "$file"
    done)
    check "$folder includes only what it may" "$found"
done

found=$(grep -En '^[ \t]*#[ \t]*include[ \t]*"[^"]*\.c"' ./*/*.[ch] || true)
check "no file includes a .c file" "$found"

# The module is loaded in the worker only: nothing else touches PKCS#11 itself.
found=$(grep -Ens 'include[ \t]*<p11-kit/|include[ \t]*<pkcs11' base/*.[ch] keyd/*.[ch] api/*.[ch] \
    client/*.[ch] gateway/*.[ch] || true)
check "PKCS#11 is used in hsm only" "$found"
