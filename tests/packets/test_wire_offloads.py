"""A checksum left to the hardware: a workload says where it is written, after all checks."""

import socket
import struct
from collections.abc import Iterator

import pytest
import wire

from mizar.datapath import namespaces

A, B = "10.0.0.11", "10.0.0.12"
SOL_PACKET, PACKET_VNET_HDR, NEEDS_CHECKSUM = 263, 15, 1
ETH_P_ALL, ETH_P_IP = 3, 0x0800
MARK = b"whose?"
IP_AT, UDP_AT = 14, 34


@pytest.fixture(scope="module")
def hosts() -> Iterator[wire.Wire]:
    """With XDP the uplinks have no offload of checksums: the kernel writes them there."""
    with wire.wired("xdp") as made:
        yield made


@pytest.mark.parametrize(
    ("start", "offset"),
    [
        pytest.param(20, 8, id="source"),
        pytest.param(20, 12, id="destination"),
        pytest.param(UDP_AT, 0, id="source port"),
        pytest.param(UDP_AT, 2, id="destination port"),
    ],
)
def test_nothing_that_was_judged_is_written_over(hosts: wire.Wire, start: int, offset: int) -> None:
    assert hosts.ping(A, B) == 3
    before = hosts.counters(1)["MALFORMED"][0]
    assert arrived(hosts, left_to_hardware(hosts, start, offset)) == []
    assert hosts.counters(1)["MALFORMED"][0] == before + 1


def test_where_checksums_are_it_is_written(hosts: wire.Wire) -> None:
    assert hosts.ping(A, B) == 3
    (frame,) = arrived(hosts, left_to_hardware(hosts, UDP_AT, 6))
    assert frame[IP_AT + 12 : IP_AT + 16] == socket.inet_aton(A)
    assert frame[UDP_AT + 6 : UDP_AT + 8] != bytes(2)


def left_to_hardware(hosts: wire.Wire, start: int, offset: int) -> bytes:
    """virtio_net_hdr (virtio 1.2, 5.1.6) and a datagram from A to B that is right as it is."""
    with namespaces.entered(hosts.endpoint(A)):
        source = bytes.fromhex(wire.hardware_address("eth0").replace(":", ""))
    addresses = socket.inet_aton(A) + socket.inet_aton(B)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(MARK), 0, 0, 64, 17, 0) + addresses
    udp = struct.pack("!HHHH", 4000, 53, 8 + len(MARK), 0)
    frame = bytes(6) + source + struct.pack("!H", ETH_P_IP) + ip + udp + MARK
    return struct.pack("<BBHHHH", NEEDS_CHECKSUM, 0, 0, 0, start, offset) + frame


def arrived(hosts: wire.Wire, packet: bytes) -> list[bytes]:
    """The packet's likes among B's next frames, of which the last is a ping's."""
    with raw(hosts, B, ETH_P_ALL) as receiver, raw(hosts, A, ETH_P_IP) as sender:
        sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sender.send(packet)
        assert hosts.ping(A, B) == 3
        receiver.setblocking(False)
        frames = []
        while True:
            try:
                frames.append(receiver.recv(2048))
            except BlockingIOError:
                return [frame for frame in frames if frame.endswith(MARK)]


def raw(hosts: wire.Wire, address: str, protocol: int) -> socket.socket:
    with namespaces.entered(hosts.endpoint(address)):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind(("eth0", protocol))
    return made
