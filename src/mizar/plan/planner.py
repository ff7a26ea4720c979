"""Desired table entries per host, incrementally: changes in, one delta a host out.

Pure bookkeeping over `model.state.State`; no I/O. The writes of a change are
those of the design's table and never depend on the size of a VPC or the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mizar.model import resources
from mizar.model import state as states
from mizar.plan import entries


class Planner:
    """Follows one state. ``underlay``: prefixes whose Geneve every host accepts."""

    def __init__(self, state: states.State, underlay: Sequence[str]) -> None:
        """Plans what the state holds now, as if applied in one piece."""

    def apply(self, changes: Iterable[resources.Change]) -> dict[str, entries.Delta]:
        """Deltas by host name for changes that `State.apply` has just been given.

        Status updates that no table shows (phase, message) yield nothing.
        """
        raise NotImplementedError

    def desired(self, host: str) -> Iterator[entries.Entry]:
        """Everything the host must hold now, one entry a key; nothing for an unknown host."""
        raise NotImplementedError

    def needs(self, key: resources.Key) -> set[str]:
        """Names of the hosts that must have applied the resource for it to be Ready.

        Endpoint: its host and its network's switches. Network: its switches, the
        VPC's routers and the hosts with members. VPC: its routers and the hosts
        with members. Host: itself. Empty: a Tenant is Ready by itself; anything
        else is Pending, since nobody can serve it yet. A resource is Ready only
        when those it refers to (`requires`) are.
        """
        raise NotImplementedError

    def requires(self, key: resources.Key) -> list[resources.Key]:
        """What must be Ready first: an endpoint's network and VPC, a network's VPC."""
        raise NotImplementedError
