"""`mizar apply`: make it so."""

from __future__ import annotations

import click

from mizar.cli import manifests, scope, words


@click.command()
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A manifest, a directory of them, or - for standard input; may be given many times.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@scope.options
@click.pass_context
def command(ctx: click.Context, sources: tuple[str, ...], dry_run: bool) -> None:
    """Create or change resources to what manifests say.

    All files together are one transaction: applied whole, or not at all.
    """
    found = scope.current(ctx)
    items = manifests.read(sources, found.tenant)
    with found.client() as client:
        outcomes = client.apply(items, dry_run=dry_run)
    for outcome in outcomes:
        note = " (dry run)" if dry_run else ""
        click.echo(f"{words.text(outcome.key)} {outcome.action}{note}")
