"""A running lab: brought up, its parts stopped and started singly, removed.

with fleet.Lab("try1", hosts=4, mode="xdp") as lab:
    lab.apply(Path("examples/two-tenants.yaml").read_text())
    lab.wait_ready()
    lab.run("blue/web1", ["ping", "-c1", "10.0.2.12"])
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from mizar.client import errors, rest
from mizar.datapath import counters, namespaces, pins
from mizar.lab import layout, processes, underlay, workloads
from mizar.model import manifest, registry, resources
from mizar.plan import entries

START_S = 20.0
READY_S = 30.0
POLL_S = 0.02


class Lab:
    """``mode``: every host's, or one per host. Context manager: `up` and `down`."""

    def __init__(
        self,
        name: str = layout.DEFAULT,
        hosts: int = 4,
        mode: layout.Mode | Sequence[layout.Mode] = "auto",
        mtu: int = 1500,
    ) -> None:
        modes = [mode] * hosts if isinstance(mode, str) else list(mode)
        self.layout = layout.Layout(name, modes, mtu)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Starts the lab from nothing and returns when every host is Ready.

        What a crashed lab of the same name left is removed first. Raises
        `layout.LabError`, with nothing left behind.
        """
        self._check_free()
        self.down()
        try:
            self._make()
        except BaseException:
            self.down()
            raise

    def trouble(self) -> str | None:
        """What is wrong with the lab of this name that is there; empty when nothing is.

        None when there is none. Raises `layout.LabError` when it is well but not
        of these parameters: it isn't removed unasked.
        """
        _check_root()
        try:
            found = opened(self.layout.name)
        except layout.LabError:
            return None
        except msgspec.MsgspecError:
            return "its record can't be read"
        problem = next(found._problems(), "")
        if not problem and found.layout != self.layout:
            raise layout.LabError(
                f"lab {self.layout.name} is up with other hosts, modes or MTU; "
                "end it first with 'mizar lab down', or give this one another --name"
            )
        return problem

    def down(self) -> None:
        """Removes every trace of the lab, whatever has crashed before. May be repeated."""
        processes.stop_all(self.layout)
        names = self._namespaces()
        processes.stop_inside(names)
        underlay.remove(names)
        pins.remove(self.layout.pin_directory)
        shutil.rmtree(self.layout.data_directory, ignore_errors=True)
        shutil.rmtree(self.layout.run_directory, ignore_errors=True)
        self.layout.socket.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            self.layout.socket.parent.rmdir()

    # ---- parts ----

    def start_server(self) -> None:
        """Starts the server and waits until it answers."""
        lab = self.layout
        command = ["server", "--listen", f"{layout.server_address()}:{layout.SERVER_PORT}"]
        command += ["--listen", f"unix:{lab.socket}"]
        command += ["--store", str(lab.data_directory / "server.db")]
        for prefix in layout.UNDERLAY_PREFIXES:
            command += ["--underlay", prefix]
        self._start("server", "server", command)
        self._wait("server", self._answers, "answers")

    def start_agent(self, host: str) -> None:
        """Starts the host's agent; returns at once."""
        modes = {known.name: known.mode for known in self.layout.hosts}
        command = ["agent", "--server", self.layout.server_url, "--uplink", layout.UPLINK]
        command += ["--name", host, "--mode", modes[host]]
        command += [
            "--pin-path",
            str(self.pins(host)),
            "--namespace-prefix",
            self.layout.netns(host),
        ]
        self._start(f"agent-{host}", host, command)

    def named(self, chosen: Sequence[str]) -> list[str]:
        """The processes of these names, or all; raises LabError for one that the lab hasn't."""
        for process in chosen:
            if process not in self.processes:
                known = ", ".join(self.processes)
                raise layout.LabError(f"process {process}: this lab's are {known}")
        return list(chosen) or self.processes

    @property
    def processes(self) -> list[str]:
        """``server`` and each ``agent-HOST``."""
        return ["server", *(f"agent-{host.name}" for host in self.layout.hosts)]

    def start(self, chosen: Sequence[str]) -> None:
        """Starts those of the processes that don't run; returns when every host is Ready."""
        for process in chosen:
            if self.runs(process):
                continue
            if process == "server":
                self.start_server()
            else:
                self.start_agent(process.removeprefix("agent-"))
        self.wait_hosts()

    def stop(self, process: str, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Ends ``server`` or ``agent-HOST``, and waits for the end."""
        processes.stop(self.layout, process, with_signal)

    def runs(self, process: str) -> bool:
        """Whether ``server`` or ``agent-HOST`` runs."""
        return processes.alive(self.layout, process)

    def pins(self, host: str) -> Path:
        """The host's directory of pins."""
        return self.layout.pin_directory / host

    # ---- use ----

    def client(self) -> rest.Client:
        """A connection to the server, to be closed by the caller."""
        return rest.Client(f"unix:{self.layout.socket}")

    def all_of(self, kind: str) -> list[Any]:
        """All resources of a kind (``Endpoint``)."""
        with self.client() as client:
            return list(client.list(registry.KINDS[kind]))

    def apply(self, text: str) -> Sequence[rest.Outcome]:
        """Applies a manifest: whole or not at all."""
        with self.client() as client:
            return client.apply(manifest.parse(text))

    def delete(self, text: str) -> Sequence[rest.Outcome]:
        """Deletes what a manifest names: whole or not at all."""
        with self.client() as client:
            return client.delete(manifest.parse(text))

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Returns when every resource is Ready; else raises LabError, naming those that aren't."""
        deadline = time.monotonic() + timeout_s
        while waiting := [r for kind in registry.KINDS for r in self.all_of(kind) if not _ready(r)]:
            if time.monotonic() > deadline:
                raise layout.LabError(
                    f"not Ready after {timeout_s:.0f} s: {_named(waiting)}; "
                    f"the logs are in {self.layout.run_directory}"
                )
            time.sleep(POLL_S)

    def workload(self, name: str, tenant: str = "") -> workloads.Workload:
        """The endpoint ``TENANT/NAME``, or ``NAME`` where that or ``tenant`` makes it one."""
        return workloads.find(self.workloads(), name, tenant)

    def workloads(self) -> list[workloads.Workload]:
        """Every endpoint that has a place, by tenant and name."""
        networks = {resources.key_of(network): network for network in self.all_of("Network")}
        found = [
            workloads.of(self.layout, endpoint, networks)
            for endpoint in self.all_of("Endpoint")
            if endpoint.status.host
        ]
        return sorted(found, key=lambda workload: workload.name)

    def netns(self, name: str, tenant: str = "") -> str:
        """The namespace of an endpoint, as for `workload`, or of a part: a host, ``server``."""
        part = self.layout.netns(name)
        if not tenant and part in self.layout.namespaces:
            return part
        try:
            return self.workload(name, tenant).netns
        except errors.Unreachable:
            return self._netns_without_server(f"{tenant}/{name}" if tenant else name)

    def counters(self) -> dict[str, dict[str, counters.Count]]:
        """Host -> reason -> packets and bytes so far."""
        return {host.name: counters.read(self.pins(host.name)) for host in self.layout.hosts}

    def status(self) -> Iterator[str]:
        """A line for each process and namespace."""
        for process in self.processes:
            state = "runs" if processes.alive(self.layout, process) else "does not run"
            yield f"{process} {state}; log: {processes.log_path(self.layout, process)}"
        for name in self._namespaces():
            yield f"namespace {name}"

    def run(
        self, endpoint: str, command: Sequence[str], timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end in the endpoint's namespace."""
        return self.run_in(self.workload(endpoint).netns, command, timeout_s)

    def run_in(
        self, netns: str, command: Sequence[str], timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end in a namespace, by name."""
        with namespaces.entered(netns):
            return subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, check=False
            )

    # ---- inside ----

    def _make(self) -> None:
        lab = self.layout
        for directory in (lab.run_directory, lab.data_directory, lab.socket.parent):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        underlay.make(lab)
        (lab.run_directory / "lab.json").write_bytes(msgspec.json.encode(lab))
        self.start_server()
        for host in lab.hosts:
            self.start_agent(host.name)
        self.wait_hosts()

    def wait_hosts(self) -> None:
        """Returns when every host has registered and is Ready, its agent connected."""
        for host in self.layout.hosts:
            agent = f"agent-{host.name}"
            self._wait(agent, functools.partial(self._host_answers, host.name), "is Ready")

    def _problems(self) -> Iterator[str]:
        """What makes a lab useless as it is, found without waiting."""
        yield from (f"{name} does not run" for name in self.processes if not self.runs(name))
        there = self._namespaces()
        yield from (f"no namespace {name}" for name in self.layout.namespaces if name not in there)
        for host in self.layout.hosts:
            if not self.pins(host.name).is_dir():
                yield f"nothing is pinned at {self.pins(host.name)}"
            try:
                if not self._host_ready(host.name):
                    yield f"host {host.name} is not Ready"
            except (errors.Unreachable, errors.Failed) as error:
                yield str(error)

    def _host_ready(self, name: str) -> bool:
        return any(host.metadata.name == name and _ready(host) for host in self.all_of("Host"))

    def _host_answers(self, name: str) -> bool:
        """A host stays Ready for a while when its agent or the server has ended."""
        with self.client() as client:
            return self._host_ready(name) and name not in client.drops(host=name).silent

    def _check_free(self) -> None:
        _check_root()
        if self._answers() and not self.layout.run_directory.exists():
            raise layout.LabError(
                f"a server that is no lab's answers at {self.layout.socket}; "
                "stop it, or give the lab another --name"
            )

    def _netns_without_server(self, name: str) -> str:
        """By the agents' naming, which is all that is known while no server answers."""
        tenant, _, endpoint = name.partition("/")
        homes = (self.layout.netns(host.name) for host in self.layout.hosts)
        named = (entries.own_netns(home, tenant, endpoint) for home in homes)
        found = [netns for netns in named if namespaces.exists(netns)]
        if len(found) == 1:
            return found[0]
        raise layout.LabError(
            f"endpoint {name}: no server answers and no namespace is named after it; "
            "give TENANT/NAME, or start the server with 'mizar lab start'"
        )

    def _namespaces(self) -> list[str]:
        """Namespaces of the lab that are there, workloads' included."""
        name = self.layout.name
        there = [path.name for path in namespaces.ROOT.glob(f"{name}-*")]
        mine = {known for known in there if layout.is_lab_netns(name, known)}
        for root in self.layout.pin_directory.glob("h*"):
            mine.update(pins.Pins(root).own_namespaces())
        return sorted(mine)

    def _start(self, process: str, part: str, arguments: Sequence[str]) -> None:
        mizar = str(Path(sys.executable).with_name("mizar"))
        processes.start(self.layout, process, self.layout.netns(part), [mizar, *arguments])

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.layout.socket)) == 0

    def _wait(self, process: str, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if not processes.alive(self.layout, process):
                self._give_up(process, "ended")
            if time.monotonic() > deadline:
                self._give_up(process, f"after {START_S:.0f} s not yet: {what}")
            time.sleep(POLL_S)

    def _give_up(self, process: str, what: str) -> None:
        raise layout.LabError(
            f"lab {self.layout.name}: {process} {what}; the end of its log:\n"
            + processes.log_tail(self.layout, process)
        )


def opened(name: str) -> Lab:
    """The lab of that name that is up; raises `layout.LabError` when there is none."""
    try:
        content = (layout.Layout(name, ["auto"]).run_directory / "lab.json").read_bytes()
    except FileNotFoundError:
        raise layout.LabError(f"there is no lab {name}; start it with 'mizar lab up'") from None
    lab = Lab(name)
    lab.layout = msgspec.json.decode(content, type=layout.Layout)
    return lab


def _check_root() -> None:
    if os.geteuid() != 0:
        raise layout.LabError("a lab needs root: namespaces, links and BPF programs are made")


def _ready(resource: resources.Resource) -> bool:
    return resource.status.phase == "Ready"


def _named(waiting: Sequence[resources.Resource]) -> str:
    shown = [f"{resources.key_of(r)} ({r.status.message or r.status.phase})" for r in waiting[:5]]
    more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
    return ", ".join(shown) + more
