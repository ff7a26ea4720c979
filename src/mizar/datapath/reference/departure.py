"""Where a workload's packet goes, and sending it (steps 15 to 18), and section 2: its clones."""

from __future__ import annotations

from typing import NamedTuple

from mizar.datapath.reference import delivery, hashing, packets, transit, tunnel
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
    Clone,
    Drop,
    End,
)
from mizar.datapath.reference.packets import ETHERNET_BYTES, Datagram
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import NOWHERE, Address, Location, Port, TransitSet

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


def depart(run: Passage, port: Port, packet: Datagram) -> End:
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


def _outer_port(packet: Datagram) -> int:
    """Step 13."""
    protocol = packet.transport.protocol
    return hashing.outer_port(packet.source, packet.destination, packet.ports, protocol)


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


def control_message(run: Passage, port: Port, packet: Datagram) -> End:
    """Section 2: a clone becomes an ASK or a LOOKUP. Raises Drop."""
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
