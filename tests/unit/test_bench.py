"""The benchmarks' arithmetic and packets; that their traffic runs is theirs to show."""

import pytest
from scapy.contrib import geneve
from scapy.layers import inet, l2

from rig import figures, packets

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


def test_ratio_is_ours_over_the_baseline() -> None:
    figure = figures.line("tcp", "wire", "Gbit/s", [3, 4, 50], "vxlan", [8, 8, 10])
    assert (figure["value"], figure["baseline_value"], figure["ratio"]) == (4, 8, 0.5)
    assert figure["ratio_range"] == [0.375, 5]
    assert figure["samples"] == 3


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
