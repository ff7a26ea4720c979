"""The contract that every store keeps; SQLite's own promises at the end."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import pytest

from mizar.store import log, port, sqlite

STORES: dict[str, Callable[[str], port.Store]] = {"sqlite": sqlite.SqliteStore}


@pytest.fixture(params=sorted(STORES))
def make(request, tmp_path):
    return lambda: STORES[request.param](str(tmp_path / "store"))


def put(key: str, value: bytes | None) -> port.Write:
    return port.Write(key, value)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def take(watch, count):
    return [await anext(watch) for _ in range(count)]


def test_what_is_written_is_read_with_its_revision(make):
    async def body():
        store = make()
        assert await store.transact([], [put("a/1", b"x"), put("a/2", b"y")]) == 1
        assert await store.transact([], [put("b/1", b"z"), put("a/1", None)]) == 2
        assert await store.get("a/1") is None
        assert await store.get("a/2") == port.Record("a/2", b"y", 1)
        assert await store.list("a/") == [port.Record("a/2", b"y", 1)]
        assert [record.key for record in await store.list("")] == ["a/2", "b/1"]
        assert store.revision == 2
        await store.close()

    run(body())


def test_a_failing_compare_fails_its_own_transaction_only(make):
    async def body():
        store = make()
        await store.transact([], [put("a", b"1")])
        outcomes = await asyncio.gather(
            store.transact([port.Compare("a", 1)], [put("a", b"2")]),
            store.transact([port.Compare("a", 1)], [put("b", b"no"), put("a", b"no")]),
            store.transact([port.Compare("c", 0)], [put("c", b"3")]),
            return_exceptions=True,
        )
        assert outcomes[0] == 2
        assert isinstance(outcomes[1], port.ConflictError)
        assert "a is at revision 2, expected was 1" in str(outcomes[1])
        assert outcomes[2] == 3
        assert [record.value for record in await store.list("")] == [b"2", b"3"]
        await store.close()

    run(body())


def test_transactions_take_effect_in_the_order_of_the_calls(make):
    async def body():
        store = make()
        futures = [store.transact([], [put("n", str(n).encode())]) for n in range(2000)]
        assert await asyncio.gather(*futures) == list(range(1, 2001))
        assert (await store.get("n")).value == b"1999"
        await store.close()

    run(body())


def test_watch_gives_old_and_new_batches_and_the_value_that_was_deleted(make):
    async def body():
        store = make()
        await store.transact([], [put("a", b"1")])
        await store.transact([], [put("b", b"2")])
        watch = store.watch(1)
        assert await take(watch, 1) == [port.Batch(2, [port.Event("b", b"2", False)])]
        await store.transact([], [put("a", None), put("never-there", None)])
        assert await take(watch, 1) == [port.Batch(3, [port.Event("a", b"1", True)])]
        closing = asyncio.create_task(store.close())
        assert [batch async for batch in watch] == []
        await closing

    run(body())


def test_watch_from_before_this_opening_or_from_the_future_is_compacted(make):
    async def body():
        store = make()
        await store.transact([], [put("a", b"1")])
        await store.close()
        store = make()
        for revision in (0, 2):
            with pytest.raises(port.CompactedError, match="list again"):
                await take(store.watch(revision), 1)
        await store.close()

    run(body())


def test_what_was_written_is_there_after_reopening_and_revisions_go_on(make):
    async def body():
        store = make()
        await store.transact([], [put("a", b"1")])
        await store.close()
        with pytest.raises(port.StoreError, match="is closed"):
            await store.get("a")
        store = make()
        assert await store.list("") == [port.Record("a", b"1", 1)]
        assert await store.transact([], [put("b", b"2")]) == 2
        await store.close()

    run(body())


def test_the_log_is_bounded_and_a_watcher_that_fell_behind_is_told():
    async def body():
        bounded = log.Log(0, events_max=10)
        slow = bounded.watch(0)
        for revision in range(1, 101):
            bounded.append(port.Batch(revision, [port.Event("a", b"", False)]))
        assert bounded.floor >= 90
        with pytest.raises(port.CompactedError):
            await anext(slow)
        assert [b.revision for b in await take(bounded.watch(98), 2)] == [99, 100]

    run(body())


WRITER = """
import asyncio, sys
from mizar.store import port, sqlite

async def write(store, worker):
    for n in range(100000):
        key = f"{worker}/{n}"
        revision = await store.transact([port.Compare(key, 0)], [port.Write(key, b"v" * 50)])
        print(key, revision, flush=True)

async def main():
    store = sqlite.SqliteStore(sys.argv[1])
    await asyncio.gather(*(write(store, worker) for worker in range(20)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path, seed):
    path = str(tmp_path / "store")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
    lines = [writer.stdout.readline() for _ in range(random.Random(seed).randrange(50, 3000))]
    os.kill(writer.pid, signal.SIGKILL)
    lines += writer.communicate()[0].splitlines(keepends=True)
    acknowledged = dict(line.split() for line in lines if line.endswith(b"\n"))

    async def body():
        store = sqlite.SqliteStore(path)
        stored = {record.key: record.revision for record in await store.list("")}
        for key, revision in acknowledged.items():
            assert stored[key.decode()] == int(revision)
        assert store.revision == max(stored.values()) == len(stored)
        await store.close()

    run(body())


def opening(path, match):
    async def body():
        with pytest.raises(port.StoreError, match=match):
            sqlite.SqliteStore(str(path))

    run(body())


def test_a_file_of_a_newer_mizar_is_refused(make, tmp_path):
    async def body():
        await make().close()

    run(body())
    connection = sqlite3.connect(tmp_path / "store")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    opening(tmp_path / "store", "has schema 99, this mizar knows 1; start the mizar that wrote it")


def test_files_that_are_not_stores_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a database, and long enough to have a header" * 50)
    opening(tmp_path / "text", "file is not a database")
    connection = sqlite3.connect(tmp_path / "other")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    opening(tmp_path / "other", "not mizar's")
    opening(tmp_path / "no" / "directory", "does the directory exist")


def test_a_store_in_use_is_refused(tmp_path):
    async def body():
        store = sqlite.SqliteStore(str(tmp_path / "store"))
        with pytest.raises(port.StoreError, match="in use by another process"):
            sqlite.SqliteStore(str(tmp_path / "store"))
        await store.close()

    run(body())
