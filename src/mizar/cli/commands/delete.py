"""`mizar delete`: remove resources by manifest or by name."""

from __future__ import annotations

import click

from mizar.cli import manifests, scope, words


@click.command()
@click.argument("what", nargs=-1, metavar="[KIND NAME... | KIND/NAME...]")
@click.option(
    "-f", "--filename", "sources", multiple=True, metavar="FILE", help="Delete what it names."
)
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@scope.options
@click.pass_context
def command(
    ctx: click.Context, what: tuple[str, ...], sources: tuple[str, ...], dry_run: bool
) -> None:
    """Delete resources, all or none; refused while others use them."""
    found = scope.current(ctx)
    if bool(what) == bool(sources):
        raise click.UsageError("say what to delete: either KIND NAME..., or -f FILE")
    with found.client() as client:
        if sources:
            items = manifests.read(sources, found.tenant)
        else:
            items = [client.get(key) for key in words.keys(what, found)]
        outcomes = client.delete(items, dry_run=dry_run)
    for outcome in outcomes:
        note = " (dry run)" if dry_run else ""
        click.echo(f"{words.text(outcome.key)} {outcome.action}{note}")
