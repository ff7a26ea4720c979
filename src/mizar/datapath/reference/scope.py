"""Addresses that no packet of a workload may have, or that stay on the link (steps 7 and 8)."""

from __future__ import annotations

from mizar.datapath.reference.packets import Datagram
from mizar.datapath.reference.tables import Address, Family


def is_multicast(packet: Datagram, family: Family) -> bool:
    destination = packet.destination
    if not packet.is_ipv4:
        return destination[0] == 0xFF
    host_bits = ~int.from_bytes(family.mask[12:], "big") & 0xFFFFFFFF
    broadcast = int.from_bytes(family.subnet[12:], "big") | host_bits
    number = int.from_bytes(destination[12:], "big")
    return number >> 28 == 14 or number == 0xFFFFFFFF or (host_bits > 1 and number == broadcast)


def is_link_local(address: Address, ipv4: bool) -> bool:
    if ipv4:
        return address[12:14] == b"\xa9\xfe"
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_martian(address: Address, ipv4: bool) -> bool:
    if ipv4:
        return address[12] in (0, 127) or address[12] >= 240
    number = int.from_bytes(address, "big")
    return number in (0, 1) or number >> 32 == 0xFFFF
