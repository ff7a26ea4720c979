"""Packets as data: what a workload sends, and what arrives on the uplink."""

import struct

import backplane
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

CLASS = 0xFF4D
IDENTITY, ORIGIN, HINT, TRACE, LOOKUP, ASK, RETURNED, PROBE, ECHO = range(1, 10)
CRITICAL = 0x80
CONTROL = 0x80
ETHERNET = 0x6558
NOBODY = "00:00:00:00:00:00"


def option(kind: int, body: bytes, option_class: int = CLASS) -> bytes:
    return struct.pack("!HBB", option_class, kind, len(body) // 4) + body


def identity(number: int) -> bytes:
    return option(IDENTITY, struct.pack("!I", number))


def origin(host: str) -> bytes:
    return option(ORIGIN, backplane.mapped(host))


def trace(number: int) -> bytes:
    return option(TRACE, struct.pack("!I", number))


def hint(endpoint: str, host: str, generation: int, flags: int = 0, number: int = 0) -> bytes:
    body = backplane.mapped(endpoint) + backplane.mapped(host)
    return option(HINT, body + struct.pack("!III", generation, number, flags))


def sent(
    destination: str,
    payload: bytes = b"hello",
    *,
    source: str = backplane.A,
    mac: str = backplane.A_MAC,
    to: str = backplane.ROUTER_MAC,
    l4: object = None,
    **ip: object,
) -> bytes:
    """What endpoint A hands to its interface."""
    header = IP(src=source, dst=destination, **ip)
    upper = UDP(sport=4000, dport=53) if l4 is None else l4
    return bytes(Ether(dst=to, src=mac) / header / upper / payload)


def sent6(
    destination: str,
    payload: bytes = b"hello",
    *,
    source: str = backplane.A6,
    mac: str = backplane.A_MAC,
    to: str = backplane.ROUTER_MAC,
    l4: object = None,
    extensions: bytes = b"",
    **ip: object,
) -> bytes:
    """The same by IPv6. The extension headers' bytes come between IPv6 and l4; `nh` names the
    first of them, their own next headers chain to l4."""
    upper = UDP(sport=4000, dport=53) if l4 is None else l4
    whole = IPv6(src=source, dst=destination, **ip) / upper / payload
    if not extensions:
        return bytes(Ether(dst=to, src=mac) / whole)
    packet = bytes(whole)
    plen = struct.pack("!H", len(packet) - 40 + len(extensions))
    header = packet[:4] + plen + packet[6:40]
    return bytes(Ether(dst=to, src=mac, type=0x86DD)) + header + extensions + packet[40:]


def arp(
    target: str,
    *,
    sender: str = backplane.A,
    mac: str = backplane.A_MAC,
    op: int = 1,
) -> bytes:
    body = ARP(op=op, hwsrc=mac, psrc=sender, hwdst=NOBODY, pdst=target)
    return bytes(Ether(dst="ff:ff:ff:ff:ff:ff", src=mac) / body)


def inner(
    source: str = backplane.REMOTE,
    destination: str = backplane.A,
    payload: bytes = b"hello",
    **ip: object,
) -> bytes:
    """An Ethernet frame as another host's endpoint program puts it into a tunnel."""
    ether = Ether(dst=backplane.ROUTER_MAC, src=backplane.ROUTER_MAC)
    if ":" in destination:
        packet = IPv6(src=source, dst=destination, **ip) / UDP(sport=4000, dport=53)
    else:
        packet = IP(src=source, dst=destination, **ip) / ICMP()
    return bytes(ether / packet / payload)


def geneve(
    content: bytes,
    options: bytes = b"",
    *,
    vni: int = backplane.VNI,
    version: int = 0,
    flags: int = 0,
    protocol: int = ETHERNET,
    option_bytes: int | None = None,
) -> bytes:
    size = len(options) if option_bytes is None else option_bytes
    first = version << 6 | size // 4
    return struct.pack("!BBHI", first, flags, protocol, vni << 8) + options + content


def arrived(
    content: bytes,
    *,
    source: str = backplane.PEER,
    destination: str = backplane.HOST,
    port: int = 6081,
    sport: int = 50000,
    ttl: int = 64,
    **ip: object,
) -> bytes:
    """A frame on the uplink; `content` follows the UDP header."""
    ether = Ether(dst="02:00:00:00:01:01", src=backplane.PEER_MAC)
    outer = IP(src=source, dst=destination, ttl=ttl, **{"id": 0, "flags": "DF", **ip})
    return bytes(ether / outer / UDP(sport=sport, dport=port, chksum=0) / content)


def control(options: bytes, content: bytes = b"", **outer: object) -> bytes:
    """A control message; `content` is the beginning of the packet that it is about."""
    return arrived(geneve(content, options, flags=CONTROL), **outer)


def lookup(content: bytes, origin_host: str = backplane.STRANGER, **outer: object) -> bytes:
    """Where is the content's destination?"""
    return control(identity(5) + origin(origin_host) + option(LOOKUP, b""), content, **outer)


def ask(content: bytes, **outer: object) -> bytes:
    """Is the content's destination still with you?"""
    return control(identity(5) + option(ASK, b""), content, **outer)


def told(to: str, message: bytes, sport: int = 50000) -> bytes:
    """A HINT from the host under test, after its Ethernet header."""
    return control(message, source=backplane.HOST, destination=to, sport=sport)[14:]


def tunnelled(options: bytes = b"", **outer: object) -> bytes:
    """A well-formed packet from REMOTE to A."""
    return arrived(geneve(inner(), options or identity(5)), **outer)


def named(value: object) -> str | None:
    """A test's name says how long its packet is, not what is in it."""
    return f"{len(value)}-bytes" if isinstance(value, bytes) else None


__all__ = ["ICMP", "IP", "TCP", "UDP", "IPv6"]
