"""A file descriptor of a kernel object, owned by one Python object until close()."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from mizar.bpf import errors, libbpf


class Handle:
    """Owns fd; what is pinned or attached by other means stays when it is closed."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    def pin(self, path: Path | str) -> None:
        """Keep the object alive under a path in bpffs, also after this process."""
        result = libbpf.library().bpf_obj_pin(self.fd, os.fsencode(path))
        libbpf.check(result, f"pin {self.name} at {path}", "is it a free name inside a bpffs?")

    def close(self) -> None:
        """Give up the file descriptor. Closing twice is harmless."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def get(path: Path | str, kind: str) -> int:
    """The file descriptor of a pinned object of a kind: bpf-map, bpf-prog or bpf-link.

    BpfError's errno is ENOENT if nothing is there; LayoutError if it is something else.
    """
    fd: int = libbpf.library().bpf_obj_get(os.fsencode(path))
    if fd < 0:
        raise errors.BpfError(-fd, f"open pin {path}")
    found = os.readlink(f"/proc/self/fd/{fd}").removeprefix("anon_inode:")
    found = found.replace("_", "-")  # older kernels say bpf_link
    if found != kind:
        os.close(fd)
        raise errors.LayoutError(f"pin {path} is a {found}, not a {kind}")
    return fd
