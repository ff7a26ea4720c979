"""iperf3, ping and sockperf between two namespaces, one sample a call."""

import json
import re
import time
from typing import NamedTuple

from rig import namespaces, processor

PORT = 5201
PING_COUNT = 5000

# Named, because machines differ. BBR, some distributions' default, paces by a timer, and goes on
# pacing when iperf3 names another after connecting: namespaces.py sees to that.
CONGESTION_CONTROL = "cubic"


def serve(run: namespaces.Namespaces, namespace: str) -> None:
    """Start an iperf3 server and wait until it listens."""
    run.start(namespace, ["iperf3", "--server", "--port", str(PORT)])
    listening(namespace, "tcp", PORT)


def listening(namespace: str, protocol: str, port: int) -> None:
    """Wait until a server does."""
    deadline_s = time.monotonic() + 5
    sockets = ["ss", "-Hln", f"--{protocol}", f"sport = :{port}"]
    while not namespaces.run(namespaces.inside(namespace, sockets)):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nothing in {namespace} listens on {protocol} port {port}")
        time.sleep(0.02)


class Stream(NamedTuple):
    """What TCP moved in one sample; CPU time is the machine's, both ends' processes included."""

    gbit_s: float
    cpu_ns_per_byte: float


def tcp(namespace: str, server: str, seconds: int = 1, streams: int = 1) -> Stream:
    """TCP streams to an iperf3 server, as the receiver counted them."""
    client = ["iperf3", "--json", "--client", server, "--port", str(PORT)]
    client += ["--time", str(seconds), "--congestion", CONGESTION_CONTROL]
    client += ["--parallel", str(streams)]
    with processor.Busy() as busy:
        report = json.loads(namespaces.run(namespaces.inside(namespace, client)))
    received = report["end"]["sum_received"]
    return Stream(received["bits_per_second"] / 1e9, busy.seconds * 1e9 / max(1, received["bytes"]))


def round_trip_us(namespace: str, target: str, count: int = PING_COUNT) -> float:
    """Mean round trip of a ping flood; a lost reply is an error, not a figure."""
    flood = ["ping", "-f", "-q", "-c", str(count), target]
    report = namespaces.run(namespaces.inside(namespace, flood))
    received = re.search(r"(\d+) received", report)
    mean = re.search(r"rtt min/avg/max/mdev = [\d.]+/([\d.]+)/", report)
    if not received or not mean or int(received[1]) != count:
        raise RuntimeError(f"ping {target} from {namespace}: {report.strip()}")
    return float(mean[1]) * 1000


def reach(namespace: str, target: str, tries: int = 50) -> None:
    """Ping until the first answer, so that no sample pays for set-up."""
    once = namespaces.inside(namespace, ["ping", "-c", "1", "-W", "0.1", "-q", target])
    for _ in range(tries):
        try:
            namespaces.run(once)
        except SystemExit:
            continue
        return
    raise TimeoutError(f"{target} doesn't answer {namespace}")
