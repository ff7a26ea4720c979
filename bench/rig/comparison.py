"""Ours, kernel VXLAN and bare hosts in either regime, sampled in turn: tcp.py and rtt.py."""

import contextlib
from collections.abc import Callable
from typing import Any

from rig import backplane, figures, namespaces, paths, traffic

MODES = {"offload": ("tcx",), "wire": ("xdp", "tcx")}
"""Uplink modes to show in each regime: XDP on a veth turns its offloads off."""

BASELINES = ("vxlan", "bare")

Sample = Callable[[paths.Path], float]


def compare(bench: str, unit: str, rounds: int, sample: Sample, **more: Any) -> None:
    """Case REGIME-MODE for every regime and mode; a line per baseline."""
    for regime, modes in MODES.items():
        samples = _samples(regime, modes, rounds, sample)
        for mode in modes:
            for baseline in BASELINES:
                ours, theirs = samples[mode], samples[baseline]
                case = f"{regime}-{mode}"
                figures.emit(figures.line(bench, case, unit, ours, baseline, theirs, **more))


def _samples(
    regime: str, modes: tuple[str, ...], rounds: int, sample: Sample
) -> dict[str, list[float]]:
    with namespaces.Namespaces() as run, contextlib.ExitStack() as stack:
        under_test = {
            mode: stack.enter_context(backplane.mizar(run, regime, mode)) for mode in modes
        }
        under_test |= {"vxlan": paths.vxlan(run, regime), "bare": paths.bare(run, regime)}
        for path in under_test.values():
            traffic.serve(run, path.server)
            traffic.reach(path.client, path.address)
        return figures.alternate(
            {name: _bound(sample, path) for name, path in under_test.items()}, rounds
        )


def _bound(sample: Sample, path: paths.Path) -> Callable[[], float]:
    return lambda: sample(path)
