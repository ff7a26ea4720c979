"""The baselines: two hosts on a wire, bare or joined by kernel VXLAN + bridge.

Every path under test gets hosts and a wire of its own, of the same making, so
that no path runs over another's programs. A wire is a veth pair in one of two
regimes: `offload` (veth's defaults: a NIC with segmentation offloads) and
`wire` (packets of MTU size on the wire, joined again by GRO).
"""

import dataclasses

from rig import namespaces

REGIMES = ("offload", "wire")
UPLINK = "eth0"
UNDERLAY_MTU = 1500
HOST_ADDRESSES = ("10.99.0.1", "10.99.0.2")
HOST_MACS = ("02:99:00:00:00:01", "02:99:00:00:00:02")
ENDPOINT_ADDRESSES = ("10.1.0.11", "10.1.0.12")
ENDPOINT_MACS = ("02:10:00:00:00:01", "02:10:00:00:00:02")

VXLAN_OVERHEAD = 50
MTU_SIZED = (
    "tso off tx off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off gso on gro on"
)


@dataclasses.dataclass(frozen=True)
class Path:
    """Where traffic starts, and the server's namespace and address."""

    client: str
    server: str
    address: str


def hosts(run: namespaces.Namespaces, label: str, regime: str) -> tuple[str, str]:
    """Two namespaces joined by a veth pair named UPLINK on both ends."""
    pair = host_names(run, label)
    for name in (f"{label}-a", f"{label}-b"):
        run.make(name)
    namespaces.links(
        pair[0],
        f"link add {UPLINK} address {HOST_MACS[0]} mtu {UNDERLAY_MTU} type veth peer name"
        f" {UPLINK} netns {pair[1]} address {HOST_MACS[1]} mtu {UNDERLAY_MTU}",
    )
    for namespace, address in zip(pair, HOST_ADDRESSES, strict=True):
        namespaces.links(namespace, f"address add {address}/24 dev {UPLINK}\nlink set {UPLINK} up")
        if regime == "wire":
            features = ["ethtool", "-K", UPLINK, *MTU_SIZED.split()]
            namespaces.run(namespaces.inside(namespace, features))
    return pair


def host_names(run: namespaces.Namespaces, label: str) -> tuple[str, str]:
    """The namespaces that `hosts` makes under this label."""
    return run.name(f"{label}-a"), run.name(f"{label}-b")


def workload(run: namespaces.Namespaces, host: str, label: str, index: int, mtu: int) -> str:
    """A namespace with the endpoint's eth0; its veth's other end is `port` on the host."""
    namespace = run.make(label)
    namespaces.links(
        host,
        f"link add port mtu {mtu} type veth peer name eth0 netns {namespace}"
        f" address {ENDPOINT_MACS[index]} mtu {mtu}",
    )
    namespaces.links(
        namespace, f"address add {ENDPOINT_ADDRESSES[index]}/24 dev eth0\nlink set eth0 up"
    )
    return namespace


def bare(run: namespaces.Namespaces, regime: str) -> Path:
    """Host to host, no tunnel."""
    client, server = hosts(run, f"bare-{regime}", regime)
    return Path(client, server, HOST_ADDRESSES[1])


def vxlan(run: namespaces.Namespaces, regime: str, name: str = "vxlan") -> Path:
    """Endpoints behind a bridge and a VXLAN device on each host.

    In flannel's form, the cheapest that the kernel offers: no learning in the VXLAN device,
    static forwarding entry, no outer UDP checksum, no detour of bridged packets over netfilter.
    """
    label = f"{name}-{regime}"
    pair = hosts(run, label, regime)
    mtu = UNDERLAY_MTU - VXLAN_OVERHEAD
    ends = [workload(run, host, f"{label}-{index}", index, mtu) for index, host in enumerate(pair)]
    for index, host in enumerate(pair):
        _tunnel(host, index, mtu)
    return Path(ends[0], ends[1], ENDPOINT_ADDRESSES[1])


def _tunnel(host: str, index: int, mtu: int) -> None:
    other = 1 - index
    namespaces.links(
        host,
        f"link add vxlan0 mtu {mtu} type vxlan id 7 dstport 4789 local {HOST_ADDRESSES[index]}"
        f" dev {UPLINK} nolearning noudpcsum\n"
        f"link add bridge0 mtu {mtu} type bridge\n"
        "link set vxlan0 master bridge0\nlink set port master bridge0\n"
        "link set port up\nlink set vxlan0 up\nlink set bridge0 up",
    )
    for address in (ENDPOINT_MACS[other], "00:00:00:00:00:00"):
        entry = f"fdb append {address} dev vxlan0 dst {HOST_ADDRESSES[other]}"
        namespaces.run(["bridge", "-n", host, *entry.split()])
    for table in ("iptables", "ip6tables", "arptables"):
        switch = f"net.bridge.bridge-nf-call-{table}=0"
        namespaces.run(namespaces.inside(host, ["sysctl", "-eqw", switch]))
