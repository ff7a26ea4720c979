"""Waiting, by watches and not by polling, until resources are Ready or gone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

from mizar.client import errors, rest
from mizar.model import errors as refusals
from mizar.model import registry, resources

RETRY_S: Final = 0.5
Goal = Literal["Ready", "delete"]
Left = dict[resources.Key, resources.Resource]


def wait(
    client: rest.Client,
    keys: Iterable[resources.Key],
    goal: Goal,
    timeout_s: float,
    reached: Callable[[resources.Key], None] = lambda _: None,
) -> Left:
    """Waits until all of ``keys`` are Ready, or none exists any more.

    ``reached`` hears of each as it gets there. Returns what was not there after
    ``timeout_s``, as last seen; a `NotFound` when one to be Ready doesn't exist.
    """
    deadline = time.monotonic() + timeout_s
    left: Left = {}
    for (kind, tenant), group in itertools.groupby(sorted(keys), key=lambda k: (k.kind, k.tenant)):
        waited = _Group(client, registry.KINDS[kind], tenant, goal, reached)
        left |= waited.wait(set(group), deadline)
    return left


class _Group:
    """Resources of one kind and tenant: one watch, begun again where it ends.

    A server that has answered once may go and come back until the deadline.
    """

    def __init__(
        self,
        client: rest.Client,
        kind: registry.Kind,
        tenant: str,
        goal: Goal,
        reached: Callable[[resources.Key], None],
    ) -> None:
        self._client = client
        self._kind = kind
        self._tenant = tenant
        self._goal = goal
        self._reached = reached
        self._seen: Left = {}
        self._answered = False

    def wait(self, wanted: set[resources.Key], deadline: float) -> Left:
        """What of ``wanted`` wasn't there at the deadline."""
        try:
            while wanted:
                self._try(wanted, deadline)
        except TimeoutError:
            items = self._client.list(self._kind, self._tenant)
            self._seen = {resources.key_of(item): item for item in items}
            self._settle(wanted, wanted)
        except refusals.NotFound:
            if self._goal == "Ready":
                raise
            self._seen = {}
            self._settle(wanted, wanted)
        return {key: self._seen[key] for key in sorted(wanted)}

    def _try(self, wanted: set[resources.Key], deadline: float) -> None:
        try:
            self._watch(wanted, deadline)
        except errors.Unreachable:
            if not self._answered or time.monotonic() + RETRY_S > deadline:
                raise
            time.sleep(RETRY_S)

    def _watch(self, wanted: set[resources.Key], deadline: float) -> None:
        """Takes from ``wanted`` what gets there, until it is empty or the watch ends."""
        self._seen = {}
        synced = False
        left_s = max(deadline - time.monotonic(), 0.0)
        for event in self._client.watch(self._kind, self._tenant, timeout_s=left_s):
            self._answered = True
            keys = self._note(event)
            if synced or event.type == "synced":
                self._settle(wanted, keys if synced else wanted)
                synced = True
            if not wanted:
                return

    def _note(self, event: rest.Event) -> set[resources.Key]:
        """Remembers what the event says; the keys it is about."""
        if event.object is None:
            return set()
        key = resources.key_of(event.object)
        if event.type == "put":
            self._seen[key] = event.object
        else:
            self._seen.pop(key, None)
        return {key}

    def _settle(self, wanted: set[resources.Key], keys: set[resources.Key]) -> None:
        """Takes those of ``keys`` from ``wanted`` that are there."""
        for key in sorted(wanted & keys):
            if self._done(key, self._seen.get(key)):
                wanted.remove(key)
                self._reached(key)

    def _done(self, key: resources.Key, seen: resources.Resource | None) -> bool:
        if self._goal == "delete":
            return seen is None
        if seen is None:
            problem = refusals.Problem(str(key), "", "it doesn't exist", "apply it", "not_found")
            raise refusals.NotFound([problem])
        return seen.status.phase == "Ready"
