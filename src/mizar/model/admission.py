"""Decides whether requests may happen, and with which numbers, addresses and places.

Pure to the outside: state and requests in, `Decision` out; the state is used as
scratch and left as it was. All or nothing, and the order of the requests doesn't
matter (a manifest may list an endpoint before its network).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from mizar.model import draft, errors, grants, limits, registry, resources, rules
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

    @property
    def target(self) -> resources.Key:
        """The key of what it is about."""
        if self.resource is not None:
            return resources.key_of(self.resource)
        if self.key is None:
            raise ValueError("a request needs a resource or a key")
        return self.key


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
    vacate: bool = False,
) -> Decision:
    """The decision for ``requests`` at ``now`` (Unix seconds).

    New places are on ``live_hosts`` while there are any. ``underlay``: the declared
    prefixes, in one of which a host's address must lie (empty: not checked).
    ``vacate``: other hosts than live ones lose the transit tables that they hold.
    With no requests it does what is left to do (tables to be vacated, or for which
    there were too few hosts; a bounded number a call): call until ``changes`` is
    empty after a host has joined or died. Raises an `errors.Refused` that holds
    every problem.
    """
    d = draft.Draft(state, now, live_hosts, underlay, vacate)
    able = [*state.transit]
    try:
        d.reap(limits.REAPED + 2 * len(requests))
        _check_alone(d, requests)
        actions: dict[resources.Key, Action] = {}
        for kind, group in itertools.groupby(sorted(requests, key=_order), key=_written):
            together = [*group]
            if kind == "Endpoint":
                grants.make_way(d, [request.resource for request in together])
            actions |= {request.target: _decide(d, request) for request in together}
        if able and not state.transit and not d.problems:
            _refuse_last(d, able)
        if d.problems:
            raise errors.refused(d.problems)
        for key in [*itertools.islice(d.misplaced(), limits.PLACEMENTS)]:
            d.place_anew(key)
        changes, records = d.net()
    finally:
        d.undo()
    results = [Result(request.target, actions[request.target]) for request in requests]
    return Decision(changes, records, results)


def _check_alone(d: draft.Draft, requests: Sequence[Request]) -> None:
    """Rules that need no state, and that nothing is named twice."""
    seen: set[resources.Key] = set()
    for request in requests:
        key = request.target
        if key in seen:
            d.refuse(key, "", "it is named twice in one request", "leave one of them out")
        seen.add(key)
        if request.resource is not None and (problems := rules.check(request.resource)):
            d.problems += problems
            d.spoiled.add(key)


def _order(request: Request) -> tuple[int, int]:
    """Deletes first, users before used; then writes, used before users; hosts go last."""
    rank = registry.RANK[request.target.kind]
    if request.op == "delete":
        return (2, 0) if request.target.kind == "Host" else (0, -rank)
    return (1, rank)


def _written(request: Request) -> str:
    """The kind of what is written; empty for a deletion."""
    return "" if request.op == "delete" else request.target.kind


def _decide(d: draft.Draft, request: Request) -> Action:
    """Drafts one request; its action, meaningless if it was refused."""
    key = request.target
    if key in d.spoiled:
        return "unchanged"
    if request.resource is None:
        _delete(d, key)
        return "deleted"
    return _write(d, request.op, request.resource)


def _delete(d: draft.Draft, key: resources.Key) -> None:
    old = d.state.get(key)
    if old is None:
        d.refuse(key, "", "it doesn't exist", f"see mizar get {_plural(key)}", "not_found")
        return
    if by := grants.users(d.state, key):
        if d.spoiled.isdisjoint(by):
            d.problems.append(grants.in_use(key, by))
        d.spoiled.add(key)
        return
    grants.forget(d, old)
    if key.kind == "Host":
        _release_tables(d, key.name)
        grants.forget_moves(d, key.name)
    d.put(key, None)


def _write(d: draft.Draft, op: Op, wish: resources.Resource) -> Action:
    key = resources.key_of(wish)
    old = d.state.get(key)
    if not _may(d, op, key, old, wish.metadata.revision):
        return "unchanged"
    new = grants.grant(d, wish)
    if new is None or (new == old and key not in d.changed):
        return "unchanged"
    d.put(key, new)
    if isinstance(new, resources.Host) and old is not None and not new.spec.transit:
        _release_tables(d, key.name)
    return "created" if old is None else "configured"


def _may(
    d: draft.Draft,
    op: Op,
    key: resources.Key,
    old: resources.Resource | None,
    revision: int,
) -> bool:
    """Whether the operation fits what there is."""
    if op == "create" and old is not None:
        d.refuse(
            key, "metadata.name", "the name is in use", "use another name, or apply", "conflict"
        )
    elif op == "replace" and old is None:
        d.refuse(key, "", "it doesn't exist", f"see mizar get {_plural(key)}", "not_found")
    elif op == "replace" and old is not None and revision not in (0, old.metadata.revision):
        message = f"it has changed: revision {old.metadata.revision}, not {revision}"
        d.refuse(
            key, "metadata.revision", message, "read it again and repeat the change", "conflict"
        )
    return key not in d.spoiled


def _release_tables(d: draft.Draft, host: str) -> None:
    """Other hosts take the transit tables that ``host`` holds."""
    for key in [*d.state.held_by(host)]:
        d.place_anew(key, without=host)


def _refuse_last(d: draft.Draft, hosts: Sequence[str]) -> None:
    """Refuses to lose the last transit hosts while there are endpoints."""
    if not (endpoints := d.state.list("Endpoint")):
        return
    more = f" and {len(endpoints) - 1} more" if len(endpoints) > 1 else ""
    users = f"{resources.key_of(endpoints[0])}{more}"
    message = f"no other host may hold the transit tables of {users}"
    remedy = "let another host hold them first (spec.transit: true), or delete the endpoints"
    for host in hosts:
        d.refuse(resources.Key("Host", "", host), "", message, remedy, "in_use")


def _plural(key: resources.Key) -> str:
    scope = f" -n {key.tenant}" if key.tenant else ""
    return registry.KINDS[key.kind].plural + scope
