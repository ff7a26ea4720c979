"""TCP between endpoints on two hosts: rate and CPU time per byte, beside what else does the same.

One stream and eight streams of iperf3 for a second per sample; all paths have hosts and a wire of
the same making (rig/paths.py), endpoint MTUs as each tunnel allows. Regime `offload`: uplinks
with segmentation offloads; `wire`: MTU-size packets on the wire. Subjects:

mizar-tcx, mizar-xdp  ours, by the uplink's mode (XDP on a veth would turn its offloads off)
vxlan                 kernel VXLAN + bridge, the baseline
bare                  host to host without a tunnel, the other baseline
classic               XDP at both ends and no GSO: the design that Mizar began with (rig/classic.py)
ovs                   Open vSwitch, userspace datapath over AF_XDP, Geneve (rig/openvswitch.py)
"""

from collections.abc import Iterator

from rig import command, comparison, figures, paths, traffic

STREAMS = (1, 8)


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    rounds, seconds = effort.of((5, 1), (7, 1), (15, 3))
    for regime in comparison.MODES:
        with comparison.under_test(regime, peers=True) as (run, measured):
            for path in measured.values():
                traffic.serve(run, path.server)
            for streams in STREAMS:
                yield from case(measured, regime, streams, rounds, seconds)


def case(
    measured: dict[str, paths.Path], regime: str, streams: int, rounds: int, seconds: int
) -> Iterator[figures.Row]:
    samples = comparison.sampled(
        measured,
        rounds,
        lambda path: traffic.tcp(path.client, path.address, seconds, streams),
    )
    what: dict[str, str | int] = {"regime": regime, "streams": streams}
    for figure, unit, field in (("rate", "Gbit/s", 0), ("cpu", "ns/byte", 1)):
        values = {name: [sample[field] for sample in taken] for name, taken in samples.items()}
        yield from figures.rows("tcp", what, figure, unit, values, comparison.BASELINES)


if __name__ == "__main__":
    main()
