"""Samples taken in turn, and the JSON line that a case prints.

A case is a measured quantity of ours beside the same quantity of a baseline,
sampled alternately in one run, so that a machine's mood hits both alike.
Nothing is judged here: no figure makes a benchmark fail.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROUNDS_MIN = 5


def alternate(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """One sample of every measure per round, in an order that rotates by round.

    Rotating keeps any one measure from always following the same neighbour.
    """
    if rounds < ROUNDS_MIN:
        raise ValueError(f"{rounds} rounds: a median needs at least {ROUNDS_MIN}")
    samples: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name].append(measures[name]())
    return samples


def line(
    bench: str,
    case: str,
    unit: str,
    ours: Sequence[float],
    baseline: str,
    theirs: Sequence[float],
    **more: Any,
) -> dict[str, Any]:
    """A case's figures; `ratio` is the median of ours over the median of theirs.

    `ratio_range` holds the lowest and highest ratio of one round, `value_range`
    and `baseline_range` the lowest and highest sample.
    """
    value, reference = statistics.median(ours), statistics.median(theirs)
    rounds = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "bench": bench,
        "case": case,
        "value": _short(value),
        "unit": unit,
        "baseline": baseline,
        "baseline_value": _short(reference),
        "ratio": _short(value / reference),
        "samples": len(ours),
        "value_range": [_short(min(ours)), _short(max(ours))],
        "baseline_range": [_short(min(theirs)), _short(max(theirs))],
        "ratio_range": [_short(min(rounds)), _short(max(rounds))],
        **more,
    }


def quantile(values: Sequence[float], fraction: float) -> float:
    """The sample at or below which `fraction` of the values lie (nearest rank); NaN without any."""
    if not values:
        return math.nan
    ranked = sorted(values)
    rank = -(-fraction * len(ranked) // 1)
    return ranked[max(0, int(rank) - 1)]


def emit(figures: Mapping[str, Any]) -> None:
    """Print one case as one JSON line, at once."""
    print(json.dumps(figures), flush=True)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
