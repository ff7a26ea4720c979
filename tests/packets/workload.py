"""One endpoint as its workload's kernel sees it: what a test run can't show of answers.

Endpoint A alone on a host without an uplink; its interface has neither addresses nor routes.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import backplane
import pytest
import wire

from mizar.bpf import links, objects, programs
from mizar.datapath import namespaces

PACKAGES = {
    "arping": "iputils-arping",
    "dhclient": "isc-dhcp-client",
    "rdisc6": "ndisc6",
    "udhcpc": "udhcpc",
}


class Workload(NamedTuple):
    """The namespaces of the host and of the workload, and the host's tables."""

    host: str
    netns: str
    table: backplane.Host

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of at most 20 seconds in the workload; skips where it isn't installed."""
        inside = self._inside(command)
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=20)

    @contextlib.contextmanager
    def running(self, command: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A command beside the block, ended with it; `output`: what it prints."""
        with (
            output.open("wb") as printed,
            subprocess.Popen(self._inside(command), stdout=printed, stderr=printed) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()

    def _inside(self, command: str) -> list[str]:
        words = command.split()
        if not shutil.which(words[0]):
            package = PACKAGES[words[0]]
            pytest.skip(f"{words[0]} is not installed: apt-get install {package}")
        return ["nsenter", f"--net=/run/netns/{self.netns}", *words]

    def done(self, command: str) -> str:
        """What a command printed that mustn't fail."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def link_local_ready(self) -> None:
        """Duplicate address detection of the kernel's own link-local address is over."""
        until(lambda: "fe80" in self.addresses("-tentative"), "a link-local address")

    def addresses(self, *flags: str) -> str:
        """The interface's IPv6 addresses with such flags, as `ip` prints them."""
        return self.done(" ".join(["ip -6 address show dev eth0", *flags]))

    def counted(self, reason: str) -> int:
        """How many packets left with a reason."""
        return sum(packets for name, packets, _ in self.table.counted() if name == reason)


@contextlib.contextmanager
def program() -> Iterator[objects.Collection]:
    """The endpoint program and its maps."""
    with objects.load(backplane.built("endpoint"), max_entries={"locations": 64}) as loaded:
        yield loaded


@contextlib.contextmanager
def started(loaded: objects.Collection) -> Iterator[Workload]:
    """A workload whose interface is up; it is removed afterwards."""
    prefix, made = f"mizar-workload-{os.getpid()}", []
    try:
        host, inside = (wire.namespace(f"{prefix}-{end}", made) for end in ("host", "inside"))
        table = backplane.Host(loaded, objects.shipped("endpoint").types, 0, uplink=1)
        plug(host, inside, table, loaded.programs["endpoint"])
        yield Workload(host, inside, table)
    finally:
        for name in made:
            namespaces.remove(name)


def plug(host: str, inside: str, table: backplane.Host, program: programs.Program) -> None:
    """The interface and the rows about it. Its MTU is too large: others are to say so."""
    wire.run(host, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
    wire.run(inside, "sysctl -qw net.ipv6.conf.default.accept_ra=1")
    peer = f"peer name eth0 netns {inside} address {backplane.A_MAC}"
    wire.run(host, f"ip link add outside type veth {peer}")
    with namespaces.entered(host):
        ifindex = socket.if_nametoindex("outside")
        links.attach_cls(program, ifindex, links.INGRESS)
    table.reset()
    table.configure(test_clock_ns=0)
    table.port(ifindex=ifindex)
    for address in (backplane.A, backplane.A6):
        table.local(address, ifindex, backplane.A_MAC)
    wire.run(host, "ip link set outside up")
    wire.run(inside, "ip link set eth0 up")
    for netns in (host, inside):
        wire.wait_until_running(netns)


def until(condition: Callable[[], object], what: str, timeout_s: float = 10) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"after {timeout_s} s not yet: {what}"
        time.sleep(0.05)
