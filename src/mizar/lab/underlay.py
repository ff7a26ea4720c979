"""The lab's namespaces and links: made from a layout, and removed by name.

No process is started here, and no program of Mizar's loaded but XDP_PASS on the
underlay's ends of uplinks that run XDP: a veth transmits XDP frames only
towards a peer that has a program too. A real NIC has no such need.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from mizar.bpf import links, objects, programs
from mizar.datapath import ethtool, namespaces, netlink, pins
from mizar.lab import layout

UNFINISHED = ("tx-checksum-ip-generic",)
"""Off on every uplink of a lab with XDP in it: XDP_TX ships partial checksums as they are."""

JOINING = ("rx-gro",)
"""On there, as it is on a NIC by default: what XDP has stripped is joined again."""

SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": 1,
    "ipv6/conf/default/disable_ipv6": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv4/conf/all/accept_redirects": 0,
    "ipv4/conf/default/accept_redirects": 0,
}


def make(lab: layout.Layout) -> None:
    """Creates the namespaces, the links between them, addresses and routes."""
    for name in lab.namespaces:
        namespaces.create(name)
        _sysctls(name, forward=name == lab.netns("underlay"))
    _ip(lab.netns("underlay"), _underlay_lines(lab))
    for host in lab.hosts:
        _ip(lab.netns(host.name), _end_lines(host.interface, host.gateway))
    _ip(lab.netns("server"), _end_lines(f"{layout.server_address()}/24", layout.gateway(0)))
    if lab.any_xdp:
        _prepare_for_xdp(lab)


def remove(names: list[str]) -> None:
    """Removes namespaces by name; links and programs in them go with them."""
    for name in names:
        namespaces.remove(name)


def _underlay_lines(lab: layout.Layout) -> list[str]:
    lines = ["link set lo up"]
    for subnet in layout.SUBNETS:
        lines += _subnet_lines(subnet, lab.mtu)
    for host in lab.hosts:
        lines += [
            _veth_line(host.name, f"{layout.UPLINK} netns {lab.netns(host.name)}", lab.mtu),
            f"link set {host.name} master br{host.subnet} up",
        ]
    lines += [
        _veth_line("server", f"{layout.UPLINK} netns {lab.netns('server')}", lab.mtu),
        f"address add {layout.gateway(0)}/24 dev server",
        "link set server up",
    ]
    return lines


def _subnet_lines(subnet: int, mtu: int) -> list[str]:
    """A bridge and the router's port to it.

    The port is a veth of its own, for the kernel cuts large tunnel packets that
    it routes out of a bridge device, and leaves them whole out of a veth.
    """
    return [
        f"link add br{subnet} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0",
        f"link set br{subnet} up",
        _veth_line(f"router{subnet}", f"port{subnet}", mtu),
        f"link set port{subnet} master br{subnet} up",
        f"address add {layout.gateway(subnet)}/24 dev router{subnet}",
        f"link set router{subnet} up",
    ]


def _veth_line(name: str, peer: str, mtu: int) -> str:
    return f"link add {name} mtu {mtu} type veth peer mtu {mtu} name {peer}"


def _end_lines(interface: str, gateway: str) -> list[str]:
    return [
        "link set lo up",
        f"address add {interface} dev {layout.UPLINK}",
        f"link set {layout.UPLINK} up",
        f"route add default via {gateway}",
    ]


def _ip(netns: str, lines: list[str]) -> None:
    """Runs `ip` once for all lines; raises LabError with its words."""
    with namespaces.entered(netns):
        done = subprocess.run(
            ["ip", "-batch", "-"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise layout.LabError(f"ip -batch in namespace {netns}: {done.stderr.strip()}")


def _sysctls(netns: str, forward: bool) -> None:
    """Sets all that matters: a new namespace inherits some from the machine's own."""
    with namespaces.entered(netns):
        for name, value in {"ipv4/ip_forward": int(forward), **SYSCTLS}.items():
            path = Path("/proc/sys/net", name)
            if path.exists():
                path.write_text(str(value))


def _prepare_for_xdp(lab: layout.Layout) -> None:
    for host in lab.hosts:
        with namespaces.entered(lab.netns(host.name)):
            ethtool.features_off(layout.UPLINK, UNFINISHED)
            ethtool.features_on(layout.UPLINK, JOINING)
    kept = pins.Pins(lab.pin_directory / "underlay")
    kept.make()
    with (
        objects.load([objects.shipped("pass")]) as loaded,
        namespaces.entered(lab.netns("underlay")),
        netlink.Route() as route,
    ):
        for host in lab.hosts:
            link = route.link(host.name)
            if host.mode == "xdp" and link:
                _pass(loaded.programs["xdp_pass"], link.number, kept.links / host.name)


def _pass(program: programs.Program, ifindex: int, pin: Path) -> None:
    with links.attach_xdp(program, ifindex) as attached:
        attached.pin(pin)
