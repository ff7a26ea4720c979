"""Which hosts hold a transit table, and which host takes an endpoint.

Transit tables: rendezvous hashing, so that few move when hosts come and go, and
a table's present holders stay while they may. Endpoints: the host with fewest.
Reports of load don't count yet.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from mizar.model import resources

_MASK: Final = (1 << 64) - 1


@functools.lru_cache(maxsize=65536)
def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _weight(table: int, host: str) -> int:
    """Rendezvous weight: two rounds of multiply and fold (after splitmix64)."""
    mixed = (table ^ _hash(host)) * 0x9E3779B97F4A7C15 & _MASK
    mixed = (mixed ^ mixed >> 32) * 0xBF58476D1CE4E5B9 & _MASK
    return mixed ^ mixed >> 29


def holders(
    key: resources.Key,
    current: Sequence[str],
    wanted: int,
    hosts: Collection[str],
    live: Collection[str],
) -> list[str]:
    """Sorted names of the hosts to hold the table of ``key``, at most ``wanted``.

    ``hosts`` may hold tables; of them the current holders stay, the rest come
    by weight, live ones first.
    """
    table = _hash(str(key))
    staying = [host for host in current if host in hosts]
    if len(staying) == wanted:
        return sorted(staying)

    def preference(host: str) -> tuple[bool, bool, int]:
        return host in staying, host in live, _weight(table, host)

    return sorted(sorted(hosts, key=preference, reverse=True)[:wanted])


class Spread:
    """How many endpoints each host has; finds the least loaded one without a scan."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._buckets: dict[int, dict[str, None]] = {}

    def count(self, host: str) -> int:
        """Endpoints on a host."""
        return self._counts[host]

    def join(self, host: str) -> None:
        """A host with no endpoints comes."""
        self._place(host, 0)

    def leave(self, host: str) -> None:
        """A host goes."""
        self._take(host)

    def add(self, host: str, endpoints: int) -> None:
        """A host has ``endpoints`` more (or, negative, fewer)."""
        self._place(host, self._take(host) + endpoints)

    def least(self, live: Collection[str]) -> str | None:
        """The live host with fewest endpoints; if none is live, of all; None: no hosts."""
        fewest: str | None = None
        for host in self._ascending():
            if host in live:
                return host
            fewest = fewest or host
        return fewest

    def _ascending(self) -> Iterator[str]:
        for count in sorted(self._buckets):
            yield from self._buckets[count]

    def _place(self, host: str, count: int) -> None:
        self._counts[host] = count
        self._buckets.setdefault(count, {})[host] = None

    def _take(self, host: str) -> int:
        count = self._counts.pop(host)
        bucket = self._buckets[count]
        del bucket[host]
        if not bucket:
            del self._buckets[count]
        return count
