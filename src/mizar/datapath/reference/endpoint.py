"""The endpoint program: what a workload sends (sections 1 and 2). Steps are the contract's."""

from __future__ import annotations

from typing import NamedTuple

from mizar.datapath.reference import (
    answers,
    delivery,
    dhcp,
    errors,
    hashing,
    neighbours,
    packets,
    transit,
    tunnel,
)
from mizar.datapath.reference.constants import (
    ASK,
    ASK_INTERVAL_NS,
    IDENTITY,
    LOOKUP,
    MARK_ASK,
    MARK_LOOKUP,
    ORIGIN,
    QUOTE_BYTES,
    SWITCH,
    TRACE,
)
from mizar.datapath.reference.outcome import (
    HOST_UNREACHABLE,
    NETWORK_UNREACHABLE,
    PORT_UNREACHABLE,
    TIME_EXCEEDED,
    Clone,
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
from mizar.datapath.reference.tables import (
    NOWHERE,
    Address,
    Family,
    Location,
    Port,
    TransitSet,
    in_subnet,
)

ROUTER_SOLICITATION, REDIRECT = 133, 137
UNREACHABLE = {
    "NO_ROUTE": NETWORK_UNREACHABLE,
    "NO_NETWORK": NETWORK_UNREACHABLE,
    "NO_ENDPOINT": HOST_UNREACHABLE,
    "NOT_HERE": HOST_UNREACHABLE,
}


class Dispatch(NamedTuple):
    """What step 17 found: a next host, and whether it holds a transit table."""

    reason: str
    to: Address
    to_holder: bool


def run_endpoint(run: Passage, frame: bytes) -> End:
    """Steps 1 and 2. Raises Drop; an error due to the sender has taken the packet's place then."""
    run.ifindex = run.context.ifindex
    run.config  # noqa: B018 - NO_CONFIG
    port: Port | None = run.exact("ports", run.ifindex)
    if port is None:
        raise Drop("NO_PORT")
    run.vni = port.vni
    if run.context.mark in (MARK_LOOKUP, MARK_ASK):
        return _control_message(run, port, frame)
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
    if not packet.is_ipv4 and transport.protocol == ICMPV6:
        kind = packet.upper(1)
        if kind and ROUTER_SOLICITATION <= kind[0] <= REDIRECT:
            return neighbours.discovery(run, port, packet)
    return None


def _step_7(run: Passage, port: Port, frame: bytes, packet: Datagram) -> End:
    """Steps 7 to 14: what may be sent at all."""
    family = port.ipv4 if packet.is_ipv4 else port.ipv6
    if frame[0] & 1 or is_multicast(packet, family):
        raise Drop("MULTICAST")
    if _pings_link_local_router(run, packet):
        return answers.echo(run, port, packet)
    for address in (packet.source, packet.destination):
        if is_link_local(address, packet.is_ipv4):
            raise Drop("LINK_LOCAL")
        if is_martian(address, packet.is_ipv4):
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
        return _step_15(run, port, packet)
    except Drop as drop:
        raise Refused(drop, packet) from drop


def _step_15(run: Passage, port: Port, packet: Datagram) -> End:
    """Steps 15 to 18: where it goes."""
    if (here := run.local(packet.destination)) is not None:
        return delivery.deliver(run, "DELIVERED_SAME_HOST", packet, here)
    outer_port = _outer_port(packet)
    location = run.location(packet.destination)
    if location is not None and run.is_fresh(location):
        if run.would_ask(location):
            _ask(run, packet, location, MARK_ASK)
        way = Dispatch("SENT_DIRECT", location.host, to_holder=False)
    else:
        way = _way_by_transit(run, packet.destination, outer_port)
        _ask(run, packet, location or Location(), MARK_LOOKUP)
    options = _data_options(run, port, packet, way.to_holder)
    return _send(run, way.reason, way.to, packet, options, outer_port)


def _way_by_transit(run: Passage, destination: Address, outer_port: int) -> Dispatch:
    """Step 17. Raises Drop, with the error for the sender."""
    routes: TransitSet | None = run.longest("routes", destination)
    if routes is None or not routes.holders:
        raise Drop("NO_ROUTE", UNREACHABLE["NO_ROUTE"])
    chosen = transit.holder(run, routes.holders, outer_port)
    if chosen != run.config.host:
        reason = "SENT_SWITCH" if routes.kind == SWITCH else "SENT_ROUTER"
        return Dispatch(reason, chosen, to_holder=True)
    try:
        reason, to = transit.tables(run, destination, outer_port)
    except Drop as drop:
        raise Drop(drop.reason, UNREACHABLE[drop.reason]) from drop
    return Dispatch(reason, to, to_holder=reason == "ROUTED")


def _ask(run: Passage, packet: Datagram, location: Location, mark: int) -> None:
    """A clone goes to become an ASK or LOOKUP, at most one in ASK_INTERVAL_NS."""
    if run.now - location.asked_ns < ASK_INTERVAL_NS:
        return
    run.locate(packet.destination, location._replace(asked_ns=run.now))
    run.clones.append(Clone(mark, run.ethernet + packet.data))


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


def _outer_port(packet: Datagram) -> int:
    """Step 13."""
    protocol = packet.transport.protocol
    return hashing.outer_port(packet.source, packet.destination, packet.ports, protocol)


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


# ---- addresses that no packet of a workload may have ----


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


def _pings_link_local_router(run: Passage, packet: Datagram) -> bool:
    return (
        not packet.is_ipv4
        and is_link_local(packet.source, ipv4=False)
        and packet.destination == neighbours.router_link_local(run)
        and answers.is_echo_request(packet)
    )


# ---- sending (step 18), and section 2 ----


def _data_options(run: Passage, port: Port, packet: Datagram, to_holder: bool) -> bytes:
    """IDENTITY; ORIGIN and TRACE where due, and where the whole still fits the underlay MTU."""
    options = tunnel.number_option(IDENTITY, port.identity)
    wished = []
    if to_holder:
        wished.append(tunnel.option(ORIGIN, run.config.host))
    if run.trace:
        wished.append(tunnel.number_option(TRACE, run.trace))
    for one in wished:
        size = 20 + 8 + 8 + len(options) + len(one) + ETHERNET_BYTES + len(packet.data)
        if not run.context.gso_size and size <= run.config.underlay_mtu:
            options += one
    return options


def _send(
    run: Passage,
    reason: str,
    to: Address,
    packet: Datagram,
    options: bytes,
    outer_port: int,
    *,
    control: bool = False,
) -> End:
    router_mac = run.config.router_mac
    inner = packets.ethernet(router_mac, router_mac, packet.ethertype) + packet.data
    outer = tunnel.outer(
        run.config.host,
        to,
        outer_port,
        run.vni,
        options,
        inner,
        control=control,
        ecn=packet.ecn,
    )
    return tunnel.onto_underlay(run.context, reason, to, outer)


def _control_message(run: Passage, port: Port, frame: bytes) -> End:
    """Section 2: a clone becomes an ASK or a LOOKUP."""
    packet = packets.parse(_check_ethernet(run, frame), frame[ETHERNET_BYTES:])
    outer_port = _outer_port(packet)
    trimmed = packet._replace(data=packet.data[:QUOTE_BYTES])
    identity = tunnel.number_option(IDENTITY, port.identity)
    if run.context.mark == MARK_ASK:
        location = run.location(packet.destination)
        if location is None or location.host == NOWHERE:
            raise Drop("NO_ROUTE")
        reason, to, options = "SENT_ASK", location.host, identity + tunnel.option(ASK)
    else:
        to = _way_by_transit(run, packet.destination, outer_port).to
        origin = tunnel.option(ORIGIN, run.config.host)
        reason, options = "SENT_LOOKUP", identity + origin + tunnel.option(LOOKUP)
    return _send(run, reason, to, trimmed, options, outer_port, control=True)
