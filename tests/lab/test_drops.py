"""What is dropped is counted, under the reason that says why."""

import socket
import struct

import labkit
import pytest

from mizar.datapath import namespaces
from mizar.lab import fleet

GENEVE = 6081


def test_a_spoofed_address_is_dropped_at_its_host(lab: fleet.Lab) -> None:
    with namespaces.entered(lab.netns("blue/web1")):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw, labkit.counted(lab) as added:
        raw.sendto(ipv4("10.0.1.12", "10.0.2.12"), ("10.0.2.12", 0))
    assert added["SPOOFED_ADDRESS"] == 1
    assert added["DELIVERED"] == 0


def test_a_spoofed_mac_is_dropped_at_its_host(lab: fleet.Lab) -> None:
    source, target = lab.workload("blue/web1"), lab.workload("blue/web3")
    frame = bytes.fromhex("020000000001 020000000002 0800") + ipv4(source.address, target.address)
    with namespaces.entered(source.netns):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw, labkit.counted(lab) as added:
        raw.bind(("eth0", 0))
        raw.send(frame)
    assert added["SPOOFED_MAC"] == 1


@pytest.mark.parametrize(
    ("address", "reason"),
    [("10.0.1.250", "NO_ENDPOINT"), ("10.0.77.1", "NO_NETWORK"), ("192.0.2.1", "NO_NETWORK")],
)
def test_a_packet_to_nowhere_is_dropped_where_it_is_known(
    lab: fleet.Lab, address: str, reason: str
) -> None:
    with labkit.counted(lab) as added:
        assert not labkit.ping(lab, "blue/web1", address)
    assert added[reason] == 1 + added["SENT_LOOKUP"], "the packet, and the question about it"


def test_geneve_from_outside_the_underlay_is_dropped(lab: fleet.Lab) -> None:
    """The server's subnet is none that hosts were declared to live in."""
    host = lab.layout.hosts[0]
    with namespaces.entered(lab.netns("server")):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, labkit.counted(lab, host.name) as added:
        sender.sendto(bytes.fromhex("0000655800000100") + bytes(60), (host.address, GENEVE))
    assert added["UNDERLAY_SOURCE"] == 1


def test_what_a_workload_with_its_interface_down_loses_is_counted(lab: fleet.Lab) -> None:
    with labkit.applied(lab, labkit.endpoint("asleep", "web", "h3")):
        assert labkit.ping(lab, "blue/web1", lab.workload("blue/asleep").address)
        assert lab.run("blue/asleep", ["ip", "link", "set", "eth0", "down"]).returncode == 0
        with labkit.counted(lab, "h3") as added:
            assert not labkit.ping(lab, "blue/web1", lab.workload("blue/asleep").address)
    assert added["LOST"] == added["DELIVERED"] == 1


def ipv4(source: str, target: str) -> bytes:
    """A header and eight bytes of protocol 253 (RFC 3692: for experiments)."""
    fields = (0x45, 0, 28, 0, 0, 64, 253, 0, socket.inet_aton(source), socket.inet_aton(target))
    header = struct.pack("!BBHHHBBH4s4s", *fields)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack("!H", checksum) + header[12:] + bytes(8)
