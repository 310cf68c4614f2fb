#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's table and plot, of fixed figures."""
import os
import sys
import xml.etree.ElementTree

SOURCE = os.environ.get("KD_SRCDIR", os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(SOURCE, "tests", "system"))
sys.path.insert(0, os.path.join(SOURCE, "tests", "bench"))

import report  # noqa: E402
from harness import main, test  # noqa: E402

NAMESPACE = "{http://www.w3.org/2000/svg}"


def table():
    t = report.Table(["2 cores"])
    t.add("softhsm", "module in process", "mac", 1000, "/s", base=1000, against="itself")
    t.add("softhsm", "keyd", "mac, batch <64>", 1500, "/s", base=1000, target=1.3, against="mac",
          p50=12.34, p99=99.4, front=1.5, workers=20, plot=True)
    t.add("softhsm", "keyd", "open", 600, "/s", base=1000, target=0.9, against="mac", plot=True)
    t.add("softhsm", "keyd", "idle", 150, "us", target=120, at_most=True)
    t.add("softhsm", "keyd", "seal", 300, "/s", base=1000, against="mac", plot=True)
    t.failed("softhsm", "instead of keyd", "tang", "not installed")
    return t


def lines_with(text, word):
    return [line for line in text.split("\n") if line.startswith(word)]


@test
def a_row_has_figure_ratio_and_target():
    line, = lines_with(report.text(table()), "mac, batch")
    assert line.split()[3:] == ["1500", "/s", "1.50", ">=1.3", "12.3", "99.4", "1.50", "20.0",
                                "mac"], line


@test
def targets_that_are_missed_are_marked_and_counted():
    text = report.text(table())
    assert "0.60 >=0.9 !" in lines_with(text, "open")[0]
    assert "<=120 !" in lines_with(text, "idle")[0]
    assert lines_with(text, "1 of 3 targets are met; those that are not are marked with !")


@test
def what_was_not_measured_says_why():
    assert lines_with(report.text(table()), "tang")[0].endswith(" not installed")


@test
def the_plot_has_a_bar_for_each_ratio_and_a_mark_for_each_target():
    root = xml.etree.ElementTree.fromstring(report.svg(table()))
    bars = [r for r in root.iter(NAMESPACE + "rect") if r.find(NAMESPACE + "title") is not None]
    assert [b.get("fill") for b in bars] == [report.MET, report.MISSED, report.PLAIN]
    widths = [float(b.get("width")) for b in bars]
    assert widths[0] > widths[1] > widths[2] > 0, widths
    marks = [m for m in root.iter(NAMESPACE + "line") if m.get("stroke-width") == "2"]
    assert [float(m.get("x1")) for m in marks] == [round(report.place(t), 1) for t in (1.3, 0.9)]
    texts = [t.text for t in root.iter(NAMESPACE + "text")]
    assert "mac, batch <64>" in texts and "idle" not in texts


@test
def a_table_comes_back_from_plain_data():
    again = report.Table.of_plain(table().to_plain())
    assert report.text(again) == report.text(table()) and report.svg(again) == report.svg(table())


if __name__ == "__main__":
    main()
