"""The command line that every benchmark has: how long to measure, and where to write the rows."""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from rig import figures

Choice = TypeVar("Choice")

EFFORTS = ("quick", "usual", "full")


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long a run may take: `quick`, `usual` or `full`."""

    name: str

    def of(self, quick: Choice, usual: Choice, full: Choice) -> Choice:
        """The value for this effort."""
        return {"quick": quick, "usual": usual, "full": full}[self.name]


def run(purpose: str, measure: Callable[[Effort], Iterable[figures.Row]]) -> None:
    """Print each row as it is made; with --json write them all to a file as well.

    purpose: the script's docstring, whose first line is the help's.
    """
    parser = argparse.ArgumentParser(description=purpose.splitlines()[0])
    parser.add_argument("--quick", action="store_const", const="quick", dest="effort")
    parser.add_argument("--full", action="store_const", const="full", dest="effort")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the rows there")
    given = parser.parse_args()
    rows = []
    for row in measure(Effort(given.effort or "usual")):
        figures.emit(row)
        rows.append(row)
    if given.json:
        given.json.write_text(figures.written(rows))
