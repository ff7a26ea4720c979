"""Delivery to an endpoint, and what the receiving host learns from it (section 6)."""

from __future__ import annotations

from mizar.datapath.reference import packets
from mizar.datapath.reference.constants import LOCATION_ASK_NS, LOCATION_STAMP_NS
from mizar.datapath.reference.outcome import Drop, End, Way
from mizar.datapath.reference.packets import Datagram
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import NOWHERE, Address, LocalEndpoint, Location
from mizar.datapath.reference.tunnel import Hint

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3


def deliver(run: Passage, reason: str, packet: Datagram, to: LocalEndpoint) -> End:
    """Into the endpoint's interface."""
    ethernet = packets.ethernet(to.mac, run.config.router_mac, packet.ethertype)
    return End(reason, Way.INTERFACE, ethernet + packet.data, interface=to.ifindex)


def ecn_taken_over(packet: Datagram, outer: int) -> Datagram:
    """The inner packet with the outer's congestion mark (RFC 6040). Raises Drop."""
    if outer == CE and packet.ecn == NOT_ECT:
        raise Drop("ECN_LOST")
    if outer == CE or (outer == ECT_1 and packet.ecn == ECT_0):
        return packet._replace(data=packets.with_ecn(packet, outer), ecn=outer)
    return packet


def learn(run: Passage, source: Address, origin: Address, identity: int) -> None:
    """Data arrived from an endpoint at a host."""
    if origin in (NOWHERE, run.config.host):
        return
    known = run.location(source) or Location()
    if known.host == origin:
        if run.age(known) >= LOCATION_STAMP_NS:
            run.locate(source, known._replace(confirmed_ns=run.now))
    elif run.is_fresh(known):
        if not run.would_ask(known):
            run.locate(source, known._replace(confirmed_ns=run.now - LOCATION_ASK_NS))
    elif run.local(source) is None:
        row = known._replace(host=origin, confirmed_ns=run.now, identity=identity)
        run.locate(source, row)


def take_hint(run: Passage, hint: Hint) -> End:
    """An endpoint's host was told, or that it is gone from there."""
    known = run.location(hint.endpoint)
    if hint.gone:
        if known is None or known.host != hint.host:
            return End("HINT_STALE")
        run.locate(hint.endpoint, None)
        return End("HINT_TAKEN")
    if hint.host == run.config.host or run.local(hint.endpoint) is not None:
        return End("HINT_STALE")
    if known is not None and known.generation > hint.generation:
        return End("HINT_STALE")
    asked_ns = known.asked_ns if known else 0
    row = Location(hint.host, run.now, asked_ns, hint.generation, hint.identity)
    run.locate(hint.endpoint, row)
    return End("HINT_TAKEN")
