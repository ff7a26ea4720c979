"""Endpoints move, hosts die, addresses are used again: who sends finds the new place."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import flows
import labkit
import pytest

from mizar.datapath import namespaces
from mizar.lab import fleet

TAKEN_OVER_S = 1.0
FOUND_S = 2.0


@pytest.fixture(scope="module")
def vpc(lab: fleet.Lab) -> Iterator[None]:
    with labkit.applied(lab, flows.VPC):
        yield


@pytest.fixture
def kept(lab: fleet.Lab) -> Iterator[str]:
    """A namespace of the workload's own, which stays when its endpoint moves."""
    name = f"{lab.layout.name}-h1-kept"
    namespaces.create(name)
    lab.run_in(name, ["ip", "link", "set", "lo", "up"])
    yield name
    namespaces.remove(name)


@pytest.mark.parametrize("family", [4, 6])
def test_an_endpoint_moves_under_running_flows(
    lab: fleet.Lab, vpc: None, kept: str, family: int
) -> None:
    """From a host without a switch to another; one peer is on the old host, one elsewhere."""
    switch, old, new = flows.switches(lab, "one")[0], *flows.others(lab, "one")
    peers = labkit.endpoint("near", "one", old) + labkit.endpoint("far", "one", switch)
    moving = labkit.endpoint("moving", "one", old, netns=kept)
    with labkit.applied(lab, peers + moving), contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(flows.Stream(lab, *ends, family))
            for ends in (
                ("blue/far", "blue/moving"),
                ("blue/moving", "blue/far"),
                ("blue/near", "blue/moving"),
            )
        ]
        one_way = stack.enter_context(flows.Datagrams(lab, "blue/near", "blue/moving", family))
        labkit.until(lambda: all(stream.records > 50 for stream in streams), "records")
        lab.apply(labkit.endpoint("moving", "one", new, netns=kept))
        lab.wait_ready()
        assert lab.workload("blue/moving").host == new
        numbers = one_way.send_for(2.0, pause_s=0.002)
        assert one_way.wait(numbers) == []
        before = [stream.records for stream in streams]
        labkit.until(
            lambda: all(s.records > n + 50 for s, n in zip(streams, before, strict=True)),
            "records after the move",
        )
        with labkit.counted(lab) as added:
            time.sleep(0.5)
    assert [stream.failure for stream in streams] == [None, None, None]
    assert [stream.records for stream in streams] == [stream.sent for stream in streams]
    assert labkit.by_transit(added) == added["FORWARDED"] == 0


def test_a_transit_host_dies_and_others_take_over_without_the_server(
    lab: fleet.Lab, vpc: None
) -> None:
    dead, sending, receiving = flows.switches(lab, "one")[0], *flows.others(lab, "one")
    count = 12
    manifest = "".join(
        labkit.endpoint(f"from{n}", "one", sending) + labkit.endpoint(f"to{n}", "one", receiving)
        for n in range(count)
    )
    with labkit.applied(lab, manifest), contextlib.ExitStack() as stack:
        pairs = [
            stack.enter_context(flows.Datagrams(lab, f"blue/from{n}", f"blue/to{n}"))
            for n in range(count)
        ]
        running = pairs.pop()
        flows.wait_direct(lab, running, sending)
        with killed(lab, dead), running.going_on():
            lab.stop("server")
            time.sleep(TAKEN_OVER_S)
            for pair in pairs:
                assert pair.wait(pair.send()) == []
        assert running.wait(list(running.sent)) == []


@pytest.mark.parametrize("how", ["moved", "created again"])
def test_a_host_dies_and_peers_find_its_endpoint_elsewhere(
    lab: fleet.Lab, vpc: None, how: str
) -> None:
    switch, dead = flows.switches(lab, "one")[0], flows.others(lab, "one")[0]
    peers = [flows.others(lab, "one")[1], switch]
    fixed = {"addresses": '[10.64.1.200, "fd64:0:0:1::200"]'}
    manifest = "".join(labkit.endpoint(f"peer{n}", "one", at) for n, at in enumerate(peers))
    lost = labkit.endpoint("lost", "one", dead, **fixed)
    with labkit.applied(lab, manifest + lost), contextlib.ExitStack() as stack:
        sent = [
            stack.enter_context(flows.Datagrams(lab, f"blue/peer{n}", "blue/lost", family))
            for n, family in enumerate((4, 6))
        ]
        flows.wait_direct(lab, sent[0], peers[0])
        with killed(lab, dead), contextlib.ExitStack() as going:
            for flow in sent:
                going.enter_context(flow.going_on())
            time.sleep(0.3)
            if how == "created again":
                lab.delete(lost)
            lab.apply(labkit.endpoint("lost", "one", peers[0], **fixed))
            applied_s = time.monotonic()
            netns = lab.workload("blue/lost").netns
            labkit.until(lambda: namespaces.exists(netns), "the endpoint's namespace")
            for flow, family in zip(sent, (4, 6), strict=True):
                flow.listen_in(netns, family)
            labkit.until(
                lambda: all(has_arrived_since(flow, applied_s) for flow in sent),
                "datagrams at the new place",
            )
        for flow in sent:
            first_s = min(at for at in flow.arrived.values() if at > applied_s)
            assert first_s - applied_s < FOUND_S


def test_an_address_used_again_is_where_it_is_now(lab: fleet.Lab, vpc: None) -> None:
    """Deleted here and at once created there: what was learned leads nobody astray for long."""
    old, new = flows.others(lab, "one")
    peers = "".join(
        labkit.endpoint(f"peer{n}", "one", at)
        for n, at in enumerate([flows.switches(lab, "one")[0], new, old])
    )
    fixed = {"addresses": '[10.64.1.201, "fd64:0:0:1::201"]'}
    first = labkit.endpoint("first", "one", old, **fixed)
    second = labkit.endpoint("second", "one", new, **fixed)
    with labkit.applied(lab, peers), contextlib.ExitStack() as stack:
        lab.apply(first)
        lab.wait_ready()
        for flow in [flows.Datagrams(lab, f"blue/peer{n}", "blue/first") for n in range(3)]:
            with flow:
                assert flow.wait(flow.send(3, 0.02)) == []
        lab.delete(first)
        with labkit.applied(lab, second):
            again = [
                stack.enter_context(flows.Datagrams(lab, f"blue/peer{n}", "blue/second"))
                for n in range(3)
            ]
            for flow in again:
                flow.send()
            time.sleep(0.05)
            for flow in again:
                assert flow.wait(flow.send(5)) == []


def test_a_vpc_made_anew_has_nothing_to_do_with_the_old_one(lab: fleet.Lab, vpc: None) -> None:
    old, new = flows.others(lab, "one")
    scene = flows.VPC.replace("ways", "brief").replace("name: one", "name: lone")
    scene = scene.partition("kind: Network\nmetadata: {name: two")[0]
    ends = labkit.endpoint("ask", "lone", new) + labkit.endpoint("told", "lone", old)
    numbers = []
    for _ in range(2):
        with labkit.applied(lab, scene), labkit.applied(lab, ends):
            with flows.Datagrams(lab, "blue/ask", "blue/told") as flow:
                assert flow.wait(flow.send()) == []
            (found,) = [v for v in lab.all_of("VPC") if v.metadata.name == "brief"]
            numbers.append(found.status.vni)
        ends = ends.replace(f"host: {old}", f"host: {new}")
    assert numbers[0] != numbers[1]


def has_arrived_since(flow: flows.Datagrams, since_s: float) -> bool:
    return any(at > since_s for at in [*flow.arrived.values()])


@contextlib.contextmanager
def killed(lab: fleet.Lab, host: str) -> Iterator[None]:
    """The host's wire is cut and its agent ended; afterwards all of the lab runs again."""
    underlay = lab.netns("underlay")
    assert lab.run_in(underlay, ["ip", "link", "set", host, "down"]).returncode == 0
    lab.stop(f"agent-{host}", signal.SIGKILL)
    try:
        yield
    finally:
        lab.run_in(underlay, ["ip", "link", "set", host, "up"])
        lab.start(lab.processes)
