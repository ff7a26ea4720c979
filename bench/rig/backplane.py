"""The path of ours: two hosts with Mizar's data path and an endpoint each.

Datapath, plumbing and sync are the agent's own; what the server would have sent are a few
entries written here. The other host counts as the network's transit switch, so the first packet
that an endpoint sends teaches the other side, and everything after it takes the direct path
without an agent that answers with HINTs.
"""

import contextlib
import os
import pathlib
import socket
from collections.abc import Iterator

from mizar.agent import mirror, plumbing, sync
from mizar.bpf import links
from mizar.datapath import host as datapath
from mizar.datapath import namespaces as netns
from mizar.datapath import pins, tables
from mizar.plan import entries
from rig import namespaces, paths

PIN_ROOT = pathlib.Path("/sys/fs/bpf")
VNI = 7
PREFIX = "10.1.0.0/24"
UNDERLAY = "10.99.0.0/24"


@contextlib.contextmanager
def mizar(run: namespaces.Namespaces, regime: str, mode: str) -> Iterator[paths.Path]:
    """Two hosts whose uplinks run in `mode` (tcx, xdp)."""
    label = f"mizar-{regime}-{mode}"
    for left_over in filter(namespaces.is_orphan, PIN_ROOT.glob(f"{namespaces.PREFIX}-*")):
        pins.remove(left_over)
    pair = paths.hosts(run, label, regime)
    with contextlib.ExitStack() as stack:
        ends = [
            stack.enter_context(_host(run, label, index, host, mode))
            for index, host in enumerate(pair)
        ]
        yield paths.Path(ends[0], ends[1], paths.ENDPOINT_ADDRESSES[1])


@contextlib.contextmanager
def _host(
    run: namespaces.Namespaces, label: str, index: int, host: str, mode: str
) -> Iterator[str]:
    """Runs the data path in namespace `host`; yields the name of its endpoint's namespace."""
    workload = run.make(f"{label}-{index}")
    pinned = pins.Pins(PIN_ROOT / f"{namespaces.PREFIX}-{os.getpid()}-{label}-{index}")
    with netns.entered(host):
        path = datapath.prepare(pinned.root, links.tcx_supported())
    try:
        with netns.entered(host):
            _settle(path, index, mode)
            _apply(path, index, workload)
        yield workload
    finally:
        with netns.entered(host):
            datapath.detach_all(pinned)
        path.close()
        pins.remove(pinned.root)


def _settle(path: datapath.Datapath, index: int, mode: str) -> None:
    """As the agent does at its start."""
    uplink = socket.if_nametoindex(paths.UPLINK)
    path.configure(paths.HOST_ADDRESSES[index], uplink, paths.UNDERLAY_MTU)
    path.settle()
    path.attach_uplink(uplink, mode)


def _apply(path: datapath.Datapath, index: int, workload: str) -> None:
    mtu = paths.UNDERLAY_MTU - tables.TUNNEL_OVERHEAD
    plumber = plumbing.Plumbing(path.pins, path.attachments, namespaces.PREFIX, mtu)
    sync.Sync(mirror.Mirror(path.maps, path.make_room), plumber).replace(_entries(index, workload))


def _entries(index: int, workload: str) -> list[entries.Entry]:
    name = f"h{index}"
    here, other = paths.HOST_ADDRESSES[index], paths.HOST_ADDRESSES[1 - index]
    endpoint = entries.EndpointEntry(
        uid=f"{workload}",
        tenant="bench",
        name=name,
        vni=VNI,
        addresses=[paths.ENDPOINT_ADDRESSES[index]],
        prefixes=[PREFIX],
        gateways=["10.1.0.1"],
        mac=paths.ENDPOINT_MACS[index],
        netns=workload,
        interface="eth0",
        identity=0,
        generation=1,
    )
    return [
        entries.HostEntry(host=name, address=here, underlay=[UNDERLAY]),
        entries.RouteEntry(vni=VNI, prefix=PREFIX, kind="switch", network=1, holders=[other]),
        endpoint,
    ]
