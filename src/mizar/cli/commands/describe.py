"""`mizar describe`: all about one resource, for reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec

from mizar.cli import printing, relations, scope, words
from mizar.client import rest
from mizar.model import resources

MEMBERS_MAX: Final = 12
WIDTH: Final = 22  # of a name, its indentation and colon: `secondaryAddresses` fits
_SHOWN_ABOVE: Final = ("phase", "message")


@click.command(short_help="Tell all about resources, and what belongs to them.")
@click.argument("what", nargs=-1, metavar="KIND NAME... | KIND/NAME...")
@scope.options
@click.pass_context
def command(ctx: click.Context, what: tuple[str, ...]) -> None:
    """Tell all about resources: what is wanted, what is, what it waits for, what belongs to it."""
    found = scope.current(ctx)
    with found.client() as client:
        for number, key in enumerate(words.keys(what, found)):
            click.echo("", nl=number > 0)
            for line in _lines(client, client.get(key)):
                click.echo(line)


def _lines(client: rest.Client, item: resources.Resource) -> Iterator[str]:
    yield from _head(item)
    yield from _section("Spec", msgspec.to_builtins(item.spec))
    status = msgspec.to_builtins(item.status)
    yield from _section("Status", {k: v for k, v in status.items() if k not in _SHOWN_ABOVE})
    for group in relations.of(client, item):
        yield ""
        yield f"{group.title}:"
        yield from _members(group)


def _head(item: resources.Resource) -> Iterator[str]:
    metadata = item.metadata
    yield _field("Kind", type(item).__name__)
    yield _field("Name", metadata.name)
    if metadata.tenant:
        yield _field("Tenant", metadata.tenant)
    labels = ", ".join(f"{name}={value}" for name, value in metadata.labels.items())
    yield _field("Labels", labels or "-")
    yield _field("Created", f"{metadata.created} ({printing.age(item)} ago)")
    yield _field("Revision", f"{metadata.revision}, uid {metadata.uid}")
    yield _field("Phase", printing.phase(item.status.phase))
    if item.status.message:
        yield _field("Because", item.status.message)


def _section(title: str, fields: dict[str, Any]) -> Iterator[str]:
    if fields:
        yield ""
        yield f"{title}:"
        yield from (_field(f"  {name}", _text(value)) for name, value in fields.items())


def _field(name: str, value: str) -> str:
    return f"{name + ':':<{WIDTH - 1}} {value}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "-"


def _members(group: relations.Group) -> Iterator[str]:
    """The first members with their phase and what `get` says of them first."""
    shown = group.members[:MEMBERS_MAX]
    names = [words.text(resources.key_of(one)) for one in shown]
    width = max(map(len, names))
    for name, one in zip(names, shown, strict=True):
        about = relations.brief(one)
        yield f"  {name:<{width}}  {printing.phase(one.status.phase)}  {about}".rstrip()
    if len(group.members) > MEMBERS_MAX:
        yield f"  and {len(group.members) - MEMBERS_MAX} more"
