"""HINTs: telling a sender's host where an endpoint is, when the kernel asks for it.

The kernel rate-limits the requests (an event each); here each becomes one
datagram. Losing one costs nothing but another packet's detour.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from mizar.datapath import tables

GENEVE_PORT = 6081
OPTION_CLASS = 0xFF4D
OPTION_HINT = 3
CONTROL = 0x80
ETHERNET = 0x6558
HINT_BYTES = 44


def datagram(event: Any, host: str) -> bytes:
    """Geneve header with the O bit and option HINT: the event's endpoint is at ``host``.

    ``event`` is a struct hint_event of bpf/model.h; layout: struct hint_option there, RFC 8926.
    """
    option = struct.pack("!HBB", OPTION_CLASS, OPTION_HINT, HINT_BYTES // 4)
    body: bytes = event.endpoint + tables.address_bytes(host)
    body += struct.pack("!III", event.generation, event.identity, 0)
    header = struct.pack("!BBHI", (len(option) + len(body)) // 4, CONTROL, ETHERNET, event.vni << 8)
    return header + option + body


class Sender:
    """A UDP socket on the uplink's address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind((address, 0))

    def send(self, event: Any) -> None:
        """Sends the HINT that the event asks for; an unreachable origin is nobody's loss."""
        origin = tables.address_text(event.origin)
        try:
            self._socket.sendto(datagram(event, self._address), (origin, GENEVE_PORT))
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()
