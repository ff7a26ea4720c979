"""DHCP (RFC 2131, 2132) and DHCPv6 (RFC 8415): each endpoint is told what it has already."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mizar.datapath.reference import packets, scope
from mizar.datapath.reference.answers import back
from mizar.datapath.reference.neighbours import router_link_local
from mizar.datapath.reference.outcome import Drop, End
from mizar.datapath.reference.packets import BROADCAST_MAC, IPV4, IPV6, UDP, Datagram
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import MAPPED, NOWHERE, Address, Port

SERVER, CLIENT = 67, 68
SERVER6, CLIENT6 = 547, 546
COOKIE = bytes.fromhex("63825363")
BOOTP_BYTES, ANSWER_BYTES = 240, 300
PAD, END = 0, 255
MASK, ROUTER, MTU, REQUESTED, LEASE, TYPE, SERVER_ID = 1, 3, 26, 50, 51, 53, 54
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
OPTION_BYTES = {TYPE: 1, REQUESTED: 4, SERVER_ID: 4}
OPTIONS_MAX, OPTIONS6_MAX = 32, 16
ETHERNET = bytes([1, 6])  # hardware type, and bytes of its addresses
LEASE_S, RENEW_S, REBIND_S = 86400, 43200, 69120
EVERYBODY = MAPPED + b"\xff" * 4

SOLICIT, ADVERTISE, REQUEST6, CONFIRM, RENEW, REBIND, REPLY, INFORMATION = 1, 2, 3, 4, 5, 6, 7, 11
CLIENT_ID6, SERVER_ID6, IA_NA, IA_ADDRESS, STATUS, RAPID_COMMIT = 1, 2, 3, 5, 13, 14
CLIENT_ID_BYTES_MAX = 130
IA_BYTES_MIN = 12
ON_LINK, NOT_ON_LINK = 0, 4


def dhcp4(run: Passage, port: Port, packet: Datagram) -> End:
    """Raises Drop."""
    request = packet.data[packet.transport.at + 8 : packet.length]
    if len(request) < BOOTP_BYTES or request[236:240] != COOKIE or request[0] != 1:
        raise Drop("MALFORMED")
    if packet.source not in (MAPPED + bytes(4), port.ipv4.address):
        raise Drop("SPOOFED_ADDRESS")
    if request[28:34] != port.mac:
        raise Drop("SPOOFED_MAC")
    if port.ipv4.address == NOWHERE:
        return End("DHCP_IGNORED")
    kind = _answer_kind(port, request)
    if kind is None:
        return End("DHCP_IGNORED")
    broadcast = kind == NAK or bool(request[10] & 0x80)
    payload = _answer(run, port, request, kind)
    udp = struct.pack("!HHHH", SERVER, CLIENT, 8 + len(payload), 0)
    to, to_mac = (EVERYBODY, BROADCAST_MAC) if broadcast else (port.ipv4.address, port.mac)
    ip = packets.ipv4(port.ipv4.gateway, to, UDP, udp + payload)
    ethernet = packets.ethernet(to_mac, run.config.router_mac, IPV4)
    return back(run, "DHCP_ANSWERED", ethernet + ip)


def _answer_kind(port: Port, request: bytes) -> int | None:
    options: dict[int, bytes] = {}
    for code, body in _options(request[BOOTP_BYTES:]):
        if len(body) == OPTION_BYTES.get(code):
            options.setdefault(code, body)
    kind = options.get(TYPE, b"")
    if kind == bytes([DISCOVER]):
        return OFFER
    if kind != bytes([REQUEST]):
        return None
    if options.get(SERVER_ID, port.ipv4.gateway[12:]) != port.ipv4.gateway[12:]:
        return None
    asked = options.get(REQUESTED, request[12:16])
    return ACK if asked == port.ipv4.address[12:] else NAK


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, body), at most OPTIONS_MAX with pads counted; those cut off aren't there."""
    at = 0
    for _ in range(OPTIONS_MAX):
        if at >= len(data) or data[at] == END:
            return
        if data[at] == PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def _answer(run: Passage, port: Port, request: bytes, kind: int) -> bytes:
    """The whole BOOTP message, padded."""
    own = bytes(4) if kind == NAK else port.ipv4.address[12:]
    head = bytes([2]) + ETHERNET + bytes(1) + request[4:8] + bytes(2) + request[10:12]
    fixed = head + bytes(4) + own + bytes(4) + request[24:28] + request[28:44] + bytes(64 + 128)
    gateway = port.ipv4.gateway[12:]
    says = [(TYPE, bytes([kind])), (SERVER_ID, gateway)]
    if kind != NAK:
        says += [
            (LEASE, LEASE_S.to_bytes(4, "big")),
            (MASK, port.ipv4.mask[12:]),
            (ROUTER, gateway),
            (MTU, run.config.endpoint_mtu.to_bytes(2, "big")),
        ]
    options = b"".join(bytes([code, len(body)]) + body for code, body in says)
    return (fixed + COOKIE + options + bytes([END])).ljust(ANSWER_BYTES, b"\0")


# ---- DHCPv6 ----


def dhcp6(run: Passage, port: Port, packet: Datagram) -> End:
    """Raises Drop."""
    request = packet.data[packet.transport.at + 8 : packet.length]
    if len(request) < 4:
        raise Drop("MALFORMED")
    source = packet.source
    link_local = scope.is_link_local(source, ipv4=False)
    if not link_local and source != port.ipv6.address:
        raise Drop("SPOOFED_ADDRESS")
    answer = _answer6(run, port, request)
    if answer is None:
        return End("DHCP_IGNORED")
    return _send6(run, port, source, answer)


def _send6(run: Passage, port: Port, to: Address, message: bytes) -> End:
    sender = router_link_local(run)
    udp = struct.pack("!HHHH", SERVER6, CLIENT6, 8 + len(message), 0) + message
    udp = packets.over_ipv6(sender, to, UDP, udp, checksum_at=6)
    ip = packets.ipv6(sender, to, UDP, udp)
    ethernet = packets.ethernet(port.mac, run.config.router_mac, IPV6)
    return back(run, "DHCP_ANSWERED", ethernet + ip)


def _answer6(run: Passage, port: Port, request: bytes) -> bytes | None:
    """The message that answers a request, or None where it isn't answered."""
    kind = request[0]
    if kind not in (SOLICIT, REQUEST6, CONFIRM, RENEW, REBIND, INFORMATION):
        return None
    options = [*_options6(request[4:])]
    client = _first6(options, CLIENT_ID6, 1, CLIENT_ID_BYTES_MAX)
    if port.ipv6.address == NOWHERE or client is None:
        return None
    server = struct.pack("!HH", 3, 1) + run.config.router_mac
    if any(code == SERVER_ID6 and body != server for code, body in options):
        return None
    rapid = kind == SOLICIT and _first6(options, RAPID_COMMIT) is not None
    association = _first6(options, IA_NA, IA_BYTES_MIN)
    answer = ADVERTISE if kind == SOLICIT and not rapid else REPLY
    says = _option6(CLIENT_ID6, client) + _option6(SERVER_ID6, server)
    if rapid:
        says += _option6(RAPID_COMMIT, b"")
    if association is not None and kind not in (CONFIRM, INFORMATION):
        says += _leased(port, association[:4])
    if kind == CONFIRM:
        confirmed = _address_in(association or b"")
        if confirmed is None:
            return None
        status = ON_LINK if confirmed == port.ipv6.address else NOT_ON_LINK
        says += _option6(STATUS, struct.pack("!H", status))
    return bytes([answer]) + request[1:4] + says


def _leased(port: Port, identity_association: bytes) -> bytes:
    lease = struct.pack("!II", LEASE_S, LEASE_S)
    address = _option6(IA_ADDRESS, port.ipv6.address + lease)
    times = struct.pack("!II", RENEW_S, REBIND_S)
    return _option6(IA_NA, identity_association + times + address)


def _address_in(association: bytes) -> Address | None:
    """The address of the IAADDR that an IA_NA begins with."""
    if len(association) < IA_BYTES_MIN + 4 + 16 or association[12:14] != b"\x00\x05":
        return None
    return association[16:32]


def _option6(code: int, body: bytes) -> bytes:
    return struct.pack("!HH", code, len(body)) + body


def _options6(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, body), at most OPTIONS6_MAX; those cut off aren't there."""
    at = 0
    for _ in range(OPTIONS6_MAX):
        if at + 4 > len(data):
            return
        code, size = struct.unpack_from("!HH", data, at)
        if at + 4 + size > len(data):
            return
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size


def _first6(
    options: list[tuple[int, bytes]], code: int, least: int = 0, most: int = 65535
) -> bytes | None:
    """The body of the first option of that code whose length is within bounds."""
    bodies = (body for kind, body in options if kind == code and least <= len(body) <= most)
    return next(bodies, None)
