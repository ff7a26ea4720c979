"""docs/reference/kinds.md, from the registry and the structs of `mizar.model.resources`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from mizar.cli.reference import markdown
from mizar.model import registry, resources

_INTRO: Final = """# Kinds

A resource has `apiVersion: mizar/v1`, `kind`, `metadata`, `spec` (yours) and `status` (the
system's). All kinds but Tenant and Host live in a tenant.

## metadata

"""
_WORDS: Final[dict[type, str]] = {str: "text", int: "number", bool: "true or false"}


def page() -> str:
    parts = [markdown.NOTE.format(source="src/mizar/model"), _INTRO, _struct(resources.Metadata)]
    for kind in registry.KINDS.values():
        parts += _kind(kind)
    return "".join(parts)


def _kind(kind: registry.Kind) -> Iterator[str]:
    hints = typing.get_type_hints(kind.type)
    words = ", ".join(map(markdown.code, dict.fromkeys((kind.plural, *kind.short))))
    scope = "lives in a tenant" if kind.tenanted else "lives in no tenant"
    yield f"\n## {kind.name}\n\nOn the command line: {words}. It {scope}.\n\n### spec\n\n"
    yield _struct(hints["spec"], kind)
    yield "\n### status\n\n"
    yield _struct(hints["status"])


def _struct(struct: type[msgspec.Struct], kind: registry.Kind | None = None) -> str:
    """The struct's text and a table of its fields; with a ``kind``, what may change later."""
    text = inspect.cleandoc(struct.__doc__ or "").replace("``", "`")
    about = f"{text}\n\n" if text and "Struct" not in text.splitlines()[0] else ""
    header = ["field", "type", "default"] + (["may change later"] if kind else [])
    rows = [_row(field, kind) for field in msgspec.structs.fields(struct)]
    return about + markdown.table(header, rows)


def _row(field: msgspec.structs.FieldInfo, kind: registry.Kind | None) -> list[str]:
    row = [markdown.code(field.name), _type(field.type), _default(field)]
    if kind:
        row.append(f"no: {kind.immutable[field.name]}" if field.name in kind.immutable else "yes")
    return row


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        value = typing.cast(Any, field.default_factory)()
    return markdown.code(str(value)) if value or isinstance(value, int) else "empty"


def _type(type_: Any) -> str:
    """The type in words: ``list of text``."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[0])} to {_type(arguments[1])}"
    if origin is typing.Literal:
        return " or ".join(markdown.code(str(one)) for one in arguments)
    return _WORDS[type_]
