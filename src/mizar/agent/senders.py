"""Packets sent as a workload would send them, from inside its network namespace.

A `Sender` uses sockets of its own and leaves nothing behind: no connection is
made, no address, route or cache of the workload's is changed. By TCP it sends a
lone SYN; the workload's kernel, which knows of no connection, resets what comes
back. Sockets belong to the namespace in which they were opened, whoever uses them later.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, Self

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
ECHO_REQUEST: Final = {4: 8, 6: 128}
ECHO_REPLY: Final = {4: 0, 6: 129}
ERRORS: Final = {4: (3, 11), 6: (1, 2, 3)}  # unreachable, too big, time exceeded
TCP_HEADER_BYTES: Final = 20
SYN, RST = 0x02, 0x04
RECEIVED_BYTES_MAX: Final = 65536  # bytes of one answer to a traced packet that are looked at
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IPV6_DONTFRAG = 10, 23, 62  # linux/in.h, linux/in6.h
IP_HEADER_BYTES: Final = {4: 20, 6: 40}
PMTUDISC_PROBE: Final = 3  # DF set, and no path MTU believed
TEXTS: Final = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): "fragmentation needed",
    (4, 11, 0): "time exceeded",
    (6, 1, 0): "no route",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 2, 0): "packet too big",
    (6, 3, 0): "time exceeded",
}
"""(IP version, ICMP type, code) -> meaning"""


class SenderError(Exception):
    """A packet can't be sent; the message says why and what to do."""


class Sender:
    """``source_port`` 0: a free one, which the attribute tells. ``size``: of the IP packet, bytes.

    To be opened by a thread that is inside the workload's namespace.
    """

    def __init__(
        self,
        source: str,
        destination: str,
        protocol: int,
        source_port: int,
        destination_port: int,
        size: int,
    ) -> None:
        self._version = ipaddress.ip_address(destination).version
        self._family = socket.AF_INET if self._version == 4 else socket.AF_INET6
        self._protocol = protocol
        self._ends = (source, destination)
        self._port = destination_port
        self._size = size
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._open: list[socket.socket] = []
        try:
            icmp = ICMP if self._version == 4 else ICMPV6
            self._icmp = self._socket(socket.SOCK_RAW, icmp, 0)
            self._sender = self._make_sender(source_port)
        except OSError as error:
            self.close()
            why = f"{error.strerror}; is it still on the workload's interface?"
            raise SenderError(f"can't send from {source}: {why}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for opened in self._open:
            opened.close()

    def send(self, number: int) -> None:
        """Sends packet ``number`` (from 0); raises `SenderError` when the kernel won't."""
        port = self._port if self._protocol == UDP else 0
        try:
            self._sender.sendto(self._packet(number), (self._ends[1], port))
        except OSError as error:
            raise SenderError(self._refusal(error)) from None

    def heard(self) -> str:
        """What has come back since it was last asked, in words; empty: nothing yet."""
        return self._heard_icmp() or self._heard_answer()

    # ---- sending ----

    def _make_sender(self, source_port: int) -> socket.socket:
        if self._protocol in (ICMP, ICMPV6):
            self.source_port = 0
            return self._icmp
        kind = socket.SOCK_DGRAM if self._protocol == UDP else socket.SOCK_STREAM
        # For TCP it only keeps the port from others: it neither listens nor connects.
        holder = self._socket(kind, 0, source_port)
        self.source_port = int(holder.getsockname()[1])
        return holder if self._protocol == UDP else self._socket(socket.SOCK_RAW, TCP, 0)

    def _socket(self, kind: int, protocol: int, port: int) -> socket.socket:
        made = socket.socket(self._family, kind | socket.SOCK_NONBLOCK, protocol)
        self._open.append(made)
        if self._version == 4:
            made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        made.bind((self._ends[0], port))
        return made

    def _packet(self, number: int) -> bytes:
        """What the kernel puts behind the IP header (UDP: behind that header too)."""
        header = IP_HEADER_BYTES[self._version]
        if self._protocol == UDP:
            return bytes(max(self._size - header - 8, 0))
        if self._protocol == TCP:
            return self._syn(number, bytes(max(self._size - header - TCP_HEADER_BYTES, 0)))
        payload = bytes(max(self._size - header - 8, 0))
        kind = ECHO_REQUEST[self._version]
        echo = struct.pack("!BBHHH", kind, 0, 0, self._identifier, number + 1) + payload
        # ICMPv6's checksum covers addresses: the kernel adds it.
        return echo if self._version == 6 else echo[:2] + _checksum(echo) + echo[4:]

    def _syn(self, number: int, payload: bytes) -> bytes:
        """A SYN (RFC 9293, section 3.1) with its checksum."""
        words = (self.source_port, self._port, number, 0, 5 << 4, SYN, 65535, 0, 0)
        segment = struct.pack("!HHIIBBHHH", *words) + payload
        ends = b"".join(ipaddress.ip_address(end).packed for end in self._ends)
        pseudo = ends + struct.pack("!II", len(segment), TCP)
        return segment[:16] + _checksum(pseudo + segment) + segment[18:]

    def _refusal(self, error: OSError) -> str:
        if error.errno == errno.EMSGSIZE:
            return (
                f"a packet of {self._size} bytes is larger than the MTU of the workload's own"
                " interface: its kernel refused it, Mizar never saw it"
            )
        return f"the workload's own kernel refused to send to {self._ends[1]}: {error.strerror}"

    # ---- hearing ----

    def _heard_icmp(self) -> str:
        for packet, sender in _received(self._icmp):
            icmp = packet[(packet[0] & 0xF) * 4 :] if self._version == 4 else packet
            if len(icmp) < 8:
                continue
            kind, code, _, identifier = struct.unpack_from("!BBHH", icmp)
            mine = self._protocol in (ICMP, ICMPV6) and identifier == self._identifier
            if kind == ECHO_REPLY[self._version] and mine and sender == self._ends[1]:
                return "echo reply"
            if kind in ERRORS[self._version] and self._quoted(icmp[8:]):
                text = TEXTS.get((self._version, kind, code), "an error")
                return f"ICMP {kind}/{code} ({text}) from {sender}"
        return ""

    def _quoted(self, quote: bytes) -> bool:
        """Whether an ICMP error is about a packet of this protocol to this destination."""
        place, kind = (16, 9) if self._version == 4 else (24, 6)
        destination = ipaddress.ip_address(self._ends[1]).packed
        there = quote[place : place + len(destination)]
        return there == destination and quote[kind] == self._protocol

    def _heard_answer(self) -> str:
        if self._protocol not in (TCP, UDP):
            return ""
        for packet, sender in _received(self._sender):
            if sender != self._ends[1]:
                continue
            if self._protocol == UDP:
                return f"{len(packet)} bytes by UDP"
            tcp = packet[(packet[0] & 0xF) * 4 :] if self._version == 4 else packet
            if len(tcp) < TCP_HEADER_BYTES:
                continue
            if struct.unpack_from("!HH", tcp) == (self._port, self.source_port):
                return "RST: nobody listens there" if tcp[13] & RST else "SYN-ACK: the port is open"
        return ""


def _received(source: socket.socket) -> Iterator[tuple[bytes, str]]:
    """What waits in a socket: packets and their senders."""
    with contextlib.suppress(BlockingIOError):
        while True:
            packet, (sender, *_) = source.recvfrom(RECEIVED_BYTES_MAX)
            yield packet, sender


def _checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071), in two bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
