"""What a resource has to do with others: asked of the server, for `mizar describe`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mizar.client import rest
from mizar.model import errors, registry, resources

KINDS: Final = registry.KINDS


class Group:
    """Related resources under one heading, such as ``Endpoints``."""

    def __init__(self, title: str, members: Iterable[resources.Resource]) -> None:
        self.title = title
        self.members = list(members)


def of(client: rest.Client, item: resources.Resource) -> list[Group]:
    """The groups of ``item``'s relations; a relation that is gone is left out."""
    groups: Iterator[Group]
    match item:
        case resources.Tenant():
            groups = _of_tenant(client, item.metadata.name)
        case resources.Host():
            groups = _of_host(client, item.metadata.name)
        case resources.VPC():
            groups = _of_vpc(client, item)
        case resources.Network():
            groups = _of_network(client, item)
        case resources.Endpoint():
            groups = _of_endpoint(client, item)
    return [group for group in groups if group.members]


def _of_tenant(client: rest.Client, tenant: str) -> Iterator[Group]:
    for kind in KINDS.values():
        if kind.tenanted:
            yield Group(f"{kind.name}s", client.list(kind, tenant))


def _of_host(client: rest.Client, host: str) -> Iterator[Group]:
    vpcs = _vpcs(client, "")
    yield Group("Transit routers of", (vpc for vpc in vpcs if host in vpc.status.routers))
    networks = _networks(client, "")
    yield Group("Transit switches of", (net for net in networks if host in net.status.switches))
    endpoints = _endpoints(client, "")
    yield Group("Endpoints", (one for one in endpoints if one.status.host == host))


def _of_vpc(client: rest.Client, vpc: resources.VPC) -> Iterator[Group]:
    yield Group("Transit routers", _hosts(client, vpc.status.routers))
    networks = _networks(client, vpc.metadata.tenant)
    yield Group("Networks", (net for net in networks if net.spec.vpc == vpc.metadata.name))


def _of_network(client: rest.Client, network: resources.Network) -> Iterator[Group]:
    tenant = network.metadata.tenant
    yield Group("VPC", _existing(client, [resources.Key("VPC", tenant, network.spec.vpc)]))
    yield Group("Transit switches", _hosts(client, network.status.switches))
    endpoints = _endpoints(client, tenant)
    name = network.metadata.name
    yield Group("Endpoints", (one for one in endpoints if one.spec.network == name))


def _of_endpoint(client: rest.Client, endpoint: resources.Endpoint) -> Iterator[Group]:
    key = resources.Key("Network", endpoint.metadata.tenant, endpoint.spec.network)
    networks = _existing(client, [key])
    yield Group("Network", networks)
    for network in networks:
        if isinstance(network, resources.Network):
            yield Group("Transit switches", _hosts(client, network.status.switches))
    if endpoint.status.host:
        yield Group("Host", _hosts(client, [endpoint.status.host]))


def _hosts(client: rest.Client, names: Sequence[str]) -> list[resources.Resource]:
    return _existing(client, [resources.Key("Host", "", name) for name in names])


def _existing(client: rest.Client, keys: Iterable[resources.Key]) -> list[resources.Resource]:
    found = []
    for key in keys:
        try:
            found.append(client.get(key))
        except errors.NotFound:
            continue
    return found


def _vpcs(client: rest.Client, tenant: str) -> list[resources.VPC]:
    listed = client.list(KINDS["VPC"], tenant)
    return [one for one in listed if isinstance(one, resources.VPC)]


def _networks(client: rest.Client, tenant: str) -> list[resources.Network]:
    listed = client.list(KINDS["Network"], tenant)
    return [one for one in listed if isinstance(one, resources.Network)]


def _endpoints(client: rest.Client, tenant: str) -> list[resources.Endpoint]:
    listed = client.list(KINDS["Endpoint"], tenant)
    return [one for one in listed if isinstance(one, resources.Endpoint)]


def brief(item: resources.Resource) -> str:
    """What tells a resource from its like: its addresses, its ranges."""
    match item:
        case resources.Endpoint():
            return ", ".join(item.status.addresses)
        case resources.Network() | resources.VPC():
            return ", ".join(item.spec.cidrs)
        case resources.Host():
            return item.spec.address
        case resources.Tenant():
            return item.spec.description
