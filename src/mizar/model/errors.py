"""Why a request is refused: a short closed set, each with a code for machines.

A refusal carries one `Problem` per thing that is wrong, all of them at once.
Nothing here knows HTTP or exit codes; the server and the CLI map `code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

Code = Literal["invalid", "not_found", "conflict", "in_use", "exhausted"]


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    ``object`` names what was asked for (``Endpoint acme/web1``), ``field`` the
    place in it (``spec.addresses[0]``, may be empty), ``remedy`` what to do next.
    """

    object: str
    field: str
    message: str
    remedy: str
    code: Code = "invalid"

    def __str__(self) -> str:
        place = f"{self.object}: {self.field}" if self.field else self.object
        return f"{place}: {self.message}; {self.remedy}"


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """Base: the request as a whole is refused and nothing has changed."""

    code: ClassVar[Code] = "invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class Invalid(Refused):
    """The request contradicts the rules, whatever the state (also: problems of several codes)."""


class NotFound(Refused):
    """What is to be replaced or deleted isn't there."""

    code = "not_found"


class Conflict(Refused):
    """A name, address or revision is taken: another request was there first."""

    code = "conflict"


class InUse(Refused):
    """What is to be deleted is used by others."""

    code = "in_use"


class Exhausted(Refused):
    """No number, address or host is left to give."""

    code = "exhausted"


CLASSES: dict[Code, type[Refused]] = {
    kind.code: kind for kind in (Invalid, NotFound, Conflict, InUse, Exhausted)
}


def refused(problems: Sequence[Problem]) -> Refused:
    """The exception for these problems: their common code's, `Invalid` when they differ."""
    codes = {problem.code for problem in problems}
    return CLASSES[codes.pop() if len(codes) == 1 else "invalid"](problems)
