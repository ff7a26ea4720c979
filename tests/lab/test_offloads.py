"""Large packets: whole where the wire carries them whole, joined again where it can't."""

import socket
import threading

import labkit
import pytest

from mizar.datapath import namespaces
from mizar.lab import fleet

TRANSFER_BYTES = 32 << 20
WHOLE = 60_000


def test_64_kb_packets_stay_whole(lab: fleet.Lab) -> None:
    sender, receiver = lab.workload("blue/web1"), lab.workload("blue/web3")
    leaving = labkit.Capture(sender.netns, "eth0", outgoing=True)
    wire = labkit.Capture(lab.netns("underlay"), sender.host, outgoing=False)
    arriving = labkit.Capture(receiver.netns, "eth0", outgoing=False)
    with leaving, wire, arriving:
        assert transfer(sender.netns, receiver.netns, receiver.address) == TRANSFER_BYTES
    mode = lab.layout.hosts[0].mode
    assert max(leaving.lengths) > WHOLE
    if mode == "tcx":
        assert max(wire.lengths) > WHOLE
        assert max(arriving.lengths) > WHOLE
    else:
        assert max(wire.lengths) <= lab.layout.mtu
        assert max(arriving.lengths) > 10 * lab.layout.mtu


@pytest.mark.parametrize("pair", [("blue/web1", "blue/db2"), ("blue/web1", "blue/web2")])
def test_every_byte_arrives(lab: fleet.Lab, pair: tuple[str, str]) -> None:
    source, target = lab.workload(pair[0]), lab.workload(pair[1])
    assert transfer(source.netns, target.netns, target.address) == TRANSFER_BYTES


def transfer(source: str, target: str, address: str) -> int:
    """Sends over TCP from a namespace to another; the bytes that arrived, checked."""
    with namespaces.entered(target):
        listener = socket.create_server((address, 0))
    with listener:
        port = listener.getsockname()[1]
        sending = threading.Thread(target=send, args=(source, address, port))
        sending.start()
        connection, _ = listener.accept()
        received = 0
        with connection:
            while data := connection.recv(1 << 20):
                assert data == bytes(len(data))
                received += len(data)
        sending.join()
    return received


def send(netns: str, address: str, port: int) -> None:
    with namespaces.entered(netns):
        connection = socket.create_connection((address, port), timeout=5)
    with connection:
        connection.sendall(bytes(TRANSFER_BYTES))
