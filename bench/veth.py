"""How much of wire-xdp's figure is veth's: VXLAN with a bare XDP_PASS on its uplinks as well.

For XDP, veth copies every packet; a NIC's driver doesn't. Ours and VXLAN as in tcp.py, one stream
in regime `wire`, and VXLAN that pays the same copy: its ratio to VXLAN is what the copy costs.
"""

import contextlib
import socket
from collections.abc import Iterator

from mizar.bpf import links, objects
from mizar.datapath import namespaces as netns
from rig import backplane, command, comparison, figures, namespaces, paths, traffic


def main() -> None:
    command.run(__doc__, measure)


def measure(effort: command.Effort) -> Iterator[figures.Row]:
    rounds, seconds = effort.of((5, 1), (7, 1), (15, 3))
    with namespaces.Namespaces() as run, contextlib.ExitStack() as stack:
        under_test = {
            "mizar-xdp": stack.enter_context(backplane.mizar(run, "wire", "xdp")),
            "vxlan": paths.vxlan(run, "wire"),
            "vxlan-xdp-pass": paths.vxlan(run, "wire", name="vxlan-xdp-pass"),
        }
        stack.enter_context(_xdp_pass(run, "vxlan-xdp-pass-wire"))
        for path in under_test.values():
            traffic.serve(run, path.server)
            traffic.reach(path.client, path.address)
        samples = comparison.sampled(
            under_test, rounds, lambda path: traffic.tcp(path.client, path.address, seconds)
        )
    rates = {name: [stream.gbit_s for stream in taken] for name, taken in samples.items()}
    case: dict[str, str | int] = {"regime": "wire", "streams": 1}
    yield from figures.rows("veth", case, "rate", "Gbit/s", rates, ["vxlan", "vxlan-xdp-pass"])


@contextlib.contextmanager
def _xdp_pass(run: namespaces.Namespaces, label: str) -> Iterator[None]:
    """XDP_PASS on the uplinks of the hosts that `paths.hosts` made under this label."""
    with objects.load([objects.shipped("pass")]) as loaded:
        for host in paths.host_names(run, label):
            with netns.entered(host):
                uplink = socket.if_nametoindex(paths.UPLINK)
                links.attach_xdp(loaded.programs["xdp_pass"], uplink)
        yield


if __name__ == "__main__":
    main()
