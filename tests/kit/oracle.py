"""Who reaches whom, straight from the resources: no table, no plan, no program is known here.

A packet of an endpoint to an address ends at the endpoint of the same VPC that
has the address, whoever else has it elsewhere; else it is lost, for one of a few reasons.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from mizar.model import resources
from mizar.model import state as states


class Fate(NamedTuple):
    """Where it ends: an endpoint's uid, or empty and the reasons of which one applies."""

    uid: str
    reasons: frozenset[str] = frozenset()


def fate(state: states.State, source: resources.Endpoint, address: str) -> Fate:
    """Of a small packet with the source's address of the same family, which it has."""
    tenant = source.metadata.tenant
    home = state.network(tenant, source.spec.network)
    if address in home.status.gateways:
        return lost("GATEWAY")
    networks = {
        network.metadata.name: network
        for network in state.list("Network", tenant)
        if network.spec.vpc == home.spec.vpc
    }
    for other in state.list("Endpoint", tenant):
        if other.spec.network in networks and address in resources.addresses_of(other):
            there = networks[other.spec.network]
            if other.status.host == source.status.host or served(state, home, there):
                return Fate(other.metadata.uid)
            return lost("NO_ROUTE", "NO_NETWORK")
    where = next((n for n in networks.values() if inside(address, n)), None)
    if where is None:
        return lost("NO_NETWORK") if served(state, home, None) else lost("NO_ROUTE")
    return lost("NO_ENDPOINT") if served(state, home, where) else lost("NO_ROUTE", "NO_NETWORK")


def served(state: states.State, home: resources.Network, there: resources.Network | None) -> bool:
    """Whether somebody holds the tables that first packets between two networks need."""
    routers = state.vpc(home.metadata.tenant, home.spec.vpc).status.routers
    if there is None:
        return bool(routers)
    return bool(there.status.switches and (there == home or routers))


def inside(address: str, network: resources.Network) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(c) for c in network.spec.cidrs)


def lost(*reasons: str) -> Fate:
    return Fate("", frozenset(reasons))
