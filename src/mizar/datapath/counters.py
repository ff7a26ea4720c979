"""The counters of one host, read from the pinned map: works with and without an agent."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mizar.bpf import maps, objects
from mizar.datapath import pins


class Count(NamedTuple):
    packets: int
    bytes: int


def read(pin_path: Path | str) -> dict[str, Count]:
    """Reason name -> packets and bytes, over all CPUs, in the order of bpf/reasons.h.

    Raises `mizar.bpf.errors.BpfError` when nothing is pinned there.
    """
    spec = objects.shipped("uplink")
    names = list(spec.types.enum("reason"))
    pin = pins.Pins(Path(pin_path)).maps / "counters"
    with maps.open(pin, spec.maps["counters"]) as counters:
        totals = {key: _total(value) for key, value in counters.items()}
    return {names[key].removeprefix("REASON_"): total for key, total in totals.items()}


def _total(per_cpu: list[Count]) -> Count:
    return Count(sum(c.packets for c in per_cpu), sum(c.bytes for c in per_cpu))
