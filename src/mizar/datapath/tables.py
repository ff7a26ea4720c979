"""Table entries to map rows, purely: text becomes 16-byte addresses and prefix bits.

A row is (map, key, value) in the field order of bpf/model.h; a map whose key
is one integer has an int for a key. Nothing here touches a map: `mizar.agent.sync`
compares rows with what the kernel holds and writes the difference.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, NamedTuple

from mizar.model import addresses
from mizar.plan import entries

ROUTER_MAC = bytes.fromhex(addresses.ROUTER_MAC.replace(":", ""))
"""The virtual router's MAC, the same on every host: an endpoint that moves keeps its ARP cache."""

TUNNEL_OVERHEAD = 58
"""Bytes around an inner IP packet: IPv4 20, UDP 8, Geneve 8, IDENTITY 8, inner Ethernet 14."""

HOLDERS_MAX = 8
VNI_BITS = 32

MAPS = (
    "moved",
    "underlay_prefixes",
    "switch_networks",
    "switch_endpoints",
    "router_networks",
    "routes",
    "local",
    "ports",
)
"""The maps that follow the entries, in the order in which rows are written."""

INTERFACE_VETH = 0
INTERFACE_TAP = 1

TRANSIT_KINDS = {"switch": 1, "router": 2}

Key = Any
"""A tuple in the key struct's field order, or an int."""

Value = Any
"""A tuple in the value struct's field order, or an int."""


class Row(NamedTuple):
    map: str
    key: Key
    value: Value


def address_bytes(text: str) -> bytes:
    """16 bytes; IPv4 as IPv4-mapped (``::ffff:a.b.c.d``)."""
    address = ipaddress.ip_address(text)
    if address.version == 4:
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed


def address_text(packed: bytes) -> str:
    """The inverse of `address_bytes`."""
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def prefix_bytes(text: str) -> tuple[int, bytes]:
    """Prefix bits in the 16-byte form (IPv4: 96 more) and the network address."""
    network = ipaddress.ip_network(text)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return bits, address_bytes(str(network.network_address))


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _mask(bits: int) -> bytes:
    return ((1 << 128) - (1 << (128 - bits))).to_bytes(16, "big")


def _prefix_key(vni: int, prefix: str) -> tuple[int, int, bytes]:
    bits, address = prefix_bytes(prefix)
    return (VNI_BITS + bits, vni, address)


def _transit_set(kind: str, network: int, holders: list[str]) -> tuple[int, int, int, bytes]:
    packed = sorted(address_bytes(holder) for holder in holders)[:HOLDERS_MAX]
    room = b"".join(packed).ljust(16 * HOLDERS_MAX, b"\0")
    return (TRANSIT_KINDS[kind], len(packed), network, room)


def holders(sets: Iterable[Value]) -> frozenset[bytes]:
    """Addresses of the holders in rows of ``routes`` and ``router_networks``."""
    distinct = {(packed, count) for _, count, _, packed in sets}
    return frozenset(packed[16 * i :][:16] for packed, count in distinct for i in range(count))


def _family(entry: entries.EndpointEntry, family: int) -> tuple[bytes, bytes, bytes, bytes]:
    """Subnet, mask, gateway and the endpoint's own address, of one IP family.

    Where the network lacks it: a mask of all ones, the rest zero.
    """
    prefix = addresses.of_family(entry.prefixes, family)
    bits, subnet = prefix_bytes(prefix) if prefix else (128, bytes(16))
    named = (addresses.of_family(texts, family) for texts in (entry.gateways, entry.addresses))
    gateway, own = (address_bytes(text) if text else bytes(16) for text in named)
    return subnet, _mask(bits), gateway, own


def rows(entry: entries.Entry) -> list[Row]:
    """Rows of every entry that needs no interface; an endpoint's are `endpoint_rows`.

    The host's own row of ``host_config`` belongs to `mizar.datapath.programs`.
    """
    match entry:
        case entries.HostEntry(underlay=underlay):
            return [Row("underlay_prefixes", prefix_bytes(p), 1) for p in underlay]
        case entries.RouteEntry():
            value = _transit_set(entry.kind, entry.network, entry.holders)
            return [Row("routes", _prefix_key(entry.vni, entry.prefix), value)]
        case entries.RouterNetworkEntry():
            value = _transit_set("switch", entry.network, entry.holders)
            return [Row("router_networks", _prefix_key(entry.vni, entry.prefix), value)]
        case entries.SwitchNetworkEntry():
            key = _prefix_key(entry.vni, entry.prefix)
            return [Row("switch_networks", key, (entry.network,))]
        case entries.SwitchEndpointEntry():
            place = (address_bytes(entry.host), entry.generation, entry.identity)
            return [Row("switch_endpoints", (entry.vni, address_bytes(entry.address)), place)]
        case entries.MovedEntry():
            place = (address_bytes(entry.host), entry.generation, entry.identity)
            return [Row("moved", (entry.vni, address_bytes(entry.address)), place)]
        case entries.EndpointEntry():
            return []


def endpoint_rows(entry: entries.EndpointEntry, ifindex: int, kind: int) -> list[Row]:
    """Rows of an endpoint behind interface ``ifindex`` of ``kind`` (``INTERFACE_*``).

    Its ``local`` rows come first, of secondary addresses as of any other, and ``ports``
    last: a port that sends has its answers' way open.
    """
    mac = mac_bytes(entry.mac)
    here = (ifindex, entry.identity, entry.generation, mac, kind)
    families = (*_family(entry, 4), *_family(entry, 6))
    port = (entry.vni, entry.identity, entry.generation, mac, 0, *families)
    held = [*entry.addresses, *entry.secondary]
    local = [Row("local", (entry.vni, address_bytes(address)), here) for address in held]
    return [*local, Row("ports", ifindex, port)]
