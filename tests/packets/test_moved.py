"""Endpoints that moved or are gone, silent holders, and what is counted and traced of it all."""

import pytest
from backplane import (
    A6,
    HOST,
    PEER,
    PEER_MAC,
    REMOTE,
    REMOTE6,
    START,
    STRANGER,
    SUBNET,
    VERDICTS,
    A,
    Host,
    mapped,
)
from frames import IP, arrived, geneve, hint, identity, inner, origin, sent, told, trace

from mizar.datapath.reference import hashing

FAMILIES = [(A, REMOTE), (A6, REMOTE6)]
GONE = 1
HOLDERS = [PEER, "192.0.2.200", "192.0.2.201"]


def data(content: bytes, **outer: object) -> bytes:
    return arrived(geneve(content, identity(5)), **outer)


def verdict(program: str, name: str) -> int:
    return VERDICTS["xdp" if program == "uplink_xdp" else "tc"][name]


# ---- moved away ----


@pytest.mark.parametrize(("source", "endpoint"), FAMILIES)
@pytest.mark.parametrize("options", [identity(5), identity(5) + origin(STRANGER)])
def test_packet_follows_the_endpoint_that_moved(
    host: Host, uplink: str, source: str, endpoint: str, options: bytes
) -> None:
    host.moved(endpoint, PEER)
    content = geneve(inner(source, endpoint), options)
    outcome = host.run(uplink, arrived(content, source=STRANGER, sport=51234))
    assert (outcome.reason, outcome.action) == ("FORWARDED", verdict(uplink, "PASS"))
    onward = arrived(content, source=HOST, destination=PEER, ttl=48, sport=51234)
    assert outcome.packet[14:] == onward[14:]
    if uplink == "uplink_xdp":
        assert outcome.packet[:6].hex(":") == PEER_MAC


def test_endpoint_that_came_back_is_served_here(host: Host, uplink: str) -> None:
    host.moved(A, PEER)
    assert host.run(uplink, data(inner())).reason in ("STRIPPED", "DELIVERED")


def test_move_is_followed_before_the_tables(host: Host, uplink: str) -> None:
    host.moved(REMOTE, PEER)
    host.switch_endpoint(REMOTE, STRANGER)
    assert host.run(uplink, data(inner(A, REMOTE))).reason == "FORWARDED"


def test_first_hop_asks_the_tables_before_the_moves(host: Host, uplink: str) -> None:
    host.switch_endpoint(REMOTE, PEER)
    host.moved(REMOTE, "192.0.2.200")
    packet = arrived(geneve(inner(A, REMOTE), identity(5) + origin(STRANGER)))
    outcome = host.run(uplink, packet)
    assert (outcome.reason, IP(outcome.packet[14:]).dst) == ("SWITCHED", PEER)


def test_move_in_another_vpc_is_another_endpoints(host: Host, uplink: str) -> None:
    host.moved(REMOTE, PEER)
    packet = arrived(geneve(inner(A, REMOTE), identity(5), vni=8), ttl=48)
    assert host.run(uplink, packet).reason == "NOT_HERE"


def test_moves_that_lead_round_end(host: Host, uplink: str) -> None:
    host.moved(REMOTE, PEER)
    assert host.run(uplink, data(inner(A, REMOTE), ttl=17)).reason == "FORWARDED"
    outcome = host.run(uplink, data(inner(A, REMOTE), ttl=16))
    assert (outcome.reason, outcome.action) == ("TRANSIT_LOOP", verdict(uplink, "DROP"))


def test_unresolved_host_of_a_move_is_left_to_tcx(host: Host) -> None:
    host.moved(REMOTE, STRANGER)
    packet = data(inner(A, REMOTE))
    outcome = host.run("uplink_xdp", packet)
    assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)


# ---- gone: the sender is told ----


@pytest.mark.parametrize(("source", "endpoint"), FAMILIES)
def test_sender_that_came_straight_is_told(
    host: Host, uplink: str, source: str, endpoint: str
) -> None:
    packet = data(inner(source, endpoint, bytes(300)), sport=51234, tos=2)
    outcome = host.run(uplink, packet)
    assert (outcome.reason, outcome.action) == ("NOT_HERE", verdict(uplink, "ANSWERED"))
    assert outcome.packet[14:] == told(PEER, hint(endpoint, HOST, 0, GONE), sport=51234)


def test_what_the_sender_is_told_is_taken(host: Host, uplink: str) -> None:
    answer = host.run(uplink, data(inner(A, REMOTE))).packet
    back = arrived(answer[42:], source=PEER)
    host.location(REMOTE, HOST, generation=7)
    assert host.run(uplink, back).reason == "HINT_TAKEN"
    assert host.located(REMOTE) is None


@pytest.mark.parametrize(
    "packet",
    [
        data(inner(A, REMOTE), ttl=48),
        arrived(geneve(inner(A, REMOTE), identity(5) + origin(PEER))),
        arrived(geneve(inner(A, REMOTE), identity(5) + origin(PEER)), ttl=48),
        data(inner(A, REMOTE, b"")[:34], len=20 + 8 + 8 + 8 + 34),
    ],
    ids=["by its TTL", "to a holder", "from a holder", "too short"],
)
def test_sender_that_cant_be_told_is_not(host: Host, uplink: str, packet: bytes) -> None:
    outcome = host.run(uplink, packet)
    assert (outcome.action, outcome.packet) == (verdict(uplink, "DROP"), packet)


def test_only_not_here_is_told(host: Host, uplink: str) -> None:
    host.switch(SUBNET)
    outcome = host.run(uplink, data(inner(A, REMOTE)))
    assert (outcome.reason, outcome.action) == ("NO_ENDPOINT", verdict(uplink, "DROP"))


def test_segments_are_too_many_to_become_one_message(host: Host) -> None:
    outcome = host.run("uplink_tcx", data(inner(A, REMOTE, bytes(900))), gso_size=100)
    assert (outcome.reason, outcome.action) == ("NOT_HERE", verdict("uplink_tcx", "DROP"))


def test_sender_that_is_unresolved_is_told_by_tcx(host: Host) -> None:
    packet = data(inner(A, REMOTE), source=STRANGER)
    outcome = host.run("uplink_xdp", packet)
    assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)
    outcome = host.run("uplink_tcx", packet)
    assert outcome.packet[14:] == told(STRANGER, hint(REMOTE, HOST, 0, GONE))


# ---- silent holders ----


def chosen(host: Host, program: str, port: int) -> bytes:
    """The switch that the router of this host chooses for a flow."""
    outcome = host.run(program, data(inner(A, REMOTE), sport=port))
    assert outcome.reason == "ROUTED"
    return mapped(IP(outcome.packet[14:]).dst)


@pytest.mark.parametrize("silent", [HOLDERS[:1], HOLDERS[:2], HOLDERS[1:], HOLDERS])
def test_silent_holders_are_passed_over(host: Host, silent: list[str]) -> None:
    host.router(SUBNET, *HOLDERS)
    for one in silent:
        host.silent(one, START)
    heard = [mapped(one) for one in HOLDERS if one not in silent]
    for port in range(50000, 50040):
        expected = hashing.choose(heard or [mapped(one) for one in HOLDERS], port)
        assert chosen(host, "uplink_tcx", port) == expected


def test_silence_ends(host: Host) -> None:
    host.router(SUBNET, *HOLDERS)
    for one in HOLDERS[1:]:
        host.silent(one, START - 1)
    for port in range(50000, 50020):
        assert chosen(host, "uplink_tcx", port) == hashing.choose(
            [mapped(h) for h in HOLDERS], port
        )


def test_only_holder_is_chosen_silent_or_not(host: Host, uplink: str) -> None:
    host.router(SUBNET, PEER)
    host.silent(PEER, START + 1)
    assert chosen(host, uplink, 50000) == mapped(PEER)


def test_sender_passes_over_silent_holders(host: Host) -> None:
    host.route(SUBNET, 1, *HOLDERS)
    host.silent(HOLDERS[0], START)
    seen = {
        IP(host.run("endpoint", sent(f"10.0.0.{number}")).packet[14:]).dst
        for number in range(20, 60)
    }
    assert seen == set(HOLDERS[1:])


def test_xdp_and_tcx_choose_alike(host: Host) -> None:
    holders = [PEER, STRANGER]
    host.router(SUBNET, *holders)
    for port in range(50000, 50020):
        outcome = host.run("uplink_xdp", data(inner(A, REMOTE), sport=port))
        at_peer = chosen(host, "uplink_tcx", port) == mapped(PEER)
        assert outcome.reason == ("ROUTED" if at_peer else "LEFT_TO_TCX")


# ---- what is counted and reported ----


@pytest.mark.parametrize(("source", "endpoint"), FAMILIES)
def test_drop_says_whose_it_was(host: Host, uplink: str, source: str, endpoint: str) -> None:
    packet = data(inner(source, endpoint), ttl=48)
    host.run(uplink, packet)
    host.run(uplink, packet)
    (((ifindex, vni, reason), row),) = host.drops()
    assert (ifindex, vni, reason) == (0, 7, "NOT_HERE")
    assert (row.packets, row.bytes) == (2, 2 * len(packet))
    assert (row.source, row.destination) == (mapped(source), mapped(endpoint))


@pytest.mark.parametrize(
    ("packet", "vni"),
    [
        (data(inner(), source="198.51.100.9"), 0),
        (arrived(geneve(inner(), version=1)), 0),
        (arrived(geneve(inner(), identity(5)[:3] + b"\2" + bytes(4))), 7),
        (data(inner()[:20]), 7),
    ],
    ids=["foreign source", "version", "option", "no inner header"],
)
def test_drop_says_no_more_than_was_read(host: Host, uplink: str, packet: bytes, vni: int) -> None:
    host.run(uplink, packet)
    (((_, known, _), row),) = host.drops()
    assert known == vni
    assert (row.source, row.destination) == (bytes(16), bytes(16))


def test_packet_that_passes_is_no_drop(host: Host, uplink: str) -> None:
    host.run(uplink, data(inner()))
    assert host.drops() == []


@pytest.mark.parametrize(("source", "endpoint"), FAMILIES)
def test_traced_packet_is_reported_at_each_hop(
    host: Host, uplink: str, source: str, endpoint: str
) -> None:
    host.moved(endpoint, PEER)
    content = geneve(inner(source, endpoint), identity(5) + trace(0xDEADBEEF))
    host.run(uplink, arrived(content, ttl=48))
    (event,) = host.traced()
    program = {"uplink_xdp": 2, "uplink_tcx": 3}[uplink]
    reasons = host.types.enum("reason")
    assert (event.type, event.trace, event.program) == (1, 0xDEADBEEF, program)
    assert (event.reason, event.vni) == (reasons["REASON_FORWARDED"], 7)
    assert (event.source, event.destination) == (mapped(source), mapped(endpoint))
    assert event.next == mapped(PEER)


def test_traced_drop_names_no_next_host(host: Host, uplink: str) -> None:
    host.switch_endpoint(REMOTE, HOST)
    host.run(uplink, arrived(geneve(inner(A, REMOTE), identity(5) + trace(1)), ttl=48))
    (event,) = host.traced()
    assert event.next == bytes(16)


def test_untraced_packet_is_not_reported(host: Host, uplink: str) -> None:
    host.run(uplink, data(inner()))
    assert host.traced() == []


def test_trace_goes_on_behind_gro(host: Host) -> None:
    packet = arrived(geneve(inner(), identity(5) + trace(7)))
    assert host.run("uplink_xdp", packet).meta[-4:] == (7).to_bytes(4, "little")
