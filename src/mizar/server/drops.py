"""The latest drop counts of every connected host, in memory, and who looks on.

``GET /v1/drops`` lists them, with ``watch=true`` goes on with every row that changes, as one
JSON object a line: ``{"type": "put", "object"}``, and ``{"type": "synced"}`` when all that was
there has been told and while nothing happens. A row vanishes with its host's agent, or when
its endpoint does.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

import msgspec
from starlette import requests

from mizar.model import reports
from mizar.plan import stream
from mizar.server import controller

LOSSES_MAX: Final = 100_000  # rows of drops kept, of all hosts together
LOSSES_HOST_MAX: Final = 16_384  # rows of drops kept of one host
SYNCED_EVERY_S: Final = 10.0
LINES: Final = "application/jsonl"

_Key = tuple[str, stream.DropKey]


class LossEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a watch."""

    type: Literal["put", "synced"]
    object: reports.Loss | None = None


class LossList(msgspec.Struct, frozen=True):
    """``omitted``: rows that there was no room for. ``silent``: hosts asked about whose agent
    is gone, or has just come and not reported."""

    items: list[reports.Loss]
    omitted: int
    silent: list[str]


class _Kept(msgspec.Struct, frozen=True):
    row: stream.Drop
    seen: str
    version: int


class Drops:
    """The board that agents write to. Rows are in the order of their last change."""

    def __init__(self, served: controller.Controller) -> None:
        self._controller = served
        self._rows: dict[_Key, _Kept] = {}
        self._hosts: dict[str, set[stream.DropKey]] = {}
        self._omitted: dict[str, set[stream.DropKey]] = collections.defaultdict(set)
        self._version = 0
        self._news = asyncio.Event()

    def take(self, host: str, told: stream.Drops) -> None:
        """A report of a host's agent."""
        mine = self._hosts.setdefault(host, set())
        if told.whole:
            self._omitted[host] = set()
        gone = mine - {row.key for row in told.rows} if told.whole else {*told.gone}
        for key in gone & mine:
            mine.discard(key)
            del self._rows[host, key]
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        for row in told.rows:
            self._put(host, row, now.replace("+00:00", "Z"), told.whole)
        self._news.set()
        self._news = asyncio.Event()

    def forget(self, host: str) -> None:
        """The host's agent has gone; nobody knows how its counts go on."""
        for key in self._hosts.pop(host, ()):
            del self._rows[host, key]
        self._omitted.pop(host, None)

    def losses(self, chosen: Callable[[reports.Loss], bool], host: str = "") -> LossList:
        """Rows by host, the latest change last; ``host``: the one that alone is asked about."""
        found = [loss for loss in map(self._told, self._rows) if chosen(loss)]
        found.sort(key=lambda loss: loss.host)
        hosts = [one.metadata.name for one in self._controller.ledger.state.list("Host")]
        silent = [name for name in hosts if host in ("", name) and name not in self._hosts]
        return LossList(found, sum(map(len, self._omitted.values())), silent)

    async def lines(self, chosen: Callable[[reports.Loss], bool]) -> AsyncIterator[bytes]:
        """A watch: what there is, then what changes, until the server stops."""
        events = [_line(LossEvent("put", loss)) for loss in self.losses(chosen).items]
        seen, news = self._version, self._news
        yield b"".join([*events, _line(LossEvent("synced"))])
        while await self._wait(news):
            events = [_line(LossEvent("put", loss)) for loss in self._since(seen) if chosen(loss)]
            idle = not news.is_set()
            seen, news = self._version, self._news
            if events or idle:
                yield b"".join(events) or _line(LossEvent("synced"))

    async def _wait(self, news: asyncio.Event) -> bool:
        """Until there are news, or for a while; False when the server stops."""
        stopping = self._controller.stopping
        waits = [asyncio.ensure_future(event.wait()) for event in (news, stopping)]
        try:
            await asyncio.wait(waits, timeout=SYNCED_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not stopping.is_set()

    def _put(self, host: str, row: stream.Drop, now: str, whole: bool) -> None:
        mine = self._hosts[host]
        old = self._rows.pop((host, row.key), None)
        if old is None and (len(self._rows) >= LOSSES_MAX or len(mine) >= LOSSES_HOST_MAX):
            self._omitted[host].add(row.key)
            return
        mine.add(row.key)
        # A whole report tells of what may be long past.
        new = row.packets != old.row.packets if old else not whole
        seen = now if new else (old.seen if old else "")
        self._version += 1
        self._rows[host, row.key] = _Kept(row, seen, self._version)

    def _since(self, version: int) -> list[reports.Loss]:
        """Rows that changed after a version, in that order."""
        newest = itertools.takewhile(
            lambda key: self._rows[key].version > version, reversed(self._rows)
        )
        return [self._told(key) for key in newest][::-1]

    def _told(self, key: _Key) -> reports.Loss:
        host, kept = key[0], self._rows[key]
        row = kept.row
        vpc = self._controller.ledger.state.vpc_of(row.vni)
        return reports.Loss(
            host=host,
            reason=row.reason,
            packets=row.packets,
            bytes=row.bytes,
            rate=row.rate,
            tenant=row.tenant or (vpc.tenant if vpc else ""),
            endpoint=row.endpoint,
            vpc=vpc.name if vpc else "",
            vni=row.vni,
            source=row.source,
            destination=row.destination,
            seen=kept.seen,
        )


def selection(request: requests.Request) -> Callable[[reports.Loss], bool]:
    """From the path's tenant and the queries ``host``, ``endpoint``, ``vpc`` and ``reason``."""
    wanted = {
        name: value
        for name in ("host", "endpoint", "vpc", "reason")
        if (value := request.query_params.get(name))
    }
    if tenant := request.path_params.get("tenant"):
        wanted["tenant"] = tenant
    return lambda loss: all(getattr(loss, name) == value for name, value in wanted.items())


def _line(event: LossEvent) -> bytes:
    return msgspec.json.encode(event) + b"\n"
