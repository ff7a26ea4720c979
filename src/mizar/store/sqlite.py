"""The store on one SQLite file: WAL, synchronous=FULL, one thread, group commit.

The thread takes all that is queued, up to `GROUP_MAX`, and commits it with one
fsync. A transaction whose compare fails is left out and the others go on; when
the disk fails, the whole group fails. The file is locked for as long as it is
open, so a second server on it is refused. The watch log starts at opening.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

from mizar.store import log, port

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4D495A52
GROUP_MAX: Final = 512  # transactions committed together
LOCK_WAIT_S: Final = 1.0

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE records (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE head (revision INTEGER NOT NULL);
INSERT INTO head VALUES (0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

_T = TypeVar("_T")


class _Transaction(NamedTuple):
    compares: Sequence[port.Compare]
    writes: Sequence[port.Write]
    done: asyncio.Future[int]


class _Read(NamedTuple):
    run: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]


class _Stop(NamedTuple):
    pass


_Job = _Transaction | _Read | _Stop
_Outcome = port.Batch | port.ConflictError | port.StoreError


class SqliteStore:
    """`port.Store` on the file ``path``; made inside the event loop that uses it."""

    def __init__(self, path: str) -> None:
        """Opens or creates the file; `port.StoreError` when it is not usable."""
        self._path = path
        self._connection, self._head = _open(path)
        self._log = log.Log(self._head)
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    @property
    def revision(self) -> int:
        return self._log.revision

    async def get(self, key: str) -> port.Record | None:
        rows = await self._read("WHERE key = ?", key)
        return rows[0] if rows else None

    async def list(self, prefix: str) -> Sequence[port.Record]:
        where = "WHERE key >= ? AND key < ? ORDER BY key"
        return await self._read(where, prefix, prefix + "\U0010ffff")

    def transact(
        self, compares: Sequence[port.Compare], writes: Sequence[port.Write]
    ) -> asyncio.Future[int]:
        done: asyncio.Future[int] = self._loop.create_future()
        self._put(_Transaction(compares, writes, done))
        return done

    def watch(self, from_revision: int) -> AsyncIterator[port.Batch]:
        return self._log.watch(from_revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._put(_Stop())
        self._closed = True
        await asyncio.to_thread(self._thread.join)
        self._connection.close()
        self._log.close()

    async def _read(self, where: str, *parameters: str) -> Sequence[port.Record]:
        def run(connection: sqlite3.Connection) -> Sequence[port.Record]:
            query = f"SELECT key, value, revision FROM records {where}"
            rows = connection.execute(query, parameters)
            return [port.Record(*row) for row in rows]

        done: asyncio.Future[Sequence[port.Record]] = self._loop.create_future()
        self._put(_Read(run, done))
        return await done

    def _put(self, job: _Job) -> None:
        if self._closed:
            raise port.StoreError(f"store {self._path} is closed")
        self._jobs.put(job)

    # From here to `_resolve` everything runs in the thread.

    def _work(self) -> None:
        while True:
            for transactional, jobs in itertools.groupby(self._take(), _is_transaction):
                if transactional:
                    self._commit(cast("Sequence[_Transaction]", tuple(jobs)))
                    continue
                for job in jobs:
                    if isinstance(job, _Stop):
                        return
                    self._answer(cast("_Read", job))

    def _take(self) -> Sequence[_Job]:
        """Waits for a job and returns it with those behind it, up to `GROUP_MAX`."""
        jobs = [self._jobs.get()]
        with contextlib.suppress(queue.Empty):
            while len(jobs) < GROUP_MAX:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _answer(self, read: _Read) -> None:
        try:
            rows = read.run(self._connection)
        except sqlite3.Error as error:
            self._call(_set, read.done, self._error(error))
        else:
            self._call(_set, read.done, rows)

    def _commit(self, group: Sequence[_Transaction]) -> None:
        head = self._head
        outcomes: Sequence[_Outcome]
        try:
            with _transaction(self._connection):
                outcomes = [self._outcome(transaction) for transaction in group]
                self._connection.execute("UPDATE head SET revision = ?", (self._head,))
        except sqlite3.Error as error:
            self._head = head
            outcomes = [self._error(error)] * len(group)
        self._call(self._resolve, group, outcomes)

    def _outcome(self, transaction: _Transaction) -> _Outcome:
        for compare in transaction.compares:
            if (found := self._revision_of(compare.key)) != compare.revision:
                return port.ConflictError(
                    f"{compare.key} is at revision {found}, expected was {compare.revision}"
                )
        self._head += 1
        events = [event for write in transaction.writes for event in self._write(write)]
        return port.Batch(self._head, events)

    def _revision_of(self, key: str) -> int:
        query = "SELECT revision FROM records WHERE key = ?"
        row = self._connection.execute(query, (key,)).fetchone()
        return row[0] if row else 0

    def _write(self, write: port.Write) -> Sequence[port.Event]:
        """Writes; the event, or none when what is to be deleted isn't there."""
        if write.value is None:
            query = "DELETE FROM records WHERE key = ? RETURNING value"
            rows = self._connection.execute(query, (write.key,)).fetchall()
            return [port.Event(write.key, value, deleted=True) for (value,) in rows]
        self._connection.execute(
            "INSERT OR REPLACE INTO records (key, value, revision) VALUES (?, ?, ?)",
            (write.key, write.value, self._head),
        )
        return [port.Event(write.key, write.value, deleted=False)]

    def _error(self, error: sqlite3.Error) -> port.StoreError:
        return port.StoreError(f"store {self._path}: {error}; check the disk and the file")

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Runs ``function`` in the event loop, unless that has ended without `close`."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _resolve(self, group: Sequence[_Transaction], outcomes: Sequence[_Outcome]) -> None:
        """In the event loop: batches to the watchers, results to the callers."""
        for transaction, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, port.Batch):
                self._log.append(outcome)
                _set(transaction.done, outcome.revision)
            else:
                _set(transaction.done, outcome)


def _is_transaction(job: _Job) -> bool:
    return isinstance(job, _Transaction)


def _set(done: asyncio.Future[_T], result: _T | Exception) -> None:
    if done.done():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _open(path: str) -> tuple[sqlite3.Connection, int]:
    """The connection, with the file locked, and the last revision in it."""
    try:
        connection = sqlite3.connect(
            path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise port.StoreError(f"store {path}: {error}; does the directory exist?") from None
    try:
        return connection, _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise port.StoreError(f"store {path}: {_explain(error)}") from None
    except port.StoreError:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, path: str) -> int:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.executescript(_SCHEMA)
    _check(connection, path)
    (head,) = connection.execute("SELECT revision FROM head").fetchone()
    return int(head)


def _check(connection: sqlite3.Connection, path: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise port.StoreError(f"store {path}: an SQLite file, but not mizar's; name another file")
    if version != SCHEMA_VERSION:
        raise port.StoreError(
            f"store {path}: has schema {version}, this mizar knows {SCHEMA_VERSION};"
            " start the mizar that wrote it, or name another file"
        )


def _explain(error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return "in use by another process; stop that server, or name another file"
    return f"{error}; name another file, or restore this one from a backup"
