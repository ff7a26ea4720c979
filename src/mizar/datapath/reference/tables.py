"""The tables of one host: rows as bpf/model.h declares them, as plain data.

Addresses are 16 bytes, IPv4 as IPv4-mapped; MACs are 6 bytes; times are ns of the host's clock.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import NamedTuple

Address = bytes
EndpointKey = tuple[int, Address]
"""(VNI, address)"""

PrefixKey = tuple[int, int, Address]
"""(prefix bits, VNI, address); 32 of the bits are the VNI's."""

NOWHERE: Address = bytes(16)
MAPPED = bytes(10) + b"\xff\xff"
VNI_BITS = 32


class HostConfig(NamedTuple):
    host: Address
    router_mac: bytes
    endpoint_mtu: int
    uplink_ifindex: int
    underlay_mtu: int
    delivery_attached: int = 1
    tables_complete: int = 1
    tracing: int = 0


class Family(NamedTuple):
    """One IP family of a port; a family that the network lacks is `NO_FAMILY`."""

    subnet: Address
    mask: bytes
    gateway: Address
    address: Address


NO_FAMILY = Family(bytes(16), b"\xff" * 16, bytes(16), bytes(16))


class Port(NamedTuple):
    vni: int
    identity: int
    generation: int
    mac: bytes
    ipv4: Family = NO_FAMILY
    ipv6: Family = NO_FAMILY


class LocalEndpoint(NamedTuple):
    ifindex: int
    identity: int
    generation: int
    mac: bytes
    kind: int


class TransitSet(NamedTuple):
    kind: int
    network: int
    holders: tuple[Address, ...]


class Place(NamedTuple):
    """A row of switch_endpoints or moved."""

    host: Address
    generation: int
    identity: int


class Location(NamedTuple):
    host: Address = NOWHERE
    confirmed_ns: int = 0
    asked_ns: int = 0
    generation: int = 0
    identity: int = 0


class ErrorBudget(NamedTuple):
    refilled_ns: int
    tokens: int


class TraceFilter(NamedTuple):
    """Zero in a column: any."""

    trace: int
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
    destination: Address = NOWHERE
    until_ns: int = 0


@dataclasses.dataclass
class Tables:
    """What one host's programs read; they write `locations` and `error_budgets` alone."""

    host_config: HostConfig | None = None
    ports: dict[int, Port] = dataclasses.field(default_factory=dict)
    local: dict[EndpointKey, LocalEndpoint] = dataclasses.field(default_factory=dict)
    moved: dict[EndpointKey, Place] = dataclasses.field(default_factory=dict)
    routes: dict[PrefixKey, TransitSet] = dataclasses.field(default_factory=dict)
    switch_endpoints: dict[EndpointKey, Place] = dataclasses.field(default_factory=dict)
    switch_networks: dict[PrefixKey, int] = dataclasses.field(default_factory=dict)
    router_networks: dict[PrefixKey, TransitSet] = dataclasses.field(default_factory=dict)
    locations: dict[EndpointKey, Location] = dataclasses.field(default_factory=dict)
    underlay_prefixes: set[tuple[int, Address]] = dataclasses.field(default_factory=set)
    silent_holders: dict[Address, int] = dataclasses.field(default_factory=dict)
    error_budgets: dict[int, ErrorBudget] = dataclasses.field(default_factory=dict)
    trace_filters: dict[int, TraceFilter] = dataclasses.field(default_factory=dict)


def address(text: str) -> Address:
    """The 16 bytes of an address as people write it."""
    parsed = ipaddress.ip_address(text)
    return parsed.packed if parsed.version == 6 else MAPPED + parsed.packed


def address_text(packed: Address) -> str:
    """The inverse of `address`."""
    parsed = ipaddress.IPv6Address(packed)
    return str(parsed.ipv4_mapped or parsed)


def prefix_key(vni: int, text: str) -> PrefixKey:
    """The key of a prefix such as "10.0.0.0/24" in a table by VPC."""
    network = ipaddress.ip_network(text)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return VNI_BITS + bits, vni, address(str(network.network_address))


def has_prefix(packed: Address, bits: int, prefix: Address) -> bool:
    """Whether the first `bits` bits of both are equal."""
    shift = 128 - bits
    return int.from_bytes(packed, "big") >> shift == int.from_bytes(prefix, "big") >> shift


def in_subnet(packed: Address, family: Family) -> bool:
    """Whether an address is on-link in the family's subnet."""
    masked = int.from_bytes(packed, "big") & int.from_bytes(family.mask, "big")
    return masked == int.from_bytes(family.subnet, "big")
