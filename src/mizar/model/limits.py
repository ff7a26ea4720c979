"""Bounds of the model. Those that the tables share are bpf/model.h's; a test holds them equal."""

from __future__ import annotations

from typing import Final

HOLDERS: Final = 8  # LIMIT_HOLDERS: holders of one transit table
PORTS: Final = 4096  # LIMIT_PORTS: endpoints of one host
VNI_MAX: Final = (1 << 24) - 1
VPC_CIDRS: Final = 16
NETWORK_BITS_MIN: Final = 8
NETWORK_BITS_MAX: Final = 30  # network, broadcast, gateway and one endpoint
NAME_BYTES: Final = 63  # RFC 1123 label
NETNS_BYTES: Final = 255  # NAME_MAX of the file system
INTERFACE_BYTES: Final = 15  # IFNAMSIZ less its NUL
LABELS: Final = 64
PLACEMENTS: Final = 256  # transit tables placed by one admission beside its own
REAPED: Final = 16  # freed addresses forgotten by one admission beside its own

# Longer than any host may still believe in an old location (LOCATION_FRESH_NS, 1 s).
ADDRESS_QUARANTINE_S: Final = 10
