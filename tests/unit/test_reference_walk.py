"""Walks over a fleet of three: what the model says of the first packet, the next, and lost ones."""

import pytest

from mizar.datapath.reference import constants, fleet, packets, tables
from mizar.datapath.reference.tables import address, prefix_key

VNI = 7
MAC = bytes.fromhex("02000000000a")
ROUTER_MAC = bytes.fromhex("024d5a000001")
A, B, NOBODY, GATEWAY = "10.0.0.11", "10.0.0.12", "10.0.0.99", "10.0.0.1"
MASK = ((1 << 128) - (1 << 8)).to_bytes(16, "big")
SECOND = 1_000_000_000


def host(number: int, *endpoints: str) -> tables.Tables:
    """A host with endpoints of 10.0.0.0/24, whose switch is on host 3."""
    switch = tables.TransitSet(constants.SWITCH, 1, (address("192.0.2.3"),))
    made = tables.Tables(
        host_config=tables.HostConfig(address(f"192.0.2.{number}"), ROUTER_MAC, 1442, 9, 1500),
        underlay_prefixes={(120, address("192.0.2.0"))},
        routes={prefix_key(VNI, "10.0.0.0/24"): switch},
    )
    for ifindex, text in enumerate(endpoints, start=5):
        four = tables.Family(address("10.0.0.0"), MASK, address(GATEWAY), address(text))
        made.ports[ifindex] = tables.Port(VNI, 0, 1, MAC, four)
        made.local[VNI, address(text)] = tables.LocalEndpoint(ifindex, 0, 1, MAC, constants.VETH)
    return made


@pytest.fixture(params=[False, True], ids=["tcx", "xdp"])
def three(request: pytest.FixtureRequest) -> fleet.Fleet:
    hosts = {1: host(1, A), 2: host(2, B), 3: host(3)}
    hosts[3].switch_networks[prefix_key(VNI, "10.0.0.0/24")] = 1
    for number, text in ((1, A), (2, B)):
        place = tables.Place(address(f"192.0.2.{number}"), 1, 0)
        hosts[3].switch_endpoints[VNI, address(text)] = place
    named = {
        address(f"192.0.2.{number}"): fleet.Host(rows, f"h{number}", request.param)
        for number, rows in hosts.items()
    }
    return fleet.Fleet(named)


def sent(three: fleet.Fleet, destination: str) -> fleet.Walk:
    """A's packet of 8 bytes of UDP."""
    udp = b"\x0f\xa0\x00\x35\x00\x08\x00\x00"
    ip = packets.ipv4(address(A), address(destination), packets.UDP, udp)
    frame = packets.ethernet(ROUTER_MAC, MAC, packets.IPV4) + ip
    return fleet.walk(three, address("192.0.2.1"), 5, frame)


def way(walk: fleet.Walk) -> list[tuple[str, str]]:
    return [(s.host, s.reason) for s in walk.steps if s.reason not in ("STRIPPED", "LEFT_TO_TCX")]


def test_a_first_packet_goes_by_the_switch_and_its_lookup_teaches_the_sender(
    three: fleet.Fleet,
) -> None:
    walk = sent(three, B)
    assert way(walk) == [("h1", "SENT_SWITCH"), ("h3", "SWITCHED"), ("h2", "DELIVERED")]
    assert (walk.end.verdict, walk.end.host, walk.end.interface) == ("delivered", "h2", 5)
    (lookup,) = walk.clones
    assert way(lookup) == [
        ("h1", "SENT_LOOKUP"),
        ("h3", "SWITCHED"),
        ("h2", "LOOKUP_ANSWERED"),
        ("h1", "HINT_TAKEN"),
    ]
    assert way(sent(three, B)) == [("h1", "SENT_DIRECT"), ("h2", "DELIVERED")]


def test_an_old_location_is_asked_about_and_confirmed(three: fleet.Fleet) -> None:
    sent(three, B)
    three.now += SECOND * 6 // 10
    (ask,) = sent(three, B).clones
    assert [reason for _, reason in way(ask)] == ["SENT_ASK", "ASK_ANSWERED", "HINT_TAKEN"]
    three.now += SECOND * 6 // 10
    assert way(sent(three, B))[0] == ("h1", "SENT_DIRECT")


def test_an_address_without_endpoint_is_dropped_at_the_switch_and_the_sender_told(
    three: fleet.Fleet,
) -> None:
    walk = sent(three, NOBODY)
    assert way(walk) == [("h1", "SENT_SWITCH"), ("h3", "NO_ENDPOINT")]
    assert walk.end.verdict == "dropped"
    (lookup,) = walk.clones
    assert [r for _, r in way(lookup)] == ["SENT_LOOKUP", "NO_ENDPOINT", "RETURNED_TOLD"]
    assert lookup.end.packet[34:36] == bytes([3, 1])  # host unreachable


def test_each_step_names_the_tables_and_entries_used(three: fleet.Fleet) -> None:
    walk = sent(three, B)
    assert walk.steps[0].detail[-1] == "routes vni 7 10.0.0.0/24: transit switch held by h3"
    assert walk.steps[1].detail == ("switch_endpoints vni 7 10.0.0.12: at host h2, generation 1",)
    assert walk.steps[0].next == "host h3"


def test_the_gateway_answers_nothing_but_ping(three: fleet.Fleet) -> None:
    end = sent(three, GATEWAY).end
    assert (end.verdict, end.reason, end.interface) == ("dropped", "GATEWAY", 5)
    assert end.packet[34:36] == bytes([3, 3])  # port unreachable
