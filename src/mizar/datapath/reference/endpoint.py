"""The endpoint program: what a workload sends (steps 1 to 14 of section 1)."""

from __future__ import annotations

from mizar.datapath.reference import (
    answers,
    departure,
    dhcp,
    errors,
    neighbours,
    packets,
    scope,
)
from mizar.datapath.reference.constants import HEADERS_READ, MARK_ASK, MARK_LOOKUP
from mizar.datapath.reference.outcome import (
    PORT_UNREACHABLE,
    TIME_EXCEEDED,
    Drop,
    End,
    too_big,
)
from mizar.datapath.reference.packets import (
    ARP,
    ETHERNET_BYTES,
    ICMPV6,
    TCP,
    UDP,
    VLANS,
    Datagram,
    word,
)
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import NOWHERE, Family, Port, in_subnet

ROUTER_SOLICITATION, REDIRECT = 133, 137


def run_endpoint(run: Passage, frame: bytes) -> End:
    """Steps 1 and 2. Raises Drop; an error due to the sender has taken the packet's place then."""
    run.ifindex = run.context.ifindex
    run.config  # noqa: B018 - NO_CONFIG
    port: Port | None = run.exact("ports", run.ifindex)
    if port is None:
        raise Drop("NO_PORT")
    run.vni = port.vni
    if run.context.mark in (MARK_LOOKUP, MARK_ASK):
        packet = packets.parse(_check_ethernet(run, frame), frame[ETHERNET_BYTES:])
        return departure.control_message(run, port, packet)
    return _step_3(run, port, frame)


def _step_3(run: Passage, port: Port, frame: bytes) -> End:
    """Steps 3 to 6: what kind of packet it is."""
    ethertype = _check_ethernet(run, frame)
    run.ethernet = frame[:ETHERNET_BYTES]
    if frame[6:12] != port.mac:
        raise Drop("SPOOFED_MAC")
    if ethertype == ARP:
        return neighbours.arp(run, port, frame)
    packet = packets.parse(ethertype, frame[ETHERNET_BYTES:])
    answer = _step_6(run, port, packet)
    return answer or _step_7(run, port, frame, packet)


def _check_ethernet(run: Passage, frame: bytes) -> int:
    if len(frame) < ETHERNET_BYTES:
        raise Drop("TRUNCATED")
    ethertype = word(frame, 12)
    if run.context.vlan or ethertype in VLANS:
        raise Drop("VLAN")
    return ethertype


def _step_6(run: Passage, port: Port, packet: Datagram) -> End | None:
    transport = packet.transport
    if transport.protocol == UDP and not transport.fragment and (udp := packet.upper(8)):
        ends = (packet.is_ipv4, word(udp, 0), word(udp, 2))
        if ends == (True, 68, 67):
            return dhcp.dhcp4(run, port, packet)
        if ends == (False, 546, 547):
            return dhcp.dhcp6(run, port, packet)
        if ends in ((True, 67, 68), (False, 547, 546)):
            return End("DHCP_IGNORED")
    if _may_hide_discovery(packet):
        return End("ND_IGNORED")
    if not packet.is_ipv4 and transport.protocol == ICMPV6:
        kind = packet.upper(1)
        if kind and ROUTER_SOLICITATION <= kind[0] <= REDIRECT:
            return neighbours.discovery(run, port, packet)
    return None


def _may_hide_discovery(packet: Datagram) -> bool:
    """Behind more headers than are read: its receiver reads them all."""
    transport = packet.transport
    found = 0 < transport.at < HEADERS_READ - ETHERNET_BYTES
    if packet.is_ipv4 or packet.hops != neighbours.HOPS or found or transport.later:
        return False
    return transport.protocol == ICMPV6 or transport.protocol in packets.EXTENSIONS


def _step_7(run: Passage, port: Port, frame: bytes, packet: Datagram) -> End:
    """Steps 7 to 14: what may be sent at all."""
    family = port.ipv4 if packet.is_ipv4 else port.ipv6
    if frame[0] & 1 or scope.is_multicast(packet, family):
        raise Drop("MULTICAST")
    if _pings_link_local_router(run, packet):
        return answers.echo(run, port, packet)
    for address in (packet.source, packet.destination):
        if scope.is_link_local(address, packet.is_ipv4):
            raise Drop("LINK_LOCAL")
        if scope.is_martian(address, packet.is_ipv4):
            raise Drop("MARTIAN")
    if not run.is_own(packet.source):
        raise Drop("SPOOFED_ADDRESS")
    run.trace = _trace_number(run, packet)
    try:
        return _step_11(run, port, family, packet)
    except Refused as refused:
        return _told(run, port, refused)


class Refused(Exception):  # noqa: N818 - as Drop
    """A Drop with the packet as the sender is to see it quoted."""

    def __init__(self, drop: Drop, packet: Datagram) -> None:
        super().__init__(drop.reason)
        self.drop = drop
        self.packet = packet


def _told(run: Passage, port: Port, refused: Refused) -> End:
    reason, error = refused.drop.reason, refused.drop.error
    frame = errors.tell(run, run.ifindex, port, refused.packet, error) if error else None
    if frame is None:
        raise refused.drop
    return answers.back(run, reason, frame)


def _step_11(run: Passage, port: Port, family: Family, packet: Datagram) -> End:
    """Steps 11 to 14: the gateway itself, size, and what routing costs."""
    if packet.destination == family.gateway:
        if answers.is_echo_request(packet):
            return answers.echo(run, port, packet)
        raise Refused(Drop("GATEWAY", PORT_UNREACHABLE), packet)
    if _segment_bytes(run, packet) > run.config.endpoint_mtu:
        raise Refused(Drop("TOO_BIG", too_big(run.config.endpoint_mtu)), packet)
    if not in_subnet(packet.destination, family):
        if packet.hops <= 1:
            raise Refused(Drop("HOP_LIMIT", TIME_EXCEEDED), packet)
        packet = packets.hop_taken(packet)
    try:
        return departure.depart(run, port, packet)
    except Drop as drop:
        raise Refused(drop, packet) from drop


def _segment_bytes(run: Passage, packet: Datagram) -> int:
    """Bytes of the IP packet, or of the largest that its segments will be. Raises Drop."""
    if not run.context.gso_size:
        return len(packet.data)
    if packet.transport.protocol != TCP:
        return packet.transport.walked + 8 + run.context.gso_size
    tcp = packet.upper(20)
    if tcp is None:
        raise Drop("TRUNCATED")
    return packet.transport.at + (tcp[12] >> 4) * 4 + run.context.gso_size


def _trace_number(run: Passage, packet: Datagram) -> int:
    """Step 10: the number that the packet carries from here on, or 0."""
    if not run.config.tracing:
        return 0
    row = run.tables.trace_filters.get(run.ifindex)
    if row is None or row.until_ns <= run.now:
        return 0
    wanted = (row.protocol, row.source_port, row.destination_port, row.destination)
    ports = packet.ports
    is_ = (packet.transport.protocol, ports >> 16, ports & 0xFFFF, packet.destination)
    any_ = (0, 0, 0, NOWHERE)
    matches = all(w in (a, i) for w, a, i in zip(wanted, any_, is_, strict=True))
    return row.trace if matches else 0


def _pings_link_local_router(run: Passage, packet: Datagram) -> bool:
    return (
        not packet.is_ipv4
        and scope.is_link_local(packet.source, ipv4=False)
        and packet.destination == neighbours.router_link_local(run)
        and answers.is_echo_request(packet)
    )
