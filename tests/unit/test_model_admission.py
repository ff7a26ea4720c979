"""What is admitted, with which numbers; what is refused, in which words; nothing half-way."""

import msgspec
import pytest
from fleet import START, Fleet, applying, endpoint, host, key, network, tenant, vpc

from mizar.model import addresses, admission, draft, errors, limits, resources
from mizar.model import state as states


@pytest.fixture
def fleet():
    """Three hosts; VPC prod, networks front 10.0.0.0/29 and back 10.0.1.0/24."""
    fleet = Fleet(3)
    fleet.request(
        *applying(
            tenant(),
            vpc("prod", "10.0.0.0/16"),
            network("front", "prod", "10.0.0.0/29"),
            network("back", "prod", "10.0.1.0/24"),
        )
    )
    return fleet


def refusal(fleet, *requests, kind=errors.Refused):
    """The text of a refusal, which must leave no trace."""
    before = contents(fleet.state)
    with pytest.raises(kind) as caught:
        fleet.request(*requests)
    assert contents(fleet.state) == before
    return str(caught.value)


def contents(state):
    kinds = ("Tenant", "Host", "VPC", "Network", "Endpoint")
    return [resource for kind in kinds for resource in state.list(kind)]


def get(fleet, kind, name, in_tenant="acme"):
    return fleet.state.get(key(kind, name, in_tenant))


def held(fleet, name):
    """Holders of a network's or VPC's table."""
    return states.holders_of(get(fleet, "VPC", name) or get(fleet, "Network", name))[0]


def address(fleet, name):
    return get(fleet, "Endpoint", name).status.addresses[0]


# ---- allocation ----


def test_a_created_endpoint_has_everything_it_needs(fleet):
    fleet.request(*applying(endpoint("web1", "front")))
    made = get(fleet, "Endpoint", "web1")
    assert made.status == resources.EndpointStatus(
        host="h1",
        addresses=["10.0.0.2"],
        mac=addresses.derived_mac(1, "10.0.0.2"),
        generation=int(START) - draft.EPOCH,
    )
    assert made.metadata.created == "2027-01-15T08:00:00Z"
    assert len(made.metadata.uid) == 32
    assert made.metadata.revision == fleet.state.revision


def test_network_broadcast_and_gateway_are_never_given_and_full_says_what(fleet):
    fleet.request(*applying(*(endpoint(f"e{n}", "front") for n in range(5))))
    assert [address(fleet, f"e{n}") for n in range(5)] == [f"10.0.0.{n}" for n in range(2, 7)]
    text = refusal(fleet, *applying(endpoint("e5", "front")), kind=errors.Exhausted)
    assert "Network acme/front (10.0.0.0/29) is full: 5 of 5 addresses are in use" in text


def test_a_freed_address_rests_then_comes_back(fleet):
    fleet.request(*applying(*(endpoint(f"e{n}", "front") for n in range(5))))
    fleet.delete(key("Endpoint", "e3"))
    fleet.now += limits.ADDRESS_QUARANTINE_S - 1
    text = refusal(fleet, *applying(endpoint("new", "front")), kind=errors.Exhausted)
    assert "4 of 5 addresses are in use, 1 rest for 10 s after deletion; wait 10 s, " in text
    fleet.now += 1
    fleet.request(*applying(endpoint("new", "front")))
    assert address(fleet, "new") == "10.0.0.5"


def test_a_fixed_address_is_honoured_while_it_rests_with_a_higher_generation(fleet):
    fleet.request(*applying(endpoint("a", "front", address="10.0.0.4")))
    first = get(fleet, "Endpoint", "a").status.generation
    fleet.delete(key("Endpoint", "a"))
    fleet.request(*applying(endpoint("b", "front", address="10.0.0.4")))
    assert get(fleet, "Endpoint", "b").status.generation == first + 1
    fleet.delete(key("Endpoint", "b"))
    fleet.now -= 1000
    fleet.request(*applying(endpoint("c", "front", address="10.0.0.4")))
    assert get(fleet, "Endpoint", "c").status.generation == first + 2


def test_a_generation_ahead_of_the_clock_is_remembered_until_the_clock_is_past_it(fleet):
    fleet.request(*applying(*(endpoint(f"e{n}", "front") for n in range(5))))
    for n in range(30):
        fleet.request(*applying(endpoint("e3", "front", host=f"h{n % 3 + 1}")))
    last = get(fleet, "Endpoint", "e3").status.generation
    fleet.delete(key("Endpoint", "e3"))
    fleet.now += limits.ADDRESS_QUARANTINE_S + 1
    assert "1 rest for 10 s after deletion" in refusal(fleet, *applying(endpoint("new", "front")))
    fleet.now += 30
    fleet.request(*applying(endpoint("new", "front")))
    assert get(fleet, "Endpoint", "new").status.generation > last


def test_rest_and_counters_survive_a_restart(fleet):
    fleet.request(*applying(*(endpoint(f"e{n}", "front") for n in range(5))))
    records = {}
    for decision in (
        fleet.delete(key("Endpoint", "e3")),
        fleet.request(*applying(vpc("gone", "10.0.0.0/16"))),
        fleet.delete(key("VPC", "gone")),
    ):
        records |= {record.name: record.new for record in decision.records}
    stored = [(name, value) for name, value in records.items() if value is not None]
    fleet.state = states.State.load(reversed(contents(fleet.state)), stored, 50)
    with pytest.raises(errors.Exhausted):
        admission.admit(fleet.state, applying(endpoint("new", "front")), fleet.now)
    decision = admission.admit(fleet.state, applying(vpc("new", "10.0.0.0/16")), fleet.now)
    assert decision.changes[0].new.status.vni == 3


def test_addresses_resting_are_kept_out_of_a_network_created_anew(fleet):
    fleet.request(*applying(endpoint("a", "front")))
    fleet.delete(key("Endpoint", "a"), key("Network", "front"))
    fleet.request(*applying(network("front2", "prod", "10.0.0.0/29"), endpoint("b", "front2")))
    assert address(fleet, "b") == "10.0.0.3"


def test_fixed_addresses_go_before_those_that_take_what_is_free(fleet):
    fleet.request(
        *applying(endpoint("any", "front"), endpoint("fixed", "front", address="10.0.0.2"))
    )
    assert (address(fleet, "fixed"), address(fleet, "any")) == ("10.0.0.2", "10.0.0.3")


def test_two_tenants_have_the_same_names_and_addresses_and_different_numbers(fleet):
    fleet.request(
        *applying(
            endpoint("web1", "front", tenant="other"),
            network("front", "prod", "10.0.0.0/29", tenant="other"),
            vpc("prod", "10.0.0.0/16", tenant="other"),
            tenant("other"),
            endpoint("web1", "front"),
        )
    )
    mine, theirs = (get(fleet, "Endpoint", "web1", each) for each in ("acme", "other"))
    assert mine.status.addresses == theirs.status.addresses
    assert mine.status.mac != theirs.status.mac
    assert get(fleet, "VPC", "prod", "other").status.vni == 2
    assert get(fleet, "Network", "front", "other").status.number == 1


def test_numbers_of_networks_are_not_given_twice(fleet):
    fleet.delete(key("Network", "back"))
    fleet.request(*applying(network("third", "prod", "10.0.1.0/24")))
    assert get(fleet, "Network", "third").status.number == 3


def test_vnis_go_round_past_those_in_use(fleet):
    fleet.state.put_record(states.Record("vni", "1", str(limits.VNI_MAX - 1)))
    fleet.request(*applying(vpc("last", "10.0.0.0/16")))
    fleet.request(*applying(vpc("round", "10.0.0.0/16")))
    vnis = [get(fleet, "VPC", name).status.vni for name in ("last", "round")]
    assert vnis == [limits.VNI_MAX, 2]


def test_endpoints_spread_over_hosts_and_prefer_live_ones(fleet):
    fleet.request(*applying(*(endpoint(f"e{n}", "back") for n in range(9))))
    assert [len(fleet.state.endpoints_on(f"h{n}")) for n in (1, 2, 3)] == [3, 3, 3]
    fleet.live = {"h2"}
    fleet.request(*applying(*(endpoint(f"f{n}", "back") for n in range(3))))
    assert len(fleet.state.endpoints_on("h2")) == 6


def test_a_full_host_is_not_chosen_and_naming_it_is_refused(fleet):
    fleet.state.spread.add("h2", limits.PORTS)
    text = refusal(fleet, *applying(endpoint("e", "back", host="h2")), kind=errors.Exhausted)
    assert "Host h2 is full: it has 4096 endpoints" in text


# ---- both families ----


@pytest.fixture
def dual(fleet):
    """VPC both; networks two (10.0.0.0/29, fd00::/126), six (fd00:0:0:1::/64), four."""
    fleet.request(
        *applying(
            vpc("both", "10.0.0.0/16", "fd00::/48"),
            network("two", "both", "10.0.0.0/29 fd00::/126"),
            network("six", "both", "fd00:0:0:1::/64"),
            network("four", "both", "10.0.1.0/24"),
        )
    )
    return fleet


def given(fleet, name):
    return get(fleet, "Endpoint", name).status.addresses


def test_an_endpoint_has_an_address_of_each_family_of_its_network(dual):
    dual.request(*applying(endpoint("a", "two"), endpoint("b", "six")))
    assert get(dual, "Network", "two").status.gateways == ["10.0.0.1", "fd00::1"]
    assert get(dual, "Network", "six").status.gateways == ["fd00:0:0:1::1"]
    assert (given(dual, "a"), given(dual, "b")) == (["10.0.0.2", "fd00::2"], ["fd00:0:0:1::2"])


def test_addresses_come_in_the_order_of_the_ranges_however_they_are_named(dual):
    dual.request(*applying(network("turned", "both", "fd00:0:0:2::/64 10.0.2.0/24")))
    dual.request(*applying(endpoint("a", "turned", address="10.0.2.9 fd00:0:0:2::9")))
    dual.request(*applying(endpoint("b", "turned", address="10.0.2.8")))
    assert given(dual, "a") == ["fd00:0:0:2::9", "10.0.2.9"]
    assert given(dual, "b") == ["fd00:0:0:2::2", "10.0.2.8"]


def test_a_family_that_is_full_is_named_and_the_last_ipv6_address_is_used(dual):
    dual.request(*applying(*(endpoint(f"e{n}", "two") for n in range(2))))
    assert given(dual, "e1") == ["10.0.0.3", "fd00::3"]
    text = refusal(dual, *applying(endpoint("e2", "two")), kind=errors.Exhausted)
    assert "Network acme/two (fd00::/126) is full: 2 of 2 addresses are in use" in text


def test_what_anybody_names_is_not_given_to_those_that_take_what_is_free(dual):
    dual.request(
        *applying(
            endpoint("any", "two"),
            endpoint("half", "two", address="10.0.0.2"),
            endpoint("other", "four"),
            endpoint("with", "four", also="10.0.1.2 10.0.1.4"),
            endpoint("last", "four"),
        )
    )
    assert (given(dual, "half"), given(dual, "any")) == (["10.0.0.2", "fd00::3"],
                                                         ["10.0.0.3", "fd00::2"])  # fmt: skip
    taken = [address(dual, name) for name in ("other", "with", "last")]
    assert taken == ["10.0.1.3", "10.0.1.5", "10.0.1.6"]


def test_a_gateway_that_somebody_asks_for_stays_the_gateway(dual):
    assert "the gateway" in refusal(dual, *applying(endpoint("a", "two", address="10.0.0.1")))
    wish = endpoint("a", "two", address="10.0.0.2", also="fd00::1")
    assert "the gateway" in refusal(dual, *applying(wish))
    dual.request(*applying(endpoint("a", "two")))
    assert given(dual, "a") == ["10.0.0.2", "fd00::2"]


def test_a_mac_that_two_ipv6_addresses_lead_to_is_given_to_one(dual):
    dual.request(*applying(endpoint("first", "six")))
    first = get(dual, "Endpoint", "first")
    mac = addresses.derived_mac(2, "fd00:0:0:1::3")
    status = msgspec.structs.replace(first.status, mac=mac)
    clash = msgspec.structs.replace(first, status=status)
    dual.state.put(key("Endpoint", "first"), first, None)
    dual.state.put(key("Endpoint", "first"), None, clash)
    dual.request(*applying(endpoint("second", "six")))
    assert given(dual, "second") == ["fd00:0:0:1::3"]
    assert get(dual, "Endpoint", "second").status.mac == addresses.derived_mac(
        2, "fd00:0:0:1::3", 1
    )
    assert "is for derived MACs" in refusal(dual, *applying(endpoint("e9", "six", mac=mac)))


def test_naming_some_of_what_is_in_force_is_no_change_of_it(dual):
    dual.request(*applying(endpoint("a", "two")))
    before = get(dual, "Endpoint", "a").status
    dual.request(*applying(endpoint("a", "two", address="fd00::2")))
    dual.request(*applying(network("two", "both", "10.0.0.0/29 fd00::/126", gateway="fd00::1")))
    assert get(dual, "Endpoint", "a").status == before
    assert "(it is 10.0.0.2, fd00::2)" in refusal(
        dual, *applying(endpoint("a", "two", address="fd00::3"))
    )


def test_a_range_of_either_family_stays_while_a_network_lies_in_it(dual):
    text = refusal(dual, *applying(vpc("both", "10.0.0.0/16")), kind=errors.InUse)
    assert "Network acme/two (fd00::/126) lies in none of these ranges" in text
    text = refusal(dual, *applying(network("new", "both", "10.0.3.0/24 fd00:0:0:1::/65")))
    assert "spec.cidrs[1]: fd00:0:0:1::/65 overlaps Network acme/six (fd00:0:0:1::/64)" in text


# ---- secondary addresses ----


def test_a_secondary_address_is_as_taken_as_any_other(dual):
    dual.request(*applying(endpoint("a", "two", also="10.0.0.2 10.0.0.6")))
    assert given(dual, "a") == ["10.0.0.3", "fd00::2"]
    for wish in (endpoint("b", "two", address="10.0.0.6"), endpoint("b", "two", also="10.0.0.6")):
        assert "10.0.0.6 is in use by Endpoint acme/a" in refusal(dual, *applying(wish))
    for also, message in (("fd00:0:0:1::5", "outside fd00::/126"), ("10.0.0.7", "broadcast")):
        assert message in refusal(dual, *applying(endpoint("b", "two", also=also)))
    text = refusal(dual, *applying(endpoint("b", "six", also="10.0.0.4")))
    assert "10.0.0.4: the network has no IPv4 range" in text


def test_secondary_addresses_change_and_rest_when_given_up(dual):
    dual.request(*applying(endpoint("a", "two", also="10.0.0.2")))
    before = get(dual, "Endpoint", "a").status
    dual.request(*applying(endpoint("a", "two", also="10.0.0.4")))
    after = get(dual, "Endpoint", "a").status
    assert after == msgspec.structs.replace(before, generation=before.generation + 1)
    decision = dual.request(*applying(endpoint("a", "two")))
    assert [result.action for result in decision.results] == ["configured"]
    dual.request(*applying(endpoint("b", "two")))
    assert given(dual, "b")[0] == "10.0.0.5"
    dual.request(*applying(endpoint("b", "two", also="10.0.0.6")))
    dual.delete(key("Endpoint", "a"), key("Endpoint", "b"))
    assert {name for name in dual.records if name.startswith("freed/2/10.")} == {
        f"freed/2/10.0.0.{n}" for n in (2, 3, 4, 5, 6)
    }


def test_secondary_addresses_pass_between_endpoints_in_one_request_even_crosswise(dual):
    dual.request(
        *applying(endpoint("a", "two", also="10.0.0.4"), endpoint("b", "two", also="10.0.0.5"))
    )
    before = [get(dual, "Endpoint", name).status.generation for name in "ab"]
    dual.request(
        *applying(endpoint("a", "two", also="10.0.0.5"), endpoint("b", "two", also="10.0.0.4"))
    )
    after = [get(dual, "Endpoint", name).status.generation for name in "ab"]
    assert [get(dual, "Endpoint", name).spec.secondaryAddresses for name in "ab"] == [
        ["10.0.0.5"],
        ["10.0.0.4"],
    ]
    assert min(after) > max(before)


# ---- moves ----


def test_a_host_that_goes_is_nobodys_old_place(fleet):
    fleet.request(*applying(endpoint("web1", "front", host="h1")))
    fleet.request(*applying(endpoint("web1", "front", host="h2")))
    assert get(fleet, "Endpoint", "web1").status.movedFrom == "h1"
    fleet.delete(key("Host", "h1"))
    assert get(fleet, "Endpoint", "web1").status.movedFrom == ""
    assert fleet.tables["h1"] == {}


# ---- apply, create, replace, delete ----


def test_applying_twice_changes_nothing(fleet):
    wish = applying(endpoint("web1", "front"))
    assert fleet.request(*wish).results[0].action == "created"
    again = fleet.request(*wish)
    assert (again.changes, again.results[0].action) == ([], "unchanged")


def test_what_get_printed_can_be_applied(fleet):
    fleet.request(*applying(endpoint("web1", "front")))
    printed = msgspec.json.encode(get(fleet, "Endpoint", "web1")).decode()
    assert fleet.apply(printed).results[0].action == "unchanged"


def test_naming_what_is_in_force_is_no_change_of_it(fleet):
    fleet.request(*applying(endpoint("web1", "front")))
    before = get(fleet, "Endpoint", "web1").status
    pinned = endpoint("web1", "front", address=before.addresses[0], mac=before.mac)
    assert fleet.request(*applying(pinned)).results[0].action == "configured"
    assert fleet.request(*applying(endpoint("web1", "front"))).results[0].action == "configured"
    assert get(fleet, "Endpoint", "web1").status == before


def test_a_moved_endpoint_keeps_its_address_and_raises_its_generation(fleet):
    fleet.request(*applying(endpoint("web1", "front", host="h1")))
    before = get(fleet, "Endpoint", "web1").status
    fleet.request(*applying(endpoint("web1", "front", host="h3")))
    after = get(fleet, "Endpoint", "web1").status
    assert after == msgspec.structs.replace(
        before, host="h3", generation=before.generation + 1, movedFrom="h1"
    )


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (endpoint("web1", "back"), "network can't change: its address belongs to the network"),
        (endpoint("web1", "front", address="10.0.0.6"), "addresses can't change"),
        (endpoint("web1", "front", mac="02:00:00:00:00:09"), "MAC can't change"),
        (endpoint("web1", "front", interface="eth1"), "(it is eth0)"),
        (endpoint("web1", "front", netns="x"), "(it is unset)"),
        (network("front", "prod", "10.0.0.0/28"), "(it is 10.0.0.0/29)"),
        (network("front", "prod", "10.0.0.0/29", gateway="10.0.0.6"), "(it is 10.0.0.1)"),
        (network("front", "other", "10.0.0.0/29"), "VPC can't change"),
        (
            msgspec.structs.replace(host(1), spec=resources.HostSpec(address="192.0.2.9")),
            "delete the host and register it anew",
        ),
    ],
)
def test_what_can_not_change_is_refused_with_the_reason(fleet, wish, message):
    fleet.request(*applying(endpoint("web1", "front")))
    assert message in refusal(fleet, *applying(wish), kind=errors.Invalid)


def test_create_wants_a_free_name_and_replace_the_current_revision(fleet):
    current = get(fleet, "VPC", "prod")
    stale = msgspec.structs.replace(
        current, metadata=msgspec.structs.replace(current.metadata, revision=1)
    )
    create, replace = admission.Request("create", current), admission.Request("replace", current)
    assert "the name is in use" in refusal(fleet, create, kind=errors.Conflict)
    assert fleet.request(replace).results[0].action == "unchanged"
    text = refusal(fleet, admission.Request("replace", stale), kind=errors.Conflict)
    assert "it has changed: revision 4, not 1" in text
    absent = admission.Request("replace", vpc("absent", "10.0.0.0/16"))
    assert "VPC acme/absent: it doesn't exist" in refusal(fleet, absent, kind=errors.NotFound)


def test_deleting_what_is_in_use_names_the_users(fleet):
    fleet.request(*applying(*(endpoint(f"e{n}", "back", host="h1") for n in range(5))))
    for what in (key("Network", "back"), key("Host", "h1")):
        text = refusal(fleet, admission.Request("delete", key=what), kind=errors.InUse)
        assert "used by Endpoint acme/e0, Endpoint acme/e1, Endpoint acme/e2 and 2 more" in text
    for what, user in ((key("VPC", "prod"), "Network acme/front"), (key("Tenant", "acme"), "VPC")):
        text = refusal(fleet, admission.Request("delete", key=what), kind=errors.InUse)
        assert f"used by {user}" in text


def test_a_whole_manifest_is_deleted_in_any_order(fleet):
    fleet.request(*applying(endpoint("web1", "front")))
    keys = [resources.key_of(each) for each in contents(fleet.state)]
    decision = fleet.delete(*keys)
    assert {result.action for result in decision.results} == {"deleted"}
    assert contents(fleet.state) == []
    assert all(table == {} for table in fleet.tables.values())
    assert sorted(fleet.records) == ["freed/1/10.0.0.2", "vni"]


def test_a_host_goes_in_the_request_that_moves_its_last_endpoint(fleet):
    fleet.request(*applying(endpoint("web1", "front", host="h1")))
    fleet.request(
        admission.Request("delete", key=key("Host", "h1")),
        *applying(endpoint("web1", "front", host="h2")),
    )
    assert get(fleet, "Endpoint", "web1").status.host == "h2"
    assert fleet.tables["h1"] == {}


def test_what_is_used_by_something_that_can_not_go_is_not_complained_of(fleet):
    fleet.request(*applying(endpoint("web1", "front")))
    names = [key("Tenant", "acme"), key("VPC", "prod"), key("Network", "front")]
    text = refusal(fleet, *(admission.Request("delete", key=each) for each in names))
    assert text.splitlines() == [
        "Network acme/front: it is used by Endpoint acme/web1; "
        "delete them first, or in the same request"
    ]


def test_deleting_what_is_absent_is_refused(fleet):
    request = admission.Request("delete", key=key("Endpoint", "nobody"))
    text = refusal(fleet, request, kind=errors.NotFound)
    assert "Endpoint acme/nobody: it doesn't exist; see mizar get endpoints -n acme" in text


# ---- refusals ----


@pytest.mark.parametrize(
    ("wish", "kind", "message"),
    [
        (vpc("p", "10.0.0.0/8", tenant="nobody"), errors.Invalid, "Tenant nobody doesn't exist"),
        (network("n", "nope", "10.0.2.0/24"), errors.Invalid, "VPC acme/nope doesn't exist"),
        (endpoint("e", "nope"), errors.Invalid, "Network acme/nope doesn't exist"),
        (endpoint("e", "front", host="h9"), errors.Invalid, "Host h9 doesn't exist"),
        (network("n", "prod", "10.1.0.0/16"), errors.Invalid, "outside VPC acme/prod (10."),
        (network("n", "prod", "10.0.1.128/25"), errors.Conflict, "overlaps Network acme/back"),
        (network("n", "prod", "10.0.0.0/16"), errors.Conflict, "overlaps Network acme/front"),
        (endpoint("e", "front", address="10.0.1.5"), errors.Invalid, "outside 10.0.0.0/29"),
        (endpoint("e", "front", address="10.0.0.0"), errors.Invalid, "the network address"),
        (endpoint("e", "front", address="10.0.0.7"), errors.Invalid, "the broadcast address"),
        (endpoint("e", "front", address="10.0.0.1"), errors.Invalid, "the gateway of Network"),
        (endpoint("e", "front", address="10.0.0.2"), errors.Conflict, "by Endpoint acme/web1"),
        (endpoint("e", "back", mac="02:00:00:00:00:01"), errors.Conflict, "by Endpoint acme"),
        (endpoint("e", "back", mac="72:00:00:00:00:01"), errors.Invalid, "is for derived MACs"),
        (endpoint("e", "back", netns="ns", host="h1"), errors.Conflict, "namespace ns on Host h1"),
        (vpc("prod", "10.0.1.0/24"), errors.InUse, "(10.0.0.0/29) lies in none"),
        (host(7), errors.Conflict, "192.0.2.1 is Host h1's"),
        (host(8), errors.Invalid, "outside the underlay (192.0.2.0/24)"),
    ],
)  # fmt: skip
def test_each_clash_is_named(fleet, wish, kind, message):
    fleet.request(
        *applying(endpoint("web1", "front", mac="02:00:00:00:00:01", netns="ns", host="h1"))
    )
    if isinstance(wish, resources.Host):
        place = "192.0.2.1" if wish.metadata.name == "h7" else "198.51.100.1"
        wish = msgspec.structs.replace(wish, spec=resources.HostSpec(address=place))
    assert message in refusal(fleet, *applying(wish), kind=kind)


def test_all_problems_are_reported_and_none_that_only_follows(fleet):
    wishes = applying(
        vpc("bad", "10.0.0.1/8"),
        network("under", "bad", "10.5.0.0/16"),
        endpoint("below", "under"),
        endpoint("Web", "front"),
        endpoint("ok", "front"),
        endpoint("far", "nope"),
    )
    text = refusal(fleet, *wishes, kind=errors.Invalid)
    assert len(text.splitlines()) == 3
    assert "host bits" in text
    assert "'Web' is not a valid name" in text
    assert "Network acme/nope" in text


def test_an_object_named_twice_is_refused(fleet):
    assert "named twice" in refusal(fleet, *applying(tenant("x"), tenant("x")))


def test_endpoints_need_a_host_and_networks_do_not():
    fleet = Fleet()
    fleet.request(
        *applying(tenant(), vpc("prod", "10.0.0.0/8"), network("n", "prod", "10.0.0.0/24"))
    )
    text = refusal(fleet, *applying(endpoint("e", "n")), kind=errors.Exhausted)
    assert "no host is registered; start an agent" in text


# ---- transit tables ----


def test_a_host_that_may_not_hold_tables_any_more_gives_them_away(fleet):
    fleet.request(*applying(host(1, transit=False)))
    assert [*fleet.state.held_by("h1")] == []
    assert get(fleet, "VPC", "prod").status.routers == ["h2", "h3"]
    fleet.request(*applying(host(2, transit=False)))
    assert get(fleet, "VPC", "prod").status.routers == ["h3"]
    fleet.request(*applying(host(2, transit=True)))
    assert get(fleet, "VPC", "prod").status.routers == ["h2", "h3"]


def test_a_joining_host_is_used_in_bounded_steps():
    fleet = Fleet()
    many = limits.PLACEMENTS + 10
    fleet.request(
        *applying(
            tenant(),
            vpc("prod", "10.0.0.0/8"),
            *(network(f"n{n}", "prod", f"10.{n // 256}.{n % 256}.0/24") for n in range(many)),
        )
    )
    assert len(admission.admit(fleet.state, [], fleet.now).changes) == 0
    fleet.join(1)
    assert len(fleet.state.held_by("h1")) == limits.PLACEMENTS
    assert len(fleet.request().changes) == 11
    assert len(fleet.request().changes) == 0


def test_tables_of_dead_hosts_go_to_live_ones_and_none_come_back(fleet):
    for name in ("prod", "front", "back"):
        assert len(held(fleet, name)) == 2
    fleet.live = {"h2", "h3"}
    moved = {change.key for change in fleet.request().changes}
    assert moved
    assert [held(fleet, name) for name in ("prod", "front", "back")] == [["h2", "h3"]] * 3
    assert all(fleet.state.get(each).status.phase == "Pending" for each in moved)
    assert fleet.request().changes == []
    fleet.live = {"h1", "h2", "h3"}
    assert fleet.request().changes == []


def test_a_table_stays_short_rather_than_go_to_the_dead_until_they_return(fleet):
    fleet.request(*applying(host(3, transit=False)))
    fleet.live = {"h2"}
    fleet.request()
    assert held(fleet, "front") == ["h2"]
    fleet.request(*applying(network("third", "prod", "10.0.2.0/24")))
    assert held(fleet, "third") == ["h2"]
    fleet.live = {"h1", "h2"}
    fleet.request()
    assert held(fleet, "front") == held(fleet, "third") == ["h1", "h2"]


def test_without_vacating_or_live_transit_hosts_no_table_moves(fleet):
    for live, vacate in ((["h2"], False), ([], True), (["h9"], True)):
        fleet.live, fleet.vacate = live, vacate
        assert fleet.request().changes == []


def test_the_last_live_holder_may_leave_its_tables_to_a_dead_host(fleet):
    fleet.live = {"h2", "h3"}
    fleet.request(*applying(host(3, transit=False)))
    fleet.request(*applying(host(2, transit=False)))
    assert held(fleet, "front") == ["h1"]


def test_dead_hosts_are_vacated_in_bounded_steps_and_short_tables_not_looked_at_again():
    fleet = Fleet(3)
    many = limits.PLACEMENTS + 10
    fleet.request(
        *applying(
            tenant(),
            vpc("prod", "10.0.0.0/8", routers=3),
            *(
                network(f"n{n}", "prod", f"10.{n // 256}.{n % 256}.0/24", switches=3)
                for n in range(many)
            ),
        )
    )
    fleet.live = {"h2", "h3"}
    assert len(fleet.request().changes) == limits.PLACEMENTS
    assert len(fleet.request().changes) == 11
    assert [*draft.Draft(fleet.state, fleet.now, fleet.live, [], True).misplaced()] == []
    assert [*fleet.state.held_by("h1")] == []


def test_the_last_transit_host_stays_while_there_are_endpoints():
    fleet = Fleet(2)
    fleet.request(
        *applying(
            tenant(),
            vpc("prod", "10.0.0.0/16"),
            network("front", "prod", "10.0.0.0/29"),
            endpoint("a", "front", host="h2"),
        )
    )
    fleet.request(*applying(host(2, transit=False)))
    last = admission.Request("delete", key=key("Host", "h1"))
    for wish in (last, *applying(host(1, transit=False))):
        text = refusal(fleet, wish, kind=errors.InUse)
        assert "Host h1: no other host may hold the transit tables of Endpoint acme/a;" in text
    fleet.request(*applying(host(2, transit=True)), last)
    assert held(fleet, "front") == ["h2"]
    fleet.delete(key("Endpoint", "a"))
    fleet.request(*applying(host(2, transit=False)))
    assert held(fleet, "front") == []


def test_what_no_host_could_be_added_to_is_not_looked_at():
    fleet = Fleet(1)
    fleet.request(*applying(tenant(), vpc("prod", "10.0.0.0/8", routers=2)))
    assert [*fleet.state.underprovided(len(fleet.state.transit))] == []
    fleet.join(2, transit=False)
    assert [*fleet.state.underprovided(len(fleet.state.transit))] == []


def test_an_address_passes_from_one_endpoint_to_another_in_one_request(fleet):
    fleet.request(*applying(endpoint("a", "front", address="10.0.0.4")))
    first = get(fleet, "Endpoint", "a").status.generation
    fleet.request(
        *applying(endpoint("b", "front", address="10.0.0.4")),
        admission.Request("delete", key=key("Endpoint", "a")),
    )
    assert get(fleet, "Endpoint", "b").status.generation == first + 1
    assert fleet.state.room(key("Network", "front"), "10.0.0.0/29") == states.Room(1, 0, 5)


def test_growing_and_shrinking_the_number_of_holders(fleet):
    fleet.request(*applying(network("back", "prod", "10.0.1.0/24", switches=3)))
    assert get(fleet, "Network", "back").status.switches == ["h1", "h2", "h3"]
    fleet.request(*applying(network("back", "prod", "10.0.1.0/24", switches=1)))
    assert len(get(fleet, "Network", "back").status.switches) == 1


# ---- the state as a fold ----


def test_a_failed_commit_can_be_taken_back(fleet):
    before = contents(fleet.state)
    decision = admission.admit(
        fleet.state, applying(endpoint("a", "front"), vpc("v", "10.0.0.0/8")), fleet.now
    )
    changes = fleet.state.apply(decision.changes, 99, decision.records)
    assert contents(fleet.state) != before
    fleet.state.revert(changes, decision.records)
    assert contents(fleet.state) == before
    assert fleet.state.counter("vni") == 1
    again = admission.admit(
        fleet.state, applying(endpoint("b", "front", address="10.0.0.2")), fleet.now
    )
    assert again.results[0].action == "created"
