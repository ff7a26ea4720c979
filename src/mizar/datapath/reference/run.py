"""One packet through one program of one host."""

from __future__ import annotations

from collections.abc import Callable

from mizar.datapath.reasons import REASONS
from mizar.datapath.reference import endpoint, uplink
from mizar.datapath.reference.outcome import Context, Drop, DropKey, End, Outcome
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import Tables

PROGRAMS: dict[str, Callable[[Passage, bytes], End]] = {
    "endpoint": endpoint.run_endpoint,
    "uplink_xdp": uplink.run_xdp,
    "uplink_tcx": uplink.run_tcx,
}
DROPS = frozenset(reason.name for reason in REASONS if reason.verdict == "DROP")


def run(program: str, tables: Tables, packet: bytes, context: Context) -> Outcome:
    """What comes of an Ethernet frame; the tables stay as they are."""
    passage = Passage(tables, context)
    try:
        end = PROGRAMS[program](passage, packet)
    except Drop as drop:
        end = End(drop.reason)
    dropped = end.reason in DROPS
    return Outcome(
        end=end,
        locations=passage.locations,
        error_budgets=passage.error_budgets,
        clones=tuple(passage.clones),
        drop=DropKey(passage.ifindex, passage.vni, end.reason) if dropped else None,
        lookups=tuple(passage.lookups),
        ifindex=passage.ifindex,
        vni=passage.vni,
        trace=passage.trace,
    )


def apply(tables: Tables, outcome: Outcome) -> None:
    """Writes an outcome's rows."""
    tables.error_budgets.update(outcome.error_budgets)
    for key, row in outcome.locations.items():
        if row is None:
            tables.locations.pop(key, None)
        else:
            tables.locations[key] = row
