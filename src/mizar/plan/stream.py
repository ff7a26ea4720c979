"""Messages of the host stream: one WebSocket per agent, MessagePack frames.

The agent opens ``/v1/hosts/NAME/stream`` and says `Hello` with the epoch and
revision it has applied (0 when it has nothing). The server answers with the
missing `Update`s, or with a snapshot when it can't: `Update` with
``snapshot=True`` carries the whole desired state, and entries absent from it
are to be removed. A large snapshot comes in several `Update`s; all but the
last have ``more=True``, and only the last is acknowledged. The agent answers
each batch it has applied with one cumulative `Ack`; entries that it could not
apply are named in ``failures`` and do not hold back the others.

``epoch`` names one life of a server: revisions compare only within an epoch.

Beside that, for people: `Drops` up about once a second, when something changed;
`TraceRequest` down to the host of the endpoint whose packets are to be traced,
`TraceReports` up from every host that such a packet met, `TraceDone` up from the
first. ``reports`` in `Hello` and `Update` says that an end knows these, so that
ends of different versions may meet.
"""

from __future__ import annotations

import msgspec

from mizar.plan import entries

PROTOCOL = 2


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """First frame of an agent. ``address``: its underlay address; registers the host if need be."""

    host: str
    address: str
    uplink: str
    uplink_mode: str
    underlay_mtu: int
    version: str
    protocol: int = PROTOCOL
    epoch: str = ""
    revision: int = 0
    reports: bool = False


class Failure(msgspec.Struct, frozen=True):
    """An entry that this host could not apply, and why, for the resource's status."""

    key: entries.EntryKey
    message: str


class Ack(msgspec.Struct, frozen=True, tag_field="type", tag="ack"):
    """Everything up to ``revision`` is applied, ``failures`` (all that are open now) excepted."""

    epoch: str
    revision: int
    failures: list[Failure] = []


class Update(msgspec.Struct, frozen=True, tag_field="type", tag="update"):
    """Brings the host's desired state to ``revision``."""

    epoch: str
    revision: int
    snapshot: bool = False
    more: bool = False
    upserts: list[entries.Entry] = []
    deletes: list[entries.EntryKey] = []
    reports: bool = False


class Refusal(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """The server won't serve this agent; ``message`` says why and what to do."""

    message: str


class Drop(msgspec.Struct, frozen=True):
    """Packets that one reason cost so far.

    ``tenant``, ``endpoint``: whose interface they came in by; empty: none of an
    endpoint's. ``vni``: 0: not known. ``rate``: packets a second, lately.
    ``source``, ``destination``: of the last one; empty: not known.
    """

    reason: str
    packets: int
    bytes: int
    tenant: str = ""
    endpoint: str = ""
    vni: int = 0
    rate: float = 0.0
    source: str = ""
    destination: str = ""

    @property
    def key(self) -> DropKey:
        return (self.tenant, self.endpoint, self.vni, self.reason)


# (tenant, endpoint, VNI, reason) of a `Drop`
DropKey = tuple[str, str, int, str]


class Drops(msgspec.Struct, frozen=True, tag_field="type", tag="drops"):
    """Rows that changed, and keys of rows that are no more. ``whole``: all that there are."""

    rows: list[Drop]
    gone: list[DropKey] = []
    whole: bool = False


class TraceRequest(msgspec.Struct, frozen=True, tag_field="type", tag="trace"):
    """Have an endpoint's packets reported at every hop, and send some.

    ``trace``: the number that they carry. ``count`` packets are sent from inside
    the workload's namespace, the first with this number, each with the next one;
    0: whatever the workload itself sends within ``seconds`` and matches is marked.
    ``protocol``: of IP; ``destination``, ports: empty or 0 for any (not with ``count``:
    there source port 0 is a free one). ``bytes``: of each IP packet sent; 0: small.
    """

    trace: int
    uid: str
    protocol: int
    destination: str = ""
    source_port: int = 0
    destination_port: int = 0
    count: int = 0
    bytes: int = 0
    seconds: float = 0.0


class TraceReport(msgspec.Struct, frozen=True):
    """A traced packet left a program. ``next``: host address that it was sent to, or empty.

    ``ns``: by this host's monotonic clock: compares with nobody else's.
    """

    trace: int
    program: str
    reason: str
    vni: int
    ns: int
    source: str
    destination: str
    next: str = ""


class TraceReports(msgspec.Struct, frozen=True, tag_field="type", tag="traced"):
    """``lost``: how many more there were than a message may hold."""

    reports: list[TraceReport]
    lost: int = 0


class TraceDone(msgspec.Struct, frozen=True, tag_field="type", tag="trace_done"):
    """The end of a `TraceRequest`: ``answers[i]`` says what answered packet i, empty for nothing.

    ``error``: why not all packets could be sent, and what to do. ``source`` and
    ``source_port``: those of the packets sent.
    """

    trace: int
    answers: list[str] = []
    error: str = ""
    source: str = ""
    source_port: int = 0


FromAgent = Hello | Ack | Drops | TraceReports | TraceDone
FromServer = Update | Refusal | TraceRequest
