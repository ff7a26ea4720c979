"""ICMP errors: byte for byte by the RFCs' layouts, about what, to whom, and how often."""

import struct
from collections.abc import Callable

import pytest
from backplane import (
    A6,
    A_MAC,
    ENDPOINT_MTU,
    FAR,
    FAR6,
    GATEWAY,
    GATEWAY6,
    HOST,
    LOOPBACK,
    REMOTE,
    REMOTE6,
    ROUTER_KIND,
    ROUTER_MAC,
    START,
    SUBNET,
    SUBNET6,
    SWITCH_KIND,
    A,
    Host,
    mac,
    mapped,
)
from frames import ICMP, TCP, named, sent, sent6
from scapy.layers.inet import IPerror
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

QUOTE = 128
ROUTED, UNROUTED = 64, 63
FULL, REFILL = 20, 10_000_000
OTHER_MTU = 1300


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def summed(message: bytes, pseudo: bytes = b"") -> bytes:
    """An ICMP message with its checksum."""
    return message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]


def error4(kind: int, code: int, quote: bytes, mtu: int = 0) -> bytes:
    """RFC 792 and RFC 1191, from the gateway to A, as the contract fixes the rest."""
    message = summed(struct.pack("!BBHI", kind, code, 0, mtu) + quote)
    size = 20 + len(message)
    fields = (0x45, 0, size, 0, 0x4000, 64, 1, 0, mapped(GATEWAY)[12:], mapped(A)[12:])
    header = struct.pack("!BBHHHBBH4s4s", *fields)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return mac(A_MAC) + mac(ROUTER_MAC) + b"\x08\x00" + header + message


def error6(kind: int, code: int, quote: bytes, mtu: int = 0) -> bytes:
    """RFC 4443."""
    message = struct.pack("!BBHI", kind, code, 0, mtu) + quote
    addresses = mapped(GATEWAY6) + mapped(A6)
    message = summed(message, addresses + struct.pack("!II", len(message), 58))
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 64) + addresses
    return mac(A_MAC) + mac(ROUTER_MAC) + b"\x86\xdd" + header + message


def no_routes(host: Host) -> None:
    host.maps["routes"].delete_batch(list(host.maps["routes"].keys()))


def own_tables(host: Host) -> None:
    """This host is switch of the network and router of the VPC, and knows of nothing."""
    for network in (SUBNET, SUBNET6):
        host.route(network, SWITCH_KIND, HOST)
        host.switch(network)
    host.route("::/0", ROUTER_KIND, HOST)
    host.router("::/0")


def own_switch_elsewhere(host: Host) -> None:
    own_tables(host)
    host.switch_endpoint(REMOTE, HOST)
    host.switch_endpoint(REMOTE6, HOST)


def nothing(host: Host) -> None:
    pass


LONG, LONG6 = bytes(range(200)), bytes(ENDPOINT_MTU - 47)
CASES = [
    ("GATEWAY", sent(GATEWAY), (3, 3), nothing),
    ("GATEWAY", sent6(GATEWAY6), (1, 4), nothing),
    ("HOP_LIMIT", sent(FAR, LONG, ttl=1), (11, 0), nothing),
    ("HOP_LIMIT", sent6(FAR6, LONG, hlim=1), (3, 0), nothing),
    ("NO_ROUTE", sent(REMOTE, LONG), (3, 0), no_routes),
    ("NO_ROUTE", sent6(REMOTE6, LONG), (1, 0), no_routes),
    ("NO_ENDPOINT", sent(REMOTE), (3, 1), own_tables),
    ("NO_ENDPOINT", sent6(REMOTE6), (1, 3), own_tables),
    ("NOT_HERE", sent(REMOTE), (3, 1), own_switch_elsewhere),
    ("NOT_HERE", sent6(REMOTE6), (1, 3), own_switch_elsewhere),
]


@pytest.mark.parametrize(
    ("reason", "packet", "kind", "given"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_drop_is_told_to_its_sender_byte_for_byte(
    host: Host,
    reason: str,
    packet: bytes,
    kind: tuple[int, int],
    given: Callable[[Host], None],
) -> None:
    given(host)
    error = error6 if packet[12:14] == b"\x86\xdd" else error4
    outcome = host.run("endpoint", packet)
    assert outcome.reason == reason
    assert outcome.packet == error(*kind, packet[14 : 14 + QUOTE])


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (
            sent(REMOTE, bytes(ENDPOINT_MTU - 27), flags="DF"),
            lambda quote: error4(3, 4, quote, ENDPOINT_MTU),
        ),
        (sent(REMOTE, bytes(ENDPOINT_MTU - 27)), lambda quote: error4(3, 4, quote, ENDPOINT_MTU)),
        (sent6(REMOTE6, LONG6), lambda quote: error6(2, 0, quote, ENDPOINT_MTU)),
    ],
    ids=["DF", "without-DF", "IPv6"],
)
def test_too_big_names_the_mtu(
    host: Host,
    packet: bytes,
    expected: Callable[[bytes], bytes],
) -> None:
    outcome = host.run("endpoint", packet)
    assert outcome.reason == "TOO_BIG"
    assert outcome.packet == expected(packet[14 : 14 + QUOTE])


def test_too_big_names_the_mtu_in_force(host: Host) -> None:
    host.configure(endpoint_mtu=OTHER_MTU)
    packet = sent(REMOTE, bytes(OTHER_MTU - 27))
    assert host.run("endpoint", packet).packet == error4(3, 4, packet[14:142], OTHER_MTU)


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (sent(REMOTE, bytes(2900), l4=TCP(sport=1, dport=2, flags="A")), error4),
        (sent6(REMOTE6, bytes(2900), l4=TCP(sport=1, dport=2, flags="A")), error6),
    ],
    ids=["IPv4", "IPv6"],
)
def test_segments_too_big_get_one_error(
    host: Host,
    packet: bytes,
    error: Callable[..., bytes],
) -> None:
    outcome = host.run("endpoint", packet, gso_size=1420)
    kind = (3, 4) if error is error4 else (2, 0)
    assert outcome.packet == error(*kind, packet[14:142], ENDPOINT_MTU)


def test_network_unreachable_quotes_the_packet_as_it_was_routed(host: Host) -> None:
    """What the VPC's router doesn't know: by then the TTL has been taken from."""
    own_tables(host)
    for packet, error in (
        (sent("10.9.9.9", ttl=ROUTED), lambda quote: error4(3, 0, quote)),
        (sent6("fd00:9::9", hlim=ROUTED), lambda quote: error6(1, 0, quote)),
    ):
        outcome = host.run("endpoint", packet)
        assert outcome.reason == "NO_NETWORK"
        if packet[12:14] == b"\x08\x00":
            quote = Ether(outcome.packet)[IPerror]
            assert (quote.ttl, quote.dst) == (UNROUTED, "10.9.9.9")
            assert checksum(bytes(outcome.packet[42:62])) == 0
            routed = packet[:22] + outcome.packet[50:51] + packet[23:24] + outcome.packet[52:54]
            assert outcome.packet == error(routed[14:] + packet[26:])
        else:
            assert outcome.packet == error(packet[14:21] + bytes([UNROUTED]) + packet[22:])


@pytest.mark.parametrize("padding", [0, 1, 200])
def test_padding_behind_the_packet_is_not_quoted(host: Host, padding: int) -> None:
    for packet, error in (
        (sent(GATEWAY), lambda quote: error4(3, 3, quote)),
        (sent6(GATEWAY6), lambda quote: error6(1, 4, quote)),
    ):
        assert host.run("endpoint", packet + bytes(padding)).packet == error(packet[14:])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 99, 100, 101, 500])
def test_quote_of_any_length_has_a_right_checksum(host: Host, size: int) -> None:
    packet = sent(GATEWAY, b"\xff" * size)
    assert host.run("endpoint", packet).packet == error4(3, 3, packet[14 : 14 + QUOTE])
    packet = sent6(GATEWAY6, b"\xff" * size)
    assert host.run("endpoint", packet).packet == error6(1, 4, packet[14 : 14 + QUOTE])


def extended(last: int, more: bytes, words: int = 20) -> bytes:
    """To the gateway: a destination options header of 8 + 8 * words bytes, then `more`."""
    header = struct.pack("!BB", last, words) + bytes(6 + 8 * words)
    return sent6(GATEWAY6, b"", l4=more, nh=60, extensions=header)


SILENT = [
    *(sent(GATEWAY, l4=ICMP(type=kind)) for kind in (3, 4, 5, 11, 12)),
    *(sent6(GATEWAY6, l4=bytes([kind, 0, 0, 0, 0, 0, 0, 0]), nh=58) for kind in (0, 1, 2, 3, 127)),
    sent(GATEWAY, frag=8),
    sent6(GATEWAY6, nh=44, extensions=struct.pack("!BBHI", 17, 0, 8 << 3, 1)),
    sent(GATEWAY, b"", l4=b"", proto=1),
    sent6(GATEWAY6, b"", l4=b"", nh=58),
    extended(58, bytes(8)),
]
TOLD = [
    *(sent(GATEWAY, l4=ICMP(type=kind)) for kind in (0, 13, 30)),
    sent6(GATEWAY6, l4=ICMPv6EchoReply()),
    sent6(GATEWAY6, l4=bytes(8), nh=132),
    sent(GATEWAY, flags="MF"),
    sent6(GATEWAY6, nh=44, extensions=struct.pack("!BBHI", 17, 0, 1, 1)),
    sent(GATEWAY, proto=58, l4=bytes(8)),
    extended(17, bytes(8)),
    extended(58, bytes([128, 1, 0, 0, 0, 0, 0, 0]), words=14),
]


@pytest.mark.parametrize("packet", SILENT, ids=named)
def test_errors_and_later_fragments_are_dropped_in_silence(host: Host, packet: bytes) -> None:
    outcome = host.run("endpoint", packet)
    assert (outcome.reason, outcome.action) == ("GATEWAY", 2)


@pytest.mark.parametrize("packet", TOLD, ids=named)
def test_other_packets_are_told(host: Host, packet: bytes) -> None:
    outcome = host.run("endpoint", packet)
    assert (outcome.reason, outcome.action) == ("GATEWAY", 7)


def test_family_without_a_gateway_is_dropped_in_silence(host: Host) -> None:
    port = host.maps["ports"].lookup(LOOPBACK)
    for column, packet in (("gateway4", sent(FAR, ttl=1)), ("gateway6", sent6(FAR6, hlim=1))):
        host.maps["ports"].update(LOOPBACK, port._replace(**{column: bytes(16)}))
        outcome = host.run("endpoint", packet)
        assert (outcome.reason, outcome.action) == ("HOP_LIMIT", 2)


def told(host: Host, now: int) -> bool:
    host.configure(test_clock_ns=now)
    outcome = host.run("endpoint", sent(GATEWAY))
    assert outcome.reason == "GATEWAY"
    return outcome.action == 7


def test_an_endpoint_gets_so_many_errors_at_once_and_earns_more(host: Host) -> None:
    assert sum(told(host, START) for _ in range(FULL + 5)) == FULL
    assert not told(host, START + REFILL - 1)
    assert told(host, START + REFILL)
    assert not told(host, START + 2 * REFILL - 1)
    assert [told(host, START + 5 * REFILL // 2) for _ in range(2)] == [True, False]
    assert told(host, START + 3 * REFILL)
    assert sum(told(host, START + 1000 * REFILL) for _ in range(FULL + 5)) == FULL


def test_errors_that_are_not_sent_cost_nothing(host: Host) -> None:
    for _ in range(FULL + 1):
        host.run("endpoint", SILENT[0])
        host.run("endpoint", sent(GATEWAY, l4=ICMP()))
    assert told(host, START)
    assert host.maps["error_budgets"].lookup(LOOPBACK) == (START, FULL - 1)


def test_another_endpoints_budget_is_its_own(host: Host) -> None:
    host.maps["error_budgets"].update(LOOPBACK + 1, (START, 0))
    assert told(host, START)


def test_clock_that_went_back_earns_nothing_and_costs_nothing(host: Host) -> None:
    host.maps["error_budgets"].update(LOOPBACK, (START + REFILL, 1))
    assert [told(host, START), told(host, START)] == [True, False]


def test_largest_frame_becomes_an_error(host: Host) -> None:
    packet = sent(REMOTE, bytes(3000))
    assert host.run("endpoint", packet).packet == error4(3, 4, packet[14:142], ENDPOINT_MTU)


def test_ping_of_the_gateway_is_no_error(host: Host) -> None:
    assert host.run("endpoint", sent(GATEWAY, l4=ICMP())).reason == "ECHO_ANSWERED"
    packet = sent6(GATEWAY6, l4=ICMPv6EchoRequest())
    reply = Ether(host.run("endpoint", packet).packet)
    assert (reply[IPv6].src, reply[IPv6].dst) == (GATEWAY6, A6)
