"""Time to write 100,000 distinct random endpoints into a transit switch's table, encoding included.

Baseline: the same entries written one system call each.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from mizar.bpf import maps, objects
from rig import command, figures

ENTRIES = 100_000
TABLE = "switch_endpoints"


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    spec = objects.shipped("uplink")
    with objects.load([spec], max_entries={TABLE: 2 * ENTRIES}) as loaded:
        table = loaded.maps[TABLE]
        samples = figures.alternate(
            {"batch": lambda: timed(table, batch), "one by one": lambda: timed(table, singly)},
            effort.of(5, 5, 31),
        )
    yield from figures.rows("mapbatch", {"entries": ENTRIES}, "time", "s", samples, ["one by one"])


Write = Callable[[maps.Map, list[Any], list[Any]], None]


def timed(table: maps.Map, write: Write) -> float:
    """Seconds to write fresh random entries, which are checked and removed untimed."""
    keys = [(number & 0xFFFFFF, os.urandom(16)) for number in range(ENTRIES)]
    values = [(os.urandom(16), number, number) for number in range(ENTRIES)]
    start = time.perf_counter()
    write(table, keys, values)
    seconds = time.perf_counter() - start
    assert dict(table.items()) == dict(zip(keys, values, strict=True))
    assert table.delete_batch(keys) == ENTRIES
    return seconds


def batch(table: maps.Map, keys: list[Any], values: list[Any]) -> None:
    table.update_batch(keys, values)


def singly(table: maps.Map, keys: list[Any], values: list[Any]) -> None:
    for key, value in zip(keys, values, strict=True):
        table.update(key, value)


if __name__ == "__main__":
    main()
