"""bpf/build.py: the same bytes from everywhere, no work when nothing changed, clear refusals."""

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "bpf"


def copy(destination: Path) -> Path:
    destination.mkdir(parents=True)
    for name in ("shared.bpf.c", "sample.h"):
        shutil.copy(SAMPLES / name, destination)
    return destination


def build(compiler: ModuleType, sources: Path) -> Path:
    (built,) = compiler.build(sources, sources / "out", sources)
    assert isinstance(built, Path)
    return built


def test_objects_are_the_same_bytes_whatever_directory_they_come_from(
    compiler: ModuleType, tmp_path: Path
) -> None:
    one = build(compiler, copy(tmp_path / "one"))
    other = build(compiler, copy(tmp_path / "some where" / "else"))
    (tmp_path / "linked").symlink_to(copy(tmp_path / "third"))
    linked = build(compiler, tmp_path / "linked")
    assert one.read_bytes() == other.read_bytes() == linked.read_bytes()
    assert str(tmp_path).encode() not in one.read_bytes()


def test_objects_hold_types_but_no_debug_information(compiler: ModuleType, tmp_path: Path) -> None:
    content = build(compiler, copy(tmp_path / "one")).read_bytes()
    assert b".BTF" in content
    assert b".debug_info" not in content


def test_what_did_not_change_is_left_alone_and_what_changed_is_built(
    compiler: ModuleType, tmp_path: Path
) -> None:
    sources = copy(tmp_path / "one")
    first = build(compiler, sources).stat()
    assert build(compiler, sources).stat() == first
    header = sources / "sample.h"
    header.write_text(header.read_text() + "/* later */\n")
    assert build(compiler, sources).stat().st_ino != first.st_ino


def test_the_object_of_a_program_that_is_gone_goes_too(
    compiler: ModuleType, tmp_path: Path
) -> None:
    sources = copy(tmp_path / "one")
    old = build(compiler, sources)
    (sources / "shared.bpf.c").rename(sources / "renamed.bpf.c")
    assert build(compiler, sources).name == "renamed.bpf.o"
    assert not old.exists()


def test_a_compiler_warning_is_an_error_that_shows_the_line(
    compiler: ModuleType, tmp_path: Path
) -> None:
    sources = copy(tmp_path / "one")
    (sources / "shared.bpf.c").write_text("int f(void) { int forgotten; return 0; }\n")
    with pytest.raises(compiler.BuildError, match=r"shared\.bpf\.c:1.*forgotten"):
        build(compiler, sources)
    assert not (sources / "out" / "shared.bpf.o").exists()


def test_a_missing_compiler_is_named_with_its_packages(
    compiler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(compiler.BuildError, match=r"clang not found.*clang llvm libbpf-dev"):
        build(compiler, copy(tmp_path / "one"))


def test_missing_headers_are_named_with_their_packages(
    compiler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("clang", "llvm-strip"):
        script = tools / name
        real = shutil.which(name)
        script.write_text(f'#!/bin/sh\nexec {real} -nostdinc "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    expected = re.escape("<bpf/bpf_helpers.h> not found") + ".*libbpf-dev linux-libc-dev"
    with pytest.raises(compiler.BuildError, match=expected):
        build(compiler, copy(tmp_path / "one"))


def test_a_versioned_compiler_does_where_the_plain_name_is_missing(
    compiler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("clang", "llvm-strip"):
        (tools / f"{name}-9").symlink_to("/bin/false")
        (tools / f"{name}-14").symlink_to(Path(shutil.which(name) or "").resolve())
    monkeypatch.setenv("PATH", str(tools))
    assert build(compiler, copy(tmp_path / "one")).exists()


def test_a_directory_without_programs_is_refused(compiler: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(compiler.BuildError, match=r"no \*\.bpf\.c"):
        build(compiler, tmp_path)
