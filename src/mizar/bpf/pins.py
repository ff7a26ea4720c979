"""bpffs: mounting it, and replacing a directory of pins as a whole."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mizar.bpf import errors

ROOT = Path("/sys/fs/bpf")
_MAGIC = 0xCAFE4A11
_AT_FDCWD = -100
_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def ensure_bpffs(path: Path = ROOT) -> None:
    """Mount a bpffs at path unless path is inside one already; makes the directory."""
    path.mkdir(parents=True, exist_ok=True)
    if is_bpffs(path):
        return
    target = os.fsencode(path)
    if _libc.mount(b"bpf", target, b"bpf", 0, b"mode=0700") < 0:
        raise errors.BpfError(ctypes.get_errno(), f"mount bpffs at {path}", "it takes root")


def is_bpffs(path: Path) -> bool:
    """Whether path is in a bpffs."""
    status = (ctypes.c_long * 32)()  # struct statfs starts with its f_type and is smaller
    if _libc.statfs(os.fsencode(path), status) < 0:
        raise errors.BpfError(ctypes.get_errno(), f"{path}")
    return status[0] & 0xFFFFFFFF == _MAGIC


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a fresh directory beside path; put it in path's place if the block ends well.

    Whoever opens a pin under path sees the whole old set or the whole new one. When the block
    raises, the old set stays and the new one is removed.
    """
    fresh = path.with_name(f"{path.name}-new-{os.getpid()}")
    remove(fresh)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if path.exists():
            _exchange(fresh, path)
        else:
            fresh.rename(path)
    finally:
        remove(fresh)


def remove(path: Path) -> None:
    """Remove a directory of pins and all that is in it; nothing if it isn't there.

    What only a pin kept alive goes with it, links a moment later: to stop a program at once,
    detach its link before.
    """
    if not path.exists():
        return
    for entry in path.iterdir():
        if entry.is_dir():
            remove(entry)
        else:
            entry.unlink()
    path.rmdir()


def _exchange(one: Path, other: Path) -> None:
    names = os.fsencode(one), os.fsencode(other)
    if _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) < 0:
        raise errors.BpfError(ctypes.get_errno(), f"exchange {one} and {other}")
