"""Which resource a table entry belongs to, for the failures that agents report.

What a host was to send on for an endpoint that left it belongs to nobody: it only
spares packets a detour, so the endpoint is none the worse for it.
"""

from __future__ import annotations

import ipaddress

from mizar.model import resources
from mizar.model import state as states
from mizar.plan import entries


def owner(state: states.State, host: str, key: entries.EntryKey) -> resources.Key | None:
    """The resource behind the entry ``key`` at ``host``; None: nobody's, or gone meanwhile."""
    match key:
        case ("host", _, _):
            return resources.Key("Host", "", host)
        case ("endpoints", uid, _):
            return _endpoint(state, host, uid)
        case ("moved", _, _):
            return None
        case (_, int(vni), address_or_prefix):
            return _in_vpc(state, vni, address_or_prefix)
    return None


def _endpoint(state: states.State, host: str, uid: int | str) -> resources.Key | None:
    for endpoint in state.endpoints_on(host):
        if endpoint.metadata.uid == uid:
            return resources.key_of(endpoint)
    return None


def _in_vpc(state: states.State, vni: int, text: str) -> resources.Key | None:
    vpc = state.vpc_of(vni)
    if vpc is None or text == entries.ANY:
        return vpc
    wanted = ipaddress.ip_network(text)
    for key in state.networks_of(vpc):
        network = state.get(key)
        assert isinstance(network, resources.Network)
        if any(_within(wanted, cidr) for cidr in network.spec.cidrs):
            endpoint = None if "/" in text else state.endpoint_at(key, text)
            return resources.key_of(endpoint) if endpoint else key
    return vpc


def _within(wanted: ipaddress.IPv4Network | ipaddress.IPv6Network, cidr: str) -> bool:
    outer = ipaddress.ip_network(cidr)
    return wanted.version == outer.version and (
        outer.network_address <= wanted.network_address <= outer.broadcast_address  # type: ignore[operator]
    )
