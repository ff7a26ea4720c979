"""ARP (RFC 826) and neighbour discovery (RFC 4861): the host answers for everybody on-link."""

from __future__ import annotations

import struct

from mizar.datapath.reference import packets, scope
from mizar.datapath.reference.answers import back
from mizar.datapath.reference.outcome import Drop, End
from mizar.datapath.reference.packets import (
    ARP,
    ETHERNET_BYTES,
    ICMPV6,
    IPV6,
    Datagram,
    replaced,
    word,
)
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import MAPPED, NOWHERE, Address, Port, in_subnet

ARP_BYTES = 28
ARP_ETHERNET_IPV4 = struct.pack("!HHBB", 1, 0x0800, 6, 4)
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
ALL_NODES = bytes.fromhex("ff02") + bytes(13) + b"\x01"
FLAG_ROUTER, FLAG_SOLICITED, FLAG_OVERRIDE = 0x80, 0x40, 0x20
OPTION_SOURCE_MAC, OPTION_TARGET_MAC, OPTION_PREFIX, OPTION_MTU = 1, 2, 3, 5
MANAGED, ON_LINK = 0x80, 0x80
ROUTER_LIFETIME_S = 65535
FOREVER = 0xFFFFFFFF
HOPS = 255


def arp(run: Passage, port: Port, frame: bytes) -> End:
    """Raises Drop."""
    body = frame[ETHERNET_BYTES : ETHERNET_BYTES + ARP_BYTES]
    if len(body) < ARP_BYTES:
        raise Drop("TRUNCATED")
    if body[:6] != ARP_ETHERNET_IPV4:
        raise Drop("MALFORMED")
    sender_mac, sender, target = body[8:14], MAPPED + body[14:18], MAPPED + body[24:28]
    if sender_mac != port.mac:
        raise Drop("SPOOFED_MAC")
    if word(body, 6) != 1:
        return End("ARP_IGNORED")
    if sender != MAPPED + bytes(4) and not run.is_own(sender):
        raise Drop("SPOOFED_ADDRESS")
    if run.is_own(target) or not in_subnet(target, port.ipv4):
        return End("ARP_IGNORED")
    router_mac = run.config.router_mac
    says = b"\x00\x02" + router_mac + body[24:28] + sender_mac + body[14:18]
    ethernet = packets.ethernet(port.mac, router_mac, ARP)
    return back(run, "ARP_ANSWERED", replaced(ethernet + frame[ETHERNET_BYTES:], 14 + 6, says))


def router_link_local(run: Passage) -> Address:
    """fe80:: with the modified EUI-64 of the virtual router's MAC (RFC 4291, appendix A)."""
    mac = run.config.router_mac
    eui = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return b"\xfe\x80" + bytes(6) + eui


def discovery(run: Passage, port: Port, packet: Datagram) -> End:
    """Raises Drop."""
    message = packet.data[packet.transport.at : packet.length]
    if packet.transport.extended or packet.hops != HOPS:
        return End("ND_IGNORED")
    if len(message) < 8:
        raise Drop("TRUNCATED")
    kind, code = message[:2]
    if code or kind not in (ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION):
        return End("ND_IGNORED")
    source = packet.source
    link_local = scope.is_link_local(source, ipv4=False)
    if source != NOWHERE and not link_local and not run.is_own(source):
        raise Drop("SPOOFED_ADDRESS")
    if kind == NEIGHBOUR_SOLICITATION:
        if len(message) < 24:
            raise Drop("TRUNCATED")
        return _advertise_neighbour(run, port, source, message[8:24])
    return _advertise_router(run, port, source)


def _advertise_neighbour(run: Passage, port: Port, source: Address, target: Address) -> End:
    link_local = router_link_local(run)
    if run.is_own(target) or not (in_subnet(target, port.ipv6) or target == link_local):
        return End("ND_IGNORED")
    flags = FLAG_OVERRIDE
    if target in (port.ipv6.gateway, link_local):
        flags |= FLAG_ROUTER
    if source != NOWHERE:
        flags |= FLAG_SOLICITED
    message = struct.pack("!BBHB3x", NEIGHBOUR_ADVERTISEMENT, 0, 0, flags) + target
    message += bytes([OPTION_TARGET_MAC, 1]) + run.config.router_mac
    return _advertisement(run, port, target, source, message)


def _advertise_router(run: Passage, port: Port, source: Address) -> End:
    if port.ipv6.gateway == NOWHERE:
        return End("ND_IGNORED")
    message = struct.pack(
        "!BBHBBHII", ROUTER_ADVERTISEMENT, 0, 0, 64, MANAGED, ROUTER_LIFETIME_S, 0, 0
    )
    message += bytes([OPTION_SOURCE_MAC, 1]) + run.config.router_mac
    message += struct.pack("!BBHI", OPTION_MTU, 1, 0, run.config.endpoint_mtu)
    bits = int.from_bytes(port.ipv6.mask, "big").bit_count()
    message += struct.pack("!BBBBIII", OPTION_PREFIX, 4, bits, ON_LINK, FOREVER, FOREVER, 0)
    message += port.ipv6.subnet
    return _advertisement(run, port, router_link_local(run), source, message)


def _advertisement(
    run: Passage, port: Port, sender: Address, asker: Address, message: bytes
) -> End:
    """To who asked; to all nodes when it asked from no address."""
    to = ALL_NODES if asker == NOWHERE else asker
    message = packets.over_ipv6(sender, to, ICMPV6, message, checksum_at=2)
    ip = packets.ipv6(sender, to, ICMPV6, message, hops=HOPS)
    ethernet = packets.ethernet(port.mac, run.config.router_mac, IPV6)
    return back(run, "ND_ANSWERED", ethernet + ip)
