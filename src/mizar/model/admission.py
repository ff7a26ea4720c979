"""Decides whether requests may happen, and with which numbers, addresses and places.

Pure: state and requests in, `Decision` out; the state is left as it was. All or
nothing, and the order of the requests doesn't matter (a manifest may list an
endpoint before its network).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from mizar.model import resources
from mizar.model import state as states

Op = Literal["apply", "create", "replace", "delete"]
Action = Literal["created", "configured", "unchanged", "deleted"]


class Request(msgspec.Struct, frozen=True):
    """One wish. ``resource`` for apply, create and replace; ``key`` for delete.

    apply: create or update, any revision. create: the name must be free.
    replace: must exist; a ``metadata.revision`` other than 0 must be the current one.
    """

    op: Op
    resource: resources.Resource | None = None
    key: resources.Key | None = None


class Result(msgspec.Struct, frozen=True):
    """What became of one request, in the order of the requests."""

    key: resources.Key
    action: Action


class Decision(msgspec.Struct, frozen=True):
    """What to commit in one transaction, then give to `State.apply`.

    ``changes``: at most one per key, those of other resources that follow
    (transit tables placed anew) included, in an order in which each one's
    references exist. ``records``: see `state.Record`.
    """

    changes: list[resources.Change]
    records: list[states.Record]
    results: list[Result]


def admit(
    state: states.State,
    requests: Sequence[Request],
    now: float,
    live_hosts: Collection[str] = (),
    underlay: Sequence[str] = (),
) -> Decision:
    """The decision for ``requests`` at ``now`` (Unix seconds).

    ``live_hosts`` are preferred by the placement. ``underlay``: the declared
    prefixes, in one of which a host's address must lie (empty: not checked).
    With no requests it does what is left to do (transit tables for which there
    were too few hosts, a bounded number a call): call until ``changes`` is empty
    after a host has joined. Raises an `errors.Refused` that holds every problem.
    """
    raise NotImplementedError
