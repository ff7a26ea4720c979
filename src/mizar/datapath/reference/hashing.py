"""The flow hash and the choice among holders, on unsigned 32-bit words.

Rendezvous hashing over the outer source port: when a holder goes, only its own flows move.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mizar.datapath.reference.constants import SOURCE_PORT_MIN
from mizar.datapath.reference.tables import Address

_WORD = 0xFFFFFFFF
_FOLD_FACTOR = 0x9E3779B1
_SOURCE_PORTS = 0x4000


def mix(word: int) -> int:
    """Spreads 32 bits over 32 bits."""
    word ^= word >> 16
    word = word * 0x7FEB352D & _WORD
    word ^= word >> 15
    word = word * 0x846CA68B & _WORD
    return word ^ word >> 16


@functools.lru_cache(maxsize=4096)
def fold(address: Address) -> int:
    """An address's four words as one."""
    folded = 0
    for at in range(0, 16, 4):
        folded = folded * _FOLD_FACTOR + int.from_bytes(address[at : at + 4], "big") & _WORD
    return folded


def outer_port(source: Address, destination: Address, ports: int, protocol: int) -> int:
    """The outer UDP source port of a flow; `ports`: source << 16 | destination, or 0."""
    flow = mix(fold(source))
    for part in (fold(destination), ports, protocol):
        flow = mix(flow + part & _WORD)
    return SOURCE_PORT_MIN + flow % _SOURCE_PORTS


def choose(holders: Sequence[Address], port: int) -> Address:
    """The holder with the largest score, the first of equals."""
    return max(holders, key=lambda holder: mix(port ^ mix(fold(holder))))
