"""What a packet through a transit switch costs, in XDP, against plain XDP forwarding.

Case `test_run`: ns per packet by BPF_PROG_TEST_RUN. Case `live`: packets per second that XDP_TX
put on the wire by live frames, as the far end counted them.

Every repetition gets a true packet: a program of the bench writes the next of 16,384 packets to
uniformly random endpoints of the table over the last one and tail-calls the uplink's program
(rig/restore.bpf.c). What the restoring costs is measured in turn with a program that does nothing
in the uplink's place, subtracted, and stated as restoring_ns; whole_ns is the sum. The run is
void unless the transit counter grew by exactly the repetitions.

The baseline is a program in the same harness that looks up the next hop (bpf_fib_lookup),
rewrites MACs and TTL, and sends: what any XDP router must do.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from rig import figures, harness, namespaces

UNDER_TEST, BASELINE, NOTHING = "uplink_xdp", "forward", "bounce"
REPEAT = 1_000_000
ROUNDS = 9
SIZES = (1, 1024, 65_536)
SIZES_FULL = (*SIZES, 1_000_000)

Run = Callable[[harness.Harness, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also a table of 1,000,000 endpoints")
    sizes = SIZES_FULL if parser.parse_args().full else SIZES
    with namespaces.Namespaces() as run:
        for size in sizes:
            with harness.transit_host(run, f"transit-{size}", size) as host:
                test_run(host, size)
                live(host, size)


def test_run(host: harness.Harness, size: int) -> None:
    samples = alternate(host, timed_ns, UNDER_TEST, BASELINE, NOTHING)
    whole, plain, restoring = samples.values()
    figures.emit(
        figures.line(
            "transit",
            "test_run",
            "ns",
            [a - b for a, b in zip(whole, restoring, strict=True)],
            "xdp-forward",
            [a - b for a, b in zip(plain, restoring, strict=True)],
            endpoints=size,
            whole_ns=statistics.median(whole),
            restoring_ns=statistics.median(restoring),
        )
    )


def live(host: harness.Harness, size: int) -> None:
    ours, plain = alternate(host, sent_mpps, UNDER_TEST, BASELINE).values()
    line = figures.line("transit", "live", "Mpps", ours, "xdp-forward", plain, endpoints=size)
    figures.emit(line)


def alternate(host: harness.Harness, run: Run, *names: str) -> dict[str, list[float]]:
    return figures.alternate({name: checked(host, run, name) for name in names}, ROUNDS)


def checked(host: harness.Harness, run: Run, name: str) -> Callable[[], float]:
    """`run`, void unless every repetition was switched, or none by a program that doesn't."""
    expected = REPEAT if name == UNDER_TEST else 0

    def measure() -> float:
        before = host.switched()
        figure = run(host, name)
        switched = host.switched() - before
        if switched != expected:
            raise SystemExit(f"{name}: transit counter grew by {switched}, not by {expected}")
        return figure

    return measure


def timed_ns(host: harness.Harness, name: str) -> float:
    return host.run(name, REPEAT, live=False)


def sent_mpps(host: harness.Harness, name: str) -> float:
    """Packets at the far end; the time includes the restoring of each packet's fields."""
    arrived, start = host.arrived(), time.perf_counter()
    host.run(name, REPEAT, live=True)
    return (host.arrived() - arrived) / (time.perf_counter() - start) / 1e6


if __name__ == "__main__":
    main()
