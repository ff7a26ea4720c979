"""What the server asks of a store, whichever it is.

A store maps text keys to bytes, all under one revision that every transaction
raises by one. It knows nothing of resources: what the bytes mean is
`mizar.server.records`. Transactions are queued in the order of the calls and
take effect in that order, each whole or not at all; when the returned future
is done, the transaction is on stable storage.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """The store can't be opened, read or written; the message names it and what to do."""


class ConflictError(Exception):
    """A compare did not hold; nothing of the transaction was written."""


class CompactedError(Exception):
    """The events asked for are no longer kept: list again and watch from there."""


class Record(NamedTuple):
    """A value and the revision that wrote it."""

    key: str
    value: bytes
    revision: int


class Compare(NamedTuple):
    """Holds when ``key`` was last written by ``revision`` (0: does not exist)."""

    key: str
    revision: int


class Write(NamedTuple):
    """Puts ``value`` at ``key``; None deletes."""

    key: str
    value: bytes | None


class Event(NamedTuple):
    """A committed write; for a deletion ``value`` is the last one that was there."""

    key: str
    value: bytes
    deleted: bool


class Batch(NamedTuple):
    """The events of one transaction, in the order of its writes."""

    revision: int
    events: Sequence[Event]


class Store(Protocol):
    """See the module's text; `revision` is that of the last finished transaction."""

    @property
    def revision(self) -> int: ...

    async def get(self, key: str) -> Record | None: ...

    async def list(self, prefix: str) -> Sequence[Record]:
        """Records whose keys begin with ``prefix``, in order of their keys."""
        ...

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> asyncio.Future[int]:
        """Queues a transaction; the result is its revision, or `ConflictError` or `StoreError`."""
        ...

    def watch(self, from_revision: int) -> AsyncIterator[Batch]:
        """Batches after ``from_revision``, raises `CompactedError` when it fell behind."""
        ...

    async def close(self) -> None:
        """Finishes what is queued; every watch ends."""
        ...
