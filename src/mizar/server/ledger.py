"""State, plan and store in step: the one place where resources change.

`commit` applies a decision to the state and the plan at once, so that the next
request is decided on it, and queues the transaction; what others may see of it
(the answer, the hosts' deltas, watch events) waits until it is on disk. So many
requests share one fsync. Every transaction compares the fence that the one
before wrote: when one fails, those behind it fail as well, and the ledger is
`broken` until it is opened anew from what the store really holds.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from mizar.model import resources
from mizar.model import state as states
from mizar.plan import entries, planner
from mizar.server import records
from mizar.store import port

_log = structlog.get_logger("mizar.server")


class UnavailableError(Exception):
    """The store failed; nothing was changed and the request may be repeated."""


class Commit(NamedTuple):
    """One revision: ``changes`` with their revision set, ``deltas`` by host name.

    ``needs``: for each changed resource that still exists, the hosts that must apply it.
    ``status``: nothing but statuses changed. ``done``: when it is stored and
    published, or `UnavailableError` when it could not be.
    """

    revision: int
    changes: Sequence[resources.Change]
    deltas: dict[str, entries.Delta]
    needs: dict[resources.Key, set[str]]
    status: bool
    done: asyncio.Future[None]


class Ledger:
    """Made by `open_ledger`; ``publish`` gets every commit, in order, once it is stored."""

    def __init__(
        self,
        store: port.Store,
        state: states.State,
        underlay: Sequence[str],
        fence: int,
        publish: Callable[[Commit], None],
    ) -> None:
        self.state = state
        self.plan = planner.Planner(state, underlay)
        self.broken = asyncio.Event()
        self._store = store
        self._fence = fence
        self._publish = publish
        self._last: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last.set_result(None)

    @property
    def revision(self) -> int:
        """Of the latest commit, stored or still on its way."""
        return self.state.revision

    def commit(
        self,
        changes: Sequence[resources.Change],
        kept: Sequence[states.Record] = (),
        status: bool = False,
    ) -> Commit:
        """Applies now, and queues what is to be stored."""
        self.check()
        revision = self.state.revision + 1
        applied = self.state.apply(changes, revision, kept)
        deltas = self.plan.apply(applied)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        commit = Commit(revision, applied, deltas, self._needs(applied), status, done)
        compare = port.Compare(records.FENCE, self._fence)
        stored = self._store.transact([compare], records.writes(applied, kept))
        self._fence = revision
        self._last = done
        stored.add_done_callback(functools.partial(self._finish, commit))
        return commit

    def check(self) -> None:
        """Raises `UnavailableError` when the ledger is broken."""
        if self.broken.is_set():
            raise UnavailableError("the store failed a moment ago; try again soon")

    async def settled(self) -> None:
        """Returns when all committed so far is stored; else `UnavailableError`."""
        await asyncio.shield(self._last)

    def _needs(self, changes: Sequence[resources.Change]) -> dict[resources.Key, set[str]]:
        return {
            change.key: self.plan.needs(change.key) for change in changes if change.new is not None
        }

    def _finish(self, commit: Commit, stored: asyncio.Future[int]) -> None:
        try:
            if stored.result() != commit.revision:
                raise port.ConflictError(f"revision {stored.result()}, not {commit.revision}")
            self._publish(commit)
        except Exception as error:
            self._fail(commit, error)
        else:
            commit.done.set_result(None)

    def _fail(self, commit: Commit, error: Exception) -> None:
        if not self.broken.is_set():
            _log.error("commit failed", revision=commit.revision, exc_info=error)
        self.broken.set()
        reason = str(error) if isinstance(error, port.StoreError) else "try again soon"
        commit.done.set_exception(UnavailableError(f"nothing was changed: {reason}"))
        commit.done.exception()


async def open_ledger(
    store: port.Store, underlay: Sequence[str], publish: Callable[[Commit], None]
) -> Ledger:
    """The ledger of what the store holds now."""
    stored = await store.list("")
    fence = next((record.revision for record in stored if record.key == records.FENCE), 0)
    state = records.load(stored, store.revision)
    return Ledger(store, state, underlay, fence, publish)
