"""The agent's end of the host stream: connects, says Hello, hands on updates, acknowledges.

Reconnects for ever, quickly at first. Knows nothing of the kernel: an `Applier`
does what the updates ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import msgspec
import structlog
import websockets
from websockets.asyncio import client

from mizar.plan import stream

RECONNECT_FIRST_S = 0.1
RECONNECT_MAX_S = 5.0
CONNECT_TIMEOUT_S = 5.0
PING_S = 5.0
FRAME_BYTES_MAX = 64 << 20  # bytes of one frame from the server
QUEUE_FRAMES_MAX = 1024  # frames waiting to be applied
BATCH_ENTRIES_MAX = 128
"""Updates that came together are applied and acknowledged together, up to this many entries."""

log = structlog.get_logger()
_decode = msgspec.msgpack.Decoder(stream.FromServer).decode
_encode = msgspec.msgpack.Encoder().encode


class RefusedError(Exception):
    """The server won't serve this agent; the message says why."""


class Applier(Protocol):
    """Makes updates true on this host."""

    def hello(self) -> stream.Hello:
        """The first frame of a connection; what came of an unfinished snapshot is dropped."""
        ...

    async def apply(self, updates: list[stream.Update]) -> stream.Ack | None:
        """Applies in order; None while parts of a snapshot are missing."""
        ...

    def trace(self, request: stream.TraceRequest) -> None:
        """Takes a request, to be answered by `Client.send` in its own time."""
        ...


class Client:
    """The stream to one server: ``http://host:port``, ``https://...`` or ``unix:/path``."""

    def __init__(self, server: str, applier: Applier) -> None:
        self._server = server
        self._applier = applier
        self._connection: client.ClientConnection | None = None
        self._pause_s = RECONNECT_FIRST_S

    async def run(self) -> None:
        """Keeps the stream up until cancelled."""
        while True:
            try:
                async with self._connect() as connection:
                    await self._serve(connection)
                log.info("the server closed the stream", server=self._server)
            except (OSError, TimeoutError, websockets.WebSocketException, RefusedError) as error:
                log.warning("no stream", server=self._server, reason=str(error) or repr(error))
            except msgspec.MsgspecError as error:
                log.error("unreadable frame; server and agent differ", reason=str(error))
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))
            self._pause_s = min(self._pause_s * 2, RECONNECT_MAX_S)

    async def send(self, message: stream.FromAgent) -> None:
        """Sends what isn't the answer to updates; without a stream it is dropped."""
        if self._connection is not None:
            with contextlib.suppress(websockets.WebSocketException):
                await self._connection.send(_encode(message))

    def _connect(self) -> client.connect:
        path = f"/v1/hosts/{quote(self._applier.hello().host, safe='')}/stream"
        parts = urlsplit(self._server)
        options: dict[str, Any] = {
            "compression": None,
            "max_size": FRAME_BYTES_MAX,
            "open_timeout": CONNECT_TIMEOUT_S,
            "ping_interval": PING_S,
            "ping_timeout": 2 * PING_S,
            "proxy": None,
        }
        if parts.scheme == "unix":
            return client.unix_connect(parts.path, f"ws://localhost{path}", **options)
        scheme = "wss" if parts.scheme == "https" else "ws"
        return client.connect(f"{scheme}://{parts.netloc}{path}", **options)

    async def _serve(self, connection: client.ClientConnection) -> None:
        await connection.send(_encode(self._applier.hello()))
        self._connection = connection
        try:
            async for batch in _batches(connection, self._applier.trace):
                self._pause_s = RECONNECT_FIRST_S
                if ack := await self._applier.apply(batch):
                    await connection.send(_encode(ack))
        finally:
            self._connection = None


async def _batches(
    connection: client.ClientConnection, trace: Callable[[stream.TraceRequest], None]
) -> AsyncIterator[list[stream.Update]]:
    """Updates as they come, those that have piled up meanwhile together."""
    queue: asyncio.Queue[stream.Update | None] = asyncio.Queue(QUEUE_FRAMES_MAX)
    reader = asyncio.create_task(_read(connection, queue, trace))
    try:
        while (update := await queue.get()) is not None:
            batch, size = [update], _size(update)
            while size < BATCH_ENTRIES_MAX and not queue.empty():
                if (update := queue.get_nowait()) is None:
                    yield batch
                    await reader
                    return
                batch.append(update)
                size += _size(update)
            yield batch
        await reader
    finally:
        reader.cancel()


async def _read(
    connection: client.ClientConnection,
    queue: asyncio.Queue[stream.Update | None],
    trace: Callable[[stream.TraceRequest], None],
) -> None:
    try:
        async for frame in connection:
            message = _decode(frame if isinstance(frame, bytes) else frame.encode())
            if isinstance(message, stream.Refusal):
                raise RefusedError(message.message)
            if isinstance(message, stream.TraceRequest):
                trace(message)
            else:
                await queue.put(message)
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await queue.put(None)


def _size(update: stream.Update) -> int:
    return len(update.upserts) + len(update.deletes)
