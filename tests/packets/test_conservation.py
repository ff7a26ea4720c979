"""No packet without a trace on real wires: what was sent = what arrived + what was counted as lost.

Datagrams between three hosts, counted by the endpoints' sockets, by every reason of every
host, and by the uplinks; while redirects fail on purpose as well. The programs' clock
stands still: no location ages, and nobody asks a question that isn't due to a loss.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

import backplane
import pytest
import wire

from mizar.bpf import links, objects
from mizar.datapath import namespaces, reasons

HERE, THERE = "10.0.0.11", "10.0.0.12"
FLOWS = ((HERE, THERE), (HERE, "10.0.1.23"), ("10.0.1.21", HERE), ("10.0.1.23", THERE))
"""Host 1 only sends, or to itself: what a wire loses behind a host is the wire's to count."""

COUNT = 40
SMALL, LARGE = 100, 1300
NOW_NS = 1_000_000_000_000
PATIENCE_S = 3.0
DROPS = [reason.name for reason in reasons.REASONS if reason.verdict == "DROP"]
INTERFACE_DROPS = ("rx_dropped", "rx_errors")
"""Of uplinks: gone before a program saw them. What they lose in sending is among LOST."""

Losses = dict[tuple[int, str], int]
"""(host, reason or interface counter) -> packets; without zeros."""


class Fault(NamedTuple):
    """Commands that break something and mend it; ``lost``: where and as what it must be found."""

    breaks: dict[str, str]
    mends: dict[str, str]
    lost: tuple[int, str]
    size: int = SMALL


NO_ANSWER = {
    "h2": "sysctl -qw net.ipv4.conf.uplink.arp_ignore=8",
    "h1": "ip neighbour del 192.0.2.2 dev uplink",
    "h3": "ip neighbour del 192.0.2.2 dev uplink",
}
FAULTS = {
    "sender's uplink down": Fault(
        {"h1": "ip link set uplink down"}, {"h1": "ip link set uplink up"}, (1, "LOST")
    ),
    "sender's wire cut": Fault(
        {"underlay": "ip link set p1 down"}, {"underlay": "ip link set p1 up"}, (1, "LOST")
    ),
    "no next hop": Fault(
        NO_ANSWER, {"h2": "sysctl -qw net.ipv4.conf.uplink.arp_ignore=0"}, (1, "LOST")
    ),
    "receiving workload down": Fault(
        {"e12": "ip link set eth0 down"}, {"e12": "ip link set eth0 up"}, (2, "LOST")
    ),
    "receiving uplink of a smaller MTU": Fault(
        {"h2": "ip link set uplink mtu 1200"},
        {"h2": "ip link set uplink mtu 1500"},
        (2, "rx_dropped"),
        LARGE,
    ),
}


class Scene:
    """Sockets of the flows on the running wire."""

    def __init__(self, hosts: wire.Wire, stack: contextlib.ExitStack) -> None:
        self.hosts = hosts
        self.pairs = []
        for source, target in FLOWS:
            ends = [stack.enter_context(udp_socket(hosts, name)) for name in (source, target)]
            self.pairs.append((ends[0], ends[1], (target, ends[1].getsockname()[1])))

    def locations(self, known: bool) -> None:
        """Every sender's host knows where to, or asked just now and was told nothing."""
        for source, target in FLOWS:
            at = self.hosts.hosts[wire.PLACES[target]].address if known else "::"
            row = (backplane.mapped(at), NOW_NS if known else 0, NOW_NS, 1, 0)
            table = self.hosts.hosts[wire.PLACES[source]].loaded.maps["locations"]
            table.update((wire.VNI, backplane.mapped(target)), row)

    def send(self, size: int) -> int:
        """Sends in every flow; how many datagrams."""
        for _ in range(COUNT):
            for sender, _, target in self.pairs:
                sender.sendto(bytes(size), target)
        return COUNT * len(self.pairs)

    def received(self) -> int:
        """Datagrams that have come since this was last asked."""
        return sum(drained(receiver) for _, receiver, _ in self.pairs)


@pytest.fixture(scope="module", params=["tcx", "xdp"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(wire.wired(request.param))
        for address in wire.PLACES:
            running.run(address, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        for host in running.hosts.values():
            prepare(host, stack)
        for source, target in FLOWS:
            assert running.ping(source, target) == 3
        yield Scene(running, stack)


def prepare(host: wire.Host, stack: contextlib.ExitStack) -> None:
    """Counts losses as mizar.datapath.losses does; finds out soon that a neighbour is silent."""
    with namespaces.entered(host.netns):
        number = namespaces.own_number()
    config = host.loaded.maps["host_config"]
    config.update(0, config.lookup(0)._replace(netns=number, test_clock_ns=NOW_NS))
    (spec,) = backplane.built("lost")
    loaded = stack.enter_context(objects.load([spec], reuse=host.loaded.maps))
    stack.enter_context(links.attach_tracepoint(loaded.programs["lost"]))
    quick = "retrans_time_ms=50", "mcast_solicit=1", "ucast_solicit=1"
    for setting in quick:
        wire.run(host.netns, f"sysctl -qw net.ipv4.neigh.uplink.{setting}")


@pytest.mark.parametrize("known", [True, False], ids=["direct", "by transit"])
def test_all_arrives_where_nothing_fails(scene: Scene, known: bool) -> None:
    scene.locations(known)
    before = lost(scene.hosts)
    sent = scene.send(SMALL)
    received = settle(scene, sent, before)
    assert (received, since(before, scene.hosts)) == (sent, {})


@pytest.mark.parametrize("known", [True, False], ids=["direct", "by transit"])
@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_arrive_is_counted_once(scene: Scene, name: str, known: bool) -> None:
    fault = FAULTS[name]
    scene.locations(known)
    before = lost(scene.hosts)
    run_all(scene.hosts, fault.breaks)
    try:
        sent = scene.send(fault.size)
        received = settle(scene, sent, before)
    finally:
        run_all(scene.hosts, fault.mends)
        recover(scene.hosts)
    losses = since(before, scene.hosts)
    assert sent == received + sum(losses.values()), losses
    assert losses[fault.lost] >= COUNT, losses


@pytest.mark.parametrize(
    ("table", "number", "reason"),
    [("local", 2, "NOT_HERE"), ("switch_endpoints", 3, "NO_ENDPOINT")],
)
def test_what_a_table_does_not_know_is_counted_once(
    scene: Scene, table: str, number: int, reason: str
) -> None:
    """A question about it is lost like the packet that it goes with."""
    rows = scene.hosts.hosts[number].loaded.maps[table]
    key = (wire.VNI, backplane.mapped(THERE))
    row = rows.lookup(key)
    scene.locations(known=False)
    before, asked = lost(scene.hosts), questions(scene.hosts)
    rows.delete(key)
    try:
        sent = scene.send(SMALL)
        received = settle(scene, sent, before)
    finally:
        rows.update(key, row)
    losses = since(before, scene.hosts)
    assert sent + questions(scene.hosts) - asked == received + sum(losses.values())
    assert set(losses) == {(number, reason)}


def run_all(hosts: wire.Wire, commands: dict[str, str]) -> None:
    for part, command in commands.items():
        wire.run(f"{hosts.prefix}-{part}", command)


def settle(scene: Scene, sent: int, before: Losses) -> int:
    """How many have arrived, once all is accounted for or nothing more changes for long."""
    received, deadline_s = 0, time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        received += scene.received()
        if received + sum(since(before, scene.hosts).values()) >= sent:
            break
        time.sleep(0.02)
    time.sleep(0.05)
    return received + scene.received()


def recover(hosts: wire.Wire) -> None:
    """Until all links send again, and everybody knows everybody."""
    for netns in (
        f"{hosts.prefix}-underlay",
        hosts.endpoint(THERE),
        *(h.netns for h in hosts.hosts.values()),
    ):
        wire.wait_until_running(netns)
    hosts.run(THERE, "ip route replace default via 10.0.0.1")
    for host in hosts.hosts.values():
        for other in hosts.hosts.values():
            wire.run(host.netns, f"ping -q -c 1 -W 2 {other.address}")


def lost(hosts: wire.Wire) -> Losses:
    """All that every host has counted as lost so far."""
    found = {
        (number, reason): packets
        for number in hosts.hosts
        for reason, (packets, _) in hosts.counters(number).items()
        if reason in DROPS
    }
    for number, host in hosts.hosts.items():
        (link,) = json.loads(wire.run(host.netns, "ip -j -s -s link show uplink"))
        received = link["stats64"]["rx"]
        found |= {(number, name): received[name.removeprefix("rx_")] for name in INTERFACE_DROPS}
    return found


def since(before: Losses, hosts: wire.Wire) -> Losses:
    return {key: n - before.get(key, 0) for key, n in lost(hosts).items() if n > before.get(key, 0)}


def questions(hosts: wire.Wire) -> int:
    """Clones sent as questions and not answered: they are lost, or still under way."""
    signs = {"SENT_ASK": 1, "SENT_LOOKUP": 1, "ASK_ANSWERED": -1, "LOOKUP_ANSWERED": -1}
    return sum(
        sign * hosts.counters(number)[reason][0]
        for number in hosts.hosts
        for reason, sign in signs.items()
    )


def udp_socket(hosts: wire.Wire, address: str) -> socket.socket:
    with namespaces.entered(hosts.endpoint(address)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    made.setblocking(False)
    made.bind((address, 0))
    return made


def drained(receiver: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(1 << 16):
            count += 1
    return count
