"""`mizar drops`: which packets are lost, where, whose, and why."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from mizar.cli import printing, scope
from mizar.client import errors, rest
from mizar.datapath import interface_errors, reasons
from mizar.model import reports

RETRY_S: Final = 1.0
NAMES_MAX: Final = 8  # hosts named in one line
_TEXTS: Final = {one.name: one.text for one in reasons.REASONS} | interface_errors.TEXTS
_HEADER: Final = ("HOST", "WHOSE", "REASON", "PACKETS", "RATE", "LAST", "FROM", "TO", "MEANING")


@click.command(short_help="Show lost packets: where, whose, why.")
@click.option("--host", default="", metavar="HOST", help="On this host alone.")
@click.option("--endpoint", default="", metavar="[TENANT/]NAME", help="Of this endpoint alone.")
@click.option("--reason", default="", metavar="REASON", help="For this reason: NO_ENDPOINT.")
@click.option("-o", "--output", "form", type=click.Choice(["json", "yaml"]), help="Not a table.")
@click.option("-w", "--watch", is_flag=True, help="Go on with every change, until interrupted.")
@scope.listing_options
@click.pass_context
def command(
    ctx: click.Context, host: str, endpoint: str, reason: str, form: str | None, watch: bool
) -> None:
    """Show lost packets by host, endpoint and reason, as counted since the host's maps were made.

    Of one tenant with -n, else of all and of the hosts themselves. Agents report every second.
    RATE is packets a second, LAST how long ago there were more of them (-: not since the agent
    connected), FROM and TO are the last one's addresses. Where the endpoint isn't known, WHOSE
    is the VPC, if that is.
    """
    found = scope.current(ctx)
    tenant, _, name = endpoint.rpartition("/")
    tenant = tenant or ("" if found.all_tenants else found.tenant)
    if endpoint and not tenant:
        raise click.UsageError(f"which tenant? write TENANT/{endpoint}, or give -n TENANT")
    chosen = {"host": host, "endpoint": name, "reason": _reason(reason)}
    with found.client() as client:
        if watch:
            _follow(client, tenant, chosen, form)
        else:
            _print(client.drops(tenant, **chosen), form)


def _reason(word: str) -> str:
    name = word.upper().replace("-", "_")
    if name and name not in _TEXTS:
        raise click.UsageError(f"reason {word!r}: no such one; see mizar reasons")
    return name


def _print(found: rest.Losses, form: str | None) -> None:
    if form:
        data: list[Any] = [msgspec.to_builtins(loss) for loss in found.items]
        click.echo(printing.as_json(data) if form == "json" else printing.as_yaml(data))
    elif found.items:
        printing.Table(_HEADER).print([_row(loss) for loss in found.items])
    elif not found.silent:
        click.echo("Nothing was lost.", err=True)
    if found.silent:
        names = ", ".join(found.silent[:NAMES_MAX])
        more = f" and {len(found.silent) - NAMES_MAX} more" if found.silent[NAMES_MAX:] else ""
        click.echo(f"not known of {names}{more}: no report from the agent", err=True)
    if found.omitted:
        click.echo(f"{found.omitted} more rows: the server has no room for them", err=True)


def _follow(client: rest.Client, tenant: str, chosen: dict[str, str], form: str | None) -> None:
    """Prints what there is, then every row that changes; all of it again when the watch breaks."""
    table = printing.Table(_HEADER)
    _follow_once(client, tenant, chosen, form, table)
    while True:
        try:
            _follow_once(client, tenant, chosen, form, table)
        except errors.Unreachable as error:
            click.echo(f"{error}; trying again", err=True)
            time.sleep(RETRY_S)


def _follow_once(
    client: rest.Client,
    tenant: str,
    chosen: dict[str, str],
    form: str | None,
    table: printing.Table,
) -> None:
    first: list[reports.Loss] | None = []
    for loss in client.watch_drops(tenant, **chosen):
        if first is not None and loss is not None:
            first.append(loss)
        elif first is not None:
            _show(first, form, table)
            first = None
        elif loss is not None:
            _show([loss], form, table)


def _show(losses: Sequence[reports.Loss], form: str | None, table: printing.Table) -> None:
    if not form:
        table.print([_row(loss) for loss in losses])
    for loss in losses if form else ():
        data = msgspec.to_builtins(loss)
        line = msgspec.json.encode(data).decode()
        click.echo(line if form == "json" else f"---\n{printing.as_yaml(data)}")


def _row(loss: reports.Loss) -> list[str]:
    return [
        loss.host,
        _whose(loss),
        loss.reason,
        str(loss.packets),
        f"{loss.rate:g}/s",
        _ago(loss.seen),
        loss.source or "-",
        loss.destination or "-",
        _TEXTS.get(loss.reason, "-"),
    ]


def _whose(loss: reports.Loss) -> str:
    if loss.endpoint:
        return f"endpoint/{loss.tenant}/{loss.endpoint}"
    if loss.vpc:
        return f"vpc/{loss.tenant}/{loss.vpc}"
    return f"VNI {loss.vni}" if loss.vni else "-"


def _ago(seen: str) -> str:
    """Time since, as in `get`; ``-`` for what was there before the server was told."""
    if not seen:
        return "-"
    now = datetime.datetime.now(datetime.UTC)
    return printing.duration(
        max(int((now - datetime.datetime.fromisoformat(seen)).total_seconds()), 0)
    )
