"""Desired table entries per host, incrementally: changes in, one delta a host out.

Pure bookkeeping over `model.state.State`; no I/O. The writes of a change are
those of the design's table and never depend on the size of a VPC or the fleet.
What is kept here is per network, VPC and host; endpoints are read from the state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar, cast

from mizar.model import addresses, resources
from mizar.model import state as states
from mizar.plan import entries

IDENTITY = 0  # of every endpoint, until policy gives it a meaning

R = TypeVar("R", bound=resources.Resource)


class _Table:
    """A network or VPC as planned: who holds its table, how many members each host has."""

    __slots__ = ("holders", "key", "members", "vni")

    def __init__(self, key: resources.Key, vni: int, holders: list[str]) -> None:
        self.key = key
        self.vni = vni
        self.holders = holders
        self.members: dict[str, int] = {}

    def count(self, host: str, change: int) -> bool:
        """Counts a member more or fewer on a host; whether it is the first or was the last."""
        before = self.members.get(host, 0)
        self.members[host] = before + change
        if not self.members[host]:
            del self.members[host]
        return before == 0 or before + change == 0


class _Network(_Table):
    __slots__ = ("gateways", "number", "prefixes", "vpc")

    def __init__(self, network: resources.Network, vpc: _Table) -> None:
        super().__init__(resources.key_of(network), vpc.vni, network.status.switches)
        self.vpc = vpc
        self.number = network.status.number
        self.prefixes = network.spec.cidrs
        self.gateways = network.status.gateways


class _Writes:
    """Entries by host and key, the latest standing; None: to be deleted."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[entries.EntryKey, entries.Entry | None]] = {}
        self._held: dict[tuple[str, entries.EntryKey], entries.Entry] = {}

    def put(self, hosts: Iterable[str], *written: entries.Entry) -> None:
        """Every host is to hold these entries; one that was retracted and is the same stays."""
        for host in hosts:
            mine = self._hosts.setdefault(host, {})
            for entry in written:
                key = entries.key_of(entry)
                if self._held.get((host, key)) == entry:
                    mine.pop(key, None)
                else:
                    mine[key] = entry

    def retract(self, hosts: Iterable[str], *held: entries.Entry) -> None:
        """No entry of these keys is to be on these hosts, which hold just these until now."""
        for host in hosts:
            for entry in held:
                self._held[host, entries.key_of(entry)] = entry
            self.drop([host], *map(entries.key_of, held))

    def drop(self, hosts: Iterable[str], *dropped: entries.EntryKey) -> None:
        """No entry of these keys is to be on these hosts."""
        for host in hosts:
            self._hosts.setdefault(host, {}).update(dict.fromkeys(dropped))

    def deltas(self) -> dict[str, entries.Delta]:
        """One delta a host, in order of writing."""
        return {
            host: entries.Delta(
                upserts=[entry for entry in mine.values() if entry is not None],
                deletes=[key for key, entry in mine.items() if entry is None],
            )
            for host, mine in self._hosts.items()
            if mine
        }


class Planner:
    """Follows one state. ``underlay``: prefixes whose Geneve every host accepts."""

    def __init__(self, state: states.State, underlay: Sequence[str]) -> None:
        """Plans what the state holds now, as if applied in one piece."""
        self._state = state
        self._underlay = [*underlay]
        self._addresses: dict[str, str] = {}
        self._vpcs: dict[resources.Key, _Table] = {}
        self._networks: dict[resources.Key, _Network] = {}
        for host in cast(list[resources.Host], state.list("Host")):
            self._addresses[host.metadata.name] = host.spec.address
        for vpc in cast(list[resources.VPC], state.list("VPC")):
            self._open_vpc(vpc)
        for network in cast(list[resources.Network], state.list("Network")):
            self._open_network(network)
        for name in self._addresses:
            for endpoint in state.endpoints_on(name):
                self._count(endpoint, 1)

    def apply(self, changes: Iterable[resources.Change]) -> dict[str, entries.Delta]:
        """Deltas by host name for changes that `State.apply` has just been given.

        Status updates that no table shows (phase, message) yield nothing.
        """
        planned = [change for change in changes if _planned(change)]
        writes = _Writes()
        for endpoint in _old(planned, resources.Endpoint):
            self._retract_endpoint(endpoint, writes)
        for network in _deleted(planned, resources.Network):
            self._close_network(network, writes)
        for vpc in _deleted(planned, resources.VPC):
            self._close_vpc(vpc, writes)
        for host in _new(planned, resources.Host):
            self._addresses[host.metadata.name] = host.spec.address
            writes.put([host.metadata.name], self._host_entry(host.metadata.name))
        for vpc in _new(planned, resources.VPC):
            self._assert_vpc(vpc, writes)
        for network in _new(planned, resources.Network):
            self._assert_network(network, writes)
        for endpoint in _new(planned, resources.Endpoint):
            self._assert_endpoint(endpoint, writes)
        for host in _deleted(planned, resources.Host):
            del self._addresses[host.metadata.name]
            writes.drop([host.metadata.name], ("host", host.metadata.name, ""))
        return writes.deltas()

    def desired(self, host: str) -> Iterator[entries.Entry]:
        """Everything the host must hold now, one entry a key; nothing for an unknown host."""
        if host not in self._addresses:
            return
        yield self._host_entry(host)
        for key in self._state.held_by(host):
            yield from self._router(self._vpcs[key]) if key.kind == "VPC" else self._switch(key)
        networks: dict[resources.Key, _Network] = {}
        for endpoint in self._state.endpoints_on(host):
            network = self._network_of(endpoint)
            networks[network.key] = network
            yield _endpoint_entry(endpoint, network)
        for endpoint in self._state.endpoints_moved_from(host):
            yield from self._moved(endpoint, self._network_of(endpoint))
        for network in networks.values():
            yield from self._network_routes(network)
        for vpc in {network.vpc.key: network.vpc for network in networks.values()}.values():
            yield self._vpc_route(vpc)

    def extract(self, vpc: resources.Key, between: Iterable[str]) -> dict[str, list[entries.Entry]]:
        """By host: those of `desired` that packets of a VPC between these addresses can meet.

        Only of the hosts that can be on their way; the work doesn't grow with the VPC.
        """
        table = self._vpcs[vpc]
        networks: dict[resources.Key, _Network] = {}
        endpoints: dict[str, resources.Endpoint] = {}
        for address in between:
            number = addresses.number(address)
            if key := self._state.network_overlapping(vpc, addresses.Span(number, number)):
                networks[key] = self._networks[key]
                if endpoint := self._state.endpoint_at(key, address):
                    endpoints[endpoint.metadata.uid] = endpoint
        places = {e.status.host for e in endpoints.values()}
        places |= {e.status.movedFrom for e in endpoints.values()}
        holders = {host for each in (table, *networks.values()) for host in each.holders}
        return {
            host: [*self._extract(host, table, networks.values(), endpoints.values())]
            for host in (places | holders) - {""}
        }

    def _extract(
        self,
        host: str,
        vpc: _Table,
        networks: Collection[_Network],
        endpoints: Collection[resources.Endpoint],
    ) -> Iterator[entries.Entry]:
        yield self._host_entry(host)
        if host in vpc.holders:
            yield _router_itself(vpc)
        if host in vpc.members:
            yield self._vpc_route(vpc)
        for network in networks:
            if host in vpc.holders:
                yield from self._router_networks(network)
            if host in network.holders:
                yield from _switch_networks(network)
            if host in network.members:
                yield from self._network_routes(network)
        for endpoint in endpoints:
            network = self._network_of(endpoint)
            if host in network.holders:
                yield from self._places(endpoint, network)
            if host == endpoint.status.host:
                yield _endpoint_entry(endpoint, network)
            if host == endpoint.status.movedFrom:
                yield from self._moved(endpoint, network)

    def needs(self, key: resources.Key) -> set[str]:
        """Names of the hosts that must have applied the resource for it to be Ready.

        Endpoint: its host and its network's switches (the host that it left is waited for by
        nobody). Network: its switches, the VPC's routers and the hosts with members. VPC:
        its routers and the hosts with members. Host: itself. Empty: a Tenant is Ready by
        itself; anything else is Pending, since nobody can serve it yet. A resource is Ready
        only when those it refers to (`requires`) are.
        """
        resource = self._state.get(key)
        match resource:
            case resources.Host():
                return {key.name}
            case resources.VPC():
                return _served(self._vpcs[key], [])
            case resources.Network():
                network = self._networks[key]
                return _served(network, network.vpc.holders)
            case resources.Endpoint():
                return {resource.status.host, *self._network_of(resource).holders}
        return set()

    def requires(self, key: resources.Key) -> list[resources.Key]:
        """What must be Ready first: an endpoint's network and VPC, a network's VPC."""
        resource = self._state.get(key)
        match resource:
            case resources.Network():
                return [self._networks[key].vpc.key]
            case resources.Endpoint():
                network = self._network_of(resource)
                return [network.key, network.vpc.key]
        return []

    # ---- endpoints ----

    def _assert_endpoint(self, endpoint: resources.Endpoint, writes: _Writes) -> None:
        network = self._network_of(endpoint)
        host = [endpoint.status.host]
        first_of_network, first_of_vpc = self._count(endpoint, 1)
        writes.put(host, _endpoint_entry(endpoint, network))
        writes.put(network.holders, *self._places(endpoint, network))
        if endpoint.status.movedFrom:
            writes.put([endpoint.status.movedFrom], *self._moved(endpoint, network))
        if first_of_network:
            writes.put(host, *self._network_routes(network))
        if first_of_vpc:
            writes.put(host, self._vpc_route(network.vpc))

    def _retract_endpoint(self, endpoint: resources.Endpoint, writes: _Writes) -> None:
        network = self._network_of(endpoint)
        host = [endpoint.status.host]
        last_of_network, last_of_vpc = self._count(endpoint, -1)
        writes.retract(host, _endpoint_entry(endpoint, network))
        writes.retract(network.holders, *self._places(endpoint, network))
        if endpoint.status.movedFrom:
            writes.retract([endpoint.status.movedFrom], *self._moved(endpoint, network))
        if last_of_network:
            writes.retract(host, *self._network_routes(network))
        if last_of_vpc:
            writes.retract(host, self._vpc_route(network.vpc))

    def _count(self, endpoint: resources.Endpoint, change: int) -> tuple[bool, bool]:
        network, host = self._network_of(endpoint), endpoint.status.host
        return network.count(host, change), network.vpc.count(host, change)

    def _network_of(self, endpoint: resources.Endpoint) -> _Network:
        tenant = endpoint.metadata.tenant
        return self._networks[resources.Key("Network", tenant, endpoint.spec.network)]

    # ---- networks ----

    def _open_network(self, network: resources.Network) -> _Network:
        vpc = self._vpcs[resources.Key("VPC", network.metadata.tenant, network.spec.vpc)]
        opened = self._networks[resources.key_of(network)] = _Network(network, vpc)
        return opened

    def _assert_network(self, network: resources.Network, writes: _Writes) -> None:
        """A new network, or an old one at other holders: its table goes to those that join."""
        known = self._networks.get(resources.key_of(network))
        table = known or self._open_network(network)
        before = table.holders if known else []
        table.holders = network.status.switches
        joining, leaving = _difference(before, table.holders)
        if joining:
            writes.put(joining, *self._switch(table.key))
        if leaving:
            writes.drop(leaving, *map(entries.key_of, self._switch(table.key)))
        writes.put(table.vpc.holders, *self._router_networks(table))
        if known:
            writes.put(table.members, *self._network_routes(table))

    def _close_network(self, network: resources.Network, writes: _Writes) -> None:
        table = self._networks.pop(resources.key_of(network))
        for prefix in table.prefixes:
            writes.drop(table.holders, ("switch_networks", table.vni, prefix))
            writes.drop(table.vpc.holders, ("router_networks", table.vni, prefix))

    # ---- VPCs ----

    def _open_vpc(self, vpc: resources.VPC) -> _Table:
        key = resources.key_of(vpc)
        opened = self._vpcs[key] = _Table(key, vpc.status.vni, vpc.status.routers)
        return opened

    def _assert_vpc(self, vpc: resources.VPC, writes: _Writes) -> None:
        """A new VPC, or an old one at other holders: its table goes to those that join."""
        known = self._vpcs.get(resources.key_of(vpc))
        table = known or self._open_vpc(vpc)
        before = table.holders if known else []
        table.holders = vpc.status.routers
        joining, leaving = _difference(before, table.holders)
        if joining:
            writes.put(joining, *self._router(table))
        if leaving:
            writes.drop(leaving, *map(entries.key_of, self._router(table)))
        writes.put(table.members, self._vpc_route(table))

    def _close_vpc(self, vpc: resources.VPC, writes: _Writes) -> None:
        table = self._vpcs.pop(resources.key_of(vpc))
        writes.drop(table.holders, ("router_networks", table.vni, entries.ANY))

    # ---- entries ----

    def _host_entry(self, host: str) -> entries.HostEntry:
        return entries.HostEntry(host=host, address=self._addresses[host], underlay=self._underlay)

    def _switch(self, key: resources.Key) -> Iterator[entries.Entry]:
        """A network's whole transit switch."""
        network = self._networks[key]
        yield from _switch_networks(network)
        for address, endpoint in self._state.endpoints_of(key):
            yield self._place(address, endpoint, network)

    def _router(self, vpc: _Table) -> Iterator[entries.Entry]:
        """A VPC's whole transit router."""
        yield _router_itself(vpc)
        for key in self._state.networks_of(vpc.key):
            if key in self._networks:
                yield from self._router_networks(self._networks[key])

    def _router_networks(self, network: _Network) -> Iterator[entries.Entry]:
        for prefix in network.prefixes:
            yield entries.RouterNetworkEntry(
                vni=network.vni,
                prefix=prefix,
                network=network.number,
                holders=self._underlay_addresses(network.holders),
            )

    def _network_routes(self, network: _Network) -> Iterator[entries.Entry]:
        for prefix in network.prefixes:
            yield entries.RouteEntry(
                vni=network.vni,
                prefix=prefix,
                kind="switch",
                network=network.number,
                holders=self._underlay_addresses(network.holders),
            )

    def _vpc_route(self, vpc: _Table) -> entries.RouteEntry:
        return entries.RouteEntry(
            vni=vpc.vni,
            prefix=entries.ANY,
            kind="router",
            network=0,
            holders=self._underlay_addresses(vpc.holders),
        )

    def _places(self, endpoint: resources.Endpoint, network: _Network) -> Iterator[entries.Entry]:
        for address in resources.addresses_of(endpoint):
            yield self._place(address, endpoint, network)

    def _moved(self, endpoint: resources.Endpoint, network: _Network) -> Iterator[entries.Entry]:
        """What the host that the endpoint left sends on, and to where."""
        for address in resources.addresses_of(endpoint):
            yield entries.MovedEntry(
                vni=network.vni,
                address=address,
                host=self._addresses[endpoint.status.host],
                identity=IDENTITY,
                generation=endpoint.status.generation,
            )

    def _place(
        self, address: str, endpoint: resources.Endpoint, network: _Network
    ) -> entries.SwitchEndpointEntry:
        return entries.SwitchEndpointEntry(
            vni=network.vni,
            address=address,
            host=self._addresses[endpoint.status.host],
            identity=IDENTITY,
            generation=endpoint.status.generation,
        )

    def _underlay_addresses(self, hosts: Iterable[str]) -> list[str]:
        return sorted(self._addresses[host] for host in hosts)


def _switch_networks(network: _Network) -> Iterator[entries.Entry]:
    """What says that a host holds the network's transit switch."""
    for prefix in network.prefixes:
        yield entries.SwitchNetworkEntry(vni=network.vni, prefix=prefix, network=network.number)


def _router_itself(vpc: _Table) -> entries.RouterNetworkEntry:
    """What says that a host holds the VPC's transit router."""
    return entries.RouterNetworkEntry(vni=vpc.vni, prefix=entries.ANY, network=0, holders=[])


def _endpoint_entry(endpoint: resources.Endpoint, network: _Network) -> entries.EndpointEntry:
    return entries.EndpointEntry(
        uid=endpoint.metadata.uid,
        tenant=endpoint.metadata.tenant,
        name=endpoint.metadata.name,
        vni=network.vni,
        addresses=endpoint.status.addresses,
        secondary=endpoint.spec.secondaryAddresses,
        prefixes=network.prefixes,
        gateways=network.gateways,
        mac=endpoint.status.mac,
        netns=endpoint.spec.netns,
        interface=endpoint.spec.interface,
        identity=IDENTITY,
        generation=endpoint.status.generation,
    )


def _served(table: _Table, others: Iterable[str]) -> set[str]:
    """Holders, ``others`` and hosts with members; empty while nobody holds the table."""
    return {*table.holders, *others, *table.members} if table.holders else set()


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """(who joins, who leaves)"""
    return (
        [host for host in after if host not in before],
        [host for host in before if host not in after],
    )


def _planned(change: resources.Change) -> bool:
    """Whether a table shows the change: creation, deletion, another place, address or holder."""
    match change.old, change.new:
        case resources.Endpoint() as old, resources.Endpoint() as new:
            return _shown(old) != _shown(new)
        case (resources.VPC() | resources.Network()) as before, (
            resources.VPC() | resources.Network()
        ) as after:
            return states.holders_of(before)[0] != states.holders_of(after)[0]
        case None, _:
            return True
        case _, None:
            return True
    return False


def _shown(endpoint: resources.Endpoint) -> tuple[str, str, int, list[str]]:
    """What tables show of an endpoint that may change."""
    status = endpoint.status
    return status.host, status.movedFrom, status.generation, endpoint.spec.secondaryAddresses


def _old(changes: Iterable[resources.Change], type_: type[R]) -> list[R]:
    return [change.old for change in changes if isinstance(change.old, type_)]


def _new(changes: Iterable[resources.Change], type_: type[R]) -> list[R]:
    return [change.new for change in changes if isinstance(change.new, type_)]


def _deleted(changes: Iterable[resources.Change], type_: type[R]) -> list[R]:
    return [change.old for change in changes if isinstance(change.old, type_) and not change.new]
