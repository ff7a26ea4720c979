"""What outlives the agent, and where: one directory of bpffs per host.

| path               | what                                                             |
|--------------------|------------------------------------------------------------------|
| maps/NAME          | the map                                                          |
| layouts/NAME       | symlink whose target is the layout's fingerprint                 |
| programs/VERSION/  | the programs of one build; VERSION is the objects' hash          |
| links/NAME         | uplink_tcx, uplink_xdp, and one per endpoint's interface         |
| lost               | the link that counts what the kernel loses (`losses`)            |
| namespaces/HASH    | symlink to /run/netns/NAME: a namespace that the agent made      |

Nothing is kept outside it, so a reboot, which empties the kernel, empties the
record too. bpffs refuses dots in names and knows no files but pins; hence
symlinks for text.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from mizar.bpf import pins as bpffs
from mizar.datapath import namespaces

DEFAULT = Path("/sys/fs/bpf/mizar")


class PinError(Exception):
    """The pin directory can't be used; the message says why and what to do."""


class Pins:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.maps = root / "maps"
        self.layouts = root / "layouts"
        self.programs = root / "programs"
        self.links = root / "links"
        self.namespaces = root / "namespaces"
        self.lost = root / "lost"

    def make(self) -> None:
        """Creates the directories, and mounts bpffs where it is missing; raises `PinError`."""
        if bpffs.ROOT in self.root.parents:
            bpffs.ensure_bpffs()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not bpffs.is_bpffs(self.root):
            raise PinError(
                f"{self.root} is not on a BPF file system; use a path below {bpffs.ROOT}, "
                "or mount one there (mount -t bpf bpf PATH)"
            )
        for directory in (self.maps, self.layouts, self.programs, self.links, self.namespaces):
            if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
                directory.unlink()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def layout(self, name: str) -> str:
        """The fingerprint recorded with a map; empty when there is none."""
        try:
            return os.readlink(self.layouts / name)
        except OSError:
            return ""

    def record_layout(self, name: str, fingerprint: str) -> None:
        remove(self.layouts / name)
        (self.layouts / name).symlink_to(fingerprint)

    def own_namespaces(self) -> list[str]:
        """Names of the namespaces that the agent made, sorted."""
        marks = [p for p in self.namespaces.iterdir() if p.is_symlink()]
        return sorted(Path(os.readlink(mark)).name for mark in marks)

    def mark_namespace(self, name: str) -> None:
        with contextlib.suppress(FileExistsError):
            self._mark(name).symlink_to(namespaces.path(name))

    def is_own_namespace(self, name: str) -> bool:
        return self._mark(name).is_symlink()

    def forget_namespace(self, name: str) -> None:
        remove(self._mark(name))

    def _mark(self, name: str) -> Path:
        return self.namespaces / hashlib.sha256(name.encode()).hexdigest()[:32]


def remove(path: Path) -> None:
    """Removes a pin, a symlink or a whole directory of pins; absent is fine."""
    if path.is_dir() and not path.is_symlink():
        bpffs.remove(path)
        return
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
