"""Watches over HTTP: one JSON object a line, for as long as the client listens.

``{"type": "put" | "delete", "revision", "object"}`` for each event; with no start
revision first a ``put`` for all there is; ``{"type": "synced", "revision"}`` when all up to
that revision was sent, repeated while nothing happens; ``{"type": "error", "error"}`` before
the end when the client fell behind and has to start over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Literal

import msgspec
from starlette import responses

from mizar.model import resources
from mizar.server import controller, problems, records
from mizar.store import port

SYNCED_EVERY_S: Final = 10.0
LINES: Final = "application/jsonl"


class WatchEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a watch."""

    type: Literal["put", "delete", "synced", "error"]
    revision: int = 0
    object: resources.Resource | None = None
    error: problems.Error | None = None


class Watch:
    """One kind's events, of one tenant or all, of the resources that ``selected`` accepts."""

    def __init__(
        self,
        served: controller.Controller,
        kind: str,
        tenant: str | None,
        selected: Callable[[resources.Resource], bool],
    ) -> None:
        self._controller = served
        self._kind = kind
        self._tenant = tenant
        self._selected = selected
        scope = "" if tenant is None else f"{tenant}/"
        self._prefix = f"{records.RESOURCES}{kind}/{scope}"
        self._shown: dict[str, bool] = {}
        self._shown_before = False

    async def response(self, since: int | None) -> responses.StreamingResponse:
        """``since``: only what came after this revision; None: all there is, then what comes."""
        initial: list[resources.Resource] = []
        self._shown_before = since is not None
        if since is None:
            state = self._controller.ledger.state
            since = state.revision
            initial = [r for r in state.list(self._kind, self._tenant) if self._selected(r)]
            await self._controller.ledger.settled()
        return responses.StreamingResponse(self._lines(initial, since), media_type=LINES)

    async def _lines(self, initial: list[resources.Resource], since: int) -> AsyncIterator[bytes]:
        for found in initial:
            self._shown[records.key_text(resources.key_of(found))] = True
            yield _line(WatchEvent("put", found.metadata.revision, found))
        yield _line(WatchEvent("synced", since))
        try:
            async for batch in self._batches(since):
                since = batch.revision if batch else since
                events = [_line(event) for event in self._events(batch)] if batch else []
                if events or not batch:
                    yield b"".join(events) or _line(WatchEvent("synced", since))
        except port.CompactedError as error:
            told = problems.describe(error).error
            yield _line(WatchEvent("error", since, error=told))

    async def _batches(self, since: int) -> AsyncIterator[port.Batch | None]:
        """The store's batches until the server stops; None after a time without any."""
        source = self._controller.store.watch(since)
        stopping = asyncio.ensure_future(self._controller.stopping.wait())
        step = asyncio.ensure_future(_next(source))
        try:
            while True:
                await asyncio.wait(
                    (step, stopping), timeout=SYNCED_EVERY_S, return_when=asyncio.FIRST_COMPLETED
                )
                if stopping.done() or (step.done() and step.result() is None):
                    return
                if step.done():
                    batch, step = step.result(), asyncio.ensure_future(_next(source))
                    yield batch
                else:
                    yield None
        finally:
            stopping.cancel()
            step.cancel()
            with contextlib.suppress(asyncio.CancelledError, port.CompactedError):
                await step

    def _events(self, batch: port.Batch) -> Iterator[WatchEvent]:
        for event in batch.events:
            if not event.key.startswith(self._prefix):
                continue
            found = records.decode(event.value, batch.revision)
            shown = self._shown.pop(event.key, self._shown_before)
            if not event.deleted and self._selected(found):
                self._shown[event.key] = True
                yield WatchEvent("put", batch.revision, found)
            elif shown:
                self._shown[event.key] = False
                yield WatchEvent("delete", batch.revision, found)


async def _next(source: AsyncIterator[port.Batch]) -> port.Batch | None:
    return await anext(source, None)


def _line(event: WatchEvent) -> bytes:
    return msgspec.json.encode(event) + b"\n"
