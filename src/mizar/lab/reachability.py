"""Who reaches whom, by real pings and TCP connections, all at once.

Every endpoint pings and connects to every address, of the families that it has, of
every VPC once, with no retry of a ping. In its own VPC the address's endpoint must
answer, and name itself; an address that only another VPC has must stay silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from mizar.datapath import namespaces
from mizar.lab import workloads
from mizar.model import addresses

PORT = 7117
SILENCE_S = 1.0
"""How long an address that nobody should answer at is listened to."""

PATIENCE_S = 5.0
"""How late an answer may be: this machine may have little time for so many."""


class Echo(NamedTuple):
    """How a family pings: raw protocol, type of a request (code and all else 0) and of a reply.

    RFC 792, RFC 4443. ``headed``: the kernel hands up the reply with its IP header, and
    leaves the request's checksum to us.
    """

    family: socket.AddressFamily
    protocol: int
    request: int
    reply: int
    headed: bool


ECHOES = {
    4: Echo(socket.AF_INET, socket.IPPROTO_ICMP, 8, 0, True),
    6: Echo(socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129, False),
}


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
    """Probes every pair; takes `SILENCE_S`, or up to `PATIENCE_S` when answers are missing."""
    return asyncio.run(_check(known))


async def _check(known: Sequence[workloads.Workload]) -> list[Cell]:
    found = {address for workload in known for address in workload.addresses}
    homes = {(workload.vpc, one): workload for workload in known for one in workload.addresses}
    async with contextlib.AsyncExitStack() as stack:
        for workload in known:
            await stack.enter_async_context(_greeting(workload))
        probes = []
        for workload in known:
            patience = {
                address: PATIENCE_S if (workload.vpc, address) in homes else SILENCE_S
                for address in sorted(found, key=addresses.number)
                if addresses.of_family(workload.addresses, addresses.family(address))
                and address not in workload.addresses
            }
            probes.append(_probe(workload, patience))
        results = await asyncio.gather(*probes)
    return [
        Cell(source, address, homes.get((source.vpc, address)), address in pinged, answer)
        for source, (pinged, answers) in zip(known, results, strict=True)
        for address, answer in answers.items()
    ]


@contextlib.asynccontextmanager
async def _greeting(workload: workloads.Workload) -> AsyncIterator[None]:
    """Tells the endpoint's name to whoever connects."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(workload.name.encode())
        writer.close()
        await writer.wait_closed()

    async with contextlib.AsyncExitStack() as stack:
        for address in workload.addresses:
            listener = _socket(workload, ECHOES[addresses.family(address)].family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, PORT))
            await stack.enter_async_context(await asyncio.start_server(greet, sock=listener))
        yield


async def _probe(
    source: workloads.Workload, patience_s: Mapping[str, float]
) -> tuple[set[str], dict[str, str]]:
    """The addresses that answered the ping, and what each told by TCP."""
    pinging = [
        asyncio.ensure_future(_ping(source, echo, _of_family(patience_s, family)))
        for family, echo in ECHOES.items()
    ]
    told = await asyncio.gather(*(_connect(source, *one) for one in patience_s.items()))
    pinged = set().union(*await asyncio.gather(*pinging))
    return pinged, dict(zip(patience_s, told, strict=True))


def _of_family(patience_s: Mapping[str, float], family: int) -> dict[str, float]:
    return {one: wait_s for one, wait_s in patience_s.items() if addresses.family(one) == family}


async def _connect(source: workloads.Workload, address: str, patience_s: float) -> str:
    connection = _socket(source, ECHOES[addresses.family(address)].family)
    try:
        async with asyncio.timeout(patience_s):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, (address, PORT))
            return (await loop.sock_recv(connection, 256)).decode()
    except (TimeoutError, OSError):
        return ""
    finally:
        connection.close()


async def _ping(
    source: workloads.Workload, echo: Echo, patience_s: Mapping[str, float]
) -> set[str]:
    """One echo request to each address; those whose reply came."""
    answered: set[str] = set()
    icmp = _socket(source, echo.family, socket.SOCK_RAW, echo.protocol)
    expected = {address for address, wait_s in patience_s.items() if wait_s == PATIENCE_S}
    loop = asyncio.get_running_loop()
    try:
        for address in patience_s:
            await loop.sock_sendto(icmp, _echo(echo), (address, 0))
        async with asyncio.timeout(PATIENCE_S):
            while not expected <= answered:
                answered.add(await _reply(echo, icmp))
        async with asyncio.timeout(SILENCE_S):
            while len(answered) < len(patience_s):
                answered.add(await _reply(echo, icmp))
    except TimeoutError:
        pass
    finally:
        icmp.close()
    return answered


async def _reply(echo: Echo, icmp: socket.socket) -> str:
    """The sender of the next echo reply."""
    while True:
        packet, sender = await asyncio.get_running_loop().sock_recvfrom(icmp, 2048)
        if packet[(packet[0] & 0xF) * 4 if echo.headed else 0] == echo.reply:
            return str(sender[0])


def _socket(
    workload: workloads.Workload,
    family: socket.AddressFamily,
    kind: int = socket.SOCK_STREAM,
    protocol: int = 0,
) -> socket.socket:
    """A socket belongs to the namespace it was made in, whoever uses it afterwards."""
    with namespaces.entered(workload.netns):
        made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made


def _echo(echo: Echo) -> bytes:
    """Echo request: identifier and sequence 0, no data."""
    checksum = ~(echo.request << 8) & 0xFFFF if echo.headed else 0
    return struct.pack("!BBHHH", echo.request, 0, checksum, 0, 0)
