"""Endpoints created and deleted while the fleet runs."""

import contextlib
import ipaddress
import json
import time

import labkit

from mizar.bpf import pins
from mizar.datapath import namespaces
from mizar.lab import fleet

LOCATION_FRESH_S = 1.1
"""A little more than bpf/model.h's: what was learned by then isn't used."""

Held = tuple[set[str], set[str], set[str]]


def test_ready_means_that_the_first_ping_is_answered(lab: fleet.Lab) -> None:
    asking = ["blue/web1", "blue/web3", "blue/db1", "blue/db2"]
    for number, source in enumerate(asking * 3):
        with labkit.applied(lab, labkit.endpoint(f"new{number}", "web")):
            address = lab.workload(f"blue/new{number}").address
            assert labkit.ping(lab, source, address), f"{source} to {address}"


def test_a_deleted_endpoint_leaves_no_trace(lab: fleet.Lab) -> None:
    before = settled(lab)
    with labkit.applied(lab, labkit.endpoint("brief", "web", "h2")):
        address = lab.workload("blue/brief").address
        assert labkit.ping(lab, "blue/web1", address)
        assert held(lab) != before
    labkit.until(lambda: held(lab) == before, "namespaces, links and pins as before")
    time.sleep(LOCATION_FRESH_S)
    with labkit.counted(lab) as added:
        assert not labkit.ping(lab, "blue/web1", address)
    assert added["NO_ENDPOINT"] == 1


def test_a_fixed_address_mac_namespace_and_interface_are_kept(lab: fleet.Lab) -> None:
    netns = f"{lab.layout.name}-h3-mine"
    fixed = {
        "addresses": "[10.0.1.77]",
        "mac": "02:00:00:00:00:77",
        "netns": netns,
        "interface": "net7",
    }
    with labkit.applied(lab, labkit.endpoint("fixed", "web", "h3", **fixed)):
        assert lab.workload("blue/fixed").netns == netns
        shown = lab.run_in(netns, ["ip", "-j", "address", "show", "net7"]).stdout
        (link,) = json.loads(shown)
        assert link["address"] == "02:00:00:00:00:77"
        assert [a["local"] for a in link["addr_info"] if a["family"] == "inet"] == ["10.0.1.77"]
        assert labkit.ping(lab, "blue/db1", "10.0.1.77")


def test_a_namespace_that_was_there_stays(lab: fleet.Lab) -> None:
    netns = f"{lab.layout.name}-h2-theirs"
    namespaces.create(netns)
    try:
        with labkit.applied(lab, labkit.endpoint("guest", "web", "h2", netns=netns)):
            assert labkit.ping(lab, "blue/guest", "10.0.1.11")
        labkit.until(
            lambda: "eth0" not in lab.run_in(netns, ["ip", "-o", "link"]).stdout, "eth0 gone"
        )
        assert namespaces.exists(netns)
    finally:
        namespaces.remove(netns)


def test_a_move_keeps_the_workload_and_is_over_in_a_while(lab: fleet.Lab) -> None:
    """The hosts of a lab share a kernel: the namespace, and what runs in it, stays."""
    netns = f"{lab.layout.name}-mover"
    namespaces.create(netns)
    try:
        with labkit.applied(lab, labkit.endpoint("mover", "web", "h2", netns=netns)):
            mover = lab.workload("blue/mover")
            with labkit.Pinging(lab, "blue/db2", mover.address):
                lab.apply(labkit.endpoint("mover", "web", "h3", netns=netns))
                lab.wait_ready()
                assert labkit.rows(lab, "h2")["moved"] == 2
            assert lab.workload("blue/mover").addresses == mover.addresses
            with contextlib.ExitStack() as stack:
                flows = [
                    stack.enter_context(labkit.Pinging(lab, source, address))
                    for source in ("blue/db2", "blue/web1")
                    for address in mover.addresses
                ]
            assert [flow.lost for flow in flows] == [0, 0, 0, 0], "lost after Ready"
            labkit.until(lambda: labkit.rows(lab, "h2")["moved"] == 0, "the move over")
            assert '"movedFrom": ""' in shown(lab, "mover")
    finally:
        namespaces.remove(netns)


def test_a_secondary_address_is_reached_until_it_is_given_to_another(lab: fleet.Lab) -> None:
    named = {"secondaryAddresses": '["10.0.1.200", "fd00:10:0:1::200"]'}
    plain = labkit.endpoint("first", "web", "h2") + labkit.endpoint("second", "web", "h4")
    with labkit.applied(lab, plain):
        for holder, other in (("first", "second"), ("second", "first")):
            lab.apply(
                labkit.endpoint(holder, "web", lab.workload(f"blue/{holder}").host, **named)
                + labkit.endpoint(other, "web", lab.workload(f"blue/{other}").host)
            )
            lab.wait_ready()
            for address in ("10.0.1.200/32", "fd00:10:0:1::200/128"):
                add = ["ip", "address", "add", address, "dev", "lo"]
                assert lab.run(f"blue/{holder}", add).returncode == 0
                bare = address.partition("/")[0]
                labkit.until(lambda bare=bare: labkit.ping(lab, "blue/web1", bare), f"{bare} here")
                assert labkit.ping(lab, f"blue/{holder}", "10.0.1.11", "-I", "10.0.1.200")


def test_a_network_of_ipv6_alone_is_reached_from_everywhere(lab: fleet.Lab) -> None:
    network = "kind: Network\nmetadata: {name: six, tenant: blue}\n"
    network += 'spec: {vpc: prod, cidrs: ["fd00:10:0:9::/64"]}\n---\n'
    ends = labkit.endpoint("six1", "six", "h2") + labkit.endpoint("six2", "six", "h4")
    with labkit.applied(lab, network + ends):
        assert lab.workload("blue/six1").addresses == ("fd00:10:0:9::2",)
        for source in ("blue/six1", "blue/web1", "blue/db1"):
            assert labkit.ping(lab, source, lab.workload("blue/six2").address), source
        assert labkit.ping(lab, "blue/six2", "fd00:10:0:9::1"), "the gateway"


def shown(lab: fleet.Lab, name: str) -> str:
    return labkit.mizar(lab, "get", f"endpoint/blue/{name}", "-o", "json").stdout


def test_addresses_never_handed_out(lab: fleet.Lab) -> None:
    """A /29 has five usable addresses beside its gateway; the sixth endpoint is refused."""
    network = "kind: Network\nmetadata: {name: tiny, tenant: blue}\n"
    network += "spec: {vpc: prod, cidrs: [10.0.9.0/29]}\n---\n"
    full = network + "".join(labkit.endpoint(f"tiny{i}", "tiny") for i in range(5))
    with labkit.applied(lab, full):
        given = {w.address for w in lab.workloads() if w.network == "tiny"}
        usable = [str(host) for host in ipaddress.ip_network("10.0.9.0/29").hosts()]
        assert given == set(usable[1:])
        done = labkit.mizar(lab, "apply", "-f", "-", text=labkit.endpoint("tiny5", "tiny"))
        assert done.returncode == 1
        assert "blue/tiny5" in done.stderr
        assert "10.0.9.0/29" in done.stderr


def settled(lab: fleet.Lab) -> Held:
    """What is held once nothing changes any more: an earlier test's end may still go on."""
    earlier: Held | None = None
    while earlier != (now := held(lab)):
        earlier = now
        time.sleep(0.3)
    return now


def held(lab: fleet.Lab) -> Held:
    links: set[str] = set()
    for host in lab.layout.hosts:
        shown = lab.run_in(lab.layout.netns(host.name), ["ip", "-o", "link"]).stdout
        links |= {line.split()[1] for line in shown.splitlines()}
    return (
        {path.name for path in namespaces.ROOT.glob(f"{lab.layout.name}-*")},
        links,
        labkit.tree(pins.ROOT / f"mizar-lab-{lab.layout.name}"),
    )
