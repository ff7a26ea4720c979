"""The direct path: what data packets and HINTs teach, and when it is forgotten."""

from collections.abc import Callable

import pytest
from backplane import (
    A6,
    HOST,
    PEER,
    REMOTE,
    REMOTE6,
    SECOND,
    START,
    STRANGER,
    VNI,
    A,
    B,
    Host,
    mapped,
)
from frames import CONTROL, arrived, geneve, hint, identity, inner, origin, sent, sent6, tunnelled

GONE = 1
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


@pytest.mark.parametrize(
    ("age", "after"),
    [
        (0, SECOND // 2),
        (SECOND // 2 - 1, SECOND // 2),
        (SECOND // 2, SECOND // 2),
        (SECOND - 1, SECOND - 1),
    ],
)
def test_data_from_elsewhere_casts_doubt(host: Host, age: int, after: int) -> None:
    host.location(REMOTE, STRANGER, START - age, generation=6, asked=START - 9)
    host.run("uplink_tcx", tunnelled())
    assert tuple(host.located(REMOTE)) == (mapped(STRANGER), START - after, START - 9, 6, 0)


def test_doubted_location_is_asked_about(host: Host) -> None:
    host.location(REMOTE, STRANGER)
    assert host.run("endpoint", sent(REMOTE)).reason == "SENT_DIRECT"
    host.run("uplink_tcx", tunnelled())
    host.run("endpoint", sent(REMOTE))
    assert host.located(REMOTE).asked_ns == START


def test_host_that_moved_its_stamp_on_meanwhile_keeps_it(host: Host) -> None:
    """Another CPU's clock may be a little ahead."""
    host.location(REMOTE, STRANGER, START + 5)
    host.run("uplink_tcx", tunnelled())
    assert host.located(REMOTE).host == mapped(STRANGER)
    host.location(REMOTE, PEER, START + 5)
    host.run("uplink_tcx", tunnelled())
    assert host.located(REMOTE).confirmed_ns == START + 5


@pytest.mark.parametrize("confirmed", [0, START])
def test_question_without_an_answer_is_no_location(host: Host, confirmed: int) -> None:
    host.maps["locations"].update((VNI, mapped(REMOTE)), (bytes(16), confirmed, START - 9, 0, 0))
    host.run("uplink_tcx", tunnelled(identity(5)))
    assert tuple(host.located(REMOTE)) == (mapped(PEER), START, START - 9, 0, 5)


def test_ipv6_sender_is_learned(host: Host) -> None:
    host.run("uplink_tcx", arrived(geneve(inner(REMOTE6, A6), BY_TRANSIT), ttl=48))
    assert host.located(REMOTE6).host == mapped(STRANGER)
    assert len(list(host.maps["locations"].keys())) == 1


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


@pytest.mark.parametrize(("endpoint", "send"), [(REMOTE, sent), (REMOTE6, sent6)])
def test_hint_opens_the_direct_path(
    host: Host, uplink: str, endpoint: str, send: Callable[[str], bytes]
) -> None:
    assert host.run(uplink, tell(endpoint, PEER, 4)).reason == "HINT_TAKEN"
    assert tuple(host.located(endpoint)) == (mapped(PEER), START, 0, 4, 77)
    assert host.run("endpoint", send(endpoint)).reason == "SENT_DIRECT"


def test_hint_keeps_when_it_was_asked_for(host: Host, uplink: str) -> None:
    host.location(REMOTE, STRANGER, START - 2 * SECOND, asked=START - SECOND)
    host.run(uplink, tell(REMOTE, PEER, 4))
    assert tuple(host.located(REMOTE)) == (mapped(PEER), START, START - SECOND, 4, 77)


def test_hint_overrides_what_is_fresh(host: Host, uplink: str) -> None:
    host.location(REMOTE, STRANGER, START, generation=3)
    assert host.run(uplink, tell(REMOTE, PEER, 3)).reason == "HINT_TAKEN"
    assert host.located(REMOTE).host == mapped(PEER)


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


def test_hint_that_it_is_at_this_host_is_old_news(host: Host, uplink: str) -> None:
    """Its endpoint has gone from here since; a way to oneself would lose packets for a second."""
    assert host.run(uplink, tell(REMOTE, HOST, 99)).reason == "HINT_STALE"
    assert host.run("endpoint", sent(REMOTE)).reason == "SENT_SWITCH"


@pytest.mark.parametrize("generation", [0, 5, 6])
def test_hint_that_it_is_gone_forgets_whatever_the_generation(
    host: Host, uplink: str, generation: int
) -> None:
    host.location(REMOTE, STRANGER, generation=5)
    outcome = host.run(uplink, tell(REMOTE, STRANGER, generation, GONE))
    assert outcome.reason == "HINT_TAKEN"
    assert host.located(REMOTE) is None


def test_gone_from_where_it_no_longer_was_is_no_news(host: Host, uplink: str) -> None:
    host.location(REMOTE, PEER, generation=5)
    assert host.run(uplink, tell(REMOTE, STRANGER, 9, GONE)).reason == "HINT_STALE"
    assert host.located(REMOTE).host == mapped(PEER)
    assert host.run(uplink, tell(REMOTE6, STRANGER, 9, GONE)).reason == "HINT_STALE"


def test_hint_from_outside_the_underlay_is_refused(host: Host, uplink: str) -> None:
    content = geneve(b"", hint(REMOTE, PEER, 1), flags=CONTROL)
    outcome = host.run(uplink, arrived(content, source="198.51.100.9"))
    assert outcome.reason == "UNDERLAY_SOURCE"
    assert host.located(REMOTE) is None
