"""bpffs: mounted where it is missing, and directories of pins replaced as a whole."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizar.bpf import errors, objects, pins


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "bpf"
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_bpffs_is_mounted_once(mounted: Path) -> None:
    pins.ensure_bpffs(mounted)
    assert pins.is_bpffs(mounted)
    pins.ensure_bpffs(mounted)
    pins.ensure_bpffs(mounted / "below")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert mounts.count(f" {mounted} ") == 1
    assert f" {mounted}/below " not in mounts


def test_another_file_system_is_told_from_a_bpffs(tmp_path: Path) -> None:
    assert not pins.is_bpffs(tmp_path)
    with pytest.raises(errors.BpfError, match=f"{tmp_path}/absent: No such file"):
        pins.is_bpffs(tmp_path / "absent")


def test_a_set_of_pins_is_replaced_as_a_whole(loaded: objects.Collection, bpffs: Path) -> None:
    for names in (["one", "two"], ["two", "three"]):
        with pins.replaced(bpffs) as fresh:
            for name in names:
                loaded.maps["recent"].pin(fresh / name)
            assert fresh != bpffs
        assert sorted(entry.name for entry in bpffs.iterdir()) == sorted(names)
    assert [entry.name for entry in bpffs.parent.glob(f"{bpffs.name}*")] == [bpffs.name]


def test_a_set_that_fails_half_way_changes_nothing(loaded: objects.Collection, bpffs: Path) -> None:
    with pins.replaced(bpffs) as fresh:
        loaded.maps["recent"].pin(fresh / "one")
    with pytest.raises(errors.BpfError), pins.replaced(bpffs) as fresh:  # noqa: PT012
        loaded.maps["recent"].pin(fresh / "two")
        loaded.maps["recent"].pin(fresh / "no.dots.allowed")
    assert [entry.name for entry in bpffs.iterdir()] == ["one"]
    assert [entry.name for entry in bpffs.parent.glob(f"{bpffs.name}*")] == [bpffs.name]


def test_a_tree_is_removed_and_removing_nothing_is_fine(
    loaded: objects.Collection, bpffs: Path
) -> None:
    (bpffs / "below").mkdir(parents=True)
    loaded.maps["recent"].pin(bpffs / "below" / "one")
    pins.remove(bpffs)
    pins.remove(bpffs)
    assert not bpffs.exists()
