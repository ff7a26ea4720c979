"""Bounds of the model. Those that the tables share are bpf/model.h's; a test holds them equal."""

from __future__ import annotations

from typing import Final

HOLDERS: Final = 8  # LIMIT_HOLDERS: holders of one transit table
PORTS: Final = 4096  # LIMIT_PORTS: endpoints of one host
VNI_MAX: Final = (1 << 24) - 1  # VPCs, each with a VNI of its own
VPC_CIDRS: Final = 16  # ranges of one VPC
NETWORK_BITS_MIN: Final = 8  # shortest IPv4 prefix of a network
NETWORK_BITS_MAX: Final = 30  # longest IPv4 prefix: network, broadcast, gateway, one endpoint
NETWORK_BITS6_MIN: Final = 48  # shortest IPv6 prefix of a network
NETWORK_BITS6_MAX: Final = 126  # longest IPv6 prefix: anycast, gateway, two endpoints
POOL_ADDRESSES: Final = 1 << 24  # addresses of a prefix that are given out, its first ones
SECONDARY_ADDRESSES: Final = 16  # further addresses of one endpoint
NAME_BYTES: Final = 63  # length of a name (RFC 1123 label)
NETNS_BYTES: Final = 255  # length of the name of a network namespace (NAME_MAX)
INTERFACE_BYTES: Final = 15  # length of the name of an interface (IFNAMSIZ less its NUL)
LABELS: Final = 64  # labels of one resource
PLACEMENTS: Final = 256  # transit tables placed by one admission beside its own
REAPED: Final = 16  # freed addresses forgotten by one admission beside its own

# Longer than any host may still believe in an old location (LOCATION_FRESH_NS, 1 s).
ADDRESS_QUARANTINE_S: Final = 10
