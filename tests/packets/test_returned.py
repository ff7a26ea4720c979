"""LOOKUPs that came back from a table: the endpoint that sent the packet is told by ICMP."""

import pytest
from backplane import (
    A6,
    A_MAC,
    B6,
    FAR,
    GATEWAY,
    GATEWAY6,
    REMOTE,
    REMOTE6,
    ROUTER_MAC,
    VERDICTS,
    A,
    B,
    Host,
)
from frames import IP, LOOKUP, RETURNED, IPv6, control, inner, option, origin
from scapy.layers.inet import ICMP
from scapy.layers.inet6 import ICMPv6DestUnreach
from scapy.layers.l2 import Ether
from scapy.packet import Raw

NO_ENDPOINT, NO_NETWORK, NOT_HERE = 1, 2, 3
QUOTE_BYTES = 128


def returned(number: int, content: bytes, *, trailing: bytes = b"") -> bytes:
    """What a table's holder sends back of a LOOKUP."""
    options = (
        option(RETURNED, number.to_bytes(4, "big")) + origin("192.0.2.1") + option(LOOKUP, b"")
    )
    return control(options + trailing, content)


def told(host: Host, packet: bytes) -> bytes:
    outcome = host.run("uplink_tcx", packet)
    assert (outcome.reason, outcome.action) == ("RETURNED_TOLD", VERDICTS["tc"]["ANSWERED"])
    return outcome.packet


def ignored(host: Host, packet: bytes) -> bool:
    outcome = host.run("uplink_tcx", packet)
    return (outcome.reason, outcome.action) == ("RETURNED_IGNORED", VERDICTS["tc"]["TAKEN"])


def error4(code: int, quote: bytes) -> bytes:
    ip = IP(src=GATEWAY, dst=A, id=0, flags="DF", ttl=64)
    return bytes(Ether(dst=A_MAC, src=ROUTER_MAC) / ip / ICMP(type=3, code=code) / Raw(quote))


def error6(code: int, quote: bytes) -> bytes:
    ip = IPv6(src=GATEWAY6, dst=A6, hlim=64)
    message = ICMPv6DestUnreach(code=code) / Raw(quote)
    return bytes(Ether(dst=A_MAC, src=ROUTER_MAC) / ip / message)


@pytest.mark.parametrize("number", [NO_ENDPOINT, NO_NETWORK, NOT_HERE])
@pytest.mark.parametrize("more", [0, 400])
def test_sender_hears_why(host: Host, number: int, more: int) -> None:
    content = inner(A, REMOTE, bytes(more))[: 14 + QUOTE_BYTES]
    code = 0 if number == NO_NETWORK else 1
    assert told(host, returned(number, content)) == error4(code, content[14:])


@pytest.mark.parametrize("number", [NO_ENDPOINT, NO_NETWORK, NOT_HERE])
@pytest.mark.parametrize("more", [0, 400])
def test_sender_hears_why_by_ipv6(host: Host, number: int, more: int) -> None:
    content = inner(A6, REMOTE6, bytes(more))[: 14 + QUOTE_BYTES]
    code = 0 if number == NO_NETWORK else 3
    assert told(host, returned(number, content)) == error6(code, content[14:])


def test_options_may_lie_between(host: Host) -> None:
    packet = returned(NOT_HERE, inner(A, REMOTE), trailing=option(77, bytes(124)))
    assert told(host, packet) == error4(1, inner(A, REMOTE)[14:])


def test_xdp_leaves_it_to_tcx_as_it_was(host: Host) -> None:
    for packet in (returned(NOT_HERE, inner(A, REMOTE)), returned(NOT_HERE, inner(REMOTE, FAR))):
        outcome = host.run("uplink_xdp", packet)
        assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)


@pytest.mark.parametrize(
    "content",
    [
        inner(REMOTE, A),
        inner(REMOTE6, A6),
        inner(A, REMOTE, proto=1)[:34] + b"\x03\x01" + bytes(6),
        inner(A, REMOTE)[:34],
        inner(A6, REMOTE6, nh=58)[:54] + b"\x01\x00" + bytes(6),
        inner(A, REMOTE, frag=8),
        inner(A6, REMOTE6, nh=44)[:54] + b"\x11\x00\x00\x08" + bytes(12),
    ],
    ids=[
        "not ours",
        "not ours, IPv6",
        "an error",
        "an unknown ICMP",
        "an error, IPv6",
        "a later fragment",
        "a later fragment, IPv6",
    ],
)
def test_nobody_is_told(host: Host, content: bytes) -> None:
    assert ignored(host, returned(NOT_HERE, content))


def test_interface_without_a_port_is_not_told(host: Host) -> None:
    """B is here, but its row in `ports` isn't."""
    assert ignored(host, returned(NOT_HERE, inner(B, REMOTE)))
    assert ignored(host, returned(NOT_HERE, inner(B6, REMOTE6)))


def test_port_without_the_family_is_not_told(host: Host) -> None:
    host.port(subnet6="")
    assert ignored(host, returned(NOT_HERE, inner(A6, REMOTE6)))
    told(host, returned(NOT_HERE, inner(A, REMOTE)))


def test_endpoints_budget_is_one_for_all_errors(host: Host) -> None:
    packet = returned(NOT_HERE, inner(A, REMOTE))
    for _ in range(20):
        told(host, packet)
    assert ignored(host, packet)
    assert ignored(host, returned(NOT_HERE, inner(A6, REMOTE6)))


def test_nothing_is_spent_on_what_is_not_told(host: Host) -> None:
    for _ in range(20):
        assert ignored(host, returned(NOT_HERE, inner(A, REMOTE, frag=8)))
    told(host, returned(NOT_HERE, inner(A, REMOTE)))


def test_malformed_is_seen_by_both(host: Host, uplink: str) -> None:
    assert host.run(uplink, returned(NOT_HERE, inner(A, REMOTE)[:30])).reason == "TRUNCATED"
