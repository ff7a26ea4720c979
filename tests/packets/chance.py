"""Random tables and packets from a seed: small pools of addresses, so that tables are hit.

Valid, odd and malformed alike. What is made here is no oracle: it may be any bytes at all.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import comparison

from mizar.datapath.reference import constants, packets, tables
from mizar.datapath.reference.outcome import Context
from mizar.datapath.reference.tables import MAPPED, NOWHERE, address

SECOND = 1_000_000_000
START = 1000 * SECOND
VNIS = (7, 7, 7, 8)
HOST = address("192.0.2.1")
ROUTER_MAC = bytes.fromhex("024d5a000001")
MACS = [bytes.fromhex(f"0200000000{last:02x}") for last in (0x0A, 0x0B, 0x0C, 0x0D)]
OTHER_MACS = [ROUTER_MAC, b"\xff" * 6, bytes.fromhex("01005e000001"), bytes(6)]
KNOWN_HOSTS = [address(text) for text in comparison.KNOWN]
HOSTS = [
    HOST,
    *KNOWN_HOSTS,
    *KNOWN_HOSTS,
    address("192.0.2.9"),
    address(comparison.ELSEWHERE),
    address("203.0.113.1"),
]
GATEWAYS4, GATEWAYS6 = [address("10.0.0.1")], [address("fd00::1")]
POOL4 = [address(f"10.0.0.{n}") for n in (2, 3, 11, 12, 13, 14, 15)]
POOL4 += [address(text) for text in ("10.0.1.5", "10.0.1.6", "10.9.0.1")]
POOL6 = [address(f"fd00::{n}") for n in (2, 3, 11, 12, 13, 14, 15)]
POOL6 += [address(text) for text in ("fd00:0:0:1::5", "fd00:0:0:1::6", "fd09::1")]
LINK_LOCAL = address("fe80::4d:5aff:fe00:1")
ODD4 = [
    address(text)
    for text in (
        "10.0.0.1",
        "10.0.0.0",
        "10.0.0.255",
        "10.0.0.15",
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "169.254.0.1",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "8.8.8.8",
    )
]
ODD6 = [
    LINK_LOCAL,
    *(
        address(text)
        for text in (
            "fd00::1",
            "fd00::",
            "::",
            "::1",
            "ff02::1",
            "ff0e::5",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "::ffff:10.0.0.11",
            "::ffff:169.254.0.1",
            "::ffff:224.0.0.1",
            "::fffe:10.0.0.11",
            "2001:db8::1",
        )
    ),
]
PREFIXES = [
    "10.0.0.0/24",
    "10.0.0.0/28",
    "10.0.0.12/32",
    "10.0.1.0/24",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "fd00::/64",
    "fd00::12/128",
    "fd00::/16",
    "fd00:0:0:1::/64",
]
SUBNETS4 = [24, 24, 24, 28, 30, 31, 32, 0]
SUBNETS6 = [64, 64, 64, 124, 127, 128, 0]
AGES = [0, 1, 100, 200, 249, 250, 300, 499, 500, 700, 999, 1000, 1500, 90_000]
MTUS = [1442, 1442, 1442, 576, 300]


class Aim(NamedTuple):
    """What packets are made to hit: the sender's own addresses, addresses in the tables, sizes."""

    own: list[bytes]
    near: list[bytes]
    sizes: list[int]


class Chance:
    """All randomness of one table set and its packets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.some = self.random.choice
        self.below = self.random.randrange

    def likely(self, percent: int) -> bool:
        return self.random.random() * 100 < percent

    def few(self, most: int) -> range:
        return range(self.below(most + 1))

    def octets(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def word(self) -> int:
        return self.some((0, 1, 0xFFFF, self.below(0x10000)))

    def address(self) -> bytes:
        pool = POOL4 if self.likely(50) else POOL6
        return self.some(pool)

    # ---- tables ----

    def tables(self, ports: list[int], uplink: int) -> tables.Tables:
        made = tables.Tables(underlay_prefixes=self.underlay())
        if self.likely(99):
            made.host_config = self.config(uplink)
        for ifindex in ports[: 1 + self.below(len(ports))]:
            self.port(made, ifindex)
        for _ in self.few(6):
            made.local.setdefault(self.key(), self.endpoint(self.some([*ports, 901])))
        for _ in self.few(4):
            made.moved[self.key()] = self.place()
        for _ in self.few(16):
            made.locations[self.key()] = self.location()
        for _ in self.few(10):
            made.switch_endpoints[self.key()] = self.place()
        for _ in self.few(5):
            made.switch_networks[self.prefix()] = 1
            made.router_networks[self.prefix()] = self.transit_set()
        for _ in self.few(8):
            made.routes[self.prefix()] = self.transit_set()
        for vni in set(VNIS):
            self.defaults(made, vni)
        for _ in self.few(3):
            made.silent_holders[self.some(HOSTS)] = START + self.below(5) - 2
        for ifindex in ports:
            if self.likely(30):
                made.error_budgets[ifindex] = self.budget()
            if self.likely(50):
                made.trace_filters[ifindex] = self.filter()
        return made

    def defaults(self, made: tables.Tables, vni: int) -> None:
        """As a VPC has them: routers for all else; here, now and then, and of nothing."""
        everything = tables.prefix_key(vni, "::/0")
        if self.likely(70):
            router = HOST if self.likely(40) else self.some(HOSTS)
            made.routes[everything] = tables.TransitSet(constants.ROUTER, 0, (router,))
        if self.likely(40):
            made.router_networks[everything] = tables.TransitSet(constants.ROUTER, 0, ())

    def underlay(self) -> set[tuple[int, bytes]]:
        usual = {(120, address("192.0.2.0")), (120, address("198.51.100.0"))}
        odd = [{(128, address("192.0.2.2"))}, {(0, NOWHERE)}, set(), {(96, MAPPED + bytes(4))}]
        return usual if self.likely(85) else self.some(odd)

    def config(self, uplink: int) -> tables.HostConfig:
        return tables.HostConfig(
            host=HOST,
            router_mac=ROUTER_MAC,
            endpoint_mtu=self.some(MTUS),
            uplink_ifindex=uplink,
            underlay_mtu=self.some([1500, 1500, 1400, 400]),
            delivery_attached=int(self.likely(90)),
            tables_complete=int(self.likely(50)),
            tracing=int(self.likely(50)),
        )

    def port(self, made: tables.Tables, ifindex: int) -> None:
        """A port, and what it owns."""
        vni, mac = self.some(VNIS), self.some(MACS)
        identity, generation = self.below(100), self.below(5)
        four = self.family(SUBNETS4, 96, "10.0.0.0", GATEWAYS4, POOL4)
        six = self.family(SUBNETS6, 0, "fd00::", GATEWAYS6, POOL6)
        made.ports[ifindex] = tables.Port(vni, identity, generation, mac, four, six)
        owned = [own.address for own in (four, six) if own != tables.NO_FAMILY]
        owned += [self.some([*POOL4, *POOL6, *ODD4, *ODD6]) for _ in self.few(2)]
        for one in owned:
            row = tables.LocalEndpoint(ifindex, identity, generation, mac, self.below(2))
            if self.likely(95):
                made.local[vni, one] = row

    def family(
        self, sizes: list[int], more: int, base: str, gateways: list[bytes], pool: list[bytes]
    ) -> tables.Family:
        bits = self.some(sizes)
        if not bits:
            return tables.NO_FAMILY
        mask = (1 << 128) - (1 << 128 - bits - more)
        own = self.some(pool)
        around = int.from_bytes(own if self.likely(30) else address(base), "big") & mask
        return tables.Family(
            around.to_bytes(16, "big"), mask.to_bytes(16, "big"), self.some(gateways), own
        )

    def key(self) -> tuple[int, bytes]:
        return self.some(VNIS), self.address()

    def prefix(self) -> tuple[int, int, bytes]:
        return tables.prefix_key(self.some(VNIS), self.some(PREFIXES))

    def endpoint(self, ifindex: int) -> tables.LocalEndpoint:
        mac = self.some(MACS)
        return tables.LocalEndpoint(ifindex, self.below(100), self.below(5), mac, self.below(2))

    def place(self) -> tables.Place:
        return tables.Place(self.some(HOSTS), self.below(5), self.below(100))

    def transit_set(self) -> tables.TransitSet:
        holders = tuple(self.some(HOSTS) for _ in range(self.some((0, 1, 1, 1, 2, 3, 8))))
        return tables.TransitSet(self.some((1, 2)), self.below(3), holders)

    def location(self) -> tables.Location:
        confirmed, asked = (START - self.some(AGES) * 1_000_000 for _ in "ab")
        host = NOWHERE if self.likely(15) else self.some(HOSTS)
        asked = 0 if self.likely(50) else asked
        generation = 0 if self.likely(40) else self.below(5)
        return tables.Location(host, confirmed, asked, generation, self.below(100))

    def budget(self) -> tables.ErrorBudget:
        age = self.some((0, 1, 5_000_000, 9_999_999, 10_000_000, 55_000_000, SECOND))
        return tables.ErrorBudget(START - age, self.some((0, 0, 1, 5, 20)))

    def filter(self) -> tables.TraceFilter:
        return tables.TraceFilter(
            trace=self.below(5),
            protocol=self.some((0, 0, packets.UDP, packets.TCP)),
            source_port=self.some((0, 0, 4000)),
            destination_port=self.some((0, 0, 53)),
            destination=NOWHERE if self.likely(70) else self.address(),
            until_ns=START + self.some((-1, 0, 1, SECOND, 1 << 60)),
        )

    # ---- IP packets ----

    def aim(self, made: tables.Tables, vni: int, ifindex: int) -> Aim:
        """At the rows of a VPC, and what an interface owns in it."""
        places = (made.local, made.locations, made.switch_endpoints, made.moved)
        near = [key[1] for table in places for key in table if key[0] == vni]
        own = [key[1] for key, row in made.local.items() if (key[0], row.ifindex) == (vni, ifindex)]
        endpoint_mtu, underlay_mtu = made.host_config[2:5:2] if made.host_config else (1442, 1500)
        edges = (endpoint_mtu, *(underlay_mtu - outer for outer in (58, 66, 78, 86)))
        return Aim(own, near, [edge + off for edge in edges for off in (-1, 0, 1)])

    def ip(self, aim: Aim) -> tuple[int, bytes]:
        """(EtherType, packet), as a rule from the sender's own to a known address."""
        four = self.likely(50)
        pool, odd = (POOL4, ODD4) if four else (POOL6, ODD6)
        mine, near = (
            [one for one in addresses if (one[:12] == MAPPED) == four] or pool
            for addresses in aim[:2]
        )
        source = self.some(mine) if self.likely(90) else self.some(pool + odd)
        destination = self.some(near) if self.likely(50) else self.some(pool)
        if self.likely(25):
            destination = self.some((odd[0 if four else 1], *odd))
        protocol, payload = self.upper(four)
        payload = self.short(payload)
        if self.likely(20):
            payload = payload.ljust(self.some(aim.sizes) - (20 if four else 40), b"\0")
        if four:
            return packets.IPV4, self.ipv4(source, destination, protocol, payload)
        return packets.IPV6, self.ipv6(source, destination, protocol, payload)

    def short(self, payload: bytes) -> bytes:
        """Less than its header, now and then, in a packet that says so."""
        return payload if self.likely(90) else payload[: self.below(28)]

    def upper(self, four: bool) -> tuple[int, bytes]:
        """(protocol, transport header and payload)"""
        more = bytes(self.some((0, 1, 4, 8, 20, 60, 100, 130, 200, 280, 540, self.below(1500))))
        source, destination = self.some((4000, 68, 546, 67, 547)), self.some((53, 67, 547, 68, 546))
        ports = struct.pack("!HH", source, destination)
        kind = self.below(10)
        if kind < 3:
            return packets.UDP, ports + struct.pack("!HH", 8 + len(more), 0) + more
        if kind < 5:
            offset = self.some((5, 5, 6, 15, 0, self.below(16))) << 4
            return packets.TCP, ports + bytes(8) + bytes([offset, 2]) + bytes(6) + more
        if kind < 8:
            return self.icmp(four, more)
        if kind == 8:
            return packets.SCTP, ports + more
        return self.below(256), self.octets(self.below(24))

    def icmp(self, four: bool, more: bytes) -> tuple[int, bytes]:
        echo = 8 if four else 128
        kinds = (0, 3, 4, 5, 11, 12, 13) if four else (1, 2, 3, 4, 127, 129, 130, 133, 134, 136)
        kind = echo if self.likely(60) else self.some(kinds)
        code = 0 if self.likely(80) else self.below(8)
        body = bytes([kind, code]) + bytes(2) + self.octets(4) + more
        total = packets.checksum(body) if self.likely(70) else self.below(0x10000)
        protocol = packets.ICMP if four else packets.ICMPV6
        return protocol, packets.replaced(body, 2, total.to_bytes(2, "big"))

    def ipv4(self, source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
        words = 5 if self.likely(75) else 5 + self.below(11)
        options = self.octets(words * 4 - 20)
        fragment = 0x4000 if self.likely(75) else self.some((0, 0x2000, 0x2005, 0x4007, 0x1FFF))
        ttl = self.some((64, 64, 255, 2, 1, 0))
        tos = 0 if self.likely(50) else self.below(256)
        total = words * 4 + len(payload)
        head = struct.pack(
            "!BBHHHBBH", 0x40 | words, tos, total, self.word(), fragment, ttl, protocol, 0
        )
        packet = head + source[12:] + destination[12:] + options + payload
        return packets.with_ipv4_checksum(packet) if self.likely(95) else packet

    def ipv6(self, source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
        for _ in range(0 if self.likely(70) else self.below(8)):
            protocol, payload = self.extension(protocol, payload)
        hops = self.some((64, 64, 255, 255, 2, 1, 0))
        flow = 6 << 28 | (0 if self.likely(50) else self.below(1 << 28))
        head = struct.pack("!IHBB", flow, len(payload), protocol, hops)
        return head + source + destination + payload

    def extension(self, following: int, payload: bytes) -> tuple[int, bytes]:
        kind = self.some(packets.EXTENSIONS)
        if kind == packets.FRAGMENT:
            offset = self.some((0, 0, 1, 8, 9, 6, 0xFFF9))
            return kind, struct.pack("!BBHI", following, 0, offset, 7) + payload
        size = self.some((0, 0, 0, 1, 2, 20))
        octets = (size + 2) * 4 if kind == packets.AUTHENTICATION else (size + 1) * 8
        return kind, bytes([following, size]) + bytes(octets - 2) + payload

    # ---- what workloads ask their host ----

    def arp(self, own: list[bytes], mac: bytes) -> bytes:
        four = [one for one in own if one[:12] == MAPPED] or POOL4
        sender = self.some(four) if self.likely(70) else self.some([address("0.0.0.0"), *POOL4])
        target = self.some([*POOL4, *ODD4, *four])
        head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, self.some((1, 1, 1, 1, 2, 3)))
        sender_mac = mac if self.likely(95) else self.some(MACS)
        return head + sender_mac + sender[12:] + bytes(6) + target[12:] + bytes(self.some((0, 18)))

    def discovery(self, own: list[bytes]) -> bytes:
        six = [one for one in own if one[:12] != MAPPED] or POOL6
        source = self.some([*six, address("fe80::1"), NOWHERE, *POOL6[:2]])
        kind = self.some((135, 135, 135, 133, 133, 134, 136, 137))
        target = self.some([*POOL6, *ODD6, *six])
        body = bytes([kind, self.some((0, 0, 0, 0, 1))]) + bytes(6)
        body += target if kind in (135, 136) else b""
        body += bytes([1, 1]) + self.some(MACS) if self.likely(60) else b""
        protocol, body = packets.ICMPV6, self.short(body)
        if self.likely(10):
            protocol, body = self.extension(protocol, body)
        hops = self.some((255,) * 5 + (64,))
        head = struct.pack("!IHBB", 6 << 28, len(body), protocol, hops)
        return head + source + self.some((address("ff02::1"), target)) + body

    def dhcp(self, own: list[bytes], mac: bytes) -> bytes:
        four = [one for one in own if one[:12] == MAPPED] or POOL4
        source = self.some([address("0.0.0.0"), *four])
        octets = mac if self.likely(95) else self.some(MACS)
        asked = self.some([*four, *POOL4])
        head = bytes([self.some((1,) * 9 + (2,)), 1, 6, self.below(4)]) + self.octets(4)
        head += struct.pack("!HH", self.below(9), self.some((0, 0x8000, 0x1234)))
        head += self.some((bytes(4), asked[12:])) + self.octets(12) + octets
        head = (head + self.octets(10)).ljust(236, b"\0")
        cookie = bytes.fromhex("63825363") if self.likely(95) else bytes(4)
        options = [bytes([53, 1, self.some((1, 1, 3, 3, 3, 4, 7, 8))])]
        options += [bytes([50, 4]) + asked[12:]] if self.likely(50) else []
        server = self.some((GATEWAYS4[0], asked))
        options += [bytes([54, 4]) + server[12:]] if self.likely(40) else []
        options += [
            self.some((b"\0", bytes(3), bytes([12, 3]) + b"abc", self.octets(3)))
            for _ in self.few(3)
        ]
        options += [bytes(30)] if self.likely(5) else []
        self.random.shuffle(options)
        end = b"\xff" if self.likely(90) else b""
        payload = head + cookie + b"".join(options) + end + bytes(self.below(20))
        payload = payload if self.likely(95) else payload[: 230 + self.below(40)]
        udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
        return packets.ipv4(source, address("255.255.255.255"), packets.UDP, udp)

    def dhcp6(self, own: list[bytes]) -> bytes:
        six = [one for one in own if one[:12] != MAPPED] or POOL6
        source = self.some([address("fe80::1"), address("fe80::1"), *six, NOWHERE])
        client = self.octets(self.some((10, 10, 14, 1, 130, 131, 0)))
        ours = struct.pack("!HH", 3, 1) + ROUTER_MAC
        options = [struct.pack("!HH", 1, len(client)) + client] if self.likely(92) else []
        if self.likely(40):
            server = ours if self.likely(70) else self.octets(self.some((10, 4, 0, 18)))
            options.append(struct.pack("!HH", 2, len(server)) + server)
        for _ in range(self.some((0, 1, 1, 1, 2))):
            body = self.octets(12) + self.some((b"", self.octets(28), self.lease(six)))
            body = body[: self.some((99,) * 9 + (6,))]
            options.append(struct.pack("!HH", 3, len(body)) + body)
        if self.likely(30):
            options.append(struct.pack("!HH", 14, 0))
        options += [struct.pack("!HHH", self.some((6, 8, 39)), 2, 5) for _ in self.few(3)]
        if self.likely(5):
            options += [struct.pack("!HH", 99, 0)] * 15
        self.random.shuffle(options)
        kind = self.some((1, 1, 3, 3, 4, 5, 6, 11, 2, 8))
        message = self.short(bytes([kind]) + self.octets(3) + b"".join(options))
        udp = struct.pack("!HHHH", 546, 547, 8 + len(message), 0) + message
        return packets.ipv6(source, address("ff02::1:2"), packets.UDP, udp, hops=1)

    def lease(self, six: list[bytes]) -> bytes:
        """An option IAADDR, now and then of less than its 24 bytes."""
        body = (self.some([*six, *POOL6]) + bytes(8))[: self.some((24,) * 9 + (20,))]
        return struct.pack("!HH", 5, len(body)) + body

    # ---- frames ----

    def sent(self, made: tables.Tables, ifindex: int) -> bytes:
        """What comes out of a workload's interface."""
        port = made.ports.get(ifindex)
        mac, vni = (port.mac, port.vni) if port else (MACS[0], VNIS[0])
        ethertype, body = self.asked(self.aim(made, vni, ifindex), mac)
        source = mac if self.likely(97) else self.some(MACS + OTHER_MACS)
        destination = ROUTER_MAC if self.likely(93) else self.some(OTHER_MACS)
        if self.likely(3):
            ethertype = self.some((0x8100, 0x88A8, 0x88CC, packets.ARP, packets.IPV4, packets.IPV6))
        return self.spoilt(packets.ethernet(destination, source, ethertype) + body)

    def asked(self, aim: Aim, mac: bytes) -> tuple[int, bytes]:
        own = aim.own
        kinds: list[tuple[int, int, Callable[[], bytes]]] = [
            (6, packets.ARP, lambda: self.arp(own, mac)),
            (8, packets.IPV6, lambda: self.discovery(own)),
            (6, packets.IPV4, lambda: self.dhcp(own, mac)),
            (6, packets.IPV6, lambda: self.dhcp6(own)),
        ]
        at = self.below(100)
        for share, ethertype, made in kinds:
            if at < share:
                return ethertype, made()
            at -= share
        return self.ip(aim)

    def spoilt(self, frame: bytes) -> bytes:
        """As it is, as a rule; else with bytes changed, cut off or put on."""
        if self.likely(75):
            return frame
        changed = bytearray(frame)
        for _ in self.few(3):
            changed[self.below(min(len(changed), 120))] = self.some((0, 1, 255, self.below(256)))
        if self.likely(40):
            del changed[max(14, self.below(len(changed) + 1)) :]
        if self.likely(30):
            changed += bytes(self.below(40))
        return bytes(changed)

    # ---- what arrives on the uplink ----

    def arrived(self, made: tables.Tables) -> bytes:
        vni = self.some(VNIS)
        control = self.likely(40)
        options = self.options(control)
        content = b""
        if not control or self.likely(90):
            ethertype, ip = self.arriving(made, vni, cut=control)
            inner = ROUTER_MAC + ROUTER_MAC + ethertype.to_bytes(2, "big")
            content = self.spoilt(inner + ip)
        flags = (0x80 if control else 0) | (0 if self.likely(90) else self.below(128))
        version = 0 if self.likely(97) else self.below(4)
        words = len(options) // 4 if self.likely(97) else self.below(64)
        protocol = 0x6558 if self.likely(98) else self.word()
        vni_word = vni << 8 | (0 if self.likely(95) else self.below(256))
        geneve = struct.pack("!BBHI", version << 6 | words, flags, protocol, vni_word)
        return self.carried(geneve + options + content)

    def arriving(self, made: tables.Tables, vni: int, *, cut: bool) -> tuple[int, bytes]:
        """An inner packet, to an endpoint of this host as often as not."""
        here = [key[1] for key in made.local if key[0] == vni]
        aim = self.aim(made, vni, 0)
        ethertype, ip = self.ip(aim._replace(own=here if self.likely(30) else []))
        if here and self.likely(50):
            to = self.some(here)
            if ethertype == packets.IPV4 and to[:12] == MAPPED:
                ip = packets.replaced(ip, 16, to[12:])
                ip = packets.with_ipv4_checksum(ip) if self.likely(90) else ip
            elif ethertype == packets.IPV6 and to[:12] != MAPPED:
                ip = packets.replaced(ip, 24, to)
        if self.likely(3):
            ethertype = self.some((packets.ARP, packets.IPV4, packets.IPV6, 0x8100))
        return ethertype, ip[: constants.QUOTE_BYTES] if cut and self.likely(95) else ip

    def options(self, control: bool) -> bytes:
        found = [self.option(constants.IDENTITY)] if self.likely(90) else []
        found += [self.option(constants.ORIGIN)] if self.likely(45) else []
        found += [self.option(constants.TRACE)] if self.likely(15) else []
        if control:
            kinds = (*constants.CONTROL_OPTIONS, constants.HINT, constants.LOOKUP, constants.LOOKUP)
            found += [self.option(self.some(kinds)) for _ in range(self.some((1, 1, 1, 1, 2, 0)))]
        if self.likely(12):
            found += [self.odd_option() for _ in range(self.some((1, 1, 2, 8)))]
            self.random.shuffle(found)
        return b"".join(found)[:252]

    def option(self, kind: int) -> bytes:
        body = {
            constants.ORIGIN: lambda: self.some([*HOSTS, NOWHERE]),
            constants.HINT: self.hint,
            constants.RETURNED: lambda: self.below(5).to_bytes(4, "big"),
        }.get(kind, lambda: self.octets(constants.BODY_BYTES[kind]))()
        return struct.pack("!HBB", constants.GENEVE_CLASS, kind, len(body) // 4) + body

    def hint(self) -> bytes:
        numbers = (self.below(6), self.below(100), self.some((0, 0, 0, 1, 1, 2)))
        return self.address() + self.some(HOSTS) + struct.pack("!III", *numbers)

    def odd_option(self) -> bytes:
        kind = self.some((*constants.BODY_BYTES, 10, 0, 0x81, 0x84, 0x8A))
        body = bytes(4 * self.some((0, 1, 4, 11, self.below(32))))
        option_class = constants.GENEVE_CLASS if self.likely(70) else 0x0102
        length = len(body) // 4 | (0 if self.likely(80) else 0xE0)
        return struct.pack("!HBB", option_class, kind, length) + body

    def carried(self, content: bytes) -> bytes:
        """In an outer packet that is right in most cases."""
        source = self.some(HOSTS[:6]) if self.likely(95) else self.some(POOL4 + HOSTS)
        destination = HOST if self.likely(98) else self.some(HOSTS)
        ttl = self.some((64, 64, 64, 63, 49, 48, 48, 33, 32, 17, 16, 15, 0, 255))
        tos = self.some((0, 0, 1, 2, 3, 0x48))
        udp = struct.pack(
            "!HHHH",
            49152 + self.below(16384),
            constants.GENEVE_PORT if self.likely(98) else 53,
            8 + len(content),
            self.some((0, 0, 0x1234)),
        )
        packet = packets.ipv4(source, destination, packets.UDP, udp + content, ttl=ttl, tos=tos)
        if self.likely(3):
            fragment = self.some((0x2000, 0x2001, 0x0100, 0x0000)).to_bytes(2, "big")
            packet = packets.with_ipv4_checksum(packets.replaced(packet, 6, fragment))
        sender = MACS[3] if self.likely(98) else self.some((ROUTER_MAC, MACS[0]))
        ethertype = packets.IPV4 if self.likely(99) else self.word()
        frame = packets.ethernet(MACS[2], sender, ethertype) + packet
        return self.mended(self.spoilt(frame)) if self.likely(50) else frame

    def mended(self, frame: bytes) -> bytes:
        """With the outer lengths and checksum right again, as often as not."""
        if len(frame) < 42 or self.likely(50):
            return frame
        total = len(frame) - 14
        frame = packets.replaced(frame, 16, total.to_bytes(2, "big"))
        frame = packets.replaced(frame, 38, (total - 20).to_bytes(2, "big"))
        return frame[:14] + packets.with_ipv4_checksum(frame[14:])

    # ---- cases ----

    def case(self, made: tables.Tables, kernel: Any, now: int) -> comparison.Case:
        program = self.some(("endpoint", "endpoint", "uplink_xdp", "uplink_tcx"))
        gso_size = (
            0
            if program == "uplink_xdp" or self.likely(85)
            else self.some((100, 500, 1390, 1400, 1402, 1403, 1422, 1434, 1500, 9000))
        )
        if program == "endpoint":
            ifindex = self.some([*made.ports]) if self.likely(98) else self.some(kernel.ports)
            mark = (
                0
                if self.likely(85)
                else self.some((constants.MARK_LOOKUP, constants.MARK_ASK, 1, 0x4D5A1000))
            )
            context = Context(ifindex, now, mark, gso_size)
            return comparison.Case(program, made, self.sent(made, ifindex), context)
        hops = kernel.next_hops if program == "uplink_xdp" else {}
        context = Context(kernel.uplink, now, gso_size=gso_size, next_hops=hops)
        return comparison.Case(program, made, self.arrived(made), context)
