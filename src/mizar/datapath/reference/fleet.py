"""A packet's walk over a whole fleet: every step, until it is delivered, answered or dropped.

`walk` changes the tables that the packet changes (learned locations, budgets) in the fleet given,
so that a second packet walks as it would in life. Copies that become control messages are walked
after the packet itself. The underlay is one wire: what a host sends to another arrives unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mizar.datapath.reference import run as one
from mizar.datapath.reference.constants import ROUTER, SWITCH
from mizar.datapath.reference.outcome import Clone, Context, Lookup, Outcome, Way
from mizar.datapath.reference.tables import (
    NOWHERE,
    VNI_BITS,
    Address,
    LocalEndpoint,
    Location,
    Place,
    Port,
    Tables,
    TransitSet,
    address_text,
)

STEPS_MAX = 32


@dataclasses.dataclass
class Host:
    """One host of a fleet; `xdp`: its uplink is in mode xdp; `mac`: the uplink's."""

    tables: Tables
    name: str = ""
    xdp: bool = False
    mac: bytes = bytes(6)


@dataclasses.dataclass
class Fleet:
    """Hosts by underlay address."""

    hosts: dict[Address, Host]
    now: int = 1 << 40

    def named(self, address: Address) -> str:
        """A host as people know it."""
        host = self.hosts.get(address)
        return (host and host.name) or address_text(address)

    def next_hops(self, address: Address) -> dict[Address, bytes]:
        """A host's next hops: every other, on the one wire."""
        own = self.hosts[address].mac
        return {to: host.mac + own for to, host in self.hosts.items() if to != address}


class Step(NamedTuple):
    """One program's run. `host` and `next` are names, `detail` words, `outcome` everything."""

    host: str
    program: str
    reason: str
    detail: tuple[str, ...]
    next: str
    outcome: Outcome


class End(NamedTuple):
    """How a walk ended: delivered, answered, taken, dropped, left to the stack, or lost."""

    verdict: str
    host: str
    interface: int
    reason: str
    packet: bytes


class Walk(NamedTuple):
    """The steps of one packet, its end, and the walks of the copies it set off."""

    steps: tuple[Step, ...]
    end: End
    clones: tuple[Walk, ...]

    @property
    def wire(self) -> tuple[bytes, ...]:
        """The frames that went over the underlay, in order."""
        ends = (step.outcome.end for step in self.steps)
        return tuple(end.packet for end in ends if end.way is Way.UNDERLAY)


class _Arrival(NamedTuple):
    """A packet about to run through a program."""

    host: Address
    program: str
    packet: bytes
    context: Context


def walk(
    fleet: Fleet, host: Address, ifindex: int, packet: bytes, *, gso_size: int = 0, mark: int = 0
) -> Walk:
    """Follows an Ethernet frame that an endpoint hands to its interface on a host."""
    hops = fleet.next_hops(host)
    context = Context(ifindex, fleet.now, mark=mark, gso_size=gso_size, next_hops=hops)
    steps: list[Step] = []
    clones: list[tuple[_Arrival, Clone]] = []
    here: _Arrival | None = _Arrival(host, "endpoint", packet, context)
    while here is not None:
        tables = fleet.hosts[here.host].tables
        outcome = one.run(here.program, tables, here.packet, here.context)
        one.apply(tables, outcome)
        clones += [(here, clone) for clone in outcome.clones]
        steps.append(_step(fleet, here, outcome))
        last, here = here, _next(fleet, here, outcome) if len(steps) < STEPS_MAX else None
    return Walk(
        steps=tuple(steps),
        end=_end(fleet, last.host, steps[-1].outcome),
        clones=tuple(
            walk(fleet, at.host, at.context.ifindex, clone.packet, mark=clone.mark)
            for at, clone in clones
        ),
    )


def _next(fleet: Fleet, here: _Arrival, outcome: Outcome) -> _Arrival | None:
    end = outcome.end
    if end.way is Way.TCX:
        context = here.context._replace(metadata=end.metadata)
        return _Arrival(here.host, "uplink_tcx", end.packet, context)
    if end.way is not Way.UNDERLAY or end.to not in fleet.hosts:
        return None
    to = fleet.hosts[end.to]
    uplink = to.tables.host_config.uplink_ifindex if to.tables.host_config else 0
    hops = fleet.next_hops(end.to)
    context = Context(uplink, fleet.now, gso_size=here.context.gso_size, next_hops=hops)
    return _Arrival(end.to, "uplink_xdp" if to.xdp else "uplink_tcx", end.packet, context)


def _end(fleet: Fleet, host: Address, outcome: Outcome) -> End:
    end = outcome.end
    verdict = {
        Way.INTERFACE: "delivered" if end.reason.startswith("DELIVERED") else "answered",
        Way.STACK: "left to the host's own stack",
        Way.NOWHERE: "dropped" if outcome.drop else "taken",
    }.get(end.way, "lost")
    if end.way is Way.INTERFACE and outcome.drop:
        verdict = "dropped"
    return End(verdict, fleet.named(host), end.interface, end.reason, end.packet)


# ---- words ----


def _step(fleet: Fleet, here: _Arrival, outcome: Outcome) -> Step:
    detail = dict.fromkeys(said(fleet, lookup) for lookup in outcome.lookups)
    end = outcome.end
    following = {
        Way.UNDERLAY: f"host {fleet.named(end.to)}",
        Way.INTERFACE: f"interface {end.interface}",
        Way.TCX: "uplink_tcx",
    }
    host = fleet.named(here.host)
    next_ = following.get(end.way, "")
    return Step(host, here.program, end.reason, tuple(detail), next_, outcome)


def said(fleet: Fleet, lookup: Lookup) -> str:
    """A table read as a line: table, entry, what it says."""
    entry = f"{lookup.table} {' '.join(_key(lookup.key))}"
    return f"{entry}: {'no entry' if lookup.row is None else _row(fleet, lookup.row)}"


def _key(key: Any) -> Iterator[str]:
    match key:
        case int():
            yield f"interface {key}"
        case bytes():
            yield address_text(key)
        case (vni, bytes(packed)):
            yield from (f"vni {vni}", address_text(packed))
        case (None, vni, packed):
            yield from (f"vni {vni}", address_text(packed))
        case (bits, vni, packed):
            yield from (f"vni {vni}", prefix_text(bits - VNI_BITS, packed))


def prefix_text(bits: int, packed: Address) -> str:
    """A prefix as people write it; one shorter than the IPv4-mapped block is IPv6."""
    text = address_text(packed)
    if ":" in text or bits < 96:
        return f"{'::' if packed == NOWHERE else text}/{bits}"
    return f"{text}/{bits - 96}"


def _row(fleet: Fleet, row: Any) -> str:
    for kind, words in _ROWS.items():
        if isinstance(row, kind):
            return words(fleet, row)
    return str(row)


def _set(fleet: Fleet, row: TransitSet) -> str:
    kind = {SWITCH: "transit switch", ROUTER: "transit router"}[row.kind]
    held = ", ".join(map(fleet.named, row.holders)) or "nobody"
    return f"{kind} held by {held}"


def _location(fleet: Fleet, row: Location) -> str:
    where = "not known, asked" if row.host == NOWHERE else f"at host {fleet.named(row.host)}"
    age_ms = (fleet.now - (row.confirmed_ns or row.asked_ns)) // 1_000_000
    return f"{where} {age_ms} ms ago, generation {row.generation}"


_ROWS: dict[type, Callable[[Fleet, Any], str]] = {
    Port: lambda _, row: f"VPC {row.vni}, identity {row.identity}",
    LocalEndpoint: lambda _, row: f"here, interface {row.ifindex}, identity {row.identity}",
    Place: lambda fleet, row: f"at host {fleet.named(row.host)}, generation {row.generation}",
    TransitSet: _set,
    Location: _location,
    int: lambda _, row: f"network {row}",
}
