"""`mizar wait`: until resources are as they should be."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

import click

from mizar.cli import failures, manifests, scope, words
from mizar.client import rest, waiting
from mizar.model import resources

NAMED_MAX: Final = 10
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_GOALS: Final[dict[str, waiting.Goal]] = {"ready": "Ready", "delete": "delete"}


def seconds(text: str) -> float:
    """Text such as ``90``, ``60s``, ``2m`` -> seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no duration: write 90s, 2m or 1h")
    return float(match[1]) * _UNITS[match[2] or "s"]


@click.command(short_help="Wait until resources are Ready, or gone.")
@click.argument("what", nargs=-1, metavar="[KIND NAME... | KIND/NAME... | [KIND] --all]")
@click.option(
    "--for",
    "goal",
    type=click.Choice(["Ready", "delete"], case_sensitive=False),
    default="Ready",
    show_default=True,
    help="Wait until all are Ready, or gone.",
)
@click.option(
    "-f", "--filename", "sources", multiple=True, metavar="FILE", help="Wait for what it names."
)
@click.option("--all", "everything", is_flag=True, help="All of KIND, or of every kind.")
@click.option(
    "--timeout",
    type=seconds,
    default="60s",
    metavar="DURATION",
    show_default=True,
    help="Give up after this: 90s, 2m, 1h.",
)
@scope.listing_options
@click.pass_context
def command(
    ctx: click.Context,
    what: tuple[str, ...],
    goal: str,
    sources: tuple[str, ...],
    everything: bool,
    timeout: float,
) -> None:
    """Wait until resources are Ready (every live host that needs them has applied them) or gone."""
    found = scope.current(ctx)
    if [bool(sources), everything, bool(what) and not everything].count(True) != 1:
        raise click.UsageError("say what to wait for: KIND NAME..., -f FILE, or --all")
    with found.client() as client:
        if everything:
            keys = _all(client, what, found)
        elif sources:
            keys = manifests.keys(sources, found.tenant)
        else:
            keys = words.keys(what, found)
        left = waiting.wait(client, keys, _GOALS[goal.lower()], timeout, _tell)
    if left:
        raise failures.Failure("\n".join(_excuses(left, timeout)))


def _all(client: rest.Client, what: tuple[str, ...], found: scope.Scope) -> list[resources.Key]:
    kinds = words.kinds(what[0] if what else "all")
    listings = (client.list(kind, found.tenants_for(kind)) for kind in kinds)
    return [resources.key_of(item) for listing in listings for item in listing]


def _tell(key: resources.Key) -> None:
    click.echo(f"{words.text(key)} condition met")


def _excuses(left: waiting.Left, timeout_s: float) -> Iterator[str]:
    """What the first few are still waiting for, and how many more there are."""
    for key, seen in itertools.islice(left.items(), NAMED_MAX):
        why = f" ({seen.status.message})" if seen.status.message else ""
        yield (
            f"{key}: still {seen.status.phase}{why} after {timeout_s:g}s; "
            f"see mizar describe {words.text(key)}, or raise --timeout"
        )
    if len(left) > NAMED_MAX:
        yield f"and {len(left) - NAMED_MAX} more; see mizar get all"
