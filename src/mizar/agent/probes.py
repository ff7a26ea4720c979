"""PROBEs: which transit holders answer, told to the kernel in map silent_holders.

Per pair of hosts, never per VPC. The kernel of the holder answers; a row says
until when a holder is avoided, so with no agent to renew it all count as alive
again. Figures and alternatives: docs/adr/0012-probes.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

import structlog

from mizar.bpf import btf, errors
from mizar.datapath import tables

PROBE_INTERVAL_S = 0.2
SILENT_AFTER_S = 0.6
SILENT_ROUNDS = 3
"""A holder that hears less than a PROBE each interval is given this many of them to answer."""

SILENT_LIFETIME_S = 1.5
FOLLOW_S = 1.0
PROBES_PER_S_MAX = 1000  # PROBEs that one agent sends; more holders take turns

GENEVE_PORT = 6081
GENEVE_OPTION_CLASS = 0xFF4D
HEADER = struct.Struct("!BBHI")
CONTROL = 0x80
ETHERNET = 0x6558
ECHO_COMPLETE = 1
SO_NO_CHECK = 11
DATAGRAM_BYTES = 256  # read of an answer; an ECHO has 28

NONCES = 1 << 64
NS = 1_000_000_000

log = structlog.get_logger()
Address = bytes
"""16 bytes, IPv4 as IPv4-mapped."""


class SilentHolders(Protocol):
    """What is needed of map silent_holders: 16-byte address in a tuple -> ns by the kernel."""

    def items(self) -> Iterable[tuple[tuple[Address], int]]: ...
    def update(self, key: tuple[Address], value: int) -> None: ...
    def delete(self, key: tuple[Address]) -> bool: ...


class Holder:
    """``heard_s``: when it last answered in full, or is taken to have; ``asked_s``: its turn."""

    def __init__(self, heard_s: float, silent: bool) -> None:
        self.heard_s = heard_s
        self.asked_s = -math.inf
        self.silent = silent


class Watch:
    """Who is asked when, and who is silent. Pure: times are given, in seconds."""

    def __init__(self, silent: Collection[Address] = ()) -> None:
        self._before = frozenset(silent)
        self._holders: dict[Address, Holder] = {}
        self._judged_s = math.inf

    @property
    def silent(self) -> set[Address]:
        return {address for address, holder in self._holders.items() if holder.silent}

    @property
    def interval_s(self) -> float:
        """Between two PROBEs to one holder: longer where all of them would be over the budget."""
        return max(PROBE_INTERVAL_S, len(self._holders) / PROBES_PER_S_MAX)

    def use(self, addresses: Collection[Address], now_s: float) -> None:
        """These are the holders from now on; a new one counts as an agent before left it."""
        for address in self._holders.keys() - set(addresses):
            del self._holders[address]
        for address in set(addresses) - self._holders.keys():
            self._holders[address] = Holder(now_s, address in self._before)

    def due(self, now_s: float) -> list[Address]:
        """Whom to ask in this round: those whose turn is longest ago, within the budget."""
        waited = now_s - self.interval_s * 0.99
        late = [each for each, holder in self._holders.items() if holder.asked_s <= waited]
        chosen = late[: round(PROBES_PER_S_MAX * PROBE_INTERVAL_S)]
        for address in chosen:
            # To the end of the queue, which the dictionary's order is.
            holder = self._holders[address] = self._holders.pop(address)
            holder.asked_s = now_s
        return chosen

    def heard(self, address: Address, complete: bool, now_s: float) -> None:
        """An ECHO. A holder without its whole tables is avoided as one that says nothing."""
        holder = self._holders.get(address)
        if holder is not None:
            holder.silent = not complete
            if complete:
                holder.heard_s = now_s

    def judge(self, now_s: float) -> None:
        """Finds who has been silent for too long; time in which nobody asked doesn't count.

        To be called each round, after everything that has come was `heard`.
        """
        lateness_s = max(0.0, now_s - self._judged_s - PROBE_INTERVAL_S)
        after_s = max(SILENT_AFTER_S, SILENT_ROUNDS * self.interval_s)
        for holder in self._holders.values():
            holder.heard_s = min(holder.heard_s + lateness_s, now_s)
            holder.silent |= now_s - holder.heard_s >= after_s
        self._judged_s = now_s


class Messages:
    """PROBE and ECHO as bytes: a Geneve header (RFC 8926) with the O bit and one option, no VNI."""

    def __init__(self, types: btf.Types) -> None:
        numbers = types.enum("geneve_option_type")
        option = types.struct("geneve_option")
        self._body = types.struct("probe_option")
        self._probe, self._echo = (
            HEADER.pack((option.size + self._body.size) // 4, CONTROL, ETHERNET, 0)
            + option.pack(GENEVE_OPTION_CLASS, numbers[name], self._body.size // 4)
            for name in ("OPTION_PROBE", "OPTION_ECHO")
        )

    def probe(self, nonce: bytes) -> bytes:
        return self._probe + self._body.pack(nonce, 0, 0)

    def echo(self, datagram: bytes) -> Any | None:
        """The struct probe_option of an ECHO; None for any other datagram."""
        header, body = datagram[: len(self._echo)], datagram[len(self._echo) :]
        if header != self._echo or len(body) != self._body.size:
            return None
        return self._body.unpack(body)


class Wire:
    """A UDP socket on the uplink's address, from which PROBEs go and to which ECHOs come."""

    def __init__(self, types: btf.Types, address: str) -> None:
        self.address = tables.address_bytes(address)
        self._messages = Messages(types)
        self._first = int.from_bytes(os.urandom(8))
        self._round = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        self._socket.bind((address, 0))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, holders: Collection[Address]) -> None:
        """A round of PROBEs; one that can't be sent is one that isn't answered."""
        self._round += 1
        datagram = self._messages.probe(self._nonce(self._round))
        for holder in holders:
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, (tables.address_text(holder), GENEVE_PORT))

    def answers(self) -> Iterator[tuple[Address, bool]]:
        """(holder, has its whole tables) of the ECHOs that have come to the last rounds' PROBEs."""
        rounds = range(max(self._round - SILENT_ROUNDS, 0), self._round + 1)
        awaited = {self._nonce(number) for number in rounds}
        for host, datagram in self._received():
            echo = self._messages.echo(datagram)
            if echo is not None and echo.nonce in awaited:
                yield tables.address_bytes(host), bool(echo.flags & ECHO_COMPLETE)

    def _received(self) -> Iterator[tuple[str, bytes]]:
        while True:
            try:
                datagram, (host, _) = self._socket.recvfrom(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            yield host, datagram

    def _nonce(self, number: int) -> bytes:
        """What only a host that got the round's PROBE can know."""
        return ((self._first + number) % NONCES).to_bytes(8)


class Probes:
    """Keeps map silent_holders true for the holders that this host uses."""

    def __init__(
        self, wire: Wire, rows: SilentHolders, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = wire
        self._rows = rows
        self._clock = clock
        left = {key[0]: until_ns for key, until_ns in rows.items()}
        now_ns = clock() * NS
        self._told = set(left)
        self._watch = Watch([each for each, until_ns in left.items() if until_ns >= now_ns])

    async def run(self, holders: Callable[[], Awaitable[Collection[Address]]]) -> None:
        """Probes until cancelled. ``holders``: asked each `FOLLOW_S` for those in use."""
        loop = asyncio.get_running_loop()
        self.use(await holders())
        loop.add_reader(self._wire.fileno(), self.read)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(holders))
                group.create_task(self._rounds())
        finally:
            loop.remove_reader(self._wire.fileno())
            self._wire.close()

    def use(self, holders: Collection[Address]) -> None:
        """These are the holders that this host uses; it need not ask itself."""
        self._watch.use(set(holders) - {self._wire.address}, self._clock())

    def read(self) -> None:
        """Takes the answers that have come."""
        for holder, complete in self._wire.answers():
            self._watch.heard(holder, complete, self._clock())

    def round(self) -> None:
        """Judges by what has come, tells the kernel, asks again."""
        self.read()
        now_s = self._clock()
        self._watch.judge(now_s)
        self._tell(self._watch.silent, now_s)
        self._wire.ask(self._watch.due(now_s))

    async def _rounds(self) -> None:
        while True:
            self.round()
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _follow(self, holders: Callable[[], Awaitable[Collection[Address]]]) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            self.use(await holders())

    def _tell(self, silent: set[Address], now_s: float) -> None:
        for address in self._told - silent:
            self._rows.delete((address,))
        try:
            for address in silent:
                self._rows.update((address,), int((now_s + SILENT_LIFETIME_S) * NS))
        except errors.BpfError as error:
            log.warning("not every silent holder can be avoided", reason=str(error))
        if silent != self._told:
            log.info("silent transit holders", holders=sorted(map(tables.address_text, silent)))
        self._told = silent
