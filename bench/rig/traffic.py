"""iperf3 and ping between two namespaces, one figure a call."""

import json
import re
import time

from rig import namespaces

PORT = 5201
PING_COUNT = 5000

# Named, because machines differ: BBR, some distributions' default, paces by the bandwidth that
# it has seen, and so measures the machine's hiccups.
CONGESTION_CONTROL = "cubic"


def serve(run: namespaces.Namespaces, namespace: str) -> None:
    """Start an iperf3 server and wait until it listens."""
    run.start(namespace, ["iperf3", "--server", "--port", str(PORT)])
    deadline_s = time.monotonic() + 5
    listening = namespaces.inside(namespace, ["ss", "-Hltn", f"sport = :{PORT}"])
    while not namespaces.run(listening):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"iperf3 in {namespace} doesn't listen on port {PORT}")
        time.sleep(0.02)


def tcp_gbit_s(namespace: str, server: str, seconds: int = 1) -> float:
    """Rate of one TCP stream to an iperf3 server, as the receiver counted it."""
    client = ["iperf3", "--json", "--client", server, "--port", str(PORT)]
    client += ["--time", str(seconds), "--congestion", CONGESTION_CONTROL]
    report = json.loads(namespaces.run(namespaces.inside(namespace, client)))
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


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
