"""How resources and the allocators' records lie in the store: keys as text, values MessagePack.

`resource/KIND/TENANT/NAME` holds a resource, `record/NAME` an allocator's line, and
`fence` nothing: every transaction writes it and compares that it follows the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mizar.model import resources
from mizar.model import state as states
from mizar.store import port

FENCE: Final = "fence"
RESOURCES: Final = "resource/"
RECORDS: Final = "record/"

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[resources.Resource] = msgspec.msgpack.Decoder(resources.Resource)


def key_text(key: resources.Key) -> str:
    return f"{RESOURCES}{key.kind}/{key.tenant}/{key.name}"


def key_of(text: str) -> resources.Key:
    """The inverse of `key_text`."""
    kind, tenant, name = text.removeprefix(RESOURCES).split("/", 2)
    return resources.Key(kind, tenant, name)


def decode(value: bytes, revision: int) -> resources.Resource:
    """The stored resource, with the revision that wrote it."""
    return stamped(_decoder.decode(value), revision)


def stamped(resource: resources.Resource, revision: int) -> resources.Resource:
    metadata = msgspec.structs.replace(resource.metadata, revision=revision)
    return msgspec.structs.replace(resource, metadata=metadata)


def writes(
    changes: Iterable[resources.Change], records: Iterable[states.Record]
) -> list[port.Write]:
    """One commit's writes, the fence included."""
    return [
        port.Write(FENCE, b""),
        *(port.Write(key_text(change.key), _value(change.new)) for change in changes),
        *(port.Write(RECORDS + record.name, _text(record.new)) for record in records),
    ]


def load(stored: Sequence[port.Record], revision: int) -> states.State:
    """The state that the store's whole content describes; `port.StoreError` if it is damaged."""
    found: list[resources.Resource] = []
    lines: list[tuple[str, str]] = []
    for record in stored:
        try:
            if record.key.startswith(RESOURCES):
                found.append(decode(record.value, record.revision))
            elif record.key.startswith(RECORDS):
                lines.append((record.key.removeprefix(RECORDS), record.value.decode()))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise port.StoreError(
                f"store: {record.key} can't be read: {error};"
                " restore it from a backup, or start the mizar that wrote it"
            ) from None
    return states.State.load(found, lines, revision)


def _value(resource: resources.Resource | None) -> bytes | None:
    return None if resource is None else _encoder.encode(resource)


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
