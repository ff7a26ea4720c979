"""HTTP/1.1 to one server: requests on a kept connection, streams of lines on their own.

Knows how the server says no; knows nothing of resources.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from mizar.client import address, errors
from mizar.model import errors as refusals

TIMEOUT_S: Final = 60.0


class _Error(msgspec.Struct, frozen=True):
    message: str
    problems: list[refusals.Problem] = []


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


_error_body = msgspec.json.Decoder(_ErrorBody)


class Transport:
    """``where``: ``http://HOST:PORT`` or ``unix:/PATH``; a ValueError otherwise."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._address = address.read(where)
        self._kept: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._kept:
            self._kept.close()
            self._kept = None

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer; raises what the server refused, or that it can't be reached."""
        if self._kept is None or _dropped(self._kept):
            self.close()
            self._kept = self._address.connect(TIMEOUT_S)
        try:
            return self._read(self._ask(self._kept, method, path, body))
        except errors.Unreachable:
            self.close()
            raise

    def lines(self, path: str, timeout_s: float | None) -> Iterator[bytes]:
        """The lines of an answer without end; a TimeoutError after ``timeout_s`` (None: never)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        connection = self._address.connect(TIMEOUT_S)
        with contextlib.closing(connection):
            with self._reaching():
                connection.connect()
            wire = connection.sock  # the connection drops it when the answer is to be the last
            with contextlib.closing(self._ask(connection, "GET", path, None)) as answer:
                if answer.status >= http.HTTPStatus.BAD_REQUEST:
                    self._read(answer)
                while line := self._line(wire, answer, deadline):
                    yield line

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body else {}
        with self._reaching():
            connection.request(method, self._address.base + path, body, headers)
            return connection.getresponse()

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        with self._reaching():
            content = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise self._error(answer.status, content)
        return content

    def _line(
        self,
        wire: socket.socket,
        answer: http.client.HTTPResponse,
        deadline: float | None,
    ) -> bytes:
        """The next line, empty at the end."""
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise TimeoutError
        wire.settimeout(left_s)
        try:
            return answer.readline()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return b""

    def _error(self, status: int, content: bytes) -> Exception:
        """The exception for an answer that is none."""
        try:
            error = _error_body.decode(content).error
        except msgspec.DecodeError:
            return errors.Foreign(self.where, status, http.client.responses.get(status, "error"))
        if error.problems:
            return refusals.refused(error.problems)
        return errors.Failed(self.where, status, error.message)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise errors.Unreachable(self.where, f"no answer in {TIMEOUT_S:g} s") from error
        except OSError as error:
            raise errors.Unreachable(self.where, error.strerror or str(error)) from error
        except http.client.HTTPException as error:
            raise errors.Unreachable(self.where, f"no HTTP answer ({error!r})") from error


def _dropped(connection: http.client.HTTPConnection) -> bool:
    """Between requests nothing is to be read: if something is, it is the end."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])
