"""Frames of real exchanges, captured on the wire, against the model's: next hops, XDP to tcx.

What endpoints hand to their interfaces is captured, too, and walked through the model in order.
All hosts' clocks stand still, so that what the model says doesn't depend on how long things took.
"""

import contextlib
import hashlib
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import backplane
import pytest
import wire
from comparison import MARKS, SO_MARK, SO_RCVMARK

from mizar.datapath import ethtool, namespaces
from mizar.datapath.reference import constants, fleet, packets, tables, tunnel
from mizar.datapath.reference.tables import address

A, B, A2, C2 = "10.0.0.11", "10.0.0.12", "10.0.1.21", "10.0.1.23"
SIX = {four: wire.six(four) for four in wire.PLACES}
CLOCK = 1 << 50
SO_TIMESTAMPNS, SO_RCVBUFFORCE, PACKET_OUTGOING = 35, 33, 4
CUT_LATER = ("tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-generic-segmentation")
"""What endpoints send is then, whole and with checksums, what the wire will carry."""

HINT_FIRST = struct.pack("!HB", constants.GENEVE_CLASS, constants.HINT)
QUIET_S = 0.15
TRANSFER_BYTES = 500_000


class Captured(NamedTuple):
    """A frame, when it was seen, and on which interface of which namespace."""

    ns: int
    netns: str
    interface: str
    frame: bytes


class Tap:
    """Sees the frames that come in by one interface, but for clones on their way to a question."""

    def __init__(self, netns: str, interface: str) -> None:
        self.place = netns, interface
        with namespaces.entered(netns):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 3))
        for option in (SO_TIMESTAMPNS, SO_RCVMARK):
            self.socket.setsockopt(socket.SOL_SOCKET, option, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)

    def frames(self) -> Iterator[Captured]:
        """What has been seen since last asked."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, extra, _, (_, _, kind, *_) = self.socket.recvmsg(1 << 17, 128, 0x40)
                said = {number: data for _, number, data in extra}
                seconds, ns = struct.unpack("qq", said[SO_TIMESTAMPNS])
                mark = int.from_bytes(said[SO_MARK], "little")
                if kind != PACKET_OUTGOING and mark not in MARKS:
                    yield Captured(seconds * 10**9 + ns, *self.place, frame)


class Moved(NamedTuple):
    """What endpoints sent, the tunnels on the wire, and what endpoints got."""

    sent: list[Captured]
    crossed: list[Captured]
    got: list[Captured]


class Lab:
    """Hosts on a wire with both families, their taps, and the model of the same fleet."""

    def __init__(self, made: wire.Wire) -> None:
        self.wire = made
        underlay = f"{made.prefix}-underlay"
        self.on_wire = [Tap(underlay, f"p{number}") for number in made.hosts]
        self.at_endpoints = {
            Tap(made.hosts[number].netns, interface(text)): (text, number)
            for text, number in wire.PLACES.items()
        }
        self.in_endpoints = [Tap(made.endpoint(text), "eth0") for text in wire.PLACES]

    def close(self) -> None:
        for tap in [*self.on_wire, *self.at_endpoints, *self.in_endpoints]:
            tap.socket.close()

    def model(self, now: int) -> fleet.Fleet:
        """The model, from what is in the maps at this moment."""
        hosts = {}
        for host in self.wire.hosts.values():
            with namespaces.entered(host.netns):
                mac = backplane.mac(wire.hardware_address("uplink"))
            rows, xdp = rows_of(host.loaded.maps), self.wire.mode == "xdp"
            hosts[address(host.address)] = fleet.Host(rows, f"h{host.number}", xdp, mac)
        return fleet.Fleet(hosts, now)

    def begin(self, now: int) -> fleet.Fleet:
        """Stands the clocks at a time; what was captured before is forgotten."""
        for host in self.wire.hosts.values():
            config = host.loaded.maps["host_config"]
            config.update(0, config.lookup(0)._replace(test_clock_ns=now))
        self.settle()
        return self.model(now)

    def settle(self) -> Moved:
        """What has moved, once nothing has for a while."""
        moved = Moved([], [], [])
        quiet = time.monotonic() + QUIET_S
        while time.monotonic() < quiet:
            new = (
                [*frames_of(self.at_endpoints)],
                [*filter(is_tunnel, frames_of(self.on_wire))],
                [*frames_of(self.in_endpoints)],
            )
            moved = Moved(*(old + more for old, more in zip(moved, new, strict=True)))
            if any(new):
                quiet = time.monotonic() + QUIET_S
            time.sleep(0.005)
        return moved._replace(sent=sorted(moved.sent))

    def compare(self, model: fleet.Fleet, *, joined: bool = False) -> list[fleet.Walk]:
        """Every frame must be one that the model predicts, and the other way round: on the wire,
        and into endpoints, but where GRO may have joined them."""
        moved = self.settle()
        walks = []
        for one in moved.sent:
            text, number = self.at_endpoints[self.tap(one)]
            host = self.wire.hosts[number]
            with namespaces.entered(host.netns):
                ifindex = socket.if_nametoindex(interface(text))
            walks.append(fleet.walk(model, address(host.address), ifindex, one.frame))
        predicted = Counter(frame.hex() for walk in walks for frame in on_wire(walk))
        assert Counter(outer(one.frame).hex() for one in moved.crossed) == predicted
        told = Counter(frame.hex() for walk in walks for frame in into_endpoints(walk))
        assert joined or Counter(one.frame.hex() for one in moved.got) == told
        return walks

    def tap(self, one: Captured) -> Tap:
        return next(tap for tap in self.at_endpoints if tap.place == (one.netns, one.interface))


def frames_of(taps: Any) -> Iterator[Captured]:
    for tap in taps:
        yield from tap.frames()


def interface(text: str) -> str:
    return f"v{text.rpartition('.')[2]}"


def is_tunnel(one: Captured) -> bool:
    return one.frame[12:14] == b"\x08\x00" and one.frame[23] == packets.UDP


def outer(frame: bytes) -> bytes:
    """A frame as captured, but a HINT without the tail of the packet whose place it took.

    On veth, which keeps skb->encapsulation, the kernel refuses to cut it; its lengths say so.
    """
    if frame[tunnel.OPTIONS : tunnel.OPTIONS + 3] != HINT_FIRST:
        return frame
    assert packets.word(frame, tunnel.OUTER_IP + 2) == len(frame) - tunnel.OUTER_IP
    frame = frame[: tunnel.HINT_FRAME_BYTES]
    for at, size in ((tunnel.OUTER_IP + 2, 84), (tunnel.OUTER_UDP + 4, 64)):
        frame = packets.replaced(frame, at, size.to_bytes(2, "big"))
    return frame[: tunnel.OUTER_IP] + packets.with_ipv4_checksum(frame[tunnel.OUTER_IP :])


def on_wire(walk: fleet.Walk) -> list[bytes]:
    """The frames of a walk and of the walks that it set off."""
    return [*walk.wire, *(frame for clone in walk.clones for frame in on_wire(clone))]


def into_endpoints(walk: fleet.Walk) -> list[bytes]:
    """What a walk, and those that it set off, put into interfaces."""
    own = [walk.end.packet] if walk.end.interface else []
    return [*own, *(frame for clone in walk.clones for frame in into_endpoints(clone))]


def rows_of(maps: Any) -> tables.Tables:
    """The rows that the maps of a host hold, as the model has them."""
    config = maps["host_config"].lookup(0)
    sets = {
        name: {
            tuple(key): tables.TransitSet(
                row.kind, row.network, in_sixteens(row.holders, row.count)
            )
            for key, row in maps[name].items()
        }
        for name in ("routes", "router_networks")
    }
    places = {
        name: {tuple(key): tables.Place(*row) for key, row in maps[name].items()}
        for name in ("switch_endpoints", "moved")
    }
    return tables.Tables(
        host_config=tables.HostConfig(*config[:8]),
        ports={
            ifindex: tables.Port(*row[:4], tables.Family(*row[5:9]), tables.Family(*row[9:13]))
            for ifindex, row in maps["ports"].items()
        },
        local={tuple(key): tables.LocalEndpoint(*row) for key, row in maps["local"].items()},
        locations={tuple(key): tables.Location(*row) for key, row in maps["locations"].items()},
        switch_networks={tuple(k): row.network for k, row in maps["switch_networks"].items()},
        underlay_prefixes={tuple(key) for key, _ in maps["underlay_prefixes"].items()},
        **sets,
        **places,
    )


def in_sixteens(packed: bytes, count: int) -> tuple[bytes, ...]:
    return tuple(packed[at : at + 16] for at in range(0, 16 * count, 16))


@pytest.fixture(scope="module", params=["tcx", "xdp"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with wire.wired(request.param) as made:
        for text in wire.PLACES:
            with namespaces.entered(made.endpoint(text)):
                ethtool.features_off("eth0", ("tx-checksum-ip-generic", *CUT_LATER))
        made_lab = Lab(made)
        made_lab.settle()
        yield made_lab
        made_lab.close()


# ---- exchanges ----

PAIRS = [(A, B), (A, A2), (A, C2), (C2, B)]
BOTH = [pair for four in PAIRS for pair in (four, (SIX[four[0]], SIX[four[1]]))]
PLACE = {**{text: text for text in SIX}, **{six: four for four, six in SIX.items()}}


@pytest.fixture
def forgotten(lab: Lab) -> None:
    """No host has learned anything."""
    lab.wire.forget()


def ping(lab: Lab, source: str, destination: str) -> None:
    said = lab.wire.run(PLACE[source], f"ping -c 1 -W 2 {destination}")
    assert "1 received" in said


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(("source", "destination"), BOTH)
def test_pings_cross_by_transit_then_directly_then_ask(
    lab: Lab,
    source: str,
    destination: str,
) -> None:
    model = lab.begin(CLOCK)
    ping(lab, source, destination)
    reasons = reasons_of(lab.compare(model))
    same_host = "DELIVERED_SAME_HOST" in reasons
    assert same_host or {"SENT_LOOKUP", "LOOKUP_ANSWERED", "HINT_TAKEN"} <= reasons
    ping(lab, source, destination)
    assert same_host or {"SENT_DIRECT", "DELIVERED"} <= reasons_of(lab.compare(model))
    model = lab.begin(CLOCK + 600_000_000)
    ping(lab, source, destination)
    assert same_host or {"SENT_ASK", "ASK_ANSWERED"} <= reasons_of(lab.compare(model))


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(("source", "destination"), [(A, B), (SIX[A], SIX[C2])])
def test_tcp_crosses_as_the_model_says(lab: Lab, source: str, destination: str) -> None:
    model = lab.begin(CLOCK)
    transfer(lab, source, destination, 20_000)
    walks = lab.compare(model, joined=True)
    assert len(walks) > 20
    assert {"SENT_SWITCH", "SENT_DIRECT"} & reasons_of(walks)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("destination", ["10.0.0.77", "10.0.9.9", "fd00::77", "fd77::7"])
def test_news_of_what_is_not_there_crosses_as_the_model_says(lab: Lab, destination: str) -> None:
    model = lab.begin(CLOCK)
    said = lab.wire.run(A, f"ping -c 1 -W 1 {destination}", check=False)
    walks = lab.compare(model)
    assert "RETURNED_TOLD" in reasons_of(walks)
    assert "nreachable" in said


@pytest.mark.parametrize(("source", "destination"), [(A, B), (SIX[A], SIX[B])])
def test_what_was_stripped_and_joined_arrives_whole(
    lab: Lab,
    source: str,
    destination: str,
) -> None:
    lab.begin(CLOCK)
    eth0 = Tap(lab.wire.endpoint(PLACE[destination]), "eth0")
    with eth0.socket:
        transfer(lab, source, destination, TRANSFER_BYTES)
        got = [len(tcp_payload(one.frame)) for one in eth0.frames()]
    crossed = [one.frame for one in lab.settle().crossed if one.interface == "p1"]
    there = [len(tcp_payload(frame[tunnel.OPTIONS + inner_offset(frame) :])) for frame in crossed]
    assert min(sum(got), sum(there)) >= TRANSFER_BYTES  # more: sent twice
    if lab.wire.mode == "xdp":
        assert len(list(filter(None, got))) < len(list(filter(None, there)))


def reasons_of(walks: list[fleet.Walk]) -> set[str]:
    found = {step.reason for walk in walks for step in walk.steps}
    return found.union(*(reasons_of([*walk.clones]) for walk in walks if walk.clones))


def inner_offset(frame: bytes) -> int:
    return (frame[tunnel.GENEVE] & 0x3F) * 4


def tcp_payload(frame: bytes) -> bytes:
    """What a frame carries of a TCP stream; nothing when it isn't TCP."""
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype not in (packets.IPV4, packets.IPV6):
        return b""
    packet = packets.parse(ethertype, frame[14:])
    header = packet.upper(20)
    if packet.transport.protocol != packets.TCP or header is None:
        return b""
    return packet.data[packet.transport.at + (header[12] >> 4) * 4 : packet.length]


def transfer(lab: Lab, source: str, destination: str, size: int) -> None:
    """One TCP stream of bytes that repeat nothing, compared at the other end."""
    blocks = (hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(size // 32 + 1))
    sent = b"".join(blocks)[:size]
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with contextlib.ExitStack() as stack:
        with namespaces.entered(lab.wire.endpoint(PLACE[destination])):
            listener = stack.enter_context(socket.create_server((destination, 5001), family=family))
        with namespaces.entered(lab.wire.endpoint(PLACE[source])):
            sender = stack.enter_context(socket.socket(family))
        sender.bind((source, 0))
        sender.connect((destination, 5001))
        receiver = stack.enter_context(listener.accept()[0])
        assert exchanged(sender, receiver, sent) == sent


def exchanged(sender: socket.socket, receiver: socket.socket, sent: bytes) -> bytes:
    """Sends all, reads all, in one thread."""
    sender.setblocking(False)
    receiver.setblocking(False)
    at, got, deadline = 0, bytearray(), time.monotonic() + 30
    while len(got) < len(sent):
        assert time.monotonic() < deadline, f"{len(got)} of {len(sent)} bytes in 30 s"
        with contextlib.suppress(BlockingIOError):
            at += sender.send(sent[at : at + 100_000]) if at < len(sent) else 0
        with contextlib.suppress(BlockingIOError):
            got += receiver.recv(1 << 20)
    return bytes(got)
