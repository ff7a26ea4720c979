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

from mizar.bpf import programs
from rig import figures, harness, namespaces

REPEAT = 1_000_000
ROUNDS = 9
SIZES = (1, 65_536)
SIZES_FULL = (*SIZES, 1_000_000)


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
    under_test = {name: host.programs[name] for name in ("uplink_xdp", "forward", "bounce")}
    samples = figures.alternate(
        {
            name: lambda program=program: timed(host, program)
            for name, program in under_test.items()
        },
        ROUNDS,
    )
    whole, plain, restoring = (samples[name] for name in under_test)
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


def timed(host: harness.Harness, program: programs.Program) -> float:
    """ns per repetition, restoring included; checked by the transit counter."""
    before = host.count(host.switched)
    ns = host.run(program, REPEAT, live=False)
    expect(host.count(host.switched) - before, REPEAT if program.name == "uplink_xdp" else 0)
    return ns


def live(host: harness.Harness, size: int) -> None:
    names = ("uplink_xdp", "forward")
    samples = figures.alternate(
        {name: lambda program=host.programs[name]: sent(host, program) for name in names}, ROUNDS
    )
    figures.emit(
        figures.line(
            "transit",
            "live",
            "Mpps",
            samples["uplink_xdp"],
            "xdp-forward",
            samples["forward"],
            endpoints=size,
        )
    )


def sent(host: harness.Harness, program: programs.Program) -> float:
    """Mpps at the far end, the restoring of each packet's head included."""
    before, arrived = host.count(host.switched), host.arrived()
    start = time.perf_counter()
    host.run(program, REPEAT, live=True)
    elapsed_us = (time.perf_counter() - start) * 1e6
    expect(host.count(host.switched) - before, REPEAT if program.name == "uplink_xdp" else 0)
    return (host.arrived() - arrived) / elapsed_us


def expect(switched: int, repetitions: int) -> None:
    if switched != repetitions:
        raise SystemExit(f"transit counter grew by {switched}, repetitions: {repetitions}")


if __name__ == "__main__":
    main()
