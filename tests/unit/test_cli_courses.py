"""Steps of packets put in order, and what was explained beside what happened."""

import itertools

import pytest

from mizar.cli import courses
from mizar.model import reports


def step(host, program, reason, next=""):
    return reports.Step(host, program, reason, next=next)


WAY = [
    step("h1", "endpoint", "SENT_ROUTER", "host h3"),
    step("h3", "uplink_xdp", "LEFT_TO_TCX"),
    step("h3", "uplink_tcx", "ROUTED", "host h1"),
    step("h1", "uplink_xdp", "STRIPPED"),
    step("h1", "uplink_tcx", "DELIVERED"),
]
DIRECT = [
    step("h1", "endpoint", "SENT_DIRECT", "host h3"),
    step("h3", "uplink_tcx", "DELIVERED"),
]


def traced(steps):
    return [reports.TracedStep(1, each) for each in steps]


def plain(steps):
    return [each.step for each in steps]


@pytest.mark.parametrize("shuffled", [*itertools.permutations(range(5))][::7])
def test_reports_of_several_hosts_are_put_in_the_order_of_the_way(shuffled):
    seen = traced([WAY[number] for number in shuffled])
    assert plain(courses.ordered(seen, "h1")) == WAY


TWICE = [
    step("h1", "endpoint", "SENT_ROUTER", "host h2"),
    step("h2", "uplink_xdp", "ROUTED", "host h3"),
    step("h3", "uplink_xdp", "SWITCHED", "host h2"),
    step("h2", "uplink_xdp", "STRIPPED"),
    step("h2", "uplink_tcx", "DELIVERED"),
]


def test_a_host_that_the_packet_passes_before_it_ends_there_comes_twice():
    seen = traced([TWICE[number] for number in (4, 1, 3, 2, 0)])
    assert plain(courses.ordered(seen, "h1")) == TWICE


def test_several_live_packets_follow_one_another():
    assert plain(courses.ordered(traced([*DIRECT[::-1], *DIRECT]), "h1")) == DIRECT * 2


def test_what_does_not_fit_comes_last():
    stray = step("h7", "uplink_tcx", "NOT_HERE")
    assert plain(courses.ordered(traced([stray, *DIRECT]), "h1")) == [*DIRECT, stray]


def test_a_difference_stands_beside_what_was_explained():
    other = [DIRECT[0], step("h3", "uplink_tcx", "NOT_HERE")]
    rows = courses.beside(DIRECT, other)
    assert [row.agrees for row in rows] == [True, False]
    assert (rows[1].explained.reason, rows[1].traced.reason) == ("DELIVERED", "NOT_HERE")


def test_a_step_that_is_missing_or_too_many_has_no_partner():
    missing = courses.beside(DIRECT, DIRECT[:1])
    assert (missing[1].explained, missing[1].traced) == (DIRECT[1], None)
    extra = courses.beside(DIRECT[:1], DIRECT)
    assert (extra[1].explained, extra[1].traced) == (None, DIRECT[1])


@pytest.mark.parametrize(
    ("steps", "packet", "name"),
    [
        (WAY, 1, "first packet"),
        (DIRECT, 1, "next packet"),  # somebody else has taught the host
        (WAY, 2, "first packet"),
        (DIRECT[:1], 1, "first packet"),  # fits neither: what should have been
        (DIRECT[:1], 2, "next packet"),
    ],
)
def test_a_packet_is_held_against_the_way_that_it_took(steps, packet, name):
    flow = reports.Flow("10.0.0.2", "10.0.0.3", "icmp")
    first, following = (reports.Course(s, "delivered", "h1", "DELIVERED") for s in (WAY, DIRECT))
    explanation = reports.Explanation("acme", "a", flow, first, following)
    assert courses.matching(explanation, steps, packet)[0] == name
