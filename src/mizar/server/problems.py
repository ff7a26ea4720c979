"""What clients are told when something is wrong: one JSON shape, statuses by code.

``{"error": {"code", "message", "problems": [{"object", "field", "message", "remedy", "code"}]}}``
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from starlette import exceptions, requests, responses

from mizar.model import errors
from mizar.server import ledger
from mizar.store import port

STATUS: Final[dict[str, int]] = {
    "malformed": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "in_use": 409,
    "exhausted": 409,
    "compacted": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "internal": 500,
    "unavailable": 503,
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}

_log = structlog.get_logger("mizar.server")


class Error(msgspec.Struct, frozen=True):
    """``code`` is one of `STATUS`; ``message`` says it all in one line or more."""

    code: str
    message: str
    problems: Sequence[errors.Problem] = ()


class ErrorBody(msgspec.Struct, frozen=True):
    error: Error


class RequestError(Exception):
    """A request that never reached admission: ``code`` as in `STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def body(code: str, message: str, problems: Sequence[errors.Problem] = ()) -> ErrorBody:
    return ErrorBody(Error(code, message, problems))


def response(error: ErrorBody, headers: dict[str, str] | None = None) -> responses.Response:
    return responses.Response(
        msgspec.json.encode(error),
        STATUS[error.error.code],
        headers,
        media_type="application/json",
    )


def describe(error: Exception) -> ErrorBody:
    """The answer to a known error; others are bugs, logged in full and answered with `internal`."""
    match error:
        case errors.Refused():
            return body(error.code, str(error), error.problems)
        case RequestError():
            return body(error.code, str(error))
        case port.CompactedError():
            return body("compacted", str(error))
        case ledger.UnavailableError():
            return body("unavailable", str(error))
        case _:
            _log.error("bug", exc_info=error)
            return body("internal", "the server has a bug; its log says more")


async def answer(_: requests.Request, error: Exception) -> responses.Response:
    """Starlette's handler for every exception."""
    return response(describe(error))


async def answer_http(_: requests.Request, error: Exception) -> responses.Response:
    """Starlette's handler for its own refusals: no such route, wrong method."""
    assert isinstance(error, exceptions.HTTPException)
    code = _CODES.get(error.status_code, "malformed")
    return response(body(code, error.detail), dict(error.headers or {}))


HANDLERS: Final[dict[Any, Any]] = {
    errors.Refused: answer,
    RequestError: answer,
    port.CompactedError: answer,
    ledger.UnavailableError: answer,
    exceptions.HTTPException: answer_http,
    Exception: answer,
}
