"""Real traffic between namespaces: next hops, XDP through GRO to tcx, GSO, odd workloads."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
import wire
from scapy.layers.l2 import Dot1Q, Ether

from mizar.datapath import namespaces

A, B, A2, C2 = "10.0.0.11", "10.0.0.12", "10.0.1.21", "10.0.1.23"


@pytest.fixture(scope="module", params=["tcx", "xdp", "cls_bpf"])
def hosts(request: pytest.FixtureRequest) -> Iterator[wire.Wire]:
    with wire.wired(request.param) as made:
        yield made


@pytest.mark.parametrize(
    ("source", "destination"),
    [(A, B), (A, A2), (A, C2), (C2, B), (B, A2), (A2, C2)],
)
def test_every_pair_answers_from_the_first_ping(
    hosts: wire.Wire,
    source: str,
    destination: str,
) -> None:
    assert hosts.ping(source, destination) == 3
    assert hosts.ping(source, wire.six(destination)) == 3


def test_nobody_answers_for_an_address_that_nobody_has(hosts: wire.Wire) -> None:
    """Told to the workload: the LOOKUP comes back from the table, and says so."""
    before = hosts.counters(3)["NO_ENDPOINT"][0], hosts.counters(1)["RETURNED_TOLD"][0]
    said = hosts.run(A, "ping -c 3 -i 0.2 -W 1 10.0.0.77", check=False)
    assert hosts.counters(3)["NO_ENDPOINT"][0] == before[0] + 6
    assert hosts.counters(1)["RETURNED_TOLD"][0] == before[1] + 3
    assert "From 10.0.0.1" in said
    assert "Destination Host Unreachable" in said


def test_only_the_first_packets_of_a_conversation_go_by_transit(hosts: wire.Wire) -> None:
    hosts.ping(A, B)
    before = hosts.transit_packets()
    hosts.run(A, f"ping -q -c 200 -i 0.01 {B}")
    assert hosts.transit_packets() == before


FLOWS = [(C2, 10), (B, wire.ENDPOINT_MTU)]
"""Destination and bytes of IP; by IPv4 and by IPv6 each."""


def test_one_way_flows_leave_transit_and_never_come_back(hosts: wire.Wire) -> None:
    """Small packets, and such as have no room for ORIGIN. Nobody answers: the receivers' sockets
    are never read, and a full one drops without a word."""
    for destination, size in FLOWS:
        hosts.forget()
        with one_way(hosts, destination) as senders:
            for sender, headers in senders:
                sender.send(bytes(max(1, size - headers)))
            time.sleep(0.2)
            before, transit = delivered(hosts, destination), transit_packets(hosts)
            for _ in range(70):
                for sender, headers in senders:
                    sender.send(bytes(max(1, size - headers)))
                time.sleep(0.02)
            time.sleep(0.05)
        assert delivered(hosts, destination) == before + 2 * 70
        assert transit_packets(hosts) == transit


@contextlib.contextmanager
def one_way(hosts: wire.Wire, destination: str) -> Iterator[list[tuple[socket.socket, int]]]:
    """Connected UDP sockets of A to a silent receiver, and the bytes of headers in a packet."""
    families = [
        (socket.AF_INET, destination, 28),
        (socket.AF_INET6, wire.six(destination), 48),
    ]
    with contextlib.ExitStack() as stack:
        senders = []
        for family, address, headers in families:
            with namespaces.entered(hosts.endpoint(destination)):
                receiver = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                receiver.bind((address, 9999))
            with namespaces.entered(hosts.endpoint(A)):
                sender = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                sender.connect((address, 9999))
            senders.append((sender, headers))
        yield senders


def delivered(hosts: wire.Wire, address: str) -> int:
    return hosts.counters(wire.PLACES[address])["DELIVERED"][0]


def transit_packets(hosts: wire.Wire) -> int:
    """What A's host sent to transit tables, and what all hosts' tables forwarded."""
    sent = hosts.counters(1)
    return hosts.transit_packets() + sent["SENT_SWITCH"][0] + sent["SENT_ROUTER"][0]


@pytest.mark.parametrize("to", [B, wire.six(B)])
def test_tcp_leaves_whole_and_is_delivered_whole(hosts: wire.Wire, to: str) -> None:
    """Mean bytes of a packet: far beyond the MTU at both ends, however it crossed the wire."""
    sent, got = hosts.counters(1)["SENT_DIRECT"], hosts.counters(2)["DELIVERED"]
    stripped = hosts.counters(2)["STRIPPED"]
    wire.transfer(hosts, A, B, to=to)
    assert mean_bytes(hosts.counters(1)["SENT_DIRECT"], sent) > 10_000
    assert mean_bytes(hosts.counters(2)["DELIVERED"], got) > 4 * wire.ENDPOINT_MTU
    if hosts.mode == "xdp":
        assert mean_bytes(hosts.counters(2)["STRIPPED"], stripped) < 1_600


def test_tcp_to_the_same_host_is_never_cut(hosts: wire.Wire) -> None:
    before = hosts.counters(1)["DELIVERED_SAME_HOST"]
    wire.transfer(hosts, A, A2)
    assert mean_bytes(hosts.counters(1)["DELIVERED_SAME_HOST"], before) > 10_000


def test_vlan_tag_of_a_workload_is_seen_although_the_kernel_hides_it(hosts: wire.Wire) -> None:
    frame = bytes(Ether(dst="02:4d:5a:00:00:01") / Dot1Q(vlan=5) / bytes(60))
    before = hosts.counters(1)["VLAN"][0]
    with (
        namespaces.entered(hosts.endpoint(A)),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw,
    ):
        raw.bind(("eth0", 0))
        raw.send(frame)
    time.sleep(0.05)
    assert hosts.counters(1)["VLAN"][0] == before + 1


def test_workloads_own_tunnel_goes_through_ours(hosts: wire.Wire) -> None:
    for here, there, inner in ((A, B, "172.16.0.1"), (B, A, "172.16.0.2")):
        hosts.run(here, f"ip link add own type vxlan id 3 local {here} remote {there} dstport 4789")
        hosts.run(here, f"ip address add {inner}/24 dev own")
        hosts.run(here, "ip link set own mtu 1300 up")
    before = hosts.counters(1)["ENCAPSULATION_FAILED"][0]
    answers = hosts.ping(A, "172.16.0.2")
    wire.transfer(hosts, A, B, to="172.16.0.2", size="2M")
    for here in (A, B):
        hosts.run(here, "ip link delete own")
    assert (answers, hosts.counters(1)["ENCAPSULATION_FAILED"][0]) == (3, before)


def mean_bytes(after: tuple[int, int], before: tuple[int, int]) -> float:
    return (after[1] - before[1]) / (after[0] - before[0])
