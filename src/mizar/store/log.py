"""The latest committed batches, kept in memory for watchers; bounded by events, not by time.

A watcher holds a place in the log and no queue of its own, so that a slow one
costs nothing: it finds itself behind the log's start and is told so.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator
from typing import Final

from mizar.store import port

EVENTS_MAX: Final = 32_768  # events kept for watches; one further behind starts over


class Log:
    """Batches after revision ``floor``; lives in one event loop."""

    def __init__(self, floor: int, events_max: int = EVENTS_MAX) -> None:
        self.floor = floor
        self.revision = floor
        self._events_max = events_max
        self._events = 0
        self._batches: list[port.Batch] = []
        self._news = asyncio.Event()
        self._closed = False

    def append(self, batch: port.Batch) -> None:
        self._batches.append(batch)
        self._events += len(batch.events)
        self.revision = batch.revision
        if self._events > self._events_max:
            self._trim()
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def watch(self, from_revision: int) -> AsyncIterator[port.Batch]:
        """Batches after ``from_revision``, until the log is closed."""
        place = from_revision
        while not self._closed:
            news = self._news
            for batch in self._after(place):
                yield batch
                place = batch.revision
            if place >= self.revision and not self._closed:
                await news.wait()

    def _after(self, revision: int) -> list[port.Batch]:
        if not self.floor <= revision <= self.revision:
            raise port.CompactedError(
                f"no events after revision {revision}: kept are {self.floor} to {self.revision};"
                " list again and watch from the list's revision"
            )
        first = bisect.bisect_right(self._batches, revision, key=lambda batch: batch.revision)
        return self._batches[first:]

    def _trim(self) -> None:
        """Drops the older batches down to half the bound, so that trimming is rare."""
        drop = 0
        while drop < len(self._batches) - 1 and self._events > self._events_max // 2:
            self._events -= len(self._batches[drop].events)
            drop += 1
        self.floor = self._batches[drop - 1].revision if drop else self.floor
        del self._batches[:drop]

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
