"""What Mizar says of packets is what happens to them: lost ones."""

import json
import socket
import time

import labkit
import test_drops

from mizar.datapath import namespaces
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
    assert row["seen"]
    [twin] = lost(lab, "--endpoint", "green/web1", "--reason", "SPOOFED_ADDRESS") or [{}]
    assert twin.get("packets", 0) != row["packets"]


def test_the_drops_of_a_deleted_endpoint_go_with_it(lab: fleet.Lab) -> None:
    with labkit.applied(lab, labkit.endpoint("spoofer", "web", "h2")):
        spoof(lab, "blue/spoofer", "10.0.1.12", "10.0.2.12")
        labkit.until(lambda: lost(lab, "--endpoint", "blue/spoofer"), "a row")
    labkit.until(lambda: not lost(lab, "--endpoint", "blue/spoofer"), "no row")
    assert not [row for row in lost(lab, "--host", "h2") if row["endpoint"] == "spoofer"]
