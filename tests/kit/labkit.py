"""What the lab tests look at: counters, captured lengths, running pings, what a machine holds."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mizar.bpf import maps, objects
from mizar.bpf import pins as bpffs
from mizar.datapath import namespaces, pins
from mizar.lab import fleet

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "two-tenants.yaml"
MIZAR = str(Path(sys.executable).with_name("mizar"))
TRANSIT = ("SENT_SWITCH", "SENT_ROUTER", "SWITCHED", "ROUTED")
PLANNED = (
    "ports",
    "local",
    "routes",
    "switch_networks",
    "switch_endpoints",
    "router_networks",
    "moved",
)
WAIT_S = 10.0


def lab_name(suffix: str) -> str:
    """A name of this run's own."""
    return f"t{os.getpid()}{suffix}"


def until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout_s} s not yet: {what}"
        time.sleep(0.01)


def packets(lab: fleet.Lab, host: str) -> dict[str, int]:
    """Reason -> packets of one host."""
    return {name: count.packets for name, count in lab.counters()[host].items()}


@contextlib.contextmanager
def counted(lab: fleet.Lab, host: str = "") -> Iterator[dict[str, int]]:
    """Fills a dictionary with what the block adds to the counters of a host, or of all."""
    hosts = [host] if host else [known.name for known in lab.layout.hosts]
    before = lab.counters()
    added: dict[str, int] = {}
    yield added
    after = lab.counters()
    for name in hosts:
        for reason, count in after[name].items():
            added[reason] = added.get(reason, 0) + count.packets - before[name][reason].packets


def by_transit(added: Mapping[str, int]) -> int:
    return sum(added[reason] for reason in TRANSIT)


def mizar(lab: fleet.Lab, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """The `mizar` command, speaking to the lab's server."""
    command = [MIZAR, "--server", f"unix:{lab.layout.socket}", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def rows(lab: fleet.Lab, host: str) -> dict[str, int]:
    """Table -> number of rows on a host, of the tables that the plan fills."""
    found = {}
    specs = objects.shipped("uplink").maps | objects.shipped("endpoint").maps
    for name in PLANNED:
        with maps.open(pins.Pins(lab.pins(host)).maps / name, specs[name]) as table:
            found[name] = len(list(table.keys()))
    return found


def tracing(lab: fleet.Lab) -> list[str]:
    """Hosts on which something is being traced."""
    spec = objects.shipped("endpoint").maps["trace_filters"]
    found = []
    for host in lab.layout.hosts:
        with maps.open(pins.Pins(lab.pins(host.name)).maps / spec.name, spec) as filters:
            found += [host.name for _ in filters.items()]
    return found


def ping(lab: fleet.Lab, source: str, address: str, *options: str) -> bool:
    """One echo request, one second, no retry."""
    done = lab.run_in(lab.netns(source), ["ping", "-q", "-c", "1", "-W", "1", *options, address])
    return done.returncode == 0


class Pinging:
    """A ping of 100 packets a second beside the block; afterwards `lost` says how many got lost."""

    def __init__(self, lab: fleet.Lab, source: str, address: str) -> None:
        self._netns = lab.netns(source)
        self._address = address
        self.sent = self.lost = 0

    def __enter__(self) -> Pinging:
        with namespaces.entered(self._netns):
            self._process = subprocess.Popen(
                ["ping", "-q", "-i", "0.01", "-W", "1", self._address],
                stdout=subprocess.PIPE,
                text=True,
            )
        time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.2)
        self._process.send_signal(2)
        output, _ = self._process.communicate(timeout=WAIT_S)
        numbers = next(line for line in output.splitlines() if "transmitted" in line).split()
        self.sent, received = int(numbers[0]), int(numbers[3])
        # The last request may have been under way when ping was told to end.
        self.lost = max(self.sent - received - 1, 0)


class Capture:
    """Lengths of the IP packets that an interface sees in one direction, while the block runs."""

    def __init__(self, netns: str, interface: str, outgoing: bool) -> None:
        self.lengths: list[int] = []
        self._outgoing = outgoing
        with namespaces.entered(netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            self._socket.bind((interface, 3))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._socket], [], [], 0.05)[0]:
                continue
            data, (_, _, kind, *_) = self._socket.recvfrom(1 << 17)
            if (kind == socket.PACKET_OUTGOING) == self._outgoing:
                self.lengths.append(len(data))


def endpoint(name: str, network: str, host: str = "", tenant: str = "blue", **spec: object) -> str:
    """A manifest."""
    fields = {"network": network, "host": host, **spec}
    lines = "".join(f"  {key}: {value}\n" for key, value in fields.items() if value)
    return f"kind: Endpoint\nmetadata: {{name: {name}, tenant: {tenant}}}\nspec:\n{lines}---\n"


@contextlib.contextmanager
def applied(lab: fleet.Lab, text: str) -> Iterator[None]:
    """The manifest's resources, Ready, until the block ends."""
    lab.apply(text)
    try:
        lab.wait_ready()
        yield
    finally:
        lab.delete(text)


def tree(root: Path) -> set[str]:
    """Every path below a directory."""
    return {str(path) for path in root.rglob("*")}


def traces(word: str) -> set[str]:
    """Namespaces, pins, directories and processes of this machine with a word in their names."""
    places = (namespaces.ROOT, bpffs.ROOT, Path("/run"), Path("/var/lib"))
    found = {str(path) for place in places for path in place.glob(f"*{word}*")}
    return found | set(processes(word))


def processes(word: str) -> list[str]:
    """Command lines that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if word in line]
