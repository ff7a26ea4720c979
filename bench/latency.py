"""Request and response over one socket, TCP and UDP, against kernel VXLAN + bridge and bare hosts.

sockperf's ping-pong with messages of 64 bytes, for a second per sample: p50 and p99 of the round
trips of each sample, then the median of the samples. Sockets, system calls and wake-ups cost the
same on every path and are most of it, so the ratios say less than those of rtt.py. Hosts, wires
and regimes as in tcp.py.
"""

from collections.abc import Iterator

from rig import command, comparison, figures, paths, sockperf


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    rounds, seconds = effort.of((5, 1), (5, 1), (15, 2))
    for regime in comparison.MODES:
        with comparison.under_test(regime, peers=False) as (run, measured):
            for path in measured.values():
                sockperf.serve(run, path)
            for protocol in sockperf.PROTOCOLS:
                yield from case(measured, regime, protocol, rounds, seconds)


def case(
    measured: dict[str, paths.Path], regime: str, protocol: str, rounds: int, seconds: int
) -> Iterator[figures.Row]:
    samples = comparison.sampled(
        measured, rounds, lambda path: sockperf.round_trips(path, protocol, seconds)
    )
    what = {"regime": regime, "protocol": protocol}
    for figure, field in (("p50", 0), ("p99", 1)):
        values = {name: [taken[field] for taken in all_] for name, all_ in samples.items()}
        yield from figures.rows("latency", what, figure, "us", values, comparison.BASELINES)


if __name__ == "__main__":
    main()
