"""Kernel memory that a host's maps are charged for, and of a transit switch's table by entry.

Baseline of a host at rest: one whose transit switches have their full table, still empty.
Of an entry: the bytes of its key and value. Ever the same, so there is one sample.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mizar.bpf import maps, objects
from mizar.datapath import host
from rig import command, figures

ENTRIES = 1_000_000
BATCH = 100_000
MEBIBYTE = 1 << 20


def main() -> None:
    command.run(__doc__, measure)


def measure(_: command.Effort) -> Iterator[figures.Row]:
    specs = [objects.shipped(name) for name in host.OBJECTS]
    with objects.load(specs, max_entries={host.LARGE: 1}) as small:
        at_rest = total(small.maps)
    with objects.load(specs) as whole:
        table = whole.maps[host.LARGE]
        empty, all_empty = memory(table), total(whole.maps)
        for start in range(0, ENTRIES, BATCH):
            fill(table, range(start, start + BATCH))
        by_entry = (memory(table) - empty) / ENTRIES
        assert len(list(table.keys())) == ENTRIES
        payload = table.spec.key_size + table.spec.value_size
    mebibytes = {"host at rest": [at_rest / MEBIBYTE], "empty switch": [all_empty / MEBIBYTE]}
    yield from figures.rows("memory", {}, "all maps", "MiB", mebibytes, ["empty switch"])
    of_one = {"switch_endpoints": [by_entry], "key and value": [float(payload)]}
    case = {"entries": ENTRIES}
    yield from figures.rows("memory", case, "entry", "bytes", of_one, ["key and value"])


def fill(table: maps.Map, numbers: range) -> None:
    keys = [(7, number.to_bytes(16, "big")) for number in numbers]
    table.update_batch(keys, [(bytes(16), 1, 1)] * len(keys))


def total(tables: Mapping[str, maps.Map]) -> int:
    return sum(map(memory, tables.values()))


def memory(table: maps.Map) -> int:
    """Bytes, as the kernel counts them (bpf_map_memory_usage, shown in fdinfo)."""
    info = Path(f"/proc/self/fdinfo/{table.fd}").read_text()
    return int(info.partition("memlock:")[2].split()[0])


if __name__ == "__main__":
    main()
