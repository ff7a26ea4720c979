"""The classic design, as a mode of the benchmarks alone: XDP at both ends, no GSO.

See classic.bpf.c. XDP on a veth turns its peer's segmentation offload off, so the workload's stack
cuts what it sends into MTU-size packets; what arrives is joined by GRO in the workload's veth.
"""

import contextlib
import socket
from collections.abc import Iterator

from mizar.bpf import links, objects
from mizar.datapath import namespaces as netns
from rig import compiled, namespaces, packets, paths

VNI = 7
OVERHEAD = 50


@contextlib.contextmanager
def classic(run: namespaces.Namespaces, regime: str) -> Iterator[paths.Path]:
    """Endpoints on two hosts whose uplinks and veths run classic.bpf.c."""
    label = f"classic-{regime}"
    pair = paths.hosts(run, label, regime)
    mtu = paths.UNDERLAY_MTU - OVERHEAD
    ends = [
        paths.workload(run, host, f"{label}-{index}", index, mtu) for index, host in enumerate(pair)
    ]
    specs = [compiled.bpf("classic"), objects.shipped("pass")]
    with contextlib.ExitStack() as stack:
        for index, (host, end) in enumerate(zip(pair, ends, strict=True)):
            loaded = stack.enter_context(objects.load(specs))
            _attach(loaded, host, end)
            _configure(loaded, index, host)
            _introduce(end, index)
        yield paths.Path(ends[0], ends[1], paths.ENDPOINT_ADDRESSES[1])


def _attach(loaded: objects.Collection, host: str, end: str) -> None:
    """A veth takes redirected frames only if its peer runs XDP too: hence `xdp_pass`."""
    namespaces.links(host, "link set port up")
    for namespace, interface, program in (
        (host, "port", "send"),
        (host, paths.UPLINK, "receive"),
        (end, "eth0", "xdp_pass"),
    ):
        with netns.entered(namespace):
            links.attach_xdp(loaded.programs[program], socket.if_nametoindex(interface))


def _configure(loaded: objects.Collection, index: int, host: str) -> None:
    other = 1 - index
    with netns.entered(host):
        uplink, port = (socket.if_nametoindex(name) for name in (paths.UPLINK, "port"))
    hosts = [packets.ipv4_word(paths.HOST_ADDRESSES[number]) for number in (index, other)]
    macs = b"".join(packets.mac(paths.HOST_MACS[number]) for number in (other, index))
    loaded.maps["end"].update(0, (uplink, port, *hosts, macs, VNI))


def _introduce(end: str, index: int) -> None:
    """Nothing here answers ARP, and nothing finishes a checksum that the workload leaves open."""
    other = 1 - index
    namespaces.links(
        end,
        f"neigh add {paths.ENDPOINT_ADDRESSES[other]} lladdr {paths.ENDPOINT_MACS[other]} dev eth0",
    )
    namespaces.run(namespaces.inside(end, ["ethtool", "-K", "eth0", "tx", "off", "gro", "on"]))
