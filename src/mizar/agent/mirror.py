"""What the kernel's maps hold, as last read or written: decides which writes are needed.

Read once when the agent starts; nobody else writes these maps afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from mizar.bpf import errors
from mizar.datapath import tables

BATCH_MIN = 4
SENDING = ("routes", "router_networks")

RowKey = tuple[str, tables.Key]


class Table(Protocol):
    """What is needed of a `mizar.bpf.maps.Map`."""

    def items(self) -> Iterable[tuple[tables.Key, tables.Value]]: ...
    def update(self, key: tables.Key, value: tables.Value) -> None: ...
    def delete(self, key: tables.Key) -> bool: ...
    def update_batch(self, keys: list[tables.Key], values: list[tables.Value]) -> None: ...
    def delete_batch(self, keys: list[tables.Key]) -> int: ...


class Mirror:
    """``maps``: by name, looked up at each write. ``writes``: rows written and deleted so far.

    ``make_room`` is told of each map before rows are written to it, and may replace it by
    one with the same rows; a BpfError of it counts as the rows'.
    """

    def __init__(
        self, maps: Mapping[str, Table], make_room: Callable[[str], None] = lambda _: None
    ) -> None:
        self._maps = maps
        self._make_room = make_room
        self._rows = {name: dict(maps[name].items()) for name in tables.MAPS}
        self.writes = 0
        self._holders: tuple[int, frozenset[bytes]] = (-1, frozenset())

    def get(self, row: RowKey) -> tables.Value | None:
        return self._rows[row[0]].get(row[1])

    def keys(self) -> set[RowKey]:
        return {(name, key) for name, rows in self._rows.items() for key in rows}

    def holders(self) -> frozenset[bytes]:
        """Addresses of all transit holders that the tables send to."""
        if self._holders[0] != self.writes:
            sets = (row for name in SENDING for row in self._rows[name].values())
            self._holders = self.writes, tables.holders(sets)
        return self._holders[1]

    def put(self, rows: Iterable[tables.Row]) -> dict[RowKey, str]:
        """Writes what differs, in the order of `tables.MAPS`; what was refused, and why."""
        changed = [row for row in rows if self._rows[row.map].get(row.key) != row.value]
        changed.sort(key=lambda row: tables.MAPS.index(row.map))
        refused: dict[RowKey, str] = {}
        for name, group in groupby(changed, attrgetter("map")):
            refused |= self._put(name, list(group))
        return refused

    def delete(self, keys: Collection[RowKey]) -> None:
        """Deletes what is there, in the reverse order of `tables.MAPS`."""
        for name in reversed(tables.MAPS):
            present = [key for owner, key in keys if owner == name and key in self._rows[name]]
            if len(present) >= BATCH_MIN:
                self._maps[name].delete_batch(present)
            else:
                for key in present:
                    self._maps[name].delete(key)
            self.writes += len(present)
            for key in present:
                del self._rows[name][key]

    def _put(self, name: str, rows: list[tables.Row]) -> dict[RowKey, str]:
        try:
            self._make_room(name)
        except errors.BpfError as error:
            return {(name, row.key): str(error) for row in rows}
        if len(rows) >= BATCH_MIN:
            try:
                self._maps[name].update_batch([r.key for r in rows], [r.value for r in rows])
            except errors.BpfError:
                pass  # one by one, to learn which row it was
            else:
                self._rows[name].update((r.key, r.value) for r in rows)
                self.writes += len(rows)
                return {}
        return self._put_singly(name, rows)

    def _put_singly(self, name: str, rows: list[tables.Row]) -> dict[RowKey, str]:
        refused = {}
        for row in rows:
            try:
                self._maps[name].update(row.key, row.value)
            except errors.BpfError as error:
                refused[(name, row.key)] = str(error)
            else:
                self._rows[name][row.key] = row.value
                self.writes += 1
        return refused
