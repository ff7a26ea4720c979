"""Where requests, hosts and time meet: the server without its wires.

Requests go through admission into the ledger; what the ledger publishes goes to
the hosts' feeds and to readiness; phases that readiness finds are committed in
batches. Everything runs in one event loop, and nothing waits between reading
the state and committing to it, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

import msgspec
import structlog

from mizar.model import admission, errors, registry, resources
from mizar.plan import stream
from mizar.server import feed, ledger, owners, readiness
from mizar.store import port

HOST_DEAD_S: Final = 10.0
# With fewer of the transit hosts connected it is the server that is cut off: tables stay.
TRANSIT_CONNECTED_PERCENT_MIN: Final = 50
NOTE_AFTER_S: Final = 1.0
# Longer than any peer goes on sending to the host that an endpoint left (LOCATION_FRESH_NS, 1 s).
MOVE_LINGER_S: Final = 3.0
REOPEN_AFTER_S: Final = 1.0
STATUS_BATCH_MAX: Final = 1000  # phases written in one transaction

_log = structlog.get_logger("mizar.server")


class Controller:
    """Made by `start`. ``epoch`` names this life: it changes when the ledger is opened anew."""

    def __init__(self, store: port.Store, underlay: Sequence[str]) -> None:
        self.store = store
        self.underlay = list(underlay)
        self.feeds: dict[str, feed.Feed] = {}
        self._loop = asyncio.get_running_loop()
        self._deaths: dict[str, asyncio.TimerHandle] = {}
        self._dying: set[str] = set()  # dead; waited for until their tables are placed anew
        self._pending: deque[tuple[float, resources.Key]] = deque()
        self._moves: deque[tuple[float, resources.Key, int]] = deque()  # when over, whose, which
        self._news = asyncio.Event()
        self._unplaced = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.stopping = asyncio.Event()

    async def start(self) -> None:
        """Opens the ledger and begins to work."""
        await self._open()
        for work in (self._write_statuses, self._place, self._note, self._end_moves, self._mend):
            self._tasks.append(asyncio.create_task(self._forever(work)))

    async def stop(self) -> None:
        """Stops working; what was committed is stored when this returns. The store stays open."""
        self.stopping.set()
        for timer in self._deaths.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(ledger.UnavailableError):
            await self.ledger.settled()

    # Requests.

    def decide(self, requests: Sequence[admission.Request]) -> admission.Decision:
        """What `submit` would commit now; an `errors.Refused` when it would be refused."""
        self.ledger.check()
        self._refuse_connected(requests)
        live = self.readiness.live() - self._dying
        state, vacate = self.ledger.state, self._may_vacate()
        return admission.admit(state, requests, time.time(), live, self.underlay, vacate)

    def _may_vacate(self) -> bool:
        transit = self.ledger.state.transit
        connected = sum(map(self.readiness.is_connected, transit))
        return 100 * connected >= TRANSIT_CONNECTED_PERCENT_MIN * len(transit)

    async def submit(self, requests: Sequence[admission.Request]) -> list[admission.Result]:
        """Decides and commits; returns when it is stored and on its way to the hosts."""
        decision = self.decide(requests)
        await self._commit(decision)
        return decision.results

    async def _commit(self, decision: admission.Decision) -> None:
        if decision.changes or decision.records:
            commit = self.ledger.commit(decision.changes, decision.records)
            for change in commit.changes:
                if _matters(change, commit):
                    self.readiness.hold(change.key)
            await commit.done

    def _refuse_connected(self, requests: Sequence[admission.Request]) -> None:
        keys = [request.key for request in requests if request.op == "delete" and request.key]
        problems = [
            errors.Problem(
                str(key), "", "its agent is connected", "stop mizar agent on it first", "in_use"
            )
            for key in keys
            if key.kind == "Host" and self.readiness.is_connected(key.name)
        ]
        if problems:
            raise errors.refused(problems)

    # Hosts.

    async def register(self, hello: stream.Hello) -> None:
        """Makes the agent's host a resource, with what the agent says of itself."""
        host = resources.Host(
            metadata=resources.Metadata(name=hello.host),
            spec=resources.HostSpec(address=hello.address),
        )
        known = self.ledger.state.get(resources.key_of(host))
        if not isinstance(known, resources.Host):
            await self.submit([admission.Request("create", host)])
        elif known.spec.address != hello.address:
            spec = msgspec.structs.replace(known.spec, address=hello.address)
            moved = msgspec.structs.replace(known, spec=spec)
            await self.submit([admission.Request("replace", moved)])
        await self._describe(hello)

    async def _describe(self, hello: stream.Hello) -> None:
        host = self.ledger.state.get(resources.Key("Host", "", hello.host))
        assert isinstance(host, resources.Host)
        status = msgspec.structs.replace(
            host.status,
            uplink=hello.uplink,
            uplink_mode=hello.uplink_mode,
            underlay_mtu=hello.underlay_mtu,
            version=hello.version,
        )
        if status != host.status:
            new = msgspec.structs.replace(host, status=status)
            change = resources.Change(resources.key_of(host), host, new)
            await self.ledger.commit([change], status=True).done

    def connected(self, host: str, acked: int) -> None:
        """The host's agent has a stream and has applied all up to ``acked``."""
        if timer := self._deaths.pop(host, None):
            timer.cancel()
        self._dying.discard(host)
        self.readiness.connected(host, acked)
        self._unplaced.set()
        self._news.set()

    def disconnected(self, host: str) -> None:
        if host in self.feeds and not self.stopping.is_set():
            self.readiness.disconnected(host)
            self._expect(host)
            self._news.set()

    def acked(self, host: str, ack: stream.Ack) -> None:
        if ack.epoch != self.epoch or host not in self.feeds:
            return
        failures = {}
        for failure in ack.failures:
            if key := owners.owner(self.ledger.state, host, failure.key):
                failures[key] = failure.message
        self.readiness.acked(host, ack.revision, failures)
        if self.readiness.dirty:
            self._news.set()

    def _expect(self, host: str) -> None:
        """Counts the host as dead when its agent isn't back in time."""
        if timer := self._deaths.pop(host, None):
            timer.cancel()
        self._deaths[host] = self._loop.call_later(HOST_DEAD_S, self._bury, host)

    def _bury(self, host: str) -> None:
        del self._deaths[host]
        if host in self.feeds:
            _log.warning("host is dead", host=host, silent_s=HOST_DEAD_S)
            self._dying.add(host)
            self._unplaced.set()

    def _release_dying(self) -> None:
        """Nobody waits for them any more, but for their tables at the new holders."""
        for host in self._dying:
            self.readiness.dead(host)
            self.readiness.disconnected(host)
        self._dying.clear()
        self._news.set()

    # What the ledger publishes.

    def _publish(self, commit: ledger.Commit) -> None:
        for change in commit.changes:
            if change.key.kind == "Host":
                self._host_changed(change, commit.revision)
        for host, delta in commit.deltas.items():
            if host in self.feeds:
                self.feeds[host].append(commit.revision, delta)
                self.readiness.sent(host, commit.revision)
        for change in commit.changes:
            self._notice_move(change.new)
        if commit.status:
            return
        for change in commit.changes:
            self._changed(change, commit)
        if self.readiness.dirty:
            self._news.set()

    def _notice_move(self, resource: resources.Resource | None) -> None:
        """An endpoint that is Ready where it moved to leaves its old host behind in a while."""
        if not isinstance(resource, resources.Endpoint):
            return
        if resource.status.movedFrom and resource.status.phase == "Ready":
            over = self._loop.time() + MOVE_LINGER_S
            self._moves.append((over, resources.key_of(resource), resource.status.generation))

    def _host_changed(self, change: resources.Change, revision: int) -> None:
        name = change.key.name
        if change.old is None:
            self.feeds[name] = feed.Feed(revision - 1)
            self.readiness.add_host(name, revision)
        elif change.new is None:
            self.feeds.pop(name).end()
            self.readiness.remove_host(name)
            self._dying.discard(name)
            if timer := self._deaths.pop(name, None):
                timer.cancel()
        self._unplaced.set()

    def _changed(self, change: resources.Change, commit: ledger.Commit) -> None:
        if change.new is None:
            self.readiness.forget(change.key)
            return
        if not _matters(change, commit):
            return
        requires = self.ledger.plan.requires(change.key)
        self.readiness.track(change.key, commit.needs[change.key], requires)
        if self.readiness.is_waiting(change.key):
            self._pending.append((self._loop.time() + NOTE_AFTER_S, change.key))
            if change.new.status.phase != "Pending":
                self.readiness.dirty.add(change.key)

    # Work that goes on by itself.

    async def _forever(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            try:
                await work()
            except ledger.UnavailableError:
                await asyncio.sleep(REOPEN_AFTER_S)
            except Exception as error:
                _log.error("bug", work=work.__name__, exc_info=error)
                await asyncio.sleep(REOPEN_AFTER_S)

    async def _write_statuses(self) -> None:
        await self._news.wait()
        self._news.clear()
        while changes := self._status_changes():
            await self.ledger.commit(changes, status=True).done

    def _status_changes(self) -> list[resources.Change]:
        changes: list[resources.Change] = []
        dirty = self.readiness.dirty
        while dirty and len(changes) < STATUS_BATCH_MAX:
            key = dirty.pop()
            old = self.ledger.state.get(key)
            verdict = self.readiness.verdict(key)
            if old and (old.status.phase, old.status.message) != verdict:
                phase, message = verdict
                status = msgspec.structs.replace(old.status, phase=phase, message=message)
                changes.append(
                    resources.Change(key, old, msgspec.structs.replace(old, status=status))
                )
        return changes

    async def _place(self) -> None:
        """Gives transit tables their hosts, as many at a time as admission thinks right."""
        await self._unplaced.wait()
        while (decision := self.decide([])).changes:
            await self._commit(decision)
        self._unplaced.clear()
        self._release_dying()

    async def _note(self) -> None:
        """Lets resources that wait for a while say what they wait for."""
        await asyncio.sleep(NOTE_AFTER_S / 2)
        while self._pending and self._pending[0][0] <= self._loop.time():
            _, key = self._pending.popleft()
            if self.readiness.is_waiting(key):
                self.readiness.dirty.add(key)
                self._news.set()

    async def _end_moves(self) -> None:
        """Takes from old hosts what they were to send on, once peers know the new ones."""
        await asyncio.sleep(MOVE_LINGER_S / 10)
        if changes := self._moves_over():
            await self.ledger.commit(changes, status=True).done

    def _moves_over(self) -> list[resources.Change]:
        changes: dict[resources.Key, resources.Change] = {}
        while self._moves and self._moves[0][0] <= self._loop.time():
            _, key, generation = self._moves.popleft()
            old = self.ledger.state.get(key)
            # Moved again, or not Ready any more: it is noticed again when it is.
            if isinstance(old, resources.Endpoint) and (
                (old.status.phase, old.status.generation) == ("Ready", generation)
                and old.status.movedFrom
            ):
                status = msgspec.structs.replace(old.status, movedFrom="")
                new = msgspec.structs.replace(old, status=status)
                changes[key] = resources.Change(key, old, new)
            if len(changes) == STATUS_BATCH_MAX:
                break
        return [*changes.values()]

    async def _mend(self) -> None:
        """Opens the ledger anew after the store has failed; agents come back and get snapshots."""
        await self.ledger.broken.wait()
        _log.error("reading the store anew")
        await asyncio.sleep(REOPEN_AFTER_S)
        with contextlib.suppress(port.StoreError):
            await self._open()

    async def _open(self) -> None:
        opened = await ledger.open_ledger(self.store, self.underlay, self._publish)
        for old in self.feeds.values():
            old.end()
        for timer in self._deaths.values():
            timer.cancel()
        self._deaths.clear()
        self._dying.clear()
        self._pending.clear()
        self._moves.clear()
        self.epoch = uuid.uuid4().hex
        self.ledger = opened
        self.readiness = readiness.Readiness(self._home)
        self.feeds = {}
        self._resume_hosts()
        self._resume_phases()
        self._unplaced.set()
        self._news.set()

    def _resume_hosts(self) -> None:
        """Hosts that were Ready get the usual time to come back; the others aren't live."""
        revision = self.ledger.revision
        for host in self.ledger.state.list("Host"):
            name, was_ready = host.metadata.name, host.status.phase == "Ready"
            self.feeds[name] = feed.Feed(revision)
            self.readiness.add_host(name, revision, live=was_ready)
            if was_ready:
                self._expect(name)

    def _resume_phases(self) -> None:
        """What was not Ready is followed again; what was Ready stays so."""
        for kind in registry.KINDS:
            for resource in self.ledger.state.list(kind):
                self._notice_move(resource)
                if resource.status.phase != "Ready":
                    key = resources.key_of(resource)
                    plan = self.ledger.plan
                    self.readiness.track(key, plan.needs(key), plan.requires(key))

    def _home(self, key: resources.Key) -> str:
        if key.kind == "Host":
            return key.name
        resource = self.ledger.state.get(key)
        return resource.status.host if isinstance(resource, resources.Endpoint) else ""


def _matters(change: resources.Change, commit: ledger.Commit) -> bool:
    """Whether the change can have an effect on readiness: hosts are told of something."""
    return change.old is None or bool(commit.deltas)
