"""What Mizar says of packets is what happens to them: lost ones, explained ones, traced ones."""

import json
import socket
import time
from typing import Any

import labkit
import pytest
import test_drops

from mizar.agent import plumbing
from mizar.datapath import namespaces
from mizar.datapath.reference import constants
from mizar.lab import fleet


def lost(lab: fleet.Lab, *options: str) -> list[dict[str, object]]:
    """What `mizar drops` says."""
    done = labkit.mizar(lab, "drops", "-o", "json", *options)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def spoof(lab: fleet.Lab, endpoint: str, source: str, target: str, count: int = 1) -> None:
    with namespaces.entered(lab.netns(endpoint)):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for _ in range(count):
            raw.sendto(test_drops.ipv4(source, target), (target, 0))


def test_spoofed_packets_are_shown_live_with_host_endpoint_and_reason(lab: fleet.Lab) -> None:
    chosen = ("--endpoint", "blue/web1", "--reason", "SPOOFED_ADDRESS")
    spoof(lab, "blue/web1", "10.0.1.12", "10.0.2.12")
    labkit.until(lambda: lost(lab, *chosen), "a row")
    before = int(str(lost(lab, *chosen)[0]["packets"]))
    spoof(lab, "blue/web1", "10.0.1.12", "10.0.2.12", 5)
    sent = time.monotonic()
    labkit.until(
        lambda: any(int(str(row["packets"])) >= before + 5 for row in lost(lab, *chosen)),
        "five more",
    )
    assert time.monotonic() - sent < 5
    [row] = lost(lab, *chosen)
    assert row["host"] == lab.workload("blue/web1").host
    assert (row["tenant"], row["vpc"]) == ("blue", "prod")
    assert (row["source"], row["destination"]) == ("10.0.1.12", "10.0.2.12")
    assert row["seen"]
    [twin] = lost(lab, "--endpoint", "green/web1", "--reason", "SPOOFED_ADDRESS") or [{}]
    assert twin.get("packets", 0) != row["packets"]


def test_the_drops_of_a_deleted_endpoint_go_with_it(lab: fleet.Lab) -> None:
    with labkit.applied(lab, labkit.endpoint("spoofer", "web", "h2")):
        spoof(lab, "blue/spoofer", "10.0.1.12", "10.0.2.12")
        labkit.until(lambda: lost(lab, "--endpoint", "blue/spoofer"), "a row")
    labkit.until(
        lambda: not [row for row in lost(lab, "--host", "h2") if row["endpoint"] == "spoofer"],
        "no row",
    )


CASES = {
    "same host": ("blue/web1", "blue/web2"),
    "via switch": ("blue/web3", "blue/web1"),
    "via router and switch": ("blue/db2", "blue/web2"),
    "unknown address": ("blue/web1", "10.0.1.250"),
    "unknown network": ("blue/web1", "10.0.77.1"),
    "an address of another VPC": ("blue/web1", "10.0.1.99"),
    "the gateway": ("blue/web1", "10.0.1.1"),
}


def known(lab: fleet.Lab, command: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `mizar explain` or `mizar trace`."""
    done = labkit.mizar(lab, command, *words, "-o", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def traced(answer: dict[str, Any], packet: int) -> set[tuple[str, str, str]]:
    """(host, program, reason) of one packet's steps."""
    steps = [one["step"] for one in answer["trace"]["steps"] if one["packet"] == packet]
    return {(step["host"], step["program"], step["reason"]) for step in steps}


def explained(course: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(step["host"], step["program"], step["reason"]) for step in course["steps"]}


def rested() -> None:
    """Waits until no host believes what it has learned of places."""
    time.sleep(constants.LOCATION_FRESH_NS / 1e9 + 0.1)


@pytest.mark.parametrize("case", CASES)
def test_what_explain_says_is_what_happens_to_real_packets(lab: fleet.Lab, case: str) -> None:
    source, target = CASES[case]
    rested()
    code, answer = known(lab, "trace", source, target, "--count", "3")
    _, explanation = known(lab, "explain", source, target)
    assert answer["explanation"] == explanation
    assert traced(answer, 1) == explained(explanation["first"])
    for packet in (2, 3):
        assert traced(answer, packet) == explained(explanation["next"])
    arrives = explanation["first"]["verdict"] in ("delivered", "answered")
    assert (code == 0) is arrives
    assert [heard == "echo reply" for heard in answer["trace"]["answers"]] == [arrives] * 3


def test_a_sender_is_told_though_the_table_without_an_entry_is_its_hosts(lab: fleet.Lab) -> None:
    """A packet to nobody, by a router elsewhere and the switch that the sender's host holds."""
    sender = lab.workload("blue/web1").host
    for last in range(100, 250):
        address = f"10.0.2.{last}"
        _, answer = known(lab, "explain", "blue/web1", address)
        hosts = [step["host"] for step in answer["first"]["steps"]]
        if hosts[0] == hosts[-1] == sender != hosts[1]:
            break
    else:
        pytest.fail("no address of this network takes that way")
    _, answer = known(lab, "trace", "blue/web1", address)
    assert answer["trace"]["answers"] == ["ICMP 3/1 (host unreachable) from 10.0.1.1"] * 2


def test_the_ways_are_those_that_their_names_say(lab: fleet.Lab) -> None:
    """So that the cases above don't all walk one way."""
    reasons = {}
    for case, (source, target) in CASES.items():
        _, answer = known(lab, "explain", source, target)
        reasons[case] = {step["reason"] for step in answer["first"]["steps"]}
    assert reasons["same host"] == {"DELIVERED_SAME_HOST"}
    assert reasons["via switch"] & {"SENT_SWITCH", "SWITCHED"}
    assert reasons["via router and switch"] & {"SENT_ROUTER", "ROUTED"}
    assert "NO_ENDPOINT" in reasons["unknown address"]
    assert "NO_NETWORK" in reasons["unknown network"]
    assert "NO_ENDPOINT" in reasons["an address of another VPC"]
    assert reasons["the gateway"] == {"ECHO_ANSWERED"}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_trace_of_a_connectionless_kind_names_what_answered(
    lab: fleet.Lab, protocol: str
) -> None:
    words = ("blue/web1", "blue/db2", "--proto", protocol, "--port", "9", "--count", "1")
    code, answer = known(lab, "trace", *words)
    assert code == 0
    [heard] = answer["trace"]["answers"]
    expected = {"tcp": "RST: nobody listens there", "udp": "(port unreachable)"}[protocol]
    assert expected in heard


def test_a_packet_that_is_too_big_is_explained_and_traced_alike(lab: fleet.Lab) -> None:
    manifest = labkit.endpoint("large", "web", "h2")
    with labkit.applied(lab, manifest):
        uid = next(e for e in lab.all_of("Endpoint") if e.metadata.name == "large").metadata.uid
        # The host's end would drop a frame larger than its own MTU before the program sees it.
        ends = [("h2", plumbing.interface_name(uid)), ("blue/large", "eth0")]
        for place, interface in ends:
            set_mtu = ["ip", "link", "set", interface, "mtu", "1500"]
            assert lab.run_in(lab.netns(place), set_mtu).returncode == 0
        words = ("blue/large", "blue/db2", "--size", "1443", "--count", "1")
        code, answer = known(lab, "trace", *words)
    assert code == 1
    assert traced(answer, 1) == {("h2", "endpoint", "TOO_BIG")}
    assert explained(answer["explanation"]["first"]) == traced(answer, 1)
    assert answer["trace"]["answers"] == ["ICMP 3/4 (fragmentation needed) from 10.0.1.1"]


def test_a_packet_larger_than_the_workloads_own_mtu_never_leaves_it(lab: fleet.Lab) -> None:
    done = labkit.mizar(lab, "trace", "blue/web1", "blue/db2", "--size", "1443")
    assert done.returncode == 1
    assert "its kernel refused it, Mizar never saw it" in done.stderr


def test_live_packets_that_match_are_marked_and_others_are_not(lab: fleet.Lab) -> None:
    other = labkit.Pinging(lab, "blue/web1", "10.0.1.13")
    with other, labkit.Pinging(lab, "blue/web1", "10.0.2.12"):
        words = ("blue/web1", "10.0.2.12", "--proto", "icmp", "--live", "--seconds", "0.5")
        done = labkit.mizar(lab, "trace", *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert {step["destination"] for step in steps} == {"10.0.2.12"}
    ends = {(step["step"]["host"], step["step"]["reason"]) for step in steps}
    assert (lab.workload("blue/db2").host, "DELIVERED") in ends
    assert not labkit.tracing(lab)


DUAL = """\
kind: Tenant
metadata: {name: six}
---
kind: VPC
metadata: {name: prod, tenant: six}
spec: {cidrs: [10.0.0.0/16, "fd00:6::/48"]}
---
kind: Network
metadata: {name: web, tenant: six}
spec: {vpc: prod, cidrs: [10.0.1.0/24, "fd00:6:0:1::/64"]}
---
kind: Network
metadata: {name: db, tenant: six}
spec: {vpc: prod, cidrs: ["fd00:6:0:2::/64"]}
---
"""


def test_explain_and_trace_agree_over_ipv6(lab: fleet.Lab) -> None:
    manifest = DUAL + labkit.endpoint("web1", "web", "h1", tenant="six")
    manifest += labkit.endpoint("db1", "db", "h4", tenant="six")
    with labkit.applied(lab, manifest):
        rested()
        for target, arrives in (("db1", True), ("fd00:6:0:2::99", False)):
            code, answer = known(lab, "trace", "six/web1", target)
            explanation = answer["explanation"]
            assert ":" in explanation["flow"]["source"]
            assert traced(answer, 1) == explained(explanation["first"])
            assert traced(answer, 2) == explained(explanation["next"])
            assert (code == 0) is arrives
            heard = "echo reply" if arrives else "ICMP 1/3 (address unreachable)"
            assert all(told.startswith(heard) for told in answer["trace"]["answers"])


def test_what_the_uplink_itself_drops_is_a_row_of_the_host(lab: fleet.Lab) -> None:
    """The program counted it as sent; the cable was out.

    Not all that is lost so is counted there: what waits for a next hop isn't.
    """
    host = lab.workload("blue/web1").host
    target = lab.workload("blue/db2").address
    chosen = ("--host", host, "--reason", "UPLINK_TX_DROPPED")
    before = sum(int(str(row["packets"])) for row in lost(lab, *chosen))
    with labkit.counted(lab, host) as added:
        plug(lab, host, "down")
        try:
            lab.run("blue/web1", ["ping", "-q", "-c", "5", "-i", "0.1", "-W", "1", target])
        finally:
            plug(lab, host, "up")
    assert added["SENT_DIRECT"] + labkit.by_transit(added) >= 5
    labkit.until(
        lambda: sum(int(str(row["packets"])) for row in lost(lab, *chosen)) > before,
        "drops of the uplink",
    )


def test_what_the_kernel_drops_after_the_program_is_a_row_of_the_host(lab: fleet.Lab) -> None:
    """A host that the underlay has no route to: the program counted packets to it as sent."""
    source, target = lab.workload("blue/web1"), lab.workload("blue/db2")
    place = next(h.address for h in lab.layout.hosts if h.name == target.host)
    chosen = ("--host", source.host, "--reason", "LOST")
    before = sum(int(str(row["packets"])) for row in lost(lab, *chosen))
    route = ["ip", "route", "add", "unreachable", place]
    try:
        assert lab.run_in(lab.netns(source.host), route).returncode == 0
        code, answer = known(lab, "trace", "blue/web1", "blue/db2", "--count", "3")
    finally:
        route[2] = "del"
        lab.run_in(lab.netns(source.host), route)
    assert code == 1
    # Those that go by transit arrive, the first one and any after a long pause.
    assert {source.host} in [{host for host, _, _ in traced(answer, n)} for n in (1, 2, 3)]
    labkit.until(
        lambda: sum(int(str(row["packets"])) for row in lost(lab, *chosen)) > before, "lost packets"
    )


def plug(lab: fleet.Lab, host: str, state: str) -> None:
    """The underlay's end of a host's uplink."""
    done = lab.run_in(lab.netns("underlay"), ["ip", "link", "set", host, state])
    assert done.returncode == 0, done.stderr
