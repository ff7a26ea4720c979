"""The cost of each change, exactly as the design's table says, whatever else there is."""

import msgspec
import pytest
from fleet import Fleet, applying, endpoint, key, network, tenant, vpc

from mizar.model import resources
from mizar.plan import entries


@pytest.fixture(params=[1, 50], ids=["small", "large"])
def fleet(request):
    """Five hosts; h1..h4 transit, h5 not; VPC prod with network front, 1 or 50 endpoints in it."""
    fleet = Fleet()
    for number in range(1, 6):
        fleet.join(number, transit=number < 5)
    size = request.param
    fleet.request(
        *applying(tenant(), vpc("prod", "10.0.0.0/8"), network("front", "prod", "10.1.0.0/16"))
    )
    fleet.request(*applying(*(endpoint(f"old{n}", "front", host="h5") for n in range(size))))
    return fleet


def held(fleet, name):
    return fleet.state.network("acme", name).status.switches


def routers(fleet):
    return fleet.state.vpc("acme", "prod").status.routers


def added(*parts):
    counts = {}
    for hosts, count in parts:
        for host in hosts:
            counts[host] = counts.get(host, 0) + count
    return counts


def test_endpoint_where_the_network_has_members_costs_its_host_and_its_switches(fleet):
    fleet.request(*applying(endpoint("new", "front", host="h5")))
    assert fleet.writes() == added((["h5"], 1), (held(fleet, "front"), 1))


def test_first_endpoint_on_a_host_brings_the_routes_of_its_network_and_vpc(fleet):
    fleet.join(6, transit=False)
    fleet.request(*applying(endpoint("new", "front", host="h6")))
    assert fleet.writes() == added((["h6"], 3), (held(fleet, "front"), 1))


def test_deleted_endpoint_costs_what_its_creation_did(fleet):
    fleet.join(6, transit=False)
    fleet.request(*applying(endpoint("new", "front", host="h6")))
    fleet.delete(key("Endpoint", "new"))
    assert fleet.writes() == added((["h6"], 3), (held(fleet, "front"), 1))
    assert [*fleet.tables["h6"]] == [("host", "h6", "")]


def test_moved_endpoint_costs_both_hosts_and_its_switches(fleet):
    fleet.join(6, transit=False)
    fleet.request(*applying(endpoint("new", "front", host="h5")))
    fleet.request(*applying(endpoint("new", "front", host="h6")))
    assert fleet.writes() == added((["h5"], 2), (["h6"], 3), (held(fleet, "front"), 1))
    fleet.end_moves()
    assert fleet.writes() == {"h5": 1}


def test_each_family_and_each_secondary_address_costs_the_same_again(fleet):
    fleet.request(
        *applying(
            vpc("prod", "10.0.0.0/8", "fd00::/48"), network("both", "prod", "10.2.0.0/16 fd00::/64")
        )
    )
    assert fleet.writes() == added((held(fleet, "both"), 2), (routers(fleet), 2))
    fleet.join(6, transit=False)
    switches = held(fleet, "both")
    fleet.request(*applying(endpoint("new", "both", host="h6")))
    assert fleet.writes() == added((["h6"], 4), (switches, 2))
    fleet.request(*applying(endpoint("new", "both", host="h6", also="10.2.0.9 fd00::9")))
    assert fleet.writes() == added((["h6"], 1), (switches, 4)), "the generation is another"
    fleet.request(*applying(endpoint("new", "both", host="h6", also="fd00::9")))
    assert fleet.writes() == added((["h6"], 1), (switches, 1))
    fleet.request(*applying(endpoint("new", "both", host="h5", also="fd00::9")))
    assert fleet.writes() == added((["h6"], 4 + 3), (["h5"], 4 - 1), (switches, 3))


def test_an_old_host_sends_on_until_the_move_is_over_and_only_the_last_one(fleet):
    fleet.request(*applying(endpoint("new", "front", host="h1", address="10.1.9.9")))
    for place in ("h2", "h3"):
        fleet.request(*applying(endpoint("new", "front", host=place)))
    moved = {name: [e for k, e in t.items() if k[0] == "moved"] for name, t in fleet.tables.items()}
    generation = fleet.state.get(key("Endpoint", "new")).status.generation
    entry = entries.MovedEntry(1, "10.1.9.9", "192.0.2.3", 0, generation)
    assert {name: found for name, found in moved.items() if found} == {"h2": [entry]}
    assert "h2" not in fleet.planner.needs(key("Endpoint", "new")) - {*held(fleet, "front")}
    fleet.request(*applying(endpoint("new", "front", host="h2")))
    moved = [name for name, table in fleet.tables.items() for k in table if k[0] == "moved"]
    assert moved == ["h3"]
    fleet.end_moves()
    assert not any(k[0] == "moved" for table in fleet.tables.values() for k in table)


def test_routes_of_a_vpc_stay_while_another_network_has_members(fleet):
    fleet.join(6, transit=False)
    fleet.request(*applying(network("back", "prod", "10.2.0.0/16")))
    fleet.request(*applying(endpoint("a", "front", host="h6"), endpoint("b", "back", host="h6")))
    fleet.delete(key("Endpoint", "a"))
    routes = [k[2] for k in fleet.tables["h6"] if k[0] == "routes"]
    assert sorted(routes) == ["10.2.0.0/16", "::/0"]


def test_network_costs_its_switches_and_the_routers(fleet):
    fleet.request(*applying(network("back", "prod", "10.2.0.0/16")))
    assert fleet.writes() == added((held(fleet, "back"), 1), (routers(fleet), 1))


def test_host_costs_nobody_else(fleet):
    fleet.join(6)
    assert fleet.writes() == {"h6": 1}


def test_added_switch_costs_one_copy_and_the_routers_and_hosts_with_members(fleet):
    before = held(fleet, "front")
    members = len([*fleet.state.endpoints_of(key("Network", "front"))])
    fleet.request(*applying(network("front", "prod", "10.1.0.0/16", switches=3)))
    (joined,) = set(held(fleet, "front")) - set(before)
    assert fleet.writes() == added(([joined], members + 1), (routers(fleet), 1), (["h5"], 1))


def test_added_router_costs_one_copy_and_the_hosts_of_the_vpc(fleet):
    before = routers(fleet)
    fleet.request(*applying(vpc("prod", "10.0.0.0/8", routers=3)))
    (joined,) = set(routers(fleet)) - set(before)
    assert fleet.writes() == added(([joined], 2), (["h5"], 1))


def test_lost_holder_moves_its_tables_and_no_others(fleet):
    lost = held(fleet, "front")[0]
    staying = set(held(fleet, "front")) - {lost}
    fleet.delete(key("Host", lost))
    assert staying < set(held(fleet, "front"))
    assert fleet.tables[lost] == {}


def test_status_updates_cost_nothing(fleet):
    for kind, name in (("VPC", "prod"), ("Network", "front"), ("Endpoint", "old0")):
        old = fleet.state.get(key(kind, name))
        status = msgspec.structs.replace(old.status, phase="Ready", message="up")
        new = msgspec.structs.replace(old, status=status)
        changes = fleet.state.apply([resources.Change(key(kind, name), old, new)], 99)
        assert fleet.planner.apply(changes) == {}
        assert fleet.state.get(key(kind, name)).status.phase == "Ready"
    (seen,) = [e for e in fleet.state.endpoints_on("h5") if e.metadata.name == "old0"]
    assert seen.status.phase == "Ready"
    assert fleet.state.endpoint_at(key("Network", "front"), seen.status.addresses[0]) is seen


def test_growing_a_vpc_and_changing_labels_cost_nothing(fleet):
    fleet.request(*applying(vpc("prod", "10.0.0.0/8", "172.16.0.0/12")))
    assert fleet.writes() == {}


def test_everything_in_one_manifest_is_what_it_is_step_by_step():
    wishes = applying(
        endpoint("b", "front", address="10.1.0.2", host="h2"),
        endpoint("a", "front", address="10.1.0.5", host="h1"),
        network("front", "prod", "10.1.0.0/16"),
        vpc("prod", "10.0.0.0/8"),
        tenant(),
    )
    at_once, by_steps = Fleet(3), Fleet(3)
    at_once.request(*wishes)
    for wish in reversed(wishes):
        by_steps.request(wish)

    def contents(fleet):
        return {
            (
                host,
                msgspec.structs.replace(e, uid="") if isinstance(e, entries.EndpointEntry) else e,
            )
            for host, table in fleet.tables.items()
            for e in map(_hashable, table.values())
        }

    assert contents(at_once) == contents(by_steps)


def _hashable(entry):
    return msgspec.structs.replace(
        entry,
        **{
            name: tuple(getattr(entry, name))
            for name in entry.__struct_fields__
            if isinstance(getattr(entry, name), list)
        },
    )


def test_needs_names_exactly_who_serves_a_resource(fleet):
    assert fleet.planner.needs(key("Endpoint", "old0")) == {"h5", *held(fleet, "front")}
    assert fleet.planner.needs(key("Network", "front")) == {
        "h5",
        *held(fleet, "front"),
        *routers(fleet),
    }
    assert fleet.planner.needs(key("VPC", "prod")) == {"h5", *routers(fleet)}
    assert fleet.planner.needs(key("Host", "h3")) == {"h3"}
    assert fleet.planner.needs(key("Tenant", "acme")) == set()
    assert fleet.planner.requires(key("Endpoint", "old0")) == [
        key("Network", "front"),
        key("VPC", "prod"),
    ]


def test_without_transit_hosts_nobody_can_serve_a_network():
    fleet = Fleet()
    fleet.request(
        *applying(tenant(), vpc("prod", "10.0.0.0/8"), network("front", "prod", "10.1.0.0/16"))
    )
    assert fleet.planner.needs(key("Network", "front")) == set()
    assert "start an agent" in fleet.state.network("acme", "front").status.message
    fleet.join(1)
    assert fleet.planner.needs(key("Network", "front")) == {"h1"}
    assert fleet.state.network("acme", "front").status.message == ""
    fleet.join(2)
    assert held(fleet, "front") == routers(fleet) == ["h1", "h2"]
