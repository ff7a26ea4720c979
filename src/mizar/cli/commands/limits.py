"""`mizar limits`: how much of everything there may be."""

from __future__ import annotations

import click

from mizar.cli import limits, printing


@click.command(short_help="List the limits of tables, queues and requests.")
def command() -> None:
    """List the limits of tables, queues and requests, and where each is set."""
    table = printing.Table(["LIMIT", "VALUE", "WHERE", "MEANING"])
    table.print([[one.name, str(one.value), one.where, one.text] for one in limits.LIMITS])
