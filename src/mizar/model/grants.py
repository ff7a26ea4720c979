"""What a wish becomes: the resource with numbers, addresses and places given, by kind.

Each function takes the draft, the resource as it is (None: to be created) and
as it is wished for, and returns what it is to be; None when problems stand
against it, which the draft then holds. Checks references and clashes; the rules
on a resource alone are in `rules`.
"""

from __future__ import annotations

from typing import TypeVar, cast

import msgspec

from mizar.model import addresses, draft, errors, limits, registry, resources, rules
from mizar.model import state as states

R = TypeVar("R", bound=resources.Resource)

START_AN_AGENT = "start an agent: mizar agent --server URL --uplink NAME"


def grant(d: draft.Draft, wish: resources.Resource) -> resources.Resource | None:
    """The resource that ``wish`` leads to, whatever its kind."""
    old = d.state.get(resources.key_of(wish))
    if old is not None and not _unchangeable(d, old, wish):
        return None
    match wish:
        case resources.Tenant():
            return _tenant(d, cast(resources.Tenant | None, old), wish)
        case resources.Host():
            return _host(d, cast(resources.Host | None, old), wish)
        case resources.VPC():
            return _vpc(d, cast(resources.VPC | None, old), wish)
        case resources.Network():
            return _network(d, cast(resources.Network | None, old), wish)
        case resources.Endpoint():
            return _endpoint(d, cast(resources.Endpoint | None, old), wish)


def _unchangeable(d: draft.Draft, old: resources.Resource, wish: resources.Resource) -> bool:
    """Whether the wish leaves alone what can't change; naming what is in force is fine."""
    key = resources.key_of(wish)
    good = True
    for field, reason in registry.KINDS[key.kind].immutable.items():
        before, asked = getattr(old.spec, field), getattr(wish.spec, field)
        in_force = getattr(old.status, field, None)
        if asked not in (before, in_force) and (asked or in_force is None):
            message, _, remedy = reason.rpartition("; ")
            shown = ", ".join(in_force or before) if isinstance(before, list) else before
            d.refuse(key, f"spec.{field}", f"{message} (it is {shown or 'unset'})", remedy)
            good = False
    return good


def _updated(old: R, wish: R) -> R:
    """``old`` with the user's part of ``wish``: labels and spec."""
    metadata = msgspec.structs.replace(old.metadata, labels=wish.metadata.labels)
    return msgspec.structs.replace(old, metadata=metadata, spec=wish.spec)


def _missing(d: draft.Draft, key: resources.Key, field: str, reference: resources.Key) -> None:
    """Refuses for a reference to what doesn't exist, unless that was itself refused."""
    if reference in d.spoiled:
        d.spoiled.add(key)
        return
    remedy = f"create {reference} first, or in the same manifest"
    if reference.kind == "Host":
        remedy = "name a registered host (mizar get hosts), or leave it out"
    d.refuse(key, field, f"{reference} doesn't exist", remedy)


def _tenant(
    d: draft.Draft, old: resources.Tenant | None, wish: resources.Tenant
) -> resources.Tenant | None:
    if old is not None:
        return _updated(old, wish)
    metadata = d.stamp(resources.key_of(wish), wish.metadata)
    status = resources.TenantStatus(phase="Ready")
    return resources.Tenant(metadata=metadata, spec=wish.spec, status=status)


def _host(
    d: draft.Draft, old: resources.Host | None, wish: resources.Host
) -> resources.Host | None:
    if old is not None:
        return _updated(old, wish)
    key, address = resources.key_of(wish), wish.spec.address
    if other := d.state.host_at(address):
        remedy = "give this host an address of its own, or delete the other one"
        d.refuse(key, "spec.address", f"{address} is Host {other}'s", remedy, "conflict")
    elif d.underlay and not any(addresses.inside(address, prefix) for prefix in d.underlay):
        declared = ", ".join(d.underlay)
        message = f"{address} is outside the underlay ({declared})"
        d.refuse(key, "spec.address", message, "start the server with --underlay including it")
    if key in d.spoiled:
        return None
    return resources.Host(metadata=d.stamp(key, wish.metadata), spec=wish.spec)


def _vpc(d: draft.Draft, old: resources.VPC | None, wish: resources.VPC) -> resources.VPC | None:
    key = resources.key_of(wish)
    if old is not None:
        return _changed_vpc(d, key, _updated(old, wish))
    tenant = resources.Key("Tenant", "", key.tenant)
    if d.state.get(tenant) is None:
        _missing(d, key, "metadata.tenant", tenant)
        return None
    vni = d.next_vni()
    if vni is None:
        d.refuse(key, "", "no VNI is left", "delete VPCs that nobody uses", "exhausted")
        return None
    new = resources.VPC(
        metadata=d.stamp(key, wish.metadata), spec=wish.spec, status=resources.VPCStatus(vni=vni)
    )
    return cast(resources.VPC, _with_first_holders(d, key, new))


def _changed_vpc(d: draft.Draft, key: resources.Key, new: resources.VPC) -> resources.VPC | None:
    for network in d.state.networks_of(key):
        cidr = cast(resources.Network, d.state.get(network)).spec.cidrs[0]
        if not _within(cidr, new.spec.cidrs):
            message = f"{network} ({cidr}) lies in none of these ranges"
            remedy = "keep the range, or delete the network first"
            d.refuse(key, "spec.cidrs", message, remedy, "in_use")
            return None
    holders = d.holders(key, new.status.routers, new.spec.routers)
    return cast(resources.VPC, draft.with_holders(new, holders))


def _within(cidr: str, ranges: list[str]) -> bool:
    return any(addresses.span(each).holds(addresses.span(cidr)) for each in ranges)


def _with_first_holders(
    d: draft.Draft, key: resources.Key, table: resources.VPC | resources.Network
) -> resources.VPC | resources.Network:
    _, wanted = states.holders_of(table)
    placed = draft.with_holders(table, d.holders(key, [], wanted))
    if placed is not table:
        return placed
    status = msgspec.structs.replace(
        table.status, message="no host may hold its transit table yet: start an agent"
    )
    return msgspec.structs.replace(table, status=status)


def _network(
    d: draft.Draft, old: resources.Network | None, wish: resources.Network
) -> resources.Network | None:
    key = resources.key_of(wish)
    if old is not None:
        new = _updated(old, wish)
        holders = d.holders(key, new.status.switches, new.spec.switches)
        return cast(resources.Network, draft.with_holders(new, holders))
    vpc_key = resources.Key("VPC", key.tenant, wish.spec.vpc)
    vpc = d.state.vpc(key.tenant, wish.spec.vpc)
    if vpc is None:
        _missing(d, key, "spec.vpc", vpc_key)
        return None
    if not _fits_into(d, key, wish, vpc):
        return None
    first = addresses.text(addresses.span(wish.spec.cidrs[0]).first + 1)
    status = resources.NetworkStatus(
        number=d.next_network_number(vpc.status.vni), gateways=wish.spec.gateways or [first]
    )
    new = resources.Network(metadata=d.stamp(key, wish.metadata), spec=wish.spec, status=status)
    return cast(resources.Network, _with_first_holders(d, key, new))


def _fits_into(
    d: draft.Draft, key: resources.Key, wish: resources.Network, vpc: resources.VPC
) -> bool:
    cidr, vpc_key = wish.spec.cidrs[0], resources.key_of(vpc)
    if not _within(cidr, vpc.spec.cidrs):
        ranges = ", ".join(vpc.spec.cidrs)
        message = f"{cidr} is outside {vpc_key} ({ranges})"
        d.refuse(key, "spec.cidrs[0]", message, "use a range inside, or add one to the VPC")
    elif other := d.state.network_overlapping(vpc_key, addresses.span(cidr)):
        taken = cast(resources.Network, d.state.get(other)).spec.cidrs[0]
        message = f"{cidr} overlaps {other} ({taken})"
        d.refuse(key, "spec.cidrs[0]", message, f"use another range of {vpc_key}", "conflict")
    return key not in d.spoiled


def _endpoint(
    d: draft.Draft, old: resources.Endpoint | None, wish: resources.Endpoint
) -> resources.Endpoint | None:
    key = resources.key_of(wish)
    host = _place(d, key, old, wish)
    network = d.state.network(key.tenant, wish.spec.network)
    if network is None:
        named = resources.Key("Network", key.tenant, wish.spec.network)
        _missing(d, key, "spec.network", named)
        return None
    vni = cast(resources.VPC, d.state.vpc(key.tenant, network.spec.vpc)).status.vni
    if old is not None:
        return _changed_endpoint(d, key, _updated(old, wish), vni, host)
    address = _give_address(d, key, wish.spec, network)
    if address is None or host is None:
        return None
    status = resources.EndpointStatus(
        host=host,
        addresses=[address],
        mac=wish.spec.mac or addresses.derived_mac(vni, address),
        generation=d.next_generation(vni, address, 0),
    )
    if not _mac_is_free(d, key, vni, status) or not _interface_is_free(d, key, host, wish.spec):
        return None
    return resources.Endpoint(metadata=d.stamp(key, wish.metadata), spec=wish.spec, status=status)


def _changed_endpoint(
    d: draft.Draft, key: resources.Key, new: resources.Endpoint, vni: int, host: str | None
) -> resources.Endpoint | None:
    if host is None or host == new.status.host:
        return new if host else None
    if not _interface_is_free(d, key, host, new.spec):
        return None
    generation = d.next_generation(vni, new.status.addresses[0], new.status.generation)
    status = msgspec.structs.replace(
        new.status, host=host, generation=generation, phase="Pending", message=""
    )
    return msgspec.structs.replace(new, status=status)


def _place(
    d: draft.Draft,
    key: resources.Key,
    old: resources.Endpoint | None,
    wish: resources.Endpoint,
) -> str | None:
    """The endpoint's host: as wished, as it was, or the least loaded one; None: refused."""
    host = wish.spec.host or (old.status.host if old else d.state.spread.least(d.live))
    if host is None:
        d.refuse(key, "spec.host", "no host is registered", START_AN_AGENT, "exhausted")
        return None
    if d.state.host(host) is None:
        _missing(d, key, "spec.host", resources.Key("Host", "", host))
        return None
    if (old is None or old.status.host != host) and d.state.spread.count(host) >= limits.PORTS:
        message = f"Host {host} is full: it has {limits.PORTS} endpoints"
        d.refuse(key, "spec.host", message, "add a host, or name another one", "exhausted")
        return None
    return host


def _give_address(
    d: draft.Draft, key: resources.Key, spec: resources.EndpointSpec, network: resources.Network
) -> str | None:
    network_key = resources.key_of(network)
    if spec.addresses:
        return _fixed_address(d, key, spec.addresses[0], network)
    address = d.state.next_address(network_key)
    if address is None:
        d.reap()
        address = d.state.next_address(network_key)
    if address is None:
        room = d.state.room(network_key)
        rest_s = limits.ADDRESS_QUARANTINE_S
        resting = f", {room.resting} rest for {rest_s} s after deletion" if room.resting else ""
        message = (
            f"{network_key} ({network.spec.cidrs[0]}) is full: "
            f"{room.used} of {room.size} addresses are in use{resting}"
        )
        wait = f"wait {rest_s} s, " if room.resting else ""
        remedy = f"{wait}delete endpoints that nobody uses, or create another network in the VPC"
        d.refuse(key, "spec.network", message, remedy, "exhausted")
    return address


def _fixed_address(
    d: draft.Draft, key: resources.Key, address: str, network: resources.Network
) -> str | None:
    field, network_key = "spec.addresses[0]", resources.key_of(network)
    for _, message, remedy in rules.usable(field, address, network.spec.cidrs[0]):
        d.refuse(key, field, f"{message} ({network_key})", remedy)
        return None
    free = "use another one, or leave addresses out to be given one"
    if address in network.status.gateways:
        d.refuse(key, field, f"{address} is the gateway of {network_key}", free)
        return None
    if other := d.state.endpoint_at(network_key, address):
        message = f"{address} is in use by {resources.key_of(other)}"
        d.refuse(key, field, message, free, "conflict")
        return None
    return address


def _mac_is_free(
    d: draft.Draft, key: resources.Key, vni: int, status: resources.EndpointStatus
) -> bool:
    """Whether no other endpoint of the VPC has or may derive the MAC."""
    mac = status.mac
    remedy = "use another one, or leave it out to have one derived"
    if mac.startswith(addresses.DERIVED_FIRST_BYTE):
        if mac != addresses.derived_mac(vni, status.addresses[0]):
            first = addresses.DERIVED_FIRST_BYTE
            d.refuse(key, "spec.mac", f"{mac}: {first}:... is for derived MACs", remedy)
            return False
    elif other := d.state.holder_of_mac(vni, mac):
        d.refuse(key, "spec.mac", f"{mac} is in use by {other}", remedy, "conflict")
        return False
    return True


def _interface_is_free(
    d: draft.Draft, key: resources.Key, host: str, spec: resources.EndpointSpec
) -> bool:
    """Whether no endpoint has the interface of a named namespace on the host already."""
    other = d.state.holder_of_interface(host, spec.netns, spec.interface)
    if spec.netns and other:
        message = f"{spec.interface} in namespace {spec.netns} on Host {host} is {other}'s"
        d.refuse(key, "spec.interface", message, "name another interface", "conflict")
        return False
    return True


def forget(d: draft.Draft, resource: resources.Resource) -> None:
    """What is freed when the resource is deleted comes to rest."""
    match resource:
        case resources.VPC():
            d.write_record(f"network/{resource.status.vni}", None)
        case resources.Endpoint():
            tenant = resource.metadata.tenant
            network = cast(resources.Network, d.state.network(tenant, resource.spec.network))
            vpc = cast(resources.VPC, d.state.vpc(tenant, network.spec.vpc))
            for address in resource.status.addresses:
                value = f"{d.now} {resource.status.generation}"
                d.write_record(f"freed/{vpc.status.vni}/{address}", value)


def users(state: states.State, key: resources.Key) -> list[resources.Key]:
    """Keys of what would be left without ``key``."""
    match key.kind:
        case "Tenant":
            return [*state.keys_in(key.name)]
        case "Host":
            return [resources.key_of(endpoint) for endpoint in state.endpoints_on(key.name)]
        case "VPC":
            return state.networks_of(key)
        case "Network":
            return [resources.key_of(endpoint) for _, endpoint in state.endpoints_of(key)]
    return []


def in_use(key: resources.Key, by: list[resources.Key]) -> errors.Problem:
    """The problem of deleting what is in use: the first users by name, and how many."""
    shown = ", ".join(str(each) for each in by[:3])
    more = f" and {len(by) - 3} more" if len(by) > 3 else ""
    remedy = "delete them first, or in the same request"
    if key.kind == "Host":
        remedy = "delete them first, or place them on another host (spec.host)"
    return errors.Problem(str(key), "", f"it is used by {shown}{more}", remedy, "in_use")
