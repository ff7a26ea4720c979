"""The drop table, read about once a second: what changed, in words, for the server.

The kernel counts by interface; a report names endpoints. Rows of interfaces
that are gone are deleted from the table. Blocking; runs in the agent's worker thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from mizar.datapath import tables
from mizar.plan import entries, stream

REPORT_EVERY_S: Final = 1.0


class Table(Protocol):
    """What is needed of the map `drops`."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...
    def delete(self, key: Any) -> bool: ...


class Drops:
    """``reasons``: names by number. ``endpoints``: interface number -> who is behind it.

    ``errors``: the uplink's own counters, name -> packets. ``exists``: whether an
    interface of that number is there.
    """

    def __init__(
        self,
        table: Table,
        reasons: Sequence[str],
        endpoints: Callable[[], Mapping[int, entries.EndpointEntry]],
        errors: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.monotonic,
        exists: Callable[[int], bool] | None = None,
    ) -> None:
        self._table = table
        self._reasons = reasons
        self._endpoints = endpoints
        self._errors = errors
        self._clock = clock
        self._exists = exists or _exists
        self._told: dict[stream.DropKey, stream.Drop] | None = None
        self._packets: dict[stream.DropKey, int] | None = None
        self._read_at = clock()

    def begin(self) -> None:
        """The next report is a whole one: whom it goes to knows nothing yet."""
        self._told = None

    def report(self) -> stream.Drops | None:
        """What changed since the last one; None when nothing did."""
        now = self._clock()
        rows = {key: self._rated(row, now - self._read_at) for key, row in self._read().items()}
        self._read_at = now
        self._packets = {key: row.packets for key, row in rows.items()}
        told, self._told = self._told, rows
        if told is None:
            return stream.Drops([*rows.values()], whole=True)
        changed = [row for key, row in rows.items() if told.get(key) != row]
        gone = [key for key in told if key not in rows]
        return stream.Drops(changed, gone) if changed or gone else None

    def _read(self) -> dict[stream.DropKey, stream.Drop]:
        endpoints = self._endpoints()
        found: dict[stream.DropKey, stream.Drop] = {}
        for key, value in list(self._table.items()):
            entry = endpoints.get(key.ifindex)
            if key.ifindex and entry is None and not self._exists(key.ifindex):
                self._table.delete(key)
                continue
            row = self._row(key, value, entry)
            found[row.key] = _sum(found[row.key], row) if row.key in found else row
        for name, packets in self._errors().items():
            if packets:
                row = stream.Drop(name, packets, 0)
                found[row.key] = row
        return found

    def _row(self, key: Any, value: Any, entry: entries.EndpointEntry | None) -> stream.Drop:
        return stream.Drop(
            reason=self._reasons[key.reason],
            packets=value.packets,
            bytes=value.bytes,
            tenant=entry.tenant if entry else "",
            endpoint=entry.name if entry else "",
            vni=entry.vni if entry else key.vni,
            source=_address(value.source),
            destination=_address(value.destination),
        )

    def _rated(self, row: stream.Drop, seconds: float) -> stream.Drop:
        """The row with its rate since the last report; the first sight of a table tells none."""
        if self._packets is None or seconds <= 0:
            return row
        new = max(row.packets - self._packets.get(row.key, 0), 0)
        return msgspec.structs.replace(row, rate=round(new / seconds, 1))


def _sum(one: stream.Drop, other: stream.Drop) -> stream.Drop:
    """Rows that people can't tell apart: several interfaces of nobody's, or with the VNI found."""
    return msgspec.structs.replace(
        other,
        packets=one.packets + other.packets,
        bytes=one.bytes + other.bytes,
        source=other.source or one.source,
        destination=other.destination or one.destination,
    )


def _address(packed: bytes) -> str:
    return tables.address_text(packed) if any(packed) else ""


def _exists(ifindex: int) -> bool:
    try:
        socket.if_indextoname(ifindex)
    except OSError:
        return False
    return True
