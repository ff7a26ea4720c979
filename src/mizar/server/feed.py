"""What one host is to be told: its latest deltas, in a ring bounded by entries.

A stream holds a place (a revision) in the feed and no queue: a slow agent falls
off the ring's end and gets a snapshot, a fast one gets what it lacks as one update.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from mizar.plan import entries

RING_ENTRIES_MAX: Final = 8192  # entries kept for each host; one further behind gets a snapshot


class Update(NamedTuple):
    """Brings a host to ``revision``."""

    revision: int
    upserts: list[entries.Entry]
    deletes: list[entries.EntryKey]


class Feed:
    """Deltas after revision ``floor``; ``revision`` is the last one's (or where the feed began)."""

    def __init__(self, revision: int) -> None:
        self.floor = revision
        self.revision = revision
        self.ended = False
        self.news = asyncio.Event()
        self._ring: deque[tuple[int, entries.Delta]] = deque()
        self._entries = 0

    def append(self, revision: int, delta: entries.Delta) -> None:
        self._ring.append((revision, delta))
        self._entries += _size(delta)
        self.revision = revision
        while self._entries > RING_ENTRIES_MAX:
            self.floor, dropped = self._ring.popleft()
            self._entries -= _size(dropped)
        self._wake()

    def end(self) -> None:
        """The host is gone, or the server starts over: its stream must end."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def covers(self, revision: int) -> bool:
        """Whether a host at ``revision`` can be brought up by deltas."""
        return self.floor <= revision

    def after(self, revision: int) -> Update:
        """All deltas after ``revision`` merged: the last word on each entry counts."""
        last: dict[entries.EntryKey, entries.Entry | None] = {}
        for delta in self._deltas_after(revision):
            last.update(dict.fromkeys(delta.deletes))
            last.update({entries.key_of(entry): entry for entry in delta.upserts})
        return Update(
            max(revision, self.revision),
            [entry for entry in last.values() if entry is not None],
            [key for key, entry in last.items() if entry is None],
        )

    def _deltas_after(self, revision: int) -> list[entries.Delta]:
        newest_first = []
        for at, delta in reversed(self._ring):
            if at <= revision:
                break
            newest_first.append(delta)
        return newest_first[::-1]


def _size(delta: entries.Delta) -> int:
    return len(delta.upserts) + len(delta.deletes) + 1
