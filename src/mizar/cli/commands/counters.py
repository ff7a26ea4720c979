"""`mizar counters`: this host's packets, by the reason for which they left a program."""

from __future__ import annotations

import click

from mizar.cli import printing


@click.command()
@click.option(
    "--pin-path",
    default="/sys/fs/bpf/mizar",
    metavar="PATH",
    show_default=True,
    help="As its agent's.",
)
@click.option("--all", "everything", is_flag=True, help="Those too that have counted nothing.")
def command(pin_path: str, everything: bool) -> None:
    """Print this host's packet counters, as root; the agent needn't run.

    mizar reasons says what they mean.
    """
    from mizar.datapath import counters

    found = counters.read(pin_path)
    table = printing.Table(["REASON", "PACKETS", "BYTES"])
    table.print(
        [
            [name, str(count.packets), str(count.bytes)]
            for name, count in found.items()
            if count.packets or everything
        ]
    )
