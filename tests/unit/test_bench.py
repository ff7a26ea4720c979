"""The benchmarks' arithmetic and packets; that their traffic runs is theirs to show."""

import json
import math
import os
import pathlib
import re
import time
from xml.etree import ElementTree

import pytest
from scapy.contrib import geneve
from scapy.layers import inet, l2

from report import page, svg, targets
from rig import command, figures, packets, processor

HOSTS = ("10.99.0.1", "10.99.0.2")
MACS = ("02:99:00:00:00:01", "02:99:00:00:00:02")


def test_every_measure_is_sampled_in_every_round_and_none_always_first() -> None:
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    samples = figures.alternate(
        {"ours": lambda: measure("ours", 2.0), "theirs": lambda: measure("theirs", 4.0)}, 5
    )
    assert samples == {"ours": [2.0] * 5, "theirs": [4.0] * 5}
    assert order[:4] == ["ours", "theirs", "theirs", "ours"]


def test_fewer_rounds_than_a_median_needs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        figures.alternate({"ours": lambda: 1.0}, 4)


def test_a_row_has_the_ratio_of_its_median_to_every_other_baselines() -> None:
    samples = {"ours": [3.0, 4.0, 50.0], "vxlan": [8.0, 8.0, 10.0], "bare": [16.0, 1.0, 17.0]}
    ours, vxlan, bare = figures.rows(
        "tcp", {"regime": "wire"}, "rate", "Gbit/s", samples, ["vxlan", "bare"]
    )
    assert (ours.subject, ours.median, ours.low, ours.high, ours.samples) == ("ours", 4, 3, 50, 3)
    assert ours.ratios == {"vxlan": 0.5, "bare": 0.25}
    assert (vxlan.ratios, bare.ratios) == ({"bare": 0.5}, {"vxlan": 2.0})


def test_what_is_written_is_read_back() -> None:
    rows = figures.rows("rtt", {"regime": "wire"}, "ping -f", "us", {"a": [1.0], "b": [2.0]}, ["b"])
    text = figures.written(rows, machine={"cpus": 2})
    assert figures.read(text) == rows
    assert json.loads(text)["machine"] == {"cpus": 2}


def test_an_effort_chooses_by_its_name() -> None:
    assert [command.Effort(name).of(1, 2, 3) for name in command.EFFORTS] == [1, 2, 3]


def test_busy_time_is_that_of_the_machine() -> None:
    with processor.Busy() as busy:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
    assert 0.1 < busy.seconds < 0.6 * (os.cpu_count() or 1)


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_quantile_is_the_nearest_rank(fraction: float, expected: int) -> None:
    assert figures.quantile(range(100, 0, -1), fraction) == expected


def test_a_packet_in_transit_is_what_scapy_reads() -> None:
    raw = packets.in_transit(0x123456, HOSTS, MACS, ("10.1.0.1", "10.2.0.2"), 50000)
    frame = l2.Ether(raw)
    assert (frame.src, frame.dst) == MACS
    outer = frame[inet.IP]
    assert (outer.src, outer.dst, outer.ttl, outer.len) == (*HOSTS, 64, len(raw) - 14)
    assert (frame[inet.UDP].sport, frame[inet.UDP].dport) == (50000, packets.GENEVE_PORT)
    tunnel = frame[geneve.GENEVE]
    assert (tunnel.vni, tunnel.optionlen, tunnel.proto) == (0x123456, 7, 0x6558)
    assert tunnel[inet.IP].dst == "10.2.0.2"


def test_a_packets_header_checksums_are_what_scapy_computes() -> None:
    raw = packets.in_transit(7, HOSTS, MACS, ("10.1.0.1", "10.2.0.2"), 50000)
    built = l2.Ether(raw)
    stated = [built[inet.IP].chksum, built[geneve.GENEVE][inet.IP].chksum]
    for header in (built[inet.IP], built[geneve.GENEVE][inet.IP]):
        del header.chksum
    anew = l2.Ether(bytes(built))
    assert stated == [anew[inet.IP].chksum, anew[geneve.GENEVE][inet.IP].chksum]


def tcp_rows(figure: str, vxlan: float, ours: float) -> list[figures.Row]:
    samples = {"mizar-tcx": [ours], "mizar-xdp": [ours / 2], "vxlan": [vxlan], "bare": [vxlan]}
    case = {"regime": "offload", "streams": 1}
    return figures.rows("tcp", case, figure, "unit", samples, ["vxlan", "bare"])


MACHINE = {
    "date": "2026-01-01",
    "commit": "abc",
    "cpu": "a <fast> one",
    "cpus": 2,
    "virtual": True,
    "kernel": "6.18",
    "seconds": 600,
}


@pytest.mark.parametrize(("ours", "met"), [(12.9, "no"), (13.0, "yes")])
def test_the_page_says_whether_the_better_mode_meets_a_target(ours: float, met: str) -> None:
    rows = tcp_rows("rate", 10, ours) + tcp_rows("cpu", 1, 1)
    text = page.page(figures.Results(MACHINE, rows))
    (line,) = (line for line in text.splitlines() if "1 stream: rate to vxlan" in line)
    assert line.split(" | ")[1:4] == ["at least 1.3", f"{ours / 10:.2f} (mizar-tcx)", met]


def test_a_target_that_is_an_upper_limit_takes_the_lowest_figure() -> None:
    found = figures.Results(MACHINE, tcp_rows("cpu", 10, 8))
    (limit,) = (
        t
        for t in targets.ALL
        if t.figure == "cpu" and t.case["regime"] == "offload" and t.case["streams"] == 1
    )
    assert list(targets.best(found, limit)) == [("mizar-xdp", 0.4)]
    assert (limit.met(0.9), limit.met(0.91)) == (True, False)


def test_what_was_not_measured_has_no_section_and_no_plot() -> None:
    rows = tcp_rows("rate", 10, 13) + tcp_rows("cpu", 1, 1)
    files = page.files(figures.Results(MACHINE, rows))
    assert [line for line in files["performance.md"].splitlines() if line.startswith("## ")] == [
        "## Targets",
        "## TCP",
    ]
    assert list(files) == ["performance.md", "performance/tcp-offload.svg"]


def widths(text: str, colour: str) -> list[float]:
    bars = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}rect")
    return [float(bar.attrib["width"]) for bar in bars if bar.attrib["class"] == colour]


def test_bars_are_as_long_as_their_values_and_cut_at_the_longest() -> None:
    cells = [svg.Cell(value, value, value) for value in (1.0, 2.0, 50.0)]
    rows = [svg.Row("a & b", "ours", [cell]) for cell in cells]
    group = [svg.Group("<group>", rows)]
    one, two, cut = widths(svg.chart("t", "s", [svg.Panel("unit", 4.0)], group), "ours")
    assert two == pytest.approx(2 * one, abs=0.1)
    assert cut == pytest.approx(4 * one, abs=0.2)
    whole = widths(svg.chart("t", "s", [svg.Panel("unit", math.inf)], group), "ours")
    assert whole[2] == pytest.approx(50 * whole[0], rel=0.02)


def test_words_in_a_plot_are_escaped() -> None:
    row = svg.Row("a & b", "ours", [svg.Cell(1, 1, 1)])
    text = svg.chart("<title>", "s", [svg.Panel("unit")], [svg.Group("<group>", [row])])
    words = {each.text for each in ElementTree.fromstring(text).iter() if each.text}
    assert {"<title>", "<group>", "a & b"} <= words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (12345.6, "12,346"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.5432, "0.54"),
        (0.0123, "0.012"),
        (7.0, "7"),
    ],
)
def test_a_number_has_three_digits_and_no_exponent(value: float, words: str) -> None:
    assert svg.number(value) == words


DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
RESULTS = DOCS / "performance" / "results.json"


@pytest.mark.skipif(not RESULTS.exists(), reason="no report was made yet")
def test_the_report_is_what_its_results_say() -> None:
    for name, text in page.files(page.results(RESULTS.read_text())).items():
        assert (DOCS / name).read_text() == text, f"{name}: run ./dev bench-report --render"


def test_every_script_has_its_line_in_the_readme() -> None:
    bench = DOCS.parent / "bench"
    named = re.findall(r"^\| `(\w+\.py)`", (bench / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(script.name for script in bench.glob("*.py"))
