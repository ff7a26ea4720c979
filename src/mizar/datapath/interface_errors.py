"""What the uplink's driver and queue lost: packets that a program had sent or never saw.

Damaged or refused before a program saw it, or refused in sending: the latter is
counted as LOST as well, by the reasons (`mizar.datapath.losses`).
"""

from __future__ import annotations

from typing import Final

from mizar.datapath import netlink

TEXTS: Final = {
    "UPLINK_RX_ERRORS": "the uplink's own counter rx_errors: damaged before any program saw it",
    "UPLINK_TX_ERRORS": "the uplink's own counter tx_errors: counted as sent, then failed",
    "UPLINK_RX_DROPPED": "the uplink's own counter rx_dropped: no room, or nobody to take it",
    "UPLINK_TX_DROPPED": "the uplink's own counter tx_dropped: counted as sent, then no room",
}
"""Name, in the order of `netlink.Errors`' names -> meaning: rows of `mizar drops` like reasons."""

_NAMES: Final = {
    "UPLINK_RX_ERRORS": "rx_errors",
    "UPLINK_TX_ERRORS": "tx_errors",
    "UPLINK_RX_DROPPED": "rx_dropped",
    "UPLINK_TX_DROPPED": "tx_dropped",
}


def read(interface: str) -> dict[str, int]:
    """Name -> packets so far, of an interface of the caller's namespace; empty: no such one."""
    with netlink.Route() as route:
        errors = route.errors(interface)
    if errors is None:
        return {}
    return {name: getattr(errors, field) for name, field in _NAMES.items()}
