#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: keyd beside the module itself and beside what one would take instead, in one
run on one machine, on SoftHSM and on NSS softokn.

Prints one table and writes it, and a plot of its ratios, into the build tree.  It never
fails for being slow: targets stand beside what was measured.

    bench.py                  everything
    bench.py PART...          some of limits, keyd, sizes, alternatives, slow (limits always)
    bench.py --docs           puts the last run into docs/benchmark.md and docs/benchmark.svg

BENCH_QUICK=1 takes less than three minutes.  BENCH_SECONDS (1) is the time of one figure.
KD_TOKENS chooses tokens, as in the system tests.
"""
import json
import os
import platform
import re
import sys
import time

import load
import report

from harness import daemon, tokens  # after load, which knows where it is

PARTS = ("limits", "keyd", "sizes", "alternatives", "slow")
OUT = os.path.join(load.BUILD, "tests", "bench", "benchmark")
DOCS = os.path.join(load.SOURCE, "docs", "benchmark")
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    return f"{load.CORES} cores ({model.group(1) if model else platform.machine()})"


def head():
    return [f"{machine()}; {load.MS / 1000:g} s for a figure; load average at the start "
            f"{os.getloadavg()[0]:.1f}",
            "clients run on the same cores; p50, p99: of a call; front, workers: CPU in us of an "
            "item"]


def run_token(kind, parts, table):
    import alternatives
    import keyd_rates
    import limits
    import sizes
    import slow
    token = tokens.make(kind)
    try:
        found = limits.measure(token)
        limits.rows(table, token, found)
        if "keyd" in parts or "sizes" in parts:
            bench = keyd_rates.Bench(token, table)
            if "keyd" in parts:
                bench.one_worker()
                bench.all_workers()
            if "sizes" in parts:
                sizes.of_sessions(bench)
                sizes.of_restored(bench)
            bench.close()
            if "sizes" in parts:
                sizes.of_keys(kind, table)
        if "alternatives" in parts:
            alternatives.rows(token, table)
        if "slow" in parts and kind == "softhsm":
            slow.rows(table)
        limits.rows_again(table, token, found)
    finally:
        daemon.kill_all_on(token)
        token.remove()


def measure(parts):
    table = report.Table(head())
    table.on_row = lambda row: print(f"{report.heading(row)}: {report.row_line(row)}",
                                     file=sys.stderr, flush=True)
    begin = time.monotonic()
    for kind in os.environ.get("KD_TOKENS", "softhsm,nss").split(","):
        try:
            run_token(kind, parts, table)
        except tokens.Skip as why:
            table.failed(kind, "module in process", "everything", str(why))
    table.head.append(f"the run took {time.monotonic() - begin:.0f} s")
    return table


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def to_docs():
    """The last run into the documentation."""
    with open(OUT + ".json", encoding="utf-8") as f:
        table = report.Table.of_plain(json.load(f))
    write(DOCS + ".svg", report.svg(table))
    with open(DOCS + ".md", encoding="utf-8") as f:
        before, _, rest = f.read().partition(BEGIN)
    after = rest.partition(END)[2]
    write(DOCS + ".md", f"{before}{BEGIN}```\n{report.text(table)}```\n{END}{after}")


def main():
    if sys.argv[1:] == ["--docs"]:
        to_docs()
        return
    parts = sys.argv[1:] or PARTS
    if set(parts) - set(PARTS):
        sys.exit(__doc__)
    table = measure(parts)
    write(OUT + ".json", json.dumps(table.to_plain()))
    write(OUT + ".txt", report.text(table))
    write(OUT + ".svg", report.svg(table))
    print(report.text(table))
    print(f"{OUT}.txt, {OUT}.svg")


if __name__ == "__main__":
    main()
