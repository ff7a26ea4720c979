"""sockperf's ping-pong between two endpoints: round trips as a process sees them."""

import re
from typing import NamedTuple

from rig import namespaces, paths, traffic

PROTOCOLS = ("tcp", "udp")
PORTS = {"tcp": 5302, "udp": 5303}
MESSAGE_BYTES = 64


class RoundTrips(NamedTuple):
    """Of one sample."""

    p50_us: float
    p99_us: float


def serve(run: namespaces.Namespaces, path: paths.Path) -> None:
    """Start a server for either protocol."""
    for protocol in PROTOCOLS:
        run.start(path.server, ["sockperf", "server", *_where(path, protocol)])
        traffic.listening(path.server, protocol, PORTS[protocol])


def round_trips(path: paths.Path, protocol: str, seconds: int) -> RoundTrips:
    """One client for so long; 2 s more, in which it does nothing but gauge the clock."""
    client = ["sockperf", "ping-pong", *_where(path, protocol), "--time", str(seconds)]
    client += ["--msg-size", str(MESSAGE_BYTES), "--full-rtt"]
    report = namespaces.run(namespaces.inside(path.client, client))
    p50, p99 = (
        re.search(rf"percentile {percentile} = *([\d.]+)", report)
        for percentile in (r"50\.000", r"99\.000")
    )
    if not p50 or not p99:
        raise RuntimeError(f"sockperf from {path.client}: {report.strip()}")
    return RoundTrips(float(p50[1]), float(p99[1]))


def _where(path: paths.Path, protocol: str) -> list[str]:
    where = ["--ip", path.address, "--port", str(PORTS[protocol])]
    return [*where, "--tcp"] if protocol == "tcp" else where
