"""The benchmarks' own programs, compiled when they are needed: BPF objects, and one in plain C."""

import importlib
import pathlib
import subprocess
import sys
import tempfile

from mizar.bpf import objects

SOURCES = pathlib.Path(__file__).resolve().parent
PROGRAMS = SOURCES.parents[1] / "bpf"


def bpf(name: str) -> objects.ObjectSpec:
    """NAME.bpf.c of this directory, compiled as the project's own are."""
    sys.path.insert(0, str(PROGRAMS))
    compiler = importlib.import_module("build")
    with tempfile.TemporaryDirectory() as scratch:
        found = compiler.build(SOURCES, pathlib.Path(scratch), PROGRAMS)
        return objects.read(next(path for path in found if path.name == f"{name}.bpf.o"))


def native(name: str, directory: pathlib.Path) -> pathlib.Path:
    """The executable made of NAME.c of this directory, in `directory`."""
    target = directory / name
    compiler = ["clang", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target)]
    subprocess.run([*compiler, str(SOURCES / f"{name}.c")], check=True)
    return target
