"""`mizar server`: run the management server."""

from __future__ import annotations

import click

from mizar.cli import failures, logs
from mizar.client import address


@click.command(short_help="Run the server: the API and the agents' streams.")
@click.option(
    "--underlay",
    multiple=True,
    required=True,
    metavar="CIDR",
    help="A prefix that hosts live in; tunnel packets from elsewhere are dropped. Repeatable.",
)
@click.option(
    "--store",
    default="/var/lib/mizar/server.db",
    metavar="PATH",
    show_default=True,
    help="The SQLite database; made when absent.",
)
@click.option(
    "--listen",
    multiple=True,
    default=[address.DEFAULT, f"127.0.0.1:{address.PORT}"],
    metavar="ADDRESS",
    show_default=True,
    help="HOST:PORT or unix:/PATH. Repeatable. There is no authentication: a private network only.",
)
def command(underlay: tuple[str, ...], store: str, listen: tuple[str, ...]) -> None:
    """Run the server: the API for users, and the streams to the hosts' agents.

    When it stops, the packets go on; agents come back to it by themselves.
    """
    from mizar.server import main

    logs.configure()
    try:
        main.run(listen, store, underlay)
    except main.StartError as error:
        raise failures.Failure(str(error)) from error
