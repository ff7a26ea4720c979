"""The agent's end of the stream against a real WebSocket server on a Unix socket."""

import asyncio
import contextlib

import msgspec
import pytest
from websockets.asyncio import server

from mizar.agent import client
from mizar.plan import entries, stream

ROUTE = entries.RouteEntry(7, "::/0", "router", 0, ["192.0.2.1"])


def update(revision, **other):
    return stream.Update("life-1", revision, **other)


class Notebook:
    """An applier that writes down what it is given."""

    def __init__(self):
        self.batches = []
        self.traces = []
        self.revision = 0
        self.pause_s = 0.0

    def hello(self):
        return stream.Hello("alpha", "192.0.2.1", "eth0", "tcx", 1500, "0", revision=self.revision)

    async def apply(self, updates):
        await asyncio.sleep(self.pause_s)
        self.batches.append([each.revision for each in updates])
        self.revision = updates[-1].revision
        return None if updates[-1].more else stream.Ack("life-1", self.revision)

    def trace(self, request):
        self.traces.append(request)


class Peer:
    """A server: sends one script per connection, and notes what comes."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.paths = []
        self.hellos = []
        self.acks = asyncio.Queue()

    async def serve(self, connection):
        self.paths.append(connection.request.path)
        self.hellos.append(msgspec.msgpack.decode(await connection.recv(), type=stream.FromAgent))
        script = self.scripts.pop(0) if self.scripts else []
        for message in script:
            await connection.send(msgspec.msgpack.encode(message))
        if self.scripts:
            return
        async for frame in connection:
            await self.acks.put(msgspec.msgpack.decode(frame, type=stream.FromAgent))


@contextlib.asynccontextmanager
async def talking(path, peer, applier):
    async with server.unix_serve(peer.serve, str(path)):
        running = client.Client(f"unix:{path}", applier)
        task = asyncio.create_task(running.run())
        try:
            yield running
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def acknowledged(peer, revision):
    async with asyncio.timeout(5):
        while (ack := await peer.acks.get()).revision != revision:
            pass
    return ack


def test_updates_are_applied_and_acknowledged(tmp_path):
    async def scenario():
        peer, notebook = Peer([update(4, snapshot=True, upserts=[ROUTE])]), Notebook()
        async with talking(tmp_path / "s", peer, notebook):
            await acknowledged(peer, 4)
        assert peer.paths == ["/v1/hosts/alpha/stream"]
        assert notebook.batches == [[4]]

    asyncio.run(scenario())


def test_what_piles_up_is_acknowledged_once(tmp_path):
    async def scenario():
        peer, notebook = Peer([update(r, upserts=[ROUTE]) for r in range(1, 31)]), Notebook()
        notebook.pause_s = 0.1
        async with talking(tmp_path / "s", peer, notebook):
            await acknowledged(peer, 30)
        assert len(notebook.batches) <= 3
        assert [r for batch in notebook.batches for r in batch] == list(range(1, 31))

    asyncio.run(scenario())


def test_a_batch_has_a_limit(tmp_path):
    async def scenario():
        many = client.BATCH_ENTRIES_MAX + 10
        peer, notebook = Peer([update(r, upserts=[ROUTE]) for r in range(many)]), Notebook()
        notebook.pause_s = 0.2
        async with talking(tmp_path / "s", peer, notebook):
            await acknowledged(peer, many - 1)
        assert max(map(len, notebook.batches)) <= client.BATCH_ENTRIES_MAX

    asyncio.run(scenario())


def test_a_closed_stream_is_opened_again_with_the_revision_that_is_in_force(tmp_path):
    async def scenario():
        peer, notebook = Peer([update(1)], [update(2)], [update(3)]), Notebook()
        async with talking(tmp_path / "s", peer, notebook):
            await acknowledged(peer, 3)
        assert [hello.revision for hello in peer.hellos] == [0, 1, 2]

    asyncio.run(scenario())


def test_a_server_that_comes_later_is_found(tmp_path):
    async def scenario():
        notebook, peer = Notebook(), Peer([update(1)])
        task = asyncio.create_task(client.Client(f"unix:{tmp_path}/s", notebook).run())
        await asyncio.sleep(0.3)
        async with server.unix_serve(peer.serve, f"{tmp_path}/s"):
            await acknowledged(peer, 1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(scenario())


def test_refused_and_garbled_streams_are_tried_again(tmp_path):
    async def scenario():
        strange = {"type": "strange"}
        peer = Peer([stream.Refusal("unknown host")], [strange], [update(1)])
        async with talking(tmp_path / "s", peer, Notebook()):
            await acknowledged(peer, 1)
        assert len(peer.hellos) == 3

    asyncio.run(scenario())


def test_an_acknowledgement_out_of_turn(tmp_path):
    async def scenario():
        peer, notebook = Peer([update(1)]), Notebook()
        failure = stream.Failure(entries.key_of(ROUTE), "full")
        async with talking(tmp_path / "s", peer, notebook) as running:
            await acknowledged(peer, 1)
            await running.send(stream.Ack("life-1", 1, [failure]))
            assert (await acknowledged(peer, 1)).failures == [failure]

    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "unix:/nowhere"])
def test_without_a_stream_acknowledgements_are_dropped(address):
    asyncio.run(client.Client(address, Notebook()).send(stream.Ack("life-1", 1)))
