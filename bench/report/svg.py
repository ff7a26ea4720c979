"""Bars in SVG: a chart of rows in groups, with one panel or more side by side.

No plotting library: what is needed is rectangles, lines and text. Colours follow the reader's
light or dark setting where the viewer knows it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 860
MARGIN = 20
LABELS = 118
GAP = 26
VALUES = 58
BAR, STEP, GROUP_HEAD, HEAD, FOOT = 14, 22, 30, 76, 34
TICKS_MAX = 5

STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 }
.quiet { fill: #68707a } .value { font-variant-numeric: tabular-nums }
.grid { stroke: #e4e7eb } .range { stroke: #24292f; stroke-width: 1.2 }
.paper { fill: #ffffff } .cut { stroke: #ffffff; stroke-width: 3 }
.ours { fill: #1769aa } .ours2 { fill: #57a5d8 } .peer { fill: #c27c38 }
.peer2 { fill: #a9894f } .baseline { fill: #7d8590 } .baseline2 { fill: #b6bcc4 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .quiet { fill: #98a2ad } .grid { stroke: #30363d }
.range { stroke: #e6edf3 } .paper { fill: #0d1117 } .cut { stroke: #0d1117 }
}
"""


class Cell(NamedTuple):
    """A median with its lowest and highest sample, all in the panel's unit."""

    value: float
    low: float
    high: float


class Row(NamedTuple):
    """`colour`: a class of STYLE. `cells`: one per panel, None where there is no figure."""

    label: str
    colour: str
    cells: Sequence[Cell | None]


class Group(NamedTuple):
    title: str
    rows: Sequence[Row]


class Panel(NamedTuple):
    """`longest`: bars beyond it are cut there, so that an outlier doesn't flatten the others."""

    title: str
    longest: float = math.inf


class Scale(NamedTuple):
    """A panel's place, in pixels, and the value at its right end."""

    left: float
    width: float
    end: float

    def x(self, value: float) -> float:
        return self.left + self.width * min(value, self.end) / self.end


def chart(title: str, subtitle: str, panels: Sequence[Panel], groups: Sequence[Group]) -> str:
    """An SVG document. Each panel has its own scale from zero; whiskers show the samples' range."""
    height = HEAD + sum(_head(group) + STEP * len(group.rows) for group in groups) + FOOT
    scales = _scales(panels, groups)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(MARGIN, 26, title, "title"),
        _text(MARGIN, 45, subtitle, "quiet"),
    ]
    for panel, scale in zip(panels, scales, strict=True):
        lines += _axis(panel, scale, height)
    return "\n".join([*lines, *_bars(scales, groups), "</svg>\n"])


def _head(group: Group) -> int:
    return GROUP_HEAD if group.title else STEP - BAR


def _scales(panels: Sequence[Panel], groups: Sequence[Group]) -> list[Scale]:
    room = (WIDTH - 2 * MARGIN - LABELS - GAP * (len(panels) - 1)) / len(panels)
    scales = []
    for number, panel in enumerate(panels):
        cells = (row.cells[number] for group in groups for row in group.rows)
        highest = max((cell.high for cell in cells if cell), default=1)
        left = MARGIN + LABELS + number * (room + GAP)
        scales.append(Scale(left, room - VALUES, min(highest, panel.longest) or 1))
    return scales


def _axis(panel: Panel, scale: Scale, height: int) -> Iterator[str]:
    bottom = height - FOOT
    for tick in _ticks(scale.end):
        x = scale.x(tick)
        yield _line("grid", x, HEAD, x, bottom)
        yield _text(x, bottom + 15, f"{tick:g}", "quiet", "middle")
    yield _text(scale.left, HEAD - 6, panel.title, "quiet")


def _ticks(end: float) -> Iterator[float]:
    """Round numbers from zero to `end`, at most TICKS_MAX steps."""
    rough = end / TICKS_MAX
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    for number in range(math.floor(end / step + 1e-9) + 1):
        yield round(number * step, 10)


def _bars(scales: Sequence[Scale], groups: Sequence[Group]) -> Iterator[str]:
    y = HEAD
    for group in groups:
        yield _text(MARGIN, y + 20, group.title, "group")
        y += _head(group)
        for row in group.rows:
            yield _text(MARGIN + LABELS - 10, y + 11, row.label, "", "end")
            for scale, cell in zip(scales, row.cells, strict=True):
                if cell:
                    yield from _bar(scale, cell, row.colour, y)
            y += STEP


def _bar(scale: Scale, cell: Cell, colour: str, y: int) -> Iterator[str]:
    end, middle = scale.x(cell.value), y + BAR / 2
    yield (
        f'<rect class="{colour}" x="{scale.left:.1f}" y="{y}" '
        f'width="{end - scale.left:.1f}" height="{BAR}" rx="2"/>'
    )
    if cell.value > scale.end:
        yield _line("cut", end - 14, y + BAR + 2, end - 8, y - 2)
    elif cell.high > cell.low:
        low, high = scale.x(cell.low), scale.x(cell.high)
        yield _line("range", low, middle, high, middle)
        end = max(end, high)
    yield _text(end + 6, y + 11, number(cell.value), "value")


def number(value: float) -> str:
    """Three significant digits, never an exponent, and no decimals that say nothing."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 3 - len(f"{value:.0f}") if value >= 1 else 3 if value < 0.1 else 2
    return f"{value:.{digits}f}"


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(words)}</text>'
