"""From POST of an endpoint to Ready, and its first ping, on a lab of 4 hosts.

The lab is the real one: server with SQLite (synchronous=FULL), an agent per host, namespaces and
veths plumbed. Case `ready`: 2,000 endpoints in one network, made one after the other, each by
POST /v1/tenants/bench/endpoints, timed until the watch stream says Ready; p50 and p99 of the last
fifth against the first, so a cost that grows with the network shows as a ratio above 1.
Case `burst` (--full) is 400 more with 32 in flight: what queueing costs, creates per second.
Case `first_ping`: an endpoint that has just become Ready is pinged once, at that instant, from
an endpoint on another host that never talked to it: one echo request, no retry, 1 s to answer.
The pinging endpoint is in the same network for one ping in four, in another network for three,
and the pinged one is deleted: all hosts of the lab share one kernel, whose ARP table of 1,024
entries (gc_thresh3) would be full after some 600 pings, and then answers nobody.
Nothing else is deleted singly; the lab is torn down as a whole.
"""

import argparse
import os
import queue
import socket
import struct
import threading
import time

from mizar.client import rest
from mizar.datapath import namespaces
from mizar.lab import fleet
from mizar.model import registry, resources
from rig import figures

HOSTS = 4
CREATES = 2000
BURST = 400
IN_FLIGHT = 32
PINGS, PINGS_FULL = 100, 1000
READY_S = 10.0
ANSWER_S = 1.0
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="1,000 first pings, and case burst")
    full = parser.parse_args().full
    with fleet.Lab(f"bench{os.getpid()}", hosts=HOSTS) as lab, lab.client() as client:
        lab.apply(SETUP)
        lab.wait_ready()
        with lab.client() as watcher:
            ready = Readiness(watcher)
            one_by_one(client, ready)
            if full:
                burst(client, ready)
            first_pings(lab, client, ready, PINGS_FULL if full else PINGS)


def one_by_one(client: rest.Client, ready: Readiness) -> None:
    latencies_ms = [latency * 1000 for latency in create_all(client, ready, "one", CREATES, 1)]
    fifth = CREATES // 5
    report("ready", latencies_ms[:fifth], latencies_ms[-fifth:])


def burst(client: rest.Client, ready: Readiness) -> None:
    start = time.perf_counter()
    latencies = create_all(client, ready, "burst", BURST, IN_FLIGHT)
    rate = BURST / (time.perf_counter() - start)
    latencies_ms = [latency * 1000 for latency in latencies]
    half = BURST // 2
    report("burst", latencies_ms[:half], latencies_ms[-half:], per_second=round(rate))


def report(case: str, first: list[float], last: list[float], **more: float) -> None:
    """A line for p50 and one for p99: the last creates against the first."""
    for name, fraction in (("p50", 0.5), ("p99", 0.99)):
        value, reference = figures.quantile(last, fraction), figures.quantile(first, fraction)
        figures.emit(
            {
                "bench": "provision",
                "case": f"{case}-{name}",
                "value": round(value, 2),
                "unit": "ms",
                "baseline": "first creates",
                "baseline_value": round(reference, 2),
                "ratio": round(value / reference, 3),
                "samples": len(last),
                "value_range": [round(min(last), 2), round(max(last), 2)],
                "baseline_range": [round(min(first), 2), round(max(first), 2)],
                **more,
            }
        )


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


def first_pings(lab: fleet.Lab, client: rest.Client, ready: Readiness, count: int) -> None:
    """Each new endpoint is on the host after the pinging one's, so the packet crosses hosts."""
    hosts = [host.name for host in lab.layout.hosts]
    near = [pinger(lab, client, ready, host, NETWORK) for host in hosts]
    far = [pinger(lab, client, ready, host, OTHER_NETWORK) for host in hosts]
    round_trips_ms: list[float] = []
    for number in range(count):
        name = f"to{number}"
        client.create(endpoint(name, hosts[(number + 1) % len(hosts)]))
        found = ready.of(name)
        sockets = near if number // len(hosts) % 4 == 0 else far
        took_s = ping(sockets[number % len(hosts)], found.status.addresses[0], number)
        client.delete([found])
        if took_s is not None:
            round_trips_ms.append(took_s * 1000)
    figures.emit(
        {
            "bench": "provision",
            "case": "first_ping",
            "value": len(round_trips_ms),
            "unit": "answered",
            "baseline": "sent",
            "baseline_value": count,
            "ratio": len(round_trips_ms) / count,
            "samples": count,
            "round_trip_ms": [round(figures.quantile(round_trips_ms, f), 3) for f in (0.5, 0.99)],
        }
    )


def pinger(
    lab: fleet.Lab, client: rest.Client, ready: Readiness, host: str, network: str
) -> socket.socket:
    """An endpoint to ping from: a raw socket, which stays in the namespace it was opened in."""
    name = f"from-{host}-{network}"
    client.create(endpoint(name, host, network))
    ready.of(name)
    with namespaces.entered(lab.netns(name, TENANT)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    opened.settimeout(ANSWER_S)
    return opened


def ping(opened: socket.socket, address: str, sequence: int) -> float | None:
    """Seconds to the answer of one echo request, or None without one."""
    request = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, sequence)
    check = -sum(struct.unpack("!4H", request)) % 0xFFFF
    start = time.perf_counter()
    opened.sendto(request[:2] + struct.pack("!H", check) + request[4:], (address, 0))
    try:
        while True:
            packet, (source, _) = opened.recvfrom(2048)
            if source == address and packet[20] == 0 and packet[24:28] == request[4:8]:
                return time.perf_counter() - start
    except TimeoutError:
        return None


if __name__ == "__main__":
    main()
