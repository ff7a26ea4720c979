"""Malformed packets: never an error, always one reason, and no frame of a tenant let through.

`host.run` itself asserts that each packet was counted exactly once.
"""

import backplane
from backplane import A6, PEER, REMOTE, REMOTE6, SUBNET, A, Host
from frames import (
    CONTROL,
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
    sent,
    trace,
    tunnelled,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

ANSWERS = {"PROBE_ANSWERED", "ASK_ANSWERED", "LOOKUP_ANSWERED", "RETURNED_TOLD"}
LEAVES = {
    "endpoint": {"DELIVERED_SAME_HOST", "SENT_SWITCH", "SENT_ROUTER", "ARP_ANSWERED"},
    "uplink_xdp": ANSWERS | {"STRIPPED", "SWITCHED", "LEFT_TO_TCX", "NOT_OURS"},
    "uplink_tcx": ANSWERS | {"DELIVERED", "SWITCHED", "NOT_OURS"},
}
TOLD = {"NOT_HERE", "NO_ENDPOINT", "NO_NETWORK"}
"""Dropped, and another packet may leave in its place."""

PROGRAM = st.sampled_from(["uplink_xdp", "uplink_tcx"])
FAST = settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEDS = [
    tunnelled(),
    tunnelled(identity(1) + origin(PEER) + option(77, b"abcdefgh")),
    arrived(geneve(inner("10.0.1.5", REMOTE), identity(5))),
    arrived(geneve(b"", hint(REMOTE, PEER, 3), flags=CONTROL)),
    tunnelled(identity(1) + trace(9)),
    arrived(geneve(inner(REMOTE6, A6), identity(5))),
    control(option(PROBE, bytes(16))),
    ask(inner()),
    lookup(inner(REMOTE6, A6), PEER),
    lookup(inner(A, "10.0.9.9"), PEER),
    control(option(RETURNED, bytes(4)), inner(A, REMOTE)),
]
EDIT = st.tuples(st.integers(0, 160), st.integers(0, 255))


def edited(packet: bytes, edits: list[tuple[int, int]]) -> bytes:
    changed = bytearray(packet)
    for at, value in edits:
        if at < len(changed):
            changed[at] = value
    return bytes(changed)


def readdressed(packet: bytes) -> bytes:
    """With the outer lengths and checksum right again, so that what is inside gets read."""
    return arrived(packet[42:])


@FAST
@given(
    program=PROGRAM,
    seed=st.sampled_from(SEEDS),
    edits=st.lists(EDIT, max_size=4),
    keep=st.integers(34, 200),
    mend=st.booleans(),
)
def test_arriving_packets_with_bytes_changed_or_cut_off(
    host: Host,
    program: str,
    seed: bytes,
    edits: list[tuple[int, int]],
    keep: int,
    mend: bool,
) -> None:
    host.switch(SUBNET)
    host.switch_endpoint(REMOTE, PEER)
    packet = edited(seed, edits)[:keep]
    judge(host, program, readdressed(packet) if mend and keep > 50 else packet)


@FAST
@given(
    program=PROGRAM,
    options=st.binary(max_size=252),
    words=st.integers(0, 63),
    version=st.sampled_from([0, 0, 0, 1, 3]),
    flags=st.sampled_from([0, 0x40, CONTROL]),
)
def test_arriving_options_of_any_content(
    host: Host,
    program: str,
    options: bytes,
    words: int,
    version: int,
    flags: int,
) -> None:
    content = geneve(inner(), options, version=version, flags=flags, option_bytes=words * 4)
    judge(host, program, arrived(content))


OPTION = st.builds(
    lambda kind, body, ours: option(kind, body, 0xFF4D if ours else 0x0102),
    st.sampled_from([*range(1, 11), 0x81, 0x84]),
    st.sampled_from([b"", bytes(4), bytes(16), bytes(44), bytes(124)]),
    st.booleans(),
)


@FAST
@given(program=PROGRAM, options=st.lists(OPTION, max_size=10))
def test_arriving_well_formed_options_in_any_order(
    host: Host,
    program: str,
    options: list[bytes],
) -> None:
    assume(len(b"".join(options)) <= 252)
    reason = judge(host, program, arrived(geneve(inner(), b"".join(options))))
    assert (reason in ("STRIPPED", "DELIVERED")) == readable(options)


def readable(options: list[bytes]) -> bool:
    """The options' rules, stated again: number, lengths of those known, none critical."""
    sizes = {1: 4, 2: 16, 3: 44, 4: 4, 5: 0, 6: 0, 7: 4, 8: 16, 9: 16}
    critical = any(one[2] & 0x80 for one in options)
    lengths = all(
        sizes.get(one[2], len(one) - 4) == len(one) - 4 for one in options if one[0] == 0xFF
    )
    return len(options) <= 8 and lengths and not critical


@FAST
@given(
    edits=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    keep=st.integers(34, 90),
    to=st.sampled_from([REMOTE, backplane.FAR, backplane.B]),
)
def test_departing_packets_with_bytes_changed_or_cut_off(
    host: Host,
    edits: list[tuple[int, int]],
    keep: int,
    to: str,
) -> None:
    judge(host, "endpoint", edited(sent(to), edits)[:keep])


def judge(host: Host, program: str, packet: bytes) -> str:
    """What isn't in LEAVES is dropped, and then as it came."""
    outcome = host.run(program, packet)
    dropped = {"uplink_xdp": 1, "uplink_tcx": 2, "endpoint": 2}[program]
    told = outcome.reason in TOLD and outcome.packet != packet
    assert (outcome.action != dropped) == (told or outcome.reason in LEAVES[program])
    return outcome.reason
