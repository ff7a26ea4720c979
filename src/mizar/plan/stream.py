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


class Refusal(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """The server won't serve this agent; ``message`` says why and what to do."""

    message: str


FromAgent = Hello | Ack
FromServer = Update | Refusal
