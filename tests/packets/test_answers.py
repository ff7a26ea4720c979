"""ARP and pings of the gateway, answered on the host: byte for byte, and the odd ones."""

import frames
import pytest
from backplane import (
    A6,
    A_MAC,
    B_MAC,
    FAR,
    GATEWAY,
    GATEWAY6,
    LOOPBACK,
    REMOTE,
    ROUTER_LINK_LOCAL,
    ROUTER_MAC,
    A,
    B,
    Host,
)
from frames import ICMP, IP, arp
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from workload import Workload

BACK = Ether(dst=A_MAC, src=ROUTER_MAC)
FORTH = Ether(dst=ROUTER_MAC, src=A_MAC)
FOUR = IP(src=A, dst=GATEWAY, ttl=7, tos=3, id=77)
SIX = IPv6(src=A6, dst=GATEWAY6, hlim=7, tc=3, fl=9)
PINGS = [b"", b"x", bytes(range(56)), bytes(1400)]


def ping4(payload: bytes = b"abc", **ip: object) -> bytes:
    header = FOUR.copy()
    for name, value in ip.items():
        setattr(header, name, value)
    return bytes(FORTH / header / ICMP(id=5, seq=9) / payload)


def ping6(payload: bytes = b"abc", *, between: Packet | None = None, **ip: object) -> bytes:
    header = SIX.copy()
    for name, value in ip.items():
        setattr(header, name, value)
    if between is not None:
        header = header / between
    return bytes(FORTH / header / ICMPv6EchoRequest(id=5, seq=9, data=payload))


@pytest.mark.parametrize("sender", [A, "0.0.0.0"])
@pytest.mark.parametrize("target", [GATEWAY, REMOTE, B])
def test_arp_request_and_probe_become_the_reply(host: Host, target: str, sender: str) -> None:
    outcome = host.run("endpoint", arp(target, sender=sender))
    body = ARP(op=2, hwsrc=ROUTER_MAC, psrc=target, hwdst=A_MAC, pdst=sender)
    assert outcome.reason == "ARP_ANSWERED"
    assert outcome.packet == bytes(BACK / body)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (arp(REMOTE)[:41], "TRUNCATED"),
        (arp(REMOTE)[:14] + b"\0\6" + arp(REMOTE)[16:], "MALFORMED"),
        (arp(REMOTE)[:16] + b"\x86\xdd" + arp(REMOTE)[18:], "MALFORMED"),
        (arp(REMOTE)[:18] + b"\x08" + arp(REMOTE)[19:], "MALFORMED"),
        (arp(REMOTE)[:19] + b"\x10" + arp(REMOTE)[20:], "MALFORMED"),
        (arp(REMOTE)[:22] + bytes(6) + arp(REMOTE)[28:], "SPOOFED_MAC"),
        (arp(REMOTE, op=2), "ARP_IGNORED"),
        (arp(REMOTE, op=2, sender=B), "ARP_IGNORED"),
        (arp(REMOTE, sender=B), "SPOOFED_ADDRESS"),
        (arp(A, sender="0.0.0.0"), "ARP_IGNORED"),
        (arp(A), "ARP_IGNORED"),
        (arp(FAR), "ARP_IGNORED"),
    ],
    ids=frames.named,
)
def test_arp_that_is_not_answered(host: Host, packet: bytes, reason: str) -> None:
    assert host.run("endpoint", packet).reason == reason


def test_arp_of_and_about_an_extra_address(host: Host) -> None:
    host.local("10.0.0.55", LOOPBACK, A_MAC)
    assert host.run("endpoint", arp(REMOTE, sender="10.0.0.55")).reason == "ARP_ANSWERED"
    assert host.run("endpoint", arp("10.0.0.55")).reason == "ARP_IGNORED"


@pytest.mark.parametrize("payload", PINGS, ids=len)
@pytest.mark.parametrize("options", [b"", b"\1\1\1\1", b"\x07\x27\x04" + bytes(37)], ids=len)
def test_ping_of_the_ipv4_gateway_becomes_the_reply(
    host: Host,
    payload: bytes,
    options: bytes,
) -> None:
    outcome = host.run("endpoint", ping4(payload, options=options))
    ip = IP(src=GATEWAY, dst=A, ttl=64, tos=3, id=77, options=options)
    assert outcome.reason == "ECHO_ANSWERED"
    assert outcome.packet == bytes(BACK / ip / ICMP(type=0, id=5, seq=9) / payload)


@pytest.mark.parametrize("payload", PINGS, ids=len)
@pytest.mark.parametrize(
    ("source", "to"),
    [(A6, GATEWAY6), ("fe80::77", ROUTER_LINK_LOCAL)],
)
def test_ping_of_the_ipv6_gateway_becomes_the_reply(
    host: Host,
    payload: bytes,
    source: str,
    to: str,
) -> None:
    outcome = host.run("endpoint", ping6(payload, src=source, dst=to))
    ip = IPv6(src=to, dst=source, hlim=64, tc=3, fl=9)
    assert outcome.reason == "ECHO_ANSWERED"
    assert outcome.packet == bytes(BACK / ip / ICMPv6EchoReply(id=5, seq=9, data=payload))


def test_ping_behind_an_extension_header_is_answered(host: Host) -> None:
    outcome = host.run("endpoint", ping6(between=IPv6ExtHdrDestOpt()))
    ip = IPv6(src=GATEWAY6, dst=A6, hlim=64, tc=3, fl=9) / IPv6ExtHdrDestOpt()
    assert outcome.packet == bytes(BACK / ip / ICMPv6EchoReply(id=5, seq=9, data=b"abc"))


def test_a_wrong_checksum_stays_wrong_by_as_much(host: Host) -> None:
    """The pinger, not the host, is to see that the payload was damaged."""
    packet = bytearray(ping4(b"abcd"))
    packet[-1] ^= 1
    answer = IP(host.run("endpoint", bytes(packet)).packet[14:])
    assert answer[ICMP].chksum != IP(bytes(IP(src=A) / rebuilt(answer[ICMP])))[ICMP].chksum


def rebuilt(icmp: ICMP) -> ICMP:
    fresh = icmp.copy()
    del fresh.chksum
    return fresh


@pytest.mark.parametrize(
    "packet",
    [
        ping4(flags="MF"),
        ping4(frag=1),
        ping4(proto=58),
        bytes(FORTH / FOUR / ICMP(code=1)),
        bytes(FORTH / FOUR / ICMP(type=13)),
        bytes(FORTH / FOUR / ICMP())[:-1].replace(b"\0\x1c", b"\0\x1b", 1),
        ping6(between=IPv6ExtHdrFragment(m=1)),
        ping6(nh=1),
        bytes(FORTH / SIX / ICMPv6EchoRequest(code=1)),
        bytes(FORTH / SIX / ICMPv6EchoReply()),
    ],
    ids=frames.named,
)
def test_what_is_no_whole_echo_request_is_refused(host: Host, packet: bytes) -> None:
    assert host.run("endpoint", packet).reason == "GATEWAY"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ping6(dst=ROUTER_LINK_LOCAL), "LINK_LOCAL"),
        (ping6(src="fe80::77"), "LINK_LOCAL"),
        (ping6(src="fe80::77", dst="fe80::78"), "LINK_LOCAL"),
        (ping4(src=B), "SPOOFED_ADDRESS"),
        (ping4()[:6] + bytes.fromhex(B_MAC.replace(":", "")) + ping4()[12:], "SPOOFED_MAC"),
    ],
    ids=frames.named,
)
def test_pings_that_are_not_the_workloads_to_send(
    host: Host,
    packet: bytes,
    reason: str,
) -> None:
    assert host.run("endpoint", packet).reason == reason


def test_kernel_pings_both_gateways_from_the_first_packet(workload: Workload) -> None:
    workload.done(f"ip address add {A}/24 dev eth0")
    workload.done(f"ip address add {A6}/64 dev eth0 nodad")
    for gateway in (GATEWAY, GATEWAY6, f"{ROUTER_LINK_LOCAL}%eth0"):
        workload.link_local_ready()
        answers = workload.done(f"ping -c 3 -i 0.02 -W 1 {gateway}")
        assert answers.count("bytes from") == 3, answers
    assert workload.counted("ECHO_ANSWERED") == 9


@pytest.mark.parametrize(("address", "free"), [(A, True), (REMOTE, False), (GATEWAY, False)])
def test_arping_finds_out_which_addresses_are_taken(
    workload: Workload,
    address: str,
    free: bool,
) -> None:
    probing = workload.run(f"arping -D -c 2 -w 3 -I eth0 {address}")
    assert probing.returncode == (0 if free else 1), probing.stdout
    assert f"Received {0 if free else 1} response" in probing.stdout


def test_arping_asks_for_the_gateway(workload: Workload) -> None:
    workload.done(f"ip address add {A}/24 dev eth0")
    answers = workload.done(f"arping -c 2 -w 3 -I eth0 {GATEWAY}")
    assert answers.count(f"[{ROUTER_MAC.upper()}]") == 2
