"""Numbers of the contract, stated a second time; a test holds them equal to bpf/model.h."""

from __future__ import annotations

from typing import Final

# ---- limits ----
GENEVE_OPTIONS_MAX: Final = 8
EXTENSION_HEADERS_MAX: Final = 6
HEADERS_READ: Final = 14 + 206
QUOTE_BYTES: Final = 128

# ---- times, ns ----
LOCATION_STAMP_NS: Final = 250_000_000
LOCATION_ASK_NS: Final = 500_000_000
LOCATION_FRESH_NS: Final = 1_000_000_000
ASK_INTERVAL_NS: Final = 100_000_000
ERROR_REFILL_NS: Final = 10_000_000
ERROR_BUDGET: Final = 20

# ---- the tunnel ----
GENEVE_PORT: Final = 6081
GENEVE_CLASS: Final = 0xFF4D
GENEVE_ETHERNET: Final = 0x6558
SOURCE_PORT_MIN: Final = 49152
OUTER_TTL: Final = 64
TRANSIT_TTL_SHARE: Final = 16

IDENTITY: Final = 1
ORIGIN: Final = 2
HINT: Final = 3
TRACE: Final = 4
LOOKUP: Final = 5
ASK: Final = 6
RETURNED: Final = 7
PROBE: Final = 8
ECHO: Final = 9
BODY_BYTES: Final = {
    IDENTITY: 4,
    ORIGIN: 16,
    HINT: 44,
    TRACE: 4,
    LOOKUP: 0,
    ASK: 0,
    RETURNED: 4,
    PROBE: 16,
    ECHO: 16,
}
CONTROL_OPTIONS: Final = (HINT, LOOKUP, ASK, RETURNED, PROBE, ECHO)
CRITICAL: Final = 0x80
HINT_GONE: Final = 1
ECHO_COMPLETE: Final = 1
RETURNED_NUMBERS: Final = {"NO_ENDPOINT": 1, "NO_NETWORK": 2, "NOT_HERE": 3}

# ---- between the programs ----
MARK_LOOKUP: Final = 0x4D5A1001
MARK_ASK: Final = 0x4D5A1002
HANDOVER_MAGIC: Final = 0x4D5A0002

# ---- table columns ----
SWITCH: Final = 1
ROUTER: Final = 2
VETH: Final = 0
TAP: Final = 1
