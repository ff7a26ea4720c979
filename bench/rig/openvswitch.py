"""Open vSwitch's userspace datapath with Geneve: the best of OVS that runs without its module.

Each host has an ovsdb-server and an ovs-vswitchd of its own, ended with the run. Bridge br-phy
holds the uplink (AF_XDP, without a polling thread of its own) and the tunnel's address, br-int
the Geneve port and the workload's. OVS's kernel datapath is another thing, and faster.
"""

import contextlib
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Iterator

from rig import namespaces, paths

VNI = 7
OVERHEAD = 50
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
START_S = 10.0


@contextlib.contextmanager
def ovs(run: namespaces.Namespaces, regime: str) -> Iterator[paths.Path]:
    """Endpoints on two hosts that run OVS."""
    label = f"ovs-{regime}"
    pair = paths.hosts(run, label, regime)
    mtu = paths.UNDERLAY_MTU - OVERHEAD
    ends = [
        paths.workload(run, host, f"{label}-{index}", index, mtu) for index, host in enumerate(pair)
    ]
    with contextlib.ExitStack() as stack:
        for index, (host, end) in enumerate(zip(pair, ends, strict=True)):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=namespaces.PREFIX))
            switch = Switch(run, host, pathlib.Path(directory))
            stack.callback(switch.stop)
            switch.start()
            _bridges(switch, index)
            # The userspace datapath takes a packet's checksum as it stands.
            namespaces.run(namespaces.inside(end, ["ethtool", "-K", "eth0", "tx", "off"]))
        yield paths.Path(ends[0], ends[1], paths.ENDPOINT_ADDRESSES[1])


class Switch:
    """One host's OVS, with its database, sockets and logs in `directory`."""

    def __init__(self, run: namespaces.Namespaces, host: str, directory: pathlib.Path) -> None:
        self.host = host
        self._run = run
        self._directory = directory
        self._database = f"unix:{directory / 'db.sock'}"
        self._control = directory / "switch.ctl"
        self._daemons: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        file = str(self._directory / "conf.db")
        namespaces.run(["ovsdb-tool", "create", file, SCHEMA])
        self._daemon(["ovsdb-server", file, f"--remote=p{self._database}"], "db.ctl")
        _await(self._directory / "db.sock")
        self.configure("--no-wait", "init")
        self._daemon(["ovs-vswitchd", self._database], self._control.name)
        _await(self._control)

    def configure(self, *words: str) -> None:
        """ovs-vsctl; returns when the daemon has done it."""
        namespaces.run(["ovs-vsctl", f"--db={self._database}", "--timeout=10", *words])

    def control(self, *words: str) -> None:
        """ovs-appctl, to the daemon."""
        namespaces.run(["ovs-appctl", "-t", str(self._control), *words])

    def stop(self) -> None:
        """End both daemons, the switch first; the directory is theirs until then."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait()

    def _daemon(self, command: list[str], control: str) -> None:
        own = [f"OVS_{kind}DIR={self._directory}" for kind in ("RUN", "LOG", "DB", "SYSCONF")]
        more = [f"--unixctl={self._directory / control}", "-vconsole:off", "--no-chdir"]
        self._daemons.append(self._run.start(self.host, ["env", *own, *command, *more]))


def _bridges(switch: Switch, index: int) -> None:
    other = 1 - index
    userspace = "datapath_type=netdev"
    commands = (
        f"add-br br-phy -- set bridge br-phy {userspace}"
        f" other-config:hwaddr={paths.HOST_MACS[index]} -- add-port br-phy {paths.UPLINK}"
        f" -- set interface {paths.UPLINK} type=afxdp-nonpmd"
        f" -- add-br br-int -- set bridge br-int {userspace} -- add-port br-int port"
        " -- add-port br-int geneve0 -- set interface geneve0 type=geneve"
        f" options:remote_ip={paths.HOST_ADDRESSES[other]} options:key={VNI}"
    )
    switch.configure(*commands.split())
    address = paths.HOST_ADDRESSES[index]
    namespaces.links(
        switch.host,
        f"address delete {address}/24 dev {paths.UPLINK}\n"
        f"address add {address}/24 dev br-phy\nlink set br-phy up\nlink set port up",
    )
    switch.control("tnl/neigh/set", "br-phy", paths.HOST_ADDRESSES[other], paths.HOST_MACS[other])


def _await(path: pathlib.Path) -> None:
    deadline_s = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{path}: Open vSwitch didn't make it in {START_S:.0f} s")
        time.sleep(0.02)
