"""`mizar lab`: a whole fleet on this machine, in network namespaces."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from mizar.cli import failures, manifests, printing, scope, words

if TYPE_CHECKING:
    from mizar.lab import fleet, workloads


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


@command.command(short_help="Start a fleet; one that is up and well is kept.")
@click.option("--hosts", default=4, metavar="N", show_default=True, help="How many hosts.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "xdp", "tcx"]),
    default="auto",
    show_default=True,
    help="The uplinks' mode.",
)
@click.option("--mtu", default=1500, metavar="BYTES", show_default=True, help="The underlay's MTU.")
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    metavar="FILE",
    help="Then apply this manifest and check who reaches whom.",
)
@_name
@click.pass_context
def up(
    ctx: click.Context, name: str, hosts: int, mode: Any, mtu: int, sources: tuple[str, ...]
) -> None:
    """Start hosts in two underlay subnets, a server, and an agent on every host.

    A lab of that name that is up and well is kept, with all that is in it. What
    is left of one that isn't, crashed or not, is removed first.
    """
    from mizar.lab import fleet

    wanted = manifests.read(sources, scope.current(ctx).tenant) if sources else []
    with _explained():
        lab = fleet.Lab(name, hosts, mode, mtu)
        kept = _kept(lab)
        if not kept:
            lab.up()
    state = "is up already, and is kept" if kept else "is up"
    ready = f"{hosts} host is Ready" if hosts == 1 else f"{hosts} hosts are Ready"
    click.echo(f"lab {name} {state}: {ready}; server at unix:{lab.layout.socket}")
    if kept:
        click.echo(f"to have another, or what the code is now, end it first: {_down(lab)}")
    if wanted:
        _apply(lab, wanted)
        _check(lab, wait=True)


def _kept(lab: fleet.Lab) -> bool:
    """Whether the lab is there and can be used as it is; says so when it can't."""
    trouble = lab.trouble()
    if trouble:
        click.echo(f"lab {lab.layout.name} is not well ({trouble}): it is started anew, empty")
    return trouble == ""


def _apply(lab: fleet.Lab, wanted: Sequence[Any]) -> None:
    with lab.client() as client:
        for outcome in client.apply(wanted):
            click.echo(f"{words.text(outcome.key)} {outcome.action}")


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


@command.command(short_help="Print who reaches whom, by pings and connections.")
@click.option("--wait", is_flag=True, help="First wait until everything is Ready.")
@_name
def check(name: str, wait: bool) -> None:
    """Ping and connect from every endpoint to every address, and print who reaches whom.

    Fails when one that should be reached isn't, or one of another VPC is.
    """
    from mizar.lab import fleet

    with _explained():
        lab = fleet.opened(name)
    _check(lab, wait)


def _check(lab: fleet.Lab, wait: bool) -> None:
    from mizar.lab import reachability, report

    with _explained():
        if wait:
            lab.wait_ready()
        known = lab.workloads()
    if not known:
        name = lab.layout.name
        raise failures.Failure(f"lab {name} has no endpoints; mizar apply -f some, then check")
    cells = reachability.check(known)
    for line in report.lines(cells):
        click.echo(line)
    if not all(cell.ok for cell in cells):
        raise failures.Failure("not as it should be: see the lines above that say FAILED")
    for line in _next_steps(lab, known):
        click.echo(line)


def _next_steps(lab: fleet.Lab, known: Sequence[workloads.Workload]) -> Iterator[str]:
    """How to go on, in commands that work when pasted."""
    from mizar.lab import layout

    default = lab.layout.name == layout.DEFAULT
    server = "" if default else f" --server unix:{lab.layout.socket}"
    name = _option(lab)
    one = known[0].name
    address = [other for other in known if other.vpc == known[0].vpc][-1].address
    yield "\nThe lab stays up. To go on:"
    for step in (
        f"get endpoints -A -o wide{server}",
        f"describe endpoint/{one}{server}",
        f"lab exec{name} {one} -- ping -c 3 {address}",
        f"lab exec{name} {one} -- bash",
        f"lab counters{name}",
    ):
        yield f"  {words.program()} {step}"
    yield f"  {_down(lab)}"


def _down(lab: fleet.Lab) -> str:
    return f"{words.program()} lab down{_option(lab)}"


def _option(lab: fleet.Lab) -> str:
    from mizar.lab import layout

    return "" if lab.layout.name == layout.DEFAULT else f" --name {lab.layout.name}"


@command.command(short_help="Print every host's packets by reason.")
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


@command.command(short_help="End processes of the lab at once, as a crash would.")
@click.argument("processes", nargs=-1, required=True, metavar="server | agent-HOST...")
@_name
def kill(name: str, processes: tuple[str, ...]) -> None:
    """End processes of the lab at once, as a crash would; packets go on."""
    from mizar.lab import fleet

    with _explained():
        lab = fleet.opened(name)
        for process in lab.named(processes):
            lab.stop(process)


@command.command(short_help="Start what doesn't run, and wait for the hosts.")
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
