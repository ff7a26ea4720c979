"""`mizar trace`: what becomes of real packets, beside what `explain` says of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import click
import msgspec

from mizar.cli import courses, failures, printing, scope, words
from mizar.client import rest
from mizar.model import reports, resources

POLL_S: Final = 0.1
SETTLE_S: Final = 0.4
_HEADER: Final = ("HOST", "PROGRAM", "EXPLAINED", "TRACED", "TO", "")


@click.command(short_help="Send or mark real packets and follow them from host to host.")
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="[TO]", default="")
@click.option(
    "--proto",
    "protocol",
    type=click.Choice(reports.PROTOCOLS),
    help="icmp (an echo request; the default), tcp (a lone SYN) or udp. Live: any when not given.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The destination's.")
@click.option("--source-port", type=click.IntRange(0, 65535), default=0, help="Else a free one.")
@click.option("--size", type=click.IntRange(0, 65535), default=0, help="Bytes of the IP packet.")
@click.option(
    "--count", type=click.IntRange(1, 100), default=2, show_default=True, help="Packets to send."
)
@click.option("--live", is_flag=True, help="Send nothing: mark what the workload itself sends.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 300),
    default=10.0,
    show_default=True,
    help="How long live packets are marked.",
)
@click.option("-o", "--output", "form", type=click.Choice(["json", "yaml"]), help="Not text.")
@scope.options
@click.pass_context
def command(
    ctx: click.Context,
    source: str,
    to: str,
    protocol: reports.Protocol | None,
    port: int,
    source_port: int,
    size: int,
    count: int,
    live: bool,
    seconds: float,
    form: str | None,
) -> None:
    """Send real packets from inside an endpoint's workload and follow them from host to host.

    FROM is an endpoint (NAME or TENANT/NAME), TO an endpoint or an address. Every program that
    a packet meets reports it, beside what explain says. The workload's state isn't changed: no
    connection is made. With --live nothing is sent; packets that match TO, --proto and the
    ports are marked. Exit code 0: all arrived, by the way that explain says; 1: not.
    """
    found = scope.current(ctx)
    if not (to or live):
        raise click.UsageError("trace to where? name an endpoint or an address, or say --live")
    wish = reports.TraceWish(
        to=words.target(to),
        protocol=protocol or "",
        port=port,
        source_port=source_port,
        bytes=size,
        count=0 if live else count,
        seconds=seconds if live else 0.0,
    )
    endpoint = words.endpoint(source, found)
    with found.client() as client:
        if live:
            _live(client, endpoint, wish, form)
        elif not _sent(client, endpoint, wish, form):
            raise click.exceptions.Exit(failures.REFUSED)


def _sent(
    client: rest.Client, endpoint: resources.Key, wish: reports.TraceWish, form: str | None
) -> bool:
    """Whether all packets arrived as explained."""
    trace = _ended(client, endpoint, client.begin_trace(endpoint, wish))
    assert trace.flow
    explanation = client.explain(
        endpoint,
        trace.flow.destination,
        trace.flow.protocol,
        source_port=trace.flow.source_port,
        port=trace.flow.port,
        size=trace.flow.bytes,
    )
    packets = [_steps(trace, number + 1) for number in range(len(trace.answers))]
    if form:
        data: Any = {"trace": trace, "explanation": explanation}
        data = msgspec.to_builtins(data)
        click.echo(printing.as_json(data) if form == "json" else printing.as_yaml(data))
    else:
        click.echo(f"{trace.tenant}/{trace.endpoint}: {courses.flow(trace.flow)}")
    good = [_packet(explanation, trace, n, s, form) for n, s in enumerate(packets, start=1)]
    for note in explanation.notes if not form else ():
        click.echo(f"\nnote: {note}")
    if trace.error:
        raise failures.Failure(f"{words.text(endpoint)}: {trace.error}")
    return all(good)


def _ended(client: rest.Client, endpoint: resources.Key, trace: reports.Trace) -> reports.Trace:
    """The trace once all is sent, and no host has told of another step for a while."""
    while trace.state == "running":
        time.sleep(POLL_S)
        trace = client.trace(endpoint, trace.number)
    before = -1
    while len(trace.steps) != before:
        before = len(trace.steps)
        time.sleep(SETTLE_S)
        trace = client.trace(endpoint, trace.number)
    return trace


def _steps(trace: reports.Trace, packet: int) -> list[reports.Step]:
    """What was seen of one packet, in order."""
    seen = [traced for traced in trace.steps if traced.packet == packet]
    return [traced.step for traced in courses.ordered(seen, trace.host)]


def _packet(
    explanation: reports.Explanation,
    trace: reports.Trace,
    number: int,
    steps: Sequence[reports.Step],
    form: str | None,
) -> bool:
    """Prints one packet's way beside the explained one; whether it arrived and they agree."""
    name, course = courses.matching(explanation, steps, number)
    rows = courses.beside(course.steps, steps)
    agree = all(row.agrees for row in rows)
    if not form:
        answer = trace.answers[number - 1]
        click.echo(f"\nPacket {number}: {_summary(course, steps, agree, name)}")
        click.echo(f"  answered by {answer}" if answer else "  nothing answered")
        printing.Table(_HEADER).print([_row(row) for row in rows])
    return agree and courses.arrived(course)


def _summary(course: reports.Course, steps: Sequence[reports.Step], agree: bool, name: str) -> str:
    if agree:
        return f"{courses.verdict(course)}, as explained ({name})"
    if not steps:
        return f"no program saw it; explain says ({name}): {courses.verdict(course)}"
    last = steps[-1]
    return (
        f"last seen on {last.host}: {last.reason} ({last.text}); "
        f"explain says ({name}): {courses.verdict(course)}"
    )


def _row(row: courses.Row) -> list[str]:
    step = row.traced or row.explained
    assert step
    return [
        step.host,
        step.program,
        row.explained.reason if row.explained else "-",
        row.traced.reason if row.traced else "-",
        step.next or "-",
        "" if row.agrees else "differs",
    ]


def _live(
    client: rest.Client, endpoint: resources.Key, wish: reports.TraceWish, form: str | None
) -> None:
    """Prints each report as it comes, until the time is over or the user interrupts."""
    trace = client.begin_trace(endpoint, wish)
    table = printing.Table(("HOST", "PROGRAM", "REASON", "FROM", "TO", "NEXT"))
    shown, ended = 0, False
    while True:
        _show(courses.ordered(trace.steps[shown:], trace.host), table, form)
        shown = len(trace.steps)
        if ended:
            break
        ended = trace.state != "running"
        time.sleep(SETTLE_S if ended else POLL_S)
        trace = client.trace(endpoint, trace.number)
    if trace.omitted:
        click.echo(f"{trace.omitted} more steps: there was no room for them", err=True)
    if trace.error:
        raise failures.Failure(f"{words.text(endpoint)}: {trace.error}")
    if not shown:
        click.echo(f"No packet that matches was sent in {wish.seconds:g} s.", err=True)


def _show(steps: Sequence[reports.TracedStep], table: printing.Table, form: str | None) -> None:
    for traced in steps if form else ():
        data = msgspec.to_builtins(traced)
        line = msgspec.json.encode(data).decode()
        click.echo(line if form == "json" else f"---\n{printing.as_yaml(data)}")
    if not form:
        table.print(
            [
                [s.step.host, s.step.program, s.step.reason, s.source, s.destination, s.step.next]
                for s in steps
            ]
        )
