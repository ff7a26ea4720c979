"""A management plane in memory for tests: state, planner, and every host's folded tables."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mizar.model import admission, manifest, registry, resources
from mizar.model import state as states
from mizar.plan import entries, planner

START = 1_800_000_000.0
Table = dict[entries.EntryKey, entries.Entry]


class Fleet:
    """``hosts``: h1... with addresses 192.0.2.1...; ``now`` moves only by hand."""

    def __init__(self, hosts: int = 0) -> None:
        self.state = states.State()
        self.planner = planner.Planner(self.state, ["192.0.2.0/24"])
        self.tables: dict[str, Table] = {}
        self.records: dict[str, str] = {}
        self.now = START
        self.live: Collection[str] = ()
        self.vacate = True
        self.deltas: dict[str, entries.Delta] = {}
        for number in range(1, hosts + 1):
            self.join(number)

    def join(self, number: int, transit: bool = True) -> None:
        """Host hN registers."""
        self.request(admission.Request("create", host(number, transit)))

    def request(self, *requests: admission.Request) -> admission.Decision:
        """Admits, applies and folds; leaves the deltas in ``deltas``."""
        decision = admission.admit(
            self.state, requests, self.now, self.live, ["192.0.2.0/24"], self.vacate
        )
        changes = self.state.apply(decision.changes, self.state.revision + 1, decision.records)
        for record in decision.records:
            self.records.pop(record.name, None)
            if record.new is not None:
                self.records[record.name] = record.new
        self._take(changes)
        return decision

    def apply(self, text: str, tenant: str = "acme") -> admission.Decision:
        """`mizar apply -f`."""
        wishes = manifest.parse(text, tenant)
        return self.request(*(admission.Request("apply", wish) for wish in wishes))

    def delete(self, *keys: resources.Key) -> admission.Decision:
        """`mizar delete`."""
        return self.request(*(admission.Request("delete", key=key) for key in keys))

    def end_moves(self) -> None:
        """What the server does when moved endpoints have been Ready for a while."""
        changes = []
        for old in self.state.list("Endpoint"):
            if isinstance(old, resources.Endpoint) and old.status.movedFrom:
                status = msgspec.structs.replace(old.status, phase="Ready", movedFrom="")
                new = msgspec.structs.replace(old, status=status)
                changes.append(resources.Change(resources.key_of(old), old, new))
        self._take(self.state.apply(changes, self.state.revision + 1))

    def _take(self, changes: list[resources.Change]) -> None:
        self.deltas = self.planner.apply(changes)
        for name, delta in self.deltas.items():
            fold(self.tables.setdefault(name, {}), delta)

    def writes(self) -> dict[str, int]:
        """Table writes of the last request, by host; hosts with none left out."""
        counts = {name: len(d.upserts) + len(d.deletes) for name, d in self.deltas.items()}
        return {name: count for name, count in counts.items() if count}

    def contents(self) -> list[resources.Resource]:
        """Every resource."""
        return [each for kind in registry.KINDS for each in self.state.list(kind)]

    def reloaded(self) -> states.State:
        """The state as a server finds it in the store after a restart, in another order."""
        stored = reversed(self.contents())
        return states.State.load(stored, self.records.items(), self.state.revision)


def desired(plan: planner.Planner, name: str) -> Table:
    """A host's whole desired state."""
    listed = [*plan.desired(name)]
    table = {entries.key_of(entry): entry for entry in listed}
    assert len(table) == len(listed), "two entries of one key"
    return table


def fold(table: Table, delta: entries.Delta) -> None:
    """What an agent does with a delta."""
    for key in delta.deletes:
        table.pop(key, None)
    for entry in delta.upserts:
        table[entries.key_of(entry)] = entry


def host(number: int, transit: bool = True) -> resources.Host:
    """Host hN at 192.0.2.N."""
    return resources.Host(
        metadata=resources.Metadata(name=f"h{number}"),
        spec=resources.HostSpec(address=f"192.0.2.{number}", transit=transit),
    )


def vpc(name: str, *cidrs: str, tenant: str = "acme", routers: int = 2) -> resources.VPC:
    """A VPC of a tenant."""
    return resources.VPC(
        metadata=resources.Metadata(name=name, tenant=tenant),
        spec=resources.VPCSpec(cidrs=[*cidrs], routers=routers),
    )


def network(
    name: str, vpc: str, cidrs: str, tenant: str = "acme", switches: int = 2, gateway: str = ""
) -> resources.Network:
    """A network of a VPC. ``cidrs``: one or several, with spaces between."""
    gateways = [gateway] if gateway else []
    spec = resources.NetworkSpec(vpc=vpc, cidrs=cidrs.split(), gateways=gateways, switches=switches)
    return resources.Network(metadata=resources.Metadata(name=name, tenant=tenant), spec=spec)


def endpoint(
    name: str, network: str, tenant: str = "acme", address: str = "", also: str = "", **spec: str
) -> resources.Endpoint:
    """An endpoint of a network. ``address``, ``also``: fixed and secondary ones, with spaces."""
    return resources.Endpoint(
        metadata=resources.Metadata(name=name, tenant=tenant),
        spec=resources.EndpointSpec(
            network=network, addresses=address.split(), secondaryAddresses=also.split(), **spec
        ),
    )


def tenant(name: str = "acme") -> resources.Tenant:
    """A tenant."""
    return resources.Tenant(metadata=resources.Metadata(name=name))


def applying(*wishes: resources.Resource) -> list[admission.Request]:
    """One apply request for each."""
    return [admission.Request("apply", wish) for wish in wishes]


def key(kind: str, name: str, tenant: str = "acme") -> resources.Key:
    """The key of a resource of tenant acme by default."""
    return resources.Key(kind, tenant if kind not in ("Host", "Tenant") else "", name)
