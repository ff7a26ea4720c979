"""How much of wire-xdp's figure is veth's: VXLAN with a bare XDP_PASS on its uplinks as well.

For XDP, veth copies every packet; a NIC's driver doesn't. Case `wire-xdp` has three lines: ours
and VXLAN as in tcp.py, ours beside VXLAN that pays the same copy, and that VXLAN beside itself
without, which is what the copy alone costs.
"""

import argparse
import contextlib
import functools
import socket

from mizar.bpf import links, objects
from mizar.datapath import namespaces as netns
from rig import backplane, figures, namespaces, paths, traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more and longer samples")
    rounds, seconds = (15, 3) if parser.parse_args().full else (7, 1)
    with namespaces.Namespaces() as run, contextlib.ExitStack() as stack:
        under_test = {
            "mizar": stack.enter_context(backplane.mizar(run, "wire", "xdp")),
            "vxlan": paths.vxlan(run, "wire"),
            "vxlan-xdp-pass": paths.vxlan(run, "wire", name="vxlan-xdp-pass"),
        }
        stack.enter_context(_xdp_pass(run, "vxlan-xdp-pass-wire"))
        measures = {}
        for name, path in under_test.items():
            traffic.serve(run, path.server)
            traffic.reach(path.client, path.address)
            measures[name] = functools.partial(
                traffic.tcp_gbit_s, path.client, path.address, seconds
            )
        samples = figures.alternate(measures, rounds)
    _emit(samples, "wire-xdp", "mizar", "vxlan", seconds)
    _emit(samples, "wire-xdp", "mizar", "vxlan-xdp-pass", seconds)
    _emit(samples, "xdp-pass", "vxlan-xdp-pass", "vxlan", seconds)


@contextlib.contextmanager
def _xdp_pass(run: namespaces.Namespaces, label: str):
    """XDP_PASS on the uplinks of the hosts that `paths.hosts` made under this label."""
    with objects.load([objects.shipped("pass")]) as loaded:
        for host in paths.host_names(run, label):
            with netns.entered(host):
                uplink = socket.if_nametoindex(paths.UPLINK)
                links.attach_xdp(loaded.programs["xdp_pass"], uplink)
        yield


def _emit(
    samples: dict[str, list[float]], case: str, ours: str, baseline: str, seconds: int
) -> None:
    figures.emit(
        figures.line(
            "veth", case, "Gbit/s", samples[ours], baseline, samples[baseline], seconds=seconds
        )
    )


if __name__ == "__main__":
    main()
