"""Resources as text: kubectl-like tables, YAML, JSON, names."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import click
import msgspec

from mizar.cli import words
from mizar.model import registry, resources

Format = Literal["", "wide", "json", "yaml", "name"]
FORMATS: Final = ("wide", "json", "yaml", "name")
GAP: Final = 3
_COLOURS: Final = {"Ready": "green", "Pending": "yellow", "Failed": "red"}


class Table:
    """Rows under one header; the widths are the first rows', later ones may stick out."""

    def __init__(self, header: Sequence[str]) -> None:
        self._header = header
        self._widths: list[int] = []

    def print(self, rows: Sequence[Sequence[str]]) -> None:
        """Prints rows, the first time under the header; of no rows nothing is seen."""
        if rows and not self._widths:
            lines = [self._header, *rows]
            self._widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            self._line(self._header)
        for row in rows:
            self._line(row)

    def _line(self, cells: Sequence[str]) -> None:
        padded = [
            phase(cell) + " " * (width - len(cell) + GAP)
            for cell, width in zip(cells, self._widths, strict=True)
        ]
        padded[-1] = phase(cells[-1])
        click.echo("".join(padded))


class Listing:
    """What `get` shows of one kind: which columns, and a resource's cells for them.

    ``prefixed``: names carry their kind, for outputs of several kinds.
    """

    def __init__(
        self, kind: registry.Kind, *, wide: bool, tenants: bool, prefixed: bool = False
    ) -> None:
        self._kind = kind
        self._tenants = tenants and kind.tenanted
        self._prefixed = prefixed
        self._columns = kind.columns + (kind.wide if wide else ())

    @property
    def header(self) -> list[str]:
        first = ["TENANT", "NAME"] if self._tenants else ["NAME"]
        return [*first, *(column.header for column in self._columns), "AGE"]

    def row(self, item: resources.Resource) -> list[str]:
        name = item.metadata.name
        name = f"{self._kind.name.lower()}/{name}" if self._prefixed else name
        first = [item.metadata.tenant, name] if self._tenants else [name]
        return [*first, *(column.text(item) for column in self._columns), age(item)]


def plain(item: resources.Resource) -> dict[str, Any]:
    """The resource as plain data, in the order in which people write it."""
    data: dict[str, Any] = msgspec.to_builtins(item)
    return {name: data[name] for name in ("apiVersion", "kind", "metadata", "spec", "status")}


def document(items: Sequence[resources.Resource], form: Format, *, single: bool) -> str:
    """YAML or JSON of one resource (``single``) or of a List."""
    data: Any = [plain(item) for item in items]
    data = data[0] if single else {"apiVersion": "mizar/v1", "kind": "List", "items": data}
    return as_json(data) if form == "json" else as_yaml(data)


def as_json(data: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


def as_yaml(data: Any) -> str:
    import yaml

    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip("\n")


def names(items: Iterable[resources.Resource]) -> str:
    return "\n".join(words.text(resources.key_of(item)) for item in items)


def age(item: resources.Resource) -> str:
    """Time since creation, as ``45s``, ``12m``, ``3h``, ``8d``; ``-`` when not known."""
    if not item.metadata.created:
        return "-"
    now = datetime.datetime.now(datetime.UTC)
    seconds = int((now - datetime.datetime.fromisoformat(item.metadata.created)).total_seconds())
    return duration(max(seconds, 0))


def duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 120 * 60:
        return f"{seconds // 60}m"
    if seconds < 48 * 3600:
        return f"{seconds // 3600}h"
    return f"{seconds // 86400}d"


def phase(text: str) -> str:
    """The phase in its colour (which `click.echo` drops where nobody looks)."""
    return click.style(text, fg=_COLOURS[text]) if text in _COLOURS else text
