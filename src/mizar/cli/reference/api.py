"""docs/reference/api.md, from the server's OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from mizar.cli.reference import markdown
from mizar.server import openapi, problems, watches

_INTRO: Final = """# REST API

JSON over HTTP/1.1, on TCP or a Unix socket. `GET /v1/openapi.json` is the description for
machines; the kinds' fields are in [kinds.md](kinds.md).

"""


def page() -> str:
    errors = [(markdown.code(code), str(status)) for code, status in problems.STATUS.items()]
    return (
        markdown.NOTE.format(source="src/mizar/server")
        + _INTRO
        + markdown.table(("request", "what it does", "parameters", "answers"), _rows())
        + f"\n## Watches\n\n{_text(watches.__doc__)}\n"
        + f"\n## Errors\n\n{_text(problems.__doc__)}\n\n"
        + markdown.table(("code", "HTTP status"), errors)
    )


def _rows() -> Iterator[tuple[str, ...]]:
    for path, operations in openapi.document()["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                request = markdown.code(f"{method.upper()} {path}")
                yield request, *_operation(operation, operations.get("parameters", []))


def _operation(operation: dict[str, Any], shared: list[dict[str, Any]]) -> tuple[str, str, str]:
    names = [
        markdown.code(one["name"])
        for one in [*shared, *operation.get("parameters", [])]
        if one["in"] == "query"
    ]
    about = operation.get("summary") or operation["operationId"]
    return about, ", ".join(names), ", ".join(sorted(operation["responses"]))


def _text(docstring: str | None) -> str:
    return (docstring or "").strip().replace("``", "`")
