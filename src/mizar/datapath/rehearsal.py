"""A fleet's tables for the reference model, made from table entries as a host would make rows.

What `mizar explain` shows and what the tests hold the plan against: planned
entries become rows by the same code that fills the kernel's maps, and rows the
model's tables. Interfaces are numbered here; nothing touches a kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from mizar.datapath import tables
from mizar.datapath.reference import fleet, packets
from mizar.datapath.reference import tables as model
from mizar.model import addresses, reports
from mizar.plan import entries

IP_HEADER_BYTES: Final = {4: 20, 6: 40}
_HEADER_BYTES: Final = {"icmp": 8, "tcp": 20, "udp": 8}
SYN: Final = 0x02
UPLINK: Final = 1  # its interface number; endpoints are numbered from the next on


class Setting(NamedTuple):
    """What a host is beside its tables. ``mtu``: of the underlay, bytes of an IP packet."""

    name: str
    mtu: int
    xdp: bool


class Interface(NamedTuple):
    """An endpoint's place in a `Rehearsal`: host name, and a number of this rehearsal's."""

    host: str
    number: int


class Rehearsal:
    """``fleet`` for `reference.fleet.walk`; ``interfaces`` by uid; ``endpoints`` by place."""

    def __init__(self, hosts: Mapping[str, Iterable[entries.Entry]], settings: Iterable[Setting]):
        """``hosts``: desired entries by name; one without its own entry isn't there."""
        self.fleet = fleet.Fleet({})
        self.interfaces: dict[str, Interface] = {}
        self.endpoints: dict[Interface, entries.EndpointEntry] = {}
        known = {setting.name: setting for setting in settings}
        for name, desired in hosts.items():
            self._add(known[name], [*desired])

    def _add(self, setting: Setting, desired: list[entries.Entry]) -> None:
        own = next((entry for entry in desired if isinstance(entry, entries.HostEntry)), None)
        if own is None:
            return
        address = tables.address_bytes(own.address)
        filled = model.Tables(_configuration(address, setting))
        self.fleet.hosts[address] = fleet.Host(filled, setting.name, setting.xdp)
        number = UPLINK
        for entry in desired:
            found = tables.rows(entry)
            if isinstance(entry, entries.EndpointEntry):
                number += 1
                found = tables.endpoint_rows(entry, number, tables.INTERFACE_VETH)
                place = Interface(setting.name, number)
                self.interfaces[entry.uid], self.endpoints[place] = place, entry
            for row in found:
                _put(filled, row)


def frame(mac: str, flow: reports.Flow) -> bytes:
    """The Ethernet frame of one packet of a flow, as a workload with that MAC sends it."""
    version = addresses.family(flow.source)
    ends = (tables.address_bytes(flow.source), tables.address_bytes(flow.destination))
    header = IP_HEADER_BYTES[version]
    transport = _transport(flow, version)
    transport = transport.ljust(max(flow.bytes - header, 0), b"\0")
    make = packets.ipv4 if version == 4 else packets.ipv6
    packet = make(*ends, protocol_number(flow.protocol, version), transport)
    ethertype = packets.IPV4 if version == 4 else packets.IPV6
    return packets.ethernet(tables.ROUTER_MAC, tables.mac_bytes(mac), ethertype) + packet


def shortest(protocol: reports.Protocol, version: int) -> int:
    """Bytes of an IP packet of that protocol without data."""
    return IP_HEADER_BYTES[version] + _HEADER_BYTES[protocol]


def protocol_number(protocol: reports.Protocol, version: int) -> int:
    """The number that the IP header of that version has for it."""
    if protocol == "icmp":
        return packets.ICMP if version == 4 else packets.ICMPV6
    return packets.TCP if protocol == "tcp" else packets.UDP


def _transport(flow: reports.Flow, version: int) -> bytes:
    """A header without data; checksums are zero, nobody on the way verifies them."""
    if flow.protocol == "icmp":
        return struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, 0, 1)
    ports = (flow.source_port, flow.port)
    if flow.protocol == "tcp":
        return struct.pack("!HHIIBBHHH", *ports, 0, 0, 5 << 4, SYN, 65535, 0, 0)
    length = max(flow.bytes - IP_HEADER_BYTES[version], 8)
    return struct.pack("!HHHH", *ports, length, 0)


def _configuration(address: model.Address, setting: Setting) -> model.HostConfig:
    return model.HostConfig(
        host=address,
        router_mac=tables.ROUTER_MAC,
        endpoint_mtu=setting.mtu - tables.TUNNEL_OVERHEAD,
        uplink_ifindex=UPLINK,
        underlay_mtu=setting.mtu,
    )


def _put(filled: model.Tables, row: tables.Row) -> None:
    """A row of the kernel's maps, in its struct's field order, into the model's tables."""
    value: Any = row.value
    match row.map:
        case "underlay_prefixes":
            filled.underlay_prefixes.add(row.key)
        case "ports":
            vni, identity, generation, mac, _, *families = value
            four, six = model.Family(*families[:4]), model.Family(*families[4:])
            filled.ports[row.key] = model.Port(vni, identity, generation, mac, four, six)
        case "local":
            filled.local[row.key] = model.LocalEndpoint(*value)
        case "routes" | "router_networks":
            kind, count, network, packed = value
            holders = tuple(packed[16 * i :][:16] for i in range(count))
            made = model.TransitSet(kind, network, holders)
            (filled.routes if row.map == "routes" else filled.router_networks)[row.key] = made
        case "switch_networks":
            filled.switch_networks[row.key] = value[0]
        case "switch_endpoints" | "moved":
            host, generation, identity = value
            place = model.Place(host, generation, identity)
            (filled.moved if row.map == "moved" else filled.switch_endpoints)[row.key] = place
