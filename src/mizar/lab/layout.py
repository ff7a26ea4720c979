"""What a lab consists of, purely: names, addresses, directories. Nothing is made here.

    NAME-h1 ... eth0 ─┐                                   ┌─ eth0 ... NAME-h3
    NAME-h2 ... eth0 ─┴─ bridge ─ NAME-underlay ─ bridge ─┴─ eth0 ... NAME-h4
                                        │
                                  NAME-server

The underlay namespace routes between two subnets of hosts and the server's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from mizar.bpf import pins

DEFAULT = "mizar"
UPLINK = "eth0"
HOSTS_MAX = 200
SERVER_PORT = 6180
SUBNETS = (1, 2)
UNDERLAY_PREFIXES = tuple(f"198.18.{subnet}.0/24" for subnet in SUBNETS)
"""Where Geneve is accepted from. RFC 2544's range for test networks; the server is in 198.18.0."""

Mode = Literal["auto", "xdp", "tcx"]


class LabError(Exception):
    """A lab can't do what was asked; the message says why and what to do."""


class Host(NamedTuple):
    name: str
    mode: Mode
    subnet: int
    address: str

    @property
    def interface(self) -> str:
        """``address/length``, as for `ip address add`."""
        return f"{self.address}/24"

    @property
    def gateway(self) -> str:
        return gateway(self.subnet)


class Layout(msgspec.Struct, frozen=True):
    """A lab by its parameters. ``modes``: one per host; ``mtu``: the underlay's, in bytes."""

    name: str
    modes: list[Mode]
    mtu: int = 1500

    def __post_init__(self) -> None:
        # No '-' in it: namespaces of a lab are told from another's by what precedes the first.
        if not re.fullmatch(r"[a-z][a-z0-9]{0,14}", self.name):
            raise LabError(
                f"lab name {self.name!r}: give 1 to 15 lower-case letters and digits, letter first"
            )
        if not 1 <= len(self.modes) <= HOSTS_MAX:
            raise LabError(f"lab {self.name}: {len(self.modes)} hosts; give 1 to {HOSTS_MAX}")

    @property
    def hosts(self) -> list[Host]:
        """h1, h2...: the first half in the first underlay subnet, the others in the second."""
        first_half = (len(self.modes) + 1) // 2
        return [
            _host(number, mode, SUBNETS[number > first_half])
            for number, mode in enumerate(self.modes, start=1)
        ]

    @property
    def any_xdp(self) -> bool:
        return "xdp" in self.modes

    def netns(self, part: str) -> str:
        """The namespace of ``underlay``, ``server`` or a host."""
        return f"{self.name}-{part}"

    @property
    def namespaces(self) -> list[str]:
        parts = ["underlay", "server", *(host.name for host in self.hosts)]
        return [self.netns(part) for part in parts]

    @property
    def run_directory(self) -> Path:
        """Logs, records of processes, the layout itself."""
        return Path(f"/run/mizar-lab-{self.name}")

    @property
    def data_directory(self) -> Path:
        """The server's database, on a disk: a commit must cost what it costs."""
        return Path(f"/var/lib/mizar-lab-{self.name}")

    @property
    def socket(self) -> Path:
        """The server's Unix socket; the default lab's is where the CLI looks for a server."""
        directory = "mizar" if self.name == DEFAULT else f"mizar-{self.name}"
        return Path("/run", directory, "server.sock")

    @property
    def server_url(self) -> str:
        """The server as the agents reach it."""
        return f"http://{server_address()}:{SERVER_PORT}"

    @property
    def pin_directory(self) -> Path:
        return pins.ROOT / f"mizar-lab-{self.name}"


def is_lab_netns(lab: str, name: str) -> bool:
    """Whether a namespace is the lab's: a part of it, or ``LAB-HOST-TENANT.ENDPOINT``."""
    return re.fullmatch(rf"{lab}-(underlay|server|h\d+|h\d+-.+)", name) is not None


def gateway(subnet: int) -> str:
    return f"198.18.{subnet}.1"


def server_address() -> str:
    return "198.18.0.2"


def _host(number: int, mode: Mode, subnet: int) -> Host:
    return Host(f"h{number}", mode, subnet, f"198.18.{subnet}.{10 + number}")
