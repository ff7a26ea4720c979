"""What a packet through a transit switch costs, in XDP: one entry, a million, and how they are hit.

Run `test_run`: ns per packet by BPF_PROG_TEST_RUN. Run `live`: packets per second that XDP_TX put
on the wire by live frames, from one core, as the far end counted them. Subjects:

one      a table of one entry
hot      one entry of a table of 1,000,000, the others at rest
zipf     entries of that table drawn by Zipf's law, exponent 1
uniform  entries of that table drawn uniformly: nearly every packet misses the caches
forward  the baseline: a program in the same harness that looks up the next hop (bpf_fib_lookup),
         rewrites MACs and TTL, and sends; what any XDP router must do

Every repetition gets a true packet: a program of the bench restores the last one, addresses it to
the next of 1,048,576 drawn destinations and tail-calls the uplink's program (rig/restore.bpf.c). In
`test_run` the restoring, measured in turn with a program that does nothing in the uplink's place,
is subtracted (subject `restoring`); in `live` it isn't. The run is void unless the transit counter
grew by exactly the repetitions.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rig import command, figures, harness, namespaces

UNDER_TEST, PLAIN, NOTHING = "uplink_xdp", "forward", "bounce"
REPEAT = 1_000_000
ENTRIES = 1_000_000
HOT, ZIPF, UNIFORM = range(3)


class Subject(NamedTuple):
    """A program on a host, and the sequence of packets that it gets."""

    host: harness.Harness
    program: str
    sequence: int


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    rounds = effort.of(5, 9, 31)
    drawn = random.Random(1)
    addresses = drawn.sample(range(0x0A000000, 0x0B000000), ENTRIES)
    with (
        namespaces.Namespaces() as run,
        harness.transit_host(run, "transit-one", addresses[:1]) as small,
        harness.transit_host(run, "transit-many", addresses) as large,
    ):
        small.destine(HOT, addresses[:1] * harness.SEQUENCE)
        large.destine(HOT, addresses[:1] * harness.SEQUENCE)
        large.destine(ZIPF, zipf(drawn, addresses))
        large.destine(UNIFORM, drawn.choices(addresses, k=harness.SEQUENCE))
        subjects = {
            "one": Subject(small, UNDER_TEST, HOT),
            "hot": Subject(large, UNDER_TEST, HOT),
            "zipf": Subject(large, UNDER_TEST, ZIPF),
            "uniform": Subject(large, UNDER_TEST, UNIFORM),
            "forward": Subject(large, PLAIN, HOT),
        }
        yield from test_run(subjects, Subject(large, NOTHING, UNIFORM), rounds)
        yield from live(subjects, rounds)


def zipf(drawn: random.Random, addresses: list[int]) -> list[int]:
    """A sequence in which the address at place n comes up in proportion to 1/n."""
    shares = list(itertools.accumulate(1 / place for place in range(1, len(addresses) + 1)))
    return drawn.choices(addresses, cum_weights=shares, k=harness.SEQUENCE)


def test_run(
    subjects: dict[str, Subject], restoring: Subject, rounds: int
) -> Iterator[figures.Row]:
    whole = alternate({**subjects, "restoring": restoring}, timed_ns, rounds)
    base = whole["restoring"]
    net = {name: [a - b for a, b in zip(whole[name], base, strict=True)] for name in subjects}
    case = {"run": "test_run"}
    yield from figures.rows("transit", case, "time", "ns", net, ["one", "forward"])
    yield from figures.rows("transit", case, "time", "ns", {"restoring": base}, [])


def live(subjects: dict[str, Subject], rounds: int) -> Iterator[figures.Row]:
    sent = alternate(subjects, sent_mpps, rounds)
    yield from figures.rows("transit", {"run": "live"}, "rate", "Mpps", sent, ["one", "forward"])


def alternate(
    subjects: dict[str, Subject], run: Callable[[Subject], float], rounds: int
) -> dict[str, list[float]]:
    return figures.alternate(
        {name: checked(subject, run) for name, subject in subjects.items()}, rounds
    )


def checked(subject: Subject, run: Callable[[Subject], float]) -> Callable[[], float]:
    """`run`, void unless every repetition was switched, or none by a program that doesn't."""
    expected = REPEAT if subject.program == UNDER_TEST else 0

    def measured() -> float:
        before = subject.host.switched()
        figure = run(subject)
        switched = subject.host.switched() - before
        if switched != expected:
            raise SystemExit(
                f"{subject.program}: transit counter grew by {switched}, not by {expected}"
            )
        return figure

    return measured


def timed_ns(subject: Subject) -> float:
    return subject.host.run(subject.program, subject.sequence, REPEAT, live=False)


def sent_mpps(subject: Subject) -> float:
    """Packets at the far end; the time includes the restoring of each packet's fields."""
    arrived, start = subject.host.arrived(), time.perf_counter()
    subject.host.run(subject.program, subject.sequence, REPEAT, live=True)
    return (subject.host.arrived() - arrived) / (time.perf_counter() - start) / 1e6


if __name__ == "__main__":
    main()
