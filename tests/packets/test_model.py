"""The compiled programs against the reference model: random tables, random packets, no difference.

How many packets were compared, and their spread over programs and reasons, is printed (`-s`).
"""

import collections
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backplane
import bulk
import comparison
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mizar.datapath import reasons
from mizar.datapath.reference import constants, outcome, packets, uplink
from mizar.datapath.reference.tables import HostConfig, Tables, address

PACKETS = 20_000
NOT_BY_TEST_RUN = {"LOST", "REDIRECT_FAILED"}  # a test run only notes redirects
SEEDS_MORE_MAX = 400  # tables without a configuration, say, are one in a hundred
SEEDS = settings(
    # test_run refuses some packets: a tenth more than would be needed without.
    max_examples=PACKETS * 11 // 10 // bulk.PACKETS_A_SEED,
    deadline=None,
    database=None,
    # One seed is as simple as another: `comparison.reduced` makes what fails smaller.
    phases=[Phase.generate],
)
BPF = Path(__file__).resolve().parents[2] / "bpf"


@pytest.fixture(scope="module")
def kernel() -> Iterator[comparison.Kernel]:
    with comparison.one_cpu(), comparison.loaded_kernel() as kernel:
        yield kernel


@pytest.mark.timeout(600)
def test_programs_and_model_agree_and_every_reason_is_met(kernel: comparison.Kernel) -> None:
    tally: collections.Counter[tuple[str, str]] = collections.Counter()

    @SEEDS
    @given(seed=st.integers(0, (1 << 48) - 1))
    def agree(seed: int) -> None:
        bulk.examine(kernel, seed, bulk.PACKETS_A_SEED, tally)

    agree()
    print(f"\n{tally.total()} packets compared\n{bulk.spread(tally)}")
    assert tally.total() >= PACKETS
    for seed in range(SEEDS_MORE_MAX):
        if missing(tally) == NOT_BY_TEST_RUN:
            break
        bulk.examine(kernel, seed, bulk.PACKETS_A_SEED, tally)
    assert missing(tally) == NOT_BY_TEST_RUN


def missing(tally: collections.Counter[tuple[str, str]]) -> set[str]:
    """Reasons that no packet met."""
    return {reason.name for reason in reasons.REASONS} - {reason for _, reason in tally}


# ---- the comparison itself ----

CLONE = outcome.Clone(constants.MARK_ASK, b"copy")
SAME = comparison.Seen(
    counted=(("SENT_DIRECT", 1, 60),),
    events=(comparison.Event(5, 3, "SENT_DIRECT", 7, 1, bytes(16)),),
    action=7,
    packet=bytes(12) + b"packet",
    metadata=b"",
    clones=(CLONE,),
    written={"locations": {1: (2,)}, "error_budgets": {}, "drops": {}},
)


@pytest.mark.parametrize(
    "other",
    [
        {"counted": (("SENT_DIRECT", 1, 60), ("NO_ROUTE", 1, 60))},
        {"counted": (("SENT_DIRECT", 1, 61),)},
        {"counted": ()},
        {"events": ()},
        {"action": 2},
        {"packet": bytes(12) + b"Packet"},
        {"packet": bytes(12) + b"packet\0"},
        {"metadata": b"more"},
        {"clones": ()},
        {"clones": (CLONE._replace(mark=constants.MARK_LOOKUP),)},
        {"written": {**SAME.written, "locations": {}}},
        {"written": {**SAME.written, "locations": {1: (3,)}}},
        {"written": {**SAME.written, "drops": {(0, 0, 0): 1}}},
    ],
)
def test_any_difference_is_seen(other: dict[str, Any]) -> None:
    end = outcome.End("SENT_DIRECT", outcome.Way.UNDERLAY)
    assert not [*comparison.differences(SAME, SAME, end, "uplink_tcx")]
    assert [*comparison.differences(SAME._replace(**other), SAME, end, "uplink_tcx")]


def test_macs_are_compared_where_the_program_writes_them() -> None:
    end = outcome.End("SWITCHED", outcome.Way.UNDERLAY)
    other = SAME._replace(packet=b"\1" * 12 + b"packet")
    assert [*comparison.differences(other, SAME, end, "uplink_xdp")]
    assert not [*comparison.differences(other, SAME, end, "uplink_tcx")]


def test_a_difference_is_told_by_the_packet_and_the_rows_that_it_needs(
    kernel: comparison.Kernel,
) -> None:
    """The model is told of a next hop that the kernel doesn't know."""
    tables = Tables(
        host_config=HostConfig(address("192.0.2.1"), b"\2MZ\0\0\1", 1442, kernel.uplink, 1500),
        underlay_prefixes={(120, address("192.0.2.0")), (120, address("198.51.100.0"))},
        silent_holders={address("192.0.2.7"): 5},
    )
    probe = bytes.fromhex(
        "02000000000c02000000000d08004500003800004000401100000000000000000000c00017c100240000"
        "0580655800000700ff4d0804" + bytes(16).hex()
    )
    outer = probe[14:26] + bytes([192, 0, 2, 9, 192, 0, 2, 1]) + probe[34:]
    packet = probe[:14] + packets.with_ipv4_checksum(outer) + b"padding"
    context = outcome.Context(kernel.uplink, 1 << 40, next_hops={address("192.0.2.9"): b"\2" * 12})
    case = comparison.Case("uplink_xdp", tables, packet, context)
    found = comparison.fails(kernel, case)
    text = comparison.told(kernel, case, found)
    assert "program ('LEFT_TO_TCX',), model ('PROBE_ANSWERED',)" in text
    assert f"packet: {packet.hex().removesuffix(b'padding'.hex())}\n" in text
    assert "192.0.2.7" not in text
    assert "silent_holders" not in text


# ---- the model's own numbers ----


def test_constants_are_those_of_the_headers() -> None:
    text = (BPF / "model.h").read_text() + (BPF / "parse.h").read_text()
    numbers = dict(re.findall(r"^#define (\w+) (0x[0-9a-f]+|[0-9]+)(?:ULL)?\b", text, re.M))
    told = {
        "GENEVE_OPTION_CLASS": constants.GENEVE_CLASS,
        "IP_BYTES_READ": constants.HEADERS_READ - 14,
    }
    own = {name: value for name, value in vars(constants).items() if name in numbers}
    assert len(own) > 15
    assert {**own, **told} == {name: int(numbers[name], 0) for name in {**own, **told}}


def test_limits_options_and_layouts_are_those_of_the_objects() -> None:
    types = backplane.built("uplink")[0].types
    limits = types.enum("limit")
    assert limits["LIMIT_GENEVE_OPTIONS"] == constants.GENEVE_OPTIONS_MAX
    assert limits["LIMIT_EXTENSION_HEADERS"] == constants.EXTENSION_HEADERS_MAX
    for name, number in types.enum("geneve_option_type").items():
        assert getattr(constants, name.removeprefix("OPTION_")) == number
    returned = types.enum("returned").items()
    assert {k.removeprefix("RETURNED_"): n for k, n in returned} == constants.RETURNED_NUMBERS
    assert types.enum("transit_kind") == {
        "TRANSIT_SWITCH": constants.SWITCH,
        "TRANSIT_ROUTER": constants.ROUTER,
    }
    row = (constants.HANDOVER_MAGIC, 7, bytes(range(16)), 42, 9)
    assert types.struct("handover").encode(row) == struct.pack(uplink.HANDOVER, *row)
