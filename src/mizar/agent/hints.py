"""HINTs: telling a sender's host where an endpoint is, when the kernel asks for it.

The kernel rate-limits the requests (an event each); here each becomes one
datagram. Losing one costs nothing but another packet's detour.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from mizar.bpf import btf
from mizar.datapath import tables

GENEVE_PORT = 6081
OPTION_CLASS = 0xFF4D
CONTROL = 0x80
ETHERNET = 0x6558


def datagram(types: btf.Types, event: Any, host: str) -> bytes:
    """Geneve header (RFC 8926) with the O bit and option HINT: the event's endpoint is at ``host``.

    ``types``: the objects' types, with the layouts of bpf/model.h; ``event``: a struct hint_event.
    """
    number = types.enum("geneve_option_type")["OPTION_HINT"]
    place = event.endpoint, tables.address_bytes(host)
    body = types.struct("hint_option").pack(*place, event.generation, event.identity, 0)
    option = types.struct("geneve_option").pack(OPTION_CLASS, number, len(body) // 4) + body
    header = struct.pack("!BBHI", len(option) // 4, CONTROL, ETHERNET, event.vni << 8)
    return header + option


class Sender:
    """A UDP socket on the uplink's address."""

    def __init__(self, types: btf.Types, address: str) -> None:
        self._types = types
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind((address, 0))

    def send(self, event: Any) -> None:
        """Sends the HINT that the event asks for; an unreachable origin is nobody's loss."""
        origin = tables.address_text(event.origin)
        try:
            self._socket.sendto(datagram(self._types, event, self._address), (origin, GENEVE_PORT))
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()
