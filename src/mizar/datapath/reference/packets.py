"""Packets as bytes: what their headers say, and headers written.

An IP packet is given from its IP header on, to the end of the frame that carried it (padding,
too); `Datagram` is what step 5 of the contract reads of it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from mizar.datapath.reference.constants import EXTENSION_HEADERS_MAX, HEADERS_READ
from mizar.datapath.reference.outcome import Drop
from mizar.datapath.reference.tables import MAPPED, Address

ETHERNET_BYTES = 14
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
VLANS = (0x8100, 0x88A8)
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS)
DONT_FRAGMENT = 0x4000
BROADCAST_MAC = b"\xff" * 6


class Transport(NamedTuple):
    """Where the transport header is: `at` counts from the IP header, 0 where there is none.

    `walked` is how many bytes of IP and extension headers were read in looking for it.
    """

    protocol: int
    at: int
    walked: int
    fragment: bool = False
    later: bool = False
    extended: bool = False


class Datagram(NamedTuple):
    """An IP packet and what its headers say; `length` is its own word for how long it is."""

    data: bytes
    ethertype: int
    source: Address
    destination: Address
    header_bytes: int
    length: int
    hops: int
    ecn: int
    transport: Transport

    @property
    def is_ipv4(self) -> bool:
        return self.ethertype == IPV4

    def upper(self, size: int) -> bytes | None:
        """The first `size` bytes of the transport header, where they can be found."""
        at = self.transport.at
        if not at or at + size > min(len(self.data), HEADERS_READ - ETHERNET_BYTES):
            return None
        return self.data[at : at + size]

    @property
    def ports(self) -> int:
        """source << 16 | destination, of unfragmented TCP, UDP and SCTP; else 0."""
        if self.transport.fragment or self.transport.protocol not in (TCP, UDP, SCTP):
            return 0
        first = self.upper(4)
        return int.from_bytes(first, "big") if first else 0


def word(data: bytes, at: int) -> int:
    """The 16-bit number at an offset."""
    return data[at] << 8 | data[at + 1]


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    """The data with `new` written over it at an offset."""
    return data[:at] + new + data[at + len(new) :]


def ethernet(destination: bytes, source: bytes, ethertype: int) -> bytes:
    return destination + source + ethertype.to_bytes(2, "big")


# ---- reading ----


def parse(ethertype: int, data: bytes, *, cut: bool = False) -> Datagram:
    """Reads an IP packet; `cut`: it may be the beginning of one, as control messages carry.

    Raises Drop: NOT_IP, TRUNCATED, MALFORMED.
    """
    if ethertype == IPV4:
        return _parse_ipv4(data, cut)
    if ethertype == IPV6:
        return _parse_ipv6(data, cut)
    raise Drop("NOT_IP")


def _parse_ipv4(data: bytes, cut: bool) -> Datagram:
    if len(data) < 20:
        raise Drop("TRUNCATED")
    header_bytes, length = (data[0] & 15) * 4, word(data, 2)
    if data[0] >> 4 != 4 or header_bytes < 20 or length < header_bytes:
        raise Drop("MALFORMED")
    if length > len(data) and not cut:
        raise Drop("TRUNCATED")
    fragment = word(data, 6)
    later = bool(fragment & 0x1FFF)
    return Datagram(
        data=data,
        ethertype=IPV4,
        source=MAPPED + data[12:16],
        destination=MAPPED + data[16:20],
        header_bytes=header_bytes,
        length=length,
        hops=data[8],
        ecn=data[1] & 3,
        transport=Transport(
            protocol=data[9],
            at=0 if later else header_bytes,
            walked=header_bytes,
            fragment=bool(fragment & 0x3FFF),
            later=later,
        ),
    )


def _parse_ipv6(data: bytes, cut: bool) -> Datagram:
    if len(data) < 40:
        raise Drop("TRUNCATED")
    if data[0] >> 4 != 6:
        raise Drop("MALFORMED")
    length = word(data, 4) + 40
    if length > len(data) and not cut:
        raise Drop("TRUNCATED")
    return Datagram(
        data=data,
        ethertype=IPV6,
        source=data[8:24],
        destination=data[24:40],
        header_bytes=40,
        length=length,
        hops=data[7],
        ecn=data[1] >> 4 & 3,
        transport=_past_extensions(data),
    )


def _past_extensions(data: bytes) -> Transport:
    """RFC 8200, section 4; each header must have its first 8 bytes within HEADERS_READ."""
    end = min(len(data), HEADERS_READ - ETHERNET_BYTES)
    protocol, at, fragment = data[6], 40, False
    for walked in range(EXTENSION_HEADERS_MAX):
        if protocol not in EXTENSIONS:
            return Transport(protocol, at, at, fragment, extended=walked > 0)
        if at + 8 > end:
            return Transport(protocol, 0, at, fragment, extended=True)
        kind, protocol, size = protocol, data[at], data[at + 1]
        if kind == FRAGMENT:
            offset_and_more = word(data, at + 2) & 0xFFF9
            fragment = fragment or offset_and_more != 0
            if offset_and_more & 0xFFF8:
                return Transport(protocol, 0, at + 8, True, later=True, extended=True)
            at += 8
        else:
            at += (size + 2) * 4 if kind == AUTHENTICATION else (size + 1) * 8
    found = 0 if protocol in EXTENSIONS else at
    return Transport(protocol, found, at, fragment, extended=True)


# ---- checksums (RFC 1071, RFC 1624) ----


def _folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    """The Internet checksum of data whose own checksum field is zero."""
    padded = data + bytes(len(data) & 1)
    return ~_folded(sum(struct.unpack(f"!{len(padded) // 2}H", padded))) & 0xFFFF


def amended(old_checksum: int, old: int, new: int) -> int:
    """The checksum after one 16-bit word has changed: RFC 1624, equation 3."""
    return ~_folded((~old_checksum & 0xFFFF) + (~old & 0xFFFF) + new) & 0xFFFF


def with_word(data: bytes, at: int, new: int, checksum_at: int) -> bytes:
    """The data with one word changed, and the checksum by the difference."""
    sum_now = amended(word(data, checksum_at), word(data, at), new)
    data = replaced(data, at, new.to_bytes(2, "big"))
    return replaced(data, checksum_at, sum_now.to_bytes(2, "big"))


def with_ipv4_checksum(data: bytes) -> bytes:
    """The packet with its IPv4 header checksum complete."""
    header = replaced(data[: (data[0] & 15) * 4], 10, bytes(2))
    return replaced(data, 10, checksum(header).to_bytes(2, "big"))


# ---- changing ----


def hop_taken(packet: Datagram) -> Datagram:
    """TTL or hop limit less one."""
    hops = packet.hops - 1
    if packet.is_ipv4:
        data = with_word(packet.data, 8, hops << 8 | packet.data[9], checksum_at=10)
    else:
        data = replaced(packet.data, 7, bytes([hops]))
    return packet._replace(data=data, hops=hops)


def with_ecn(packet: Datagram, ecn: int) -> bytes:
    """The packet's bytes with other ECN bits."""
    data = packet.data
    if packet.is_ipv4:
        return with_word(data, 0, data[0] << 8 | data[1] & 0xFC | ecn, checksum_at=10)
    return replaced(data, 1, bytes([data[1] & 0xCF | ecn << 4]))


# ---- writing ----


def ipv4(
    source: Address,
    destination: Address,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
) -> bytes:
    """An IPv4 packet with id 0 and DF."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        tos,
        20 + len(payload),
        0,
        DONT_FRAGMENT,
        ttl,
        protocol,
        0,
        source[12:],
        destination[12:],
    )
    return with_ipv4_checksum(header) + payload


def ipv6(
    source: Address, destination: Address, protocol: int, payload: bytes, *, hops: int = 64
) -> bytes:
    """An IPv6 packet of traffic class and flow label 0."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return header + source + destination + payload


def over_ipv6(
    source: Address, destination: Address, protocol: int, payload: bytes, checksum_at: int
) -> bytes:
    """The payload with its checksum, pseudo-header included (RFC 8200, section 8.1)."""
    pseudo = source + destination + struct.pack("!II", len(payload), protocol)
    total = checksum(pseudo + replaced(payload, checksum_at, bytes(2)))
    if protocol == UDP and total == 0:  # which would say that there is none
        total = 0xFFFF
    return replaced(payload, checksum_at, total.to_bytes(2, "big"))
