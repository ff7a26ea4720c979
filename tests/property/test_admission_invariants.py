"""Whatever is asked in whatever order: numbers stay unique, refusals leave no trace."""

import ipaddress
from collections import Counter

import fleet as fleets
import wishes
from hypothesis import given, settings
from hypothesis import strategies as st

from mizar.model import admission, errors, limits, registry, resources
from mizar.model import state as states
from mizar.plan import planner


def placed(fleet):
    """(VNI, address) -> endpoint; fails when one is given twice."""
    found = {}
    for endpoint in fleet.state.list("Endpoint"):
        network = fleet.state.network(endpoint.metadata.tenant, endpoint.spec.network)
        vni = fleet.state.vpc(endpoint.metadata.tenant, network.spec.vpc).status.vni
        assert len(endpoint.status.addresses) == len(network.spec.cidrs)
        for address in resources.addresses_of(endpoint):
            assert (vni, address) not in found
            found[vni, address] = endpoint
            check_usable(address, network)
    return found


def check_usable(address, network):
    parsed = ipaddress.ip_address(address)
    (subnet,) = (cidr for cidr in map(ipaddress.ip_network, network.spec.cidrs) if parsed in cidr)
    assert parsed != subnet.network_address
    assert parsed.version == 6 or parsed != subnet.broadcast_address
    assert address not in network.status.gateways


def check_counts(fleet):
    """The state's indexes say what a count over the resources says."""
    endpoints = fleet.state.list("Endpoint")
    hosts = Counter(endpoint.status.host for endpoint in endpoints)
    for host in fleet.state.list("Host"):
        name = host.metadata.name
        assert fleet.state.spread.count(name) == hosts[name]
        assert len(fleet.state.endpoints_on(name)) == hosts[name]
    able = [host for host in fleet.state.list("Host") if host.spec.transit]
    for table in [*fleet.state.list("Network"), *fleet.state.list("VPC")]:
        held = (
            table.status.switches if isinstance(table, resources.Network) else table.status.routers
        )
        wanted = table.spec.switches if isinstance(table, resources.Network) else table.spec.routers
        assert len(held) == min(wanted, len(able))
        assert set(held) <= {host.metadata.name for host in able}


@settings(max_examples=150, deadline=None)
@given(wishes.steps)
def test_numbers_stay_unique_rest_and_rise(steps):
    fleet = wishes.beginning()
    freed, vnis = {}, {}
    generations = {place: each.status.generation for place, each in placed(fleet).items()}
    for batch, seconds in steps:
        before = placed(fleet)
        if not wishes.play(fleet, batch, seconds):
            continue
        after = placed(fleet)
        check_counts(fleet)
        for place in before.keys() - after.keys():
            freed[place] = fleet.now
        for place, endpoint in after.items():
            old = before.get(place)
            if old is None or old.metadata.uid != endpoint.metadata.uid:
                assert endpoint.status.generation > generations.get(place, -1)
            named = endpoint.spec.addresses + endpoint.spec.secondaryAddresses
            if old is None and place[1] not in named and place in freed:
                assert fleet.now - freed[place] >= limits.ADDRESS_QUARANTINE_S
            generations[place] = endpoint.status.generation
        for vpc in fleet.state.list("VPC"):
            assert vnis.setdefault(vpc.status.vni, vpc.metadata.uid) == vpc.metadata.uid


@settings(max_examples=100, deadline=None)
@given(wishes.steps, wishes.batches)
def test_admission_and_taking_back_leave_the_state_as_it_was(steps, last):
    fleet = wishes.beginning()
    for batch, seconds in steps:
        wishes.play(fleet, batch, seconds)
    requests, before = wishes.requests(fleet.state, last), view(fleet.state)
    assert view(fleet.reloaded()) == before
    try:
        decision = admission.admit(fleet.state, requests, fleet.now)
    except errors.Refused:
        assert view(fleet.state) == before
        return
    assert view(fleet.state) == before
    changes = fleet.state.apply(decision.changes, fleet.state.revision, decision.records)
    fleet.state.revert(changes, decision.records)
    assert view(fleet.state) == before


@settings(max_examples=100, deadline=None)
@given(wishes.steps, wishes.batches)
def test_order_of_requests_does_not_matter(steps, last):
    fleet = wishes.beginning()
    for batch, seconds in steps:
        wishes.play(fleet, batch, seconds)
    requests = wishes.requests(fleet.state, last)
    assert verdict(fleet, requests) == verdict(fleet, requests[::-1])


def verdict(fleet, requests):
    """Which actions are taken, or which objects are refused."""
    try:
        decision = admission.admit(fleet.state, requests, fleet.now)
    except errors.Refused as refused:
        return refused.code
    return {result.key: result.action for result in decision.results}


def view(state):
    """Everything that can be seen of a state."""
    plan = planner.Planner(state, [])
    hosts = [host.metadata.name for host in state.list("Host")]
    return (
        [state.list(kind) for kind in registry.KINDS],
        [sorted(map(repr, plan.desired(host))) for host in hosts],
        [sorted(state.held_by(host)) for host in hosts],
        [state.spread.count(host) for host in hosts],
        sorted(state.rested(float("inf"))),
        sorted(state.underprovided(len(state.transit))),
        sorted(state.transit),
        state.counter("vni"),
    )


NAMES = ("h1", "h2", "h3", "h4")
alive = st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(wishes.steps, alive)
def test_tables_end_with_live_hosts_whoever_dies_and_returns(steps, lives):
    fleet = wishes.beginning()
    for turn, (batch, seconds) in enumerate(steps):
        fleet.live = lives[turn % len(lives)]
        wishes.play(fleet, batch, seconds)
        fleet.request()
        assert fleet.request().changes == []
        live = fleet.live & fleet.state.transit.keys()
        for table in [*fleet.state.list("Network"), *fleet.state.list("VPC")]:
            held, wanted = states.holders_of(table)
            if live:
                assert set(held) <= live
                assert len(held) == min(wanted, len(live))
            else:
                assert held or not fleet.state.transit
    fresh = planner.Planner(fleet.reloaded(), ["192.0.2.0/24"])
    assert all(fleet.tables.get(name, {}) == fleets.desired(fresh, name) for name in NAMES)
