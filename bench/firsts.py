"""What the first packet of a new pair costs: through a switch, through a router and a switch.

A lab of 5 hosts, one switch a network and one router the VPC, so that every step is a host of its
own: sender, (router,) switch, receiver. Before each sample the two endpoints' hosts forget whom
they have learned of; then one ping goes the long way, its answer and the next ping the direct
one. `next`, sent at once after it, is the baseline. Neighbours are known beforehand.
"""

import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from mizar.bpf import maps, objects
from mizar.lab import fleet
from rig import command, echo, figures

HOSTS = 5
TENANT = "bench"
NETWORKS = 4
LOCATIONS = "locations"
SETUP = f"""
kind: Tenant
metadata: {{name: {TENANT}}}
---
kind: VPC
metadata: {{name: vpc, tenant: {TENANT}}}
spec: {{cidrs: [10.0.0.0/16], routers: 1}}
"""
NETWORK = """---
kind: Network
metadata: {{name: net{number}, tenant: {tenant}}}
spec: {{vpc: vpc, cidrs: [10.0.{number}.0/24], switches: 1}}
"""
ENDPOINT = """---
kind: Endpoint
metadata: {{name: {name}, tenant: {tenant}}}
spec: {{network: {network}, host: {host}}}
"""


class Way(NamedTuple):
    """`to`: the endpoint that lies behind it. `reason`: what the sender's host counts."""

    name: str
    to: str
    reason: str


WAYS = (Way("switch", "near", "SENT_SWITCH"), Way("router, switch", "far", "SENT_ROUTER"))


class Places(NamedTuple):
    """Two hosts that hold no table on the way, a network of the sender's and another."""

    sender: str
    receiver: str
    near: str
    far: str


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    count = effort.of(50, 200, 1000)
    with fleet.Lab(f"first{os.getpid()}", hosts=HOSTS) as lab:
        lab.apply(SETUP + "".join(map(_network, range(NETWORKS))))
        lab.wait_ready()
        places = _places(lab)
        lab.apply(
            _endpoint("from", places.near, places.sender)
            + _endpoint("near", places.near, places.receiver)
            + _endpoint("far", places.far, places.receiver)
        )
        lab.wait_ready()
        for way in WAYS:
            yield from case(lab, places, way, count)


def case(lab: fleet.Lab, places: Places, way: Way, count: int) -> Iterator[figures.Row]:
    """Void unless the first packets really went that way."""
    to = lab.workload(way.to, TENANT).address
    spec = objects.shipped("uplink").maps[LOCATIONS]
    first_us, next_us = [], []
    before = _taken(lab, places.sender, way.reason)
    with (
        echo.opened(lab.netns("from", TENANT)) as raw,
        maps.open(lab.pins(places.sender) / "maps" / LOCATIONS, spec) as here,
        maps.open(lab.pins(places.receiver) / "maps" / LOCATIONS, spec) as there,
    ):
        _ping_us(raw, to, 0)
        for number in range(count):
            for learned in (here, there):
                learned.delete_batch(list(learned.keys()))
            first_us.append(_ping_us(raw, to, 2 * number + 1))
            next_us.append(_ping_us(raw, to, 2 * number + 2))
    taken = _taken(lab, places.sender, way.reason) - before
    if taken < count:
        raise SystemExit(f"only {taken} of {count} first packets went by {way.name}")
    samples = {"first": first_us, "next": next_us}
    yield from figures.rows("firsts", {"way": way.name}, "ping", "us", samples, ["next"])


def _taken(lab: fleet.Lab, host: str, reason: str) -> int:
    return lab.counters()[host][reason].packets


def _ping_us(raw: socket.socket, address: str, sequence: int) -> float:
    took_s = echo.ping(raw, address, sequence)
    if took_s is None:
        raise RuntimeError(f"{address} didn't answer within {echo.ANSWER_S} s")
    return took_s * 1e6


def _network(number: int) -> str:
    return NETWORK.format(number=number, tenant=TENANT)


def _endpoint(name: str, network: str, host: str) -> str:
    return ENDPOINT.format(name=name, tenant=TENANT, network=network, host=host)


def _places(lab: fleet.Lab) -> Places:
    """Where the server has put the tables decides where the endpoints go."""
    router = lab.all_of("VPC")[0].status.routers[0]
    switches = {net.metadata.name: net.status.switches[0] for net in lab.all_of("Network")}
    near, *others = switches
    far = next((name for name in others if switches[name] != router), None)
    if far is None:
        raise RuntimeError(f"the server put {NETWORKS} switches and the router on one host")
    holders = {router, switches[near], switches[far]}
    sender, receiver, *_ = (host.name for host in lab.layout.hosts if host.name not in holders)
    return Places(sender, receiver, near, far)


if __name__ == "__main__":
    main()
