"""Samples taken in turn, and the rows that a benchmark makes of them.

A row is one quantity of one subject: a path, a program, a table. The subjects of a case are
sampled alternately in one run, so that a machine's mood hits all alike, and a row has the ratio
of its median to that of each baseline. Nothing is judged here: no figure makes a benchmark fail.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

ROUNDS_MIN = 5

Sample = TypeVar("Sample")


class Row(NamedTuple):
    """`case`: what was set, by name. `ratios`: by baseline, of the medians."""

    bench: str
    case: Mapping[str, str | int]
    subject: str
    figure: str
    unit: str
    median: float
    low: float
    high: float
    samples: int
    ratios: dict[str, float]


class Results(NamedTuple):
    """What a run of benchmarks found, and on what machine."""

    machine: dict[str, Any]
    rows: Sequence[Row]

    def of(self, bench: str, figure: str = "", **case: str | int) -> list[Row]:
        """Rows of a script; of a figure and of a case, as far as given."""
        return [
            row
            for row in self.rows
            if row.bench == bench
            and figure in ("", row.figure)
            and case.items() <= dict(row.case).items()
        ]


def alternate(measures: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """One sample of every measure per round, in an order that rotates by round.

    Rotating keeps any one measure from always following the same neighbour.
    """
    if rounds < ROUNDS_MIN:
        raise ValueError(f"{rounds} rounds: a median needs at least {ROUNDS_MIN}")
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    names = list(measures)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name].append(measures[name]())
    return samples


def rows(
    bench: str,
    case: Mapping[str, str | int],
    figure: str,
    unit: str,
    samples: Mapping[str, Sequence[float]],
    baselines: Iterable[str],
) -> list[Row]:
    """A row per subject, in the order of `samples`; the baselines are subjects as well."""
    medians = {subject: statistics.median(values) for subject, values in samples.items()}
    references = {name: medians[name] for name in baselines}
    return [
        Row(
            bench,
            dict(case),
            subject,
            figure,
            unit,
            short(medians[subject]),
            short(min(values)),
            short(max(values)),
            len(values),
            {
                name: short(medians[subject] / reference)
                for name, reference in references.items()
                if name != subject and reference
            },
        )
        for subject, values in samples.items()
    ]


def quantile(values: Sequence[float], fraction: float) -> float:
    """The sample at or below which `fraction` of the values lie (nearest rank); NaN without any."""
    if not values:
        return math.nan
    ranked = sorted(values)
    rank = -(-fraction * len(ranked) // 1)
    return ranked[max(0, int(rank) - 1)]


def emit(row: Row) -> None:
    """Print one row as one JSON line, at once."""
    print(json.dumps(row._asdict()), flush=True)


def read(text: str) -> list[Row]:
    """The rows of a file that `command` wrote."""
    return [Row(**row) for row in json.loads(text)["rows"]]


def written(rows: Iterable[Row], **about: Any) -> str:
    """The file's text: `about`, and the rows, one a line."""
    lines = ",\n".join(f"  {json.dumps(row._asdict())}" for row in rows)
    head = json.dumps({"schema": 1, **about}, indent=1)
    return f'{head[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'


def short(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
