"""Table entries: what the plan says a host must hold, in the words of the tables.

An entry's table is its tag; its key is `key_of`. Addresses and prefixes are
text; the datapath turns them into the 16-byte form. A host's desired state is
a mapping from entry key to entry, with no two entries of one key.

| table            | on                                   | key           |
|------------------|--------------------------------------|---------------|
| host             | every host                           | (host,)       |
| endpoints        | the endpoint's host                  | (uid,)        |
| moved            | the host that an endpoint left lately| (vni, address)|
| routes           | hosts with members                   | (vni, prefix) |
| switch_networks  | the network's switches               | (vni, prefix) |
| switch_endpoints | the network's switches               | (vni, address)|
| router_networks  | the VPC's routers                    | (vni, prefix) |

Networks have a prefix per IP family, endpoints an address per prefix and any
secondary ones: an entry each, so that a change costs the same constants per family.
The VPC itself is prefix ``::/0`` in routes (to its routers) and in
router_networks (with no holders: 'this host is a router of the VPC').
"""

from __future__ import annotations

from typing import Literal

import msgspec

ANY = "::/0"


class HostEntry(msgspec.Struct, frozen=True, tag_field="table", tag="host"):
    """What the host itself must know. ``underlay``: prefixes whose Geneve it accepts."""

    host: str
    address: str
    underlay: list[str]


class EndpointEntry(msgspec.Struct, frozen=True, tag_field="table", tag="endpoints"):
    """An endpoint that the host plumbs: veth, addresses, default route, programs.

    ``prefixes`` are the network's on-link prefixes, ``gateways`` its gateways and
    ``addresses`` what the interface is given, one per family. ``secondary``: further
    addresses that are the endpoint's, but not configured on the interface. ``netns``
    empty: `own_netns` with the agent's prefix.
    """

    uid: str
    tenant: str
    name: str
    vni: int
    addresses: list[str]
    prefixes: list[str]
    gateways: list[str]
    mac: str
    netns: str
    interface: str
    identity: int
    generation: int
    secondary: list[str] = []


class MovedEntry(msgspec.Struct, frozen=True, tag_field="table", tag="moved"):
    """``address`` was on this host until lately, and is at underlay address ``host`` now.

    The host sends on what still arrives for it. Temporary: peers learn the new place
    within a second, and the server takes the entry away some seconds after the endpoint
    is Ready there. It must be in force before the endpoint's own rows go.
    """

    vni: int
    address: str
    host: str
    identity: int
    generation: int


class RouteEntry(msgspec.Struct, frozen=True, tag_field="table", tag="routes"):
    """Where first packets to ``prefix`` go: ``holders`` are underlay addresses, sorted."""

    vni: int
    prefix: str
    kind: Literal["switch", "router"]
    network: int
    holders: list[str]


class SwitchNetworkEntry(msgspec.Struct, frozen=True, tag_field="table", tag="switch_networks"):
    """This host holds a transit switch of the network."""

    vni: int
    prefix: str
    network: int


class SwitchEndpointEntry(msgspec.Struct, frozen=True, tag_field="table", tag="switch_endpoints"):
    """``address`` is at the host with underlay address ``host``."""

    vni: int
    address: str
    host: str
    identity: int
    generation: int


class RouterNetworkEntry(msgspec.Struct, frozen=True, tag_field="table", tag="router_networks"):
    """``prefix`` is held by the transit switches ``holders`` (underlay addresses, sorted)."""

    vni: int
    prefix: str
    network: int
    holders: list[str]


Entry = (
    HostEntry
    | EndpointEntry
    | MovedEntry
    | RouteEntry
    | SwitchNetworkEntry
    | SwitchEndpointEntry
    | RouterNetworkEntry
)

# (table, ...): hashable, and itself sendable.
EntryKey = tuple[str, int | str, str]


def key_of(entry: Entry) -> EntryKey:
    """The entry's key; three fields for every table, so that one type fits all."""
    match entry:
        case HostEntry():
            return ("host", entry.host, "")
        case EndpointEntry():
            return ("endpoints", entry.uid, "")
        case MovedEntry():
            return ("moved", entry.vni, entry.address)
        case SwitchEndpointEntry():
            return ("switch_endpoints", entry.vni, entry.address)
        case RouteEntry():
            return ("routes", entry.vni, entry.prefix)
        case SwitchNetworkEntry():
            return ("switch_networks", entry.vni, entry.prefix)
        case RouterNetworkEntry():
            return ("router_networks", entry.vni, entry.prefix)


class Delta(msgspec.Struct, frozen=True):
    """Change of one host's desired state: writes are ``upserts`` plus ``deletes``."""

    upserts: list[Entry] = []
    deletes: list[EntryKey] = []


def own_netns(prefix: str, tenant: str, name: str) -> str:
    """The namespace of an endpoint that names none: a dot, which no name has, parts the names."""
    return f"{prefix}-{tenant}.{name}"
