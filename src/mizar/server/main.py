"""`mizar server`: the process. Sockets, store, controller and uvicorn, up and down in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import pathlib
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Final

import structlog
import uvicorn
import uvloop

import mizar
from mizar.server import api, controller, sockets
from mizar.store import port, sqlite

LISTEN: Final = ("unix:/run/mizar/server.sock", "127.0.0.1:6180")
STORE: Final = "/var/lib/mizar/server.db"
PING_S: Final = 4.0
GRACE_S: Final = 1

_log = structlog.get_logger("mizar.server")


class StartError(Exception):
    """The server can't start; the message says why and what to do."""


def run(
    listen: Sequence[str] = LISTEN,
    store: str = STORE,
    underlay: Sequence[str] = (),
) -> None:
    """Serves until SIGTERM or SIGINT, then returns within 2 s.

    ``listen``: ``HOST:PORT`` and ``unix:PATH``, several at once. ``store``: path of
    the SQLite file, made when absent. ``underlay``: prefixes in which the hosts'
    addresses must lie (empty: anywhere). Raises `StartError`.
    """
    _check_underlay(underlay)
    try:
        with contextlib.ExitStack() as stack:
            listening = [stack.enter_context(_listening(address)) for address in listen]
            uvloop.run(_serve(listening, store, underlay))
    except (sockets.ListenError, port.StoreError) as error:
        raise StartError(str(error)) from None


def _check_underlay(underlay: Sequence[str]) -> None:
    for prefix in underlay:
        try:
            parsed = ipaddress.ip_network(prefix)
        except ValueError as error:
            raise StartError(f"--underlay {prefix}: {error}; write it as 10.20.0.0/16") from None
        if parsed.version != 4 or prefix != str(parsed):
            raise StartError(f"--underlay {prefix}: not an IPv4 prefix; write it as 10.20.0.0/16")


class _Uvicorn(uvicorn.Server):
    """Leaves signals to `_serve`, which must end the open streams first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(listening: list[socket.socket], path: str, underlay: Sequence[str]) -> None:
    store = _open_store(path)
    served = controller.Controller(store, underlay)
    await served.start()
    server = _Uvicorn(_config(served))

    def stop() -> None:
        _log.info("stopping")
        served.stopping.set()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    _log.info(
        "serving",
        version=mizar.__version__,
        listen=[_name(one) for one in listening],
        store=path,
        revision=store.revision,
    )
    await server.serve(sockets=listening)
    await served.stop()
    await store.close()
    _log.info("stopped")


def _open_store(path: str) -> sqlite.SqliteStore:
    try:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"can't make its directory: {error.strerror}; name another file"
        raise port.StoreError(f"store {path}: {reason}") from None
    return sqlite.SqliteStore(path)


def _config(served: controller.Controller) -> uvicorn.Config:
    return uvicorn.Config(
        api.application(served),
        http="httptools",
        ws="websockets-sansio",
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    opened = sockets.listen(address)
    try:
        yield opened
    finally:
        sockets.close(opened, address)


def _name(listening: socket.socket) -> str:
    name = listening.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"
