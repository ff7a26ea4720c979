"""What the API answers with, beside resources and errors."""

from __future__ import annotations

import msgspec

from mizar.model import admission, resources


class ResultItem(msgspec.Struct, frozen=True):
    """What became of one resource of a manifest."""

    kind: str
    tenant: str
    name: str
    action: admission.Action


class ResultBody(msgspec.Struct, frozen=True):
    """``revision``: the server's, when this is stored."""

    results: list[ResultItem]
    revision: int
    dryRun: bool = False  # noqa: N815 - as in the query


class ListBody(msgspec.Struct, frozen=True):
    """A watch from ``revision`` misses nothing that came after this list."""

    items: list[resources.Resource]
    revision: int


class HealthBody(msgspec.Struct, frozen=True):
    status: str
    version: str
    revision: int
    epoch: str
