"""After the first packets of a flow, hosts talk to each other and transit is left alone."""

from __future__ import annotations

import contextlib
import operator
import signal
import time
from collections.abc import Iterator, Mapping

import flows
import labkit
import pytest

from mizar.lab import fleet

ASK_S, FRESH_S = 0.5, 1.0
"""bpf/model.h's LOCATION_ASK_NS and LOCATION_FRESH_NS."""

TRIES = 4
SMALL = {4: 64, 6: 64}
WHOLE = {4: 1442 - 28, 6: 1442 - 48}
"""Bytes of UDP payload by family; with its headers the whole of an endpoint's MTU."""


@pytest.fixture(scope="module")
def pair(lab: fleet.Lab) -> Iterator[tuple[str, str]]:
    """Hosts of blue/from and blue/to: none holds the network's switch, for a holder asks itself."""
    with labkit.applied(lab, flows.VPC):
        sending, receiving = flows.others(lab, "one")
        places = labkit.endpoint("from", "one", sending) + labkit.endpoint("to", "one", receiving)
        with labkit.applied(lab, places):
            yield sending, receiving


Flows = list[flows.Datagrams]


@contextlib.contextmanager
def both_families(lab: fleet.Lab, payload: Mapping[int, int] = SMALL) -> Iterator[Flows]:
    """A flow from blue/from to blue/to in each family."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(flows.Datagrams(lab, "blue/from", "blue/to", family, size))
            for family, size in payload.items()
        ]


def send(each: Flows, count: int = 1, pause_s: float = 0.0) -> int:
    """Sends in every flow and waits until all has come; how many that were."""
    sent = 0
    for _ in range(count):
        numbers = [flow.send()[0] for flow in each]
        sent += len(numbers)
        time.sleep(pause_s)
    for flow in each:
        assert flow.wait([*flow.sent]) == []
    return sent


def look_up(lab: fleet.Lab, host: str, each: Flows) -> dict[str, int]:
    """A datagram in every flow after a long silence, and what it led to once HINTs have come."""
    time.sleep(1.2 * FRESH_S)
    so_far = learned(lab, host)
    with labkit.counted(lab) as added:
        send(each)
        labkit.until(lambda: learned(lab, host) == so_far + len(each), "a HINT for each")
    return added


def steadily(lab: fleet.Lab, each: Flows, count: int) -> tuple[int, dict[str, int]]:
    """Sends 100 times a second; tried again if the machine made a pause that counts as silence."""
    for _ in range(TRIES):
        with labkit.counted(lab) as added:
            began_s = time.monotonic()
            sent = send(each, count, pause_s=0.01)
        times = [at for at in each[0].sent.values() if at >= began_s]
        if max(map(operator.sub, times[1:], times)) < ASK_S / 2:
            break
    return sent, added


def learned(lab: fleet.Lab, host: str) -> int:
    return labkit.packets(lab, host)["HINT_TAKEN"]


@pytest.mark.parametrize("target", ["blue/web3", "blue/db2"])
def test_no_packet_takes_transit_once_the_ends_know_each_other(lab: fleet.Lab, target: str) -> None:
    address = lab.workload(target).address
    assert (
        lab.run("blue/web1", ["ping", "-c", "3", "-i", "0.1", "-W", "1", address]).returncode == 0
    )
    with labkit.counted(lab) as added:
        done = lab.run("blue/web1", ["ping", "-q", "-c", "100", "-i", "0.01", address])
    assert done.returncode == 0
    assert labkit.by_transit(added) == 0
    assert added["SENT_DIRECT"] >= 200


@pytest.mark.parametrize("payload", [SMALL, WHOLE], ids=["small", "whole MTU"])
def test_a_flow_in_one_direction_takes_transit_no_more_either(
    lab: fleet.Lab, pair: tuple[str, str], payload: Mapping[int, int]
) -> None:
    """Longer than a location stays fresh: it is the ASKs that keep the flow direct."""
    with both_families(lab, payload) as each:
        first = look_up(lab, pair[0], each)
        sent, rest = steadily(lab, each, 180)
    assert first["SENT_SWITCH"] == first["SENT_LOOKUP"] == first["LOOKUP_ANSWERED"] == 2
    assert first["DELIVERED"] == 2
    assert labkit.by_transit(rest) == rest["SENT_LOOKUP"] == 0
    assert rest["SENT_DIRECT"] == rest["DELIVERED"] == sent
    assert rest["SENT_ASK"] == rest["ASK_ANSWERED"] == rest["HINT_TAKEN"]
    assert 2 * 3 <= rest["SENT_ASK"] <= 2 * 8


def test_tcp_takes_transit_no_more(lab: fleet.Lab, pair: tuple[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(flows.Stream(lab, "blue/from", "blue/to", family))
            for family in SMALL
        ]
        labkit.until(lambda: all(stream.records > 100 for stream in streams), "records")
        with labkit.counted(lab) as added:
            time.sleep(1.5 * FRESH_S)
    assert labkit.by_transit(added) == added["SENT_LOOKUP"] == 0
    assert added["SENT_DIRECT"] > 500
    assert [stream.failure for stream in streams] == [None, None]
    assert [stream.records for stream in streams] == [stream.sent for stream in streams]


def test_a_flow_that_pauses_asks_and_one_that_was_silent_for_long_looks_up_again(
    lab: fleet.Lab, pair: tuple[str, str]
) -> None:
    with both_families(lab) as each:
        for _ in range(TRIES):
            late = look_up(lab, pair[0], each)
            began_s = time.monotonic()
            time.sleep(1.4 * ASK_S)
            so_far = learned(lab, pair[0])
            with labkit.counted(lab) as asking:
                send(each)
                labkit.until(lambda n=so_far: learned(lab, pair[0]) == n + 2, "two answers")
            if time.monotonic() - began_s < FRESH_S:
                break
        with labkit.counted(lab) as then:
            send(each, count=20)
    assert late["SENT_SWITCH"] == late["SENT_LOOKUP"] == late["LOOKUP_ANSWERED"] == 2
    assert asking["SENT_DIRECT"] == asking["SENT_ASK"] == asking["ASK_ANSWERED"] == 2
    assert labkit.by_transit(asking) == labkit.by_transit(then) == 0


def test_without_agents_flows_stay_direct(lab: fleet.Lab, pair: tuple[str, str]) -> None:
    for host in pair:
        lab.stop(f"agent-{host}", signal.SIGKILL)
    try:
        with both_families(lab) as each:
            look_up(lab, pair[0], each)
            sent, added = steadily(lab, each, 140)
    finally:
        lab.start(lab.processes)
    assert labkit.by_transit(added) == 0
    assert added["SENT_DIRECT"] == sent
    assert added["SENT_ASK"] >= 2
