"""Traces: an endpoint's host is asked to mark packets, and what every host reports is gathered.

Kept in memory, a bounded number for a bounded time; a trace belongs to its endpoint's tenant.
Each packet that is sent has a number of its own, so its steps can be told from others'.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from typing import Final, Literal

from mizar.datapath import rehearsal
from mizar.model import addresses, errors, reports, resources
from mizar.plan import stream
from mizar.server import controller, explain

TRACES_MAX: Final = 64  # traces kept, running ones included
TRACE_STEPS_MAX: Final = 1000  # steps kept of one trace
TRACE_PACKETS_MAX: Final = 100  # packets sent by one trace
TRACE_SECONDS_MAX: Final = 300  # seconds for which one trace marks live packets
TRACE_KEPT_S: Final = 300.0
NUMBERS: Final = 1 << 31


class _Trace:
    """One trace as it grows."""

    def __init__(
        self, numbers: range, endpoint: resources.Endpoint, flow: reports.Flow | None, live: bool
    ) -> None:
        self.numbers = numbers
        self.endpoint = endpoint
        self.flow = flow
        self.live = live
        self.state: Literal["running", "done", "failed"] = "running"
        self.done: stream.TraceDone | None = None
        self.error = ""
        self.steps: list[reports.TracedStep] = []
        self.omitted = 0
        self.began = time.monotonic()

    def add(self, step: reports.TracedStep) -> None:
        if len(self.steps) < TRACE_STEPS_MAX:
            self.steps.append(step)
        else:
            self.omitted += 1

    def end(self, error: str) -> None:
        self.state = "failed" if error else "done"
        self.error = error


class Traces:
    """What is traced, and the way to the agents that can."""

    def __init__(self, served: controller.Controller) -> None:
        self._controller = served
        self._ways: dict[str, asyncio.Queue[stream.TraceRequest]] = {}
        self._traces: dict[int, _Trace] = {}
        self._by_number: dict[int, _Trace] = {}
        self._next = itertools.count(secrets.randbelow(NUMBERS))

    # ---- agents ----

    def connected(self, host: str) -> asyncio.Queue[stream.TraceRequest]:
        """The host's agent takes requests from this queue, until `disconnected`."""
        self._ways[host] = asyncio.Queue()
        return self._ways[host]

    def disconnected(self, host: str) -> None:
        self._ways.pop(host, None)
        for trace in self._traces.values():
            if trace.state == "running" and trace.endpoint.status.host == host:
                trace.end(f"the agent of host {host} has gone; try again when it is back")

    def take(self, host: str, told: stream.TraceReports) -> None:
        for report in told.reports:
            if trace := self._by_number.get(report.trace):
                trace.add(self._step(host, trace, report))
        # Whose they were isn't known: each of these traces may have lost so many.
        for trace in {t for r in told.reports if (t := self._by_number.get(r.trace))}:
            trace.omitted += told.lost

    def finish(self, done: stream.TraceDone) -> None:
        if trace := self._traces.get(done.trace):
            trace.done = done
            trace.end(done.error)

    # ---- people ----

    def begin(self, endpoint: resources.Endpoint, wish: reports.TraceWish) -> reports.Trace:
        """Raises `errors.Refused` when it can't be."""
        named, host = str(resources.key_of(endpoint)), endpoint.status.host
        flow = self._flow(endpoint, wish)
        if not wish.count and not 0 < wish.seconds <= TRACE_SECONDS_MAX:
            remedy = f"give a count, or up to {TRACE_SECONDS_MAX} seconds for live packets"
            raise _refused(named, "seconds", f"{wish.seconds:g} seconds can't be traced", remedy)
        if not 0 <= wish.count <= TRACE_PACKETS_MAX:
            message = f"{wish.count} packets are too many or too few"
            raise _refused(named, "count", message, f"give up to {TRACE_PACKETS_MAX}")
        if host not in self._ways:
            message = f"the agent of its host {host} isn't connected, or is too old to trace"
            raise _refused(named, "", message, f"start it (mizar agent on {host})", "conflict")
        trace = self._opened(endpoint, flow, wish)
        self._ways[host].put_nowait(self._request(trace, wish))
        return self.told(trace.numbers.start, resources.key_of(endpoint))

    def told(self, number: int, endpoint: resources.Key) -> reports.Trace:
        """A trace of an endpoint so far; an `errors.NotFound` when there is none."""
        trace = self._traces.get(number)
        if trace is None or resources.key_of(trace.endpoint) != endpoint:
            remedy = f"begin another: traces are kept for {TRACE_KEPT_S:g} s"
            raise errors.NotFound(
                [errors.Problem(f"trace {number}", "", "it doesn't exist", remedy, "not_found")]
            )
        done, flow = trace.done, trace.flow
        if done and flow and done.source_port:
            flow = reports.Flow(
                flow.source,
                flow.destination,
                flow.protocol,
                done.source_port,
                flow.port,
                flow.bytes,
            )
        return reports.Trace(
            number=number,
            tenant=endpoint.tenant,
            endpoint=endpoint.name,
            host=trace.endpoint.status.host,
            state=trace.state,
            flow=flow,
            steps=trace.steps,
            answers=done.answers if done else [],
            error=trace.error,
            omitted=trace.omitted,
        )

    # ---- inside ----

    def _flow(self, endpoint: resources.Endpoint, wish: reports.TraceWish) -> reports.Flow | None:
        """The packets to be sent; None: live ones, of which only some things may be said."""
        state = self._controller.ledger.state
        if wish.count:
            question = explain.Question(
                endpoint, wish.to, wish.protocol or "icmp", wish.source_port, wish.port, wish.bytes
            )
            return explain.flow(state, question)
        named = str(resources.key_of(endpoint))
        explain.check_ports(named, wish.protocol, wish.source_port, wish.port, needed=False)
        return None

    def _opened(
        self, endpoint: resources.Endpoint, flow: reports.Flow | None, wish: reports.TraceWish
    ) -> _Trace:
        self._make_room()
        first = 1 + next(self._next) % NUMBERS
        for _ in range(wish.count - 1):
            next(self._next)
        trace = _Trace(range(first, first + max(wish.count, 1)), endpoint, flow, not wish.count)
        self._traces[first] = trace
        self._by_number |= dict.fromkeys(trace.numbers, trace)
        return trace

    def _make_room(self) -> None:
        """Forgets what is old, and the oldest that has ended when there are too many."""
        ended = [n for n, trace in self._traces.items() if trace.state != "running"]
        old = [n for n in ended if time.monotonic() - self._traces[n].began > TRACE_KEPT_S]
        if len(self._traces) - len(old) >= TRACES_MAX:
            old += [n for n in ended if n not in old][:1]
        if len(self._traces) - len(old) >= TRACES_MAX:
            message, remedy = f"{TRACES_MAX} are running already", "try again when one has ended"
            raise _refused("traces", "", message, remedy, "exhausted")
        for number in old:
            for each in self._traces.pop(number).numbers:
                del self._by_number[each]

    def _request(self, trace: _Trace, wish: reports.TraceWish) -> stream.TraceRequest:
        endpoint, flow = trace.endpoint, trace.flow
        to = flow.destination if flow else ""
        if not flow and wish.to:
            to = explain.target(self._controller.ledger.state, endpoint, wish.to)
        protocol = flow.protocol if flow else wish.protocol
        version = addresses.family(to or endpoint.status.addresses[0])
        return stream.TraceRequest(
            trace=trace.numbers.start,
            uid=endpoint.metadata.uid,
            protocol=rehearsal.protocol_number(protocol, version) if protocol else 0,
            destination=to,
            source_port=wish.source_port,
            destination_port=wish.port,
            count=wish.count,
            bytes=wish.bytes,
            seconds=wish.seconds,
        )

    def _step(self, host: str, trace: _Trace, report: stream.TraceReport) -> reports.TracedStep:
        following = self._controller.ledger.state.host_at(report.next) if report.next else None
        step = reports.Step(
            host=host,
            program=report.program,
            reason=report.reason,
            text=explain.TEXTS.get(report.reason, ""),
            next=f"host {following or report.next}" if report.next else "",
        )
        packet = 0 if trace.live else report.trace - trace.numbers.start + 1
        return reports.TracedStep(packet, step, report.source, report.destination)


def _refused(
    named: str, field: str, message: str, remedy: str, code: errors.Code = "invalid"
) -> errors.Refused:
    return errors.refused([errors.Problem(named, field, message, remedy, code)])
