"""Round trips on the direct path, against kernel VXLAN + bridge and bare host-to-host.

A sample is the mean of a flood of 5,000 pings (ping -f, which counts whole microseconds); a
figure is the median of the samples. Hosts, wires and regimes as in tcp.py.
"""

from collections.abc import Iterator

from rig import command, comparison, figures, traffic


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    rounds = effort.of(11, 25, 101)
    for regime in comparison.MODES:
        with comparison.under_test(regime, peers=False) as (_, measured):
            samples = comparison.sampled(
                measured,
                rounds,
                lambda path: traffic.round_trip_us(path.client, path.address),
            )
        yield from figures.rows(
            "rtt", {"regime": regime}, "ping -f", "us", samples, comparison.BASELINES
        )


if __name__ == "__main__":
    main()
