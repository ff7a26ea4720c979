"""What the system tells people of packets: what was lost, and which way one goes or went."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Protocol = Literal["icmp", "tcp", "udp"]
PROTOCOLS: Final = ("icmp", "tcp", "udp")


class Loss(msgspec.Struct, frozen=True):
    """Packets lost on one host for one reason.

    ``tenant`` and ``endpoint``: whose packets they were, where the host knows;
    else ``tenant`` and ``vpc``: whose network they were in, where ``vni`` tells;
    else all three are empty: nobody's but the host's. ``packets``, ``bytes``: so far. ``rate``:
    packets a second, lately. ``source``, ``destination``: of the last one, or empty.
    ``seen``: when the server last heard of more of them (RFC 3339, UTC); empty: not yet.
    """

    host: str
    reason: str
    packets: int
    bytes: int
    rate: float = 0.0
    tenant: str = ""
    endpoint: str = ""
    vpc: str = ""
    vni: int = 0
    source: str = ""
    destination: str = ""
    seen: str = ""


class Flow(msgspec.Struct, frozen=True):
    """What packets: ``source`` and ``destination`` are addresses, ``bytes`` the IP packet's length.

    Ports are 0 for icmp, which means echo requests; tcp means SYNs.
    """

    source: str
    destination: str
    protocol: Protocol
    source_port: int = 0
    port: int = 0
    bytes: int = 0


class Step(msgspec.Struct, frozen=True):
    """A program on a packet's way: what it decided, and where the packet went from there.

    ``text``: what the reason means. ``details``: which tables it read, and what they said.
    """

    host: str
    program: str
    reason: str
    text: str = ""
    details: list[str] = []
    next: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a step that was explained and one that was traced have in common."""
        return (self.host, self.program, self.reason)


class Course(msgspec.Struct, frozen=True):
    """One packet's whole way. ``verdict``: ``delivered``, ``dropped``, ``answered`` and others.

    ``host``: where it ended; ``endpoint``: whom it was delivered to, as ``TENANT/NAME``.
    """

    steps: list[Step]
    verdict: str
    host: str
    reason: str
    endpoint: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """What the model says of an endpoint's packets: the first one's way, and the next one's.

    ``notes``: why life may differ.
    """

    tenant: str
    endpoint: str
    flow: Flow
    first: Course
    next: Course
    notes: list[str] = []


class TracedStep(msgspec.Struct, frozen=True):
    """A step that happened. ``packet``: which of those sent, from 1; 0: one that was marked live.

    ``source``, ``destination``: the packet's addresses as the program saw them, or empty.
    """

    packet: int
    step: Step
    source: str = ""
    destination: str = ""


class Trace(msgspec.Struct, frozen=True):
    """A trace so far. ``answers[i]``: what answered packet i + 1; empty: nothing did.

    ``state``: ``done`` once nothing more is sent or marked; steps may still arrive for a
    moment. ``error``: why it failed. ``omitted``: steps that there was no room for.
    """

    number: int
    tenant: str
    endpoint: str
    host: str
    state: Literal["running", "done", "failed"]
    flow: Flow | None = None
    steps: list[TracedStep] = []
    answers: list[str] = []
    error: str = ""
    omitted: int = 0


class TraceWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to trace: ``count`` packets to be sent, or, with 0, live ones for ``seconds``.

    ``to``: an endpoint's name, ``TENANT/NAME``, or an address. Live: an empty ``to`` or
    ``protocol`` and a port 0 mean any.
    """

    to: str = ""
    protocol: Literal["", "icmp", "tcp", "udp"] = ""
    port: int = 0
    source_port: int = 0
    bytes: int = 0
    count: int = 0
    seconds: float = 0.0
