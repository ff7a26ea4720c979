"""A real server process on a unix socket, its REST client, and agents that only acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time

import httpx
import msgspec
import websockets

from mizar.plan import entries, stream

WAIT_S = 10.0
HOST_DEAD_S = 1.0
RING_ENTRIES_MAX = 2000
MOVE_LINGER_S = 0.5


class Server:
    """`mizar.server.main.run` in a process of its own; ``directory`` holds store and socket."""

    def __init__(self, directory, underlay=("192.0.2.0/24",), tcp=False):
        self.directory = directory
        self.socket = f"{directory}/server.sock"
        listen = [f"unix:{self.socket}"]
        if tcp:
            port = free_port()
            listen.append(f"127.0.0.1:{port}")
            self.url = f"http://127.0.0.1:{port}"
        self.code = (
            "from mizar.cli import logs\n"
            "from mizar.server import controller, feed, main\n"
            "logs.configure()\n"
            f"controller.HOST_DEAD_S, feed.RING_ENTRIES_MAX = {HOST_DEAD_S}, {RING_ENTRIES_MAX}\n"
            f"controller.MOVE_LINGER_S = {MOVE_LINGER_S}\n"
            f"main.run({listen!r}, '{directory}/server.db', {list(underlay)!r})\n"
        )
        self.process = None

    def start(self):
        log = open(f"{self.directory}/server.log", "a")  # noqa: SIM115 - the process writes on
        self.process = subprocess.Popen([sys.executable, "-c", self.code], stderr=log)
        log.close()
        until(lambda: answers(self.socket))
        return self

    def stop(self, how=signal.SIGTERM):
        """Seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(WAIT_S)
        return time.monotonic() - began

    def client(self):
        transport = httpx.HTTPTransport(uds=self.socket)
        return httpx.Client(transport=transport, base_url="http://mizar", timeout=WAIT_S)

    def log(self):
        with open(f"{self.directory}/server.log") as log:
            return log.read()


def answers(path):
    """Whether the server behind the socket serves: it listens before it heeds signals."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(WAIT_S)
        if probe.connect_ex(path):
            return False
        probe.sendall(b"GET /v1/healthz HTTP/1.1\r\nHost: mizar\r\nConnection: close\r\n\r\n")
        return probe.recv(100).startswith(b"HTTP/1.1 200")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, wait_s=WAIT_S):
    """The first true value of ``condition``."""
    deadline = time.monotonic() + wait_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.01)


def apply(client, *documents):
    """Applies plain resources; the answer's JSON."""
    answer = client.post("/v1/apply", json={"kind": "List", "items": list(documents)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def resource(kind, name, tenant="", labels=None, **spec):
    metadata = {"name": name, "tenant": tenant, "labels": labels or {}}
    return {"apiVersion": "mizar/v1", "kind": kind, "metadata": metadata, "spec": spec}


def shop(endpoints=(), hosts=(), tenant="acme", **network):
    """A tenant with one VPC, one network and endpoints at hosts (or where it pleases)."""
    return [
        resource("Tenant", tenant),
        resource("VPC", "prod", tenant, cidrs=["10.0.0.0/16"]),
        resource("Network", "web", tenant, **{"vpc": "prod", "cidrs": ["10.0.0.0/22"]} | network),
        *(endpoint(name, host, tenant) for name, host in zip(endpoints, hosts, strict=True)),
    ]


def endpoint(name, host="", tenant="acme"):
    return resource("Endpoint", name, tenant, network="web", host=host)


def phase(client, path):
    return client.get(f"/v1/{path}").json()["status"]["phase"]


def message(client, path):
    return client.get(f"/v1/{path}").json()["status"]["message"]


class Agent:
    """The stream's other end: keeps what it was told, acknowledges unless ``mute``."""

    def __init__(self, server, name, address="", mute=False, failures=(), reports=True):
        self.server = server
        self.path = f"ws://mizar/v1/hosts/{name}/stream"
        self.hello = stream.Hello(
            host=name,
            address=address or f"192.0.2.{sum(name.encode()) % 250 + 1}",
            uplink="eth0",
            uplink_mode="tcx",
            underlay_mtu=1500,
            version="test",
            reports=reports,
        )
        self.mute = mute
        self.failures = list(failures)
        self.entries: dict[entries.EntryKey, entries.Entry] = {}
        self.updates: list[stream.Update] = []
        self.traces: list[stream.TraceRequest] = []
        self.refusal = ""
        self.socket = None
        self._snapshot: list[entries.Entry] = []
        self._reader = None

    async def connect(self):
        self.socket = await websockets.unix_connect(self.server.socket, self.path)
        await self.send(self.hello)
        self._reader = asyncio.create_task(self._read())
        return self

    async def disconnect(self):
        """Closes; what was applied is kept for the next `connect` to resume from."""
        if self.socket is not None:
            self._reader.cancel()
            await self.socket.close()
            self.socket.transport.abort()

    def pause(self):
        """Takes nothing more from the socket."""
        self._reader.cancel()
        self.socket.transport.pause_reading()

    def resume(self):
        self.socket.transport.resume_reading()
        self._reader = asyncio.create_task(self._read())

    async def send(self, message):
        await self.socket.send(msgspec.msgpack.encode(message))

    async def ack(self):
        last = self.updates[-1]
        await self.send(stream.Ack(last.epoch, last.revision, self.failures))

    def table(self, name):
        return [entry for key, entry in self.entries.items() if key[0] == name]

    async def _read(self):
        async for frame in self.socket:
            match msgspec.msgpack.decode(frame, type=stream.FromServer):
                case stream.Refusal(message):
                    self.refusal = message
                case stream.TraceRequest() as request:
                    self.traces.append(request)
                case update:
                    await self._apply(update)

    async def _apply(self, update):
        self.updates.append(update)
        if update.snapshot:
            self._snapshot += update.upserts
            if update.more:
                return
            self.entries = {entries.key_of(entry): entry for entry in self._snapshot}
            self._snapshot = []
        for key in update.deletes:
            self.entries.pop(key, None)
        self.entries.update({entries.key_of(entry): entry for entry in update.upserts})
        if not update.more:
            self.hello = msgspec.structs.replace(
                self.hello, epoch=update.epoch, revision=update.revision
            )
            if not self.mute:
                await self.ack()


class Agents:
    """The agents of one test, all closed at its end."""

    def __init__(self, server):
        self._server = server
        self._agents = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await asyncio.gather(*(agent.disconnect() for agent in self._agents))

    async def join(self, *names, **options):
        """Connected agents of these names, one alone or a list."""
        agents = [Agent(self._server, name, **options) for name in names]
        self._agents += agents
        await asyncio.gather(*(agent.connect() for agent in agents))
        return agents if len(agents) > 1 else agents[0]


def run(body, server):
    """Runs ``body`` with the agents of this test."""

    async def whole():
        async with Agents(server) as agents:
            await asyncio.wait_for(body(agents), 30)

    asyncio.run(whole())


async def eventually(condition, wait_s=WAIT_S):
    """As `until`, inside an event loop: ``condition`` may block shortly."""
    deadline = time.monotonic() + wait_s
    while True:
        value = await asyncio.to_thread(condition)
        if value:
            return value
        assert time.monotonic() < deadline, "it didn't happen in time"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def watching(client, path):
    """The lines of a watch, decoded, one by one."""
    with client.stream("GET", path) as answer:
        yield (json.loads(line) for line in answer.iter_lines())
