"""`mizar edit`: change a resource in an editor."""

from __future__ import annotations

import tempfile
from typing import Final

import click
import msgspec

from mizar.cli import failures, printing, scope, words
from mizar.client import rest
from mizar.model import errors, manifest, resources

HINT: Final = "# Save to apply; save nothing to leave it as it is. Lines with '#' don't count.\n"


@click.command()
@click.argument("what", nargs=-1, metavar="KIND NAME | KIND/NAME")
@scope.options
@click.pass_context
def command(ctx: click.Context, what: tuple[str, ...]) -> None:
    """Edit a resource in $VISUAL or $EDITOR.

    What the server refuses comes back to the editor with the reason on top.
    """
    found = scope.current(ctx)
    keys = words.keys(what, found)
    if len(keys) != 1:
        raise click.UsageError("edit one at a time")
    with found.client() as client:
        item = client.get(keys[0])
        _edit(client, keys[0], item)


def _edit(client: rest.Client, key: resources.Key, item: resources.Resource) -> None:
    """Opens the editor until the server takes what comes out of it, or nothing new does."""
    original = _without_status(item)
    notes, body, reasons = HINT, original, ""
    while True:
        edited = _body(click.edit(notes + body, extension=".yaml") or body)
        if edited == body:
            break
        body = edited
        try:
            wish = _rebased(client, item, _read(body, key))
            changed = client.replace(wish)
        except errors.Refused as refused:
            reasons = str(refused)
            notes = HINT + "".join(f"# {problem}\n" for problem in refused.problems)
            continue
        action = (
            "unchanged" if changed.metadata.revision == wish.metadata.revision else "configured"
        )
        click.echo(f"{words.text(key)} {action}")
        return
    if body != original:
        kept = f"the edit was not taken; it is kept in {_kept(body)}"
        raise failures.Failure(f"{reasons}\n{kept}")
    click.echo(f"{words.text(key)} left as it is")


def _rebased(
    client: rest.Client, item: resources.Resource, wish: resources.Resource
) -> resources.Resource:
    """``wish`` for the present revision, if only the system has written since ``item`` was read."""
    now = client.get(resources.key_of(item))
    if wish.metadata.revision != item.metadata.revision or _declared(now) != _declared(item):
        return wish
    metadata = msgspec.structs.replace(wish.metadata, revision=now.metadata.revision)
    return msgspec.structs.replace(wish, metadata=metadata)


def _declared(item: resources.Resource) -> tuple[str, dict[str, str], object]:
    return item.metadata.uid, item.metadata.labels, item.spec


def _read(text: str, key: resources.Key) -> resources.Resource:
    items = manifest.parse(text, key.tenant)
    if [resources.key_of(item) for item in items] != [key]:
        remedy = "edit it back; apply a manifest to create another"
        problem = errors.Problem(str(key), "metadata", "kind and name can't change", remedy)
        raise errors.Invalid([problem])
    return items[0]


def _without_status(item: resources.Resource) -> str:
    data = printing.plain(item)
    del data["status"]
    return printing.as_yaml(data) + "\n"


def _body(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def _kept(text: str) -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="mizar-edit-", suffix=".yaml", delete=False
    ) as file:
        file.write(text)
    return file.name
