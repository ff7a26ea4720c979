"""`mizar cleanup`: take an agent's works off a host."""

from __future__ import annotations

import click

from mizar.cli import failures


@click.command(short_help="Remove what a stopped agent left on this host.")
@click.option(
    "--pin-path",
    default="/sys/fs/bpf/mizar",
    metavar="PATH",
    show_default=True,
    help="As its agent's.",
)
def command(pin_path: str) -> None:
    """Remove what a stopped agent left on this host: programs, maps, interfaces, namespaces.

    Endpoints on this host lose their network.
    """
    from mizar.agent import main

    try:
        main.cleanup(pin_path)
    except main.AgentError as error:
        raise failures.Failure(str(error)) from error
