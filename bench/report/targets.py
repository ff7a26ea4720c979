"""What the data path is to reach, and what of it a run has reached."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rig import figures

OURS = ("mizar-tcx", "mizar-xdp")


class Target(NamedTuple):
    """`least`: whether `limit` is a lower one. `against`: a baseline; empty: the figure itself."""

    words: str
    bench: str
    figure: str
    case: Mapping[str, str | int]
    against: str
    limit: float
    least: bool
    subjects: Sequence[str] = OURS

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


def best(found: figures.Results, target: Target) -> Iterator[tuple[str, float]]:
    """The subject that fares best, and its figure; nothing if none was measured."""
    values = [
        (row.ratios[target.against] if target.against else row.median, row.subject)
        for row in found.of(target.bench, target.figure, **target.case)
        if row.subject in target.subjects
    ]
    if values:
        value, subject = max(values) if target.least else min(values)
        yield subject, value


def _tcp() -> Iterator[Target]:
    for regime in ("offload", "wire"):
        for streams in (1, 8):
            case = {"regime": regime, "streams": streams}
            where = f"TCP, `{regime}`, {streams} stream{'s' if streams > 1 else ''}"
            yield Target(f"{where}: rate to VXLAN's", "tcp", "rate", case, "vxlan", 1.0, True)
            yield Target(
                f"{where}: CPU per byte to VXLAN's", "tcp", "cpu", case, "vxlan", 0.9, False
            )


def _stretch() -> Iterator[Target]:
    for regime, against, limit in (
        ("offload", "vxlan", 1.3),
        ("offload", "bare", 0.95),
        ("wire", "vxlan", 1.15),
    ):
        words = f"stretch: TCP, `{regime}`, 1 stream: rate to {against}"
        case: dict[str, str | int] = {"regime": regime, "streams": 1}
        yield Target(words, "tcp", "rate", case, against, limit, True)


def _round_trips() -> Iterator[Target]:
    for regime in ("offload", "wire"):
        words = f"ping -f, `{regime}`, to VXLAN's"
        yield Target(words, "rtt", "ping -f", {"regime": regime}, "vxlan", 0.6, False)


def _transit() -> Iterator[Target]:
    run = {"run": "test_run"}
    hot = ("hot",)
    yield Target("transit, hot of 1,000,000, ns", "transit", "time", run, "", 60, False, hot)
    yield Target("transit, hot to a table of 1", "transit", "time", run, "one", 1.2, False, hot)


ALL = (*_tcp(), *_stretch(), *_round_trips(), *_transit())
