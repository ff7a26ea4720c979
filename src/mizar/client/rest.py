"""The server's REST API as methods; one connection, kept open; for one thread at a time.

Every method raises `errors.Unreachable`, `errors.Failed`, or, when the server
refuses, the `mizar.model.errors.Refused` with its problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Self, TypeVar
from urllib import parse

import msgspec

from mizar.client import errors, transport
from mizar.model import registry, reports, resources

_T = TypeVar("_T")


class Outcome(msgspec.Struct, frozen=True):
    """What became of one resource of a request."""

    kind: str
    tenant: str
    name: str
    action: Literal["created", "configured", "unchanged", "deleted"]

    @property
    def key(self) -> resources.Key:
        return resources.Key(self.kind, self.tenant, self.name)


class Event(msgspec.Struct, frozen=True):
    """A step of a watch: a resource put or deleted (as last known).

    ``synced``, without an object: all that was there at the beginning has been
    told; later, that nothing happened for a while.
    """

    type: Literal["put", "delete", "synced", "error"]
    object: resources.Resource | None = None


Outcomes = list[Outcome]
Resources = list[resources.Resource]


class Losses(msgspec.Struct, frozen=True):
    """``omitted``: rows that the server had no room for. ``silent``: hosts not heard of."""

    items: list[reports.Loss]
    omitted: int = 0
    silent: list[str] = []


class _LossEvent(msgspec.Struct, frozen=True):
    type: Literal["put", "synced"]
    object: reports.Loss | None = None


class _Listing(msgspec.Struct, frozen=True):
    items: Resources


class _Outcomes(msgspec.Struct, frozen=True):
    results: Outcomes


_resource: msgspec.json.Decoder[resources.Resource] = msgspec.json.Decoder(resources.Resource)
_listing = msgspec.json.Decoder(_Listing)
_outcomes = msgspec.json.Decoder(_Outcomes)
_event = msgspec.json.Decoder(Event)
_losses = msgspec.json.Decoder(Losses)
_explanation = msgspec.json.Decoder(reports.Explanation)
_trace = msgspec.json.Decoder(reports.Trace)
_loss_event = msgspec.json.Decoder(_LossEvent)


class Client:
    """``where``: ``http://HOST:PORT`` or ``unix:/PATH``; a ValueError otherwise."""

    def __init__(self, where: str) -> None:
        self._transport = transport.Transport(where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def apply(self, items: Sequence[resources.Resource], *, dry_run: bool = False) -> Outcomes:
        """Creates or updates all of ``items`` in one transaction, or none."""
        return self._transact("apply", items, dry_run)

    def delete(self, items: Sequence[resources.Resource], *, dry_run: bool = False) -> Outcomes:
        """Deletes all of ``items`` in one transaction, or none; only their names count."""
        return self._transact("delete", items, dry_run)

    def create(self, item: resources.Resource) -> resources.Resource:
        """Creates ``item``; a `Conflict` when the name is taken."""
        key = resources.key_of(item)
        path = collection(registry.KINDS[key.kind], key.tenant)
        return self._send(_resource, "POST", path, msgspec.json.encode(item))

    def replace(self, item: resources.Resource) -> resources.Resource:
        """Writes ``item`` over what is there; its revision, unless 0, must still be current."""
        path = one(resources.key_of(item))
        return self._send(_resource, "PUT", path, msgspec.json.encode(item))

    def get(self, key: resources.Key) -> resources.Resource:
        """The resource, or a `NotFound`."""
        return self._send(_resource, "GET", one(key))

    def list(self, kind: registry.Kind, tenant: str = "", selector: str = "") -> Resources:
        """All of a kind, of one tenant if given; a `NotFound` when there is no such tenant."""
        path = collection(kind, tenant) + _query(labelSelector=selector)
        return self._send(_listing, "GET", path).items

    def watch(
        self,
        kind: registry.Kind,
        tenant: str = "",
        selector: str = "",
        *,
        timeout_s: float | None = None,
    ) -> Iterator[Event]:
        """All there is, ``synced``, then every change; on a connection of its own.

        Ends when the server stops or this client fell too far behind: start again.
        Raises TimeoutError after ``timeout_s`` (None: never).
        """
        path = collection(kind, tenant) + _query(watch="true", labelSelector=selector)
        for line in self._transport.lines(path, timeout_s):
            event = self._decode(_event, line)
            if event.type == "error":
                return
            yield event

    def drops(self, tenant: str = "", **chosen: str) -> Losses:
        """What was lost, by host, of one tenant if given; ``chosen``: host, endpoint, vpc, reason.

        A `NotFound` when there is no such tenant, host or endpoint.
        """
        return self._send(_losses, "GET", _scoped("drops", tenant) + _query(**chosen))

    def watch_drops(self, tenant: str = "", **chosen: str) -> Iterator[reports.Loss | None]:
        """All that `drops` gives, None, then every row that changes; None again while none does.

        Ends when the server stops. On a connection of its own.
        """
        path = _scoped("drops", tenant) + _query(watch="true", **chosen)
        for line in self._transport.lines(path, None):
            yield self._decode(_loss_event, line).object

    def explain(
        self,
        endpoint: resources.Key,
        to: str,
        protocol: str,
        *,
        source_port: int = 0,
        port: int = 0,
        size: int = 0,
    ) -> reports.Explanation:
        """What becomes of an endpoint's packets; ``size``: of the IP packet, bytes."""
        query = _query(
            to=to,
            protocol=protocol,
            sourcePort=str(source_port),
            port=str(port),
            bytes=str(size),
        )
        return self._send(_explanation, "GET", f"{one(endpoint)}/explain{query}")

    def begin_trace(self, endpoint: resources.Key, wish: reports.TraceWish) -> reports.Trace:
        """Has packets sent, or marked; `trace` tells what came of them."""
        path = f"{one(endpoint)}/traces"
        return self._send(_trace, "POST", path, msgspec.json.encode(wish))

    def trace(self, endpoint: resources.Key, number: int) -> reports.Trace:
        """A trace so far; a `NotFound` when it isn't kept any more."""
        return self._send(_trace, "GET", f"{one(endpoint)}/traces/{number}")

    def _transact(self, verb: str, items: Sequence[resources.Resource], dry_run: bool) -> Outcomes:
        path = f"/v1/{verb}" + _query(dryRun="true" if dry_run else "")
        body = msgspec.json.encode({"kind": "List", "items": items})
        return self._send(_outcomes, "POST", path, body).results

    def _send(
        self,
        decoder: msgspec.json.Decoder[_T],
        method: str,
        path: str,
        body: bytes | None = None,
    ) -> _T:
        return self._decode(decoder, self._transport.send(method, path, body))

    def _decode(self, decoder: msgspec.json.Decoder[_T], content: bytes) -> _T:
        try:
            return decoder.decode(content)
        except msgspec.DecodeError as error:
            message = f"what this version of mizar can't read ({error})"
            raise errors.Foreign(self._transport.where, 200, message) from error


def collection(kind: registry.Kind, tenant: str = "") -> str:
    """The path of all resources of a kind, of one tenant if given."""
    scope = f"/tenants/{parse.quote(tenant, safe='')}" if tenant and kind.tenanted else ""
    return f"/v1{scope}/{kind.plural}"


def one(key: resources.Key) -> str:
    """The path of one resource."""
    path = collection(registry.KINDS[key.kind], key.tenant)
    return f"{path}/{parse.quote(key.name, safe='')}"


def _scoped(what: str, tenant: str) -> str:
    """The path of what isn't a kind, of one tenant if given."""
    return f"/v1/tenants/{parse.quote(tenant, safe='')}/{what}" if tenant else f"/v1/{what}"


def _query(**values: str) -> str:
    text = parse.urlencode({name: value for name, value in values.items() if value})
    return f"?{text}" if text else ""
