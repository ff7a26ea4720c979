"""The lab's processes: started in a namespace, on record, ended by that record.

A record holds pid and start time, so that a pid the machine has given to
another process since is never signalled. Ended at once (SIGKILL): what a lab's
process leaves behind is the lab's to remove.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from mizar.datapath import namespaces
from mizar.lab import layout

GRACE_S = 5.0


def start(lab: layout.Layout, name: str, netns: str, command: Sequence[str]) -> None:
    """Starts the command as a daemon in the namespace; its output goes to ``NAME.log``."""
    log = str(log_path(lab, name))
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    with namespaces.entered(netns):
        pid = os.posix_spawnp(
            command[0], list(command), os.environ, file_actions=files, setsid=True
        )
    _record_path(lab, name).write_text(f"{pid} {_start_time(pid)}")


def alive(lab: layout.Layout, name: str) -> bool:
    pid = _pid(_record_path(lab, name))
    return pid is not None and not _ended(pid, 0)


def stop(lab: layout.Layout, name: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ends the process on record and waits for its end; nothing when it has ended already."""
    record = _record_path(lab, name)
    pid = _pid(record)
    if pid is not None:
        _end(pid, with_signal)
    record.unlink(missing_ok=True)


def stop_all(lab: layout.Layout) -> None:
    """Ends every process on record."""
    for record in sorted(lab.run_directory.glob("*.pid")):
        stop(lab, record.stem)


def stop_inside(names: Iterable[str]) -> None:
    """Ends every process that lives in one of the namespaces: started by an agent or by hand."""
    inodes = {namespaces.path(name).stat().st_ino for name in names if namespaces.exists(name)}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "ns/net").stat().st_ino in inodes:
                _end(int(process.name), signal.SIGKILL)


def log_path(lab: layout.Layout, name: str) -> Path:
    return lab.run_directory / f"{name}.log"


def log_tail(lab: layout.Layout, name: str, lines: int = 15) -> str:
    try:
        text = log_path(lab, name).read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def _record_path(lab: layout.Layout, name: str) -> Path:
    return lab.run_directory / f"{name}.pid"


def _pid(record: Path) -> int | None:
    """The recorded process, if it is still the one that was started."""
    try:
        pid, started = map(int, record.read_text().split())
        return pid if _start_time(pid) == started else None
    except (OSError, ValueError):
        return None


def _start_time(pid: int) -> int:
    """In clock ticks since boot: field 22 of proc(5)'s stat, the 20th after the name."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _end(pid: int, with_signal: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, with_signal)
        if not _ended(pid, GRACE_S):
            os.kill(pid, signal.SIGKILL)
            _ended(pid, GRACE_S)


def _ended(pid: int, wait_s: float) -> bool:
    """Whether the process has ended, or does within ``wait_s``; a child of ours is reaped."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended = bool(select.select([fd], [], [], wait_s)[0])
    finally:
        os.close(fd)
    if ended:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return ended
