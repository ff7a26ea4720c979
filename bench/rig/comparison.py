"""Our paths and others' in either regime, sampled in turn: what every bench of two hosts needs."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from rig import backplane, classic, figures, namespaces, openvswitch, paths, traffic

MODES = {"offload": ("tcx",), "wire": ("xdp", "tcx")}
"""Uplink modes to show in each regime: XDP on a veth turns its offloads off."""

BASELINES = ("vxlan", "bare")

Sample = TypeVar("Sample")


@contextlib.contextmanager
def under_test(
    regime: str, peers: bool
) -> Iterator[tuple[namespaces.Namespaces, dict[str, paths.Path]]]:
    """Every path of a regime, by subject, known to answer; and what to start servers with.

    peers: OVS and the classic design too, not only ours and the baselines.
    """
    with namespaces.Namespaces() as run, contextlib.ExitStack() as stack:
        made = {
            f"mizar-{mode}": stack.enter_context(backplane.mizar(run, regime, mode))
            for mode in MODES[regime]
        }
        if peers:
            made["classic"] = stack.enter_context(classic.classic(run, regime))
            made["ovs"] = stack.enter_context(openvswitch.ovs(run, regime))
        made |= {"vxlan": paths.vxlan(run, regime), "bare": paths.bare(run, regime)}
        for path in made.values():
            traffic.reach(path.client, path.address)
        yield run, made


def sampled(
    measured: dict[str, paths.Path], rounds: int, sample: Callable[[paths.Path], Sample]
) -> dict[str, list[Sample]]:
    """`rounds` samples of every path, by subject."""
    return figures.alternate(
        {name: _bound(sample, path) for name, path in measured.items()}, rounds
    )


def _bound(sample: Callable[[paths.Path], Sample], path: paths.Path) -> Callable[[], Sample]:
    return lambda: sample(path)
