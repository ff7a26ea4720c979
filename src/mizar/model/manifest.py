"""Text or plain data -> resources, structure only: YAML or JSON, one document or many.

Knows field names and types; the rules on values are in `rules`, those that
need other resources in `admission`. What belongs to the system (status, uid,
created) is accepted and left out, so that what `get -o yaml` printed applies.
"""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import yaml

from mizar.model import errors, registry, resources

_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")
NESTING_MAX: Final = 32
EXPANDED_MAX: Final = 16 << 20  # characters and nodes, aliases written out
_SYSTEM: Final = ("uid", "created")
_NAMES: Final = {str: "text", int: "a whole number", bool: "true or false"}


class _Duplicate(yaml.MarkedYAMLError):
    """The same key twice in one mapping."""


class _Loader(yaml.CSafeLoader):
    """The safe loader, which also refuses a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = key.value
            if name in seen:
                message = f"{name!r} is given twice"
                raise _Duplicate(problem=message, problem_mark=key.start_mark)
            seen.add(name)
        return typing.cast(dict[Any, Any], super().construct_mapping(node, deep=deep))


def parse(text: str, tenant: str = "") -> list[resources.Resource]:
    """All resources of a YAML or JSON text, ``---`` documents and ``kind: List`` included.

    ``tenant`` is filled in where a tenanted resource names none. Raises
    `errors.Invalid` with every problem found, each naming document and field.
    """
    return convert_all(_load(text), tenant)


def convert_all(documents: Iterable[object], tenant: str = "") -> list[resources.Resource]:
    """As `parse`, from documents that are plain data."""
    found: list[resources.Resource] = []
    problems: list[errors.Problem] = []
    for where, document in _each(documents):
        try:
            found.append(convert(document, tenant, where))
        except errors.Invalid as refused:
            problems += refused.problems
    if not found and not problems:
        remedy = "give at least one resource (apiVersion, kind, metadata, spec)"
        problems.append(errors.Problem("manifest", "", "it holds no resource", remedy))
    if problems:
        raise errors.Invalid(problems)
    return found


def convert(document: object, tenant: str = "", where: str = "") -> resources.Resource:
    """One resource from plain data (a decoded JSON object).

    ``where`` goes before the object's name in problems (``document 2``). The
    caller's ``metadata.revision`` is kept (a replace compares it). Raises
    `errors.Invalid`.
    """
    if not isinstance(document, dict):
        remedy = "write a mapping with apiVersion, kind, metadata and spec"
        message = f"expected a mapping, got {_article(document)}"
        raise errors.Invalid([errors.Problem(where or "request", "", message, remedy)])
    return _Conversion(document, tenant, where).resource()


def _load(text: str) -> list[object]:
    try:
        _check_cost(text)
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise errors.Invalid([_syntax(error)]) from None
    except (RecursionError, ValueError) as error:
        message = f"not valid YAML: {error}"
        remedy = "write plain mappings, lists and text"
        raise errors.Invalid([errors.Problem("manifest", "", message, remedy)]) from None


def _check_cost(text: str) -> None:
    """Refuses nesting that would overflow the loader's stack, and aliases that swell the text."""
    opened: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    size = 0
    for event in yaml.parse(text, Loader=_Loader):
        began, anchor = size, getattr(event, "anchor", None)
        size += 1
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, began))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, began = opened.pop()
            sizes[anchor] = size - began
        elif isinstance(event, yaml.ScalarEvent):
            size += len(event.value)
            sizes[anchor] = size - began
        elif isinstance(event, yaml.AliasEvent):
            size += sizes.get(anchor, EXPANDED_MAX)
        if len(opened) > NESTING_MAX or size > EXPANDED_MAX:
            what = (
                "nested too deeply"
                if len(opened) > NESTING_MAX
                else "too long, aliases written out"
            )
            raise yaml.MarkedYAMLError(
                problem=what, problem_mark=typing.cast(yaml.Mark, event.start_mark)
            )


def _each(documents: Iterable[object]) -> Iterator[tuple[str, object]]:
    """(``document N``, data) for each document, the items of lists one by one."""
    for number, document in enumerate(documents, 1):
        where = f"document {number}"
        if isinstance(document, dict) and document.get("kind") == "List":
            items = document.get("items", [])
            if not isinstance(items, list):
                message = f"expected a list, got {_article(items)}"
                remedy = "write a list of resources"
                raise errors.Invalid([errors.Problem(f"{where}: List", "items", message, remedy)])
            for index, item in enumerate(items, 1):
                yield f"{where}, item {index}", item
        elif document is not None:
            yield where, document


def _syntax(error: yaml.YAMLError) -> errors.Problem:
    mark = getattr(error, "problem_mark", None)
    message = getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    remedy = "leave one of them out" if isinstance(error, _Duplicate) else "correct the syntax"
    return errors.Problem("manifest", "", f"not valid YAML: {place}{message}", remedy)


@functools.cache
def _types(type_: type[resources.Resource]) -> dict[str, Any]:
    return typing.get_type_hints(type_)


@functools.cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(type_)}


class _Conversion:
    """One document on its way to a resource: gathers problems, then builds."""

    def __init__(self, document: dict[Any, Any], tenant: str, where: str) -> None:
        self.document = document
        self.tenant = tenant
        self.problems: list[errors.Problem] = []
        self.object = ": ".join(part for part in (where, _describe(document, tenant)) if part)

    def resource(self) -> resources.Resource:
        kind = self._kind()
        if kind is None:
            raise errors.Invalid(self.problems)
        self._unknown(self.document, _TOP, "")
        version = self.document.get("apiVersion", resources.API_VERSION)
        if version != resources.API_VERSION:
            remedy = f"write apiVersion: {resources.API_VERSION}"
            self._add("apiVersion", f"unknown version {_shown(version)}", remedy)
        types = _types(kind.type)
        metadata = self._struct(self._metadata(kind), resources.Metadata, "metadata")
        spec = self._struct(self.document.get("spec", {}), types["spec"], "spec")
        if self.problems:
            raise errors.Invalid(self.problems)
        build: Any = kind.type
        return typing.cast(resources.Resource, build(metadata=metadata, spec=spec))

    def _kind(self) -> registry.Kind | None:
        word = self.document.get("kind")
        if isinstance(word, str) and word in registry.KINDS:
            return registry.KINDS[word]
        if word is None:
            remedy = f"write kind: with one of {', '.join(registry.KINDS)}"
            self._add("kind", "no kind is named", remedy)
        else:
            self.problems.append(registry.unknown_kind(_shown(word), self.object))
        return None

    def _metadata(self, kind: registry.Kind) -> object:
        metadata = self.document.get("metadata", {})
        if not isinstance(metadata, dict):
            return metadata
        kept = {field: value for field, value in metadata.items() if field not in _SYSTEM}
        if kind.tenanted and not kept.get("tenant"):
            kept["tenant"] = self.tenant
        return kept

    def _struct(self, data: object, type_: type[msgspec.Struct], path: str) -> Any:
        """The struct, or None when there were problems."""
        if not isinstance(data, dict):
            self._add(path, f"expected a mapping, got {_article(data)}", "indent its fields")
            return None
        fields = _fields(type_)
        self._unknown(data, tuple(fields), f"{path}.")
        values = {}
        for name, field in fields.items():
            if name in data:
                values[name] = self._value(data[name], field.type, f"{path}.{name}")
            elif field.required:
                self._add(f"{path}.{name}", "it is missing", f"add {path}.{name}")
        return type_(**values) if not self.problems else None

    def _value(self, value: object, type_: Any, path: str) -> Any:
        if type_ is int and isinstance(value, int) and value.bit_length() > 63:
            self._add(path, "the number is out of range", "use a smaller one")
            return None
        if type_ == dict[str, str] and isinstance(value, dict):
            return {
                self._value(key, str, f"{path}.{_shown(key)}"): self._value(
                    each, str, f"{path}.{_shown(key)}"
                )
                for key, each in value.items()
            }
        try:
            return msgspec.convert(value, type_)
        except (msgspec.ValidationError, RecursionError) as error:
            message, _, inner = str(error).partition(" - at `$")
            self._add(path + inner.rstrip("`"), _plain(message), _remedy(value, type_))
            return None

    def _unknown(self, data: dict[Any, Any], known: tuple[str, ...], prefix: str) -> None:
        for key in data:
            if key not in known:
                name = _shown(key)
                near = difflib.get_close_matches(name, known, n=1)
                fields = ", ".join(known)
                remedy = f"did you mean {near[0]}?" if near else f"the fields are {fields}"
                self._add(f"{prefix}{name}", "unknown field", remedy)

    def _add(self, field: str, message: str, remedy: str) -> None:
        self.problems.append(errors.Problem(self.object, field, message, remedy))


def _describe(document: dict[Any, Any], tenant: str) -> str:
    """``Endpoint acme/web1``, as far as the document says."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kind = _shown(document.get("kind", "resource"))
    name = _shown(metadata.get("name", "(no name)"))
    known = registry.KINDS.get(kind)
    scope = _shown(metadata.get("tenant") or tenant) if known and known.tenanted else ""
    return str(resources.Key(kind, scope, name))


def _shown(value: object) -> str:
    """Text as it is; else its type: aliases can make a small document's value enormous."""
    return value if isinstance(value, str) else f"({_article(value)})"


def _article(value: object) -> str:
    names = {list: "a list", dict: "a mapping", type(None): "nothing", str: "text"}
    return names.get(type(value)) or _NAMES.get(type(value), f"a {type(value).__name__}")


def _plain(message: str) -> str:
    words = {"`str`": "text", "`int`": "a whole number", "`bool`": "true or false"}
    words |= {"`array`": "a list", "`object`": "a mapping", "`null`": "nothing"}
    for code, word in words.items():
        message = message.replace(code, word)
    return message[:1].lower() + message[1:]


def _remedy(value: object, type_: Any) -> str:
    if typing.get_origin(type_) is list and not isinstance(value, list):
        return "write a list, such as [10.0.0.0/16]"
    if type_ in _NAMES and type_ is not str:
        return f"write {_NAMES[type_]}"
    return "write text, in quotes where YAML reads it as something else"
