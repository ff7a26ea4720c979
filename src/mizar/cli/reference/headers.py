"""What bpf/reasons.h and bpf/model.h declare, read as text: their comments are in no object."""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

_REASON = re.compile(r'REASON\((\w+), (\w+), "([^"]*)"\)')
_LIMIT = re.compile(r"^\tLIMIT_(\w+) = (\d+),\s*/\* (.*?) \*/$", re.MULTILINE)
_TIME = re.compile(r"^#define (\w+_NS) (\d+)ULL\s*/\* (.*?) \*/$", re.MULTILINE)


class Reason(NamedTuple):
    name: str
    verdict: str
    text: str


class Number(NamedTuple):
    name: str
    value: int
    text: str


def reasons(root: pathlib.Path) -> list[Reason]:
    """In the order of the enum."""
    text = (root / "bpf/reasons.h").read_text()
    return [Reason(*found.groups()) for found in _REASON.finditer(text)]


def limits(root: pathlib.Path) -> list[Number]:
    """The LIMIT_* of model.h, without that prefix."""
    return _numbers(_LIMIT, root)


def times(root: pathlib.Path) -> list[Number]:
    """The *_NS of model.h."""
    return _numbers(_TIME, root)


def _numbers(pattern: re.Pattern[str], root: pathlib.Path) -> list[Number]:
    text = (root / "bpf/model.h").read_text()
    return [Number(name, int(value), why) for name, value, why in pattern.findall(text)]
