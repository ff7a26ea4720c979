"""Where a server is: ``http://HOST:PORT`` or ``unix:/PATH``, and a connection to it."""

from __future__ import annotations

import http.client
import socket
from typing import NamedTuple
from urllib import parse

DEFAULT = "unix:/run/mizar/server.sock"
PORT = 6180


class Address(NamedTuple):
    """``path`` of a Unix socket, or else ``host`` and ``port``; ``base``: a prefix of all URLs."""

    host: str
    port: int
    path: str
    base: str

    def connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """A connection that isn't open yet; ``timeout_s`` bounds each wait for the server."""
        if self.path:
            return _UnixConnection(self.path, timeout_s)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)


def read(text: str) -> Address:
    """Raises ValueError with a message for the user when ``text`` is no server's address."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix" and rest.strip("/"):
        return Address("localhost", 0, rest.removeprefix("//"), "")
    parts = parse.urlsplit(text)
    try:
        if scheme == "http" and parts.hostname:
            return Address(parts.hostname, parts.port or PORT, "", parts.path.rstrip("/"))
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no server address: give http://HOST:PORT or unix:/PATH")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
