"""What the tests of the BPF binding share: its sample objects, a network namespace, a bpffs."""

import ctypes
import importlib.util
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mizar.bpf import objects, pins
from mizar.datapath import namespaces

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = REPOSITORY / "tests" / "bpf"


@pytest.fixture(scope="session")
def compiler() -> ModuleType:
    """bpf/build.py."""
    spec = importlib.util.spec_from_file_location("build_bpf", REPOSITORY / "bpf" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def samples(compiler: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the objects of tests/bpf."""
    output = tmp_path_factory.mktemp("objects")
    compiler.build(SAMPLES, output, SAMPLES)
    return output


@pytest.fixture(scope="session")
def sample(samples: Path) -> objects.ObjectSpec:
    return objects.read(samples / "sample.bpf.o")


@pytest.fixture
def loaded(sample: objects.ObjectSpec) -> Iterator[objects.Collection]:
    with objects.load([sample]) as collection:
        yield collection


@pytest.fixture
def wire() -> Iterator[tuple[int, int]]:
    """Interface numbers of a veth pair's ends, "near" and "far", both in one namespace.

    The test runs in it; it has no name, so it is gone with the test, however that ends.
    """
    home = namespaces.own_fd()
    assert ctypes.CDLL(None).unshare(namespaces.CLONE_NEWNET) == 0
    try:
        for command in (
            "link add near type veth peer name far",
            "link set near up",
            "link set far up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield (socket.if_nametoindex("near"), socket.if_nametoindex("far"))
    finally:
        namespaces.enter(home)
        os.close(home)


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A directory for pins that isn't there yet."""
    pins.ensure_bpffs()
    path = pins.ROOT / f"mizar-unit-{os.getpid()}"
    yield path
    pins.remove(path)
