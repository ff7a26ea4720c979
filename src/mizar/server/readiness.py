"""Which resources are Ready: every live host that needs one has acknowledged its last change.

Bookkeeping only, O(1) amortised per acknowledgement: each host has a queue of
what awaits it, in order of revisions. A host that isn't live is waited for by
nobody but the resources at home on it. Knows no clock, no network, no store: hosts
are told of by `connected`, `disconnected`, `dead`, `acked`; what may have another
phase now gathers in `dirty`, and `verdict` says which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mizar.model import resources

NAMED_MAX: Final = 3


class Verdict(NamedTuple):
    phase: resources.Phase
    message: str


class _Waiting:
    """What one resource waits for: hosts, other resources, or (``held``) for somebody at all.

    ``requires``: all that must be Ready before it; ``required``: of these, what isn't.
    """

    def __init__(self, home: str, requires: Sequence[resources.Key]) -> None:
        self.home = home
        self.requires = requires
        self.hosts: set[str] = set()
        self.required: set[resources.Key] = set()
        self.held = False

    def over(self) -> bool:
        return not (self.hosts or self.required or self.held)


class _Host:
    """``sent``: revision of the last delta for it, ``acked``: of its last acknowledgement."""

    def __init__(self, sent: int) -> None:
        self.sent = sent
        self.acked = 0
        self.live = False
        self.connected = False
        self.queue: deque[tuple[int, resources.Key, _Waiting]] = deque()
        self.failures: Mapping[resources.Key, str] = {}


class Readiness:
    """``home`` names the host that a resource can't be Ready without ('' for none)."""

    def __init__(self, home: Callable[[resources.Key], str]) -> None:
        self.dirty: set[resources.Key] = set()
        self._home = home
        self._hosts: dict[str, _Host] = {}
        self._waiting: dict[resources.Key, _Waiting] = {}
        self._failing: dict[resources.Key, dict[str, str]] = {}
        self._dependents: dict[resources.Key, set[resources.Key]] = {}

    # Hosts.

    def add_host(self, name: str, sent: int, live: bool = False) -> None:
        """A registered host whose desired state so far is of revision ``sent``."""
        self._hosts[name] = _Host(sent)
        self._hosts[name].live = live

    def remove_host(self, name: str) -> None:
        self.dead(name)
        host = self._hosts.pop(name)
        for _, key, waiting in host.queue:
            self._applied(name, key, waiting)

    def live(self) -> set[str]:
        return {name for name, host in self._hosts.items() if host.live}

    def is_live(self, name: str) -> bool:
        return name in self._hosts and self._hosts[name].live

    def is_connected(self, name: str) -> bool:
        return name in self._hosts and self._hosts[name].connected

    def sent(self, name: str, revision: int) -> None:
        """A delta of this revision concerns the host."""
        self._hosts[name].sent = revision

    def connected(self, name: str, acked: int) -> None:
        """Its agent is there and has all up to ``acked`` (0: nothing that counts)."""
        host = self._hosts[name]
        host.live = host.connected = True
        host.acked = acked
        self._advance(name, host)

    def disconnected(self, name: str) -> None:
        """Its agent is gone; the host is live until `dead`."""
        host = self._hosts[name]
        host.connected = False
        self._note(host)
        key = resources.Key("Host", "", name)
        self.track(key, [name], [])
        self.dirty.add(key)

    def dead(self, name: str) -> None:
        """Gone for too long: nobody waits for it but what is at home there."""
        host = self._hosts[name]
        host.live = host.connected = False
        self._fail(name, {k: text for k, text in host.failures.items() if self._home(k) == name})
        queue, host.queue = host.queue, deque()
        for item in queue:
            if item[2].home == name:
                host.queue.append(item)
            else:
                self._applied(name, item[1], item[2])

    def acked(self, name: str, revision: int, failures: Mapping[resources.Key, str]) -> None:
        """It has applied everything up to ``revision`` except ``failures`` (all that are open)."""
        host = self._hosts[name]
        self._fail(name, failures)
        host.acked = max(host.acked, min(revision, host.sent))
        self._advance(name, host)

    # Resources.

    def track(
        self, key: resources.Key, needs: Iterable[str], requires: Sequence[resources.Key]
    ) -> None:
        """It has changed: ``needs`` are to apply it, ``requires`` to be Ready before it.

        What waits already and requires it waits for it anew.
        """
        waiting = self._waiting[key] = _Waiting(self._home(key), requires)
        names = [name for name in needs if name in self._hosts]
        waiting.held = not names and key.kind != "Tenant"
        for name in names:
            self._await(name, key, waiting)
        for other in requires:
            self._dependents.setdefault(other, set()).add(key)
            if other in self._waiting or other in self._failing:
                waiting.required.add(other)
        if waiting.over():
            self._settle(key)
            return
        self._block(key)
        if waiting.held or not all(self._hosts[name].connected for name in waiting.hosts):
            self.dirty.add(key)

    def hold(self, key: resources.Key) -> None:
        """A change of the resource is on its way to the store: no verdict before `track`."""
        before = self._waiting.get(key)
        waiting = self._waiting[key] = _Waiting("", before.requires if before else [])
        waiting.held = True
        self._block(key)
        self.dirty.discard(key)

    def forget(self, key: resources.Key) -> None:
        """The resource is deleted."""
        if waiting := self._waiting.pop(key, None):
            self._unlink(key, waiting)
        self._failing.pop(key, None)
        self.dirty.discard(key)
        self._release(key)
        self._dependents.pop(key, None)

    def is_waiting(self, key: resources.Key) -> bool:
        return key in self._waiting

    def verdict(self, key: resources.Key) -> Verdict:
        """The resource's phase, and what it waits for or what failed."""
        if failing := self._failing.get(key):
            name = min(failing)
            return Verdict("Failed", f"host {name}: {failing[name]}")
        if waiting := self._waiting.get(key):
            return Verdict("Pending", self._text(key, waiting))
        return Verdict("Ready", "")

    def _await(self, name: str, key: resources.Key, waiting: _Waiting) -> None:
        host = self._hosts[name]
        if host.live and host.acked >= host.sent:
            return
        if host.live or name == waiting.home:
            waiting.hosts.add(name)
            host.queue.append((host.sent, key, waiting))

    def _advance(self, name: str, host: _Host) -> None:
        while host.queue and host.queue[0][0] <= host.acked:
            _, key, waiting = host.queue.popleft()
            self._applied(name, key, waiting)

    def _applied(self, name: str, key: resources.Key, waiting: _Waiting) -> None:
        if self._waiting.get(key) is not waiting:
            return
        waiting.hosts.discard(name)
        if waiting.over():
            self._settle(key)

    def _settle(self, key: resources.Key) -> None:
        self._unlink(key, self._waiting.pop(key))
        self.dirty.add(key)
        if key not in self._failing:
            self._release(key)

    def _unlink(self, key: resources.Key, waiting: _Waiting) -> None:
        for other in waiting.requires:
            dependents = self._dependents.get(other, set())
            dependents.discard(key)
            if not dependents:
                self._dependents.pop(other, None)

    def _block(self, key: resources.Key) -> None:
        for dependent in self._dependents.get(key, ()):
            if waiting := self._waiting.get(dependent):
                waiting.required.add(key)

    def _release(self, key: resources.Key) -> None:
        for dependent in [*self._dependents.get(key, ())]:
            waiting = self._waiting.get(dependent)
            if waiting and key in waiting.required:
                waiting.required.discard(key)
                if waiting.over():
                    self._settle(dependent)

    def _fail(self, name: str, failures: Mapping[resources.Key, str]) -> None:
        host = self._hosts[name]
        before, host.failures = host.failures, failures
        for key in before.keys() - failures.keys():
            self._recover(name, key)
        for key, text in failures.items():
            if before.get(key) != text:
                self._failing.setdefault(key, {})[name] = text
                self.dirty.add(key)

    def _recover(self, name: str, key: resources.Key) -> None:
        failing = self._failing.get(key, {})
        failing.pop(name, None)
        if not failing and self._failing.pop(key, None) is not None:
            self.dirty.add(key)
            if key not in self._waiting:
                self._release(key)

    def _note(self, host: _Host) -> None:
        self.dirty.update(
            key for _, key, waiting in host.queue if self._waiting.get(key) is waiting
        )

    def _text(self, key: resources.Key, waiting: _Waiting) -> str:
        if key.kind == "Host":
            return "agent is catching up" if self.is_connected(key.name) else "agent not connected"
        if waiting.hosts:
            names = [self._named(name) for name in sorted(waiting.hosts)]
            more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
            return f"waiting for {', '.join(names[:NAMED_MAX])}{more}"
        if waiting.required:
            return f"waiting for {min(waiting.required)}"
        return "no host may hold its transit table: start mizar agent on one, or set spec.transit"

    def _named(self, name: str) -> str:
        return f"host {name}" if self.is_connected(name) else f"host {name} (not connected)"
