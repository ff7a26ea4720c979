"""Which rows each plot shows."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from report import svg
from rig import figures

COLOURS = {
    "mizar-tcx": "ours",
    "mizar-xdp": "ours2",
    "classic": "peer",
    "ovs": "peer2",
    "vxlan": "baseline",
    "bare": "baseline2",
    "one": "ours2",
    "hot": "ours",
    "zipf": "ours",
    "uniform": "ours",
    "forward": "baseline",
}
"""Subjects that are plotted, and each one's class of svg.STYLE."""

REGIMES = {"offload": "uplinks with offloads", "wire": "MTU-size packets on the wire"}
CUT = 2.6
"""Bars of CPU time longer than so many times VXLAN's are cut."""

Case = Mapping[str, str | int]


class Column(NamedTuple):
    """A panel's title, and the figures of one script that it shows, of `case` and the group's."""

    title: str
    bench: str
    figure: str
    case: Case = {}


def drawn(found: figures.Results) -> dict[str, str]:
    """SVG documents by name; a plot without rows is left out."""
    made = {f"tcp-{regime}": _tcp(found, regime) for regime in REGIMES}
    made |= {
        "latency": _latency(found),
        "connections": _connections(found),
        "transit": _transit(found),
    }
    return {name: text for name, text in made.items() if text}


def stream_counts(found: figures.Results) -> list[int]:
    return sorted({int(row.case["streams"]) for row in found.of("tcp")})


def streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


def _tcp(found: figures.Results, regime: str) -> str:
    vxlan = [row.median for row in found.of("tcp", "cpu", regime=regime) if row.subject == "vxlan"]

    def longest(column: Column) -> float:
        return CUT * max(vxlan) if column.figure == "cpu" and vxlan else math.inf

    return _plot(
        found,
        f"TCP between endpoints, {REGIMES[regime]}",
        "Bars are medians, whiskers the range of the samples; the sockets' work is in all of them",
        [Column("Gbit/s", "tcp", "rate"), Column("CPU time per byte, ns", "tcp", "cpu")],
        {streams(count): {"regime": regime, "streams": count} for count in stream_counts(found)},
        longest,
    )


def _latency(found: figures.Results) -> str:
    return _plot(
        found,
        "Round trips, us",
        "Flood of pings, and sockperf's ping-pong: medians of the samples' p50",
        [
            Column("ping -f", "rtt", "ping -f"),
            Column("TCP", "latency", "p50", {"protocol": "tcp"}),
            Column("UDP", "latency", "p50", {"protocol": "udp"}),
        ],
        {words: {"regime": regime} for regime, words in REGIMES.items()},
    )


def _connections(found: figures.Results) -> str:
    return _plot(
        found,
        "New TCP connections",
        "Four clients connect and close; bars are medians, whiskers the range of the samples",
        [
            Column("connections per second", "connections", "connections"),
            Column("CPU time of one, us", "connections", "cpu"),
        ],
        {words: {"regime": regime} for regime, words in REGIMES.items()},
    )


def _transit(found: figures.Results) -> str:
    return _plot(
        found,
        "A packet through a transit switch, in XDP",
        "one: a table of one entry; the others: of 1,000,000; forward: plain XDP forwarding",
        [
            Column("ns a packet (test_run)", "transit", "time"),
            Column("Mpps of one core (live frames)", "transit", "rate"),
        ],
        {"": {}},
    )


def _plot(
    found: figures.Results,
    title: str,
    subtitle: str,
    columns: Sequence[Column],
    cases: Mapping[str, Case],
    longest: Callable[[Column], float] = lambda _: math.inf,
) -> str:
    """A group of bars per case, by its words; empty where nothing was measured."""
    groups = [svg.Group(words, _rows(found, columns, case)) for words, case in cases.items()]
    if not any(group.rows for group in groups):
        return ""
    panels = [svg.Panel(column.title, longest(column)) for column in columns]
    return svg.chart(title, subtitle, panels, groups)


def _rows(found: figures.Results, columns: Sequence[Column], case: Case) -> list[svg.Row]:
    cells: list[dict[str, svg.Cell]] = []
    for column in columns:
        rows = found.of(column.bench, column.figure, **case, **column.case)
        cells.append({row.subject: svg.Cell(row.median, row.low, row.high) for row in rows})
    subjects = dict.fromkeys(name for column in cells for name in column if name in COLOURS)
    return [svg.Row(name, COLOURS[name], [each.get(name) for each in cells]) for name in subjects]
