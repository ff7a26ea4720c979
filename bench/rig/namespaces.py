"""Network namespaces and processes of one benchmark run, removed with it.

Names carry the run's process id; what a killed run left behind is swept by the
next one. Nothing outside the namespaces made here is changed.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn, Self

PREFIX = "mizar-bench"
RUN_DIRECTORY = pathlib.Path("/run/netns")

# What a connection begins with. Begun with BBR it is paced for good, whatever is chosen later: a
# timer per packet, dear in a virtual machine. Other than reno, a namespace may not set every one.
UNPACED = "reno"


class Namespaces:
    """Context manager: makes namespaces, runs commands in them, removes all."""

    def __init__(self) -> None:
        self._made: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, _exit)
        sweep()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for name in self._made:
            remove(name)

    def name(self, label: str) -> str:
        """What `make` calls a namespace: unique to this run."""
        return f"{PREFIX}-{os.getpid()}-{label}"

    def make(self, label: str) -> str:
        """A namespace with loopback up; returns its name."""
        name = self.name(label)
        run(["ip", "netns", "add", name])
        self._made.append(name)
        links(name, "link set lo up")
        run(inside(name, ["sysctl", "-qw", f"net.ipv4.tcp_congestion_control={UNPACED}"]))
        return name

    def start(self, namespace: str, command: Sequence[str]) -> subprocess.Popen[str]:
        """A process in the namespace, killed when the run ends."""
        process = subprocess.Popen(
            inside(namespace, command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._processes.append(process)
        return process


def inside(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a namespace, /sys left as it is."""
    return ["nsenter", f"--net={RUN_DIRECTORY / namespace}", "--", *command]


def links(namespace: str, script: str) -> None:
    """Apply lines of `ip` commands in one namespace."""
    run(["ip", "-n", namespace, "-batch", "-"], script)


def run(command: Sequence[str], text: str | None = None) -> str:
    """Run to the end and return stdout; exits with the command's words on failure."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def sweep() -> None:
    """Remove the namespaces of runs whose process is gone."""
    if not RUN_DIRECTORY.is_dir():
        return
    for entry in filter(is_orphan, RUN_DIRECTORY.iterdir()):
        remove(entry.name)


def is_orphan(path: pathlib.Path) -> bool:
    """Whether a run made it whose process is gone."""
    owner = re.fullmatch(rf"{PREFIX}-(\d+)-.*", path.name)
    return owner is not None and not pathlib.Path("/proc", owner[1]).exists()


def remove(name: str) -> None:
    with contextlib.suppress(SystemExit):
        run(["ip", "netns", "delete", name])


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
