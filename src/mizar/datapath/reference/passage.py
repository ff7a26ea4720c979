"""One packet's passage through one program: the tables as it reads them, and what it changes."""

from __future__ import annotations

from typing import Any

from mizar.datapath.reference.constants import (
    LOCATION_ASK_NS,
    LOCATION_FRESH_NS,
)
from mizar.datapath.reference.outcome import Clone, Context, Drop, Lookup
from mizar.datapath.reference.tables import (
    NOWHERE,
    VNI_BITS,
    Address,
    EndpointKey,
    ErrorBudget,
    HostConfig,
    LocalEndpoint,
    Location,
    Place,
    Tables,
    has_prefix,
)


class Passage:
    """Reads note what they found; writes are kept here and change no table."""

    def __init__(self, tables: Tables, context: Context) -> None:
        self.tables = tables
        self.context = context
        self.ifindex = 0
        """The sending endpoint's; 0: not known, or none."""
        self.vni = 0
        self.trace = 0
        """The number of a traced packet, from where it has one."""
        self.ethernet = b""
        """The header that the packet came with, of which its clones have a copy."""
        self.lookups: list[Lookup] = []
        self.locations: dict[EndpointKey, Location | None] = {}
        self.error_budgets: dict[int, ErrorBudget] = {}
        self.clones: list[Clone] = []

    @property
    def config(self) -> HostConfig:
        """Raises Drop where the host has none yet."""
        if self.tables.host_config is None:
            raise Drop("NO_CONFIG")
        return self.tables.host_config

    @property
    def now(self) -> int:
        return self.context.now

    # ---- reading ----

    def exact(self, table: str, key: Any) -> Any:
        """The row of a key, or None."""
        row = getattr(self.tables, table).get(key)
        self.lookups.append(Lookup(table, key, row))
        return row

    def longest(self, table: str, address: Address) -> Any:
        """The row of the longest prefix of an address in this passage's VPC, or None."""
        rows = getattr(self.tables, table)
        matching = [
            key
            for key in rows
            if key[1] == self.vni and has_prefix(address, key[0] - VNI_BITS, key[2])
        ]
        best = max(matching, key=lambda key: int(key[0]), default=None)
        row = None if best is None else rows[best]
        self.lookups.append(Lookup(table, best or (None, self.vni, address), row))
        return row

    def local(self, address: Address) -> LocalEndpoint | None:
        row: LocalEndpoint | None = self.exact("local", (self.vni, address))
        return row

    def moved(self, address: Address) -> Place | None:
        row: Place | None = self.exact("moved", (self.vni, address))
        return row

    def location(self, address: Address) -> Location | None:
        row: Location | None = self.exact("locations", (self.vni, address))
        return row

    def is_own(self, address: Address) -> bool:
        """Whether an address belongs to the endpoint that sent the packet."""
        row = self.tables.local.get((self.vni, address))
        return row is not None and row.ifindex == self.ifindex

    # ---- writing ----

    def locate(self, address: Address, row: Location | None) -> None:
        """Writes a row of `locations`; None deletes it."""
        self.locations[self.vni, address] = row

    # ---- times ----

    def age(self, location: Location) -> int:
        """Since it was confirmed; a stamp later than now is as good as now."""
        return max(0, self.now - location.confirmed_ns)

    def is_fresh(self, location: Location) -> bool:
        """Whether packets go there without asking transit."""
        return location.host != NOWHERE and self.age(location) < LOCATION_FRESH_NS

    def would_ask(self, location: Location) -> bool:
        """Whether it is unconfirmed for so long that its host is to be asked."""
        return self.age(location) >= LOCATION_ASK_NS
