"""New TCP connections per second between two endpoints, and the CPU time of one.

Four clients connect, the server closes each connection at once, the client closes it too
(rig/connect.c): five packets or six, and none of them large. Against kernel VXLAN + bridge and
bare host-to-host; hosts, wires and regimes as in tcp.py. CPU time is the machine's, with both
ends' processes.
"""

import pathlib
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from rig import command, comparison, compiled, figures, namespaces, paths, processor, traffic

PORT = 5304


class Load(NamedTuple):
    """Of one sample."""

    per_second: float
    cpu_us: float


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    rounds, milliseconds = effort.of((5, 500), (7, 1000), (15, 3000))
    with tempfile.TemporaryDirectory() as directory:
        program = str(compiled.native("connect", pathlib.Path(directory)))
        for regime in comparison.MODES:
            yield from case(program, regime, rounds, milliseconds)


def case(program: str, regime: str, rounds: int, milliseconds: int) -> Iterator[figures.Row]:
    with comparison.under_test(regime, peers=False) as (run, measured):
        for path in measured.values():
            run.start(path.server, [program, "serve", str(PORT)])
            traffic.listening(path.server, "tcp", PORT)
        samples = comparison.sampled(
            measured, rounds, lambda path: connect(program, path, milliseconds)
        )
    for figure, unit, field in (("connections", "1/s", 0), ("cpu", "us/connection", 1)):
        values = {name: [taken[field] for taken in all_] for name, all_ in samples.items()}
        yield from figures.rows(
            "connections", {"regime": regime}, figure, unit, values, comparison.BASELINES
        )


def connect(program: str, path: paths.Path, milliseconds: int) -> Load:
    load = [program, "load", path.address, str(PORT), str(milliseconds)]
    with processor.Busy() as busy:
        completed = int(namespaces.run(namespaces.inside(path.client, load)))
    return Load(completed * 1e3 / milliseconds, busy.seconds * 1e6 / max(1, completed))


if __name__ == "__main__":
    main()
