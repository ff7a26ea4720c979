"""IPv6 of endpoints: the tunnel's bytes, extension headers, hop limits, addresses that none has."""

import struct

import pytest
from backplane import (
    A6,
    A_IDENTITY,
    B6,
    B_MAC,
    ENDPOINT_MTU,
    FAR6,
    HOST,
    PEER,
    REMOTE6,
    ROUTER_MAC,
    TAP6,
    TAP_MAC,
    UNDERLAY_MTU,
    Host,
    mac,
    mapped,
)
from frames import TCP, UDP, geneve, identity, named, origin, sent6
from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

from mizar.datapath.reference import hashing

HOP, ROUTING, FRAGMENT, AH, NO_NEXT, DESTINATION = 0, 43, 44, 51, 59, 60
TCP_NUMBER, UDP_NUMBER, SCTP_NUMBER, ICMPV6 = 6, 17, 132, 58


def extension(kind: int, following: int, words: int = 0) -> bytes:
    """One extension header; `words` of 8 bytes (AH: of 4) beyond its first 8 bytes."""
    if kind == AH:
        return struct.pack("!BB", following, words) + bytes(6 + 4 * words)
    return struct.pack("!BB", following, words) + bytes(6 + 8 * words)


def fragment(following: int, offset: int = 0, more: bool = False) -> bytes:
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 7)


def chained(kinds: list[int], last: int = UDP_NUMBER, words: int = 0) -> dict[str, object]:
    """Keywords for sent6: these extension headers, then `last`."""
    following = [*kinds[1:], last]
    chain = (extension(kind, then, words) for kind, then in zip(kinds, following, strict=True))
    return {"nh": kinds[0], "extensions": b"".join(chain)}


def outer_of(packet: bytes) -> tuple[IP, bytes]:
    outer = IP(packet[14:])
    return outer, packet[14 + 28 :]


def tunnelled_frame(packet: bytes) -> bytes:
    return mac(ROUTER_MAC) * 2 + packet[12:]


@pytest.mark.parametrize("ecn", [0, 1, 2, 3])
def test_direct_packet_byte_for_byte(host: Host, ecn: int) -> None:
    packet = sent6(REMOTE6, tc=0x2E << 2 | ecn, fl=0xABCDE)
    host.location(REMOTE6, PEER)
    outcome = host.run("endpoint", packet)
    outer, rest = outer_of(outcome.packet)
    assert outcome.reason == "SENT_DIRECT"
    assert outcome.packet[12:14] == b"\x08\x00"
    assert (outer.src, outer.dst, outer.tos, outer.ttl) == (HOST, PEER, ecn, 64)
    assert outer.len == len(packet) - 14 + 58
    assert rest == geneve(tunnelled_frame(packet), identity(A_IDENTITY))


@pytest.mark.parametrize(("to", "reason"), [(REMOTE6, "SENT_SWITCH"), (FAR6, "SENT_ROUTER")])
def test_packet_to_transit_carries_its_origin(host: Host, to: str, reason: str) -> None:
    outcome = host.run("endpoint", sent6(to))
    assert outcome.reason == reason
    assert outer_of(outcome.packet)[1][8:].startswith(identity(A_IDENTITY) + origin(HOST))


def test_largest_packet_fits_the_underlay(host: Host) -> None:
    outcome = host.run("endpoint", sent6(REMOTE6, bytes(ENDPOINT_MTU - 48)))
    assert outer_of(outcome.packet)[0].len == UNDERLAY_MTU
    outcome = host.run("endpoint", sent6(REMOTE6, bytes(ENDPOINT_MTU - 47)))
    assert outcome.reason == "TOO_BIG"


FLOWS = [
    (sent6(REMOTE6, l4=TCP(sport=5, dport=80)), (TCP_NUMBER, 5, 80)),
    (sent6(REMOTE6, l4=SCTP(sport=7, dport=9)), (SCTP_NUMBER, 7, 9)),
    (sent6(REMOTE6, l4=ICMPv6EchoRequest()), (ICMPV6, 0, 0)),
    (sent6(REMOTE6, nh=NO_NEXT), (NO_NEXT, 0, 0)),
    *(
        (sent6(REMOTE6, **chained([kind], words=words)), (UDP_NUMBER, 4000, 53))
        for kind in (HOP, ROUTING, AH, DESTINATION)
        for words in (0, 2)
    ),
    (sent6(REMOTE6, **chained([HOP, DESTINATION, ROUTING, AH, 60, 60])), (UDP_NUMBER, 4000, 53)),
    (sent6(REMOTE6, **chained([60] * 7)), (DESTINATION, 0, 0)),
    # 40 bytes of IPv6 and 160, 164, 168 of a header: the ports end at byte 204, 208, 212.
    (sent6(REMOTE6, **chained([DESTINATION], words=19)), (UDP_NUMBER, 4000, 53)),
    (sent6(REMOTE6, **chained([AH], words=39)), (UDP_NUMBER, 0, 0)),
    (sent6(REMOTE6, **chained([DESTINATION], words=20)), (UDP_NUMBER, 0, 0)),
    (sent6(REMOTE6, **chained([DESTINATION, 60], words=19)), (DESTINATION, 0, 0)),
    (sent6(REMOTE6, nh=FRAGMENT, extensions=fragment(UDP_NUMBER)), (UDP_NUMBER, 4000, 53)),
    (sent6(REMOTE6, nh=FRAGMENT, extensions=fragment(17, more=True)), (UDP_NUMBER, 0, 0)),
    (sent6(REMOTE6, nh=FRAGMENT, extensions=fragment(17, offset=8)), (UDP_NUMBER, 0, 0)),
    (sent6(REMOTE6, nh=FRAGMENT, extensions=fragment(60, offset=8)), (DESTINATION, 0, 0)),
]


@pytest.mark.parametrize(("packet", "flow"), FLOWS, ids=named)
def test_source_port_is_the_flows_hash(
    host: Host,
    packet: bytes,
    flow: tuple[int, int, int],
) -> None:
    host.location(REMOTE6, PEER)
    udp = IP(host.run("endpoint", packet).packet[14:])[UDP]
    protocol, source, destination = flow
    ports = source << 16 | destination
    assert udp.sport == hashing.outer_port(mapped(A6), mapped(REMOTE6), ports, protocol)


@pytest.mark.parametrize("hops", [2, 64, 255])
def test_routing_takes_one_from_the_hop_limit_alone(host: Host, hops: int) -> None:
    packet = sent6(FAR6, hlim=hops)
    inner = host.run("endpoint", packet).packet[-len(packet) :]
    assert inner[14:] == packet[14:21] + bytes([hops - 1]) + packet[22:]


def test_within_the_subnet_the_packet_is_untouched(host: Host) -> None:
    packet = sent6(REMOTE6, hlim=1)
    assert host.run("endpoint", packet).packet.endswith(packet[14:])


@pytest.mark.parametrize(("to", "address"), [(B6, B_MAC), (TAP6, TAP_MAC)])
def test_same_host_delivery_writes_the_macs_alone(host: Host, to: str, address: str) -> None:
    packet = sent6(to)
    outcome = host.run("endpoint", packet)
    assert outcome.reason == "DELIVERED_SAME_HOST"
    assert (Ether(outcome.packet).dst, Ether(outcome.packet).src) == (address, ROUTER_MAC)
    assert outcome.packet[12:] == packet[12:]


@pytest.mark.parametrize(
    ("reason", "packet"),
    [
        ("TRUNCATED", sent6(REMOTE6)[:-1]),
        ("MALFORMED", sent6(REMOTE6, version=4)),
        ("MULTICAST", sent6("ff02::1")),
        ("MULTICAST", sent6(REMOTE6, to="33:33:00:00:00:01")),
        ("LINK_LOCAL", sent6("fe80::1")),
        ("LINK_LOCAL", sent6("febf::1")),
        ("LINK_LOCAL", sent6("::1", source="fe80::7")),
        ("MARTIAN", sent6("::")),
        ("MARTIAN", sent6("::1")),
        ("MARTIAN", sent6("::ffff:10.0.0.12")),
        ("MARTIAN", sent6(REMOTE6, source="::")),
        ("MARTIAN", sent6("fe80::1", source="::1")),
        ("MARTIAN", sent6(REMOTE6, source="::ffff:10.0.0.11")),
        ("SPOOFED_ADDRESS", sent6(REMOTE6, source=B6)),
        ("SPOOFED_ADDRESS", sent6(REMOTE6, source="::2")),
        ("HOP_LIMIT", sent6(FAR6, hlim=1)),
        ("HOP_LIMIT", sent6(FAR6, hlim=0)),
        ("SENT_SWITCH", sent6("fd00::ff:feff:ffff")),
        ("SENT_ROUTER", sent6("fec0::1")),
        ("SENT_ROUTER", sent6("::2")),
    ],
    ids=named,
)
def test_what_may_be_sent_and_what_not(host: Host, reason: str, packet: bytes) -> None:
    assert host.run("endpoint", packet).reason == reason


def hidden(kinds: list[int], last: int, words: int = 0, hops: int = 255) -> bytes:
    """To a neighbour; what `last` is can't be read."""
    return sent6(B6, hlim=hops, **chained(kinds, last, words))


@pytest.mark.parametrize(
    ("reason", "packet"),
    [
        ("ND_IGNORED", hidden([DESTINATION] * 7, ICMPV6)),
        ("ND_IGNORED", hidden([DESTINATION, 60], ICMPV6, words=19)),
        ("ND_IGNORED", hidden([DESTINATION], ICMPV6, words=20)),
        ("ND_IGNORED", hidden([FRAGMENT] + [60] * 6, ICMPV6)),
        ("DELIVERED_SAME_HOST", hidden([DESTINATION] * 7, ICMPV6, hops=254)),
        ("DELIVERED_SAME_HOST", hidden([DESTINATION] * 6, NO_NEXT)),
        ("DELIVERED_SAME_HOST", hidden([DESTINATION], TCP_NUMBER, words=20)),
        (
            "DELIVERED_SAME_HOST",
            sent6(B6, hlim=255, nh=FRAGMENT, extensions=fragment(ICMPV6, offset=8)),
        ),
    ],
    ids=named,
)
def test_what_may_hide_neighbour_discovery_stays_here(
    host: Host, reason: str, packet: bytes
) -> None:
    assert host.run("endpoint", packet).reason == reason


@pytest.mark.parametrize(
    ("gso_size", "reason"), [(1382, "ENCAPSULATION_FAILED"), (1383, "TOO_BIG")]
)
def test_segments_are_judged_by_their_size(host: Host, gso_size: int, reason: str) -> None:
    """What test_run makes of gso_size the kernel can't encapsulate."""
    packet = sent6(REMOTE6, bytes(2900), l4=TCP(sport=1, dport=2))
    assert host.run("endpoint", packet, gso_size=gso_size).reason == reason


def test_bytes_behind_the_packet_travel_with_it(host: Host) -> None:
    packet = sent6(REMOTE6) + b"padding"
    assert host.run("endpoint", packet).packet.endswith(packet[14:])
