"""One host's programs and tables under test: rows in, a packet in, what came of it out.

The programs run by BPF_PROG_TEST_RUN inside a namespace of their own, in which `uplink` is a
real veth with one neighbour known (PEER) and all others not. Redirects are only noted by the
kernel here, so the outcome's packet is what would be redirected.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mizar.bpf import maps, objects, programs, ring
from mizar.datapath import namespaces

VNI = 7
OTHER_VNI = 8
HOST = "192.0.2.1"
PEER = "192.0.2.2"
STRANGER = "192.0.2.3"
SWITCH = PEER
UNDERLAY = "192.0.2.0/24"
A, B, TAP, REMOTE, FAR = "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.99", "10.0.1.5"
SUBNET = "10.0.0.0/24"
GATEWAY = "10.0.0.1"
A6, B6, TAP6, REMOTE6, FAR6 = "fd00::11", "fd00::12", "fd00::13", "fd00::99", "fd00:0:0:1::5"
SUBNET6 = "fd00::/64"
GATEWAY6 = "fd00::1"
A_MAC, B_MAC, TAP_MAC = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
ROUTER_MAC = "02:4d:5a:00:00:01"
ROUTER_LINK_LOCAL = "fe80::4d:5aff:fe00:1"
PEER_MAC = "02:00:00:00:01:02"
A_IDENTITY, A_GENERATION = 42, 3
ENDPOINT_MTU, UNDERLAY_MTU = 1442, 1500
SECOND = 1_000_000_000
START = 100 * SECOND
LOOPBACK = 1  # the interface that test_run gives a packet: A's port
SWITCH_KIND, ROUTER_KIND = 1, 2
VERDICTS = {
    "tc": {
        "PASS": programs.TC_REDIRECT,
        "ANSWERED": programs.TC_REDIRECT,
        "TAKEN": programs.TC_SHOT,
        "DROP": programs.TC_SHOT,
    },
    "xdp": {
        "PASS": programs.XDP_TX,
        "ANSWERED": programs.XDP_TX,
        "HANDED": programs.XDP_PASS,
        "TAKEN": programs.XDP_DROP,
        "DROP": programs.XDP_DROP,
    },
}

ETH_P_ALL, SO_RCVMARK = 3, 75
NAMESPACES = itertools.count()
NOT_OURS = {"tc": programs.TC_UNSPEC, "xdp": programs.XDP_PASS}


class Outcome(NamedTuple):
    """Why the packet left, the hook's return code, and the packet and metadata then."""

    reason: str
    action: int
    packet: bytes
    meta: bytes


def received(tap: socket.socket) -> tuple[int, bytes] | None:
    """The next frame and its mark; None: there is none."""
    try:
        frame, notes, _, _ = tap.recvmsg(65536, 64)
    except TimeoutError:
        return None
    ((_, _, mark),) = [note for note in notes if note[1] == socket.SO_MARK]
    return int.from_bytes(mark, sys.byteorder), frame


def mapped(text: str) -> bytes:
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def prefix(text: str) -> tuple[int, bytes]:
    network = ipaddress.ip_network(text)
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return bits, mapped(str(network.network_address))


def netmask(text: str) -> bytes:
    bits = prefix(text)[0]
    return ((1 << 128) - (1 << (128 - bits))).to_bytes(16, "big")


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


class Host:
    """The host under test. Times are the injected clock's, ns."""

    def __init__(self, loaded: objects.Collection, types: Any, netns: int, uplink: int) -> None:
        self.maps: dict[str, maps.Map] = loaded.maps
        self.types = types
        self.uplink = uplink
        self._programs = loaded.programs
        self._netns = netns
        self._names = {
            number: name.removeprefix("REASON_") for name, number in types.enum("reason").items()
        }

    def reset(self) -> None:
        """Empty tables, then the usual ones: A, B and TAP here, a switch and a router at PEER."""
        for table in self.maps.values():
            if table.spec.type in (maps.HASH, maps.LRU_HASH, maps.LPM_TRIE):
                table.delete_batch(list(table.keys()))
        self._zero_counters()
        self.traced()
        self.configure()
        if "underlay_prefixes" in self.maps:
            self.maps["underlay_prefixes"].update(prefix(UNDERLAY), 1)
        self.port()
        self.local(A, LOOPBACK, A_MAC, identity=A_IDENTITY, generation=A_GENERATION)
        self.local(B, 901, B_MAC)
        self.local(TAP, 902, TAP_MAC, kind=1)
        self.local(A6, LOOPBACK, A_MAC, identity=A_IDENTITY, generation=A_GENERATION)
        self.local(B6, 901, B_MAC)
        self.local(TAP6, 902, TAP_MAC, kind=1)
        self.route(SUBNET, SWITCH_KIND, SWITCH)
        self.route(SUBNET6, SWITCH_KIND, SWITCH)
        self.route("::/0", ROUTER_KIND, SWITCH)

    def configure(self, **changes: Any) -> None:
        config = self.maps["host_config"].spec.value.type(
            host=mapped(HOST),
            router_mac=mac(ROUTER_MAC),
            endpoint_mtu=ENDPOINT_MTU,
            uplink_ifindex=self.uplink,
            underlay_mtu=UNDERLAY_MTU,
            delivery_attached=1,
            tables_complete=1,
            tracing=0,
            netns=0,
            test_clock_ns=START,
        )
        self.maps["host_config"].update(0, config._replace(**changes))

    def port(
        self,
        subnet: str = SUBNET,
        subnet6: str = SUBNET6,
        ifindex: int = LOOPBACK,
    ) -> None:
        """A's row. subnet, subnet6: on-link prefix; empty: its network lacks the family."""
        families = (subnet, GATEWAY, A), (subnet6, GATEWAY6, A6)
        columns = [
            (prefix(text)[1], netmask(text), mapped(gateway), mapped(address))
            if text
            else (bytes(16), b"\xff" * 16, bytes(16), bytes(16))
            for text, gateway, address in families
        ]
        row = (VNI, A_IDENTITY, A_GENERATION, mac(A_MAC), 0, *columns[0], *columns[1])
        self.maps["ports"].update(ifindex, row)

    def local(
        self,
        address: str,
        ifindex: int,
        endpoint_mac: str,
        *,
        vni: int = VNI,
        kind: int = 0,
        identity: int = 0,
        generation: int = 1,
    ) -> None:
        row = (ifindex, identity, generation, mac(endpoint_mac), kind)
        self.maps["local"].update((vni, mapped(address)), row)

    def route(self, network: str, kind: int, *holders: str, table: str = "routes") -> None:
        bits, address = prefix(network)
        packed = b"".join(mapped(holder) for holder in holders).ljust(128, b"\0")
        self.maps[table].update((32 + bits, VNI, address), (kind, len(holders), 1, packed))

    def router(self, network: str, *holders: str) -> None:
        self.route(network, SWITCH_KIND, *holders, table="router_networks")

    def switch(self, network: str) -> None:
        bits, address = prefix(network)
        self.maps["switch_networks"].update((32 + bits, VNI, address), (1,))

    def switch_endpoint(self, address: str, host: str) -> None:
        self.maps["switch_endpoints"].update((VNI, mapped(address)), (mapped(host), 1, 0))

    def moved(self, address: str, host: str, generation: int = 1, identity: int = 0) -> None:
        self.maps["moved"].update((VNI, mapped(address)), (mapped(host), generation, identity))

    def silent(self, holder: str, until: int) -> None:
        self.maps["silent_holders"].update((mapped(holder),), until)

    def drops(self) -> list[tuple[tuple[int, int, str], Any]]:
        """((ifindex, VNI, reason), row) of everything dropped since the reset."""
        return [
            ((key.ifindex, key.vni, self._names[key.reason]), row)
            for key, row in self.maps["drops"].items()
        ]

    def traced(self) -> list[Any]:
        """The events of traced packets since the last call (struct trace_event)."""
        found: list[Any] = []
        codec = self.types.struct("trace_event")

        async def drain() -> None:
            reader = ring.Reader(self.maps["events"], lambda data: found.append(codec.unpack(data)))
            reader.drain()
            reader.close()

        asyncio.run(drain())
        return found

    def location(
        self,
        address: str,
        host: str,
        confirmed: int = START,
        generation: int = 0,
        asked: int = 0,
    ) -> None:
        row = (mapped(host), confirmed, asked, generation, 0)
        self.maps["locations"].update((VNI, mapped(address)), row)

    def located(self, address: str, vni: int = VNI) -> Any:
        return self.maps["locations"].lookup((vni, mapped(address)))

    def neighbour(self, address: str, address_mac: str) -> None:
        """The underlay's `address` is now at `address_mac`."""
        command = f"ip neighbour replace {address} lladdr {address_mac} dev uplink nud permanent"
        with namespaces.inside(self._netns):
            subprocess.run(command.split(), check=True, capture_output=True)

    def run(self, program: str, packet: bytes, **context: Any) -> Outcome:
        """Runs one packet; exactly one counter must have counted it, once, with its bytes."""
        self._zero_counters()
        xdp = program.endswith("xdp")
        ctx = programs.XdpContext(**context) if xdp else programs.SkContext(**context)
        if xdp:
            ctx = ctx._replace(ingress_ifindex=self.uplink)
        with namespaces.inside(self._netns):
            result = self._programs[program].test_run(packet, ctx=ctx)
        ((reason, packets, size),) = self.counted()
        assert (packets, size) == (1, len(packet))
        return Outcome(reason, result.retval, result.packet, result.ctx.meta if xdp else b"")

    @contextlib.contextmanager
    def clones(self) -> Iterator[Callable[[], list[tuple[int, bytes]]]]:
        """What test runs inside put back on their interface's ingress: (mark, frame) of each."""
        with (
            namespaces.inside(self._netns),
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap,
        ):
            tap.bind(("lo", ETH_P_ALL))
            tap.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
            tap.settimeout(0.05)
            yield lambda: list(iter(lambda: received(tap), None))

    def counted(self) -> list[tuple[str, int, int]]:
        """(reason, packets, bytes) of every counter that isn't zero."""
        sums = (
            (self._names[index], sum(c.packets for c in cpus), sum(c.bytes for c in cpus))
            for index, cpus in self.maps["counters"].items()
        )
        return [row for row in sums if row[1] or row[2]]

    def _zero_counters(self) -> None:
        counters = self.maps["counters"]
        used = [index for index, cpus in counters.items() if any(c.packets for c in cpus)]
        for index in used:
            counters.update(index, [(0, 0)] * len(counters.lookup(index)))


def built(*names: str) -> list[objects.ObjectSpec]:
    """The objects, as the sources are now."""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, root / "bpf" / "build.py"], check=True, capture_output=True)
    return [objects.shipped(name) for name in names]


@contextlib.contextmanager
def loaded_host() -> Iterator[Host]:
    """The built programs in the kernel, and a namespace to run them in; removed afterwards."""
    specs = built("endpoint", "uplink")
    small = {"switch_endpoints": 1024, "locations": 1024}
    with objects.load(specs, max_entries=small) as loaded, namespace() as (netns, uplink):
        yield Host(loaded, specs[1].types, netns, uplink)


@contextlib.contextmanager
def namespace() -> Iterator[tuple[int, int]]:
    """A namespace with an uplink in it: (its descriptor, the uplink's ifindex)."""
    name = f"mizar-packets-{os.getpid()}-{next(NAMESPACES)}"
    namespaces.create(name)
    try:
        netns = namespaces.open_fd(name)
        with namespaces.inside(netns):
            for command in (
                "ip link set lo up",
                "ip link add uplink type veth peer name wire",
                f"ip address add {HOST}/24 dev uplink",
                "ip link set uplink up",
                "ip link set wire up",
                f"ip neighbour add {PEER} lladdr {PEER_MAC} dev uplink nud permanent",
                "sysctl -qw net.ipv4.conf.lo.forwarding=1",
            ):
                subprocess.run(command.split(), check=True, capture_output=True)
            ifindex = socket.if_nametoindex("uplink")
        yield netns, ifindex
        os.close(netns)
    finally:
        namespaces.remove(name)
