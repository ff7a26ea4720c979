"""ASK and LOOKUP: when a packet's clone goes back for one, what the rows say then, what it becomes.

The clones are seen on the interface that a test run's packet comes from.
"""

import pytest
from backplane import (
    A_IDENTITY,
    FAR,
    HOST,
    PEER,
    REMOTE,
    REMOTE6,
    ROUTER_KIND,
    ROUTER_MAC,
    START,
    STRANGER,
    SUBNET,
    SWITCH_KIND,
    UNDERLAY_MTU,
    A,
    B,
    Host,
    mac,
    mapped,
)
from frames import CONTROL, TCP, geneve, identity, option, origin, sent, sent6
from scapy.layers.inet import IP, UDP

from mizar.datapath.reference import hashing

LOOKUP, ASK = 5, 6
LOOKUP_MARK, ASK_MARK = 0x4D5A1001, 0x4D5A1002
MILLISECOND = 1_000_000
ASK_AGE, FRESH_AGE, INTERVAL = 500 * MILLISECOND, 1000 * MILLISECOND, 100 * MILLISECOND
QUOTE = 128


def clones_of(host: Host, packet: bytes, reason: str) -> list[tuple[int, bytes]]:
    with host.clones() as clones:
        assert host.run("endpoint", packet).reason == reason
        return clones()


@pytest.mark.parametrize(
    ("age", "reason", "mark"),
    [
        (-INTERVAL, "SENT_DIRECT", None),
        (0, "SENT_DIRECT", None),
        (ASK_AGE - 1, "SENT_DIRECT", None),
        (ASK_AGE, "SENT_DIRECT", ASK_MARK),
        (FRESH_AGE - 1, "SENT_DIRECT", ASK_MARK),
        (FRESH_AGE, "SENT_SWITCH", LOOKUP_MARK),
        (START, "SENT_SWITCH", LOOKUP_MARK),
    ],
)
def test_what_a_locations_age_does(host: Host, age: int, reason: str, mark: int | None) -> None:
    packet = sent(REMOTE)
    host.location(REMOTE, PEER, confirmed=START - age, generation=4)
    expected = [] if mark is None else [(mark, packet)]
    assert clones_of(host, packet, reason) == expected
    row = host.located(REMOTE)
    assert row.asked_ns == (0 if mark is None else START)
    assert (row.host, row.confirmed_ns, row.generation) == (mapped(PEER), START - age, 4)


@pytest.mark.parametrize("age", [ASK_AGE, FRESH_AGE])
@pytest.mark.parametrize(
    ("asked", "asks"),
    [(START - INTERVAL, True), (START - INTERVAL + 1, False), (START, False), (START + 1, False)],
)
def test_questions_keep_their_distance(host: Host, age: int, asked: int, asks: bool) -> None:
    host.location(REMOTE, PEER, confirmed=START - age, asked=asked)
    with host.clones() as clones:
        host.run("endpoint", sent(REMOTE))
        assert len(clones()) == asks
    assert host.located(REMOTE).asked_ns == (START if asks else asked)


@pytest.mark.parametrize("packet", [sent(REMOTE), sent6(REMOTE6)], ids=["IPv4", "IPv6"])
def test_first_packet_by_transit_leaves_a_row_without_a_host(host: Host, packet: bytes) -> None:
    to = REMOTE if packet[12:14] == b"\x08\x00" else REMOTE6
    assert clones_of(host, packet, "SENT_SWITCH") == [(LOOKUP_MARK, packet)]
    assert host.located(to) == (bytes(16), 0, START, 0, 0)
    assert clones_of(host, packet, "SENT_SWITCH") == []
    host.configure(test_clock_ns=START + INTERVAL)
    assert clones_of(host, packet, "SENT_SWITCH") == [(LOOKUP_MARK, packet)]


def test_row_without_a_host_is_no_way(host: Host) -> None:
    host.maps["locations"].update((7, mapped(REMOTE)), (bytes(16), START, START, 0, 0))
    assert clones_of(host, sent(REMOTE), "SENT_SWITCH") == []


def test_lookup_has_the_hop_that_routing_took(host: Host) -> None:
    ((_, clone),) = clones_of(host, sent(FAR, ttl=9), "SENT_ROUTER")
    assert IP(clone[14:]).ttl == 8
    whole = IP(host.run("endpoint", clone, mark=LOOKUP_MARK).packet[14:])
    assert bytes(whole).endswith(clone[14:])


def test_own_tables_ask_too(host: Host) -> None:
    host.route(SUBNET, SWITCH_KIND, HOST)
    host.switch_endpoint(REMOTE, PEER)
    assert len(clones_of(host, sent(REMOTE), "SWITCHED")) == 1


@pytest.mark.parametrize("reason", ["NO_ROUTE", "NO_ENDPOINT", "DELIVERED_SAME_HOST", "TOO_BIG"])
def test_what_is_not_sent_asks_nothing(host: Host, reason: str) -> None:
    packet = {"DELIVERED_SAME_HOST": sent(B), "TOO_BIG": sent(REMOTE, bytes(1500))}
    if reason == "NO_ROUTE":
        host.maps["routes"].delete_batch(list(host.maps["routes"].keys()))
    if reason == "NO_ENDPOINT":
        host.route(SUBNET, SWITCH_KIND, HOST)
        host.switch(SUBNET)
    assert clones_of(host, packet.get(reason, sent(REMOTE)), reason) == []
    assert host.located(REMOTE) is None


def control(packet: bytes, options: bytes, kept: int = QUOTE) -> bytes:
    """What follows the outer UDP header."""
    ethernet = mac(ROUTER_MAC) * 2 + packet[12:14]
    return geneve(ethernet + packet[14 : 14 + kept], options, flags=CONTROL)


BIG, BIG6 = sent(REMOTE, bytes(range(256)) * 5), sent6(REMOTE6, bytes(range(256)) * 5)
QUESTIONS = [sent(REMOTE), sent6(REMOTE6), BIG, BIG6, sent(REMOTE) + b"padding"]


def asked_of(host: Host, packet: bytes, mark: int, reason: str) -> tuple[IP, bytes]:
    outcome = host.run("endpoint", packet, mark=mark)
    assert (outcome.reason, outcome.action) == (reason, 7)
    outer = IP(outcome.packet[14:])
    assert (outer.src, outer.ttl, outer.flags, outer.len) == (
        HOST,
        64,
        "DF",
        len(outcome.packet) - 14,
    )
    assert outer[UDP].dport == 6081
    return outer, outcome.packet[14 + 28 :]


@pytest.mark.parametrize("packet", QUESTIONS, ids=["IPv4", "IPv6", "big", "big6", "padded"])
def test_lookup_byte_for_byte(host: Host, packet: bytes) -> None:
    outer, rest = asked_of(host, packet, LOOKUP_MARK, "SENT_LOOKUP")
    options = identity(A_IDENTITY) + origin(HOST) + option(LOOKUP, b"")
    assert outer.dst == PEER
    assert rest == control(packet, options)


@pytest.mark.parametrize("packet", QUESTIONS, ids=["IPv4", "IPv6", "big", "big6", "padded"])
def test_ask_byte_for_byte(host: Host, packet: bytes) -> None:
    for address in (REMOTE, REMOTE6):
        host.location(address, STRANGER, confirmed=0)
    outer, rest = asked_of(host, packet, ASK_MARK, "SENT_ASK")
    assert outer.dst == STRANGER
    assert rest == control(packet, identity(A_IDENTITY) + option(ASK, b""))


def test_question_takes_its_flows_port_and_holder(host: Host) -> None:
    holders = ["192.0.2.2", "192.0.2.3", "192.0.2.4"]
    host.route(SUBNET, SWITCH_KIND, *holders)
    for number in range(20):
        packet = sent(REMOTE, l4=TCP(sport=number, dport=9))
        outer, _ = asked_of(host, packet, LOOKUP_MARK, "SENT_LOOKUP")
        port = hashing.outer_port(mapped(A), mapped(REMOTE), number << 16 | 9, 6)
        assert outer[UDP].sport == port
        chosen = hashing.choose([mapped(holder) for holder in holders], port)
        assert mapped(outer.dst) == chosen


def test_lookup_through_own_tables(host: Host) -> None:
    host.route(SUBNET, SWITCH_KIND, HOST)
    host.switch_endpoint(REMOTE, STRANGER)
    assert asked_of(host, sent(REMOTE), LOOKUP_MARK, "SENT_LOOKUP")[0].dst == STRANGER
    host.route("::/0", ROUTER_KIND, HOST)
    host.router("10.0.1.0/24", PEER)
    assert asked_of(host, sent(FAR), LOOKUP_MARK, "SENT_LOOKUP")[0].dst == PEER


@pytest.mark.parametrize("mark", [LOOKUP_MARK, ASK_MARK])
def test_question_that_goes_nowhere_is_dropped_in_silence(host: Host, mark: int) -> None:
    host.maps["routes"].delete_batch(list(host.maps["routes"].keys()))
    with host.clones() as clones:
        outcome = host.run("endpoint", sent(REMOTE), mark=mark)
        assert (outcome.reason, outcome.action, clones()) == ("NO_ROUTE", 2, [])
    assert host.located(REMOTE) is None


@pytest.mark.parametrize("mark", [LOOKUP_MARK, ASK_MARK])
def test_question_asks_nothing_and_stamps_nothing(host: Host, mark: int) -> None:
    host.location(REMOTE, PEER, confirmed=0)
    with host.clones() as clones:
        host.run("endpoint", sent(REMOTE), mark=mark)
        assert clones() == []
    assert host.located(REMOTE).asked_ns == 0


def test_question_is_no_packet_to_check_or_to_route_again(host: Host) -> None:
    """Its TTL has been taken from already, and its source has been checked."""
    packet = sent(FAR, ttl=1, source=A, mac="02:00:00:00:00:77")
    _, rest = asked_of(host, packet, LOOKUP_MARK, "SENT_LOOKUP")
    assert rest.endswith(packet[14:])


def test_other_marks_are_not_questions(host: Host) -> None:
    assert host.run("endpoint", sent(REMOTE), mark=LOOKUP_MARK ^ 1).reason == "SENT_SWITCH"
    assert host.run("endpoint", sent(REMOTE, source=B), mark=7).reason == "SPOOFED_ADDRESS"


@pytest.mark.parametrize("packet", [sent, sent6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("room", "options"),
    [(28, "both"), (27, "origin"), (20, "origin"), (19, "trace"), (8, "trace"), (7, "none")],
)
def test_traced_packet_carries_its_number_where_it_fits(
    host: Host,
    room: int,
    options: str,
    packet: object,
) -> None:
    extra = {
        "both": origin(HOST) + option(4, b"\0\0\0\x2a"),
        "origin": origin(HOST),
        "trace": option(4, b"\0\0\0\x2a"),
        "none": b"",
    }
    traced(host, 1)
    headers = 28 if packet is sent else 48
    whole = packet(REMOTE if packet is sent else REMOTE6, bytes(UNDERLAY_MTU - 58 - room - headers))
    rest = host.run("endpoint", whole).packet[42:]
    assert rest == geneve(mac(ROUTER_MAC) * 2 + whole[12:], identity(A_IDENTITY) + extra[options])


def traced(host: Host, ifindex: int, **changes: object) -> None:
    host.configure(tracing=1)
    filled = host.maps["trace_filters"].spec.value.type(
        trace=42,
        protocol=0,
        reserved=bytes(3),
        source_port=0,
        destination_port=0,
        reserved2=0,
        destination=bytes(16),
        until_ns=START + 1,
    )
    host.maps["trace_filters"].update(ifindex, filled._replace(**changes))


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"protocol": 17}, True),
        ({"protocol": 6}, False),
        ({"source_port": 4000}, True),
        ({"source_port": 53}, False),
        ({"destination_port": 53}, True),
        ({"destination_port": 4000}, False),
        ({"destination": mapped(REMOTE)}, True),
        ({"destination": mapped(B)}, False),
        ({"until_ns": START}, False),
        ({"trace": 0}, False),
    ],
    ids=str,
)
def test_filter_matches_by_all_that_it_names(
    host: Host, changes: dict[str, object], matches: bool
) -> None:
    traced(host, 1, **changes)
    assert (option(4, b"\0\0\0\x2a") in host.run("endpoint", sent(REMOTE)).packet) is matches


def test_filters_of_others_and_without_tracing_match_nothing(host: Host) -> None:
    traced(host, 2)
    packet = host.run("endpoint", sent(REMOTE)).packet
    traced(host, 1)
    host.configure(tracing=0)
    assert host.run("endpoint", sent(REMOTE)).packet == packet
    assert option(4, b"\0\0\0\x2a") not in packet


def test_questions_are_not_traced(host: Host) -> None:
    traced(host, 1)
    _, rest = asked_of(host, sent(REMOTE), LOOKUP_MARK, "SENT_LOOKUP")
    options = identity(A_IDENTITY) + origin(HOST) + option(LOOKUP, b"")
    assert rest == control(sent(REMOTE), options)
