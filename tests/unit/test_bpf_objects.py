"""Reading and loading objects: specs, sharing, reuse, what the verifier says."""

import errno
import os
from pathlib import Path

import pytest

from mizar.bpf import errors, libbpf, maps, objects, programs


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_spec_says_what_an_object_declares(sample: objects.ObjectSpec) -> None:
    assert sample.name == "sample"
    assert sample.programs["sample_tc"] == ("sample_tc", "tc", programs.SCHED_CLS)
    assert sample.programs["sample_xdp"].type == programs.XDP
    assert "sample_types" not in sample.programs
    places = sample.maps["places"]
    assert places.type == maps.HASH
    assert (places.max_entries, places.flags) == (200000, maps.NO_PREALLOC)
    assert (places.key_size, places.value_size) == (20, 24)
    assert sample.maps["records"].key is None


def test_a_missing_object_is_named_with_the_remedy() -> None:
    with pytest.raises(errors.BpfError, match=r"absent\.bpf\.o: No such file.*bpf/build\.py"):
        objects.shipped("absent")


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.bpf.o"
    path.write_bytes(b"no object" * 20)
    with pytest.raises(errors.LayoutError, match="not a little-endian BPF object"):
        objects.read(path)


def test_objects_loaded_together_share_maps_of_equal_name(
    sample: objects.ObjectSpec, samples: Path
) -> None:
    with objects.load([sample, objects.read(samples / "shared.bpf.o")]) as loaded:
        loaded.programs["shared_xdp"].test_run(bytes(64))
        loaded.programs["sample_sink"].test_run(bytes(64))
        assert sum(slot.packets for slot in loaded.maps["counts"].lookup(3)) == 2


def test_a_reused_map_keeps_its_entries_and_stays_open(sample: objects.ObjectSpec) -> None:
    with objects.load([sample]) as first:
        first.maps["recent"].update(1, 11)
        with objects.load([sample], reuse={"recent": first.maps["recent"]}) as second:
            assert second.maps["recent"].lookup(1) == 11
            assert second.maps["places"].fd != first.maps["places"].fd
        assert first.maps["recent"].lookup(1) == 11


def test_a_map_of_another_layout_is_not_reused(sample: objects.ObjectSpec) -> None:
    with objects.load([sample]) as first:
        other = first.maps["places"]
        with pytest.raises(errors.LayoutError, match=r"map recent: type, key bytes.*\(1, 20, 24\)"):
            objects.load([sample], reuse={"recent": other})


def test_a_new_map_has_the_size_asked_for(sample: objects.ObjectSpec) -> None:
    with objects.load([sample], max_entries={"places": 2}) as loaded:
        places = loaded.maps["places"]
        assert places.max_entries == 2
        entry = (bytes(16), 0, 0)
        with pytest.raises(errors.BpfError, match=r"map places is full \(2 entries\)") as caught:
            places.update_batch([(n, bytes(16)) for n in range(3)], [entry] * 3)
        assert caught.value.errno == errno.E2BIG


def test_the_verifier_s_log_is_in_the_error_and_nothing_else_is_printed(
    samples: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(errors.VerifierError, match="program refused of object refused") as caught:
        objects.load([objects.read(samples / "refused.bpf.o")])
    assert "invalid access to packet" in caught.value.log
    assert "invalid access to packet" in str(caught.value)
    assert caught.value.errno == errno.EACCES
    assert capfd.readouterr() == ("", "")


def test_what_libbpf_says_is_in_the_error(sample: objects.ObjectSpec) -> None:
    with pytest.raises(errors.BpfError, match=r"object sample: .*libbpf says.*'places'"):
        objects.load([sample], max_entries={"places": 0})


def test_a_failed_load_and_a_closed_collection_leave_no_descriptor(
    sample: objects.ObjectSpec, samples: Path
) -> None:
    libbpf.library()
    before = descriptors()
    with pytest.raises(errors.VerifierError):
        objects.load([sample, objects.read(samples / "refused.bpf.o")])
    with objects.load([sample]):
        assert descriptors() > before
    assert descriptors() == before


def test_programs_of_equal_name_are_refused(sample: objects.ObjectSpec) -> None:
    with pytest.raises(errors.LayoutError, match="object sample: program sample_"):
        objects.load([sample, sample])


def test_a_missing_library_is_named_with_its_package() -> None:
    with pytest.raises(errors.BpfError, match=r"libabsent\.so\.9: .*apt-get install libbpf1"):
        libbpf.open_library("libabsent.so.9")
