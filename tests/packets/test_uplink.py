"""What arrives on the uplink: stripping, delivery, transit, congestion marks; both programs."""

import struct
import time

import pytest
from backplane import (
    A6,
    A_MAC,
    FAR6,
    HOST,
    PEER,
    PEER_MAC,
    REMOTE,
    REMOTE6,
    ROUTER_MAC,
    STRANGER,
    SUBNET,
    SUBNET6,
    UNDERLAY,
    VNI,
    A,
    Host,
    mapped,
    prefix,
)
from frames import IP, UDP, arrived, geneve, identity, inner, option, origin, trace, tunnelled
from scapy.layers.l2 import Ether

MAGIC = 0x4D5A0002
FAR_SOURCE = "10.0.1.5"


def delivered(host: Host, program: str, packet: bytes) -> bytes:
    """The frame without its tunnel: as the endpoint gets it, or as XDP hands it over."""
    outcome = host.run(program, packet)
    assert outcome.reason == {"uplink_tcx": "DELIVERED", "uplink_xdp": "STRIPPED"}[program]
    return outcome.packet


@pytest.mark.parametrize(
    "options",
    [
        b"",
        identity(5),
        identity(5) + origin(STRANGER),
        option(77, b"") + identity(5) + option(3, b"unknown." * 15, 0x0101),
        option(77, b"abcd") * 8,
    ],
)
def test_endpoint_gets_the_inner_frame_with_its_own_mac(
    host: Host,
    uplink: str,
    options: bytes,
) -> None:
    frame = inner()
    got = delivered(host, uplink, arrived(geneve(frame, options)))
    assert (Ether(got).dst, Ether(got).src) == (A_MAC, ROUTER_MAC)
    assert got[12:] == frame[12:]


def test_xdp_hands_over_what_it_learned(host: Host) -> None:
    meta = host.run("uplink_xdp", tunnelled(identity(99))).meta
    assert meta == struct.pack("<II16sII", MAGIC, VNI, mapped(PEER), 99, 0)


def test_handover_of_a_transit_packet_names_its_origin(host: Host) -> None:
    meta = host.run("uplink_xdp", tunnelled(identity(99) + origin(STRANGER), ttl=48)).meta
    assert meta == struct.pack("<II16sII", MAGIC, VNI, mapped(STRANGER), 99, 0)


def test_transit_packet_without_origin_tells_no_host(host: Host) -> None:
    meta = host.run("uplink_xdp", tunnelled(identity(99), ttl=48)).meta
    assert meta == struct.pack("<II16sII", MAGIC, VNI, bytes(16), 99, 0)


def test_metadata_is_equal_for_all_packets_of_a_flow(host: Host) -> None:
    packets = [tunnelled(identity(5), id=n) for n in range(3)]
    assert len({host.run("uplink_xdp", packet).meta for packet in packets}) == 1


@pytest.mark.parametrize("options", [identity(5), identity(5) + origin(STRANGER)])
def test_endpoint_gets_an_ipv6_packet(host: Host, uplink: str, options: bytes) -> None:
    frame = inner(REMOTE6, A6)
    got = delivered(host, uplink, arrived(geneve(frame, options)))
    assert (Ether(got).dst, Ether(got).src) == (A_MAC, ROUTER_MAC)
    assert got[12:] == frame[12:]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (inner(REMOTE6, A6)[:-1], "TRUNCATED"),
        (inner(REMOTE6, A6)[:53], "TRUNCATED"),
        (inner(REMOTE6, A6)[:14], "TRUNCATED"),
        (inner(REMOTE6, A6, version=4), "MALFORMED"),
        (inner(REMOTE6, A6, plen=14), "TRUNCATED"),
        (inner(REMOTE6, A6)[:12] + b"\x08\x00" + inner(REMOTE6, A6)[14:], "MALFORMED"),
        (inner()[:12] + b"\x86\xdd" + inner()[14:], "TRUNCATED"),
        (inner(payload=bytes(20))[:12] + b"\x86\xdd" + inner(payload=bytes(20))[14:], "MALFORMED"),
        (inner(REMOTE6, "::ffff:10.0.0.11"), "MARTIAN"),
        (inner("::ffff:10.0.0.99", A6), "MARTIAN"),
        (inner()[:12] + b"\x88\xb5" + inner()[14:], "NOT_IP"),
        (inner()[:33], "TRUNCATED"),
        (inner()[:13], "TRUNCATED"),
        (inner(ihl=4), "MALFORMED"),
        (inner(len=19), "MALFORMED"),
        (inner(len=34), "TRUNCATED"),
    ],
)
def test_inner_packet_that_is_none(host: Host, uplink: str, content: bytes, reason: str) -> None:
    """With padding behind the outer packet, which is no part of it."""
    packet = arrived(geneve(content, identity(5)))
    for frame in (packet, packet + bytes(60)):
        outcome = host.run(uplink, frame)
        assert (outcome.reason, outcome.packet) == (reason, frame)


def test_payload_length_may_say_less_than_is_there(host: Host, uplink: str) -> None:
    delivered(host, uplink, arrived(geneve(inner(REMOTE6, A6, plen=0), identity(5))))


@pytest.mark.parametrize(
    ("outer", "mark", "expected"),
    [(0, 2, 2), (1, 2, 1), (2, 1, 1), (3, 1, 3), (3, 2, 3), (3, 3, 3), (0, 3, 3), (1, 0, 0)],
)
def test_congestion_marks_are_combined_in_ipv6(
    host: Host, uplink: str, outer: int, mark: int, expected: int
) -> None:
    frame = inner(REMOTE6, A6, tc=0xA8 | mark, fl=0xF1234)
    got = delivered(host, uplink, arrived(geneve(frame), tos=outer))
    assert got[12:] == inner(REMOTE6, A6, tc=0xA8 | expected, fl=0xF1234)[12:]


def test_mark_that_an_ipv6_flow_cant_carry_is_a_drop(host: Host, uplink: str) -> None:
    packet = arrived(geneve(inner(REMOTE6, A6, tc=0xA8, fl=0xF1234)), tos=3)
    assert host.run(uplink, packet).reason == "ECN_LOST"


@pytest.mark.parametrize(
    ("outer", "mark", "expected"),
    [(0, 2, 2), (1, 2, 1), (2, 1, 1), (3, 1, 3), (3, 2, 3), (3, 3, 3), (0, 3, 3), (1, 0, 0)],
)
def test_congestion_marks_are_combined(
    host: Host,
    uplink: str,
    outer: int,
    mark: int,
    expected: int,
) -> None:
    frame = inner(tos=0x20 | mark)
    got = IP(delivered(host, uplink, arrived(geneve(frame), tos=outer))[14:])
    assert got.tos == 0x20 | expected
    fresh = got.copy()
    del fresh.chksum
    assert got.chksum == IP(bytes(fresh)).chksum


@pytest.mark.parametrize("options", [identity(5), identity(5) + origin(STRANGER)])
def test_transit_rewrites_the_outer_header_alone(
    host: Host,
    uplink: str,
    options: bytes,
) -> None:
    host.switch(SUBNET)
    host.switch_endpoint(REMOTE, PEER)
    content = geneve(inner(FAR_SOURCE, REMOTE), options)
    outcome = host.run(uplink, arrived(content, source=STRANGER, sport=51234, tos=2))
    expected = arrived(content, source=HOST, destination=PEER, ttl=48, sport=51234, tos=2)
    assert outcome.reason == "SWITCHED"
    assert outcome.packet[14:] == expected[14:]


@pytest.mark.parametrize("options", [identity(5), identity(5) + origin(STRANGER)])
@pytest.mark.parametrize("table", ["SWITCHED", "ROUTED"])
def test_transit_of_ipv6(host: Host, uplink: str, options: bytes, table: str) -> None:
    if table == "SWITCHED":
        host.switch(SUBNET6)
        host.switch_endpoint(REMOTE6, PEER)
    else:
        host.router(SUBNET6, PEER)
    content = geneve(inner(FAR6, REMOTE6), options)
    outcome = host.run(uplink, arrived(content, source=STRANGER, sport=51234, tos=2))
    expected = arrived(content, source=HOST, destination=PEER, ttl=48, sport=51234, tos=2)
    assert (outcome.reason, outcome.packet[14:]) == (table, expected[14:])


def test_xdp_writes_the_next_hops_mac(host: Host) -> None:
    host.switch_endpoint(REMOTE, PEER)
    packet = host.run("uplink_xdp", arrived(geneve(inner(FAR_SOURCE, REMOTE)))).packet
    assert Ether(packet).dst == PEER_MAC


def test_next_hop_that_moved_is_noticed(host: Host) -> None:
    host.switch_endpoint(REMOTE, PEER)
    packet = arrived(geneve(inner(FAR_SOURCE, REMOTE)))
    assert Ether(host.run("uplink_xdp", packet).packet).dst == PEER_MAC
    host.neighbour(PEER, "02:00:00:00:01:99")
    try:
        time.sleep(0.05)
        assert Ether(host.run("uplink_xdp", packet).packet).dst == "02:00:00:00:01:99"
    finally:
        host.neighbour(PEER, PEER_MAC)
        time.sleep(0.05)


def test_withdrawn_underlay_prefix_is_noticed(host: Host, uplink: str) -> None:
    delivered(host, uplink, tunnelled())
    assert host.maps["underlay_prefixes"].delete(prefix(UNDERLAY))
    time.sleep(0.05)
    assert host.run(uplink, tunnelled()).reason == "UNDERLAY_SOURCE"


def test_holder_that_is_the_endpoints_host_delivers(host: Host, uplink: str) -> None:
    host.switch_endpoint(A, HOST)
    frame = inner()
    assert delivered(host, uplink, arrived(geneve(frame, origin(STRANGER))))[12:] == frame[12:]


def test_switch_behind_the_times_costs_a_detour_and_no_loop(host: Host, uplink: str) -> None:
    host.switch_endpoint(A, PEER)
    frame = inner()
    detoured = arrived(geneve(frame, origin(STRANGER)))
    assert host.run(uplink, detoured).reason == "SWITCHED"
    back = arrived(geneve(frame, origin(STRANGER)), ttl=48)
    assert delivered(host, uplink, back)[12:] == frame[12:]


def test_options_of_our_own_senders_in_any_order(host: Host) -> None:
    """Read without a walk where they are as our senders write them, and alike elsewhere."""
    one, two, more = identity(99), origin(STRANGER), option(77, b"")
    for options in (one + two, two + one, one + more + two, more + one + two, one + two + more):
        meta = host.run("uplink_xdp", arrived(geneve(inner(), options))).meta
        assert meta == struct.pack("<II16sII", MAGIC, VNI, mapped(STRANGER), 99, 0)


@pytest.mark.parametrize("body", [bytes(range(16)), bytes(12)])
def test_option_that_is_as_long_as_origin_is_none(host: Host, body: bytes) -> None:
    for other in (option(77, body), option(2, body, 0x0101)):
        meta = host.run("uplink_xdp", arrived(geneve(inner(), identity(99) + other))).meta
        assert meta == struct.pack("<II16sII", MAGIC, VNI, mapped(PEER), 99, 0)


def test_of_several_options_the_last_counts(host: Host) -> None:
    options = identity(1) + origin(PEER) + trace(1) + identity(2) + origin(STRANGER) + trace(2)
    meta = host.run("uplink_xdp", arrived(geneve(inner(), options))).meta
    assert meta == struct.pack("<II16sII", MAGIC, VNI, mapped(STRANGER), 2, 2)


def test_unresolved_next_hop_leaves_the_packet_as_it_was(host: Host) -> None:
    host.switch_endpoint(REMOTE, STRANGER)
    packet = arrived(geneve(inner(FAR_SOURCE, REMOTE)))
    outcome = host.run("uplink_xdp", packet)
    assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)
    assert host.run("uplink_tcx", packet).reason == "SWITCHED"


def test_three_transit_hops_and_no_more(host: Host, uplink: str) -> None:
    host.switch_endpoint(REMOTE, PEER)
    packet, hops = arrived(geneve(inner(FAR_SOURCE, REMOTE))), 0
    while (outcome := host.run(uplink, packet)).reason == "SWITCHED":
        hops += 1
        ttl = IP(outcome.packet[14:]).ttl
        packet = arrived(geneve(inner(FAR_SOURCE, REMOTE)), ttl=ttl)
    assert (outcome.reason, hops) == ("TRANSIT_LOOP", 3)


def test_router_spreads_flows_over_a_networks_switches(host: Host, uplink: str) -> None:
    holders = [PEER, "192.0.2.254"]
    host.router(SUBNET, *holders)
    host.router("::/0")
    content = geneve(inner(FAR_SOURCE, REMOTE))
    seen = {
        host.run("uplink_tcx", arrived(content, sport=port)).packet[30:34]
        for port in range(50000, 50020)
    }
    assert len(seen) == 2


def test_longest_prefix_wins(host: Host, uplink: str) -> None:
    host.router("10.0.0.0/16", STRANGER)
    host.router(SUBNET, PEER)
    outcome = host.run(uplink, arrived(geneve(inner(FAR_SOURCE, REMOTE))))
    assert (outcome.reason, IP(outcome.packet[14:]).dst) == ("ROUTED", PEER)


def test_another_vpcs_endpoint_is_not_reached(host: Host, uplink: str) -> None:
    assert host.run(uplink, arrived(geneve(inner(), vni=VNI + 1))).reason == "NOT_HERE"


def test_udp_checksum_does_not_survive_a_rewritten_address(host: Host, uplink: str) -> None:
    host.switch_endpoint(REMOTE, PEER)
    packet = bytearray(arrived(geneve(inner(FAR_SOURCE, REMOTE))))
    packet[40:42] = b"\x12\x34"
    assert IP(host.run(uplink, bytes(packet)).packet[14:])[UDP].chksum == 0
