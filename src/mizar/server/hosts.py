"""Host streams on WebSockets: `plan.stream`'s messages between agents and the controller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Sequence
from typing import Final, TypeVar

import msgspec
import structlog
from starlette import websockets

from mizar.model import errors, resources
from mizar.plan import entries, stream
from mizar.server import controller, drops, feed, ledger, traces

HELLO_WAIT_S: Final = 5.0
SEND_STALL_S: Final = 20.0
UPDATE_ENTRIES_MAX: Final = 2000  # entries in one frame to a host
REFUSED: Final = 1008
START_OVER: Final = 1012

_log = structlog.get_logger("mizar.server")
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[stream.FromAgent] = msgspec.msgpack.Decoder(stream.FromAgent)


_T = TypeVar("_T")


class RefusalError(Exception):
    """The agent can't be served; the text is for its operator."""


_ENDS = (websockets.WebSocketDisconnect, TimeoutError, ledger.UnavailableError)


class Streams:
    """The open streams, one a host: a newer one of the same host ends the older."""

    def __init__(
        self, served: controller.Controller, board: drops.Drops, traced: traces.Traces
    ) -> None:
        self._controller = served
        self._drops = board
        self._traces = traced
        self._sessions: dict[str, _Session] = {}

    async def endpoint(self, socket: websockets.WebSocket) -> None:
        """ASGI endpoint of ``/v1/hosts/{name}/stream``."""
        await socket.accept()
        name = socket.path_params["name"]
        try:
            session = await self._begin(socket, name)
        except RefusalError as refusal:
            _log.warning("agent refused", host=name, reason=str(refusal))
            await _refuse(socket, str(refusal))
        except _ENDS as error:
            _log.warning("agent did not begin a stream", host=name, reason=repr(error))
        else:
            await self._serve(session)

    async def _begin(self, socket: websockets.WebSocket, name: str) -> _Session:
        async with asyncio.timeout(HELLO_WAIT_S):
            hello = await _receive(socket)
        if not isinstance(hello, stream.Hello) or hello.host != name:
            raise RefusalError(f"the first message must be a Hello of host {name}")
        if hello.protocol != stream.PROTOCOL:
            raise RefusalError(
                f"the agent speaks protocol {hello.protocol}, this server {stream.PROTOCOL};"
                " run the same version of mizar on both"
            )
        self._check_address(hello)
        try:
            await self._controller.register(hello)
        except errors.Refused as refused:
            raise RefusalError(str(refused)) from None
        return _Session(socket, self._controller, self._drops, self._traces, hello)

    def _check_address(self, hello: stream.Hello) -> None:
        known = self._controller.ledger.state.get(resources.Key("Host", "", hello.host))
        if not isinstance(known, resources.Host) or known.spec.address == hello.address:
            return
        if self._controller.readiness.is_live(hello.host):
            raise RefusalError(
                f"host {hello.host} is live with address {known.spec.address}, not"
                f" {hello.address}; give this host another name, or stop the other agent"
            )

    async def _serve(self, session: _Session) -> None:
        while (older := self._sessions.get(session.host)) is not None:
            await older.end()
        self._sessions[session.host] = session
        try:
            await session.run()
        finally:
            del self._sessions[session.host]


class _Session:
    """One agent's stream, from its accepted Hello on."""

    def __init__(
        self,
        socket: websockets.WebSocket,
        served: controller.Controller,
        board: drops.Drops,
        traced: traces.Traces,
        hello: stream.Hello,
    ) -> None:
        self.host = hello.host
        self._drops = board
        self._traces = traced
        self._socket = socket
        self._controller = served
        self._hello = hello
        self._epoch = served.epoch
        self._feed = served.feeds[hello.host]
        self._ended = asyncio.Event()
        self._gone = asyncio.Event()

    async def end(self) -> None:
        """Ends the stream and returns when nothing of it is left."""
        self._ended.set()
        await self._gone.wait()

    async def run(self) -> None:
        place = self._place()
        self._controller.connected(self.host, place or 0)
        _log.info("agent connected", host=self.host, resumed=place is not None)
        try:
            await _first(self._send(place), self._receive(), self._ended.wait(), self._ask())
        except RefusalError as refusal:
            await _refuse(self._socket, str(refusal))
        finally:
            self._drops.forget(self.host)
            self._traces.disconnected(self.host)
            if self._controller.epoch == self._epoch:
                self._controller.disconnected(self.host)
            self._gone.set()
            _log.info("agent disconnected", host=self.host)
        await _close(self._socket, START_OVER)

    def _place(self) -> int | None:
        """The revision to go on from; None when the agent needs a snapshot."""
        hello = self._hello
        same_life = hello.epoch == self._epoch and self._feed.covers(hello.revision)
        return hello.revision if same_life and hello.revision else None

    async def _send(self, place: int | None) -> None:
        if place is not None:
            # There may be no news for long, and agents report to whom has said that it listens.
            await self._send_message(_update(self._epoch, place, False, ()))
        while not self._feed.ended:
            news = self._feed.news
            if place is None or not self._feed.covers(place):
                place = await self._send_snapshot()
            elif place < self._feed.revision:
                place = await self._send_deltas(place)
            else:
                await news.wait()

    async def _send_snapshot(self) -> int:
        desired = list(self._controller.ledger.plan.desired(self.host))
        revision = self._controller.ledger.revision
        await self._controller.ledger.settled()
        _log.info("snapshot", host=self.host, entries=len(desired), revision=revision)
        for chunk, more in _chunks(desired):
            update = stream.Update(
                self._epoch, revision, True, more, upserts=list(chunk), reports=True
            )
            await self._send_message(update)
        return revision

    async def _send_deltas(self, place: int) -> int:
        """Large ones in parts, of which only the last carries the new revision."""
        news = self._feed.after(place)
        for entries_, more in _chunks(in_order(news)):
            revision = place if more else news.revision
            await self._send_message(_update(self._epoch, revision, more, entries_))
        return news.revision

    async def _ask(self) -> None:
        """Hands on requests for traces; an agent that doesn't know them gets none."""
        if not self._hello.reports:
            await self._ended.wait()
            return
        requests = self._traces.connected(self.host)
        while True:
            await self._send_message(await requests.get())

    async def _send_message(self, message: stream.FromServer) -> None:
        async with asyncio.timeout(SEND_STALL_S):
            await self._socket.send_bytes(_encoder.encode(message))

    async def _receive(self) -> None:
        while True:
            match await _receive(self._socket):
                case stream.Ack() as ack:
                    self._controller.acked(self.host, ack)
                case stream.Drops() as told:
                    self._drops.take(self.host, told)
                case stream.TraceReports() as traced:
                    self._traces.take(self.host, traced)
                case stream.TraceDone() as done:
                    self._traces.finish(done)
                case _:
                    raise RefusalError("only one Hello is allowed in a stream")


def in_order(news: feed.Update) -> list[entries.Entry | entries.EntryKey]:
    """What an update writes, in the order in which its parts may come to be applied alone.

    Where an endpoint has moved to comes before its own entry goes (`plan.entries`).
    """
    moved = [entry for entry in news.upserts if isinstance(entry, entries.MovedEntry)]
    others = [entry for entry in news.upserts if not isinstance(entry, entries.MovedEntry)]
    return [*moved, *news.deletes, *others]


def _update(
    epoch: str, revision: int, more: bool, chunk: Sequence[entries.Entry | entries.EntryKey]
) -> stream.Update:
    return stream.Update(
        epoch,
        revision,
        more=more,
        deletes=[key for key in chunk if isinstance(key, tuple)],
        upserts=[entry for entry in chunk if not isinstance(entry, tuple)],
        reports=True,
    )


def _chunks(items: Sequence[_T]) -> Iterator[tuple[Sequence[_T], bool]]:
    """Parts of a bounded size (at least one), each with whether more follow."""
    for start in range(0, max(len(items), 1), UPDATE_ENTRIES_MAX):
        end = start + UPDATE_ENTRIES_MAX
        yield items[start:end], end < len(items)


async def _receive(socket: websockets.WebSocket) -> stream.FromAgent:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise websockets.WebSocketDisconnect(message.get("code", 1006), message.get("reason"))
    try:
        return _decoder.decode(message.get("bytes") or b"")
    except msgspec.DecodeError as error:
        raise RefusalError(f"not a message of the host stream: {error}") from None


async def _first(*work: Coroutine[None, None, object]) -> None:
    """Runs all until one ends, then ends the others; that a wire ends is no error."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        if error and not isinstance(error, _ENDS):
            raise error


async def _refuse(socket: websockets.WebSocket, message: str) -> None:
    with contextlib.suppress(websockets.WebSocketDisconnect, TimeoutError, RuntimeError):
        async with asyncio.timeout(HELLO_WAIT_S):
            await socket.send_bytes(_encoder.encode(stream.Refusal(message)))
    await _close(socket, REFUSED)


async def _close(socket: websockets.WebSocket, code: int) -> None:
    with contextlib.suppress(websockets.WebSocketDisconnect, TimeoutError, RuntimeError):
        async with asyncio.timeout(1):
            await socket.close(code)
