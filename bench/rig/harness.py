"""Runs an XDP program on true packets, many times in one system call (see restore.bpf.c).

A transit host in a namespace of its own, its uplink's other end a sink that counts and drops.
"""

import importlib
import ipaddress
import os
import pathlib
import random
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mizar.bpf import links, maps, objects, programs
from mizar.datapath import namespaces as setns
from mizar.datapath import tables
from rig import namespaces, packets, paths

PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / "bpf"
IMAGES = 16384
VNI = 7
NEXT_HOSTS = [f"10.99.0.{number}" for number in range(10, 18)]


def build(directory: str) -> objects.ObjectSpec:
    """The harness's own object, compiled as the project's are."""
    sys.path.insert(0, str(PROGRAMS))
    compiler = importlib.import_module("build")
    compiled = compiler.build(pathlib.Path(__file__).parent, pathlib.Path(directory), PROGRAMS)
    return objects.read(compiled[0])


class Harness:
    """A transit host whose uplink program can be run; `transit_host` makes one."""

    def __init__(
        self, loaded: objects.Collection, netns_fd: int, ifindex: int, switched: int
    ) -> None:
        self.programs = loaded.programs
        self.maps = loaded.maps
        self._switched = switched
        self._netns_fd = netns_fd
        self._ifindex = ifindex

    def know(self, addresses: Sequence[int]) -> None:
        """Fill the transit switch with endpoints and the images with packets to random ones."""
        keys = [(VNI, packets.mapped(str(ipaddress.IPv4Address(a)))) for a in addresses]
        hosts = [packets.mapped(host) for host in NEXT_HOSTS]
        places = [(hosts[a % len(hosts)], 1, 0) for a in addresses]
        self.maps["switch_endpoints"].update_batch(keys, places)
        drawn = random.Random(1).choices(addresses, k=IMAGES)
        self.maps["images"].update_batch(range(IMAGES), [_image(_packet(a)) for a in drawn])

    def run(self, name: str, repeat: int, live: bool) -> float:
        """Run program `name` on the next `repeat` images; returns ns per repetition.

        live: what it transmits goes out of the uplink. Each run goes through the images in order.
        """
        self.maps["tested"].update(0, self.programs[name].fd)
        context = programs.XdpContext(ingress_ifindex=self._ifindex)
        packet = _packet(0)
        with setns.inside(self._netns_fd):
            done = self.programs["restore"].test_run(packet, context, repeat, live_frames=live)
        return done.duration_ns

    def switched(self) -> int:
        """Packets counted as SWITCHED, on all CPUs."""
        return sum(packets for packets, _ in self.maps["counters"].lookup(self._switched) or ())

    def arrived(self) -> int:
        """Packets that came out at the far end of the wire."""
        return sum(self.maps["arrived"].lookup(0) or ())


@contextmanager
def transit_host(run: namespaces.Namespaces, label: str, entries: int) -> Iterator[Harness]:
    """A host that is a transit switch for `entries` endpoints with random addresses."""
    host, peer = paths.hosts(run, label, "wire")
    # bpf_fib_lookup refuses to ask on behalf of interfaces that don't forward.
    forward = ["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=1"]
    namespaces.run(namespaces.inside(host, forward))
    for address in (paths.HOST_ADDRESSES[1], *NEXT_HOSTS):
        namespaces.links(
            host, f"neigh add {address} lladdr {paths.HOST_MACS[1]} dev {paths.UPLINK}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        specs = [objects.shipped("uplink"), build(scratch)]
    sizes = {"switch_endpoints": max(entries, 1)}
    with objects.load(specs, max_entries=sizes) as loaded, _descriptor(host) as netns_fd:
        ifindex = _configure(loaded.maps, netns_fd)
        with _descriptor(peer) as peer_fd, setns.inside(peer_fd):
            sink = links.attach_xdp(loaded.programs["sink"], socket.if_nametoindex(paths.UPLINK))
        with setns.inside(netns_fd):
            own = links.attach_xdp(loaded.programs["uplink_xdp"], ifindex)
        with sink, own:
            reasons = specs[0].types.enum("reason")
            harness = Harness(loaded, netns_fd, ifindex, reasons["REASON_SWITCHED"])
            harness.know(random.Random(2).sample(range(0x0A000000, 0x0B000000), entries))
            yield harness


def _configure(tables_of_host: dict[str, maps.Map], netns_fd: int) -> int:
    """Write what every host knows; returns the uplink's index."""
    with setns.inside(netns_fd):
        ifindex = socket.if_nametoindex(paths.UPLINK)
    mtu = paths.UNDERLAY_MTU
    tables_of_host["host_config"].update(
        0,
        (
            packets.mapped(paths.HOST_ADDRESSES[0]),
            tables.ROUTER_MAC,
            mtu - tables.TUNNEL_OVERHEAD,
            ifindex,
            mtu,
            1,  # delivery attached
            1,  # tables complete
            0,
            0,
            0,
        ),
    )
    tables_of_host["underlay_prefixes"].update(tables.prefix_bytes("10.99.0.0/24"), 1)
    return ifindex


def _packet(address: int) -> bytes:
    """From the peer to this host, for an endpoint known here."""
    ends = paths.HOST_ADDRESSES[1], paths.HOST_ADDRESSES[0]
    macs = paths.HOST_MACS[1], paths.HOST_MACS[0]
    inner = "10.255.255.1", str(ipaddress.IPv4Address(address))
    port = 49152 + address % 16384
    return packets.in_transit(VNI, ends, macs, inner, port)


def _image(packet: bytes) -> tuple[bytes, int, int, int, int, int, int, int, int, int, int]:
    """The fields of struct image (restore.bpf.c), read where `packets.in_transit` puts them."""
    check, source, destination, port = struct.unpack_from("!HIIH", packet, 24)
    udp_check, inner_check, endpoint = struct.unpack_from("!H60xH4xI", packet, 40)
    macs, ttl = packet[:12], packet[22]
    return (macs, ttl, 0, check, source, destination, port, udp_check, endpoint, inner_check, 0)


@contextmanager
def _descriptor(namespace: str) -> Iterator[int]:
    fd = setns.open_fd(namespace)
    try:
        yield fd
    finally:
        os.close(fd)
