"""Processes come and go; packets don't notice."""

from collections.abc import Iterator

import labkit
import pytest

from mizar.lab import fleet


@pytest.fixture
def whole(lab: fleet.Lab) -> Iterator[fleet.Lab]:
    """The lab, with every process running again afterwards."""
    yield lab
    lab.start(lab.processes)


def test_without_a_server_traffic_goes_on_and_afterwards_changes_too(whole: fleet.Lab) -> None:
    with labkit.Pinging(whole, "blue/web1", "10.0.2.12") as pinging:
        whole.stop("server")
        assert labkit.ping(whole, "blue/web2", "10.0.2.11")
        whole.start(["server"])
        with labkit.applied(whole, labkit.endpoint("late", "web", "h4")):
            assert labkit.ping(whole, "blue/db1", whole.workload("blue/late").address)
    assert pinging.sent > 20
    assert pinging.lost == 0


def test_what_was_declared_survives_the_server(whole: fleet.Lab) -> None:
    before = {r.metadata.uid: r.status for r in whole.all_of("Endpoint")}
    whole.stop("server")
    whole.start_server()
    whole.wait_ready()
    assert {r.metadata.uid: r.status for r in whole.all_of("Endpoint")} == before


def test_agents_killed_and_restarted_under_traffic_lose_nothing(whole: fleet.Lab) -> None:
    with labkit.Pinging(whole, "blue/web1", "10.0.2.12") as pinging:
        for host in ("h1", "h4"):
            whole.stop(f"agent-{host}")
        assert labkit.ping(whole, "blue/web2", "10.0.1.13")
        for host in ("h1", "h4"):
            whole.start_agent(host)
        whole.wait_hosts()
        with labkit.applied(whole, labkit.endpoint("late", "db", "h4")):
            assert labkit.ping(whole, "blue/web2", whole.workload("blue/late").address)
    assert pinging.sent > 20
    assert pinging.lost == 0


def test_an_agent_that_was_down_catches_up(whole: fleet.Lab) -> None:
    whole.stop("agent-h2")
    manifest = labkit.endpoint("late", "web", "h2")
    whole.apply(manifest)
    assert whole.run("blue/web1", ["true"]).returncode == 0
    whole.start_agent("h2")
    whole.wait_ready()
    assert labkit.ping(whole, "blue/web1", whole.workload("blue/late").address)
    whole.delete(manifest)
