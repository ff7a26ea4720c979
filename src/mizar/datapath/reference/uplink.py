"""The uplink programs: what arrives from other hosts (sections 4 to 6).

`uplink_xdp` and `uplink_tcx` decide alike; XDP leaves to tcx what it can't do.
"""

from __future__ import annotations

import struct

from mizar.datapath.reference import control, delivery, packets, tunnel
from mizar.datapath.reference.constants import HANDOVER_MAGIC, HINT_GONE, RETURNED
from mizar.datapath.reference.outcome import Drop, End, Way
from mizar.datapath.reference.packets import ETHERNET_BYTES, Datagram, word
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tunnel import Hint, Tunnelled

HANDOVER = "<II16sII"


def run_xdp(run: Passage, frame: bytes) -> End:
    """Raises Drop."""
    arrived = tunnel.read(run, frame)
    if arrived is None:
        return End("NOT_OURS", Way.STACK, frame)
    end = _decide(run, arrived, xdp=True)
    if end.way is Way.UNDERLAY and tunnel.next_hop(run.context, end.to) is None:
        return _left_to_tcx(frame)
    return end


def run_tcx(run: Passage, frame: bytes) -> End:
    """Raises Drop."""
    handover = run.context.metadata
    stripped = len(handover) == struct.calcsize(HANDOVER) and handover[:4] == struct.pack(
        "<I", HANDOVER_MAGIC
    )
    if stripped and not run.context.vlan:
        return _deliver_stripped(run, frame)
    config = run.tables.host_config
    if stripped or (config and frame[6:12] == config.router_mac):
        raise Drop("HANDOVER_LOST")
    arrived = tunnel.read(run, frame)
    if arrived is None:
        return End("NOT_OURS", Way.STACK, frame)
    return _decide(run, arrived, xdp=False)


def _left_to_tcx(frame: bytes) -> End:
    return End("LEFT_TO_TCX", Way.TCX, frame)


def _decide(run: Passage, arrived: Tunnelled, *, xdp: bool) -> End:
    if not arrived.control:
        return _data(run, arrived, tunnel.inner_packet(arrived), xdp=xdp)
    message = arrived.message
    if xdp and message is not None and message.kind == RETURNED:
        tunnel.inner_packet(arrived)
        return _left_to_tcx(arrived.frame)
    return control.decide(run, arrived)


def _data(run: Passage, arrived: Tunnelled, packet: Datagram, *, xdp: bool) -> End:
    if arrived.first_hop:
        try:
            return control.by_tables(run, arrived, packet.destination)
        except Drop:
            pass  # "what they drop goes on here"
    here = run.local(packet.destination)
    if here is not None and xdp:
        return _strip(run, arrived, packet, here.mac)
    if here is not None:
        packet = delivery.ecn_taken_over(packet, _outer_ecn(arrived))
        delivery.learn(run, packet.source, arrived.origin, arrived.identity)
        return delivery.deliver(run, "DELIVERED", packet, here)
    place = run.moved(packet.destination)
    if place is not None:
        return control.forward(run, arrived, "FORWARDED", place.host)
    try:
        return control.by_tables(run, arrived, packet.destination)
    except Drop as drop:
        if drop.reason == "NOT_HERE" and not arrived.by_transit and not run.context.gso_size:
            gone = Hint(packet.destination, run.config.host, flags=HINT_GONE)
            end = control.told(run, "NOT_HERE", arrived, arrived.source, gone)
            if end is not None:
                return end
        raise


def _outer_ecn(arrived: Tunnelled) -> int:
    return arrived.frame[tunnel.OUTER_IP + 1] & 3


def _strip(run: Passage, arrived: Tunnelled, packet: Datagram, mac: bytes) -> End:
    """In XDP: the tunnel goes, what it said becomes metadata, GRO and tcx follow."""
    if not run.config.delivery_attached:
        return _left_to_tcx(arrived.frame)
    packet = delivery.ecn_taken_over(packet, _outer_ecn(arrived))
    metadata = struct.pack(
        HANDOVER, HANDOVER_MAGIC, run.vni, arrived.origin, arrived.identity, arrived.trace
    )
    ethernet = packets.ethernet(mac, run.config.router_mac, packet.ethertype)
    return End("STRIPPED", Way.TCX, ethernet + packet.data, metadata=metadata)


def _deliver_stripped(run: Passage, frame: bytes) -> End:
    """What XDP stripped and GRO may have joined. Raises Drop."""
    _, run.vni, origin, identity, run.trace = struct.unpack(HANDOVER, run.context.metadata)
    packet = packets.parse(word(frame, 12), frame[ETHERNET_BYTES:], cut=True)
    here = run.local(packet.destination)
    if here is None:
        raise Drop("NOT_HERE")
    delivery.learn(run, packet.source, origin, identity)
    return delivery.deliver(run, "DELIVERED", packet, here)
