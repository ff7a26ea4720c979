"""A decision in the making: steps on a state that are all taken back at the end.

Each step is visible to the next ones (an endpoint sees the network of the same
manifest); the net of them is the decision.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from mizar.model import errors, limits, placement, resources
from mizar.model import state as states

EPOCH: Final = 1767225600  # 2026-01-01T00:00:00Z: generations count seconds from here


class Draft:
    """Steps so far. ``problems`` are gathered; a draft with any is thrown away.

    ``changed``: what its own request has changed already when it is decided.
    ``vacating``: hosts that aren't live lose their transit tables to those that are.
    """

    def __init__(
        self,
        state: states.State,
        now: float,
        live: Collection[str],
        underlay: Sequence[str],
        vacating: bool,
    ) -> None:
        self.state = state
        self.now = now
        self.live = frozenset(live)
        self.vacating = vacating
        self.underlay = underlay
        self.problems: list[errors.Problem] = []
        self.spoiled: set[resources.Key] = set()
        self.changed: set[resources.Key] = set()
        self._steps: list[resources.Change | states.Record] = []
        self._reserved: list[tuple[resources.Key, list[str]]] = []

    def put(self, key: resources.Key, new: resources.Resource | None) -> None:
        """One resource becomes ``new`` (None: deleted)."""
        change = resources.Change(key, self.state.get(key), new)
        self.state.put(key, change.old, new)
        self._steps.append(change)

    def write_record(self, name: str, value: str | None) -> None:
        """One of the allocators' records becomes ``value`` (None: forgotten)."""
        record = states.Record(name, self.state.record_value(name), value)
        if record.old != value:
            self.state.put_record(record)
            self._steps.append(record)

    def reserve(self, network: resources.Key, named: list[str]) -> None:
        """Keeps addresses that requests name from being given to others by this draft."""
        if self.state.get(network) is not None:
            self.state.reserve(network, named)
            self._reserved.append((network, named))

    def refuse(
        self,
        key: resources.Key,
        field: str,
        message: str,
        remedy: str,
        code: errors.Code = "invalid",
    ) -> None:
        """Adds a problem; later steps don't complain of what follows from it."""
        self.problems.append(errors.Problem(str(key), field, message, remedy, code))
        self.spoiled.add(key)

    def undo(self) -> None:
        """Leaves the state as it was before the draft."""
        for step in reversed(self._steps):
            if isinstance(step, states.Record):
                self.state.put_record(states.Record(step.name, step.new, step.old))
            else:
                self.state.put(step.key, step.new, step.old)
        for network, named in self._reserved:
            self.state.settle(network, named)

    def net(self) -> tuple[list[resources.Change], list[states.Record]]:
        """At most one change a key and one record a name."""
        changes: dict[resources.Key, resources.Change] = {}
        records: dict[str, states.Record] = {}
        for step in self._steps:
            if isinstance(step, states.Record):
                first = records.get(step.name, step)
                records[step.name] = states.Record(step.name, first.old, step.new)
            else:
                before = changes.get(step.key, step)
                changes[step.key] = resources.Change(step.key, before.old, step.new)
        return [*changes.values()], [*records.values()]

    # ---- numbers ----

    def stamp(self, key: resources.Key, wish: resources.Metadata) -> resources.Metadata:
        """Metadata of a resource that is created now."""
        seed = f"{key} {self.now!r} {self.state.revision}"
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now))
        uid = hashlib.blake2b(seed.encode(), digest_size=16).hexdigest()
        return msgspec.structs.replace(wish, uid=uid, created=created, revision=0)

    def next_vni(self) -> int | None:
        """The VNI after the one given last, around the end; None: all are in use.

        A VNI comes back only after all others were given, so none is reused soon.
        """
        last = self.state.counter("vni")
        for step in range(1, limits.VNI_MAX + 1):
            vni = (last + step - 1) % limits.VNI_MAX + 1
            if self.state.vpc_of(vni) is None:
                self.write_record("vni", str(vni))
                return vni
        return None

    def next_network_number(self, vni: int) -> int:
        """The number of the VPC's next network, never given before."""
        name = f"network/{vni}"
        number = self.state.counter(name) + 1
        self.write_record(name, str(number))
        return number

    def next_generation(self, vni: int, placed: Iterable[str], previous: int) -> int:
        """Higher than any earlier generation of these addresses in this VPC."""
        found = (self.state.freed(vni, address) for address in placed)
        latest = max([previous, *(freed.generation for freed in found if freed)])
        return max(int(self.now) - EPOCH, latest + 1)

    def rest(self, vni: int, address: str, generation: int) -> None:
        """An address that an endpoint had comes to rest."""
        self.write_record(f"freed/{vni}/{address}", f"{self.now} {generation}")

    def reap(self, most: int | None = None) -> None:
        """Forgets up to ``most`` freed addresses (None: all) that have rested: they are free."""
        over: list[tuple[int, str]] = []
        for vni, address, freed in self.state.rested(self.now):
            if len(over) == most:
                break
            if freed.generation < int(self.now) - EPOCH:
                over.append((vni, address))
        for vni, address in over:
            self.write_record(f"freed/{vni}/{address}", None)

    # ---- places ----

    def holders(
        self, key: resources.Key, current: Sequence[str], wanted: int, without: str = ""
    ) -> list[str]:
        """The hosts to hold the transit table of ``key``; ``without``: a host that goes."""
        hosts = self.state.transit.keys() - {without}
        kept = () if self.vacating else current
        usable = hosts & self.live and hosts & self.live.union(kept)
        return placement.holders(key, current, wanted, usable or hosts, self.live)

    def misplaced(self) -> Iterator[resources.Key]:
        """Tables that `place_anew` changes: held by hosts to be vacated, or by too few."""
        able = self.state.transit.keys()
        live = able & self.live
        if self.vacating and live:
            for host in sorted(able - live):
                yield from self.state.held_by(host)
        yield from self.state.underprovided(len(live or able))

    def place_anew(self, key: resources.Key, without: str = "") -> None:
        """Gives a network's or VPC's table the holders that it should have now."""
        table = self.state.get(key)
        if isinstance(table, resources.VPC | resources.Network):
            current, wanted = states.holders_of(table)
            new = with_holders(table, self.holders(key, current, wanted, without))
            if new != table:
                self.put(key, new)


def with_holders(
    table: resources.VPC | resources.Network, holders: list[str]
) -> resources.VPC | resources.Network:
    """The table at other holders; Pending when they differ, until the new ones have it."""
    current, _ = states.holders_of(table)
    if current == holders:
        return table
    message = "" if holders else "no host may hold its transit table yet: start an agent"
    if isinstance(table, resources.VPC):
        vpc_status = msgspec.structs.replace(
            table.status, routers=holders, phase="Pending", message=message
        )
        return msgspec.structs.replace(table, status=vpc_status)
    status = msgspec.structs.replace(
        table.status, switches=holders, phase="Pending", message=message
    )
    return msgspec.structs.replace(table, status=status)
