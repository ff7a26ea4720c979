"""Maps of every type that Mizar uses: single and batch operations, pins."""

import errno
import os
from pathlib import Path

import pytest

from mizar.bpf import errors, libbpf, maps, objects

HOST = bytes(range(16))


def address(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_an_entry_is_written_read_and_deleted(loaded: objects.Collection) -> None:
    places = loaded.maps["places"]
    assert places.lookup((7, HOST)) is None
    places.update((7, HOST), (HOST, 1, 2))
    found = places.lookup((7, HOST))
    assert found == (HOST, 1, 2)
    assert found.generation == 1
    assert places.delete((7, HOST))
    assert not places.delete((7, HOST))
    assert list(places.items()) == []


def test_flags_say_whether_the_entry_must_be_new_or_old(loaded: objects.Collection) -> None:
    recent = loaded.maps["recent"]
    with pytest.raises(errors.BpfError, match="map recent: write 1: No such file") as caught:
        recent.update(1, 1, maps.EXIST)
    assert caught.value.errno == errno.ENOENT
    recent.update(1, 1, maps.NOEXIST)
    with pytest.raises(errors.BpfError, match="map recent: write 1: File exists"):
        recent.update(1, 2, maps.NOEXIST)


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 10001])
def test_batches_of_any_size_are_written_read_and_deleted(
    loaded: objects.Collection, count: int
) -> None:
    places = loaded.maps["places"]
    entries = {(n, address(n)): (os.urandom(16), n, n + 1) for n in range(count)}
    places.update_batch(list(entries), list(entries.values()))
    assert dict(places.items()) == entries
    assert sorted(places.keys()) == sorted(entries)
    assert places.delete_batch(list(entries)) == count
    assert list(places.items()) == []


def test_a_batch_deletes_what_is_there_and_skips_the_rest(loaded: objects.Collection) -> None:
    recent = loaded.maps["recent"]
    recent.update_batch(range(0, 900, 3), list(range(300)))
    assert recent.delete_batch(range(900)) == 300
    assert recent.delete_batch(range(900)) == 0


def test_a_batch_of_unequal_lengths_writes_nothing(loaded: objects.Collection) -> None:
    with pytest.raises(ValueError, match="map recent: 2 keys, 1 values"):
        loaded.maps["recent"].update_batch([1, 2], [1])
    assert list(loaded.maps["recent"].items()) == []


def test_the_longest_prefix_wins(loaded: objects.Collection) -> None:
    prefixes = loaded.maps["prefixes"]
    keys = [(8, bytes([10, 0, 0, 0])), (16, bytes([10, 1, 0, 0])), (0, bytes(4))]
    prefixes.update_batch(keys, [8, 16, 0])
    assert prefixes.lookup((32, bytes([10, 1, 2, 3]))) == 16
    assert prefixes.lookup((32, bytes([10, 2, 2, 3]))) == 8
    assert prefixes.lookup((32, bytes([11, 2, 2, 3]))) == 0
    assert dict(prefixes.items()) == dict(zip(keys, [8, 16, 0], strict=True))
    assert prefixes.delete_batch([*keys, (24, bytes(4))]) == 3


def test_the_refused_entry_of_a_batch_is_named(loaded: objects.Collection) -> None:
    keys = [(8, bytes([10, 0, 0, 0])), (33, bytes(4)), (16, bytes([10, 1, 0, 0]))]
    with pytest.raises(errors.BpfError, match=r"map prefixes: write \(33, "):
        loaded.maps["prefixes"].update_batch(keys, [1, 2, 3])


@pytest.mark.parametrize("name", ["prefixes", "tallies"])
def test_a_full_map_is_named_with_its_size(loaded: objects.Collection, name: str) -> None:
    full = loaded.maps[name]
    keys = [(32, n.to_bytes(4, "big")) if name == "prefixes" else n for n in range(1025)]
    value = 1 if name == "prefixes" else [1] * libbpf.possible_cpus()
    try:
        with pytest.raises(errors.BpfError, match=rf"map {name} is full \(1024 entries\): write"):
            full.update_batch(keys, [value] * len(keys))
    finally:
        full.delete_batch(keys)


def test_the_oldest_entry_makes_room_in_an_lru_map(loaded: objects.Collection) -> None:
    recent = loaded.maps["recent"]
    recent.update_batch(range(5000), list(range(5000)))
    assert 0 < len(list(recent.items())) <= 1024


def test_an_array_always_has_all_its_entries(loaded: objects.Collection) -> None:
    wires = loaded.maps["wires"]
    wires.update(2, (0xFF4D, 1, 2, 3, 4))
    assert [key for key, _ in wires.items()] == [0, 1, 2, 3]
    assert wires.lookup(2).class_ == 0xFF4D
    assert wires.lookup(4) is None
    with pytest.raises(errors.BpfError, match="map wires: delete 1: Invalid argument"):
        wires.delete(1)


@pytest.mark.parametrize("name", ["counts", "tallies"])
def test_a_per_cpu_value_is_a_list_of_every_cpu_s(loaded: objects.Collection, name: str) -> None:
    per_cpu = loaded.maps[name]
    cpus = libbpf.possible_cpus()
    single = [(cpu, 9) for cpu in range(cpus)] if name == "counts" else list(range(cpus))
    per_cpu.update(1, single)
    assert per_cpu.lookup(1) == single
    per_cpu.update_batch([0, 2], [single, single])
    assert dict(per_cpu.items())[2] == single
    with pytest.raises(ValueError, match=f"map {name}: 0 values for {cpus} CPUs"):
        per_cpu.update(1, [])


def test_a_map_without_batch_operations_is_served_one_by_one(loaded: objects.Collection) -> None:
    stages, one = loaded.maps["stages"], loaded.programs["sample_tc"]
    stages.update_batch([1, 3], [one.fd, one.fd])
    assert dict(stages.items()) == {1: one.id, 3: one.id}
    assert stages.delete_batch([0, 1, 2, 3]) == 2
    assert dict(stages.items()) == {}


def test_a_ring_buffer_has_no_entries(loaded: objects.Collection) -> None:
    with pytest.raises(errors.LayoutError, match="map records: its type has neither"):
        loaded.maps["records"].lookup(0)


def test_a_pinned_map_is_opened_with_its_spec(
    loaded: objects.Collection, sample: objects.ObjectSpec, bpffs: Path
) -> None:
    bpffs.mkdir()
    loaded.maps["recent"].pin(bpffs / "recent")
    loaded.maps["recent"].update(1, 5)
    with maps.open(bpffs / "recent", sample.maps["recent"]) as again:
        assert again.lookup(1) == 5
    with pytest.raises(errors.BpfError, match=r"pin recent at .*File exists"):
        loaded.maps["recent"].pin(bpffs / "recent")


def test_a_pin_of_another_layout_is_refused_and_closed(
    loaded: objects.Collection, sample: objects.ObjectSpec, bpffs: Path
) -> None:
    bpffs.mkdir()
    loaded.maps["recent"].pin(bpffs / "recent")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(errors.LayoutError, match="map places: type, key bytes"):
        maps.open(bpffs / "recent", sample.maps["places"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pin_that_is_not_there_is_told_by_its_errno(
    sample: objects.ObjectSpec, bpffs: Path
) -> None:
    with pytest.raises(errors.BpfError, match=f"open pin {bpffs}/x") as caught:
        maps.open(bpffs / "x", sample.maps["places"])
    assert caught.value.errno == errno.ENOENT


def test_a_large_hash_is_read_whole(sample: objects.ObjectSpec) -> None:
    with objects.load([sample]) as loaded:
        places = loaded.maps["places"]
        keys = [(n, os.urandom(16)) for n in range(50000)]
        places.update_batch(keys, [(HOST, n, 0) for n in range(50000)])
        assert {value.generation for _, value in places.items()} == set(range(50000))
