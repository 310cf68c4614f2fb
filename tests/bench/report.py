# SPDX-License-Identifier: Apache-2.0
"""The table of a run, as text and as a plot in SVG: plain Python, nothing else."""
import dataclasses
import html
import math

MET, MISSED, PLAIN = "#2f7d4f", "#b5482f", "#6b7a90"


@dataclasses.dataclass
class Row:
    token: str
    section: str
    name: str
    figure: float = None   # None: nothing was measured, the note says why
    unit: str = ""
    base: float = None     # the ratio is to it
    against: str = ""
    target: float = None   # of the ratio, or of the figure where there is no base
    at_most: bool = False
    p50: float = None      # microseconds of a call
    p99: float = None
    front: float = None    # CPU, microseconds of an item
    workers: float = None
    note: str = ""
    plot: bool = False

    @property
    def ratio(self):
        return self.figure / self.base if self.figure is not None and self.base else None

    @property
    def is_met(self):
        """None where there is no target."""
        value = self.ratio if self.base else self.figure
        if self.target is None or value is None:
            return None
        return value <= self.target if self.at_most else value >= self.target


class Table:
    def __init__(self, head=()):
        self.head = list(head)
        self.rows = []
        self.on_row = lambda row: None

    def add(self, token, section, name, figure, unit, **more):
        self._append(Row(token, section, name, figure, unit, **more))

    def failed(self, token, section, name, note):
        self._append(Row(token, section, name, note=note))

    def _append(self, row):
        self.rows.append(row)
        self.on_row(row)

    def to_plain(self):
        return {"head": self.head, "rows": [dataclasses.asdict(r) for r in self.rows]}

    @classmethod
    def of_plain(cls, plain):
        table = cls(plain["head"])
        table.rows = [Row(**r) for r in plain["rows"]]
        return table


# ---- text ----------------------------------------------------------------------

COLUMNS = (("", 54, "<"), ("figure", 10, ">"), ("unit", 4, "<"), ("ratio", 6, ">"),
           ("target", 9, "<"), ("p50 us", 7, ">"), ("p99 us", 7, ">"), ("front", 6, ">"),
           ("workers", 7, ">"), ("held against", 0, "<"))


def number(value):
    """Three digits or more."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def target_text(row):
    if row.target is None:
        return ""
    text = ("<=" if row.at_most else ">=") + f"{row.target:g}"
    return text + ("" if row.is_met or row.is_met is None else " !")


def line(cells):
    return " ".join(f"{c:{align}{width}}" if width else c
                    for c, (_, width, align) in zip(cells, COLUMNS)).rstrip()


def row_line(row):
    if row.figure is None:
        return f"{row.name:<{COLUMNS[0][1]}} {row.note}"
    return line((row.name, number(row.figure), row.unit,
                 "" if row.ratio is None else f"{row.ratio:.2f}", target_text(row), number(row.p50),
                 number(row.p99), number(row.front), number(row.workers), row.against)) + \
        (f"; {row.note}" if row.note else "")


def heading(row):
    return f"{row.token}: {row.section}"


def summary(table):
    judged = [r for r in table.rows if r.is_met is not None]
    met = sum(r.is_met for r in judged)
    return f"{met} of {len(judged)} targets are met" + \
        ("" if met == len(judged) else "; those that are not are marked with !")


def text(table):
    lines = [*table.head, "", line([c[0] for c in COLUMNS])]
    before = None
    for row in table.rows:
        if heading(row) != before:
            before = heading(row)
            lines += ["", before]
        lines.append(row_line(row))
    return "\n".join([*lines, "", summary(table)]) + "\n"


# ---- SVG -----------------------------------------------------------------------

LEFT, WIDTH, RIGHT, STEP, TOP = 400, 520, 70, 17, 64
LOW, HIGH = 0.05, 100.0


def place(ratio):
    """Where a ratio stands on the logarithmic scale."""
    part = math.log(min(max(ratio, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + part * WIDTH


def words(x, y, content, anchor="start", weight="normal", colour="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{colour}">{html.escape(content)}</text>')


def scale(bottom):
    parts = []
    for tick in (0.1, 0.3, 0.5, 1, 3, 10, 30):
        x = place(tick)
        colour = "#444" if tick == 1 else "#ccc"
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" '
                     f'stroke="{colour}" stroke-width="1"/>')
        parts.append(words(x, TOP - 12, f"{tick:g}", "middle"))
    return parts


def bar(row, y):
    colour = {None: PLAIN, True: MET, False: MISSED}[row.is_met]
    x0, x1 = place(LOW), place(row.ratio)
    parts = [words(LEFT - 8, y + 11, row.name, "end"),
             f'<rect x="{x0:.1f}" y="{y + 2}" width="{max(x1 - x0, 1):.1f}" height="{STEP - 5}" '
             f'fill="{colour}"><title>{html.escape(f"{row.name}: {row.ratio:.2f} of {row.against}")}'
             "</title></rect>",
             words(x1 + 4, y + 11, f"{row.ratio:.2f}")]
    if row.target is not None:
        x = place(row.target)
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + STEP - 1}" '
                     'stroke="#000" stroke-width="2"/>')
    return parts


def svg(table):
    """Bars of the rows that are to be plotted; a black line is a row's target."""
    parts, y, before = [], TOP, None
    for row in table.rows:
        if not row.plot or row.ratio is None:
            continue
        if heading(row) != before:
            before = heading(row)
            y += 8
            parts.append(words(12, y + 12, before, weight="bold"))
            y += STEP + 2
        parts += bar(row, y)
        y += STEP
    bottom = y + 8
    width = LEFT + WIDTH + RIGHT
    title = "keyd against the module in process, and against what else carries keys (ratio, log scale)"
    legend = [(MET, "target met"), (MISSED, "target missed"), (PLAIN, "no target")]
    marks = []
    for i, (colour, name) in enumerate(legend):
        marks.append(f'<rect x="{12 + i * 120}" y="30" width="10" height="10" fill="{colour}"/>')
        marks.append(words(26 + i * 120, 39, name))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 8}" '
        f'viewBox="0 0 {width} {bottom + 8}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{bottom + 8}" fill="#fff"/>',
        words(12, 20, title, weight="bold"), *marks, *scale(bottom), *parts, "</svg>"]) + "\n"
