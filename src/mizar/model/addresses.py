"""Addresses, prefixes and MACs: text to numbers and back, and the derived MAC.

A number is that of the 16-byte form, IPv4 as IPv4-mapped (``::ffff:a.b.c.d``):
so addresses and ranges of both families lie on one line and never meet.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

ROUTER_MAC: Final = "02:4d:5a:00:00:01"
# Locally administered, unicast, no hypervisor's default: of an IPv4 and of an IPv6 address.
DERIVED_FIRST_BYTES: Final = ("72", "76")

_MAPPED: Final = 0xFFFF << 32  # ::ffff:0:0/96
_IPV4_BITS: Final = 96  # what an IPv4 prefix is longer in the 16-byte form


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


def family(address: str) -> int:
    """4 or 6, of an address or a prefix."""
    return 6 if ":" in address else 4


def of_family(texts: Iterable[str], wanted: int) -> str | None:
    """The one of a family in a list that holds at most one of each; None: there is none."""
    return next((text for text in texts if family(text) == wanted), None)


def number(address: str) -> int:
    """Canonical address as an integer below 2**128."""
    if family(address) == 6:
        return int(ipaddress.IPv6Address(address))
    a, b, c, d = address.split(".")
    return _MAPPED | int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def text(address: int) -> str:
    """An integer as canonical text (IPv6: RFC 5952)."""
    if address >> 32 != 0xFFFF:
        return str(ipaddress.IPv6Address(address))
    return f"{address >> 24 & 255}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


@functools.lru_cache(maxsize=65536)
def span(prefix: str) -> Span:
    """The range of a canonical prefix."""
    base, _, length = prefix.partition("/")
    first, bits = number(base), int(length) + (_IPV4_BITS if family(base) == 4 else 0)
    return Span(first, first + (1 << 128 - bits) - 1)


def usable(prefix: str) -> Span:
    """The addresses of a network's prefix that a gateway or an endpoint may have.

    IPv4: without network and broadcast address. IPv6: without the first one, the
    subnet-router anycast address (RFC 4291, 2.6.1).
    """
    first, last = span(prefix)
    return Span(first + 1, last - 1 if family(prefix) == 4 else last)


def inside(address: str, prefix: str) -> bool:
    """Whether a canonical address lies in a canonical prefix."""
    first, last = span(prefix)
    return first <= number(address) <= last


def derived_mac(vni: int, address: str, attempt: int = 0) -> str:
    """The MAC of an endpoint that names none: stable, and distinct within a VPC.

    An IPv4 address itself fills four bytes, so no two of a VPC are alike. Of an IPv6
    address there is a hash, another one for each ``attempt``: whoever asks sees to it
    that no endpoint of the VPC has it yet.
    """
    if family(address) == 4:
        salt = hashlib.blake2b(vni.to_bytes(4, "big"), digest_size=1).hexdigest()
        tail = [salt, *(f"{int(byte):02x}" for byte in address.split("."))]
        return ":".join([DERIVED_FIRST_BYTES[0], *tail])
    seed = f"{vni} {address} {attempt}".encode()
    digest = hashlib.blake2b(seed, digest_size=5).digest()
    return ":".join([DERIVED_FIRST_BYTES[1], *(f"{byte:02x}" for byte in digest)])
