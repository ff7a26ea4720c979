"""`mizar lab`: a whole fleet on this machine, in network namespaces."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """Run a fleet of hosts on this one machine."""
