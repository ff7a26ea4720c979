"""One ICMP echo request at a time, from a socket in an endpoint's namespace."""

import os
import socket
import struct
import time

from mizar.datapath import namespaces

ANSWER_S = 1.0
REPLY = 0


def opened(namespace: str) -> socket.socket:
    """A raw socket, which stays in the namespace it was opened in."""
    with namespaces.entered(namespace):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(ANSWER_S)
    return raw


def ping(raw: socket.socket, address: str, sequence: int) -> float | None:
    """Seconds to the answer of one echo request, or None without one."""
    request = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, sequence & 0xFFFF)
    check = -sum(struct.unpack("!4H", request)) % 0xFFFF
    start = time.perf_counter()
    raw.sendto(request[:2] + struct.pack("!H", check) + request[4:], (address, 0))
    try:
        while True:
            packet, (source, _) = raw.recvfrom(2048)
            if source == address and packet[20] == REPLY and packet[24:28] == request[4:8]:
                return time.perf_counter() - start
    except TimeoutError:
        return None
