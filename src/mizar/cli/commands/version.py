"""`mizar version`."""

from __future__ import annotations

import click

import mizar


@click.command()
def command() -> None:
    """Print the version."""
    click.echo(mizar.__version__)
