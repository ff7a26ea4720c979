"""ICMP errors: the packet's place is taken by news of its drop (section 1, at its end)."""

from __future__ import annotations

from mizar.datapath.reference import packets
from mizar.datapath.reference.constants import ERROR_BUDGET, ERROR_REFILL_NS, QUOTE_BYTES
from mizar.datapath.reference.outcome import IcmpError
from mizar.datapath.reference.packets import ICMP, ICMPV6, IPV4, IPV6, Datagram
from mizar.datapath.reference.passage import Passage
from mizar.datapath.reference.tables import NOWHERE, ErrorBudget, Port

IPV4_ERRORS = (3, 4, 5, 11, 12)
IPV6_INFORMATION = 128


def tell(
    run: Passage, ifindex: int, port: Port, packet: Datagram, error: IcmpError
) -> bytes | None:
    """The frame that tells an endpoint about its packet; None where it is not to be told."""
    family = port.ipv4 if packet.is_ipv4 else port.ipv6
    if packet.transport.later or is_error(packet) or family.gateway == NOWHERE:
        return None
    if not _spend(run, ifindex):
        return None
    quote = packet.data[: min(QUOTE_BYTES, packet.length)]
    if packet.is_ipv4:
        body = _message(error.ipv4, error.mtu, quote)
        body = packets.replaced(body, 2, packets.checksum(body).to_bytes(2, "big"))
        ip = packets.ipv4(family.gateway, packet.source, ICMP, body)
    else:
        body = _message(error.ipv6, error.mtu, quote)
        body = packets.over_ipv6(family.gateway, packet.source, ICMPV6, body, checksum_at=2)
        ip = packets.ipv6(family.gateway, packet.source, ICMPV6, body)
    ethertype = IPV4 if packet.is_ipv4 else IPV6
    return packets.ethernet(port.mac, run.config.router_mac, ethertype) + ip


def is_error(packet: Datagram) -> bool:
    """Whether it is an ICMP error, or an ICMP packet that doesn't say what it is."""
    if packet.transport.protocol != (ICMP if packet.is_ipv4 else ICMPV6):
        return False
    kind = packet.upper(1)
    if kind is None:
        return True
    return kind[0] in IPV4_ERRORS if packet.is_ipv4 else kind[0] < IPV6_INFORMATION


def _message(kind: tuple[int, int], mtu: int, quote: bytes) -> bytes:
    """Without its checksum; the MTU's two bytes are the last of the rest in both families."""
    return bytes(kind) + bytes(2) + mtu.to_bytes(4, "big") + quote


def _spend(run: Passage, ifindex: int) -> bool:
    """Takes a token of the endpoint's budget; False where there is none."""
    row = run.tables.error_budgets.get(ifindex, ErrorBudget(run.now, ERROR_BUDGET))
    earned = max(0, run.now - row.refilled_ns) // ERROR_REFILL_NS
    tokens = min(ERROR_BUDGET, row.tokens + earned)
    if not tokens:
        return False
    refilled_ns = row.refilled_ns + earned * ERROR_REFILL_NS
    run.error_budgets[ifindex] = ErrorBudget(refilled_ns, tokens - 1)
    return True
