"""The benchmarks' arithmetic and packets; that their traffic runs is theirs to show."""

import json
import os
import time

import pytest
from scapy.contrib import geneve
from scapy.layers import inet, l2

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
