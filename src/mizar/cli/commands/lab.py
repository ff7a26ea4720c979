"""`mizar lab`: a whole fleet on this machine, in network namespaces."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from mizar.cli import failures, printing, scope

NEXT: Final = """
The lab stays up. To go on:
  mizar get endpoints -A -o wide
  mizar describe endpoint/{endpoint}
  mizar lab exec {endpoint} -- ping -c 3 {address}
  mizar lab exec {endpoint} -- bash
  mizar lab counters
  mizar lab down"""


@click.group()
def command() -> None:
    """Run a fleet on this one machine: hosts are network namespaces. As root."""


def _name(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--name",
        envvar="MIZAR_LAB",
        default="mizar",
        metavar="LAB",
        show_default=True,
        help="Which lab (env MIZAR_LAB).",
    )(function)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    from mizar.lab import layout

    try:
        yield
    except layout.LabError as error:
        raise failures.Failure(str(error)) from error


@command.command()
@click.option("--hosts", default=4, metavar="N", show_default=True, help="How many hosts.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "xdp", "tcx"]),
    default="auto",
    show_default=True,
    help="The uplinks' mode.",
)
@click.option("--mtu", default=1500, metavar="BYTES", show_default=True, help="The underlay's MTU.")
@_name
def up(name: str, hosts: int, mode: Any, mtu: int) -> None:
    """Start hosts in two underlay subnets, a server, and an agent on every host.

    What an earlier lab of that name left, crashed or not, is removed first.
    """
    from mizar.lab import fleet

    with _explained():
        lab = fleet.Lab(name, hosts, mode, mtu)
        lab.up()
    click.echo(f"lab {name} is up: {hosts} hosts are Ready; server at unix:{lab.layout.socket}")


@command.command()
@_name
def down(name: str) -> None:
    """Remove every trace of the lab, whatever has crashed before."""
    from mizar.lab import fleet

    with _explained():
        fleet.Lab(name).down()
    click.echo(f"lab {name} is gone")


@command.command()
@_name
def status(name: str) -> None:
    """Say what of the lab runs, and where its logs are."""
    from mizar.lab import fleet

    with _explained():
        for line in fleet.opened(name).status():
            click.echo(line)


@command.command()
@click.option("--wait", is_flag=True, help="First wait until everything is Ready.")
@_name
def check(name: str, wait: bool) -> None:
    """Ping and connect from every endpoint to every address, and print who reaches whom.

    Fails when one that should be reached isn't, or one of another VPC is.
    """
    from mizar.lab import fleet, reachability, report

    with _explained():
        lab = fleet.opened(name)
        if wait:
            lab.wait_ready()
        known = lab.workloads()
    if not known:
        raise failures.Failure(f"lab {name} has no endpoints; mizar apply -f some, then check")
    cells = reachability.check(known)
    for line in report.lines(cells):
        click.echo(line)
    if not all(cell.ok for cell in cells):
        raise failures.Failure("not as it should be: see the lines above that say FAILED")
    neighbours = [one for one in known if one.vpc == known[0].vpc]
    click.echo(NEXT.format(endpoint=known[0].name, address=neighbours[-1].address))


@command.command()
@_name
def counters(name: str) -> None:
    """Print every host's packets by reason, those that have counted something."""
    from mizar.lab import fleet

    with _explained():
        found = fleet.opened(name).counters()
    reasons = next(iter(found.values()))
    rows = [[why, *(str(one[why].packets) for one in found.values())] for why in reasons]
    table = printing.Table(["REASON", *(host.upper() for host in found)])
    table.print([row for row in rows if set(row[1:]) != {"0"}])


@command.command()
@click.argument("processes", nargs=-1, required=True, metavar="server | agent-HOST...")
@_name
def kill(name: str, processes: tuple[str, ...]) -> None:
    """End processes of the lab at once, as a crash would; packets go on."""
    from mizar.lab import fleet

    with _explained():
        lab = fleet.opened(name)
        for process in lab.named(processes):
            lab.stop(process)


@command.command()
@click.argument("processes", nargs=-1, metavar="[server | agent-HOST...]")
@_name
def start(name: str, processes: tuple[str, ...]) -> None:
    """Start what doesn't run, of all or of those named, and wait until the hosts are Ready."""
    from mizar.lab import fleet

    with _explained():
        lab = fleet.opened(name)
        lab.start(lab.named(processes))


@command.command("exec", context_settings={"ignore_unknown_options": True})
@_name
@click.option("-n", "--tenant", metavar="TENANT", help="The endpoint's tenant (env MIZAR_TENANT).")
@click.argument("where")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...", required=True)
@click.pass_context
def execute(
    ctx: click.Context, name: str, tenant: str | None, where: str, words: tuple[str, ...]
) -> None:
    """Run a command where an endpoint is: TENANT/NAME, or NAME. Or on a host: h1.

    What follows -- is the command: ping, curl, iperf3, bash.
    """
    from mizar.datapath import namespaces
    from mizar.lab import fleet

    with _explained():
        netns = fleet.opened(name).netns(where, tenant or scope.current(ctx).tenant)
        namespaces.enter(namespaces.open_fd(netns))
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise failures.Failure(f"{words[0]}: {error.strerror}; is it installed?") from error
