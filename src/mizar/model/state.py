"""All resources in memory with the indexes that admission and plan need.

A fold over changes: `apply` and `revert` are exact inverses, and every lookup
costs the same in a VPC of ten endpoints and of a million. Decides nothing and
stores nothing.
"""

from __future__ import annotations

import bisect
import builtins
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar, cast

import msgspec

from mizar.model import addresses, ipam, limits, placement, registry, resources

K = TypeVar("K")
V = TypeVar("V")


class Record(msgspec.Struct, frozen=True):
    """A line of the allocators' own memory, stored beside the resources and opaque to the store.

    ``name`` -> text, before and after (None: absent), as `resources.Change`.
    Names: ``vni`` and ``network/VNI`` (the number given last), and
    ``freed/VNI/ADDRESS`` (when it was freed, and its last generation).
    """

    name: str
    old: str | None
    new: str | None


class Freed(NamedTuple):
    """An address at rest. ``at``: Unix seconds."""

    at: float
    generation: int


class _Members:
    """A network's endpoints by address, and which addresses of each CIDR are taken.

    ``kept``: those that no endpoint is given, the gateways among them.
    """

    __slots__ = ("_spans", "by_address", "kept", "pools", "vni", "vpc")

    def __init__(self, vpc: resources.Key, vni: int, network: resources.Network) -> None:
        self.vpc = vpc
        self.vni = vni
        self.pools = {cidr: ipam.Pool(addresses.span(cidr)) for cidr in network.spec.cidrs}
        self._spans = [(addresses.span(cidr), pool) for cidr, pool in self.pools.items()]
        self.kept = {addresses.number(gateway) for gateway in network.status.gateways}
        for span, usable in ((addresses.span(c), addresses.usable(c)) for c in self.pools):
            self.kept |= {*span} - {*usable}
        self.by_address: dict[str, resources.Endpoint] = {}

    def pool_of(self, number: int) -> ipam.Pool | None:
        """The pool of the CIDR that an address lies in."""
        for span, pool in self._spans:
            if span.first <= number <= span.last:
                return pool
        return None


class Room(NamedTuple):
    """How full a CIDR of a network is, in addresses that endpoints are given."""

    used: int
    resting: int
    size: int


class State:
    """Resources by key, and who uses what. ``revision``: of the last `apply`."""

    def __init__(self) -> None:
        self.revision = 0
        self.spread = placement.Spread()
        self.transit: dict[str, None] = {}  # hosts that may hold tables
        self._resources: dict[str, dict[str, dict[str, resources.Resource]]] = {
            kind: {} for kind in registry.KINDS
        }
        self._host_addresses: dict[str, str] = {}
        self._vnis: dict[int, resources.Key] = {}
        self._ranges: dict[resources.Key, list[tuple[addresses.Span, resources.Key]]] = {}
        self._members: dict[resources.Key, _Members] = {}
        self._on_host: dict[str, dict[str, resources.Endpoint]] = {}
        self._moved_from: dict[str, dict[str, resources.Endpoint]] = {}
        self._macs: dict[tuple[int, str], resources.Key] = {}
        self._interfaces: dict[tuple[str, str, str], resources.Key] = {}
        self._held: dict[str, dict[resources.Key, None]] = {}
        self._short: tuple[dict[resources.Key, None], ...] = tuple(
            {} for _ in range(limits.HOLDERS)
        )
        self._freed: dict[tuple[int, str], Freed] = {}
        self._counters: dict[str, int] = {}

    @classmethod
    def load(
        cls,
        stored: Iterable[resources.Resource],
        records: Iterable[tuple[str, str]],
        revision: int,
    ) -> State:
        """The state of a store's content, in any order; ``records`` are (name, value)."""
        state = cls()
        for resource in sorted(stored, key=_load_order):
            state.put(resources.key_of(resource), None, resource)
        for name, value in sorted(records):
            state.put_record(Record(name, None, value))
        state.revision = revision
        return state

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
        stamped = [_stamp(change, revision) for change in changes]
        for change in stamped:
            self.put(change.key, change.old, change.new)
        for record in records:
            self.put_record(record)
        self.revision = revision
        return stamped

    def revert(self, changes: Iterable[resources.Change], records: Iterable[Record] = ()) -> None:
        """Takes back what `apply` was given or returned (for a commit that failed).

        Only the latest applied changes can be taken back; ``revision`` stays.
        """
        for record in reversed([*records]):
            self.put_record(Record(record.name, record.new, record.old))
        for change in reversed([*changes]):
            self.put(change.key, self.get(change.key), change.old)

    # ---- lookups ----

    def get(self, key: resources.Key) -> resources.Resource | None:
        """The resource, or None."""
        return self._resources[key.kind].get(key.tenant, {}).get(key.name)

    def host(self, name: str) -> resources.Host | None:
        """A host by name, or None."""
        return cast(resources.Host | None, self.get(resources.Key("Host", "", name)))

    def vpc(self, tenant: str, name: str) -> resources.VPC | None:
        """A VPC by tenant and name, or None."""
        return cast(resources.VPC | None, self.get(resources.Key("VPC", tenant, name)))

    def network(self, tenant: str, name: str) -> resources.Network | None:
        """A network by tenant and name, or None."""
        return cast(resources.Network | None, self.get(resources.Key("Network", tenant, name)))

    def list(self, kind: str, tenant: str | None = None) -> builtins.list[resources.Resource]:
        """All of a kind, of one tenant if given, sorted by tenant and name."""
        tenants = self._resources[kind]
        chosen = sorted(tenants) if tenant is None else [tenant]
        return [
            resource
            for each in chosen
            for _, resource in sorted(tenants.get(each, {}).items(), key=_first)
        ]

    def keys_in(self, tenant: str) -> Iterator[resources.Key]:
        """Keys of everything that lives in a tenant."""
        for kind, tenants in self._resources.items():
            if registry.KINDS[kind].tenanted:
                for name in tenants.get(tenant, {}):
                    yield resources.Key(kind, tenant, name)

    def endpoints_on(self, host: str) -> Collection[resources.Endpoint]:
        """The endpoints placed on a host."""
        return self._on_host.get(host, {}).values()

    def endpoints_moved_from(self, host: str) -> Collection[resources.Endpoint]:
        """The endpoints whose ``movedFrom`` is the host."""
        return self._moved_from.get(host, {}).values()

    def endpoints_of(self, network: resources.Key) -> Iterable[tuple[str, resources.Endpoint]]:
        """(address, endpoint) for every address in use in a network."""
        return self._members[network].by_address.items()

    def endpoint_at(self, network: resources.Key, address: str) -> resources.Endpoint | None:
        """The endpoint that has an address of a network, or None."""
        return self._members[network].by_address.get(address)

    def networks_of(self, vpc: resources.Key) -> builtins.list[resources.Key]:
        """Keys of the VPC's networks, by their lowest address."""
        return [*dict.fromkeys(key for _, key in self._ranges[vpc])]

    def network_overlapping(self, vpc: resources.Key, span: addresses.Span) -> resources.Key | None:
        """A network of the VPC that shares an address with ``span``, or None."""
        ranges = self._ranges[vpc]
        place = bisect.bisect_left(ranges, span, key=_first)
        for other, key in ranges[max(place - 1, 0) : place + 1]:
            if other.overlaps(span):
                return key
        return None

    def held_by(self, host: str) -> Collection[resources.Key]:
        """Keys of the networks and VPCs whose transit switch or router the host holds."""
        return self._held.get(host, {}).keys()

    def host_at(self, address: str) -> str | None:
        """Name of the host with an underlay address, or None."""
        return self._host_addresses.get(address)

    def vpc_of(self, vni: int) -> resources.Key | None:
        """Key of the VPC with a VNI, or None."""
        return self._vnis.get(vni)

    def holder_of_mac(self, vni: int, mac: str) -> resources.Key | None:
        """The endpoint with a MAC in a VPC, or None (those derived from IPv4 can't clash)."""
        return self._macs.get((vni, mac))

    def holder_of_interface(self, host: str, netns: str, interface: str) -> resources.Key | None:
        """The endpoint with an interface in a named namespace of a host, or None."""
        return self._interfaces.get((host, netns, interface))

    def underprovided(self, hosts: int) -> Iterator[resources.Key]:
        """Networks and VPCs with fewer holders than wanted, where one of ``hosts`` could be added.

        ``hosts``: how many may hold tables.
        """
        for short in self._short[:hosts]:
            yield from short

    # ---- numbers ----

    def counter(self, name: str) -> int:
        """The number given last by a counter; 0: none yet."""
        return self._counters.get(name, 0)

    def next_address(self, network: resources.Key, cidr: str) -> str | None:
        """The address that an endpoint would be given of a network's CIDR; None: none is left."""
        address = self._members[network].pools[cidr].next()
        return None if address is None else addresses.text(address)

    def room(self, network: resources.Key, cidr: str) -> Room:
        """How full a CIDR of a network is."""
        members = self._members[network]
        resting = sum(
            vni == members.vni and addresses.inside(at, cidr) and at not in members.by_address
            for vni, at in self._freed
        )
        used = sum(addresses.inside(at, cidr) for at in members.by_address)
        pool = min(addresses.span(cidr).size, limits.POOL_ADDRESSES)
        kept = sum(addresses.inside(addresses.text(at), cidr) for at in members.kept)
        return Room(used, resting, pool - kept)

    def reserve(self, network: resources.Key, named: Iterable[str]) -> None:
        """Keeps addresses from being given out, until `settle`."""
        members = self._members[network]
        for number in map(addresses.number, named):
            if pool := members.pool_of(number):
                pool.set(number, True)

    def settle(self, network: resources.Key, named: Iterable[str]) -> None:
        """Says of addresses whether they are taken, ending `reserve`; a network may be gone."""
        if members := self._members.get(network):
            for address in named:
                self._settle_address(members, address)

    def freed(self, vni: int, address: str) -> Freed | None:
        """When an address was freed, while the state remembers; None: it doesn't."""
        return self._freed.get((vni, address))

    def rested(self, now: float) -> Iterator[tuple[int, str, Freed]]:
        """(VNI, address, ...) of addresses whose quarantine is over, oldest first."""
        for (vni, address), freed in self._freed.items():
            if now - freed.at < limits.ADDRESS_QUARANTINE_S:
                return
            yield vni, address, freed

    # ---- single steps, for admission ----

    def put(
        self, key: resources.Key, old: resources.Resource | None, new: resources.Resource | None
    ) -> None:
        """One step of `apply`: ``old``, held until now, becomes ``new``."""
        if old is None and new is not None:
            self._add(key, new)
        elif old is not None and new is None:
            self._remove(key, old)
        elif old is not None and new is not None:
            self._change(key, old, new)
        names = self._resources[key.kind].setdefault(key.tenant, {})
        if new is None:
            del names[key.name]
        else:
            names[key.name] = new

    def put_record(self, record: Record) -> None:
        """One step of `apply` for a record."""
        kind, *rest = record.name.split("/")
        if kind == "freed":
            self._put_freed(int(rest[0]), rest[1], record.new)
        elif record.new is None:
            self._counters.pop(record.name, None)
        else:
            self._counters[record.name] = int(record.new)

    def record_value(self, name: str) -> str | None:
        """The stored text of a record, or None."""
        kind, *rest = name.split("/")
        if kind == "freed":
            freed = self._freed.get((int(rest[0]), rest[1]))
            return freed and f"{freed.at} {freed.generation}"
        number = self._counters.get(name)
        return None if number is None else str(number)

    # ---- indexes ----

    def _add(self, key: resources.Key, new: resources.Resource) -> None:
        match new:
            case resources.Host():
                self._host_addresses[new.spec.address] = key.name
                self.spread.join(key.name)
                _mark(self.transit, key.name, new.spec.transit)
            case resources.VPC():
                self._vnis[new.status.vni] = key
                self._ranges[key] = []
                self._mark_holders(key, new, True)
            case resources.Network():
                self._add_network(key, new)
                self._mark_holders(key, new, True)
            case resources.Endpoint():
                self._mark_endpoint(key, new, True)

    def _remove(self, key: resources.Key, old: resources.Resource) -> None:
        match old:
            case resources.Host():
                del self._host_addresses[old.spec.address]
                self.spread.leave(key.name)
                self.transit.pop(key.name, None)
            case resources.VPC():
                del self._vnis[old.status.vni], self._ranges[key]
                self._mark_holders(key, old, False)
            case resources.Network():
                members = self._members.pop(key)
                for cidr in members.pools:
                    self._ranges[members.vpc].remove((addresses.span(cidr), key))
                self._mark_holders(key, old, False)
            case resources.Endpoint():
                self._mark_endpoint(key, old, False)

    def _change(self, key: resources.Key, old: resources.Resource, new: resources.Resource) -> None:
        match old, new:
            case resources.Host(), resources.Host():
                _mark(self.transit, key.name, new.spec.transit)
            case resources.Endpoint(), resources.Endpoint():
                self._change_endpoint(key, old, new)
            case ((resources.VPC() | resources.Network()), (resources.VPC() | resources.Network())):
                self._mark_holders(key, old, False)
                self._mark_holders(key, new, True)

    def _add_network(self, key: resources.Key, network: resources.Network) -> None:
        vpc = resources.Key("VPC", key.tenant, network.spec.vpc)
        vni = cast(resources.VPC, self.get(vpc)).status.vni
        members = self._members[key] = _Members(vpc, vni, network)
        for cidr in members.pools:
            bisect.insort(self._ranges[vpc], (addresses.span(cidr), key))
        self.settle(key, map(addresses.text, members.kept))
        self.settle(key, [at for number, at in self._freed if number == vni])

    def _mark_holders(
        self, key: resources.Key, table: resources.VPC | resources.Network, present: bool
    ) -> None:
        holders, wanted = holders_of(table)
        for host in holders:
            _mark(self._held.setdefault(host, {}), key, present)
        if len(holders) < wanted:
            _mark(self._short[len(holders)], key, present)

    def _mark_endpoint(
        self, key: resources.Key, endpoint: resources.Endpoint, present: bool
    ) -> None:
        members = self._members[resources.Key("Network", key.tenant, endpoint.spec.network)]
        mine = endpoint if present else None
        for address in resources.addresses_of(endpoint):
            _assign(members.by_address, address, mine)
            self._settle_address(members, address)
        for address in endpoint.status.addresses if present else ():
            number = addresses.number(address)
            pool = members.pool_of(number)
            if pool and address not in endpoint.spec.addresses:
                pool.pass_over(number)
        _assign(self._on_host.setdefault(endpoint.status.host, {}), endpoint.metadata.uid, mine)
        self._mark_moved(endpoint, present)
        self.spread.add(endpoint.status.host, 1 if present else -1)
        if not endpoint.status.mac.startswith(addresses.DERIVED_FIRST_BYTES[0]):
            _assign(self._macs, (members.vni, endpoint.status.mac), key if present else None)
        if endpoint.spec.netns:
            place = (endpoint.status.host, endpoint.spec.netns, endpoint.spec.interface)
            _assign(self._interfaces, place, key if present else None)

    def _mark_moved(self, endpoint: resources.Endpoint, present: bool) -> None:
        if left := endpoint.status.movedFrom:
            moved = self._moved_from.setdefault(left, {})
            _assign(moved, endpoint.metadata.uid, endpoint if present else None)

    def _change_endpoint(
        self, key: resources.Key, old: resources.Endpoint, new: resources.Endpoint
    ) -> None:
        if old.status.host != new.status.host:
            self._mark_endpoint(key, old, False)
            self._mark_endpoint(key, new, True)
            return
        members = self._members[resources.Key("Network", key.tenant, new.spec.network)]
        kept = resources.addresses_of(new)
        for address in kept:
            members.by_address[address] = new
        for address in {*resources.addresses_of(old)} - {*kept}:
            del members.by_address[address]
        for address in {*old.spec.secondaryAddresses} ^ {*new.spec.secondaryAddresses}:
            self._settle_address(members, address)
        self._on_host[new.status.host][new.metadata.uid] = new
        self._mark_moved(old, False)
        self._mark_moved(new, True)

    def _put_freed(self, vni: int, address: str, value: str | None) -> None:
        if value is None:
            self._freed.pop((vni, address), None)
        else:
            at, generation = value.split()
            self._freed[vni, address] = Freed(float(at), int(generation))
        vpc = self._vnis.get(vni)
        place = vpc and self._network_at(vpc, addresses.number(address))
        if place:
            self._settle_address(self._members[place], address)

    def _network_at(self, vpc: resources.Key, address: int) -> resources.Key | None:
        return self.network_overlapping(vpc, addresses.Span(address, address))

    def _settle_address(self, members: _Members, address: str) -> None:
        number = addresses.number(address)
        resting = (members.vni, address) in self._freed
        if pool := members.pool_of(number):
            taken = resting or address in members.by_address or number in members.kept
            pool.set(number, taken)


def holders_of(table: resources.VPC | resources.Network) -> tuple[list[str], int]:
    """The hosts that hold the table now, and how many are wanted."""
    if isinstance(table, resources.VPC):
        return table.status.routers, table.spec.routers
    return table.status.switches, table.spec.switches


def _mark(marks: dict[K, None], key: K, present: bool) -> None:
    if present:
        marks[key] = None
    else:
        marks.pop(key, None)


def _assign(index: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        index.pop(key, None)
    else:
        index[key] = value


def _first(pair: tuple[K, object]) -> K:
    return pair[0]


def _load_order(resource: resources.Resource) -> tuple[int, int]:
    """References first; endpoints by generation, so that the cursors end where they stood."""
    generation = resource.status.generation if isinstance(resource, resources.Endpoint) else 0
    return registry.RANK[type(resource).__name__], generation


def _stamp(change: resources.Change, revision: int) -> resources.Change:
    if change.new is None:
        return change
    metadata = msgspec.structs.replace(change.new.metadata, revision=revision)
    return resources.Change(
        change.key, change.old, msgspec.structs.replace(change.new, metadata=metadata)
    )
