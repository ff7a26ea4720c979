"""Time to write 100,000 distinct random endpoints into a transit switch's table, encoding included.

Baseline: the same entries written one system call each. --full: more rounds.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from mizar.bpf import maps, objects
from rig import figures

ENTRIES = 100_000
TABLE = "switch_endpoints"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more rounds")
    rounds = 31 if parser.parse_args().full else figures.ROUNDS_MIN
    spec = objects.shipped("uplink")
    with objects.load([spec], max_entries={TABLE: 2 * ENTRIES}) as loaded:
        table = loaded.maps[TABLE]
        samples = figures.alternate(
            {"batch": lambda: timed(table, batch), "single": lambda: timed(table, singly)}, rounds
        )
    ours, theirs = samples["batch"], samples["single"]
    figures.emit(
        figures.line("mapbatch", "update", "s", ours, "one call an entry", theirs, entries=ENTRIES)
    )


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
