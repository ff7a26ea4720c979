"""Request bodies and query parameters, checked before they mean anything."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from starlette import requests

from mizar.model import manifest, resources
from mizar.server import problems

BODY_BYTES_MAX: Final = 4 << 20  # bytes of one request
INLINE_BYTES_MAX: Final = 16 << 10
JSON: Final = "application/json"
YAML: Final = ("application/yaml", "application/x-yaml", "text/yaml")
_T = TypeVar("_T", bound=msgspec.Struct)
_TERM: Final = re.compile(r"(!?)([-\w./]+)\s*(?:(==?|!=)\s*([-\w.]*))?")


async def resource(request: requests.Request, tenant: str) -> resources.Resource:
    """The one resource of a JSON body."""
    _check_type(request, (JSON,))
    return manifest.convert(_decoded(await _text(request)), tenant)


async def document(request: requests.Request, tenant: str) -> list[resources.Resource]:
    """The resources of a YAML or JSON body; a long one is read in a thread."""
    _check_type(request, (JSON, *YAML))
    text = await _text(request)
    if _type(request) == JSON:
        return manifest.convert_all([_decoded(text)], tenant)
    if len(text) <= INLINE_BYTES_MAX:
        return manifest.parse(text, tenant)
    return await asyncio.to_thread(manifest.parse, text, tenant)


async def struct(request: requests.Request, kind: type[_T]) -> _T:
    """A JSON body that is a struct of its own, no resource."""
    _check_type(request, (JSON,))
    try:
        return msgspec.convert(_decoded(await _text(request)), kind)
    except msgspec.ValidationError as error:
        raise problems.RequestError("malformed", f"the body: {error}") from None


def number(request: requests.Request, name: str) -> int:
    """A query parameter that is a small number; absent: 0."""
    value = request.query_params.get(name, "0")
    if not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise problems.RequestError("malformed", f"query {name}: {value!r} is not a number")
    return int(value)


def flag(request: requests.Request, name: str) -> bool:
    """A query parameter that is true or false; absent: false."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise problems.RequestError("malformed", f"query {name}: {value!r} is not true or false")
    return value == "true"


def revision(request: requests.Request, name: str) -> int | None:
    """A query parameter that is a revision; None when absent."""
    value = request.query_params.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        raise problems.RequestError("malformed", f"query {name}: {value!r} is not a revision")
    return int(value)


def selector(request: requests.Request) -> Callable[[resources.Resource], bool]:
    """From ``labelSelector``: terms joined by ',': ``l=v``, ``l==v``, ``l!=v``, ``l``, ``!l``."""
    terms = [t.strip() for t in request.query_params.get("labelSelector", "").split(",")]
    checks = [_term(term) for term in terms if term]
    return lambda found: all(check(found.metadata.labels) for check in checks)


def _term(term: str) -> Callable[[dict[str, str]], bool]:
    match = _TERM.fullmatch(term)
    absent, label, operator, value = match.groups() if match else ("", "", "", "")
    if not label or (absent and operator):
        known = "label=value, label!=value, label, !label"
        raise problems.RequestError("malformed", f"labelSelector: {term!r} is none of {known}")
    if operator is None:
        return lambda labels: (label in labels) is not bool(absent)
    if operator == "!=":
        return lambda labels: labels.get(label) != value
    return lambda labels: labels.get(label) == value


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise problems.RequestError("malformed", f"the body is not JSON: {error}") from None


def _type(request: requests.Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_type(request: requests.Request, allowed: tuple[str, ...]) -> None:
    given = _type(request)
    if given not in allowed:
        raise problems.RequestError(
            "unsupported_media_type",
            f"content type {given or 'missing'!r}; send {' or '.join(allowed)}",
        )


async def _text(request: requests.Request) -> str:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise problems.RequestError(
                "too_large", f"the body exceeds {BODY_BYTES_MAX} bytes; send it in parts"
            )
        parts.append(part)
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError as error:
        raise problems.RequestError("malformed", f"the body is not UTF-8: {error}") from None
