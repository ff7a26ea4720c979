"""Runs an XDP program on true packets, many times in one system call (see restore.bpf.c).

A transit host in a namespace of its own, its uplink's other end a sink that counts and drops.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mizar.bpf import links, maps, objects, programs
from mizar.datapath import namespaces as setns
from mizar.datapath import tables
from rig import compiled, namespaces, packets, paths

SEQUENCE = 1 << 20
VNI = 7
NEXT_HOSTS = [f"10.99.0.{number}" for number in range(10, 18)]


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
        """Fill the transit switch with endpoints."""
        keys = [(VNI, packets.mapped(str(ipaddress.IPv4Address(a)))) for a in addresses]
        hosts = [packets.mapped(host) for host in NEXT_HOSTS]
        places = [(hosts[a % len(hosts)], 1, 0) for a in addresses]
        self.maps["switch_endpoints"].update_batch(keys, places)

    def destine(self, sequence: int, addresses: Sequence[int]) -> None:
        """What the packets of a sequence are for, in order: SEQUENCE addresses."""
        start = sequence * SEQUENCE
        self.maps["destinations"].update_batch(range(start, start + SEQUENCE), addresses)

    def run(self, name: str, sequence: int, repeat: int, live: bool) -> float:
        """Run program `name` on `repeat` packets of a sequence; returns ns per repetition.

        live: what it transmits goes out of the uplink. Each run goes on where the last one ended.
        """
        self.maps["tested"].update(0, self.programs[name].fd)
        position = self.maps["position"]
        _, next_one = position.lookup(0) or (0, 0)
        position.update(0, (sequence, next_one))
        context = programs.XdpContext(ingress_ifindex=self._ifindex)
        with setns.inside(self._netns_fd):
            done = self.programs["restore"].test_run(_packet(), context, repeat, live_frames=live)
        return done.duration_ns

    def switched(self) -> int:
        """Packets counted as SWITCHED, on all CPUs."""
        return sum(packets for packets, _ in self.maps["counters"].lookup(self._switched) or ())

    def arrived(self) -> int:
        """Packets that came out at the far end of the wire."""
        return sum(self.maps["arrived"].lookup(0) or ())


@contextmanager
def transit_host(
    run: namespaces.Namespaces, label: str, addresses: Sequence[int]
) -> Iterator[Harness]:
    """A host that is a transit switch for `addresses`, given as numbers."""
    host, peer = paths.hosts(run, label, "wire")
    # bpf_fib_lookup refuses to ask on behalf of interfaces that don't forward.
    forward = ["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=1"]
    namespaces.run(namespaces.inside(host, forward))
    for address in (paths.HOST_ADDRESSES[1], *NEXT_HOSTS):
        namespaces.links(
            host, f"neigh add {address} lladdr {paths.HOST_MACS[1]} dev {paths.UPLINK}"
        )
    specs = [objects.shipped("uplink"), compiled.bpf("restore")]
    sizes = {"switch_endpoints": len(addresses)}
    with objects.load(specs, max_entries=sizes) as loaded, _descriptor(host) as netns_fd:
        ifindex = _configure(loaded.maps, netns_fd)
        with _descriptor(peer) as peer_fd, setns.inside(peer_fd):
            sink = links.attach_xdp(loaded.programs["sink"], socket.if_nametoindex(paths.UPLINK))
        with setns.inside(netns_fd):
            own = links.attach_xdp(loaded.programs["uplink_xdp"], ifindex)
        with sink, own:
            reasons = specs[0].types.enum("reason")
            harness = Harness(loaded, netns_fd, ifindex, reasons["REASON_SWITCHED"])
            harness.know(addresses)
            harness.maps["image"].update(0, _image(_packet()))
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


def _packet() -> bytes:
    """From the peer to this host, for nobody yet."""
    ends = paths.HOST_ADDRESSES[1], paths.HOST_ADDRESSES[0]
    macs = paths.HOST_MACS[1], paths.HOST_MACS[0]
    return packets.in_transit(VNI, ends, macs, ("10.255.255.1", "0.0.0.0"), packets.SOURCE_PORT)


def _image(packet: bytes) -> tuple[bytes, int, int, int, int, int, int, int]:
    """The fields of struct image (restore.bpf.c), read where `packets.in_transit` puts them."""
    check, source, destination = struct.unpack_from("!HII", packet, 24)
    udp_check, inner_check = struct.unpack_from("!H60xH", packet, 40)
    return (packet[:12], packet[22], 0, check, source, destination, udp_check, inner_check)


@contextmanager
def _descriptor(namespace: str) -> Iterator[int]:
    fd = setns.open_fd(namespace)
    try:
        yield fd
    finally:
        os.close(fd)
