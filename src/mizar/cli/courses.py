"""Ways of packets as people read them: explained, traced, and one beside the other."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from mizar.model import reports

HANDED: Final = ("STRIPPED", "LEFT_TO_TCX")
ARRIVED: Final = ("delivered", "answered")


class Row(NamedTuple):
    """A step as it was explained and as it happened; None: on one side only."""

    explained: reports.Step | None
    traced: reports.Step | None

    @property
    def agrees(self) -> bool:
        return bool(self.explained and self.traced and self.explained.key == self.traced.key)


def ordered(steps: Iterable[reports.TracedStep], start: str) -> list[reports.TracedStep]:
    """Several hosts' steps, packet after packet, each in the order of its way from ``start``.

    Hosts' clocks don't compare; but each step says where the packet went. What
    doesn't fit comes last.
    """
    left = [*steps]
    found: list[reports.TracedStep] = []
    while way := _way(left, start):
        found += way
    return found + left


def _way(left: list[reports.TracedStep], start: str) -> list[reports.TracedStep]:
    """One packet's steps, taken away; none when no packet's beginning is left."""
    found = _popped(left, start, "endpoint")
    while found and found[-1].step.next.startswith("host "):
        host = found[-1].step.next.removeprefix("host ")
        arrived = _popped(left, host, "uplink_xdp")
        if not arrived or arrived[-1].step.reason in HANDED:
            arrived += _popped(left, host, "uplink_tcx")
        if not arrived:
            break
        found += arrived
    return found


def _popped(steps: list[reports.TracedStep], host: str, program: str) -> list[reports.TracedStep]:
    """The first of a program on a host, taken away; none if there is none."""
    for number, traced in enumerate(steps):
        if (traced.step.host, traced.step.program) == (host, program):
            return [steps.pop(number)]
    return []


def beside(explained: Sequence[reports.Step], traced: Sequence[reports.Step]) -> list[Row]:
    """Both ways in rows, programs of the same host side by side where they can be."""
    places = [[(step.host, step.program) for step in steps] for steps in (explained, traced)]
    rows: list[Row] = []
    matcher = difflib.SequenceMatcher(None, places[0], places[1], autojunk=False)
    for kind, a, a_end, b, b_end in matcher.get_opcodes():
        if kind == "equal":
            rows += map(Row, explained[a:a_end], traced[b:b_end])
        else:
            rows += [Row(step, None) for step in explained[a:a_end]]
            rows += [Row(None, step) for step in traced[b:b_end]]
    return rows


def matching(
    explanation: reports.Explanation, traced: Sequence[reports.Step], packet: int
) -> tuple[str, reports.Course]:
    """The way that a packet took of those explained; else the one that it should have taken."""
    if same(explanation.first, explanation.next):
        return "every packet", explanation.first
    ways = (("first packet", explanation.first), ("next packet", explanation.next))
    for name, course in ways:
        if [step.key for step in course.steps] == [step.key for step in traced]:
            return name, course
    return ways[packet > 1]


def arrived(course: reports.Course) -> bool:
    """Whether the packet got to an endpoint, or was answered on its way."""
    return course.verdict in ARRIVED


def same(one: reports.Course, other: reports.Course) -> bool:
    return [step.key for step in one.steps] == [step.key for step in other.steps]


def verdict(course: reports.Course) -> str:
    """How it ends, in words."""
    if course.endpoint:
        return f"delivered to {course.endpoint} on {course.host}"
    return f"{course.verdict} on {course.host}: {course.reason}"


def flow(asked: reports.Flow) -> str:
    """What packets, in words."""
    port = f" port {asked.port} from port {asked.source_port}" if asked.port else ""
    size = f", {asked.bytes} bytes" if asked.bytes else ""
    return f"{asked.protocol}{port}, {asked.source} to {asked.destination}{size}"


def told(course: reports.Course) -> Iterator[str]:
    """Its steps, a line each, with what was read in the tables below."""
    width = max(len(step.host) for step in course.steps)
    for number, step in enumerate(course.steps, start=1):
        to = f" -> {step.next}" if step.next else ""
        yield f"  {number}. {step.host:<{width}}  {step.program}: {step.reason}{to}"
        yield f"     {'':<{width}}  {step.text}"
        yield from (f"     {'':<{width}}    {detail}" for detail in step.details)
