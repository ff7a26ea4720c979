"""A lab leaves nothing behind, whatever has crashed in it, and starts again after that."""

import labkit
import pytest

from mizar.lab import fleet, layout

NAME = labkit.lab_name("gone")


@pytest.mark.parametrize("mode", ["tcx", "xdp"])
def test_down_leaves_no_trace(mode: layout.Mode) -> None:
    named = f"theirs{NAME}"
    with fleet.Lab(NAME, hosts=2, mode=mode) as lab:
        lab.apply(two_endpoints(named))
        lab.wait_ready()
        assert labkit.ping(lab, "blue/a", lab.workload("blue/b").address)
        lab.run("blue/a", ["bash", "-c", f"exec -a {NAME} sleep 100 >/dev/null 2>&1 &"])
        made = {f"/run/netns/{named}", f"{NAME} 100 "}
        labkit.until(lambda: made <= labkit.traces(NAME), f"{made} there")
        lab.stop("agent-h1")
        lab.stop("server")
    assert labkit.traces(NAME) == set()


def test_a_lab_starts_over_what_a_crash_has_left() -> None:
    lab = fleet.Lab(NAME, hosts=2)
    try:
        lab.up()
        lab.apply(two_endpoints(""))
        lab.wait_ready()
        for process in ("server", "agent-h1", "agent-h2"):
            lab.stop(process)
        lab.up()
        assert lab.all_of("Endpoint") == []
        lab.apply(two_endpoints(""))
        lab.wait_ready()
        assert labkit.ping(lab, "blue/a", lab.workload("blue/b").address)
    finally:
        lab.down()
    assert labkit.traces(NAME) == set()


def test_a_lab_that_cannot_start_says_why_and_leaves_nothing() -> None:
    with pytest.raises(layout.LabError, match="MTU"):
        fleet.Lab(NAME, hosts=1, mtu=600).up()
    assert labkit.traces(NAME) == set()


@pytest.mark.parametrize("name", ["", "Two", "a-b", "1st", "x" * 16])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(layout.LabError, match="lower-case"):
        fleet.Lab(name)


def two_endpoints(netns: str) -> str:
    return (
        "kind: Tenant\nmetadata: {name: blue}\n---\n"
        "kind: VPC\nmetadata: {name: prod, tenant: blue}\nspec: {cidrs: [10.0.0.0/16]}\n---\n"
        "kind: Network\nmetadata: {name: web, tenant: blue}\n"
        "spec: {vpc: prod, cidrs: [10.0.1.0/24]}\n---\n"
        + labkit.endpoint("a", "web", "h1")
        + labkit.endpoint("b", "web", "h2", netns=netns)
    )
