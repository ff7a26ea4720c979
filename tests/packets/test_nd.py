"""Neighbour discovery answered on the host: byte for byte, and what is left without an answer."""

import frames
import pytest
from backplane import (
    A6,
    A_MAC,
    B6,
    ENDPOINT_MTU,
    FAR6,
    GATEWAY6,
    LOOPBACK,
    REMOTE6,
    ROUTER_LINK_LOCAL,
    ROUTER_MAC,
    SUBNET6,
    Host,
)
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from workload import Workload, until

OWN_LINK_LOCAL = "fe80::77"
FOREVER = 0xFFFFFFFF
BACK = Ether(dst=A_MAC, src=ROUTER_MAC)
MULTICAST = Ether(dst="33:33:ff:00:00:01", src=A_MAC)


def asked(message: Packet, source: str = A6, *, between: Packet | None = None, hops: int = 255):
    """What endpoint A sends to a group; scapy fills the checksum in."""
    ip = IPv6(src=source, dst="ff02::1:ff00:1", hlim=hops)
    return bytes(MULTICAST / (ip if between is None else ip / between) / message)


def soliciting(target: str, source: str = A6) -> bytes:
    return asked(ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=A_MAC), source)


def shortened(message: Packet, length: int) -> bytes:
    """ICMPv6 cut to a length, IPv6's payload length with it."""
    ip = IPv6(src=A6, dst="ff02::2", hlim=255, nh=58, plen=length)
    return bytes(MULTICAST / ip / bytes(message)[:length])


@pytest.mark.parametrize("source", [A6, OWN_LINK_LOCAL, "::"])
@pytest.mark.parametrize(
    ("target", "router"),
    [(GATEWAY6, 1), (ROUTER_LINK_LOCAL, 1), (REMOTE6, 0), (B6, 0)],
)
def test_solicitation_becomes_the_advertisement(
    host: Host,
    source: str,
    target: str,
    router: int,
) -> None:
    outcome = host.run("endpoint", soliciting(target, source))
    known = source != "::"
    ip = IPv6(src=target, dst=source if known else "ff02::1", hlim=255)
    message = ICMPv6ND_NA(tgt=target, R=router, S=int(known), O=1)
    assert outcome.reason == "ND_ANSWERED"
    assert outcome.packet == bytes(BACK / ip / message / ICMPv6NDOptDstLLAddr(lladdr=ROUTER_MAC))


@pytest.mark.parametrize("source", [A6, OWN_LINK_LOCAL, "::"])
@pytest.mark.parametrize("subnet", ["fd00::/64", "fd00::/48", "fd00::10/127"])
def test_router_solicitation_becomes_the_advertisement(
    host: Host,
    source: str,
    subnet: str,
) -> None:
    host.port(subnet6=subnet)
    outcome = host.run("endpoint", asked(ICMPv6ND_RS(), source))
    network, bits = subnet.split("/")
    ip = IPv6(src=ROUTER_LINK_LOCAL, dst="ff02::1" if source == "::" else source, hlim=255)
    prefix = ICMPv6NDOptPrefixInfo(
        prefix=network,
        prefixlen=int(bits),
        L=1,
        A=0,
        validlifetime=FOREVER,
        preferredlifetime=FOREVER,
    )
    message = (
        ICMPv6ND_RA(chlim=64, M=1, O=0, prf=0, routerlifetime=65535)
        / ICMPv6NDOptSrcLLAddr(lladdr=ROUTER_MAC)
        / ICMPv6NDOptMTU(mtu=ENDPOINT_MTU)
        / prefix
    )
    assert outcome.reason == "ND_ANSWERED"
    assert outcome.packet == bytes(BACK / ip / message)


def test_longer_solicitation_is_answered_as_the_shortest(host: Host) -> None:
    """Trimmed and grown alike: options of a question aren't looked at."""
    shortest = host.run("endpoint", asked(ICMPv6ND_NS(tgt=REMOTE6))).packet
    padded = host.run("endpoint", asked(ICMPv6ND_NS(tgt=REMOTE6) / bytes(900))).packet
    assert shortest == padded
    assert len(shortest) == 14 + 72


def test_an_extra_address_is_the_endpoints_own(host: Host) -> None:
    host.local(REMOTE6, LOOPBACK, A_MAC)
    assert host.run("endpoint", soliciting(B6, REMOTE6)).reason == "ND_ANSWERED"
    assert host.run("endpoint", soliciting(REMOTE6, "::")).reason == "ND_IGNORED"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (soliciting(A6), "ND_IGNORED"),
        (soliciting(A6, "::"), "ND_IGNORED"),
        (soliciting(FAR6), "ND_IGNORED"),
        (soliciting(OWN_LINK_LOCAL, "::"), "ND_IGNORED"),
        (soliciting("fe80::1"), "ND_IGNORED"),
        (soliciting(GATEWAY6, B6), "SPOOFED_ADDRESS"),
        (soliciting(GATEWAY6, REMOTE6), "SPOOFED_ADDRESS"),
        (asked(ICMPv6ND_RS(), B6), "SPOOFED_ADDRESS"),
        (asked(ICMPv6ND_NS(tgt=GATEWAY6), hops=254), "ND_IGNORED"),
        (asked(ICMPv6ND_NS(tgt=GATEWAY6, code=1)), "ND_IGNORED"),
        (asked(ICMPv6ND_NS(tgt=GATEWAY6), between=IPv6ExtHdrDestOpt()), "ND_IGNORED"),
        (asked(ICMPv6ND_NS(tgt=GATEWAY6), between=IPv6ExtHdrFragment()), "ND_IGNORED"),
        (asked(ICMPv6ND_NS(tgt=GATEWAY6), between=IPv6ExtHdrFragment(m=1)), "ND_IGNORED"),
        (asked(ICMPv6ND_RA()), "ND_IGNORED"),
        (asked(ICMPv6ND_NA(tgt=REMOTE6)), "ND_IGNORED"),
        (asked(ICMPv6ND_NA(tgt=REMOTE6), REMOTE6), "ND_IGNORED"),
        (asked(ICMPv6ND_Redirect()), "ND_IGNORED"),
        (shortened(ICMPv6ND_NS(tgt=GATEWAY6), 23), "TRUNCATED"),
        (shortened(ICMPv6ND_NS(tgt=GATEWAY6), 8), "TRUNCATED"),
        (shortened(ICMPv6ND_RS(), 7), "TRUNCATED"),
        (shortened(ICMPv6ND_RS(), 1), "TRUNCATED"),
        (asked(ICMPv6ND_NS(tgt=GATEWAY6))[:-1], "TRUNCATED"),
    ],
    ids=frames.named,
)
def test_what_is_not_answered(host: Host, packet: bytes, reason: str) -> None:
    assert host.run("endpoint", packet).reason == reason


def test_length_is_what_ipv6_says_not_what_the_frame_holds(host: Host) -> None:
    for message, length in ((ICMPv6ND_NS(tgt=GATEWAY6), 23), (ICMPv6ND_RS(), 7)):
        padded = shortened(message, length) + bytes(30)
        assert host.run("endpoint", padded).reason == "TRUNCATED"


def test_network_without_ipv6_has_neither_router_nor_neighbours(host: Host) -> None:
    host.port(subnet6="")
    assert host.run("endpoint", asked(ICMPv6ND_RS(), OWN_LINK_LOCAL)).reason == "ND_IGNORED"
    assert host.run("endpoint", soliciting(REMOTE6, OWN_LINK_LOCAL)).reason == "ND_IGNORED"
    found = host.run("endpoint", soliciting(ROUTER_LINK_LOCAL, OWN_LINK_LOCAL))
    assert found.reason == "ND_ANSWERED"


def test_kernel_resolves_gateway_and_neighbours(workload: Workload) -> None:
    workload.done(f"ip address add {A6}/64 dev eth0 nodad")
    for target in (GATEWAY6, REMOTE6, B6):
        workload.run(f"ping -c 1 -W 1 {target}")
        entry = workload.done(f"ip -6 neighbour show {target} dev eth0")
        assert f"lladdr {ROUTER_MAC}" in entry, entry
        assert ("router" in entry) is (target == GATEWAY6)


@pytest.mark.parametrize(("address", "free"), [(A6, True), (REMOTE6, False), (GATEWAY6, False)])
def test_kernel_detects_which_addresses_are_taken(
    workload: Workload,
    address: str,
    free: bool,
) -> None:
    workload.done(f"ip address add {address}/64 dev eth0")
    flags = "-tentative" if free else "dadfailed"
    until(lambda: f"inet6 {address}/64" in workload.addresses(flags), f"{address} {flags}")
    assert not free or address not in workload.addresses("dadfailed")


def test_kernel_takes_route_and_mtu_from_the_advertisement(workload: Workload) -> None:
    until(lambda: workload.done("ip -6 route show default"), "a default route", 15)
    route = workload.done("ip -6 route show default")
    assert f"via {ROUTER_LINK_LOCAL} dev eth0 proto ra" in route
    assert f"mtu {ENDPOINT_MTU}" in route
    assert f"{SUBNET6} dev eth0 proto kernel" in workload.done("ip -6 route show")
    assert "dynamic" not in workload.addresses(), "an address of its own making"


def test_rdisc6_prints_what_the_router_says(workload: Workload) -> None:
    workload.link_local_ready()
    said = workload.done("rdisc6 -1 -w 2000 eth0")
    for fact in (
        "Stateful address conf. : Yes",
        "Stateful other conf. : No",
        "Router lifetime : 65535",
        f"Prefix : {SUBNET6}",
        "On-link : Yes",
        "Autonomous address conf.: No",
        f"MTU : {ENDPOINT_MTU} bytes",
        f"Source link-layer address: {ROUTER_MAC.upper()}",
        f"from {ROUTER_LINK_LOCAL}",
    ):
        assert fact in " ".join(said.split()), said
