"""The tunnel: outer headers and Geneve options, written and read (RFC 8926)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from mizar.datapath.reference import packets
from mizar.datapath.reference.constants import (
    BODY_BYTES,
    CONTROL_OPTIONS,
    CRITICAL,
    GENEVE_CLASS,
    GENEVE_ETHERNET,
    GENEVE_OPTIONS_MAX,
    GENEVE_PORT,
    HINT,
    HINT_GONE,
    IDENTITY,
    ORIGIN,
    OUTER_TTL,
    TRACE,
    TRANSIT_TTL_SHARE,
)
from mizar.datapath.reference.outcome import UNKNOWN_MACS, Context, Drop, End, Way
from mizar.datapath.reference.packets import (
    ETHERNET_BYTES,
    IPV4,
    UDP,
    Datagram,
    replaced,
    with_ipv4_checksum,
    word,
)
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import MAPPED, NOWHERE, Address, has_prefix

OUTER_IP = ETHERNET_BYTES
OUTER_UDP = OUTER_IP + 20
GENEVE = OUTER_UDP + 8
OPTIONS = GENEVE + 8
CONTROL_FLAG = 0x80
HINT_FRAME_BYTES = 98
PACKET_BYTES_MAX = 65535


class Hint(NamedTuple):
    """Body of an option HINT: the endpoint is at the host, or (GONE) not at it any more."""

    endpoint: Address
    host: Address
    generation: int = 0
    identity: int = 0
    flags: int = 0

    @property
    def gone(self) -> bool:
        return bool(self.flags & HINT_GONE)


class Option(NamedTuple):
    """One option of ours; `at` is its offset in the frame."""

    kind: int
    body: bytes
    at: int = 0


class Tunnelled(NamedTuple):
    """A received frame that is ours: what its outer headers and its options say."""

    frame: bytes
    source: Address
    ttl: int
    port: int
    vni: int
    control: bool
    options: tuple[Option, ...]
    inner_at: int
    end: int

    def body(self, kind: int) -> bytes | None:
        """The body of the last option of a kind."""
        return next((o.body for o in reversed(self.options) if o.kind == kind), None)

    @property
    def message(self) -> Option | None:
        """The first control option: what a control message is."""
        return next((o for o in self.options if o.kind in CONTROL_OPTIONS), None)

    @property
    def identity(self) -> int:
        return int.from_bytes(self.body(IDENTITY) or b"", "big")

    @property
    def trace(self) -> int:
        return int.from_bytes(self.body(TRACE) or b"", "big")

    @property
    def by_transit(self) -> bool:
        return self.body(ORIGIN) is not None or self.ttl <= OUTER_TTL - TRANSIT_TTL_SHARE

    @property
    def first_hop(self) -> bool:
        """Sent to a holder, and not forwarded yet."""
        return self.body(ORIGIN) is not None and self.ttl > OUTER_TTL - TRANSIT_TTL_SHARE

    @property
    def origin(self) -> Address:
        """The host that sent it first; zero where that isn't known."""
        if (origin := self.body(ORIGIN)) is not None:
            return origin
        return NOWHERE if self.by_transit else self.source


# ---- writing ----


def option(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!HBB", GENEVE_CLASS, kind, len(body) // 4) + body


def number_option(kind: int, number: int) -> bytes:
    return option(kind, number.to_bytes(4, "big"))


def hint_option(hint: Hint) -> bytes:
    body = hint.endpoint + hint.host
    return option(HINT, body + struct.pack("!III", hint.generation, hint.identity, hint.flags))


def outer(
    source: Address,
    destination: Address,
    port: int,
    vni: int,
    options: bytes,
    inner: bytes,
    *,
    control: bool = False,
    ecn: int = 0,
) -> bytes:
    """An IPv4 packet with a tunnel in it. Raises Drop TOO_BIG past what IPv4 can say."""
    size = 8 + 8 + len(options) + len(inner)
    if 20 + size > PACKET_BYTES_MAX:
        raise Drop("TOO_BIG")
    udp = struct.pack("!HHHH", port, GENEVE_PORT, size, 0)
    flags = CONTROL_FLAG if control else 0
    geneve = struct.pack("!BBHI", len(options) // 4, flags, GENEVE_ETHERNET, vni << 8)
    payload = udp + geneve + options + inner
    return packets.ipv4(source, destination, UDP, payload, ttl=OUTER_TTL, tos=ecn)


def next_hop(context: Context, to: Address) -> bytes | None:
    """The MACs of frames to a host. The underlay is IPv4: four bytes of its address count."""
    return context.next_hops.get(MAPPED + to[12:])


def onto_underlay(context: Context, reason: str, to: Address, packet: bytes) -> End:
    """An outer IP packet leaves; the kernel, or in XDP what it said, gives the MACs."""
    macs = next_hop(context, to) or UNKNOWN_MACS
    frame = macs + IPV4.to_bytes(2, "big") + packet
    return End(reason, Way.UNDERLAY, frame, to)


def readdressed(frame: bytes, source: Address, destination: Address, ttl: int) -> bytes:
    """The outer packet of a frame, with other addresses and TTL: all that forwarding rewrites."""
    packet = replaced(frame[OUTER_IP:], 12, source[12:] + destination[12:])
    packet = replaced(packet, 8, bytes([ttl]))
    return replaced(with_ipv4_checksum(packet), 20 + 6, bytes(2))


# ---- reading ----


def read(run: Passage, frame: bytes) -> Tunnelled | None:
    """What arrived, or None where it isn't ours. Raises Drop where it is ours and wrong."""
    if not _is_ours(run, frame):
        return None
    _check_outer(run, frame)
    total = word(frame, OUTER_IP + 2)
    end = OUTER_IP + total
    version_length, flags, protocol = frame[GENEVE], frame[GENEVE + 1], word(frame, GENEVE + 2)
    if version_length >> 6 or protocol != GENEVE_ETHERNET:
        raise Drop("GENEVE_INVALID")
    inner_at = OPTIONS + (version_length & 0x3F) * 4
    if inner_at > end:
        raise Drop("GENEVE_INVALID")
    run.vni = int.from_bytes(frame[GENEVE + 4 : GENEVE + 7], "big")
    return Tunnelled(
        frame=frame,
        source=MAPPED + frame[OUTER_IP + 12 : OUTER_IP + 16],
        ttl=frame[OUTER_IP + 8],
        port=word(frame, OUTER_UDP),
        vni=run.vni,
        control=bool(flags & CONTROL_FLAG),
        options=_options(run, frame, inner_at),
        inner_at=inner_at,
        end=end,
    )


def _is_ours(run: Passage, frame: bytes) -> bool:
    """Untagged, IPv4 without options, UDP to our port, no later fragment; to this host."""
    return (
        len(frame) >= GENEVE
        and not run.context.vlan
        and word(frame, 12) == IPV4
        and frame[OUTER_IP] == 0x45
        and frame[OUTER_IP + 9] == UDP
        and not word(frame, OUTER_IP + 6) & 0x1FFF
        and word(frame, OUTER_UDP + 2) == GENEVE_PORT
        and MAPPED + frame[OUTER_IP + 16 : OUTER_IP + 20] == run.config.host
    )


def _check_outer(run: Passage, frame: bytes) -> None:
    header = frame[OUTER_IP:OUTER_UDP]
    total = word(header, 2)
    if word(header, 6) & 0x2000:
        raise Drop("FRAGMENT")
    if total > len(frame) - OUTER_IP:
        raise Drop("TRUNCATED")
    if word(frame, OUTER_UDP + 4) != total - 20 or total < 36 or packets.checksum(header):
        raise Drop("MALFORMED")
    source = MAPPED + header[12:16]
    if not any(has_prefix(source, *prefix) for prefix in run.tables.underlay_prefixes):
        raise Drop("UNDERLAY_SOURCE")


def _options(run: Passage, frame: bytes, end: int) -> tuple[Option, ...]:
    """Options of ours, as they come; after TRACE the packet is traced. Raises Drop."""
    found: list[Option] = []
    at = OPTIONS
    for _ in range(GENEVE_OPTIONS_MAX):
        if at == end:
            return tuple(found)
        size = (frame[at + 3] & 0x1F) * 4
        if at + 4 + size > end:
            raise Drop("GENEVE_INVALID")
        kind, known = frame[at + 2], word(frame, at) == GENEVE_CLASS and frame[at + 2] in BODY_BYTES
        if not known and kind & CRITICAL:
            raise Drop("CRITICAL_OPTION")
        if known:
            if size != BODY_BYTES[kind]:
                raise Drop("GENEVE_INVALID")
            found.append(Option(kind, frame[at + 4 : at + 4 + size], at))
            if kind == TRACE:
                run.trace = int.from_bytes(found[-1].body, "big")
        at += 4 + size
    if at != end:
        raise Drop("GENEVE_INVALID")
    return tuple(found)


def inner_packet(arrived: Tunnelled) -> Datagram:
    """The IP packet inside. Raises Drop."""
    if arrived.inner_at + ETHERNET_BYTES > arrived.end:
        raise Drop("TRUNCATED")
    inner = arrived.frame[arrived.inner_at : arrived.end]
    packet = packets.parse(word(inner, 12), inner[ETHERNET_BYTES:], cut=arrived.control)
    if not packet.is_ipv4 and MAPPED in (packet.source[:12], packet.destination[:12]):
        raise Drop("MARTIAN")
    return packet._replace(data=arrived.frame[arrived.inner_at + ETHERNET_BYTES :])


def read_hint(body: bytes) -> Hint:
    return Hint(body[:16], body[16:32], *struct.unpack("!III", body[32:44]))
