"""What a program is given beside the packet, and what comes of a packet in it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from mizar.datapath.reference.tables import (
    NOWHERE,
    Address,
    EndpointKey,
    ErrorBudget,
    Location,
)

UNKNOWN_MACS = bytes(12)


class Context(NamedTuple):
    """What the kernel knows of a packet; `next_hops`: both MACs of a frame to an underlay address.

    `metadata` is what XDP left in front of the packet; `now` is in ns.
    """

    ifindex: int
    now: int
    mark: int = 0
    gso_size: int = 0
    vlan: bool = False
    metadata: bytes = b""
    next_hops: Mapping[Address, bytes] = {}


class Way(enum.StrEnum):
    """Where a packet goes when it leaves a program."""

    NOWHERE = "nowhere"
    STACK = "to the host's own stack"
    TCX = "to the tcx program"
    UNDERLAY = "onto the underlay"
    INTERFACE = "into an interface"


class IcmpError(NamedTuple):
    """One meaning in both families: ICMP (RFC 792, 1191) and ICMPv6 (RFC 4443) type and code."""

    ipv4: tuple[int, int]
    ipv6: tuple[int, int]
    mtu: int = 0


NETWORK_UNREACHABLE = IcmpError((3, 0), (1, 0))
HOST_UNREACHABLE = IcmpError((3, 1), (1, 3))
PORT_UNREACHABLE = IcmpError((3, 3), (1, 4))
TIME_EXCEEDED = IcmpError((11, 0), (3, 0))


def too_big(mtu: int) -> IcmpError:
    return IcmpError((3, 4), (2, 0), mtu)


class Drop(Exception):  # noqa: N818 - the end of a packet, not an error
    """A step that wasn't passed: the reason, and what the sender hears of it (None: nothing)."""

    def __init__(self, reason: str, error: IcmpError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class End(NamedTuple):
    """How a packet left; `to` is the next host, or zero, `interface` an ifindex, or zero."""

    reason: str
    way: Way = Way.NOWHERE
    packet: bytes = b""
    to: Address = NOWHERE
    interface: int = 0
    metadata: bytes = b""


class Clone(NamedTuple):
    """A copy sent back to the interface's ingress, to become a control message."""

    mark: int
    packet: bytes


class Lookup(NamedTuple):
    """One table read: the key found (a prefix: the one that matched; None: none) and its row."""

    table: str
    key: Any
    row: Any


class DropKey(NamedTuple):
    ifindex: int
    vni: int
    reason: str


class Outcome(NamedTuple):
    """An `End`, the rows changed (None: deleted), clones, and the drop's key; what was read.

    `ifindex`, `vni` and `trace`: whose packet it was, and its number where it is traced (it is
    reported then), as far as it came to be known.
    """

    end: End
    locations: Mapping[EndpointKey, Location | None]
    error_budgets: Mapping[int, ErrorBudget]
    clones: tuple[Clone, ...]
    drop: DropKey | None
    lookups: tuple[Lookup, ...]
    ifindex: int
    vni: int
    trace: int

    @property
    def reason(self) -> str:
        return self.end.reason
