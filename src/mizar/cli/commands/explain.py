"""`mizar explain`: what becomes of an endpoint's packets, and why."""

from __future__ import annotations

import click
import msgspec

from mizar.cli import courses, failures, printing, scope, words
from mizar.model import reports


@click.command(short_help="Say what becomes of an endpoint's packets, and why.")
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="TO")
@click.option(
    "--proto",
    "protocol",
    type=click.Choice(reports.PROTOCOLS),
    default="icmp",
    show_default=True,
    help="icmp is an echo request, tcp a SYN.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The destination's.")
@click.option("--source-port", type=click.IntRange(0, 65535), default=0, help="Else any.")
@click.option("--size", type=click.IntRange(0, 65535), default=0, help="Bytes of the IP packet.")
@click.option("-o", "--output", "form", type=click.Choice(["json", "yaml"]), help="Not text.")
@scope.options
@click.pass_context
def command(
    ctx: click.Context,
    source: str,
    to: str,
    protocol: str,
    port: int,
    source_port: int,
    size: int,
    form: str | None,
) -> None:
    """Say what becomes of an endpoint's packets, and why: each host, program, table and entry.

    FROM is an endpoint (NAME or TENANT/NAME), TO an endpoint or an address. Computed by the
    reference model from what is declared; nothing is sent. The first packet goes by transit
    tables, the next ones host to host. Exit code 0: delivered (or answered on the way), 1: not.
    """
    found = scope.current(ctx)
    with found.client() as client:
        explanation = client.explain(
            words.endpoint(source, found),
            words.target(to),
            protocol,
            source_port=source_port,
            port=port,
            size=size,
        )
    if form:
        data = msgspec.to_builtins(explanation)
        click.echo(printing.as_json(data) if form == "json" else printing.as_yaml(data))
    else:
        _print(explanation)
    if not (courses.arrived(explanation.first) and courses.arrived(explanation.next)):
        raise click.exceptions.Exit(failures.REFUSED)


def _print(explanation: reports.Explanation) -> None:
    click.echo(f"{explanation.tenant}/{explanation.endpoint}: {courses.flow(explanation.flow)}")
    if courses.same(explanation.first, explanation.next):
        titles = {"Every packet": explanation.first}
    else:
        titles = {"First packet": explanation.first, "Next packets": explanation.next}
    for title, course in titles.items():
        click.echo(f"\n{title}: {courses.verdict(course)}")
        for line in courses.told(course):
            click.echo(line)
    for note in explanation.notes:
        click.echo(f"\nnote: {note}")
