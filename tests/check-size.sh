#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# J17: a device's library stays small.  Its size says something where the compiler was told what
# packages are built with, on the machine that the limit was set for.
set -eu
build=${KD_BUILDDIR:-$PWD}
limit=114688 # bytes of text, without libcrypto and libcurl
if ! grep -q '^CFLAGS = -g -O2' "$build/Makefile" || [ "$(uname -m)" != x86_64 ]; then
    echo "1..0 # SKIP the limit is for -O2 on x86-64"
    exit 0
fi
text=$(size "$build/client/.libs/libkeyd.so" | awk 'NR == 2 { print $1 }')
echo 1..1
if [ "$text" -le "$limit" ]; then
    echo "ok 1 - libkeyd has $text of $limit bytes of text"
else
    echo "not ok 1 - libkeyd has $text of $limit bytes of text"
fi
