"""One host's agent at work: updates into the kernel, retries, healing.

All kernel state is changed in one worker thread, in order; the event loop only
talks. Stopping leaves everything in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

import structlog

from mizar import __version__
from mizar.agent import client, drops, plumbing, probes, sync, traces, uplink
from mizar.bpf import ring
from mizar.datapath import host as datapath
from mizar.datapath import interface_errors, netlink
from mizar.plan import entries, stream

log = structlog.get_logger()
T = TypeVar("T")

IDLE_S = 3600.0
REPAIR_PAUSE_S = 1.0
UPLINK_SETTLE_S = 0.2


class UplinkChangedError(Exception):
    """Another address, MTU or interface: what this agent was started with isn't true any more."""


class Host:
    """The state between the stream and the kernel; an `mizar.agent.client.Applier`."""

    def __init__(
        self,
        name: str,
        wire: uplink.Uplink,
        mode: str,
        path: datapath.Datapath,
        desired: sync.Sync,
        probing: probes.Probes,
    ) -> None:
        self._name = name
        self._wire = wire
        self._mode = mode
        self._path = path
        self._sync = desired
        self._probes = probing
        self._epoch = ""
        self._revision = 0
        self._snapshot: list[entries.Entry] = []
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="kernel")
        self._told: list[stream.Failure] = []
        self._changed = asyncio.Event()
        self._vanished: asyncio.Queue[str] = asyncio.Queue()
        self._touched = asyncio.Event()
        self._reporting = False  # the server takes reports
        reasons = [name.removeprefix("REASON_") for name in path.types.enum("reason")]
        errors = functools.partial(interface_errors.read, wire.name)
        self._drops = drops.Drops(path.maps["drops"], reasons, desired.by_interface, errors)
        self._traces: traces.Traces | None = None

    def hello(self) -> stream.Hello:
        self._snapshot = []
        self._reporting = False
        return stream.Hello(
            host=self._name,
            address=self._wire.address,
            uplink=self._wire.name,
            uplink_mode=self._mode,
            underlay_mtu=self._wire.mtu,
            version=__version__,
            epoch=self._epoch,
            revision=self._revision,
            reports=True,
        )

    async def apply(self, updates: list[stream.Update]) -> stream.Ack | None:
        try:
            await self._in_worker(lambda: self._apply(updates))
        except OSError:
            # What is in force is unclear: the next Hello asks for a snapshot.
            self._epoch, self._revision = "", 0
            raise
        self._changed.set()
        if updates[-1].reports and not self._reporting:
            self._drops.begin()
            self._reporting = True
        return None if self._snapshot else self._ack()

    def trace(self, request: stream.TraceRequest) -> None:
        if self._traces:
            self._traces.take(request)

    async def run(self, server: str) -> None:
        """Serves until cancelled, or until the uplink isn't what it was any more."""
        stream_client = client.Client(server, self)
        self._traces = self._tracing(stream_client)
        await self._in_worker(self._traces.clear)
        events = ring.Reader(self._path.maps["events"], self._traces.event)
        monitor = netlink.Monitor()
        asyncio.get_running_loop().add_reader(monitor.fileno(), self._notice, monitor)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(stream_client.run())
                group.create_task(self._retry_for_ever(stream_client))
                group.create_task(self._heal_for_ever())
                group.create_task(self._probes.run(self._holders))
                group.create_task(self._report_drops_for_ever(stream_client))
                group.create_task(self._watch_uplink())
        except* UplinkChangedError as error:
            log.warning("the uplink has changed", what=str(error.exceptions[0]))
        finally:
            asyncio.get_running_loop().remove_reader(monitor.fileno())
            monitor.close()
            events.close()
            await self._traces.close()
            self._worker.shutdown()

    def _tracing(self, stream_client: client.Client) -> traces.Traces:
        return traces.Traces(
            self._path.types,
            self._path.maps["trace_filters"],
            self._path.trace,
            self._sync.placed,
            self._sync.namespace_of,
            self._in_worker,
            stream_client.send,
        )

    def _ack(self) -> stream.Ack:
        self._told = self._sync.failures
        return stream.Ack(self._epoch, self._revision, self._told)

    async def _holders(self) -> frozenset[bytes]:
        return await self._in_worker(self._sync.holders)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _apply(self, updates: list[stream.Update]) -> None:
        """Runs of deltas as one change, the last word on each key counting."""
        upserts: dict[entries.EntryKey, entries.Entry] = {}
        deletes: set[entries.EntryKey] = set()
        for update in updates:
            if update.snapshot:
                upserts, deletes = {}, set()
                self._take_snapshot(update)
                continue
            for key in update.deletes:
                upserts.pop(key, None)
                deletes.add(key)
            for entry in update.upserts:
                upserts[entries.key_of(entry)] = entry
        if upserts or deletes:
            self._sync.apply(upserts.values(), deletes)
        if not updates[-1].more:
            self._epoch, self._revision = updates[-1].epoch, updates[-1].revision

    def _take_snapshot(self, update: stream.Update) -> None:
        self._snapshot += update.upserts
        if update.more:
            return
        self._sync.replace(self._snapshot)
        self._snapshot = []
        log.info("snapshot applied", revision=update.revision, failures=len(self._sync.failures))
        if self._path.pending:
            self._path.settle()
            self._path.attach_uplink(self._wire.ifindex, self._mode)
        self._path.complete()

    async def _retry_for_ever(self, stream_client: client.Client) -> None:
        """Tries what failed again when it is due; tells the server of what changed by itself."""
        while True:
            if self._sync.failures != self._told and self._epoch and not self._snapshot:
                await stream_client.send(self._ack())
            self._changed.clear()
            due = self._sync.next_retry
            pause_s = IDLE_S if due is None else max(0.0, due - time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause_s)
                continue
            await self._attempt(self._sync.retry)

    async def _heal_for_ever(self) -> None:
        while True:
            name = await self._vanished.get()
            await self._attempt(functools.partial(self._sync.heal, name))
            self._changed.set()

    async def _watch_uplink(self) -> None:
        """Ends the run with `UplinkChangedError` once the uplink is another, or none."""
        while True:
            await self._touched.wait()
            await asyncio.sleep(UPLINK_SETTLE_S)
            self._touched.clear()
            now = await self._in_worker(functools.partial(uplink.found, self._wire.name))
            if now != self._wire:
                raise UplinkChangedError(f"{self._wire} is now {now or 'gone, or not fit for use'}")

    async def _report_drops_for_ever(self, stream_client: client.Client) -> None:
        while True:
            await asyncio.sleep(drops.REPORT_EVERY_S)
            if not self._reporting:
                continue
            with contextlib.suppress(OSError):  # the next reading will tell
                if report := await self._in_worker(self._drops.report):
                    await stream_client.send(report)

    async def _attempt(self, work: Callable[[], None]) -> None:
        """Work that nobody asked for: what the kernel refuses is told, and due again later."""
        try:
            await self._in_worker(work)
        except OSError as error:
            log.warning("the kernel refused a repair", reason=str(error))
            await asyncio.sleep(REPAIR_PAUSE_S)

    def _notice(self, monitor: netlink.Monitor) -> None:
        self._touched.set()
        for name in monitor.deleted():
            if plumbing.INTERFACE.fullmatch(name):
                self._vanished.put_nowait(name)
