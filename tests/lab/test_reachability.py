"""Who reaches whom in the example, and that nothing passes between VPCs."""

import subprocess
from collections import Counter
from collections.abc import Iterable

import labkit
import pytest

from mizar.lab import fleet, reachability, report
from mizar.model import addresses


@pytest.fixture(scope="module")
def cells(lab: fleet.Lab) -> list[reachability.Cell]:
    return reachability.check(lab.workloads())


def test_every_endpoint_reaches_its_own_vpc_and_nothing_else(
    cells: list[reachability.Cell],
) -> None:
    assert [cell for cell in cells if not cell.ok] == []
    assert [
        families(c for c in cells if c.expected),
        families(c for c in cells if not c.expected),
    ] == [
        {4: 6 * 5 + 6 * 5, 6: 6 * 5 + 3 * 2},
        {4: 6 * 1 + 6 * 1, 6: 6 * 1 + 3 * 4},
    ]


def families(cells: Iterable[reachability.Cell]) -> dict[int, int]:
    return dict(Counter(addresses.family(cell.address) for cell in cells))


@pytest.mark.parametrize("address", ["10.0.1.11", "fd00:10:0:1::11"])
def test_an_address_is_another_machine_in_each_vpc(
    cells: list[reachability.Cell], address: str
) -> None:
    answers = {(cell.source.vpc, cell.answered) for cell in cells if cell.address == address}
    assert answers == {("blue/prod", "blue/web1"), ("green/prod", "green/web1")}


def test_the_report_shows_each_kind_of_path(cells: list[reachability.Cell]) -> None:
    text = "\n".join(report.lines(cells))
    assert "96 of 96" in text
    assert report.FAILED not in text.replace(report.LEGEND, "").replace("TCP", "")
    rows = {tuple(line.split()[:3]): line.split()[3:] for line in text.splitlines()}
    assert rows["web1", "10.0.1.11,fd00:10:0:1::11", "h1"][3:] in (
        [report.SELF, report.SAME_HOST, report.SAME_NETWORK],
        [report.SELF, report.SAME_NETWORK, report.SAME_NETWORK],
    )


def test_packets_to_an_address_of_another_vpc_never_get_there(lab: fleet.Lab) -> None:
    before = received_packets(lab, "green/web9")
    assert not labkit.ping(lab, "blue/web1", "10.0.1.99")
    assert received_packets(lab, "green/web9") == before
    assert labkit.ping(lab, "green/web1", "10.0.1.99")
    assert received_packets(lab, "green/web9") > before


def received_packets(lab: fleet.Lab, endpoint: str) -> int:
    command = ["ip", "netns", "exec", lab.netns(endpoint), "cat", "/sys/class/net/eth0/statistics"]
    command[-1] += "/rx_packets"
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_watching_an_uplink_costs_no_packet(lab: fleet.Lab) -> None:
    """A capture shares packets: a program that writes in place gets copies without metadata."""
    with labkit.Capture(lab.netns("h3"), "eth0", outgoing=False) as capture:
        done = lab.run("blue/web1", ["ping", "-q", "-c", "10", "-i", "0.05", "10.0.1.13"])
    assert " 0% packet loss" in done.stdout
    assert len(capture.lengths) >= 10
