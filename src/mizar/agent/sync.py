"""Desired entries and the kernel's maps: the difference is written, nothing else.

Order of a change: rows that say where an endpoint has moved to come first, so that
what still arrives for it is sent on; then rows of deleted endpoints go; tables and
routes come before the endpoints that use them; an endpoint's rows come after its program
is attached; what isn't wanted any more goes last. Blocking; runs in the
agent's worker thread. One entry that fails is noted and retried, and holds
back no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from mizar.agent import mirror, plumbing
from mizar.datapath import tables
from mizar.plan import entries, stream

RETRY_FIRST_S = 0.02
RETRY_MAX_S = 10.0

Desired = dict[entries.EntryKey, entries.Entry]


class Endpoints(Protocol):
    """What `Sync` needs of `mizar.agent.plumbing.Plumbing`."""

    def existing(self) -> set[str]: ...
    def ensure(self, entry: entries.EndpointEntry) -> int: ...
    def remove(self, names: Collection[str]) -> None: ...
    def sweep_namespaces(self, used: Collection[str]) -> None: ...
    def namespace_of(self, entry: entries.EndpointEntry) -> str: ...


class Failing:
    """An entry that could not be applied: why, and when to try again."""

    def __init__(self) -> None:
        self.message = ""
        self.due = 0.0
        self._pause_s = RETRY_FIRST_S / 2

    def again(self, message: str, now: float) -> None:
        self.message = message
        self._pause_s = min(self._pause_s * 2, RETRY_MAX_S)
        self.due = now + self._pause_s


class Sync:
    """The desired state of this host, and how much of it is in force.

    ``failures``: what could not be applied and still isn't. ``next_retry``: when the next of
    them is due, by the clock; None without any. Both are replaced as a whole, so other
    threads may read them.
    """

    def __init__(
        self,
        rows: mirror.Mirror,
        endpoints: Endpoints,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._endpoints = endpoints
        self._clock = clock
        self._desired: Desired = {}
        self._ifindex: dict[entries.EntryKey, int] = {}
        self._failing: dict[entries.EntryKey, Failing] = {}
        self.failures: list[stream.Failure] = []
        self.next_retry: float | None = None

    def apply(self, upserts: Iterable[entries.Entry], deletes: Iterable[entries.EntryKey]) -> None:
        """Takes one change of the desired state; a key both deleted and upserted is upserted."""
        wanted = {entries.key_of(entry): entry for entry in upserts}
        self._change(wanted, {key for key in deletes if key in self._desired and key not in wanted})

    def replace(self, snapshot: Iterable[entries.Entry]) -> None:
        """Makes the snapshot the whole desired state, and removes what is in nobody's name."""
        wanted = {entries.key_of(entry): entry for entry in snapshot}
        for key, entry in _endpoints(wanted):
            self._recall(key, entry)
        self._change(wanted, self._desired.keys() - wanted.keys())
        self._remove_orphans()

    def holders(self) -> frozenset[bytes]:
        """Addresses of the transit holders that this host sends to."""
        return self._rows.holders()

    def retry(self) -> None:
        """Tries again what failed and is due."""
        now = self._clock()
        due = [key for key, failing in self._failing.items() if failing.due <= now]
        self._change({key: self._desired[key] for key in due}, set())

    def heal(self, interface: str) -> None:
        """Plumbs the endpoint of a vanished interface anew; of no endpoint: nothing."""
        for key, entry in _endpoints(self._desired):
            if plumbing.interface_name(entry.uid) == interface:
                self._change({key: entry}, set())
                return

    def by_interface(self) -> dict[int, entries.EndpointEntry]:
        """The endpoints that have an interface, by its number."""
        return {self._ifindex[k]: e for k, e in _endpoints(self._desired) if k in self._ifindex}

    def placed(self, uid: str) -> tuple[int, entries.EndpointEntry] | None:
        """An endpoint's interface number and entry, once it has an interface here."""
        key: entries.EntryKey = ("endpoints", uid, "")
        entry, ifindex = self._desired.get(key), self._ifindex.get(key)
        return (ifindex, entry) if ifindex and isinstance(entry, entries.EndpointEntry) else None

    def namespace_of(self, entry: entries.EndpointEntry) -> str:
        """The name of the network namespace that an endpoint's workload is in."""
        return self._endpoints.namespace_of(entry)

    def _change(self, wanted: Desired, unwanted: Collection[entries.EntryKey]) -> None:
        before = {k: self._desired[k] for k in (*wanted, *unwanted) if k in self._desired}
        stale = {key: self._claims(entry) for key, entry in before.items()}
        gone = [entry for key, entry in _endpoints(before) if key in unwanted]
        moved = {k: e for k, e in wanted.items() if isinstance(e, entries.MovedEntry)}
        errors = self._put(moved)
        self._rows.delete(set().union(*(stale[entries.key_of(entry)] for entry in gone)))
        self._forget(unwanted)
        self._desired.update(wanted)

        errors |= self._write({k: e for k, e in wanted.items() if k not in moved})
        errors |= self._plumb(wanted)
        errors |= self._write_endpoints({k: e for k, e in wanted.items() if k not in errors})
        self._note(wanted, errors)

        claimed = set().union(*(self._claims(entry) for entry in wanted.values()))
        self._rows.delete(set().union(*stale.values()) - claimed)
        if gone:
            self._endpoints.remove([plumbing.interface_name(entry.uid) for entry in gone])
        if any(True for _ in _endpoints(before)):
            self._sweep_namespaces()

    def _claims(self, entry: entries.Entry) -> set[mirror.RowKey]:
        return {(row.map, row.key) for row in self._rows_of(entry)}

    def _rows_of(self, entry: entries.Entry) -> list[tables.Row]:
        if not isinstance(entry, entries.EndpointEntry):
            return tables.rows(entry)
        ifindex = self._ifindex.get(entries.key_of(entry), 0)
        return tables.endpoint_rows(entry, ifindex, tables.INTERFACE_VETH) if ifindex else []

    def _forget(self, keys: Collection[entries.EntryKey]) -> None:
        for key in keys:
            del self._desired[key]
            self._ifindex.pop(key, None)
            self._failing.pop(key, None)

    def _write(self, wanted: Desired) -> dict[entries.EntryKey, str]:
        others = {k: e for k, e in wanted.items() if not isinstance(e, entries.EndpointEntry)}
        return self._put(others)

    def _write_endpoints(self, wanted: Desired) -> dict[entries.EntryKey, str]:
        return self._put(dict(_endpoints(wanted)))

    def _put(self, wanted: Mapping[entries.EntryKey, entries.Entry]) -> dict[entries.EntryKey, str]:
        """Writes the entries' rows; which entries were refused a row, and why."""
        owners: dict[mirror.RowKey, entries.EntryKey] = {}
        rows: list[tables.Row] = []
        for key, entry in wanted.items():
            for row in self._rows_of(entry):
                owners[(row.map, row.key)] = key
                rows.append(row)
        return {owners[row]: why for row, why in self._rows.put(rows).items()}

    def _plumb(self, wanted: Desired) -> dict[entries.EntryKey, str]:
        errors = {}
        for key, entry in _endpoints(wanted):
            try:
                self._ifindex[key] = self._endpoints.ensure(entry)
            except (OSError, ValueError, plumbing.PlumbingError) as error:
                errors[key] = f"endpoint {entry.tenant}/{entry.name}: {error}"
        return errors

    def _note(self, wanted: Desired, errors: Mapping[entries.EntryKey, str]) -> None:
        for key in wanted:
            if key in errors:
                self._failing.setdefault(key, Failing()).again(errors[key], self._clock())
            else:
                self._failing.pop(key, None)
        self.failures = [stream.Failure(key, one.message) for key, one in self._failing.items()]
        self.next_retry = min((one.due for one in self._failing.values()), default=None)

    def _recall(self, key: entries.EntryKey, entry: entries.EndpointEntry) -> None:
        """A running endpoint's interface, from its row: so a failure doesn't orphan it."""
        for address in (*entry.addresses, *entry.secondary):
            row = self._rows.get(("local", (entry.vni, tables.address_bytes(address))))
            if row is not None and key not in self._ifindex:
                self._ifindex[key] = row[0]

    def _remove_orphans(self) -> None:
        claimed = set().union(*(self._claims(entry) for entry in self._desired.values()))
        self._rows.delete(self._rows.keys() - claimed)
        names = {plumbing.interface_name(entry.uid) for _, entry in _endpoints(self._desired)}
        if orphans := self._endpoints.existing() - names:
            self._endpoints.remove(sorted(orphans))
        self._sweep_namespaces()

    def _sweep_namespaces(self) -> None:
        used = {self._endpoints.namespace_of(entry) for _, entry in _endpoints(self._desired)}
        self._endpoints.sweep_namespaces(used)


def _endpoints(
    some: Mapping[entries.EntryKey, entries.Entry],
) -> Iterator[tuple[entries.EntryKey, entries.EndpointEntry]]:
    for key, entry in some.items():
        if isinstance(entry, entries.EndpointEntry):
            yield key, entry
