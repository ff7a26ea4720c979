#!/usr/bin/env python3
"""Compile the BPF programs of a directory into objects that user space loads.

Every NAME.bpf.c becomes NAME.bpf.o, stripped of DWARF but with its BTF. The bytes depend on the
sources, the headers and the compiler, never on the directory, the user or the time. An object
whose inputs did not change is left alone. Standard library only: the wheel's build runs this.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
OBJECTS = SOURCES.parent / "src" / "mizar" / "bpf" / "objects"
PACKAGES = "clang llvm libbpf-dev linux-libc-dev"
HEADERS = ("bpf/bpf_helpers.h", "bpf/bpf_endian.h", "linux/bpf.h", "asm/types.h")
FLAGS = (
    "-O2",
    "-g",
    "-target",
    "bpfel",
    "-mcpu=v3",
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-fno-ident",
    "-fdebug-compilation-dir=.",
)
STAMP = "build.json"


class BuildError(Exception):
    """The toolchain is incomplete, or a program does not compile."""


def build(sources: Path = SOURCES, output: Path = OBJECTS, headers: Path = SOURCES) -> list[Path]:
    """Bring output/NAME.bpf.o up to date with sources/NAME.bpf.c; return the objects' paths.

    headers: the directory of the project's own headers. Raises BuildError.
    """
    programs = sorted(sources.glob("*.bpf.c"))
    if not programs:
        raise BuildError(f"{sources}: no *.bpf.c to compile")
    clang, strip = _tool("clang"), _tool("llvm-strip")
    system = _system_includes(clang)
    output.mkdir(parents=True, exist_ok=True)
    common = _common_key(clang, system, {sources, headers})
    stamps = _read_stamps(output)
    for name in stamps.keys() - {f"{program.stem}.o" for program in programs}:
        (output / name).unlink(missing_ok=True)
    stamps = {name: key for name, key in stamps.items() if (output / name).exists()}
    for program in programs:
        target = output / f"{program.stem}.o"
        key = _digest([common, program.read_bytes()])
        if stamps.get(target.name) != key:
            _compile(program, target, clang, strip, [headers, *system])
            stamps[target.name] = key
            _replace(output / STAMP, json.dumps(stamps, indent=1, sort_keys=True).encode())
    return [output / f"{program.stem}.o" for program in programs]


def _tool(name: str) -> str:
    """Path of a tool, also of a versioned one (clang-18) where the plain name is missing."""
    if plain := shutil.which(name):
        return plain
    pattern = re.compile(rf"{re.escape(name)}-(\d+)")
    versions = [
        (int(match[1]), entry.path)
        for directory in os.get_exec_path()
        if os.path.isdir(directory)
        for entry in os.scandir(directory)
        if (match := pattern.fullmatch(entry.name))
    ]
    if not versions:
        raise BuildError(f"{name} not found; on Debian or Ubuntu: apt-get install {PACKAGES}")
    return max(versions)[1]


def _system_includes(clang: str) -> list[Path]:
    """Where the host's C headers are, multiarch directory included; -target bpf looks in none."""
    command = [clang, "-E", "-v", "-x", "c", os.devnull]
    environment = {**os.environ, "LC_ALL": "C"}
    report = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    listed = re.search(r"<\.\.\.> search starts here:\n(.*?)\nEnd of search", report.stderr, re.S)
    directories = [Path(line.strip()) for line in listed[1].splitlines()] if listed else []
    for header in HEADERS:
        if not any((directory / header).exists() for directory in directories):
            raise BuildError(
                f"<{header}> not found; on Debian or Ubuntu: apt-get install {PACKAGES}"
            )
    return directories


def _common_key(clang: str, system: list[Path], own: set[Path]) -> str:
    """What every object depends on: compiler, flags, the project's and libbpf's headers."""
    version = subprocess.run([clang, "--version"], capture_output=True, check=True).stdout
    headers = [path for directory in sorted(own) for path in sorted(directory.glob("*.h"))]
    headers += [path for directory in system for path in sorted((directory / "bpf").glob("*.h"))]
    return _digest([version, repr(FLAGS).encode(), *(path.read_bytes() for path in headers)])


def _compile(program: Path, target: Path, clang: str, strip: str, includes: list[Path]) -> None:
    """Compile in a scratch directory and rename, so that nobody sees half an object."""
    own, *system = includes
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        result = Path(scratch) / target.name
        paths = [f"-I{own}", *(f"-idirafter{directory}" for directory in system)]
        maps = [f"-ffile-prefix-map={directory}=bpf" for directory in {own, program.parent}]
        _run([clang, *FLAGS, *maps, *paths, "-c", program.name, "-o", str(result)], program.parent)
        _run([strip, "-g", str(result)], program.parent)
        result.replace(target)


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()}")


def _read_stamps(output: Path) -> dict[str, str]:
    try:
        stamps = json.loads((output / STAMP).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _digest(parts: Iterable[bytes | str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the BPF programs.")
    parser.add_argument("--output", type=Path, default=OBJECTS, help="where the objects go")
    arguments = parser.parse_args()
    try:
        objects = build(output=arguments.output)
    except BuildError as error:
        print(f"bpf/build.py: {error}", file=sys.stderr)
        return 1
    for path in objects:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
