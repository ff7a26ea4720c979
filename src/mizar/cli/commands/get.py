"""`mizar get`: list resources, print them, follow them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import click
import msgspec

from mizar.cli import printing, scope, words
from mizar.client import errors, rest
from mizar.model import registry, resources

RETRY_S: Final = 1.0
_Show = Callable[[Sequence[rest.Event]], None]


class _Wish(NamedTuple):
    """What was asked for; no ``keys``: all of the ``kinds``."""

    kinds: list[registry.Kind]
    keys: list[resources.Key]
    form: printing.Format
    selector: str
    scope: scope.Scope

    def tenant(self, kind: registry.Kind) -> str:
        """The tenant to list ``kind`` in, '' for all of them."""
        if not self.keys:
            return self.scope.tenants_for(kind)
        tenants = {key.tenant for key in self.keys}
        return tenants.pop() if len(tenants) == 1 else ""


@click.command()
@click.argument("what", nargs=-1, metavar="KIND [NAME...] | KIND/NAME... | all")
@click.option(
    "-o", "--output", "form", type=click.Choice(printing.FORMATS), help="How it is printed."
)
@click.option("-l", "--selector", default="", help="By labels: app=web,tier!=db.")
@click.option("-w", "--watch", is_flag=True, help="Go on with every change, until interrupted.")
@scope.listing_options
@click.pass_context
def command(
    ctx: click.Context,
    what: tuple[str, ...],
    form: printing.Format | None,
    selector: str,
    watch: bool,
) -> None:
    """Print resources: a table, or -o wide, json, yaml, name.

    KIND may be several with commas (vpc,network), plural, or short (ep, net).
    """
    wish = _wish(what, form or "", selector, scope.current(ctx))
    with wish.scope.client() as client:
        if watch:
            _follow(client, wish)
        else:
            _print(client, wish)


def _wish(what: tuple[str, ...], form: printing.Format, selector: str, found: scope.Scope) -> _Wish:
    if not what:
        raise click.UsageError(f"get what? one of all, {', '.join(_plurals())}")
    if len(what) == 1 and "/" not in what[0]:
        return _Wish(words.kinds(what[0]), [], form, selector, found)
    if selector:
        raise click.UsageError("give either names or -l, not both")
    keys = words.keys(what, found)
    kinds = [kind for kind in registry.KINDS.values() if any(k.kind == kind.name for k in keys)]
    return _Wish(kinds, keys, form, selector, found)


def _plurals() -> Iterator[str]:
    return (kind.plural for kind in registry.KINDS.values())


def _print(client: rest.Client, wish: _Wish) -> None:
    items = [client.get(key) for key in wish.keys] if wish.keys else _listed(client, wish)
    if wish.form == "name":
        click.echo(printing.names(items), nl=bool(items))
    elif wish.form in ("json", "yaml"):
        click.echo(printing.document(items, wish.form, single=len(wish.keys) == 1))
    elif items:
        _tables(wish, items)
    else:
        click.echo(f"No {' or '.join(kind.plural for kind in wish.kinds)} found.", err=True)


def _listed(client: rest.Client, wish: _Wish) -> list[resources.Resource]:
    return [
        item for kind in wish.kinds for item in client.list(kind, wish.tenant(kind), wish.selector)
    ]


def _tables(wish: _Wish, items: list[resources.Resource]) -> None:
    """One table a kind, with an empty line between."""
    present = [kind for kind in wish.kinds if any(isinstance(item, kind.type) for item in items)]
    for number, kind in enumerate(present):
        click.echo("", nl=number > 0)
        listing = _listing(wish, kind)
        rows = [listing.row(item) for item in items if isinstance(item, kind.type)]
        printing.Table(listing.header).print(rows)


def _listing(wish: _Wish, kind: registry.Kind) -> printing.Listing:
    tenants = wish.scope.all_tenants or len({key.tenant for key in wish.keys}) > 1
    wide, prefixed = wish.form == "wide", len(wish.kinds) > 1
    return printing.Listing(kind, wide=wide, tenants=tenants, prefixed=prefixed)


def _follow(client: rest.Client, wish: _Wish) -> None:
    """Prints what is there, then every change; all of it again when the watch breaks."""
    if len(wish.kinds) != 1:
        raise click.UsageError("--watch follows one kind: name just one")
    show = _shower(wish)
    _follow_once(client, wish, show)
    while True:
        try:
            _follow_once(client, wish, show)
        except errors.Unreachable as error:
            click.echo(f"{error}; trying again", err=True)
            time.sleep(RETRY_S)


def _follow_once(client: rest.Client, wish: _Wish, show: _Show) -> None:
    """Until the watch breaks."""
    kind = wish.kinds[0]
    first: list[rest.Event] | None = []
    for event in client.watch(kind, wish.tenant(kind), wish.selector):
        chosen = [event] if _chosen(wish, event) else []
        if first is None:
            show(chosen)
        elif event.type != "synced":
            first += chosen
        else:
            show(first)
            first = None


def _chosen(wish: _Wish, event: rest.Event) -> bool:
    if event.object is None:
        return False
    return not wish.keys or resources.key_of(event.object) in wish.keys


def _shower(wish: _Wish) -> _Show:
    """Prints events: rows of a table, names, or for JSON and YAML the events themselves."""
    if wish.form in ("json", "yaml"):
        return functools.partial(_show_documents, form=wish.form)
    if wish.form == "name":
        return _show_names
    listing = _listing(wish, wish.kinds[0])
    table = printing.Table(listing.header)
    return lambda events: table.print([_row(listing, event) for event in events])


def _row(listing: printing.Listing, event: rest.Event) -> list[str]:
    assert event.object is not None
    row = listing.row(event.object)
    return [*row[:-1], "deleted"] if event.type == "delete" else row


def _show_names(events: Sequence[rest.Event]) -> None:
    for event in events:
        assert event.object is not None
        click.echo(words.text(resources.key_of(event.object)))


def _show_documents(events: Sequence[rest.Event], form: printing.Format) -> None:
    for event in events:
        assert event.object is not None
        data = {"type": event.type, "object": printing.plain(event.object)}
        text = msgspec.json.encode(data).decode() if form == "json" else printing.as_yaml(data)
        click.echo(f"---\n{text}" if form == "yaml" else text)
