"""From POST of an endpoint to Ready, and its first ping, on a lab of 4 hosts.

The lab is the real one: server with SQLite (synchronous=FULL), an agent per host, namespaces and
veths plumbed. First 2,000 endpoints in one network, made one after the other, each by
POST /v1/tenants/bench/endpoints, timed until the watch stream says Ready; p50 and p99 of the last
fifth against the first, so a cost that grows with the network shows as a ratio above 1.
With --full 400 more, 32 in flight: what queueing costs, creates per second.
Then first pings: an endpoint that has just become Ready is pinged once, at that instant, from
an endpoint on another host that never talked to it: one echo request, no retry, 1 s to answer.
The pinging endpoint is in the same network for one ping in four, in another network for three,
and the pinged one is deleted: all hosts of the lab share one kernel, whose ARP table of 1,024
entries (gc_thresh3) would be full after some 600 pings, and then answers nobody.
Nothing else is deleted singly; the lab is torn down as a whole.
"""

import os
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from mizar.client import rest
from mizar.lab import fleet
from mizar.model import registry, resources
from rig import command, echo, figures

HOSTS = 4
BURST = 400
IN_FLIGHT = 32
READY_S = 10.0
TENANT, NETWORK, OTHER_NETWORK = "bench", "net", "other"
SETUP = f"""
kind: Tenant
metadata: {{name: {TENANT}}}
---
kind: VPC
metadata: {{name: vpc, tenant: {TENANT}}}
spec: {{cidrs: [10.0.0.0/16]}}
---
kind: Network
metadata: {{name: {NETWORK}, tenant: {TENANT}}}
spec: {{vpc: vpc, cidrs: [10.0.0.0/18]}}
---
kind: Network
metadata: {{name: {OTHER_NETWORK}, tenant: {TENANT}}}
spec: {{vpc: vpc, cidrs: [10.0.64.0/24]}}
"""


class Readiness:
    """The watch stream, read in a thread of its own: when each endpoint became Ready."""

    def __init__(self, client: rest.Client) -> None:
        self._events: queue.SimpleQueue[tuple[str, float, resources.Endpoint]] = queue.SimpleQueue()
        synced = threading.Event()
        threading.Thread(target=self._read, args=(client, synced), daemon=True).start()
        synced.wait()

    def next(self) -> tuple[str, float, resources.Endpoint]:
        """Name, time (monotonic seconds) and resource of the next one that is Ready."""
        return self._events.get(timeout=READY_S)

    def of(self, name: str) -> resources.Endpoint:
        """The endpoint of that name, once it is Ready."""
        while (event := self.next())[0] != name:
            pass
        return event[2]

    def _read(self, client: rest.Client, synced: threading.Event) -> None:
        for event in client.watch(registry.KINDS["Endpoint"], TENANT):
            now = time.perf_counter()
            if event.type == "synced":
                synced.set()
            found = event.object
            if isinstance(found, resources.Endpoint) and found.status.phase == "Ready":
                self._events.put((found.metadata.name, now, found))


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    creates, pings = effort.of((1000, 50), (2000, 100), (2000, 1000))
    with fleet.Lab(f"bench{os.getpid()}", hosts=HOSTS) as lab, lab.client() as client:
        lab.apply(SETUP)
        lab.wait_ready()
        with lab.client() as watcher:
            ready = Readiness(watcher)
            yield from one_by_one(client, ready, creates)
            if effort.name == "full":
                yield from burst(client, ready)
            yield first_pings(lab, client, ready, pings)


def one_by_one(client: rest.Client, ready: Readiness, count: int) -> Iterator[figures.Row]:
    latencies_ms = [latency * 1000 for latency in create_all(client, ready, "one", count, 1)]
    fifth = count // 5
    yield from ready_rows(1, {"last": latencies_ms[-fifth:], "first": latencies_ms[:fifth]})


def burst(client: rest.Client, ready: Readiness) -> Iterator[figures.Row]:
    start = time.perf_counter()
    latencies = create_all(client, ready, "burst", BURST, IN_FLIGHT)
    rate = BURST / (time.perf_counter() - start)
    latencies_ms = [latency * 1000 for latency in latencies]
    half = BURST // 2
    yield from ready_rows(IN_FLIGHT, {"last": latencies_ms[-half:], "first": latencies_ms[:half]})
    yield row(IN_FLIGHT, "all", "creates", "1/s", rate, [rate])


def ready_rows(in_flight: int, parts_ms: dict[str, list[float]]) -> Iterator[figures.Row]:
    """p50 and p99 of the last creates and of the first, the baseline."""
    for name, fraction in (("ready p50", 0.5), ("ready p99", 0.99)):
        reference = figures.quantile(parts_ms["first"], fraction)
        for subject, values in parts_ms.items():
            value = figures.quantile(values, fraction)
            ratios = {} if subject == "first" else {"first": figures.short(value / reference)}
            yield row(in_flight, subject, name, "ms", value, values)._replace(ratios=ratios)


def row(
    in_flight: int, subject: str, figure: str, unit: str, value: float, values: Sequence[float]
) -> figures.Row:
    """A quantile or another figure that isn't the median of its values."""
    low, high = figures.short(min(values)), figures.short(max(values))
    case = {"in_flight": in_flight}
    value = figures.short(value)
    return figures.Row("provision", case, subject, figure, unit, value, low, high, len(values), {})


def create_all(
    client: rest.Client, ready: Readiness, word: str, count: int, in_flight: int
) -> list[float]:
    """Seconds from POST to Ready, in order of creation, with at most `in_flight` at a time."""
    started: dict[str, float] = {}
    took: dict[str, float] = {}
    while len(took) < count:
        while len(started) < count and len(started) - len(took) < in_flight:
            name = f"{word}{len(started)}"
            started[name] = time.perf_counter()
            client.create(endpoint(name))
        name, at, _ = ready.next()
        if name in started:
            took.setdefault(name, at - started[name])
    return [took[name] for name in started]


def endpoint(name: str, host: str = "", network: str = NETWORK) -> resources.Endpoint:
    return resources.Endpoint(
        metadata=resources.Metadata(name=name, tenant=TENANT),
        spec=resources.EndpointSpec(network=network, host=host),
    )


def first_pings(lab: fleet.Lab, client: rest.Client, ready: Readiness, count: int) -> figures.Row:
    """Each new endpoint is on the host after the pinging one's, so the packet crosses hosts."""
    hosts = [host.name for host in lab.layout.hosts]
    near = [pinger(lab, client, ready, host, NETWORK) for host in hosts]
    far = [pinger(lab, client, ready, host, OTHER_NETWORK) for host in hosts]
    answered = 0
    for number in range(count):
        name = f"to{number}"
        client.create(endpoint(name, hosts[(number + 1) % len(hosts)]))
        found = ready.of(name)
        sockets = near if number // len(hosts) % 4 == 0 else far
        took_s = echo.ping(sockets[number % len(hosts)], found.status.addresses[0], number)
        client.delete([found])
        answered += took_s is not None
    share = 100 * answered / count
    return row(1, "endpoints", "first ping answered", "%", share, [share] * count)


def pinger(
    lab: fleet.Lab, client: rest.Client, ready: Readiness, host: str, network: str
) -> socket.socket:
    """An endpoint to ping from: a raw socket, which stays in the namespace it was opened in."""
    name = f"from-{host}-{network}"
    client.create(endpoint(name, host, network))
    ready.of(name)
    return echo.opened(lab.netns(name, TENANT))


if __name__ == "__main__":
    main()
