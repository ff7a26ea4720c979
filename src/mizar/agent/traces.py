"""Traced packets: filters for the endpoint program, packets sent, reports of the programs.

A row of `trace_filters` marks an endpoint's packets with a number; every
program that a marked packet leaves puts an event into the ring, on whichever host it
is. Each agent sends up what its ring says.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from mizar.agent import senders
from mizar.bpf import btf
from mizar.datapath import namespaces, tables
from mizar.plan import entries, stream

FLUSH_S: Final = 0.05
SEEN_WAIT_S: Final = 0.3
ANSWER_WAIT_S: Final = 0.5
ANSWER_POLL_S: Final = 0.01
PAUSE_S: Final = 0.15  # between packets: longer than ASK_INTERVAL_NS, so that each may be answered
FILTERS_MAX: Final = 256  # endpoints traced at once on one host, by its agent
REPORTS_MAX: Final = 500  # reports of traced packets in one message; more are only counted


class Table(Protocol):
    """What is needed of the map `trace_filters`."""

    def keys(self) -> Iterable[Any]: ...
    def update(self, key: Any, value: Any) -> None: ...
    def delete(self, key: Any) -> bool: ...


class Traces:
    """``types``: of the programs' object. ``switch``: whether programs look at the filters.

    ``endpoint``: uid -> interface number and entry, None when it isn't on this
    host. ``namespace``: of an endpoint's workload. ``in_worker`` runs what
    touches the kernel, ``send`` tells the server.
    """

    def __init__(
        self,
        types: btf.Types,
        filters: Table,
        switch: Callable[[bool], None],
        endpoint: Callable[[str], tuple[int, entries.EndpointEntry] | None],
        namespace: Callable[[entries.EndpointEntry], str],
        in_worker: Callable[[Callable[[], Any]], Awaitable[Any]],
        send: Callable[[stream.FromAgent], Awaitable[None]],
    ) -> None:
        self._event = types.struct("trace_event")
        self._programs = _names(types, "program")
        self._reasons = _names(types, "reason")
        self._filters = filters
        self._switch = switch
        self._endpoint = endpoint
        self._namespace = namespace
        self._in_worker = in_worker
        self._send = send
        self._traced: set[int] = set()
        self._seen: dict[int, asyncio.Event] = {}
        self._reports: list[stream.TraceReport] = []
        self._lost = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def clear(self) -> None:
        """Removes filters that an agent before this one has left. For the worker."""
        for ifindex in list(self._filters.keys()):
            self._filters.delete(ifindex)
        self._switch(False)

    async def close(self) -> None:
        """Ends what is under way, and takes its filters away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- events ----

    def event(self, record: bytes) -> None:
        """A record of the ring. What is too much costs next to nothing: it isn't read."""
        if len(self._reports) >= REPORTS_MAX:
            self._lost += 1
            return
        event = self._event.unpack(record)
        if seen := self._seen.get(event.trace):
            seen.set()
        if not self._reports:
            asyncio.get_running_loop().call_later(FLUSH_S, self._flush)
        self._reports.append(
            stream.TraceReport(
                trace=event.trace,
                program=self._programs[event.program].lower(),
                reason=self._reasons[event.reason],
                vni=event.vni,
                ns=event.ns,
                source=_address(event.source),
                destination=_address(event.destination),
                next=_address(event.next),
            )
        )

    def _flush(self) -> None:
        told = stream.TraceReports(self._reports, self._lost)
        self._reports, self._lost = [], 0
        self._spawn(self._send(told))

    # ---- requests ----

    def take(self, request: stream.TraceRequest) -> None:
        """Does what is asked for in its own time; what came of it goes to the server."""
        self._spawn(self._answer(request))

    async def _answer(self, request: stream.TraceRequest) -> None:
        try:
            done = await self._trace(request)
        except (OSError, senders.SenderError) as error:
            done = stream.TraceDone(request.trace, error=str(error))
        await self._send(done)

    async def _trace(self, request: stream.TraceRequest) -> stream.TraceDone:
        found = self._endpoint(request.uid)
        if found is None:
            return _refused(request, "the endpoint isn't on its host yet; wait until it is Ready")
        ifindex, entry = found
        if ifindex in self._traced:
            return _refused(request, "it is being traced already; try again when that has ended")
        if len(self._traced) >= FILTERS_MAX:
            return _refused(request, f"its host traces {FILTERS_MAX} endpoints already; try later")
        self._traced.add(ifindex)
        try:
            if request.count:
                return await self._transmit(ifindex, entry, request)
            await self._in_worker(lambda: self._mark(ifindex, request, request.seconds))
            await asyncio.sleep(request.seconds)
            return stream.TraceDone(request.trace)
        finally:
            self._traced.discard(ifindex)
            await self._in_worker(lambda: self._unmark(ifindex))

    async def _transmit(
        self, ifindex: int, entry: entries.EndpointEntry, request: stream.TraceRequest
    ) -> stream.TraceDone:
        answers: list[str] = []
        source = _source(entry, request.destination)
        sender = await self._in_worker(lambda: self._open(entry, source, request))
        with contextlib.closing(sender):
            port = sender.source_port
            for number in range(request.count):
                one = _numbered(request, number, port)
                mark = functools.partial(self._mark, ifindex, one, ANSWER_WAIT_S)
                try:
                    await self._in_worker(mark)
                    await self._send_one(sender, number, one.trace)
                finally:
                    await self._in_worker(lambda: self._unmark(ifindex))
                answers.append(await _answered(sender))
                await asyncio.sleep(PAUSE_S if len(answers) < request.count else 0)
        return stream.TraceDone(request.trace, answers, "", source, port)

    async def _send_one(self, sender: senders.Sender, number: int, trace: int) -> None:
        """Returns when the endpoint program has reported it (or hasn't in time)."""
        self._seen[trace] = asyncio.Event()
        try:
            await self._in_worker(lambda: sender.send(number))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._seen[trace].wait(), SEEN_WAIT_S)
        finally:
            del self._seen[trace]

    # ---- in the worker ----

    def _open(
        self, entry: entries.EndpointEntry, source: str, request: stream.TraceRequest
    ) -> senders.Sender:
        with namespaces.entered(self._namespace(entry)):
            return senders.Sender(
                source,
                request.destination,
                request.protocol,
                request.source_port,
                request.destination_port,
                request.bytes,
            )

    def _mark(self, ifindex: int, request: stream.TraceRequest, seconds: float) -> None:
        destination = tables.address_bytes(request.destination) if request.destination else b""
        row = (
            request.trace,
            request.protocol,
            bytes(3),
            request.source_port,
            request.destination_port,
            0,
            destination.ljust(16, b"\0"),
            time.monotonic_ns() + int(seconds * 1e9),
        )
        self._filters.update(ifindex, row)
        self._switch(True)

    def _unmark(self, ifindex: int) -> None:
        self._filters.delete(ifindex)
        if not self._traced:
            self._switch(False)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _answered(sender: senders.Sender) -> str:
    """What came back for the packet sent last, empty for nothing."""
    for _ in range(round(ANSWER_WAIT_S / ANSWER_POLL_S)):
        if heard := sender.heard():
            return heard
        await asyncio.sleep(ANSWER_POLL_S)
    return ""


def _numbered(request: stream.TraceRequest, number: int, port: int) -> stream.TraceRequest:
    """The filter of one packet sent: it has a number of its own, and a known source port."""
    return msgspec.structs.replace(request, trace=request.trace + number, source_port=port)


def _source(entry: entries.EndpointEntry, destination: str) -> str:
    version = ipaddress.ip_address(destination).version
    for address in entry.addresses:
        if ipaddress.ip_address(address).version == version:
            return address
    raise senders.SenderError(f"the endpoint has no IPv{version} address to send from")


def _refused(request: stream.TraceRequest, why: str) -> stream.TraceDone:
    return stream.TraceDone(request.trace, error=why)


def _names(types: btf.Types, enum: str) -> dict[int, str]:
    """Number -> name without the enum's own, which every name begins with."""
    found = types.enum(enum).items()
    return {number: name.removeprefix(f"{enum.upper()}_") for name, number in found}


def _address(packed: bytes) -> str:
    return tables.address_text(packed) if any(packed) else ""
