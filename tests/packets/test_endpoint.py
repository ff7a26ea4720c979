"""What leaves an endpoint: the tunnel's bytes, routing's price, delivery on the same host, ARP."""

import pytest
from backplane import (
    A_IDENTITY,
    A_MAC,
    B_MAC,
    ENDPOINT_MTU,
    FAR,
    GATEWAY,
    HOST,
    PEER,
    REMOTE,
    ROUTER_MAC,
    TAP,
    TAP_MAC,
    UNDERLAY_MTU,
    VNI,
    A,
    B,
    Host,
    mapped,
)
from frames import ICMP, IP, TCP, UDP, arp, geneve, identity, named, origin, sent
from scapy.layers.l2 import ARP, Ether
from scapy.layers.sctp import SCTP

from mizar.datapath.reference import hashing


def parts(packet: bytes) -> tuple[IP, UDP, bytes]:
    """Outer IP, UDP, and what follows."""
    outer = IP(packet[14:])
    return outer, outer[UDP], packet[14 + 28 :]


def rechecked(header: IP) -> int:
    fresh = header.copy()
    del fresh.chksum
    return IP(bytes(fresh)).chksum


def ethernet(packet: bytes) -> bytes:
    """The inner frame as it travels: both MACs are the router's."""
    mac = bytes.fromhex(ROUTER_MAC.replace(":", ""))
    return mac + mac + packet[12:]


def test_direct_packet_byte_for_byte(host: Host) -> None:
    packet = sent(REMOTE, tos=0x2E << 2 | 1)
    host.location(REMOTE, PEER)
    outer, udp, rest = parts(host.run("endpoint", packet).packet)
    assert (outer.src, outer.dst, outer.ttl, outer.proto) == (HOST, PEER, 64, 17)
    assert (outer.flags, outer.id, outer.tos) == ("DF", 0, 1)
    assert outer.len == len(packet) - 14 + 58
    assert outer.chksum == rechecked(outer)
    assert (udp.dport, udp.chksum, udp.len) == (6081, 0, outer.len - 20)
    assert rest == geneve(ethernet(packet), identity(A_IDENTITY))


@pytest.mark.parametrize("destination", [REMOTE, "10.0.0.98"])
def test_packet_to_transit_carries_its_origin(host: Host, destination: str) -> None:
    packet = sent(destination)
    outer, _, rest = parts(host.run("endpoint", packet).packet)
    assert outer.dst == PEER
    assert rest == geneve(ethernet(packet), identity(A_IDENTITY) + origin(HOST))


@pytest.mark.parametrize(("room", "fits"), [(20, True), (19, False)])
def test_origin_is_left_out_where_it_would_not_fit(host: Host, room: int, fits: bool) -> None:
    packet = sent(REMOTE, bytes(UNDERLAY_MTU - 58 - room - 28))
    outer, _, rest = parts(host.run("endpoint", packet).packet)
    assert (origin(HOST) in rest) is fits
    assert outer.len == len(packet) - 14 + 58 + 20 * fits <= UNDERLAY_MTU


def test_largest_packet_fits_the_underlay(host: Host) -> None:
    outer, _, _ = parts(host.run("endpoint", sent(REMOTE, bytes(ENDPOINT_MTU - 28))).packet)
    assert outer.len == UNDERLAY_MTU


@pytest.mark.parametrize(
    ("packet", "flow"),
    [
        (sent(REMOTE, l4=TCP(sport=5, dport=80)), (6, 5, 80)),
        (sent(REMOTE, l4=UDP(sport=65535, dport=1)), (17, 65535, 1)),
        (sent(REMOTE, l4=SCTP(sport=7, dport=9)), (132, 7, 9)),
        (sent(REMOTE, l4=ICMP()), (1, 0, 0)),
        (sent(REMOTE, flags="MF"), (17, 0, 0)),
        (sent(REMOTE, frag=8), (17, 0, 0)),
        (sent(REMOTE, options=b"\1\1\1\1"), (17, 4000, 53)),
    ],
)
def test_source_port_is_the_flows_hash(
    host: Host,
    packet: bytes,
    flow: tuple[int, int, int],
) -> None:
    host.location(REMOTE, PEER)
    _, udp, _ = parts(host.run("endpoint", packet).packet)
    protocol, source, destination = flow
    ports = source << 16 | destination
    assert udp.sport == hashing.outer_port(mapped(A), mapped(REMOTE), ports, protocol)


def test_flows_spread_over_holders_and_stay_when_one_goes(host: Host) -> None:
    holders = ["192.0.2.2", "192.0.2.3", "192.0.2.4"]
    before, after = {}, {}
    for chosen, left in ((before, holders), (after, holders[:2])):
        host.route("10.0.0.0/24", 1, *left)
        for number in range(600):
            packet = sent(REMOTE, l4=UDP(sport=number, dport=9))
            outer, udp, _ = parts(host.run("endpoint", packet).packet)
            chosen[number] = outer.dst
            assert mapped(outer.dst) == hashing.choose([mapped(h) for h in left], udp.sport)
    assert all(150 < list(before.values()).count(holder) < 250 for holder in holders)
    assert all(after[n] == before[n] for n in before if before[n] != holders[2])


def test_routing_takes_one_from_the_ttl_and_keeps_the_checksum_right(host: Host) -> None:
    for ttl in (2, 64, 255):
        _, _, rest = parts(host.run("endpoint", sent(FAR, ttl=ttl)).packet)
        header = IP(rest[8 + 8 + 20 + 14 :])
        assert (header.ttl, header.chksum) == (ttl - 1, rechecked(header))


def test_within_the_subnet_the_packet_is_untouched(host: Host) -> None:
    packet = sent(REMOTE, ttl=1)
    assert host.run("endpoint", packet).packet.endswith(packet[14:])


@pytest.mark.parametrize(("to", "mac"), [(B, B_MAC), (TAP, TAP_MAC)])
def test_same_host_delivery_writes_the_macs_alone(host: Host, to: str, mac: str) -> None:
    packet = sent(to)
    got = host.run("endpoint", packet).packet
    assert (Ether(got).dst, Ether(got).src) == (mac, ROUTER_MAC)
    assert got[12:] == packet[12:]


def test_same_address_in_another_vpc_is_not_here(host: Host) -> None:
    host.local(REMOTE, 950, B_MAC, vni=VNI + 1)
    host.location(REMOTE, PEER)
    assert host.run("endpoint", sent(REMOTE)).reason == "SENT_DIRECT"


@pytest.mark.parametrize("target", [GATEWAY, REMOTE, B])
def test_arp_is_answered_with_the_routers_mac(host: Host, target: str) -> None:
    reply = Ether(host.run("endpoint", arp(target)).packet)
    assert (reply.src, reply.dst) == (ROUTER_MAC, A_MAC)
    answer = reply[ARP]
    assert (answer.op, answer.hwsrc, answer.psrc) == (2, ROUTER_MAC, target)
    assert (answer.hwdst, answer.pdst) == (A_MAC, A)


def test_local_beats_location(host: Host) -> None:
    host.location(B, PEER)
    assert host.run("endpoint", sent(B)).reason == "DELIVERED_SAME_HOST"


def test_gateway_alone_on_link_of_nothing(host: Host) -> None:
    host.port("10.0.0.11/32")
    assert host.run("endpoint", arp(REMOTE)).reason == "ARP_IGNORED"
    outcome = host.run("endpoint", sent(REMOTE, ttl=9))
    assert IP(parts(outcome.packet)[2][8 + 8 + 20 + 14 :]).ttl == 8


NOBODY = bytes(16)


@pytest.mark.parametrize(
    ("packet", "key", "source", "destination"),
    [
        (sent(B, source=REMOTE), (1, VNI, "SPOOFED_ADDRESS"), mapped(REMOTE), mapped(B)),
        (sent("127.0.0.1"), (1, VNI, "MARTIAN"), mapped(A), mapped("127.0.0.1")),
        (sent(B, mac=B_MAC), (1, VNI, "SPOOFED_MAC"), NOBODY, NOBODY),
        (sent(B, version=6), (1, VNI, "MALFORMED"), NOBODY, NOBODY),
    ],
    ids=named,
)
def test_drop_is_counted_by_who_and_why_and_names_the_last(
    host: Host,
    packet: bytes,
    key: tuple[int, int, str],
    source: bytes,
    destination: bytes,
) -> None:
    ifindex, vni, name = key
    reason = host.types.enum("reason")[f"REASON_{name}"]
    for times in (1, 2):
        assert host.run("endpoint", packet).reason == name
        (row,) = host.maps["drops"].items()
        assert row == (
            (ifindex, vni, reason),
            (times, times * len(packet), source, destination),
        )


def test_drop_before_the_endpoint_is_known_has_no_vni(host: Host) -> None:
    host.maps["ports"].delete_batch(list(host.maps["ports"].keys()))
    host.run("endpoint", sent(B))
    ((key, _),) = host.maps["drops"].items()
    assert key == (1, 0, host.types.enum("reason")["REASON_NO_PORT"])
