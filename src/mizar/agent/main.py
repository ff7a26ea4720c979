"""Starting and removing the agent: checks first, with errors that say what to do.

`run` needs root, and serves until SIGTERM or SIGINT; programs, maps, links and
interfaces stay. `cleanup` removes all that agents made under a pin path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import structlog

from mizar.agent import host, mirror, plumbing, probes, sync
from mizar.agent import uplink as uplinks
from mizar.bpf import errors, links
from mizar.datapath import host as datapath
from mizar.datapath import namespaces, netlink, pins, tables

DEFAULT_PREFIX = "mizar"

HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")

log = structlog.get_logger()


class AgentError(Exception):
    """The agent can't start; the message names what is wrong and what to do."""


def run(
    server: str,
    uplink: str,
    name: str | None = None,
    mode: str = "auto",
    pin_path: str = str(pins.DEFAULT),
    namespace_prefix: str = DEFAULT_PREFIX,
) -> None:
    """Serves until a signal. ``mode``: auto, xdp or tcx. Raises `AgentError`."""
    name = name or socket.gethostname().partition(".")[0].lower()
    with _explained(), _alone(pin_path):
        _check(server, name, mode)
        wire = uplinks.inspect(uplink)
        while _serve(server, wire, name, mode, pin_path, namespace_prefix):
            wire = uplinks.wait(uplink)


def _serve(
    server: str, wire: uplinks.Uplink, name: str, mode: str, pin_path: str, prefix: str
) -> bool:
    """Serves with this uplink; False after a signal, True once the uplink is another."""
    with contextlib.ExitStack() as open_things:
        path = open_things.enter_context(
            contextlib.closing(datapath.prepare(Path(pin_path), links.tcx_supported()))
        )
        chosen = start(path, wire, mode)
        endpoint_mtu = wire.mtu - tables.TUNNEL_OVERHEAD
        plumber = plumbing.Plumbing(path.pins, path.attachments, prefix, endpoint_mtu)
        open_things.enter_context(contextlib.closing(plumber))
        agent = _agent(name, wire, chosen, path, plumber)
        log.info("agent runs", host=name, uplink=wire.name, address=wire.address, mode=chosen)
        return asyncio.run(_until_signalled(agent, server))


def cleanup(pin_path: str = str(pins.DEFAULT)) -> None:
    """Removes attachments, interfaces, namespaces that agents made, and the pins. Repeatable.

    To be called in the host's network namespace. Raises `AgentError` while an agent runs.
    """
    with _explained(), _alone(pin_path):
        if not Path(pin_path).exists():
            return
        pinned = pins.Pins(Path(pin_path))
        pinned.make()
        datapath.detach_all(pinned)
        with netlink.Route() as route:
            found = [link for link in route.links() if plumbing.INTERFACE.fullmatch(link.name)]
            route.delete([link.number for link in found])
        for namespace in pinned.own_namespaces():
            namespaces.remove(namespace)
        pins.remove(pinned.root)


def _check(server: str, name: str, mode: str) -> None:
    if os.geteuid() != 0:
        raise AgentError("the agent loads BPF programs and makes interfaces: run it as root")
    if not re.match(r"https?://[^/]+/?$|unix:/", server):
        raise AgentError(f"server {server!r}: give http://HOST:PORT, https://... or unix:/PATH")
    if not HOST_NAME.fullmatch(name):
        raise AgentError(f"host name {name!r}: lower-case letters, digits, '-' and '.'; use --name")
    if mode not in uplinks.MODES:
        raise AgentError(f"mode {mode!r}: one of {', '.join(uplinks.MODES)}")


def start(path: datapath.Datapath, wire: uplinks.Uplink, wanted: str) -> str:
    """Sets the data path going; the uplink's mode. Raises `mizar.bpf.errors.BpfError`."""
    path.configure(wire.address, wire.ifindex, wire.mtu)
    if not path.pending:
        path.settle()
    mode = uplinks.mode_for(wire.driver, wanted)
    try:
        path.attach_uplink(wire.ifindex, mode)
    except errors.BpfError as error:
        if (wanted, mode) != ("auto", "xdp"):
            raise
        log.warning("no XDP on the uplink, so mode tcx", uplink=wire.name, reason=str(error))
        mode = "tcx"
        path.attach_uplink(wire.ifindex, mode)
    return mode


def _agent(
    name: str,
    wire: uplinks.Uplink,
    mode: str,
    path: datapath.Datapath,
    plumber: plumbing.Plumbing,
) -> host.Host:
    desired = sync.Sync(mirror.Mirror(path.maps, path.make_room), plumber)
    asking = probes.Wire(path.types, wire.address)
    probing = probes.Probes(asking, path.maps["silent_holders"])
    return host.Host(name, wire, mode, path, desired, probing)


async def _until_signalled(agent: host.Host, server: str) -> bool:
    """False after a signal, True when the agent has ended by itself."""
    task = asyncio.ensure_future(agent.run(server))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
        return True
    log.info("agent stopped; traffic goes on")
    return False


@contextlib.contextmanager
def _alone(pin_path: str) -> Iterator[None]:
    """One agent per pin path and namespace; the kernel lets go of the name with the process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(f"\0mizar-agent:{pin_path}")
        except OSError:
            raise AgentError(
                f"an agent with pin path {pin_path} runs here already: stop it first"
            ) from None
        yield


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (uplinks.UplinkError, pins.PinError, errors.BpfError, netlink.NetlinkError) as error:
        raise AgentError(str(error)) from error
