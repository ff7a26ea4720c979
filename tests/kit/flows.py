"""Flows between a lab's endpoints: numbered datagrams in one direction, records over TCP."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator

import labkit

from mizar.datapath import namespaces
from mizar.lab import fleet

VPC = """
kind: VPC
metadata: {name: ways, tenant: blue}
spec: {cidrs: [10.64.0.0/16, "fd64::/48"]}
---
kind: Network
metadata: {name: one, tenant: blue}
spec: {vpc: ways, cidrs: [10.64.1.0/24, "fd64:0:0:1::/64"]}
---
kind: Network
metadata: {name: two, tenant: blue}
spec: {vpc: ways, cidrs: [10.64.2.0/24, "fd64:0:0:2::/64"]}
---
"""


def address(lab: fleet.Lab, name: str, family: int = 4) -> str:
    """An endpoint's own address of an IP family."""
    tenant, _, short = name.partition("/")
    for found in lab.all_of("Endpoint"):
        if (found.metadata.tenant, found.metadata.name) == (tenant, short):
            addresses = found.status.addresses
            return next(a for a in addresses if ipaddress.ip_address(a).version == family)
    raise LookupError(name)


def switches(lab: fleet.Lab, network: str) -> list[str]:
    """Hosts that hold the transit switch of a network of tenant blue."""
    found = (n for n in lab.all_of("Network") if n.metadata.tenant == "blue")
    return next(list(n.status.switches) for n in found if n.metadata.name == network)


def others(lab: fleet.Lab, network: str) -> list[str]:
    """Hosts that hold none."""
    holding = switches(lab, network)
    return [host.name for host in lab.layout.hosts if host.name not in holding]


def udp_socket(netns: str, family: int = 4) -> socket.socket:
    """A socket of that namespace."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with namespaces.entered(netns):
        return socket.socket(kind, socket.SOCK_DGRAM)


class Datagrams:
    """A UDP flow of numbered datagrams; the receiver never answers.

    ``sent``: number -> time of sending. ``arrived``: number -> time of arrival, once `drain`
    or `wait` has seen it. ``size``: bytes of UDP payload.
    """

    def __init__(
        self, lab: fleet.Lab, source: str, target: str, family: int = 4, size: int = 64
    ) -> None:
        self.sent: dict[int, float] = {}
        self.arrived: dict[int, float] = {}
        self._size = size
        self._sender = udp_socket(lab.netns(source), family)
        self._receiver = udp_socket(lab.netns(target), family)
        self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._receiver.setblocking(False)
        where = address(lab, target, family)
        self._receiver.bind(("::" if family == 6 else "", 0))
        self._target = (where, self._receiver.getsockname()[1])

    def __enter__(self) -> Datagrams:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def listen_in(self, netns: str, family: int = 4) -> None:
        """The receiver's place from now on: where the endpoint is after a move."""
        self.drain()
        moved = udp_socket(netns, family)
        moved.setblocking(False)
        moved.bind(("::" if family == 6 else "", self._target[1]))
        self._receiver.close()
        self._receiver = moved

    def send(self, count: int = 1, pause_s: float = 0.0) -> list[int]:
        """Sends the next ``count``; their numbers."""
        numbers = list(range(len(self.sent), len(self.sent) + count))
        for number in numbers:
            self.sent[number] = time.monotonic()
            # A host that knows the way no more says so by ICMP: an error of a later call.
            with contextlib.suppress(OSError):
                self._sender.sendto(struct.pack("!Q", number).ljust(self._size, b"."), self._target)
            time.sleep(pause_s)
        return numbers

    def send_for(self, seconds: float, pause_s: float = 0.01) -> list[int]:
        """Sends all the time; the numbers."""
        end, numbers = time.monotonic() + seconds, []
        while time.monotonic() < end:
            numbers += self.send(1, pause_s)
        return numbers

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._receiver.recv(1 << 16)
                assert len(data) == self._size
                self.arrived.setdefault(struct.unpack_from("!Q", data)[0], time.monotonic())

    def wait(self, numbers: list[int], timeout_s: float = 2.0) -> list[int]:
        """Waits for these; those that didn't come."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.drain()
            missing = [number for number in numbers if number not in self.arrived]
            if not missing or time.monotonic() > deadline_s:
                return missing
            time.sleep(0.005)

    @contextlib.contextmanager
    def going_on(self, pause_s: float = 0.01) -> Iterator[None]:
        """Sends and receives beside the block."""
        stop = threading.Event()

        def keep_on() -> None:
            while not stop.is_set():
                self.send(1, pause_s)
                self.drain()

        thread = threading.Thread(target=keep_on)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class Stream:
    """A TCP connection from an endpoint to another that carries numbered records all the time.

    ``records``: how many have arrived, in order and whole, so far. ``failure``: what ended it.
    """

    def __init__(self, lab: fleet.Lab, source: str, target: str, family: int = 4) -> None:
        where = address(lab, target, family)
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        with namespaces.entered(lab.netns(target)):
            listener = socket.create_server((where, 0), family=kind)
        with listener:
            with namespaces.entered(lab.netns(source)):
                self._client = socket.create_connection(listener.getsockname()[:2], timeout=10)
            self._server, _ = listener.accept()
        self.records = 0
        self.sent = 0
        self.failure: OSError | None = None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._write, self._read)]

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _write(self) -> None:
        try:
            while not self._stop.is_set():
                self._client.sendall(struct.pack("!Q", self.sent).ljust(1000, b"."))
                self.sent += 1
                time.sleep(0.002)
            self._client.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.failure = error

    def _read(self) -> None:
        held = b""
        self._server.settimeout(20)
        try:
            while data := self._server.recv(1 << 16):
                held += data
                while len(held) >= 1000:
                    record, held = held[:1000], held[1000:]
                    assert record == struct.pack("!Q", self.records).ljust(1000, b".")
                    self.records += 1
        except OSError as error:
            self.failure = error


def wait_direct(lab: fleet.Lab, flow: Datagrams, host: str) -> None:
    """Sends until a datagram leaves ``host`` on the direct path."""

    def direct() -> bool:
        before = labkit.packets(lab, host)["SENT_DIRECT"]
        flow.send()
        return labkit.packets(lab, host)["SENT_DIRECT"] > before

    labkit.until(direct, f"the direct path from {host}")
