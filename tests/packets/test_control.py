"""Control messages: answered in their place, sent on or sent back; both programs."""

import pytest
from backplane import (
    A6,
    A_GENERATION,
    A_IDENTITY,
    HOST,
    PEER,
    PEER_MAC,
    REMOTE,
    REMOTE6,
    STRANGER,
    SUBNET,
    SUBNET6,
    VERDICTS,
    A,
    Host,
    mapped,
)
from frames import (
    ASK,
    CONTROL,
    ECHO,
    LOOKUP,
    PROBE,
    RETURNED,
    arrived,
    ask,
    control,
    geneve,
    hint,
    identity,
    inner,
    lookup,
    option,
    origin,
    told,
    trace,
    tunnelled,
)

NONCE = b"noncense"
FAMILIES = [(REMOTE, A, SUBNET), (REMOTE6, A6, SUBNET6)]
GONE = 1


def verdict(program: str, name: str) -> int:
    return VERDICTS["xdp" if program == "uplink_xdp" else "tc"][name]


def answered(host: Host, program: str, packet: bytes, reason: str) -> bytes:
    """What left instead of the packet, after its Ethernet header."""
    outcome = host.run(program, packet)
    assert (outcome.reason, outcome.action) == (reason, verdict(program, "ANSWERED"))
    if program == "uplink_xdp":
        assert outcome.packet[:6].hex(":") == PEER_MAC
    return outcome.packet[14:]


def ended(host: Host, program: str, packet: bytes) -> str:
    """The reason of a packet that ends here, unchanged."""
    outcome = host.run(program, packet)
    assert (outcome.action, outcome.packet) == (verdict(program, "DROP"), packet)
    return outcome.reason


# ---- PROBE ----


@pytest.mark.parametrize("complete", [0, 1])
@pytest.mark.parametrize("before", [b"", identity(5) + option(77, b"abcd")])
def test_probe_comes_back_as_echo(host: Host, uplink: str, complete: int, before: bytes) -> None:
    host.configure(tables_complete=complete)
    body = NONCE + b"\xff\xff\xff\xff" + b"kept"
    got = answered(
        host,
        uplink,
        control(before + option(PROBE, body), sport=51234, ttl=3, tos=8),
        "PROBE_ANSWERED",
    )
    echo = before + option(ECHO, NONCE + bytes(3) + bytes([complete]) + b"kept")
    content = geneve(b"", echo, flags=CONTROL)
    back = arrived(content, source=HOST, destination=PEER, port=51234, sport=6081, tos=8)
    assert got == back[14:]


def test_probe_with_checksum_comes_back_without(host: Host, uplink: str) -> None:
    packet = bytearray(control(option(PROBE, NONCE + bytes(8))))
    packet[40:42] = b"\x12\x34"
    assert answered(host, uplink, bytes(packet), "PROBE_ANSWERED")[26:28] == bytes(2)


def test_probe_of_an_unresolved_host_is_left_to_tcx_as_it_was(host: Host) -> None:
    packet = control(option(PROBE, NONCE + bytes(8)), source=STRANGER)
    outcome = host.run("uplink_xdp", packet)
    assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)
    assert host.run("uplink_tcx", packet).reason == "PROBE_ANSWERED"


# ---- ASK ----


@pytest.mark.parametrize(("source", "endpoint", "_subnet"), FAMILIES)
def test_ask_about_an_endpoint_here(
    host: Host, uplink: str, source: str, endpoint: str, _subnet: str
) -> None:
    got = answered(host, uplink, ask(inner(source, endpoint), sport=51234), "ASK_ANSWERED")
    expected = hint(endpoint, HOST, A_GENERATION, number=A_IDENTITY)
    assert got == told(PEER, expected, sport=51234)


@pytest.mark.parametrize(("source", "endpoint", "_subnet"), FAMILIES)
def test_ask_about_an_endpoint_that_moved(
    host: Host, uplink: str, source: str, endpoint: str, _subnet: str
) -> None:
    host.moved(source, STRANGER, generation=9, identity=77)
    got = answered(host, uplink, ask(inner(endpoint, source)), "ASK_ANSWERED")
    assert got == told(PEER, hint(source, STRANGER, 9, number=77))


def test_ask_about_an_endpoint_that_came_back(host: Host, uplink: str) -> None:
    host.moved(A, STRANGER, generation=9)
    got = answered(host, uplink, ask(inner()), "ASK_ANSWERED")
    assert got == told(PEER, hint(A, HOST, A_GENERATION, number=A_IDENTITY))


@pytest.mark.parametrize(("source", "endpoint", "_subnet"), FAMILIES)
def test_ask_about_an_endpoint_that_is_gone(
    host: Host, uplink: str, source: str, endpoint: str, _subnet: str
) -> None:
    host.switch_endpoint(source, STRANGER)
    got = answered(host, uplink, ask(inner(endpoint, source)), "ASK_ANSWERED")
    assert got == told(PEER, hint(source, HOST, 0, GONE))


def test_answer_is_cut_to_a_hint(host: Host, uplink: str) -> None:
    assert len(host.run(uplink, ask(inner(payload=bytes(400)))).packet) == 98


def test_quote_of_a_longer_packet_is_read(host: Host, uplink: str) -> None:
    for whole in (inner(payload=bytes(1000)), inner(REMOTE6, A6, bytes(1000))):
        assert host.run(uplink, ask(whole[: 14 + 128])).reason == "ASK_ANSWERED"


def test_ask_shorter_than_its_answer(host: Host, uplink: str) -> None:
    assert ended(host, uplink, ask(inner()[: 14 + 20])) == "TRUNCATED"
    assert host.run(uplink, ask(inner()[: 14 + 22])).reason == "ASK_ANSWERED"


def test_answer_to_an_unresolved_host_is_left_to_tcx_as_it_was(host: Host) -> None:
    packet = ask(inner(), source=STRANGER)
    outcome = host.run("uplink_xdp", packet)
    assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)
    got = host.run("uplink_tcx", packet)
    assert got.packet[14:] == told(STRANGER, hint(A, HOST, A_GENERATION, number=A_IDENTITY))


# ---- LOOKUP ----


@pytest.mark.parametrize(("source", "endpoint", "_subnet"), FAMILIES)
@pytest.mark.parametrize("ttl", [64, 48, 1])
def test_lookup_of_an_endpoint_here_tells_its_origin(
    host: Host, uplink: str, source: str, endpoint: str, _subnet: str, ttl: int
) -> None:
    packet = lookup(inner(source, endpoint), PEER, source="192.0.2.200", ttl=ttl)
    got = answered(host, uplink, packet, "LOOKUP_ANSWERED")
    assert got == told(PEER, hint(endpoint, HOST, A_GENERATION, number=A_IDENTITY))


def test_lookup_that_came_straight_tells_its_sender(host: Host, uplink: str) -> None:
    packet = control(identity(5) + option(LOOKUP, b""), inner(), ttl=49)
    got = answered(host, uplink, packet, "LOOKUP_ANSWERED")
    assert got == told(PEER, hint(A, HOST, A_GENERATION, number=A_IDENTITY))


def test_lookup_of_unknown_origin_has_no_answer(host: Host, uplink: str) -> None:
    packet = control(identity(5) + option(LOOKUP, b""), inner(), ttl=48)
    assert ended(host, uplink, packet) == "NOT_HERE"


def test_lookup_shorter_than_its_answer(host: Host, uplink: str) -> None:
    packet = control(option(LOOKUP, b""), inner()[: 14 + 20])
    assert len(packet) == 88
    assert ended(host, uplink, packet) == "TRUNCATED"


@pytest.mark.parametrize(("endpoint", "source", "subnet"), FAMILIES)
@pytest.mark.parametrize("table", ["switch", "router", "moved"])
def test_lookup_goes_on_to_where_the_tables_say(
    host: Host, uplink: str, endpoint: str, source: str, subnet: str, table: str
) -> None:
    content = inner(source, endpoint)
    if table == "moved":
        host.moved(endpoint, PEER)
        host.switch_endpoint(endpoint, STRANGER)
    elif table == "switch":
        host.switch_endpoint(endpoint, PEER)
    else:
        host.router(subnet, PEER)
    outcome = host.run(uplink, lookup(content, source=STRANGER))
    reason = {"switch": "SWITCHED", "router": "ROUTED", "moved": "FORWARDED"}[table]
    assert (outcome.reason, outcome.action) == (reason, verdict(uplink, "PASS"))
    onward = lookup(content, source=HOST, destination=PEER, ttl=48)
    assert outcome.packet[14:] == onward[14:]


def test_lookup_that_goes_round_ends(host: Host, uplink: str) -> None:
    host.switch_endpoint(REMOTE, PEER)
    assert ended(host, uplink, lookup(inner(A, REMOTE), ttl=16)) == "TRANSIT_LOOP"


def nowhere_switch(host: Host) -> None:
    host.switch(SUBNET)


def nowhere_router(host: Host) -> None:
    host.router("0.0.0.0/0")


RETURNS = [
    ("NO_ENDPOINT", 1, nowhere_switch),
    ("NO_NETWORK", 2, nowhere_router),
    ("NOT_HERE", 3, lambda host: None),
    ("NOT_HERE", 3, lambda host: host.switch_endpoint(REMOTE, HOST)),
]


@pytest.mark.parametrize(("reason", "number", "given"), RETURNS)
def test_lookup_that_no_table_knows_comes_back(
    host: Host, uplink: str, reason: str, number: int, given: object
) -> None:
    given(host)  # type: ignore[operator]
    content = inner(A, REMOTE)
    got = answered(
        host, uplink, lookup(content, PEER, source=STRANGER, ttl=48, sport=51234), reason
    )
    options = option(RETURNED, number.to_bytes(4, "big")) + origin(PEER) + option(LOOKUP, b"")
    back = control(options, content, source=HOST, destination=PEER, sport=51234)
    assert got == back[14:]


@pytest.mark.parametrize(
    "options",
    [
        identity(5) + option(LOOKUP, b""),
        origin(PEER) + identity(5) + option(LOOKUP, b""),
        option(1, b"abcd", 0x0101) + identity(5) + origin(PEER) + option(LOOKUP, b""),
    ],
)
def test_lookup_that_cant_come_back_just_ends(host: Host, uplink: str, options: bytes) -> None:
    assert ended(host, uplink, control(options, inner(A, REMOTE), ttl=48)) == "NOT_HERE"


def test_return_to_an_unresolved_host_is_left_to_tcx_as_it_was(host: Host) -> None:
    packet = lookup(inner(A, REMOTE))
    outcome = host.run("uplink_xdp", packet)
    assert (outcome.reason, outcome.packet) == ("LEFT_TO_TCX", packet)
    outcome = host.run("uplink_tcx", packet)
    assert (outcome.reason, outcome.action) == ("NOT_HERE", verdict("uplink_tcx", "ANSWERED"))


# ---- what a control message is, and isn't ----


@pytest.mark.parametrize("first", ["ask", "probe"])
def test_first_control_option_says_what_it_is(host: Host, uplink: str, first: str) -> None:
    both = {"ask": option(ASK, b""), "probe": option(PROBE, bytes(16))}
    rest = next(body for name, body in both.items() if name != first)
    outcome = host.run(uplink, control(both[first] + rest, inner()))
    assert outcome.reason == f"{first.upper()}_ANSWERED"


def test_control_options_without_the_flag_say_nothing(host: Host, uplink: str) -> None:
    packet = tunnelled(identity(5) + option(PROBE, bytes(16)) + option(ASK, b""))
    assert host.run(uplink, packet).reason in ("STRIPPED", "DELIVERED")


@pytest.mark.parametrize("options", [b"", identity(5), option(ECHO, bytes(16)), option(11, b"")])
def test_echo_and_the_unknown_are_dropped(host: Host, uplink: str, options: bytes) -> None:
    assert ended(host, uplink, control(options, inner())) == "CONTROL_UNKNOWN"


@pytest.mark.parametrize("kind", [ASK, LOOKUP])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "TRUNCATED"),
        (inner()[:13], "TRUNCATED"),
        (inner()[:33], "TRUNCATED"),
        (inner(REMOTE6, A6)[:53], "TRUNCATED"),
        (inner()[:12] + b"\x08\x06" + inner()[14:], "NOT_IP"),
        (inner(version=6), "MALFORMED"),
        (inner(len=19), "MALFORMED"),
        (inner(REMOTE6, A6, version=4), "MALFORMED"),
        (inner(REMOTE6, "::ffff:10.0.0.11"), "MARTIAN"),
        (inner("::ffff:10.0.0.99", A6), "MARTIAN"),
    ],
)
def test_message_about_no_packet(
    host: Host, uplink: str, kind: int, content: bytes, reason: str
) -> None:
    options = identity(5) + origin(PEER) + option(kind, b"")
    assert ended(host, uplink, control(options, content)) == reason


@pytest.mark.parametrize("kind", [ASK, LOOKUP])
def test_padding_of_the_frame_is_no_part_of_the_message(host: Host, uplink: str, kind: int) -> None:
    options = identity(5) + origin(PEER) + option(kind, b"")
    assert ended(host, uplink, control(options, inner()[:30]) + inner()[30:]) == "TRUNCATED"


@pytest.mark.parametrize("kind", [LOOKUP, ASK, RETURNED, PROBE, ECHO])
def test_control_option_of_a_wrong_length(host: Host, uplink: str, kind: int) -> None:
    for content in (
        geneve(inner(), option(kind, bytes(8))),
        geneve(inner(), option(kind, bytes(48))),
    ):
        assert ended(host, uplink, arrived(content)) == "GENEVE_INVALID"


def test_traced_answer_is_reported_with_the_host_it_goes_to(host: Host, uplink: str) -> None:
    host.run(uplink, control(option(ASK, b"") + trace(1234), inner()))
    (event,) = host.traced()
    assert (event.trace, event.next) == (1234, mapped(PEER))
    assert (event.source, event.destination) == (mapped(REMOTE), mapped(A))


def test_control_from_outside_the_underlay_is_refused(host: Host, uplink: str) -> None:
    for packet in (ask(inner(), source="198.51.100.9"), lookup(inner(), source="198.51.100.9")):
        assert ended(host, uplink, packet) == "UNDERLAY_SOURCE"
