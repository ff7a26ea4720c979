"""`mizar reasons`: why packets leave a program."""

from __future__ import annotations

import click

from mizar.cli import printing
from mizar.datapath import reasons


@click.command(short_help="List the reasons by which packets are counted.")
def command() -> None:
    """List the reasons by which packets are counted: name, verdict, meaning."""
    table = printing.Table(["REASON", "VERDICT", "MEANING"])
    table.print(reasons.REASONS)
