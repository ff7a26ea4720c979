"""What of the kernel's drop table is told, when, and under whose name."""

import collections

import pytest

from mizar.agent import drops
from mizar.datapath import tables
from mizar.plan import entries, stream

Key = collections.namedtuple("Key", "ifindex vni reason")
Value = collections.namedtuple("Value", "packets bytes source destination")

REASONS = ["SPOOFED_MAC", "NO_ENDPOINT"]
UPLINK = 2
WEB = 17
STRANGER = 18  # an interface that has no row in `ports` yet
ENDPOINT = entries.EndpointEntry(
    uid="u1", tenant="blue", name="web", vni=7, addresses=["10.0.0.5"], prefixes=["10.0.0.0/24"],
    gateways=["10.0.0.1"], mac="02:00:00:00:00:05", netns="", interface="eth0", identity=3,
    generation=9,
)  # fmt: skip


class Table(dict):
    def delete(self, key):
        return self.pop(key, None) is not None


class Host:
    """A host with a clock, a drop table, and interfaces."""

    def __init__(self):
        self.table = Table()
        self.endpoints = {WEB: ENDPOINT}
        self.interfaces = {UPLINK, WEB, STRANGER}
        self.errors = {}
        self.now = 100.0
        self.drops = drops.Drops(
            self.table,
            REASONS,
            lambda: self.endpoints,
            lambda: self.errors,
            lambda: self.now,
            self.interfaces.__contains__,
        )

    def lose(self, ifindex, vni, reason, packets, source="10.0.0.5", destination="10.0.0.9"):
        ends = (tables.address_bytes(a) if a else bytes(16) for a in (source, destination))
        self.table[Key(ifindex, vni, reason)] = Value(packets, packets * 100, *ends)

    def report(self, after_s=1.0):
        self.now += after_s
        return self.drops.report()


@pytest.fixture
def host():
    return Host()


def test_the_first_report_is_whole_and_the_next_says_only_what_changed(host):
    host.lose(WEB, 7, 1, 3)
    host.lose(0, 7, 1, 5)
    first = host.report()
    web = stream.Drop("NO_ENDPOINT", 3, 300, "blue", "web", 7, 0.0, "10.0.0.5", "10.0.0.9")
    vpc = stream.Drop("NO_ENDPOINT", 5, 500, "", "", 7, 0.0, "10.0.0.5", "10.0.0.9")
    assert first == stream.Drops([web, vpc], whole=True)
    host.lose(0, 7, 1, 25)
    [row] = host.report(after_s=2.0).rows
    assert (row.endpoint, row.packets, row.rate) == ("", 25, 10.0)


def test_nothing_is_told_when_nothing_changed(host):
    host.lose(WEB, 7, 0, 3)
    host.report()
    assert host.report() is None


def test_a_row_that_has_stopped_is_told_once_more_with_rate_zero(host):
    host.report()
    host.lose(WEB, 7, 0, 3)
    assert [row.rate for row in host.report().rows] == [3.0]
    assert [row.rate for row in host.report().rows] == [0.0]
    assert host.report() is None


def test_whom_a_new_stream_goes_to_is_told_everything_with_rates(host):
    host.lose(WEB, 7, 0, 3)
    host.report()
    host.lose(WEB, 7, 0, 7)
    host.drops.begin()
    again = host.report()
    assert again.whole
    assert [(row.packets, row.rate) for row in again.rows] == [(7, 4.0)]


def test_the_row_of_a_removed_interface_is_deleted_and_told_to_be_gone(host):
    host.lose(WEB, 7, 0, 3)
    host.lose(STRANGER, 0, 1, 1)
    host.report()
    host.endpoints.clear()
    host.interfaces.remove(WEB)
    assert host.report() == stream.Drops([], [("blue", "web", 7, "SPOOFED_MAC")])
    assert [key.ifindex for key in host.table] == [STRANGER]


def test_rows_that_people_cannot_tell_apart_are_one(host):
    host.lose(WEB, 0, 0, 3, source="", destination="")
    host.lose(WEB, 7, 0, 4)
    [row] = host.report().rows
    assert (row.packets, row.bytes, row.source) == (7, 700, "10.0.0.5")


def test_the_uplinks_own_errors_are_rows_of_the_host(host):
    host.errors = {"UPLINK_TX_DROPPED": 0, "UPLINK_TX_ERRORS": 2}
    assert host.report().rows == [stream.Drop("UPLINK_TX_ERRORS", 2, 0)]
