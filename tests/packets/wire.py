"""Three hosts on a wire, with static tables: for what a test run can't show.

Host 3 holds the switch of the first network and the VPC's router, host 2 the switch of the
second. Everything is named by process, and removed with the context. No agent, no server.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import backplane

from mizar.bpf import links, objects
from mizar.datapath import ethtool, namespaces

VNI = 7
NETWORKS = {"10.0.0": 3, "10.0.1": 2}
"""First three numbers of a network, and the host with its transit switch. Both families: beside
10.0.N.H an endpoint has fd00:0:0:N::H."""

PLACES = {"10.0.0.11": 1, "10.0.0.12": 2, "10.0.1.21": 1, "10.0.1.23": 3}
SIOCETHTOOL, ETHTOOL_SGRO = 0x8946, 0x2C
TUNNEL_OFFLOADS = ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")
ENDPOINT_MTU = backplane.ENDPOINT_MTU
ANY_MTU = 65535


def six(address: str) -> str:
    """The same endpoint's, network's or gateway's IPv6 address."""
    _, _, network, host = address.split(".")
    return f"fd00:0:0:{network}::{host}"


class Host(NamedTuple):
    """One host: its number, its namespace's name, and what is loaded there."""

    number: int
    netns: str
    loaded: objects.Collection
    attached: list[links.Link]

    @property
    def address(self) -> str:
        return f"192.0.2.{self.number}"


class Wire:
    """The hosts by number, and the endpoints' namespaces by address."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.hosts: dict[int, Host] = {}
        self.prefix = f"mizar-wire-{os.getpid()}-{mode}"
        self.specs = backplane.built("endpoint", "uplink", "pass")
        reasons = self.specs[1].types.enum("reason")
        self._names = {number: name.removeprefix("REASON_") for name, number in reasons.items()}

    def endpoint(self, address: str) -> str:
        return f"{self.prefix}-e{address.rpartition('.')[2]}"

    def run(self, address: str, command: str, check: bool = True) -> str:
        """Runs a command in an endpoint; returns what it printed."""
        return run(self.endpoint(address), command, check)

    def ping(self, source: str, destination: str, *options: str) -> int:
        """The number of answers to three pings."""
        words = ["ping -c 3 -i 0.02 -W 1", *options, destination]
        return self.run(source, " ".join(words), check=False).count("bytes from")

    def counters(self, number: int) -> dict[str, tuple[int, int]]:
        """(packets, bytes) by reason."""
        return {
            self._names[index]: (sum(c.packets for c in cpus), sum(c.bytes for c in cpus))
            for index, cpus in self.hosts[number].loaded.maps["counters"].items()
        }

    def transit_packets(self) -> int:
        """What all transit tables forwarded."""
        return sum(
            self.counters(number)[reason][0]
            for number in self.hosts
            for reason in ("SWITCHED", "ROUTED", "LEFT_TO_TCX")
        )

    def fill(self) -> None:
        """The tables: transit of both networks, on the hosts that NETWORKS says."""
        for host in self.hosts.values():
            prefix_row(host, "routes", "::/0", (2, 1, 0, holders(3)))
            for network, switch in NETWORKS.items():
                for whole in prefixes(network):
                    prefix_row(host, "routes", whole, (1, 1, 1, holders(switch)))
        for network, switch in NETWORKS.items():
            for whole in prefixes(network):
                prefix_row(self.hosts[switch], "switch_networks", whole, (1,))
                prefix_row(self.hosts[3], "router_networks", whole, (1, 1, 1, holders(switch)))
        prefix_row(self.hosts[3], "router_networks", "::/0", (2, 0, 0, holders()))
        for address, number in PLACES.items():
            table = self.hosts[NETWORKS[address.rpartition(".")[0]]].loaded.maps["switch_endpoints"]
            at = backplane.mapped(self.hosts[number].address)
            for one in (address, six(address)):
                table.update((VNI, backplane.mapped(one)), (at, 1, 0))

    def forget(self) -> None:
        """Every host forgets what it has learned."""
        for host in self.hosts.values():
            host.loaded.maps["locations"].delete_batch(list(host.loaded.maps["locations"].keys()))


def prefixes(network: str) -> tuple[str, str]:
    return f"{network}.0/24", f"{six(f'{network}.0')}/64"


def holders(*numbers: int) -> bytes:
    packed = b"".join(backplane.mapped(f"192.0.2.{number}") for number in numbers)
    return packed.ljust(128, b"\0")


def prefix_row(host: Host, table: str, network: str, row: tuple[Any, ...]) -> None:
    bits, address = backplane.prefix(network)
    host.loaded.maps[table].update((32 + bits, VNI, address), row)


def run(netns: str, command: str, check: bool = True) -> str:
    words = ["nsenter", f"--net=/run/netns/{netns}", *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


def transfer(
    hosts: Wire,
    source: str,
    destination: str,
    *,
    to: str = "",
    size: str = "64M",
    timeout: float = 20,
) -> None:
    """That much by TCP, to one of the destination's addresses."""
    client, server = (
        ["nsenter", f"--net=/run/netns/{hosts.endpoint(address)}", "iperf3"]
        for address in (source, destination)
    )
    with subprocess.Popen([*server, "-s", "-1"], stdout=subprocess.DEVNULL) as serving:
        try:
            time.sleep(0.3)
            words = [*client, "-c", to or destination, "-n", size]
            subprocess.run(words, check=True, timeout=timeout, stdout=subprocess.DEVNULL)
        finally:
            serving.kill()


@contextlib.contextmanager
def wired(mode: str) -> Iterator[Wire]:
    wire, made = Wire(mode), []
    try:
        with contextlib.ExitStack() as stack:
            underlay = namespace(f"{wire.prefix}-underlay", made)
            run(underlay, "ip link add name middle type bridge")
            run(underlay, "ip link set middle up")
            for number in (1, 2, 3):
                wire.hosts[number] = add_host(wire, number, underlay, made, stack)
            for address, number in PLACES.items():
                add_endpoint(wire, wire.hosts[number], address, made)
            wire.fill()
            for name in made:
                wait_until_running(name)
            yield wire
    finally:
        for name in made:
            namespaces.remove(name)


def namespace(name: str, made: list[str]) -> str:
    namespaces.create(name)
    made.append(name)
    run(name, "ip link set lo up")
    return name


def wait_until_running(netns: str) -> None:
    """An end of a veth pair drops what it is to send until the kernel has activated its queue."""
    deadline_s = time.monotonic() + 10
    while "DOWN" in (states := run(netns, "ip -brief link show up")):
        assert time.monotonic() < deadline_s, states
        time.sleep(0.01)


def add_host(
    wire: Wire,
    number: int,
    underlay: str,
    made: list[str],
    stack: contextlib.ExitStack,
) -> Host:
    netns = namespace(f"{wire.prefix}-h{number}", made)
    for command in (
        f"ip link add uplink type veth peer name p{number} netns {underlay}",
        f"ip address add 192.0.2.{number}/24 dev uplink",
        "sysctl -qw net.ipv4.conf.lo.forwarding=1 net.ipv6.conf.all.disable_ipv6=1",
        "ip link set uplink up",
    ):
        run(netns, command)
    run(underlay, f"ip link set p{number} master middle up")
    # Kernels before 6.16 empty a small LRU map whenever a CPU needs a row.
    loaded = objects.load(wire.specs, max_entries={"switch_endpoints": 64, "locations": 4096})
    stack.callback(loaded.close)
    host = Host(number, netns, loaded, [])
    stack.callback(lambda: [link.close() for link in host.attached])
    with namespaces.entered(netns):
        attach_uplink(host, wire.mode)
    if wire.mode == "xdp":
        with namespaces.entered(underlay):
            far_end = socket.if_nametoindex(f"p{number}")
            host.attached.append(links.attach_xdp(loaded.programs["xdp_pass"], far_end))
    return host


def attach_uplink(host: Host, mode: str) -> None:
    maps, programs = host.loaded.maps, host.loaded.programs
    uplink = socket.if_nametoindex("uplink")
    mac = backplane.mac(backplane.ROUTER_MAC)
    mtus = (ENDPOINT_MTU, uplink, backplane.UNDERLAY_MTU)
    maps["host_config"].update(0, (backplane.mapped(host.address), mac, *mtus, 1, 1, 0, 0, 0))
    maps["underlay_prefixes"].update(backplane.prefix(backplane.UNDERLAY), 1)
    if mode == "cls_bpf" or not links.tcx_supported():
        links.attach_cls(programs["uplink_tcx"], uplink, links.INGRESS)
    else:
        host.attached.append(links.attach_tcx(programs["uplink_tcx"], uplink, links.INGRESS))
    if mode == "xdp":
        # veth carries unfinished checksums, and joins packets only when told to.
        ethtool.features_off("uplink", ("tx-checksum-ip-generic",))
        gro_on("uplink")
        host.attached.append(links.attach_xdp(programs["uplink_xdp"], uplink))


def gro_on(interface: str) -> None:
    """ETHTOOL_SGRO (linux/ethtool.h), in this thread's namespace."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_SGRO, 1), 8)
    request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def add_endpoint(wire: Wire, host: Host, address: str, made: list[str]) -> None:
    netns, interface = namespace(wire.endpoint(address), made), f"v{address.rpartition('.')[2]}"
    network = address.rpartition(".")[0]
    run(host.netns, f"ip link add {interface} type veth peer name eth0 netns {netns}")
    with namespaces.entered(host.netns):
        ifindex = socket.if_nametoindex(interface)
        links.attach_cls(host.loaded.programs["endpoint"], ifindex, links.INGRESS)
    with namespaces.entered(netns):
        # A tunnel's packet of many segments, tunnelled again, could never be cut.
        ethtool.features_off("eth0", TUNNEL_OFFLOADS)
        mac = backplane.mac(hardware_address("eth0"))
    sizes = "gso_max_size 64000 gro_max_size 64000"
    run(netns, "sysctl -qw net.ipv6.conf.eth0.accept_ra=0")
    run(netns, f"ip address add {address}/24 dev eth0")
    run(netns, f"ip link set eth0 mtu {ENDPOINT_MTU} {sizes} up")
    # The host's end takes packets of any size, or it would drop them before we could tell why.
    run(host.netns, f"ip link set {interface} mtu {ANY_MTU} {sizes} up")
    run(netns, f"ip route add default via {network}.1")
    run(netns, f"ip -6 address add {six(address)}/64 dev eth0 nodad")
    run(netns, f"ip -6 route add default via {six(f'{network}.1')}")
    maps = host.loaded.maps
    columns = [
        (backplane.mapped(base), backplane.netmask(whole), backplane.mapped(gateway), at)
        for base, whole, gateway, at in (
            (f"{network}.0", f"{network}.0/24", f"{network}.1", backplane.mapped(address)),
            (
                six(f"{network}.0"),
                f"{six(f'{network}.0')}/64",
                six(f"{network}.1"),
                backplane.mapped(six(address)),
            ),
        )
    ]
    maps["ports"].update(ifindex, (VNI, 0, 1, mac, 0, *columns[0], *columns[1]))
    for one in (address, six(address)):
        maps["local"].update((VNI, backplane.mapped(one)), (ifindex, 0, 1, mac, 0))


def hardware_address(interface: str) -> str:
    """SIOCGIFHWADDR, in this thread's namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, 0x8927, struct.pack("256s", interface.encode()))
    return answer[18:24].hex(":")
