"""Filters set and taken away, events told: the agent's part of a trace, without a kernel."""

import asyncio

import pytest

from mizar.agent import traces
from mizar.bpf import objects
from mizar.datapath import tables
from mizar.plan import entries, stream

ENDPOINT = entries.EndpointEntry(
    uid="u1", tenant="blue", name="web", vni=7, addresses=["10.0.0.5"], prefixes=["10.0.0.0/24"],
    gateways=["10.0.0.1"], mac="02:00:00:00:00:05", netns="", interface="eth0", identity=3,
    generation=9,
)  # fmt: skip
WEB = 17
TYPES = objects.shipped("endpoint").types


class Table(dict):
    def delete(self, key):
        return self.pop(key, None) is not None

    def update(self, key, value):
        self[key] = TYPES.struct("trace_filter").type(*value)


class Host:
    """An agent's surroundings: its filters, whether they count, what went to the server."""

    def __init__(self):
        self.filters = Table()
        self.tracing = None
        self.sent = asyncio.Queue()
        self.traces = traces.Traces(
            TYPES,
            self.filters,
            self.switch,
            lambda uid: (WEB, ENDPOINT) if uid == "u1" else None,
            lambda entry: "no-such-namespace",
            self.worked,
            self.sent.put,
        )

    def switch(self, on):
        self.tracing = on

    async def worked(self, work):
        return work()

    def event(self, **fields):
        zero = dict.fromkeys(("type", "trace", "program", "reason", "vni", "ifindex", "ns"), 0)
        ends = dict.fromkeys(("source", "destination", "next"), bytes(16))
        row = TYPES.struct("trace_event").type(**{**zero, **ends, **fields})
        self.traces.event(TYPES.struct("trace_event").encode(row))


def run(scenario):
    async def whole():
        await asyncio.wait_for(scenario(Host()), 10)

    asyncio.run(whole())


def live(**other):
    fields = {"trace": 5, "uid": "u1", "protocol": 17, "destination": "10.0.0.9", "seconds": 0.2}
    return stream.TraceRequest(**{**fields, **other})


def test_live_packets_are_marked_for_as_long_as_asked_and_no_longer():
    async def scenario(host):
        host.traces.take(live(destination_port=53))
        await asyncio.sleep(0.1)
        row = host.filters[WEB]
        assert (row.trace, row.protocol, row.source_port, row.destination_port) == (5, 17, 0, 53)
        assert row.destination == tables.address_bytes("10.0.0.9")
        assert host.tracing is True
        assert await host.sent.get() == stream.TraceDone(5)
        assert (host.filters, host.tracing) == ({}, False)

    run(scenario)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (live(trace=6), "it is being traced already"),
        (live(trace=6, uid="other"), "isn't on its host yet"),
    ],
)
def test_what_cannot_be_traced_now_is_refused_with_the_reason(second, why):
    async def scenario(host):
        host.traces.take(live())
        host.traces.take(second)
        done = await host.sent.get()
        assert done.trace == 6
        assert why in done.error
        assert host.filters[WEB].trace == 5

    run(scenario)


def test_a_workload_without_an_address_of_the_family_or_without_a_namespace_is_told_so():
    async def scenario(host):
        host.traces.take(live(count=1, destination="fd00::9"))
        assert "no IPv6 address to send from" in (await host.sent.get()).error
        host.traces.take(live(count=1))
        assert "no-such-namespace" in (await host.sent.get()).error
        assert (host.filters, host.tracing) == ({}, False)

    run(scenario)


def test_events_are_told_in_words_and_together():
    async def scenario(host):
        reason, program = TYPES.enum("reason")["REASON_ROUTED"], TYPES.enum("program")
        place = tables.address_bytes("192.0.2.3")
        host.event(trace=5, program=program["PROGRAM_UPLINK_XDP"], reason=reason, next=place)
        host.event(trace=6, program=program["PROGRAM_ENDPOINT"], reason=reason, vni=7)
        told = await host.sent.get()
        first, second = told.reports
        assert (first.program, first.reason, first.next) == ("uplink_xdp", "ROUTED", "192.0.2.3")
        assert (second.program, second.vni, second.next) == ("endpoint", 7, "")

    run(scenario)


def test_events_beyond_what_a_message_holds_are_counted():
    async def scenario(host):
        for _ in range(traces.REPORTS_MAX + 3):
            host.event(trace=5, program=1)
        told = await host.sent.get()
        assert (len(told.reports), told.lost) == (traces.REPORTS_MAX, 3)

    run(scenario)


def test_filters_that_an_agent_left_are_taken_away_at_the_next_ones_start():
    async def scenario(host):
        host.filters.update(WEB, (5, 0, bytes(3), 0, 0, 0, bytes(16), 1))
        host.tracing = True
        host.traces.clear()
        assert (host.filters, host.tracing) == ({}, False)

    run(scenario)


def test_an_agent_that_ends_takes_its_filters_with_it():
    async def scenario(host):
        host.traces.take(live(seconds=60.0))
        await asyncio.sleep(0.05)
        assert host.tracing is True
        await host.traces.close()
        assert (host.filters, host.tracing) == ({}, False)

    run(scenario)
