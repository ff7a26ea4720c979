"""After the first packets of a flow, hosts talk to each other and transit is left alone."""

import socket

import labkit
import pytest

from mizar.datapath import namespaces
from mizar.lab import fleet


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


def test_a_flow_in_one_direction_learns_by_a_hint(lab: fleet.Lab) -> None:
    sender_host, receiver_host = hosts_without_a_switch_of(lab, "web")
    manifest = labkit.endpoint("sender", "web", sender_host)
    manifest += labkit.endpoint("receiver", "web", receiver_host)
    with labkit.applied(lab, manifest):
        sender, receiver = udp_socket(lab, "blue/sender"), udp_socket(lab, "blue/receiver")
        with sender, receiver:
            receiver.bind(("0.0.0.0", 5000))
            target = (lab.workload("blue/receiver").address, 5000)
            hints = labkit.packets(lab, sender_host)["HINT_TAKEN"]
            with labkit.counted(lab, sender_host) as first:
                sender.sendto(b"first", target)
                assert receiver.recv(100) == b"first"
                labkit.until(
                    lambda: labkit.packets(lab, sender_host)["HINT_TAKEN"] > hints, "a HINT"
                )
            with labkit.counted(lab) as rest:
                for number in range(20):
                    sender.sendto(b"%d" % number, target)
                assert [int(receiver.recv(100)) for _ in range(20)] == list(range(20))
    assert first["SENT_SWITCH"] == 1
    assert first["HINT_TAKEN"] == 1
    assert labkit.by_transit(rest) == 0
    assert rest["SENT_DIRECT"] == rest["DELIVERED"] == 20


def hosts_without_a_switch_of(lab: fleet.Lab, network: str) -> tuple[str, str]:
    """Two hosts of a fleet of four; a holder would ask its own table and need no HINT."""
    found = next(
        known
        for known in lab.all_of("Network")
        if (known.metadata.tenant, known.metadata.name) == ("blue", network)
    )
    first, second = (h.name for h in lab.layout.hosts if h.name not in found.status.switches)
    return first, second


def udp_socket(lab: fleet.Lab, endpoint: str) -> socket.socket:
    with namespaces.entered(lab.netns(endpoint)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(2)
    return made
