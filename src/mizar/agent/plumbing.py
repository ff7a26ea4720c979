"""Endpoints made real: namespace, veth pair, address, default route, program attached.

`Plumbing.ensure` may be repeated: what is there and right stays untouched, so
a restarted agent adopts running endpoints. Runs in the agent's one worker
thread, which steps into the workloads' namespaces and back. Rows in the maps
are not its business (`mizar.agent.sync`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import os
import re
import time
from collections.abc import Collection
from pathlib import Path

from mizar.datapath import attachments, ethtool, namespaces, netlink, pins, tables
from mizar.model import addresses
from mizar.plan import entries

IPV6_SETTINGS = Path("/proc/sys/net/ipv6/conf")
IPV6_MTU_MIN = 1280  # bytes (RFC 8200, 5)
INTERFACE = re.compile(r"mz[0-9a-f]{12}")
TX_QUEUE_PACKETS = 1000
RUNNING_WAIT_S = 5.0
RUNNING_POLL_S = 0.001
# The host's end takes more than the workload's: the kernel drops what is larger in silence, and the
# endpoint program tells the sender.
HOST_END_ROOM = 32768
MTU_MAX = 65535
GSO_MAX_BYTES = 65535 - 58  # the outer packet's length has 16 bits

# A workload's own tunnel with these offloads yields packets that can't be encapsulated again.
UNWANTED_FEATURES = ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation")


class PlumbingError(Exception):
    """An endpoint can't be plumbed; the message goes into its status."""


def interface_name(uid: str) -> str:
    """The host side's name: ``mz`` and 12 hexadecimal digits made from the uid."""
    return "mz" + hashlib.sha256(uid.encode()).hexdigest()[:12]


class Plumbing:
    """All endpoint interfaces of this host."""

    def __init__(
        self,
        pinned: pins.Pins,
        attached: attachments.Attachments,
        namespace_prefix: str,
        endpoint_mtu: int,
    ) -> None:
        self._pins = pinned
        self._attachments = attached
        self._prefix = namespace_prefix
        self._mtu = endpoint_mtu
        self._host_mtu = min(endpoint_mtu + HOST_END_ROOM, MTU_MAX)
        self._route = netlink.Route()
        self._own = set(pinned.own_namespaces())

    def close(self) -> None:
        """Gives up the netlink socket; interfaces stay."""
        self._route.close()

    def namespace_of(self, entry: entries.EndpointEntry) -> str:
        """The name of the network namespace that the workload's end goes to."""
        return entry.netns or entries.own_netns(self._prefix, entry.tenant, entry.name)

    def existing(self) -> set[str]:
        """Host-side interfaces that are there."""
        return {link.name for link in self._route.links() if INTERFACE.fullmatch(link.name)}

    def ensure(self, entry: entries.EndpointEntry) -> int:
        """Makes the endpoint's interface as declared; its host side's ifindex.

        Raises `PlumbingError`, or OSError from the kernel.
        """
        name = interface_name(entry.uid)
        if entry.netns:
            self._check(entry.netns)
        fd = self._open_namespace(self.namespace_of(entry))
        try:
            link = self._adopt(name, entry, fd) or self._create(name, entry, fd)
            self._attachments.endpoint(name, link.number)
            if not link.up:
                _ipv6_off(name)
                self._route.ask(netlink.set_up(link.number))
            with namespaces.inside(fd):
                _furnish(entry)
            if not link.up:
                _wait_until_running(self._route, name)
            return link.number
        finally:
            os.close(fd)

    def remove(self, names: Collection[str]) -> None:
        """Removes host-side interfaces (with their workload ends) and their pins, all at once."""
        links = (self._route.link(name) for name in names)
        self._route.delete([link.number for link in links if link])
        for name in names:
            self._attachments.forget(name)

    def sweep_namespaces(self, used: Collection[str]) -> None:
        """Removes the namespaces that the agent made and nobody uses any more."""
        for name in self._own.difference(used):
            namespaces.remove(name)
            self._pins.forget_namespace(name)
            self._own.discard(name)

    def _check(self, name: str) -> None:
        """A namespace that a user has named: neither the host's own nor another endpoint's."""
        if "/" in name or name in (".", ".."):
            raise PlumbingError(f"namespace {name!r} is no file name; choose another netns")
        if name.startswith(f"{self._prefix}-") and "." in name.removeprefix(self._prefix):
            raise PlumbingError(f"namespace {name} is one endpoint's own; choose another netns")
        if namespaces.is_own(name):
            raise PlumbingError(f"namespace {name} is the host's; choose another netns")

    def _open_namespace(self, name: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return namespaces.open_fd(name)
        # Marked first: a crash in between leaves a mark without a namespace, never the reverse.
        self._pins.mark_namespace(name)
        self._own.add(name)
        namespaces.create(name)
        return namespaces.open_fd(name)

    def _adopt(self, name: str, entry: entries.EndpointEntry, fd: int) -> netlink.Link | None:
        """The existing interface, if its other end is the endpoint's; a wrong one is deleted."""
        link = self._route.link(name)
        if link is None:
            return None
        with namespaces.inside(fd), netlink.Route() as route:
            peer = route.link(entry.interface)
            if peer and peer.peer == link.number and peer.mac == entry.mac.lower():
                # A workload may lower its own MTU: the host's end tells what it was given.
                if link.mtu != self._host_mtu or peer.mtu > self._mtu:
                    route.ask(netlink.set_mtu(peer.number, self._mtu))
                if link.mtu != self._host_mtu:
                    self._route.ask(netlink.set_mtu(link.number, self._host_mtu))
                return link
        self._route.delete([link.number])
        return None

    def _create(self, name: str, entry: entries.EndpointEntry, fd: int) -> netlink.Link:
        host = netlink.End(name, self._host_mtu)
        peer = netlink.End(entry.interface, self._mtu, mac=entry.mac)
        pair = netlink.veth(host, peer, fd, TX_QUEUE_PACKETS, GSO_MAX_BYTES)
        try:
            self._route.ask(pair)
        except netlink.NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            raise PlumbingError(
                f"namespace {self.namespace_of(entry)} has an interface {entry.interface} already; "
                "remove it, or declare another interface"
            ) from None
        link = self._route.link(name)
        if link is None:
            raise PlumbingError(f"interface {name} vanished while it was made; retried")
        alias = f"{entry.tenant}/{entry.name}"
        self._route.ask(netlink.set_alias(link.number, alias))
        return link


def _furnish(entry: entries.EndpointEntry) -> None:
    """Inside the workload's namespace: addresses, default routes, loopback, offloads.

    What the workload has added itself stays: of the addresses only those go that an
    agent once set.
    """
    with netlink.Route() as route:
        link, loopback = route.link(entry.interface), route.link("lo")
        if link is None or loopback is None:
            raise PlumbingError(f"interface {entry.interface} vanished while it was made; retried")
        wanted = _interfaces(entry)
        present = route.addresses(link.number)
        unwanted = {address for address, ours in present.items() if ours} - wanted
        if link.up and loopback.up and wanted <= present.keys() and not unwanted:
            return
        if addresses.of_family(entry.addresses, 6):
            _ipv6_by_hand(entry.interface)
        ethtool.features_off(entry.interface, UNWANTED_FEATURES)
        route.ask(
            *(netlink.remove_address(link.number, old) for old in sorted(unwanted)),
            netlink.set_up(loopback.number),
            netlink.set_up(link.number),
            *(netlink.add_address(link.number, new) for new in sorted(wanted - present.keys())),
            *(netlink.default_route(link.number, gateway) for gateway in entry.gateways),
            *(
                netlink.permanent_neighbour(link.number, gateway, tables.ROUTER_MAC)
                for gateway in entry.gateways
            ),
        )
        _wait_until_running(route, entry.interface)


def _wait_until_running(route: netlink.Route, name: str) -> None:
    """Until this end of a pair sends: the first to come up drops what it is to send until then.

    The kernel activates an end's queue later, in a work item; asked for the link, newer
    kernels (6.8 and on) do it at once.
    """
    deadline_s = time.monotonic() + RUNNING_WAIT_S
    while not ((link := route.link(name)) and link.running):
        if time.monotonic() > deadline_s:
            raise PlumbingError(f"interface {name} doesn't come up; retried")
        time.sleep(RUNNING_POLL_S)


def _interfaces(entry: entries.EndpointEntry) -> set[str]:
    """Addresses with the length of the on-link prefix they lie in; alone otherwise."""
    return {f"{address}/{_length(address, entry.prefixes)}" for address in entry.addresses}


def _length(address: str, prefixes: list[str]) -> int:
    parsed = ipaddress.ip_address(address)
    for prefix in map(ipaddress.ip_network, prefixes):
        if parsed in prefix:
            return prefix.prefixlen
    return parsed.max_prefixlen


def _ipv6_off(interface: str) -> None:
    """No address, no neighbour discovery from the host's side of a workload's veth."""
    with contextlib.suppress(FileNotFoundError):
        (IPV6_SETTINGS / interface / "disable_ipv6").write_text("1")


def _ipv6_by_hand(interface: str) -> None:
    """IPv6 on the workload's side, with nothing taken from router advertisements."""
    try:
        (IPV6_SETTINGS / interface / "disable_ipv6").write_text("0")
        (IPV6_SETTINGS / interface / "accept_ra").write_text("0")
    except FileNotFoundError:
        raise PlumbingError(
            f"interface {interface} can't have IPv6: its MTU is below {IPV6_MTU_MIN}, or the "
            "kernel lacks IPv6; raise the uplink's MTU, or use a network of IPv4 alone"
        ) from None
