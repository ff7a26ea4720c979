"""All resources in memory with the indexes that admission and plan need.

A fold over changes: `apply` and `revert` are exact inverses, and every lookup
costs the same in a VPC of ten endpoints and of a million. Decides nothing and
stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mizar.model import resources


class Record(msgspec.Struct, frozen=True):
    """A line of the allocators' own memory, stored beside the resources and opaque to the store.

    ``name`` -> text, before and after (None: absent), as `resources.Change`.
    """

    name: str
    old: str | None
    new: str | None


class State:
    """Resources by key, and who uses what. ``revision``: of the last `apply`."""

    revision: int

    def __init__(self) -> None:
        self.revision = 0

    @classmethod
    def load(
        cls,
        stored: Iterable[resources.Resource],
        records: Iterable[tuple[str, str]],
        revision: int,
    ) -> State:
        """The state of a store's content, in any order; ``records`` are (name, value)."""
        raise NotImplementedError

    def get(self, key: resources.Key) -> resources.Resource | None:
        """The resource, or None."""
        raise NotImplementedError

    def list(self, kind: str, tenant: str | None = None) -> list[resources.Resource]:
        """All of a kind, of one tenant if given, sorted by tenant and name."""
        raise NotImplementedError

    def endpoints_on(self, host: str) -> Iterable[resources.Endpoint]:
        """The endpoints placed on a host."""
        raise NotImplementedError

    def endpoints_of(self, network: resources.Key) -> Iterator[tuple[str, resources.Endpoint]]:
        """(address, endpoint) for every address in use in a network."""
        raise NotImplementedError

    def networks_of(self, vpc: resources.Key) -> Iterable[resources.Key]:
        """Keys of the VPC's networks."""
        raise NotImplementedError

    def held_by(self, host: str) -> Iterable[resources.Key]:
        """Keys of the networks and VPCs whose transit switch or router the host holds."""
        raise NotImplementedError

    def apply(
        self,
        changes: Iterable[resources.Change],
        revision: int,
        records: Iterable[Record] = (),
    ) -> list[resources.Change]:
        """Makes the changes part of the state; returns them with ``metadata.revision`` set.

        ``changes`` are an admission's, or status updates made from the current
        resource; each ``old`` must be what the state holds.
        """
        raise NotImplementedError

    def revert(
        self, changes: Iterable[resources.Change], records: Iterable[Record] = ()
    ) -> None:
        """Takes back what `apply` was given or returned (for a commit that failed).

        Only the latest applied changes can be taken back.
        """
        raise NotImplementedError
