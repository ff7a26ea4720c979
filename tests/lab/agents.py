"""Hosts, a scripted server and real agents for the agent's tests. Names carry the process id.

Two hosts share a veth as their underlay. Everything is removed at the end,
also after a failure; agents are ended by their own process ids.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
from websockets.asyncio import server

from mizar.agent import main
from mizar.datapath import namespaces, pins
from mizar.plan import entries, stream

BPFFS = Path("/sys/fs/bpf")
ADDRESSES = {"alpha": "192.0.2.1", "beta": "192.0.2.2"}
VNI = 7

_numbers = itertools.count()


def unique(word="t"):
    return f"mzt{os.getpid()}-{next(_numbers)}{word}"


def endpoint(number, **other):
    fields = {
        "uid": f"u{number}", "tenant": "blue", "name": f"e{number}", "vni": VNI,
        "addresses": [f"10.0.0.{number}"], "prefixes": ["10.0.0.0/24"], "gateways": ["10.0.0.1"],
        "mac": f"02:00:00:00:00:{number:02x}", "netns": "", "interface": "eth0",
        "identity": number, "generation": 1,
    }  # fmt: skip
    return entries.EndpointEntry(**{**fields, **other})


def dual(number, **other):
    """An endpoint of a network with both families: 10.0.0.N and fd00::N."""
    fields = {
        "addresses": [f"10.0.0.{number}", f"fd00::{number}"],
        "prefixes": ["10.0.0.0/24", "fd00::/64"],
        "gateways": ["10.0.0.1", "fd00::1"],
    }
    return endpoint(number, **{**fields, **other})


def places(number, host, network="10.0.0."):
    """An endpoint's entry for the transit switch, which is on beta."""
    return entries.SwitchEndpointEntry(VNI, f"{network}{number}", ADDRESSES[host], number, 1)


def state_of(host, *numbers):
    """A host's state: endpoints ``numbers`` on it; alpha has 10-19, beta 20-29 and the switch."""
    state = [
        entries.HostEntry(host, ADDRESSES[host], ["192.0.2.0/24"]),
        entries.RouteEntry(VNI, "10.0.0.0/24", "switch", 1, [ADDRESSES["beta"]]),
        *map(endpoint, numbers),
    ]
    if host == "beta":
        state.append(entries.SwitchNetworkEntry(VNI, "10.0.0.0/24", 1))
        state += [places(n, "alpha" if n < 20 else "beta") for n in (10, 11, 20, 21)]
    return state


@contextlib.contextmanager
def namespace(name):
    """An empty namespace, entered by the calling thread for the block."""
    namespaces.create(name)
    fd = namespaces.open_fd(name)
    try:
        with namespaces.inside(fd):
            yield
    finally:
        os.close(fd)
        namespaces.remove(name)


@contextlib.contextmanager
def pin_path():
    """A fresh pin path; what is left under it is removed, namespaces of the agent's making too."""
    root = BPFFS / unique("pins")
    try:
        yield root
    finally:
        if root.exists():
            for name in pins.Pins(root).own_namespaces():
                namespaces.remove(name)
            pins.remove(root)


def command(*words, inside=None, check=True, timeout=20):
    """Runs a command, in a namespace or here; its output."""
    prefix = ["nsenter", f"--net=/run/netns/{inside}"] if inside else []
    done = subprocess.run(
        [*prefix, *words], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


class Fleet:
    """Hosts alpha and beta, one scripted server, agents as processes."""

    def __init__(self, directory):
        self.name = unique("f")
        self.socket = Path(directory) / "server"
        self.states = {"alpha": state_of("alpha", 10, 11), "beta": state_of("beta", 20, 21)}
        self.hellos = asyncio.Queue()
        self.acks = asyncio.Queue()
        self.connections = {}
        self.processes = {}
        self.log = (Path(directory) / "log").open("w+b")

    async def __aenter__(self):
        for host in ADDRESSES:
            namespaces.create(self.host(host))
        self.join_wires()
        await self.serve()
        return self

    async def __aexit__(self, *_):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await self.stop_serving()
        for host in ADDRESSES:
            self.clean(host)
            namespaces.remove(self.host(host))
        self.log.close()

    def join_wires(self):
        """A veth between the hosts, with their addresses."""
        ends = [["netns", self.host(host), "name", "wire0"] for host in ADDRESSES]
        command("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for host, address in ADDRESSES.items():
            for words in (["addr", "add", f"{address}/24", "dev", "wire0"],
                          ["link", "set", "wire0", "up"], ["link", "set", "lo", "up"]):  # fmt: skip
                command("ip", "-n", self.host(host), *words)

    def host(self, host):
        return f"{self.name}-{host}"

    def pins(self, host):
        return BPFFS / self.host(host)

    def workload(self, number):
        return f"{self.name}-blue.e{number}"

    def clean(self, host):
        with inside(self.host(host)):
            main.cleanup(str(self.pins(host)))

    async def serve(self):
        self.server = await server.unix_serve(self._talk, str(self.socket))

    async def stop_serving(self):
        self.server.close()
        await self.server.wait_closed()

    async def _talk(self, connection):
        hello = msgspec.msgpack.decode(await connection.recv(), type=stream.FromAgent)
        await self.hellos.put(hello)
        self.connections[hello.host] = connection
        await self.send(hello.host, 1, snapshot=True, upserts=self.states[hello.host])
        with contextlib.suppress(Exception):
            async for frame in connection:
                ack = msgspec.msgpack.decode(frame, type=stream.FromAgent)
                await self.acks.put((hello.host, ack))

    async def send(self, host, revision, **change):
        message = stream.Update("life-1", revision, **change)
        await self.connections[host].send(msgspec.msgpack.encode(message))

    async def acknowledged(self, host, revision, failures=0):
        """Waits for the host's acknowledgement with that many failures."""
        try:
            async with asyncio.timeout(15):
                while True:
                    who, ack = await self.acks.get()
                    if (who, ack.revision, len(ack.failures)) == (host, revision, failures):
                        return ack
        except TimeoutError:
            self.log.seek(0)
            raise AssertionError(f"no acknowledgement; agents say {self.log.read()}") from None

    async def start(self, host, mode="auto"):
        """Starts the host's agent and waits until its snapshot is applied."""
        code = (
            "import sys; from mizar.agent import main; "
            "main.run(*sys.argv[1:5], pin_path=sys.argv[5], namespace_prefix=sys.argv[6])"
        )
        self.processes[host] = await asyncio.create_subprocess_exec(
            "nsenter", f"--net=/run/netns/{self.host(host)}", sys.executable, "-c", code,
            f"unix:{self.socket}", "wire0", host, mode, str(self.pins(host)), self.name,
            stdout=self.log, stderr=self.log,
        )  # fmt: skip
        await self.acknowledged(host, 1)

    async def stop(self, host, number=signal.SIGTERM):
        process = self.processes.pop(host)
        process.send_signal(number)
        return await process.wait()

    async def ping(self, source, target, count=3, interval="0.05", network="10.0.0."):
        """How many of ``count`` echo requests were answered."""
        words = ("ping", "-q", "-n", "-W", "1", "-i", interval, "-c", str(count))
        output = await asyncio.to_thread(
            command, *words, f"{network}{target}", inside=self.workload(source), check=False
        )
        return int(output.partition(" packets transmitted, ")[2].split()[0])


@contextlib.contextmanager
def inside(name):
    """The calling thread steps into an existing namespace for the block."""
    fd = namespaces.open_fd(name)
    try:
        with namespaces.inside(fd):
            yield
    finally:
        os.close(fd)
