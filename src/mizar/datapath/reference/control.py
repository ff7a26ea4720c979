"""Control messages between hosts, and forwarding: what changes the outer packet alone."""

from __future__ import annotations

from mizar.datapath.reference import delivery, errors, transit, tunnel
from mizar.datapath.reference.constants import (
    ASK,
    ECHO,
    ECHO_COMPLETE,
    GENEVE_PORT,
    HINT,
    HINT_GONE,
    IDENTITY,
    LOOKUP,
    OUTER_TTL,
    PROBE,
    RETURNED,
    RETURNED_NUMBERS,
    TRANSIT_TTL_SHARE,
)
from mizar.datapath.reference.outcome import (
    HOST_UNREACHABLE,
    NETWORK_UNREACHABLE,
    Drop,
    End,
    Way,
)
from mizar.datapath.reference.packets import Datagram, replaced
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import NOWHERE, Address, Port
from mizar.datapath.reference.tunnel import (
    HINT_FRAME_BYTES,
    OPTIONS,
    OUTER_UDP,
    Hint,
    Option,
    Tunnelled,
    inner_packet,
)


def decide(run: Passage, arrived: Tunnelled) -> End:
    """By the first control option. Raises Drop."""
    message = arrived.message
    kind = message.kind if message else None
    if message and kind == HINT:
        return delivery.take_hint(run, tunnel.read_hint(message.body))
    if message and kind == PROBE:
        return _echo(run, arrived, message)
    if message and kind == RETURNED:
        return _returned(run, message, inner_packet(arrived))
    if kind == ASK:
        return _answer_ask(run, arrived, inner_packet(arrived).destination)
    if kind == LOOKUP:
        return _answer_lookup(run, arrived, inner_packet(arrived).destination)
    raise Drop("CONTROL_UNKNOWN")


# ---- forwarding ----


def by_tables(run: Passage, arrived: Tunnelled, destination: Address) -> End:
    """By this host's transit tables. Raises Drop."""
    reason, to = transit.tables(run, destination, arrived.port)
    return forward(run, arrived, reason, to)


def forward(run: Passage, arrived: Tunnelled, reason: str, to: Address) -> End:
    """To the next host, for TRANSIT_TTL_SHARE of the outer TTL. Raises Drop."""
    if arrived.ttl <= TRANSIT_TTL_SHARE:
        raise Drop("TRANSIT_LOOP")
    ttl = arrived.ttl - TRANSIT_TTL_SHARE
    packet = tunnel.readdressed(arrived.frame, run.config.host, to, ttl)
    return tunnel.onto_underlay(run.context, reason, to, packet)


def _sent_back(run: Passage, reason: str, frame: bytes, to: Address) -> End:
    """The frame's packet, as from this host."""
    packet = tunnel.readdressed(frame, run.config.host, to, OUTER_TTL)
    return tunnel.onto_underlay(run.context, reason, to, packet)


def told(run: Passage, reason: str, arrived: Tunnelled, to: Address, hint: Hint) -> End | None:
    """A HINT in the packet's place; None where the frame is too short for it."""
    if len(arrived.frame) < HINT_FRAME_BYTES:
        return None
    options = tunnel.hint_option(hint)
    packet = tunnel.outer(
        run.config.host, to, arrived.port, arrived.vni, options, b"", control=True
    )
    return tunnel.onto_underlay(run.context, reason, to, packet)


# ---- messages ----


def _echo(run: Passage, arrived: Tunnelled, probe: Option) -> End:
    flags = ECHO_COMPLETE if run.config.tables_complete else 0
    frame = replaced(arrived.frame, probe.at + 2, bytes([ECHO]))
    frame = replaced(frame, probe.at + 4 + 8, flags.to_bytes(4, "big"))
    ports = GENEVE_PORT.to_bytes(2, "big") + arrived.port.to_bytes(2, "big")
    frame = replaced(frame, OUTER_UDP, ports)
    return _sent_back(run, "PROBE_ANSWERED", frame, arrived.source)


def _answer_ask(run: Passage, arrived: Tunnelled, endpoint: Address) -> End:
    here, place = run.local(endpoint), run.moved(endpoint)
    if here is not None:
        hint = Hint(endpoint, run.config.host, here.generation, here.identity)
    elif place is not None:
        hint = Hint(endpoint, place.host, place.generation, place.identity)
    else:
        hint = Hint(endpoint, run.config.host, flags=HINT_GONE)
    end = told(run, "ASK_ANSWERED", arrived, arrived.source, hint)
    if end is None:
        raise Drop("TRUNCATED")
    return end


def _answer_lookup(run: Passage, arrived: Tunnelled, endpoint: Address) -> End:
    here = run.local(endpoint)
    if here is not None:
        if arrived.origin == NOWHERE:
            raise Drop("NOT_HERE")
        hint = Hint(endpoint, run.config.host, here.generation, here.identity)
        end = told(run, "LOOKUP_ANSWERED", arrived, arrived.origin, hint)
        if end is None:
            raise Drop("TRUNCATED")
        return end
    place = run.moved(endpoint)
    if place is not None:
        return forward(run, arrived, "FORWARDED", place.host)
    try:
        reason, to = transit.tables(run, endpoint, arrived.port)
    except Drop as drop:
        return _return(run, arrived, drop)
    return forward(run, arrived, reason, to)


def _return(run: Passage, arrived: Tunnelled, drop: Drop) -> End:
    """A LOOKUP that ended at a table goes back to its origin. Raises Drop where it can't."""
    first = arrived.options[0]
    if arrived.origin == NOWHERE or first.kind != IDENTITY or first.at != OPTIONS:
        raise drop
    frame = replaced(arrived.frame, first.at + 2, bytes([RETURNED]))
    number = RETURNED_NUMBERS[drop.reason]
    frame = replaced(frame, first.at + 4, number.to_bytes(4, "big"))
    return _sent_back(run, drop.reason, frame, arrived.origin)


def _returned(run: Passage, returned: Option, packet: Datagram) -> End:
    """The endpoint that sent the inner packet hears of it."""
    here = run.local(packet.source)
    port: Port | None = run.tables.ports.get(here.ifindex) if here else None
    if here is None or port is None:
        return End("RETURNED_IGNORED")
    number = int.from_bytes(returned.body, "big")
    unreachable = number == RETURNED_NUMBERS["NO_NETWORK"]
    error = NETWORK_UNREACHABLE if unreachable else HOST_UNREACHABLE
    frame = errors.tell(run, here.ifindex, port, packet, error)
    if frame is None:
        return End("RETURNED_IGNORED")
    return End("RETURNED_TOLD", Way.INTERFACE, frame, interface=here.ifindex)
