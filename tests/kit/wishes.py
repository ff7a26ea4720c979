"""Random histories over a small world: names, ranges and places clash often, most is granted.

A step is drawn as numbers and read against what exists when its turn comes, so
that it mostly makes sense; `wild` steps make none on purpose.
"""

from __future__ import annotations

import msgspec
from fleet import Fleet, endpoint, host, key, network, tenant, vpc
from hypothesis import strategies as st

from mizar.model import addresses, admission, errors, grants, resources
from mizar.model import state as states

TENANTS = ("acme", "beta")
RANGES = ("10.0.0.0/16", "fd00::/48")
CIDRS = (
    "10.0.0.0/29",
    "fd00:0:0:1::/126 10.0.0.8/30",
    "fd00:0:0:2::/64",
    "10.0.0.0/28 fd00::/125",
    "10.0.1.0/29 fd00:0:0:1::/64",
)
ACTIONS = (
    *("plug",) * 6,
    *("fixed", "secondary", "secondary", "unplug", "unplug", "network", "vpc", "host"),
    *("remove", "wild", "arrive"),
)


class Step(msgspec.Struct, frozen=True):
    """What is done, and numbers that choose with what."""

    action: str
    a: int
    b: int
    c: int


numbers = st.integers(0, 30)
single = st.builds(Step, st.sampled_from(ACTIONS), numbers, numbers, numbers)
batches = st.lists(single, min_size=1, max_size=3)
steps = st.lists(
    st.tuples(batches, st.sampled_from([0.0, 0.3, 4.0, 20.0])), min_size=3, max_size=20
)


def beginning() -> Fleet:
    """Four hosts, two tenants with equal VPCs, some endpoints side by side and apart."""
    fleet = Fleet(4)
    fleet.request(
        *map(
            _apply,
            (
                *(tenant(name) for name in TENANTS),
                *(vpc("v0", *RANGES, tenant=name) for name in TENANTS),
                *(network("n0", "v0", "10.0.0.0/29 fd00::/125", tenant=name) for name in TENANTS),
                network("n1", "v0", "10.0.1.0/29"),
                network("n2", "v0", "fd00:0:0:7::/64"),
                *(endpoint(f"e{n}", f"n{n}", host="h3") for n in range(3)),
                endpoint("e3", "n0", host="h1"),
                endpoint("e0", "n0", tenant="beta", host="h1"),
            ),
        )
    )
    return fleet


def play(fleet: Fleet, batch: list[Step], seconds: float) -> bool:
    """One step of a history; whether it was granted."""
    fleet.now += seconds
    if any(step.action == "arrive" for step in batch):
        fleet.end_moves()
    try:
        fleet.request(*requests(fleet.state, batch))
    except errors.Refused:
        return False
    return True


def requests(state: states.State, batch: list[Step]) -> list[admission.Request]:
    """The steps' requests, one for each object."""
    asked = [request for step in batch for request in _requests(state, step)]
    return [*{request.target: request for request in asked}.values()]


def _requests(state: states.State, step: Step) -> list[admission.Request]:
    match step.action:
        case "plug" | "fixed":
            return _plug(state, step)
        case "secondary":
            return [_secondary(state, step, each) for each in _pick(state, "Endpoint", step.a)]
        case "unplug":
            return [_delete(each) for each in _pick(state, "Endpoint", step.a)]
        case "network":
            return [_network(each.metadata, state, step) for each in _pick(state, "VPC", step.a)]
        case "vpc":
            wish = vpc(f"v{step.b % 2}", *RANGES, tenant=TENANTS[step.a % 2])
            spec = msgspec.structs.replace(wish.spec, routers=1 + step.c % 3)
            return [_apply(msgspec.structs.replace(wish, spec=spec))]
        case "arrive":
            return []
        case "host":
            return [_apply(host(1 + step.a % 4, transit=step.b % 3 > 0))]
        case "remove":
            kind = ("Host", "Network", "VPC", "Tenant", "Network")[step.b % 5]
            found = _pick(state, kind, step.a)
            return [_delete(each) for one in found for each in _closure(state, one)]
    return _wild(step)


def _plug(state: states.State, step: Step) -> list[admission.Request]:
    name, place = f"e{step.b % 8}", ("", "h1", "h2", "h3", "h4")[step.c % 5]
    for found in _pick(state, "Network", step.a):
        spec = resources.EndpointSpec(network=found.metadata.name, host=place)
        old = state.get(key("Endpoint", name, found.metadata.tenant))
        if old is not None:
            spec = msgspec.structs.replace(old.spec, host=place)
        elif step.action == "fixed":
            cidrs = found.spec.cidrs[step.b % 2 :] or found.spec.cidrs
            spec = msgspec.structs.replace(spec, addresses=[_numbered(c, step.c) for c in cidrs])
        metadata = resources.Metadata(name=name, tenant=found.metadata.tenant)
        return [_apply(resources.Endpoint(metadata=metadata, spec=spec))]
    return []


def _numbered(cidr: str, number: int) -> str:
    return addresses.text(addresses.span(cidr).first + number % 8)


def _secondary(state: states.State, step: Step, old: resources.Endpoint) -> admission.Request:
    """The endpoint with other secondary addresses of its network: none, one or two."""
    found = state.network(old.metadata.tenant, old.spec.network)
    cidrs = [found.spec.cidrs[step.c % len(found.spec.cidrs)]] * (step.b % 3)
    wanted = [_numbered(cidr, step.c + 3 * n) for n, cidr in enumerate(cidrs)]
    spec = msgspec.structs.replace(old.spec, secondaryAddresses=wanted)
    return _apply(msgspec.structs.replace(old, spec=spec))


def _network(vpc: resources.Metadata, state: states.State, step: Step) -> admission.Request:
    name = f"n{step.b % 4}"
    wish = network(name, vpc.name, CIDRS[step.c % 5], vpc.tenant, 1 + step.c % 3)
    old = state.network(vpc.tenant, name)
    if old is not None:
        spec = msgspec.structs.replace(old.spec, switches=wish.spec.switches)
        wish = msgspec.structs.replace(wish, spec=spec)
    return _apply(wish)


def _wild(step: Step) -> list[admission.Request]:
    in_tenant = TENANTS[step.a % 2]
    wish = (
        endpoint(f"e{step.b % 8}", f"n{step.c % 4}", in_tenant, "10.0.0.4"),
        network(f"n{step.b % 4}", f"v{step.c % 2}", CIDRS[step.c % 4], in_tenant),
        vpc("v0", "10.0.0.0/29", tenant=in_tenant),
        tenant(in_tenant),
    )[step.c % 4]
    return [_delete(wish) if step.b % 2 else _apply(wish)]


def _closure(state: states.State, one: resources.Resource) -> list[resources.Resource]:
    """A resource with all that would be left without it."""
    users = [state.get(each) for each in grants.users(state, resources.key_of(one))]
    return [one, *(each for user in users for each in _closure(state, user))]


def _pick(state: states.State, kind: str, number: int) -> list[resources.Resource]:
    """One of a kind, none if there is none."""
    found = state.list(kind)
    return [found[number % len(found)]] if found else []


def _apply(wish: resources.Resource) -> admission.Request:
    return admission.Request("apply", wish)


def _delete(wish: resources.Resource) -> admission.Request:
    return admission.Request("delete", key=resources.key_of(wish))
