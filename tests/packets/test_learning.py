"""The direct path: what data packets and HINTs teach, and when it is forgotten."""

import pytest
from backplane import (
    HOST,
    PEER,
    REMOTE,
    SECOND,
    START,
    STRANGER,
    A,
    B,
    Host,
    mapped,
)
from frames import CONTROL, arrived, geneve, hint, identity, inner, origin, sent, tunnelled

BY_TRANSIT = identity(5) + origin(STRANGER)


def tell(endpoint: str, at: str, generation: int, flags: int = 0) -> bytes:
    return arrived(geneve(b"", hint(endpoint, at, generation, flags, 77), flags=CONTROL))


def test_direct_packet_teaches_the_senders_host(host: Host) -> None:
    host.run("uplink_tcx", tunnelled(identity(5)))
    known = host.located(REMOTE)
    assert (known.host, known.identity, known.confirmed_ns) == (mapped(PEER), 5, START)
    assert known.generation == 0


def test_what_was_learned_is_used_until_it_is_stale(host: Host) -> None:
    host.run("uplink_tcx", tunnelled())
    host.configure(test_clock_ns=START + SECOND - 1)
    assert host.run("endpoint", sent(REMOTE)).reason == "SENT_DIRECT"
    host.configure(test_clock_ns=START + SECOND)
    assert host.run("endpoint", sent(REMOTE)).reason == "SENT_SWITCH"


def test_transit_packet_teaches_its_origin(host: Host) -> None:
    host.run("uplink_tcx", tunnelled(BY_TRANSIT, ttl=48))
    assert host.located(REMOTE).host == mapped(STRANGER)


@pytest.mark.parametrize("options", [identity(5), b"\xff\x4d\x4d\x00"])
def test_transit_packet_without_origin_teaches_nothing(host: Host, options: bytes) -> None:
    host.run("uplink_tcx", tunnelled(options, ttl=48))
    assert host.located(REMOTE) is None


def test_direct_packet_over_fifteen_underlay_routers_still_teaches(host: Host) -> None:
    host.run("uplink_tcx", tunnelled(ttl=49))
    assert host.located(REMOTE).host == mapped(PEER)


def test_stamp_is_rewritten_four_times_a_second_at_most(host: Host) -> None:
    stamps = []
    for at in (0, SECOND // 4 - 1, SECOND // 4, SECOND // 2 - 1):
        host.configure(test_clock_ns=START + at)
        host.run("uplink_tcx", tunnelled())
        stamps.append(host.located(REMOTE).confirmed_ns - START)
    assert stamps == [0, 0, SECOND // 4, SECOND // 4]


@pytest.mark.parametrize(("age", "winner"), [(SECOND - 1, STRANGER), (SECOND, PEER)])
def test_data_overrides_only_what_is_stale(host: Host, age: int, winner: str) -> None:
    host.location(REMOTE, STRANGER, START - age, generation=6)
    host.run("uplink_tcx", tunnelled())
    known = host.located(REMOTE)
    assert (known.host, known.generation) == (mapped(winner), 6)


def test_local_address_is_never_learned(host: Host) -> None:
    host.run("uplink_tcx", arrived(geneve(inner(B, A))))
    assert host.located(B) is None


def test_own_host_is_never_learned(host: Host) -> None:
    host.run("uplink_tcx", tunnelled(identity(5) + origin(HOST)))
    assert host.located(REMOTE) is None


def test_nothing_is_learned_from_what_only_passes_through(host: Host, uplink: str) -> None:
    host.switch_endpoint(REMOTE, PEER)
    host.run(uplink, arrived(geneve(inner("10.0.1.5", REMOTE), BY_TRANSIT)))
    assert list(host.maps["locations"].keys()) == []


def test_hint_opens_the_direct_path(host: Host, uplink: str) -> None:
    assert host.run(uplink, tell(REMOTE, PEER, 4)).reason == "HINT_TAKEN"
    known = host.located(REMOTE)
    assert tuple(known) == (mapped(PEER), START, 0, 4, 77)
    assert host.run("endpoint", sent(REMOTE)).reason == "SENT_DIRECT"


@pytest.mark.parametrize(
    ("generation", "reason", "at"),
    [(4, "HINT_STALE", STRANGER), (5, "HINT_TAKEN", PEER), (6, "HINT_TAKEN", PEER)],
)
def test_older_hint_never_overrides(
    host: Host,
    uplink: str,
    generation: int,
    reason: str,
    at: str,
) -> None:
    host.location(REMOTE, STRANGER, START - 9 * SECOND, generation=5)
    assert host.run(uplink, tell(REMOTE, PEER, generation)).reason == reason
    assert host.located(REMOTE).host == mapped(at)


def test_hint_about_a_local_address_is_refused(host: Host, uplink: str) -> None:
    assert host.run(uplink, tell(A, PEER, 99)).reason == "HINT_STALE"
    assert host.located(A) is None


def test_hint_that_it_is_gone_forgets(host: Host, uplink: str) -> None:
    host.location(REMOTE, STRANGER, generation=5)
    assert host.run(uplink, tell(REMOTE, STRANGER, 5, flags=1)).reason == "HINT_TAKEN"
    assert host.located(REMOTE) is None


def test_hint_from_outside_the_underlay_is_refused(host: Host, uplink: str) -> None:
    content = geneve(b"", hint(REMOTE, PEER, 1), flags=CONTROL)
    outcome = host.run(uplink, arrived(content, source="198.51.100.9"))
    assert outcome.reason == "UNDERLAY_SOURCE"
    assert host.located(REMOTE) is None
