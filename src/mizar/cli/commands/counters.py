"""`mizar counters`: this host's packets, by the reason for which they left a program."""

from __future__ import annotations

import errno

import click

from mizar.cli import failures, printing


@click.command(short_help="Print this host's packet counters, as root.")
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
    from mizar.bpf import errors as bpf_errors
    from mizar.datapath import counters

    try:
        found = counters.read(pin_path)
    except bpf_errors.BpfError as error:
        if error.errno != errno.ENOENT:
            raise
        raise failures.Failure(
            f"nothing is pinned at {pin_path}: no agent has run on this host; "
            "start it, or give the agent's --pin-path (a lab's: mizar lab counters)"
        ) from error
    table = printing.Table(["REASON", "PACKETS", "BYTES"])
    table.print(
        [
            [name, str(count.packets), str(count.bytes)]
            for name, count in found.items()
            if count.packets or everything
        ]
    )
