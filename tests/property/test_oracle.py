"""Plan and model against the oracle: packets end where the resources alone say, after any history.

The planner's entries become rows, rows the reference model's tables, and the model walks packets
through every program on the way; tests/kit/oracle.py knows nothing of all that. What hosts have
learned stays with them from one state to the next, a little older than it may be believed.
"""

import fleet as fleets
import oracle
import wishes
from hypothesis import given, settings

from mizar.datapath import rehearsal, tables
from mizar.datapath.reference import constants, packets
from mizar.datapath.reference import fleet as model
from mizar.model import addresses, resources

NAMES = ("h1", "h2", "h3", "h4")
SETTINGS = [rehearsal.Setting(name, 1500, xdp=name in ("h2", "h4")) for name in NAMES]
NOBODYS = ("10.0.0.6", "10.0.1.6", "172.16.0.1", "fd00::6", "fd01::1", "fd00:0:0:7::99")
UDP = b"\x0f\xa0\x00\x35\x00\x08\x00\x00"
STRIDE = 7  # of the pairs, this share is tried after each step, all of them after the last


class World:
    """The hosts' learned locations, carried through a history."""

    def __init__(self):
        self.locations = {}
        self.now = 1 << 40
        self.tried = 0

    def check(self, fleet, stride):
        rehearsed = rehearsal.Rehearsal(
            {name: fleet.planner.desired(name) for name in NAMES}, SETTINGS
        )
        self.now += constants.LOCATION_FRESH_NS
        rehearsed.fleet.now = self.now
        for host in rehearsed.fleet.hosts.values():
            host.tables.locations = self.locations.setdefault(host.name, {})
        for number, (source, own, address) in enumerate(pairs(fleet)):
            if (number + self.tried) % stride == 0:
                expected = oracle.fate(fleet.state, source, address)
                for _ in ("first packet", "next packet"):
                    assert found(rehearsed, source, own, address, expected) == expected
        self.tried += 1


def pairs(fleet):
    """(endpoint, its address, an address of that family that somebody has, or nobody)"""
    endpoints = fleet.state.list("Endpoint")
    targets = {a for endpoint in endpoints for a in resources.addresses_of(endpoint)}
    targets |= {g for n in fleet.state.list("Network") for g in n.status.gateways}
    for source in endpoints:
        for own in resources.addresses_of(source):
            for address in sorted(targets.union(NOBODYS)):
                if addresses.family(address) == addresses.family(own):
                    yield source, own, address


def found(rehearsed, source, own, address, expected):
    """The fate in the model; one of the expected reasons stands for all of them."""
    place = rehearsed.interfaces[source.metadata.uid]
    host = next(a for a, h in rehearsed.fleet.hosts.items() if h.name == place.host)
    frame = framed(source, own, address)
    walk = model.walk(rehearsed.fleet, host, place.number, frame)
    if walk.end.verdict == "delivered":
        end = rehearsal.Interface(walk.end.host, walk.end.interface)
        return oracle.Fate(rehearsed.endpoints[end].uid)
    assert walk.end.verdict == "dropped"
    reasons = {walk.end.reason}
    return oracle.Fate("", expected.reasons if reasons <= expected.reasons else frozenset(reasons))


def framed(source, own, address):
    four = addresses.family(own) == 4
    ends = (tables.address_bytes(own), tables.address_bytes(address))
    packet = (packets.ipv4 if four else packets.ipv6)(*ends, packets.UDP, UDP)
    ethertype = packets.IPV4 if four else packets.IPV6
    mac = tables.mac_bytes(source.status.mac)
    return packets.ethernet(tables.ROUTER_MAC, mac, ethertype) + packet


@settings(max_examples=40, deadline=None)
@given(wishes.steps)
def test_plan_and_model_agree_with_the_resources(steps):
    fleet, world = wishes.beginning(), World()
    world.check(fleet, STRIDE)
    for batch, seconds in steps:
        if wishes.play(fleet, batch, seconds):
            world.check(fleet, STRIDE)
    world.check(fleet, 1)


@settings(max_examples=60, deadline=None)
@given(wishes.steps)
def test_an_extract_of_the_plan_is_what_hosts_must_hold_about_two_addresses(steps):
    """What `mizar explain` computes with: nothing that isn't planned, and no walk differs."""
    fleet = wishes.beginning()
    for batch, seconds in steps:
        wishes.play(fleet, batch, seconds)
    whole = {name: fleets.desired(fleet.planner, name) for name in NAMES}
    for number, (source, own, address) in enumerate(pairs(fleet)):
        if number % STRIDE:
            continue
        network = fleet.state.network(source.metadata.tenant, source.spec.network)
        vpc = resources.Key("VPC", source.metadata.tenant, network.spec.vpc)
        extract = fleet.planner.extract(vpc, [own, address])
        for name, some in extract.items():
            assert {fleets.entries.key_of(entry): entry for entry in some}.items() <= whole[
                name
            ].items()
        parts = ({name: table.values() for name, table in whole.items()}, extract)
        ways = [way(rehearsal.Rehearsal(part, SETTINGS), source, own, address) for part in parts]
        assert ways[0] == ways[1]


def way(rehearsed, source, own, address):
    place = rehearsed.interfaces[source.metadata.uid]
    host = next(a for a, h in rehearsed.fleet.hosts.items() if h.name == place.host)
    walk = model.walk(rehearsed.fleet, host, place.number, framed(source, own, address))
    return [(step.host, step.program, step.reason) for step in walk.steps]
