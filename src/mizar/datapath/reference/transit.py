"""Transit: the holder of a set, and what a host's own transit tables say (section 5)."""

from __future__ import annotations

from collections.abc import Sequence

from mizar.datapath.reference import hashing
from mizar.datapath.reference.outcome import Drop, Lookup
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import Address, Place, TransitSet


def holder(run: Passage, holders: Sequence[Address], port: int) -> Address:
    """Chosen among those not silent; among all, when all are."""
    silent = run.tables.silent_holders
    heard = [one for one in holders if silent.get(one, -1) < run.now]
    run.lookups += [Lookup("silent_holders", one, silent[one]) for one in holders if one in silent]
    return hashing.choose(heard or holders, port)


def tables(run: Passage, destination: Address, port: int) -> tuple[str, Address]:
    """SWITCHED or ROUTED, and the next host. Raises Drop: NO_ENDPOINT, NO_NETWORK, NOT_HERE."""
    here = run.config.host
    place: Place | None = run.exact("switch_endpoints", (run.vni, destination))
    if place is not None:
        if place.host == here:
            raise Drop("NOT_HERE")
        return "SWITCHED", place.host
    if run.longest("switch_networks", destination) is not None:
        raise Drop("NO_ENDPOINT")
    switches: TransitSet | None = run.longest("router_networks", destination)
    if switches is None:
        raise Drop("NOT_HERE")
    if not switches.holders:
        raise Drop("NO_NETWORK")
    chosen = holder(run, switches.holders, port)
    if chosen == here:
        raise Drop("NO_ENDPOINT")
    return "ROUTED", chosen
