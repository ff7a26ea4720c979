"""rtnetlink in the few sentences that Mizar says: links, addresses, default routes.

Messages are packed here (include/uapi/linux/rtnetlink.h, if_link.h); several
go in one system call. Why no library: docs/adr/0005-raw-netlink.md. A
`Route` belongs to the namespace in which it was opened.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE = 24
RTM_NEWNEIGH = 28

NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 3, 4, 5
IFLA_TXQLEN, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS = 13, 16, 18, 20
IFLA_STATS64, IFLA_GROUP, IFLA_NET_NS_FD = 23, 27, 28
IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE = 41, 58
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFA_ADDRESS, IFA_LOCAL, IFA_PROTO = 1, 2, 11
IFA_F_NODAD = 0x02
RTA_OIF, RTA_GATEWAY = 4, 5
NDA_DST, NDA_LLADDR = 1, 2

IFF_UP = 1
IF_OPER_UP = 6
NUD_PERMANENT = 0x80
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RTNH_F_ONLINK = 254, 4, 1, 4
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11

# Links about to be deleted are put here, so that one request deletes them all.
DOOMED_GROUP = 0x4D5A00FF

ADDRESS_PROTOCOL = 77  # who made an address (ip-address(8), proto): an agent, here


class NetlinkError(OSError):
    """A refused request; the message holds the kernel's own explanation when it gives one."""

    def __str__(self) -> str:
        return str(self.strerror)


class Link(NamedTuple):
    number: int
    name: str
    mac: str
    mtu: int
    up: bool
    running: bool
    """IFLA_OPERSTATE is up: what is sent leaves (RFC 2863). Asking may bring it about."""
    alias: str
    kind: str
    peer: int
    """IFLA_LINK: of a veth, the other end's index in the other end's namespace."""


class Errors(NamedTuple):
    """What an interface itself lost so far, in packets (struct rtnl_link_stats64)."""

    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class End(NamedTuple):
    """One end of a veth pair to be made; ``mac`` empty: the kernel's choice."""

    name: str
    mtu: int
    mac: str = ""
    alias: str = ""


class Message(NamedTuple):
    type: int
    flags: int
    body: bytes


def attribute(kind: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        value = struct.pack("I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, position)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found


def _ifinfo(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def _text(data: bytes | None) -> str:
    return data.rstrip(b"\0").decode() if data else ""


def _number(data: bytes | None) -> int:
    return int(struct.unpack("I", data)[0]) if data else 0


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("BxHiII", body)
    found = attributes(body[16:])
    info = attributes(found.get(IFLA_LINKINFO, b""))
    return Link(
        number=index,
        name=_text(found.get(IFLA_IFNAME)),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(found.get(IFLA_MTU)),
        up=bool(flags & IFF_UP),
        running=found.get(IFLA_OPERSTATE) == bytes([IF_OPER_UP]),
        alias=_text(found.get(IFLA_IFALIAS)),
        kind=_text(info.get(IFLA_INFO_KIND)),
        peer=_number(found.get(IFLA_LINK)),
    )


def _end(end: End, queue: int, gso: int) -> bytes:
    parts = [
        attribute(IFLA_IFNAME, end.name),
        attribute(IFLA_MTU, end.mtu),
        attribute(IFLA_TXQLEN, queue),
        attribute(IFLA_GSO_MAX_SIZE, gso),
        attribute(IFLA_GRO_MAX_SIZE, gso),
    ]
    if end.mac:
        parts.append(attribute(IFLA_ADDRESS, _mac_bytes(end.mac)))
    return b"".join(parts)


def veth(host: End, peer: End, netns_fd: int, queue: int, gso: int) -> Message:
    """Creates a veth pair, ``peer`` born inside the namespace. ``gso``: bytes of one GSO packet."""
    inner = _ifinfo() + _end(peer, queue, gso) + attribute(IFLA_NET_NS_FD, netns_fd)
    data = attribute(VETH_INFO_PEER | NLA_F_NESTED, inner)
    info = attribute(IFLA_INFO_KIND, "veth") + attribute(IFLA_INFO_DATA | NLA_F_NESTED, data)
    body = _ifinfo() + _end(host, queue, gso) + attribute(IFLA_LINKINFO | NLA_F_NESTED, info)
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def set_up(index: int) -> Message:
    return Message(RTM_NEWLINK, 0, _ifinfo(index, IFF_UP, IFF_UP))


def set_mtu(index: int, mtu: int) -> Message:
    return Message(RTM_SETLINK, 0, _ifinfo(index) + attribute(IFLA_MTU, mtu))


def set_alias(index: int, alias: str) -> Message:
    return Message(RTM_SETLINK, 0, _ifinfo(index) + attribute(IFLA_IFALIAS, alias.encode()))


def _address(kind: int, flags: int, index: int, interface: str) -> Message:
    parsed = ipaddress.ip_interface(interface)
    family, own = (socket.AF_INET, 0) if parsed.version == 4 else (socket.AF_INET6, IFA_F_NODAD)
    body = struct.pack("BBBBi", family, parsed.network.prefixlen, own, 0, index)
    packed = parsed.ip.packed
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    body += attribute(IFA_PROTO, bytes([ADDRESS_PROTOCOL]))
    return Message(kind, flags, body)


def add_address(index: int, interface: str) -> Message:
    """``interface``: ``10.0.0.5/24``. Adding what is there changes nothing.

    It bears `ADDRESS_PROTOCOL`; one of IPv6 is usable at once, with no duplicate address
    detection (RFC 4862): whoever asks knows that nobody else has it.
    """
    return _address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, interface)


def remove_address(index: int, interface: str) -> Message:
    return _address(RTM_DELADDR, 0, index, interface)


def default_route(index: int, gateway: str) -> Message:
    """Sets the namespace's default route of the gateway's family."""
    address = ipaddress.ip_address(gateway)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack(
        "BBBBBBBBI", family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, RTNH_F_ONLINK
    )
    body += attribute(RTA_GATEWAY, address.packed) + attribute(RTA_OIF, index)
    return Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)


def permanent_neighbour(index: int, address: str, mac: bytes) -> Message:
    """Says who has an on-link address, for good. Such entries don't count in the kernel's table."""
    parsed = ipaddress.ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    body = struct.pack("BxHiHBB", family, 0, index, NUD_PERMANENT, 0, 0)
    body += attribute(NDA_DST, parsed.packed) + attribute(NDA_LLADDR, mac)
    return Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


class Route:
    """A netlink socket of one namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, *messages: Message) -> None:
        """Sends all in one call and waits for every answer; raises the first refusal."""
        self._send(messages, NLM_F_ACK)
        first: NetlinkError | None = None
        answered = 0
        while answered < len(messages):
            for kind, flags, body in _split(self._socket.recv(65536)):
                if kind == NLMSG_ERROR:
                    answered += 1
                    first = first or _refusal(flags, body)
        if first:
            raise first

    def links(self) -> list[Link]:
        return [_parse_link(body) for body in self._dump(Message(RTM_GETLINK, 0, _ifinfo()))]

    def link(self, name: str) -> Link | None:
        """The link of that name in this namespace."""
        request = Message(RTM_GETLINK, 0, _ifinfo() + attribute(IFLA_IFNAME, name))
        self._send((request,), 0)
        for kind, flags, body in _split(self._socket.recv(65536)):
            if kind == RTM_NEWLINK:
                return _parse_link(body)
            error = _refusal(flags, body)
            if error and error.errno != errno.ENODEV:
                raise error
        return None

    def errors(self, name: str) -> Errors | None:
        """What the link of that name lost, if there is one."""
        request = Message(RTM_GETLINK, 0, _ifinfo() + attribute(IFLA_IFNAME, name))
        self._send((request,), 0)
        for kind, _, body in _split(self._socket.recv(65536)):
            if kind == RTM_NEWLINK:
                return Errors(*struct.unpack_from("4Q", attributes(body[16:])[IFLA_STATS64], 32))
        return None

    def addresses(self, index: int) -> dict[str, bool]:
        """Addresses of the link with prefix length, ``10.0.0.5/24``; link-local IPv6 left out.

        To each, whether `add_address` made it (unknown, so False, before kernel 5.18).
        """
        request = Message(RTM_GETADDR, 0, struct.pack("BBBBi", 0, 0, 0, 0, 0))
        found = {}
        for body in self._dump(request):
            _, bits, _, _, owner = struct.unpack_from("BBBBi", body)
            held = attributes(body[8:])
            address = ipaddress.ip_address(held.get(IFA_LOCAL) or held[IFA_ADDRESS])
            if owner == index and not (address.version == 6 and address.is_link_local):
                made = held.get(IFA_PROTO) == bytes([ADDRESS_PROTOCOL])
                found[f"{address}/{bits}"] = made
        return found

    def delete(self, indices: list[int]) -> None:
        """Deletes links, all in one go: the kernel waits 16 ms per request, not per link."""
        marked = []
        for index in indices:
            try:
                self.ask(
                    Message(RTM_SETLINK, 0, _ifinfo(index) + attribute(IFLA_GROUP, DOOMED_GROUP))
                )
                marked.append(index)
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    raise
        if marked:
            self.ask(Message(RTM_DELLINK, 0, _ifinfo() + attribute(IFLA_GROUP, DOOMED_GROUP)))

    def _send(self, messages: tuple[Message, ...], flags: int) -> None:
        packed = []
        for message in messages:
            self._sequence += 1
            packed.append(
                struct.pack(
                    "IHHII",
                    len(message.body) + 16,
                    message.type,
                    message.flags | flags | NLM_F_REQUEST,
                    self._sequence,
                    0,
                )
                + message.body
                + bytes(-len(message.body) % 4)
            )
        self._socket.send(b"".join(packed))

    def _dump(self, message: Message) -> Iterator[bytes]:
        self._send((message,), NLM_F_DUMP)
        while True:
            for kind, flags, body in _split(self._socket.recv(1 << 20)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR and (error := _refusal(flags, body)):
                    raise error
                yield body


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    while position + 16 <= len(data):
        length, kind, flags = struct.unpack_from("IHH", data, position)
        yield kind, flags, data[position + 16 : position + length]
        position += (length + 3) & ~3


def _refusal(flags: int, body: bytes) -> NetlinkError | None:
    code = -struct.unpack_from("i", body)[0]
    if code == 0:
        return None
    # With NETLINK_CAP_ACK the request's header alone is echoed (4 + 16 bytes).
    reason = _text(attributes(body[20:]).get(NLMSGERR_ATTR_MSG))
    return NetlinkError(code, reason or os.strerror(code))


class Monitor:
    """Wakes up when a link or an IPv4 address of this namespace changes; never blocks."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def deleted(self) -> list[str]:
        """Names of the links deleted since the last call (some may be missing after a flood)."""
        names: list[str] = []
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return names
            except OSError:
                continue
            gone = (body for kind, _, body in _split(data) if kind == RTM_DELLINK)
            names += [_parse_link(body).name for body in gone]
