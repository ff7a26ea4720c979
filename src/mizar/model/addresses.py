"""Addresses, prefixes and MACs: text to numbers and back, and the derived MAC.

IPv4 only for now; the callers keep lists, one entry a family.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final, NamedTuple

ROUTER_MAC: Final = "02:4d:5a:00:00:01"
DERIVED_FIRST_BYTE: Final = "72"  # locally administered, unicast; no hypervisor's default


class Span(NamedTuple):
    """An address range, both ends included."""

    first: int
    last: int

    def holds(self, other: Span) -> bool:
        """Whether ``other`` lies wholly inside."""
        return self.first <= other.first and other.last <= self.last

    def overlaps(self, other: Span) -> bool:
        """Whether they share an address."""
        return self.first <= other.last and other.first <= self.last

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def number(address: str) -> int:
    """Canonical IPv4 text as an integer."""
    a, b, c, d = address.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def text(address: int) -> str:
    """An integer as IPv4 text."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


@functools.lru_cache(maxsize=65536)
def span(prefix: str) -> Span:
    """The range of a canonical prefix."""
    base, _, bits = prefix.partition("/")
    first = number(base)
    return Span(first, first + (1 << 32 - int(bits)) - 1)


def inside(address: str, prefix: str) -> bool:
    """Whether a canonical address lies in a canonical prefix."""
    first, last = span(prefix)
    return first <= number(address) <= last


def derived_mac(vni: int, address: str) -> str:
    """The MAC of an endpoint that names none: stable, and distinct within a VPC.

    The IPv4 address itself fills four bytes, so no two of a VPC are alike.
    """
    salt = hashlib.blake2b(vni.to_bytes(4, "big"), digest_size=1).hexdigest()
    tail = ":".join(f"{int(byte):02x}" for byte in address.split("."))
    return f"{DERIVED_FIRST_BYTE}:{salt}:{tail}"
