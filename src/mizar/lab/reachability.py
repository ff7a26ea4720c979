"""Who reaches whom, by real pings and TCP connections, all at once.

Every endpoint pings and connects to every address of every VPC once, no retry of a
ping. In its own VPC the address's endpoint must answer, and name itself; an
address that only another VPC has must stay silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from mizar.datapath import namespaces
from mizar.lab import workloads

PORT = 7117
TIMEOUT_S = 2.0
ICMP_ECHO, ICMP_ECHO_REPLY = 8, 0


class Cell(NamedTuple):
    """What ``source`` found at an address. ``expected``, ``answered``: endpoint names or empty."""

    source: workloads.Workload
    address: str
    expected: workloads.Workload | None
    pinged: bool
    answered: str

    @property
    def ok(self) -> bool:
        if self.expected:
            return self.pinged and self.answered == self.expected.name
        return not self.pinged and not self.answered


def check(known: Sequence[workloads.Workload]) -> list[Cell]:
    """Probes every pair; takes `TIMEOUT_S` as soon as one address stays silent."""
    return asyncio.run(_check(known))


async def _check(known: Sequence[workloads.Workload]) -> list[Cell]:
    addresses = sorted({workload.address for workload in known}, key=socket.inet_aton)
    homes = {(workload.vpc, workload.address): workload for workload in known}
    async with contextlib.AsyncExitStack() as stack:
        for workload in known:
            await stack.enter_async_context(_greeting(workload))
        probes = [_probe(workload, addresses) for workload in known]
        results = await asyncio.gather(*probes)
    return [
        Cell(source, address, homes.get((source.vpc, address)), address in pinged, answers[address])
        for source, (pinged, answers) in zip(known, results, strict=True)
        for address in addresses
        if address != source.address
    ]


@contextlib.asynccontextmanager
async def _greeting(workload: workloads.Workload) -> AsyncIterator[None]:
    """Tells the endpoint's name to whoever connects."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(workload.name.encode())
        writer.close()
        await writer.wait_closed()

    listener = _socket(workload, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((workload.address, PORT))
    async with await asyncio.start_server(greet, sock=listener):
        yield


async def _probe(
    source: workloads.Workload, addresses: Sequence[str]
) -> tuple[set[str], dict[str, str]]:
    """The addresses that answered the ping, and what each told by TCP."""
    pinged = asyncio.ensure_future(_ping(source, addresses))
    told = await asyncio.gather(*(_connect(source, address) for address in addresses))
    return await pinged, dict(zip(addresses, told, strict=True))


async def _connect(source: workloads.Workload, address: str) -> str:
    connection = _socket(source, socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, (address, PORT))
            return (await loop.sock_recv(connection, 256)).decode()
    except (TimeoutError, OSError):
        return ""
    finally:
        connection.close()


async def _ping(source: workloads.Workload, addresses: Sequence[str]) -> set[str]:
    """One echo request to each address; those whose reply came."""
    answered: set[str] = set()
    icmp = _socket(source, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    try:
        loop = asyncio.get_running_loop()
        for address in addresses:
            await loop.sock_sendto(icmp, _echo(ICMP_ECHO), (address, 0))
        async with asyncio.timeout(TIMEOUT_S):
            while len(answered) < len(addresses):
                packet, (sender, _) = await loop.sock_recvfrom(icmp, 2048)
                header = (packet[0] & 0xF) * 4
                if packet[header] == ICMP_ECHO_REPLY:
                    answered.add(sender)
    except TimeoutError:
        pass
    finally:
        icmp.close()
    return answered


def _socket(workload: workloads.Workload, kind: int, protocol: int = 0) -> socket.socket:
    """A socket belongs to the namespace it was made in, whoever uses it afterwards."""
    with namespaces.entered(workload.netns):
        made = socket.socket(socket.AF_INET, kind, protocol)
    made.setblocking(False)
    return made


def _echo(kind: int) -> bytes:
    """ICMP message with a checksum (RFC 792): identifier and sequence 0, no data."""
    return struct.pack("!BBHHH", kind, 0, ~(kind << 8) & 0xFFFF, 0, 0)
