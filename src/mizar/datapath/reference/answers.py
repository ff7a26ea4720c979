"""Answers that go back to the endpoint that asked: the way back, and echo replies."""

from __future__ import annotations

from mizar.datapath.reference import packets
from mizar.datapath.reference.outcome import End, Way
from mizar.datapath.reference.packets import (
    ICMP,
    ICMPV6,
    Datagram,
    replaced,
    with_ipv4_checksum,
    with_word,
)
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import Port


def back(run: Passage, reason: str, frame: bytes) -> End:
    """Out of the interface that the question came in by."""
    return End(reason, Way.INTERFACE, frame, interface=run.context.ifindex)


def is_echo_request(packet: Datagram) -> bool:
    """An unfragmented echo request, its 8 bytes there."""
    kind = (ICMP, 8) if packet.is_ipv4 else (ICMPV6, 128)
    header = None if packet.transport.fragment else packet.upper(8)
    if header is None:
        return False
    return (packet.transport.protocol, header[0]) == kind and header[1] == 0


def echo(run: Passage, port: Port, packet: Datagram) -> End:
    """The reply (RFC 792, RFC 4443): the request itself, turned round."""
    data, at = packet.data, packet.transport.at
    if packet.is_ipv4:
        data = with_word(data, at, 0, checksum_at=at + 2)
        data = replaced(data, 12, data[16:20] + data[12:16])
        data = with_ipv4_checksum(replaced(data, 8, bytes([64])))
    else:
        data = with_word(data, at, 129 << 8, checksum_at=at + 2)
        data = replaced(data, 8, packet.destination + packet.source)
        data = replaced(data, 7, bytes([64]))
    ethernet = packets.ethernet(port.mac, run.config.router_mac, packet.ethertype)
    return back(run, "ECHO_ANSWERED", ethernet + data)
