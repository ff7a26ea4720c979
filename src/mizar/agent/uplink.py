"""The uplink: is it fit for use, what is its address, which mode suits its driver."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from typing import NamedTuple

import structlog

from mizar.datapath import ethtool, netlink

MODES = ("auto", "xdp", "tcx")

# XDP on these turns TSO off, so one tcx program does the whole work there.
KEEP_OFFLOADS = frozenset({"veth", "virtio_net", "tun"})

NATIVE_XDP = frozenset(
    {
        *("atlantic", "bnxt_en", "dpaa2-eth", "ena", "gve", "hv_netvsc", "i40e", "ice", "igb"),
        *("igc", "ixgbe", "ixgbevf", "mlx4_en", "mlx5_core", "mvneta", "mvpp2", "nfp", "nicvf"),
        *("qede", "sfc", "stmmac", "tsnep"),
    }
)
"""Drivers with native XDP (the kernel's drivers/net, ndo_bpf), by ethtool's name."""

MTU_MIN = 1280
WAIT_POLL_S = 0.2

log = structlog.get_logger()


class UplinkError(Exception):
    """The uplink can't be used; the message says what is wrong and what to do."""


class Uplink(NamedTuple):
    name: str
    ifindex: int
    address: str
    mtu: int
    driver: str


def mode_for(driver: str, wanted: str) -> str:
    """``xdp`` or ``tcx``: as wanted, or with ``auto`` by the driver."""
    if wanted != "auto":
        return wanted
    return "xdp" if driver in NATIVE_XDP else "tcx"


def inspect(name: str) -> Uplink:
    """The uplink as it is in this network namespace; raises `UplinkError` if it isn't usable."""
    with netlink.Route() as route:
        link = route.link(name)
        if link is None:
            known = ", ".join(sorted(found.name for found in route.links()))
            raise UplinkError(f"uplink {name}: no such interface; there are {known}")
        if not link.up:
            raise UplinkError(f"uplink {name} is down; bring it up (ip link set {name} up)")
        if link.mtu < MTU_MIN:
            raise UplinkError(f"uplink {name} has MTU {link.mtu}; at least {MTU_MIN} is needed")
        address = _address(name, route.addresses(link.number))
    return Uplink(name, link.number, address, link.mtu, ethtool.driver(name))


def found(name: str) -> Uplink | None:
    """The uplink as it is now, be it up or down; None while it can't be used."""
    with netlink.Route() as route:
        link = route.link(name)
        try:
            address = _address(name, route.addresses(link.number)) if link else ""
            driver = ethtool.driver(name) if link else ""
        except (UplinkError, OSError):
            return None
    if link is None or link.mtu < MTU_MIN:
        return None
    return Uplink(name, link.number, address, link.mtu, driver)


def wait(name: str) -> Uplink:
    """Returns when the uplink is fit for use; says once why it isn't yet."""
    told = ""
    while True:
        try:
            return inspect(name)
        except UplinkError as error:
            if str(error) != told:
                log.warning("waiting for the uplink", reason=str(error))
                told = str(error)
        time.sleep(WAIT_POLL_S)


def _address(name: str, interfaces: Iterable[str]) -> str:
    """The lowest IPv4 address: the same one every time."""
    found = [ipaddress.ip_interface(text) for text in interfaces]
    candidates = sorted(i.ip for i in found if isinstance(i, ipaddress.IPv4Interface))
    if not candidates:
        raise UplinkError(f"uplink {name} has no IPv4 address; give it its underlay address")
    return str(candidates[0])
