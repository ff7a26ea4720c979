"""Where the server listens: ``HOST:PORT``, ``[V6]:PORT`` and ``unix:PATH``."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import stat
from typing import Final

BACKLOG: Final = 1024
UNIX: Final = "unix:"
PORT_MAX: Final = 65535


class ListenError(Exception):
    """The server can't listen there; the message says where, why and what to do."""


def listen(address: str) -> socket.socket:
    """A listening socket; a stale unix socket in its place is removed first."""
    try:
        if address.startswith(UNIX):
            return _listen_unix(address.removeprefix(UNIX))
        return _listen_tcp(address)
    except OSError as error:
        raise ListenError(f"can't listen on {address}: {error.strerror or error}") from None


def close(listening: socket.socket, address: str) -> None:
    """Closes it, and removes a unix socket from the file system."""
    listening.close()
    if address.startswith(UNIX):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address.removeprefix(UNIX))


def _listen_tcp(address: str) -> socket.socket:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > PORT_MAX:
        raise ListenError(f"can't listen on {address}: write HOST:PORT or unix:/PATH")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), int(port)))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _listen_unix(path: str) -> socket.socket:
    _remove_stale(path)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        os.chmod(path, 0o660)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on; refuses anything else that is there."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"can't listen on unix:{path}: a file is there; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise ListenError(f"can't listen on unix:{path}: another server does; stop it, or name another")
