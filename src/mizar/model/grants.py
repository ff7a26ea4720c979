"""What a wish becomes: the resource with numbers, addresses and places given, by kind.

Each function takes the draft, the resource as it is (None: to be created) and
as it is wished for, and returns what it is to be; None when problems stand
against it, which the draft then holds. Checks references and clashes; the rules
on a resource alone are in `rules`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
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
        if asked != before and not _names(asked, in_force):
            message, _, remedy = reason.rpartition("; ")
            shown = ", ".join(in_force or before) if isinstance(before, list) else before
            d.refuse(key, f"spec.{field}", f"{message} (it is {shown or 'unset'})", remedy)
            good = False
    return good


def _names(asked: str | list[str], in_force: str | list[str] | None) -> bool:
    """Whether what is asked for, nothing or some of it, is in force anyway."""
    if isinstance(asked, list) and isinstance(in_force, list):
        return {*asked} <= {*in_force}
    return in_force is not None and asked in ("", in_force)


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
        for cidr in cast(resources.Network, d.state.get(network)).spec.cidrs:
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
    status = resources.NetworkStatus(
        number=d.next_network_number(vpc.status.vni),
        gateways=[_gateway(cidr, wish.spec.gateways) for cidr in wish.spec.cidrs],
    )
    new = resources.Network(metadata=d.stamp(key, wish.metadata), spec=wish.spec, status=status)
    return cast(resources.Network, _with_first_holders(d, key, new))


def _gateway(cidr: str, named: list[str]) -> str:
    """The gateway of a CIDR: the one named for its family, or its first usable address."""
    wanted = addresses.of_family(named, addresses.family(cidr))
    return wanted or addresses.text(addresses.usable(cidr).first)


def _fits_into(
    d: draft.Draft, key: resources.Key, wish: resources.Network, vpc: resources.VPC
) -> bool:
    vpc_key = resources.key_of(vpc)
    for index, cidr in enumerate(wish.spec.cidrs):
        field = f"spec.cidrs[{index}]"
        if not _within(cidr, vpc.spec.cidrs):
            ranges = ", ".join(vpc.spec.cidrs)
            message = f"{cidr} is outside {vpc_key} ({ranges})"
            d.refuse(key, field, message, "use a range inside, or add one to the VPC")
        elif other := d.state.network_overlapping(vpc_key, addresses.span(cidr)):
            theirs = cast(resources.Network, d.state.get(other)).spec.cidrs
            taken = addresses.of_family(theirs, addresses.family(cidr))
            message = f"{cidr} overlaps {other} ({taken})"
            d.refuse(key, field, message, f"use another range of {vpc_key}", "conflict")
    return key not in d.spoiled


def make_way(d: draft.Draft, wishes: Iterable[resources.Resource | None]) -> None:
    """Before endpoints are written: what some of them give up is free for the others.

    What any of them names is not given to those that take what is free. So the order
    of the wishes doesn't matter.
    """
    for wish in wishes:
        if not isinstance(wish, resources.Endpoint) or resources.key_of(wish) in d.spoiled:
            continue
        old = d.state.get(resources.key_of(wish))
        if isinstance(old, resources.Endpoint):
            _give_up(d, old, wish.spec.secondaryAddresses)
        if named := [*wish.spec.addresses, *wish.spec.secondaryAddresses]:
            network = resources.Key("Network", wish.metadata.tenant, wish.spec.network)
            d.reserve(network, named)


def _give_up(d: draft.Draft, old: resources.Endpoint, wanted: list[str]) -> None:
    """Takes from the endpoint the secondary addresses that it isn't to have any more."""
    kept = [address for address in old.spec.secondaryAddresses if address in wanted]
    if kept == old.spec.secondaryAddresses:
        return
    key, vni = resources.key_of(old), _vni_of(d, old)
    for address in {*old.spec.secondaryAddresses} - {*kept}:
        d.rest(vni, address, old.status.generation)
    spec = msgspec.structs.replace(old.spec, secondaryAddresses=kept)
    status = msgspec.structs.replace(old.status, phase="Pending", message="")
    d.put(key, msgspec.structs.replace(old, spec=spec, status=status))
    d.changed.add(key)


def _vni_of(d: draft.Draft, endpoint: resources.Endpoint) -> int:
    tenant = endpoint.metadata.tenant
    network = cast(resources.Network, d.state.network(tenant, endpoint.spec.network))
    return cast(resources.VPC, d.state.vpc(tenant, network.spec.vpc)).status.vni


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
    _check_secondary(d, key, old, wish.spec, network)
    if old is not None:
        return _changed_endpoint(d, old, _updated(old, wish), host)
    vni = _vni_of(d, wish)
    given = _give_addresses(d, key, wish.spec, network)
    mac = given and _give_mac(d, key, vni, wish.spec.mac, given)
    if host is None or not mac or not _interface_is_free(d, key, host, wish.spec):
        return None
    if key in d.spoiled:
        return None
    placed = [*given, *wish.spec.secondaryAddresses]
    status = resources.EndpointStatus(
        host=host, addresses=given, mac=mac, generation=d.next_generation(vni, placed, 0)
    )
    return resources.Endpoint(metadata=d.stamp(key, wish.metadata), spec=wish.spec, status=status)


def _changed_endpoint(
    d: draft.Draft, old: resources.Endpoint, new: resources.Endpoint, host: str | None
) -> resources.Endpoint | None:
    """``new`` where it is to be, with a generation above those of all that it gets."""
    key, vni = resources.key_of(new), _vni_of(d, new)
    if host is None or key in d.spoiled:
        return None
    status, given = new.status, {*new.spec.secondaryAddresses} - {*old.spec.secondaryAddresses}
    moved = host != old.status.host
    if moved and not _interface_is_free(d, key, host, new.spec):
        return None
    if moved:
        status = msgspec.structs.replace(status, host=host, movedFrom=old.status.host)
    if moved or given:
        generation = d.next_generation(vni, given, status.generation)
        status = msgspec.structs.replace(status, generation=generation, phase="Pending", message="")
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


def _give_addresses(
    d: draft.Draft, key: resources.Key, spec: resources.EndpointSpec, network: resources.Network
) -> list[str]:
    """One address of each of the network's CIDRs, as named or the next free; empty: refused."""
    for index, address in enumerate(spec.addresses):
        _check_free(d, key, f"spec.addresses[{index}]", address, network)
    if key in d.spoiled:
        return []
    named = (addresses.of_family(spec.addresses, addresses.family(c)) for c in network.spec.cidrs)
    pairs = zip(network.spec.cidrs, named, strict=True)
    given = [address or _any_address(d, key, network, cidr) for cidr, address in pairs]
    return [address for address in given if address] if key not in d.spoiled else []


def _any_address(
    d: draft.Draft, key: resources.Key, network: resources.Network, cidr: str
) -> str | None:
    network_key = resources.key_of(network)
    address = d.state.next_address(network_key, cidr)
    if address is None:
        d.reap()
        address = d.state.next_address(network_key, cidr)
    if address is None:
        room = d.state.room(network_key, cidr)
        rest_s = limits.ADDRESS_QUARANTINE_S
        resting = f", {room.resting} rest for {rest_s} s after deletion" if room.resting else ""
        message = (
            f"{network_key} ({cidr}) is full: "
            f"{room.used} of {room.size} addresses are in use{resting}"
        )
        wait = f"wait {rest_s} s, " if room.resting else ""
        remedy = f"{wait}delete endpoints that nobody uses, or create another network in the VPC"
        d.refuse(key, "spec.network", message, remedy, "exhausted")
    return address


def _check_secondary(
    d: draft.Draft,
    key: resources.Key,
    old: resources.Endpoint | None,
    spec: resources.EndpointSpec,
    network: resources.Network,
) -> None:
    held = old.spec.secondaryAddresses if old else []
    for index, address in enumerate(spec.secondaryAddresses):
        if address not in held:
            _check_free(d, key, f"spec.secondaryAddresses[{index}]", address, network)


def _check_free(
    d: draft.Draft, key: resources.Key, field: str, address: str, network: resources.Network
) -> None:
    """Refuses an address that isn't the network's, or that somebody has."""
    network_key = resources.key_of(network)
    for _, message, remedy in rules.usable(field, address, network.spec.cidrs):
        d.refuse(key, field, f"{message} ({network_key})", remedy)
        return
    free = "use another one, or leave it out"
    if field.startswith("spec.addresses"):
        free = "use another one, or leave addresses out to be given one"
    if address in network.status.gateways:
        d.refuse(key, field, f"{address} is the gateway of {network_key}", free)
    elif other := d.state.endpoint_at(network_key, address):
        message = f"{address} is in use by {resources.key_of(other)}"
        d.refuse(key, field, message, free, "conflict")


def _give_mac(
    d: draft.Draft, key: resources.Key, vni: int, wanted: str, given: list[str]
) -> str | None:
    """The MAC as wished, or one derived that no other endpoint of the VPC has; None: refused."""
    source = addresses.of_family(given, 4) or given[0]
    if not wanted:
        derived = (addresses.derived_mac(vni, source, attempt) for attempt in itertools.count())
        return next(mac for mac in derived if d.state.holder_of_mac(vni, mac) is None)
    remedy = "use another one, or leave it out to have one derived"
    reserved = wanted.startswith(addresses.DERIVED_FIRST_BYTES)
    if reserved and wanted != addresses.derived_mac(vni, source):
        message = f"{wanted}: {wanted[:2]}:... is for derived MACs"
        d.refuse(key, "spec.mac", message, remedy)
        return None
    if other := d.state.holder_of_mac(vni, wanted):
        d.refuse(key, "spec.mac", f"{wanted} is in use by {other}", remedy, "conflict")
        return None
    return wanted


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
            vni = _vni_of(d, resource)
            for address in resources.addresses_of(resource):
                d.rest(vni, address, resource.status.generation)


def forget_moves(d: draft.Draft, host: str) -> None:
    """Endpoints that moved away from a host that goes came from nowhere."""
    for endpoint in [*d.state.endpoints_moved_from(host)]:
        status = msgspec.structs.replace(endpoint.status, movedFrom="")
        d.put(resources.key_of(endpoint), msgspec.structs.replace(endpoint, status=status))


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
            found = (resources.key_of(endpoint) for _, endpoint in state.endpoints_of(key))
            return [*dict.fromkeys(found)]
    return []


def in_use(key: resources.Key, by: list[resources.Key]) -> errors.Problem:
    """The problem of deleting what is in use: the first users by name, and how many."""
    shown = ", ".join(str(each) for each in by[:3])
    more = f" and {len(by) - 3} more" if len(by) > 3 else ""
    remedy = "delete them first, or in the same request"
    if key.kind == "Host":
        remedy = "delete them first, or place them on another host (spec.host)"
    return errors.Problem(str(key), "", f"it is used by {shown}{more}", remedy, "in_use")
