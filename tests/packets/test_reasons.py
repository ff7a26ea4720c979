"""Every reason that a test run can reach, each by one packet: input, tables -> reason, verdict."""

from collections.abc import Callable
from typing import NamedTuple

import backplane
import pytest
from backplane import FAR, HOST, PEER, REMOTE, STRANGER, SUBNET, Host
from frames import (
    CONTROL,
    CRITICAL,
    PROBE,
    RETURNED,
    arp,
    arrived,
    ask,
    control,
    geneve,
    hint,
    identity,
    inner,
    lookup,
    option,
    sent,
    tunnelled,
)
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Dot1Q, Ether

LOOKUP_MARK, ASK_MARK = 0x4D5A1001, 0x4D5A1002
UNREACHED = {
    "LOST": "what the kernel does after a program: test_conservation.py",
    "REDIRECT_FAILED": "the redirect helpers only refuse flags that we never give",
}
TOLD = {
    "GATEWAY",
    "HOP_LIMIT",
    "NOT_HERE",
    "NO_ENDPOINT",
    "NO_NETWORK",
    "NO_ROUTE",
    "TOO_BIG",
}


class Case(NamedTuple):
    """`given` changes the usual tables; `context` is the test run's."""

    reason: str
    program: str
    packet: bytes
    given: Callable[[Host], object] = lambda host: None
    context: dict[str, int] = {}

    @property
    def verdict(self) -> str:
        return "xdp" if self.program.endswith("xdp") else "tc"


def gone(*names: str) -> Callable[[Host], object]:
    """Tables without any entry."""
    return lambda host: [host.maps[n].delete_batch(list(host.maps[n].keys())) for n in names]


def own_switch(host: Host) -> None:
    """The chosen switch is this host: looked up on the spot."""
    host.route(SUBNET, backplane.SWITCH_KIND, HOST)
    host.switch(SUBNET)


def own_switch_knows(host: Host) -> None:
    own_switch(host)
    host.switch_endpoint(REMOTE, PEER)


def located(host: Host) -> None:
    """However long ago."""
    host.location(REMOTE, PEER, confirmed=0)


def own_router(host: Host) -> None:
    host.route("::/0", backplane.ROUTER_KIND, HOST)
    host.router("10.0.1.0/24", PEER)
    host.router("::/0")


def padded(packet: bytes, short: int) -> bytes:
    return packet[: len(packet) - short]


def solicitation(target: str) -> bytes:
    ip = IPv6(src=backplane.A6, dst="ff02::1:ff00:1", hlim=255)
    return bytes(Ether(src=backplane.A_MAC, dst=EVERYBODY) / ip / ICMPv6ND_NS(tgt=target))


def dhcp(kind: str) -> bytes:
    message = BOOTP(chaddr=backplane.mac(backplane.A_MAC)) / DHCP(options=[("message-type", kind)])
    upper = UDP(sport=68, dport=67)
    return sent("255.255.255.255", source="0.0.0.0", to=EVERYBODY, l4=upper / message)


EVERYBODY = "ff:ff:ff:ff:ff:ff"
VLAN_FRAME = bytes(Ether(src=backplane.A_MAC, dst=backplane.ROUTER_MAC) / Dot1Q(vlan=5) / bytes(60))
LLDP_FRAME = bytes(Ether(src=backplane.A_MAC, dst="01:80:c2:00:00:0e", type=0x88CC) / bytes(60))
LYING_ARP = arp(REMOTE)[:22] + backplane.mac(backplane.B_MAC) + arp(REMOTE)[28:]
TOO_LONG = sent(REMOTE, b"x" * (backplane.ENDPOINT_MTU - 27))
TCP_SEGMENTS = sent(REMOTE, b"x" * 2900, l4=TCP(sport=1, dport=2))

SENDING = [
    Case("DELIVERED_SAME_HOST", "endpoint", sent(backplane.B)),
    Case("DELIVERED_SAME_HOST", "endpoint", sent(backplane.TAP)),
    Case("SENT_DIRECT", "endpoint", sent(REMOTE), lambda h: h.location(REMOTE, PEER)),
    Case("SENT_SWITCH", "endpoint", sent(REMOTE)),
    Case("SENT_ROUTER", "endpoint", sent(FAR)),
    Case("SWITCHED", "endpoint", sent(REMOTE), own_switch_knows),
    Case("ROUTED", "endpoint", sent(FAR), own_router),
    Case("NO_ENDPOINT", "endpoint", sent(REMOTE), own_switch),
    Case("NO_NETWORK", "endpoint", sent("10.9.9.9"), own_router),
    Case("NOT_HERE", "endpoint", sent(REMOTE), lambda h: h.route(SUBNET, 1, HOST)),
    Case("NO_ROUTE", "endpoint", sent(REMOTE), gone("routes")),
    Case("NO_ROUTE", "endpoint", sent(REMOTE), lambda h: h.route(SUBNET, 1)),
    Case("ARP_ANSWERED", "endpoint", arp(REMOTE)),
    Case("ARP_ANSWERED", "endpoint", arp(backplane.GATEWAY)),
    Case("ARP_ANSWERED", "endpoint", arp(REMOTE, sender="0.0.0.0")),
    Case("ARP_IGNORED", "endpoint", arp(backplane.A)),
    Case("ARP_IGNORED", "endpoint", arp(FAR)),
    Case("ARP_IGNORED", "endpoint", arp(backplane.GATEWAY, op=2)),
    Case("ND_ANSWERED", "endpoint", solicitation(backplane.GATEWAY6)),
    Case("ND_IGNORED", "endpoint", solicitation(backplane.A6)),
    Case("DHCP_ANSWERED", "endpoint", dhcp("discover")),
    Case("DHCP_IGNORED", "endpoint", dhcp("inform")),
    Case("ECHO_ANSWERED", "endpoint", sent(backplane.GATEWAY, l4=ICMP())),
    Case("SPOOFED_ADDRESS", "endpoint", arp(REMOTE, sender=backplane.B)),
    Case("TRUNCATED", "endpoint", arp(REMOTE)[:40]),
    Case("MALFORMED", "endpoint", arp(REMOTE)[:14] + b"\0\7" + arp(REMOTE)[16:]),
    Case("TRUNCATED", "endpoint", padded(sent(REMOTE), 1)),
    Case("MALFORMED", "endpoint", sent(REMOTE, ihl=4)),
    Case("MALFORMED", "endpoint", sent(REMOTE, version=5)),
    Case("MALFORMED", "endpoint", sent(REMOTE, len=19)),
    Case("NO_CONFIG", "endpoint", sent(REMOTE), lambda h: h.configure(uplink_ifindex=0)),
    Case("NO_PORT", "endpoint", sent(REMOTE), gone("ports")),
    Case("SPOOFED_MAC", "endpoint", sent(REMOTE, mac=backplane.B_MAC)),
    Case("SPOOFED_MAC", "endpoint", arp(REMOTE, mac=backplane.B_MAC)),
    Case("SPOOFED_MAC", "endpoint", LYING_ARP),
    Case("SPOOFED_ADDRESS", "endpoint", sent(REMOTE, source=backplane.B)),
    Case("SPOOFED_ADDRESS", "endpoint", sent(REMOTE, source=REMOTE)),
    Case("VLAN", "endpoint", VLAN_FRAME),
    Case("NOT_IP", "endpoint", LLDP_FRAME),
    Case("MULTICAST", "endpoint", sent("224.0.0.5", to="01:00:5e:00:00:05")),
    Case("MULTICAST", "endpoint", sent("239.1.1.1")),
    Case("MULTICAST", "endpoint", sent("255.255.255.255")),
    Case("MULTICAST", "endpoint", sent("10.0.0.255")),
    Case("MULTICAST", "endpoint", sent(REMOTE, to="ff:ff:ff:ff:ff:ff")),
    Case("SENT_LOOKUP", "endpoint", sent(REMOTE), context={"mark": LOOKUP_MARK}),
    Case("NO_ROUTE", "endpoint", sent(REMOTE), gone("routes"), {"mark": LOOKUP_MARK}),
    Case("SENT_ASK", "endpoint", sent(REMOTE), located, {"mark": ASK_MARK}),
    Case("NO_ROUTE", "endpoint", sent(REMOTE), context={"mark": ASK_MARK}),
    Case("NOT_IP", "endpoint", arp(REMOTE), context={"mark": ASK_MARK}),
    Case("VLAN", "endpoint", VLAN_FRAME, context={"mark": ASK_MARK}),
    Case("LINK_LOCAL", "endpoint", sent("169.254.1.1")),
    Case("LINK_LOCAL", "endpoint", sent(REMOTE, source="169.254.1.1")),
    Case("MARTIAN", "endpoint", sent("127.0.0.1")),
    Case("MARTIAN", "endpoint", sent("0.1.2.3")),
    Case("MARTIAN", "endpoint", sent("240.0.0.1")),
    Case("MARTIAN", "endpoint", sent("169.254.1.1", source="0.0.0.0")),
    Case("GATEWAY", "endpoint", sent(backplane.GATEWAY)),
    Case("HOP_LIMIT", "endpoint", sent(FAR, ttl=1)),
    Case("TOO_BIG", "endpoint", TOO_LONG),
    Case("TOO_BIG", "endpoint", TCP_SEGMENTS, context={"gso_size": 1403}),
    Case("ENCAPSULATION_FAILED", "endpoint", TCP_SEGMENTS, context={"gso_size": 1402}),
]


def switch_here(host: Host) -> None:
    host.switch(SUBNET)
    host.switch_endpoint(REMOTE, PEER)


def router_here(host: Host) -> None:
    host.router("10.0.1.0/24", PEER)
    host.router("::/0")


FORGED_HINT = geneve(b"", hint(REMOTE, PEER, 1), flags=CONTROL)
UNHANDED = [
    backplane.mac(backplane.A_MAC) + backplane.mac(backplane.ROUTER_MAC) + frame[12:]
    for frame in (arrived(b"x" * 60, port=53), tunnelled(), arrived(FORGED_HINT))
]
"""Stripped, of tenants that use the host's own addresses; the metadata is gone."""

TO_REMOTE = geneve(inner(FAR, REMOTE), identity(5))
TO_FAR = geneve(inner(REMOTE, FAR), identity(5))
UNKNOWN = option(9, b"abcd")

ARRIVING = [
    ("NOT_OURS", arrived(b"x" * 60, port=53), None),
    ("NOT_OURS", tunnelled(destination="192.0.2.77"), None),
    ("NOT_OURS", tunnelled(frag=100), None),
    ("NOT_OURS", bytes(Ether(type=0x86DD) / bytes(60)), None),
    ("NO_CONFIG", tunnelled(), lambda h: h.configure(uplink_ifindex=0)),
    ("FRAGMENT", tunnelled(flags="MF"), None),
    ("TRUNCATED", tunnelled()[:-1], None),
    ("MALFORMED", arrived(geneve(inner()), len=60), None),
    ("MALFORMED", arrived(b"\0\0\x65\x58"), None),
    ("MALFORMED", tunnelled(chksum=1), None),
    ("UNDERLAY_SOURCE", tunnelled(source="203.0.113.1"), None),
    ("GENEVE_INVALID", arrived(geneve(inner(), version=1)), None),
    ("GENEVE_INVALID", arrived(geneve(inner(), protocol=0x0800)), None),
    ("GENEVE_INVALID", arrived(geneve(b"", identity(1), option_bytes=16)), None),
    ("GENEVE_INVALID", tunnelled(option(1, b"12345678")), None),
    ("GENEVE_INVALID", tunnelled(option(2, b"1234")), None),
    ("GENEVE_INVALID", tunnelled(option(3, b"1234")), None),
    ("GENEVE_INVALID", tunnelled(option(9, b"")[:3] + b"\x05"), None),
    ("GENEVE_INVALID", tunnelled(UNKNOWN * 9), None),
    ("CRITICAL_OPTION", tunnelled(option(9 | CRITICAL, b"abcd")), None),
    ("CRITICAL_OPTION", tunnelled(option(1 | CRITICAL, b"abcd", 0x0101)), None),
    ("CONTROL_UNKNOWN", arrived(geneve(b"", identity(1), flags=CONTROL)), None),
    ("HINT_TAKEN", arrived(geneve(b"", hint(REMOTE, PEER, 1), flags=CONTROL)), None),
    ("HINT_STALE", arrived(geneve(b"", hint(backplane.A, PEER, 1), flags=CONTROL)), None),
    ("NOT_IP", arrived(geneve(inner()[:12] + b"\x88\xb5" + inner()[14:])), None),
    ("TRUNCATED", arrived(geneve(inner()[:30])), None),
    ("TRUNCATED", arrived(geneve(inner()[:10])), None),
    ("MALFORMED", arrived(geneve(inner(version=6))), None),
    ("ECN_LOST", tunnelled(tos=3), None),
    ("NOT_HERE", arrived(TO_REMOTE, ttl=48), None),
    ("NOT_HERE", arrived(TO_REMOTE, ttl=48), lambda h: h.switch_endpoint(REMOTE, HOST)),
    ("NO_ENDPOINT", arrived(geneve(inner(FAR, "10.0.0.98"))), switch_here),
    ("NO_ENDPOINT", arrived(TO_FAR), lambda h: h.router("10.0.1.0/24", HOST)),
    ("NO_NETWORK", arrived(geneve(inner(REMOTE, "10.9.9.9"))), router_here),
    ("SWITCHED", arrived(TO_REMOTE), switch_here),
    ("ROUTED", arrived(TO_FAR), router_here),
    ("TRANSIT_LOOP", arrived(TO_REMOTE, ttl=16), switch_here),
    ("FORWARDED", arrived(TO_REMOTE), lambda h: h.moved(REMOTE, PEER)),
    ("PROBE_ANSWERED", control(option(PROBE, bytes(16))), None),
    ("ASK_ANSWERED", ask(inner()), None),
    ("LOOKUP_ANSWERED", lookup(inner(), PEER), None),
]
RETURNED_LOOKUP = option(RETURNED, bytes(4))
PARTING = [
    Case("STRIPPED", "uplink_xdp", tunnelled()),
    Case("LEFT_TO_TCX", "uplink_xdp", tunnelled(), lambda h: h.configure(delivery_attached=0)),
    Case(
        "LEFT_TO_TCX",
        "uplink_xdp",
        arrived(TO_REMOTE),
        lambda h: (h.switch(SUBNET), h.switch_endpoint(REMOTE, STRANGER)),
    ),
    Case("LEFT_TO_TCX", "uplink_xdp", control(RETURNED_LOOKUP, inner(backplane.A, REMOTE))),
    Case("RETURNED_TOLD", "uplink_tcx", control(RETURNED_LOOKUP, inner(backplane.A, REMOTE))),
    Case("RETURNED_IGNORED", "uplink_tcx", control(RETURNED_LOOKUP, inner(FAR, REMOTE))),
    Case("DELIVERED", "uplink_tcx", tunnelled()),
    *(Case("HANDOVER_LOST", "uplink_tcx", frame) for frame in UNHANDED),
    Case("DECAPSULATION_FAILED", "uplink_tcx", tunnelled(), context={"gso_size": 8}),
]
CASES = [
    *SENDING,
    *PARTING,
    *(
        Case(reason, program, packet, given or (lambda host: None))
        for reason, packet, given in ARRIVING
        for program in ("uplink_xdp", "uplink_tcx")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.program}-{c.reason}")
def test_packet_leaves_with_reason_and_verdict(host: Host, case: Case) -> None:
    case.given(host)
    outcome = host.run(case.program, case.packet, **case.context)
    assert outcome.reason == case.reason
    assert outcome.action == expected_action(case)


def expected_action(case: Case) -> int:
    if case.reason == "NOT_OURS":
        return backplane.NOT_OURS[case.verdict]
    if case.reason.endswith("_ANSWERED") or is_told(case):
        return backplane.VERDICTS[case.verdict]["ANSWERED"]
    return backplane.VERDICTS[case.verdict][verdict(case.reason)]


def is_told(case: Case) -> bool:
    """Is the drop told to the sender, by an ICMP error that leaves instead? Of a question, none."""
    return case.program == "endpoint" and case.reason in TOLD and "mark" not in case.context


def verdict(reason: str) -> str:
    if reason.startswith(("DELIVERED", "SENT_", "SWITCHED", "ROUTED", "FORWARDED")):
        return "PASS"
    if reason == "RETURNED_TOLD":
        return "ANSWERED"
    if reason in ("STRIPPED", "LEFT_TO_TCX"):
        return "HANDED"
    return "TAKEN" if reason.endswith("_IGNORED") or reason.startswith("HINT_") else "DROP"


def test_every_reason_has_a_case_or_a_cause_why_not(host: Host) -> None:
    known = {name.removeprefix("REASON_") for name in host.types.enum("reason")} - {"COUNT"}
    assert known - {case.reason for case in CASES} == set(UNREACHED)
