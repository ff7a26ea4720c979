"""Deltas of any history add up to planning from nothing, and packets end where resources say.

The oracle for the second is written from the resources alone: two endpoints
reach each other when they are in one VPC whose tables are held by somebody.
"""

import ipaddress
from collections import defaultdict

import fleet as fleets
import wishes
from hypothesis import given, settings

from mizar.model import resources
from mizar.plan import entries, planner

NAMES = ["h1", "h2", "h3", "h4"]


def run(steps, each):
    """Runs a history, refused requests included; ``each(fleet)`` after what was granted."""
    fleet = wishes.beginning()
    each(fleet)
    for batch, seconds in steps:
        if wishes.play(fleet, batch, seconds):
            each(fleet)


@settings(max_examples=150, deadline=None)
@given(wishes.steps)
def test_deltas_of_any_history_equal_planning_from_nothing(steps):
    def check(fleet):
        fresh = planner.Planner(fleet.reloaded(), ["192.0.2.0/24"])
        for name in NAMES:
            folded = fleet.tables.get(name, {})
            assert folded == fleets.desired(fleet.planner, name)
            assert folded == fleets.desired(fresh, name)

    run(steps, check)


@settings(max_examples=150, deadline=None)
@given(wishes.steps)
def test_who_must_apply_an_endpoint_is_exactly_who_is_told_of_it(steps):
    def check(fleet):
        for endpoint in fleet.state.list("Endpoint"):
            key = resources.key_of(endpoint)
            network, vpc = map(fleet.state.get, fleet.planner.requires(key))
            told = {
                name
                for name, table in fleet.tables.items()
                if ("endpoints", endpoint.metadata.uid, "") in table
                or ("switch_endpoints", vpc.status.vni, endpoint.status.addresses[0]) in table
            }
            assert told == fleet.planner.needs(key)
            assert told == {endpoint.status.host, *network.status.switches}

    run(steps, check)


@settings(max_examples=150, deadline=None)
@given(wishes.steps)
def test_packets_end_where_the_resources_say(steps):
    run(steps, reachability)


@settings(max_examples=150, deadline=None)
@given(wishes.steps)
def test_a_host_sends_on_exactly_what_has_moved_from_it_and_where_it_is(steps):
    run(steps, moves)


def moves(fleet):
    walk = Walk(fleet.tables)
    expected = {
        (fleet.state.host(endpoint.status.movedFrom).spec.address, endpoint.metadata.uid, address)
        for endpoint in fleet.state.list("Endpoint")
        if endpoint.status.movedFrom
        for address in resources.addresses_of(endpoint)
    }
    found = set()
    for host, tables in walk.hosts.items():
        for entry in tables[entries.MovedEntry]:
            assert walk.local(host, entry.vni, entry.address) is None
            found.add((host, walk.local(entry.host, entry.vni, entry.address), entry.address))
    assert found == expected


def reachability(fleet):
    walk = Walk(fleet.tables)
    endpoints = fleet.state.list("Endpoint")
    targets = {address for endpoint in endpoints for address in resources.addresses_of(endpoint)}
    for source in endpoints:
        for address in {*targets, "10.0.1.6", "172.16.0.1", "fd00::6", "fd01::1"}:
            assert walk.ends(source, address) == {expected(fleet, source, address)}


def expected(fleet, source, address):
    """uid of the endpoint that a packet reaches, from resources alone; None: nobody."""
    tenant = source.metadata.tenant
    network = fleet.state.network(tenant, source.spec.network)
    for other in fleet.state.list("Endpoint", tenant):
        theirs = fleet.state.network(tenant, other.spec.network)
        if address in resources.addresses_of(other) and theirs.spec.vpc == network.spec.vpc:
            near = other.status.host == source.status.host
            routed = theirs == network or fleet.state.vpc(tenant, theirs.spec.vpc).status.routers
            if near or (theirs.status.switches and routed):
                return other.metadata.uid
    return None


class Walk:
    """Follows table entries from host to host, trying every holder at each step."""

    def __init__(self, tables):
        self.hosts = {}
        for table in tables.values():
            by_kind = defaultdict(list)
            for entry in table.values():
                by_kind[type(entry)].append(entry)
            for entry in by_kind[entries.HostEntry]:
                self.hosts[entry.address] = by_kind

    def ends(self, source, address):
        """uids at which the packet may end, None for a drop."""
        start, vni = next(
            (host, entry.vni)
            for host, tables in self.hosts.items()
            for entry in tables[entries.EndpointEntry]
            if entry.uid == source.metadata.uid
        )
        here = self.local(start, vni, address)
        if here:
            return {here}
        route = longest(self.hosts[start][entries.RouteEntry], vni, address)
        return self.along(route, vni, address, 2)

    def along(self, route, vni, address, hops):
        if route is None or not route.holders or not hops:
            return {None}
        return set().union(*(self.transit(holder, vni, address, hops) for holder in route.holders))

    def transit(self, host, vni, address, hops):
        for entry in self.hosts[host][entries.SwitchEndpointEntry]:
            if (entry.vni, entry.address) == (vni, address):
                return {self.local(entry.host, vni, address)}
        if longest(self.hosts[host][entries.SwitchNetworkEntry], vni, address):
            return {None}
        found = longest(self.hosts[host][entries.RouterNetworkEntry], vni, address)
        return self.along(found, vni, address, hops - 1)

    def local(self, host, vni, address):
        for entry in self.hosts[host][entries.EndpointEntry]:
            if entry.vni == vni and address in entry.addresses + entry.secondary:
                return entry.uid
        return None


def longest(candidates, vni, address):
    """The entry of the longest prefix that holds the address; ``::/0`` holds all."""
    matching = [e for e in candidates if e.vni == vni and holds(e.prefix, address)]
    return max(matching, key=lambda e: -1 if e.prefix == entries.ANY else bits(e), default=None)


def bits(entry):
    return ipaddress.ip_network(entry.prefix).prefixlen


def holds(prefix, address):
    return prefix == entries.ANY or ipaddress.ip_address(address) in ipaddress.ip_network(prefix)
