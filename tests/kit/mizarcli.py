"""The `mizar` command against a server that `mizar server` started, on a Unix socket and on TCP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import serverkit
from click import testing

from mizar.cli import main

MIZAR = str(Path(sys.executable).with_name("mizar"))


class Server:
    """``directory`` holds store, socket and log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = f"{directory}/server.sock"
        self.address = f"unix:{self.socket}"
        self.url = f"http://127.0.0.1:{serverkit.free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        command = [MIZAR, "server", "--underlay", "192.0.2.0/24", "--listen", self.address]
        command += ["--listen", self.url.removeprefix("http://")]
        command += ["--store", f"{self.directory}/server.db"]
        with open(f"{self.directory}/server.log", "ab") as log:
            self.process = subprocess.Popen(command, stderr=log)
        serverkit.until(lambda: serverkit.answers(self.socket))
        return self

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(serverkit.WAIT_S) == 0

    def mizar(self, *words: str, stdin: str = "", **env: str) -> testing.Result:
        """The command inside this process; it must not have met a bug."""
        settings = {"MIZAR_SERVER": self.address, "MIZAR_TENANT": "", **env}
        result = testing.CliRunner().invoke(main.main, words, input=stdin, env=settings)
        assert "unexpected" not in result.stderr, result.stderr
        return result

    def done(self, *words: str, stdin: str = "", **env: str) -> str:
        """The standard output of a command that must succeed."""
        result = self.mizar(*words, stdin=stdin, **env)
        assert result.exit_code == 0, result.output
        return result.stdout

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """The command in a process of its own, which heeds SIGINT even in a background job."""
        return subprocess.Popen(
            [MIZAR, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env={**os.environ, "MIZAR_SERVER": self.address},
        )
