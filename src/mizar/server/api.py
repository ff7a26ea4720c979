"""The REST API: routes from the registry of kinds, requests into the controller.

``/v1/PLURAL`` and ``/v1/tenants/TENANT/PLURAL`` list and create, with ``/NAME`` get,
replace and delete; ``/v1/apply`` and ``/v1/delete`` take whole manifests. An answer
is sent only when what it shows is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette import applications, requests, responses, routing

import mizar
from mizar.model import admission, errors, registry, reports, resources
from mizar.server import (
    answers,
    bodies,
    controller,
    drops,
    explain,
    hosts,
    openapi,
    problems,
    traces,
    watches,
)

_Handler = Callable[[requests.Request], Awaitable[responses.Response]]


def application(served: controller.Controller) -> applications.Starlette:
    """The whole server as an ASGI application."""
    board = drops.Drops(served)
    traced = traces.Traces(served)
    streams = hosts.Streams(served, board, traced)
    documents = _Documents(served)
    knowing = _Knowing(served, board, traced)
    endpoint = "/v1/tenants/{tenant}/endpoints/{name}"
    routes: list[routing.BaseRoute] = [
        routing.WebSocketRoute("/v1/hosts/{name}/stream", streams.endpoint),
        _route("/v1/apply", POST=documents.apply),
        _route("/v1/delete", POST=documents.delete),
        _route("/v1/healthz", GET=documents.healthz),
        _route("/v1/openapi.json", GET=_openapi),
        _route("/v1/drops", GET=knowing.drops),
        _route("/v1/tenants/{tenant}/drops", GET=knowing.drops),
        _route(f"{endpoint}/explain", GET=knowing.explain),
        _route(f"{endpoint}/traces", POST=knowing.begin_trace),
        _route(f"{endpoint}/traces/{{number}}", GET=knowing.trace),
    ]
    for kind in registry.KINDS.values():
        routes += _Kind(served, kind).routes()
    return applications.Starlette(routes=routes, exception_handlers=problems.HANDLERS)


def _route(path: str, **handlers: _Handler) -> routing.Route:
    """One route for all methods of a path, so that a wrong one is answered with the right ones."""

    async def endpoint(request: requests.Request) -> responses.Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return routing.Route(path, endpoint, methods=list(handlers))


class _Documents:
    """What is not about one kind: manifests and the server itself."""

    def __init__(self, served: controller.Controller) -> None:
        self._controller = served

    async def apply(self, request: requests.Request) -> responses.Response:
        return await self._run(request, lambda one: admission.Request("apply", one))

    async def delete(self, request: requests.Request) -> responses.Response:
        return await self._run(
            request, lambda one: admission.Request("delete", key=resources.key_of(one))
        )

    async def healthz(self, _: requests.Request) -> responses.Response:
        revision = self._controller.store.revision
        self._controller.ledger.check()
        return _json(answers.HealthBody("ok", mizar.__version__, revision, self._controller.epoch))

    async def _run(
        self,
        request: requests.Request,
        wish: Callable[[resources.Resource], admission.Request],
    ) -> responses.Response:
        dry_run = bodies.flag(request, "dryRun")
        found = await bodies.document(request, request.query_params.get("tenant", ""))
        wishes = [wish(one) for one in found]
        if dry_run:
            results = self._controller.decide(wishes).results
        else:
            results = await self._controller.submit(wishes)
        return await _settled(self._controller, _results(self._controller, results, dry_run))


class _Knowing:
    """What happens to packets."""

    def __init__(
        self, served: controller.Controller, board: drops.Drops, traced: traces.Traces
    ) -> None:
        self._controller = served
        self._drops = board
        self._traces = traced

    async def drops(self, request: requests.Request) -> responses.Response:
        if tenant := request.path_params.get("tenant"):
            _found(self._controller, resources.Key("Tenant", "", tenant))
        asked = request.query_params
        if host := asked.get("host", ""):
            _found(self._controller, resources.Key("Host", "", host))
        if tenant and (name := asked.get("endpoint")):
            found = _found(self._controller, resources.Key("Endpoint", tenant, name))
            assert isinstance(found, resources.Endpoint)
            host = host or found.status.host
        chosen = drops.selection(request)
        if bodies.flag(request, "watch") and request.method == "GET":
            return responses.StreamingResponse(self._drops.lines(chosen), media_type=drops.LINES)
        return _json(self._drops.losses(chosen, host))

    async def explain(self, request: requests.Request) -> responses.Response:
        question = explain.Question(
            self._endpoint(request),
            request.query_params.get("to", ""),
            request.query_params.get("protocol", "icmp"),
            bodies.number(request, "sourcePort"),
            bodies.number(request, "port"),
            bodies.number(request, "bytes"),
        )
        return await _settled(self._controller, explain.explain(self._controller, question))

    async def begin_trace(self, request: requests.Request) -> responses.Response:
        wish = await bodies.struct(request, reports.TraceWish)
        return _json(self._traces.begin(self._endpoint(request), wish), 201)

    async def trace(self, request: requests.Request) -> responses.Response:
        number = request.path_params["number"]
        known = int(number) if number.isascii() and number.isdigit() and len(number) < 11 else 0
        return _json(self._traces.told(known, resources.key_of(self._endpoint(request))))

    def _endpoint(self, request: requests.Request) -> resources.Endpoint:
        path = request.path_params
        found = _found(self._controller, resources.Key("Endpoint", path["tenant"], path["name"]))
        assert isinstance(found, resources.Endpoint)
        return found


class _Kind:
    """The routes of one kind."""

    def __init__(self, served: controller.Controller, kind: registry.Kind) -> None:
        self._controller = served
        self._kind = kind

    def routes(self) -> list[routing.Route]:
        across = f"/v1/{self._kind.plural}"
        path = f"/v1/tenants/{{tenant}}/{self._kind.plural}" if self._kind.tenanted else across
        found = [
            _route(path, GET=self._list, POST=self._create),
            _route(path + "/{name}", GET=self._get, PUT=self._replace, DELETE=self._delete),
        ]
        return [*found, _route(across, GET=self._list)] if self._kind.tenanted else found

    async def _list(self, request: requests.Request) -> responses.Response:
        tenant = self._tenant(request)
        selected = bodies.selector(request)
        if bodies.flag(request, "watch") and request.method == "GET":
            since = bodies.revision(request, "revision")
            watch = watches.Watch(self._controller, self._kind.name, tenant, selected)
            return await watch.response(since)
        state = self._controller.ledger.state
        items = [one for one in state.list(self._kind.name, tenant) if selected(one)]
        return await _settled(self._controller, answers.ListBody(items, state.revision))

    async def _get(self, request: requests.Request) -> responses.Response:
        return await _settled(self._controller, self._resource(self._key(request)))

    async def _create(self, request: requests.Request) -> responses.Response:
        wish = await self._wish(request)
        await self._controller.submit([admission.Request("create", wish)])
        return await _settled(self._controller, self._resource(resources.key_of(wish)), 201)

    async def _replace(self, request: requests.Request) -> responses.Response:
        wish = await self._wish(request)
        key = self._key(request)
        if wish.metadata.name != key.name:
            raise _mismatch(wish, "metadata.name", wish.metadata.name, key.name)
        await self._controller.submit([admission.Request("replace", wish)])
        return await _settled(self._controller, self._resource(key))

    async def _delete(self, request: requests.Request) -> responses.Response:
        results = await self._controller.submit(
            [admission.Request("delete", key=self._key(request))]
        )
        return await _settled(self._controller, _results(self._controller, results))

    async def _wish(self, request: requests.Request) -> resources.Resource:
        """The body's resource, which must be what the path says."""
        tenant = request.path_params.get("tenant", "")
        wish = await bodies.resource(request, tenant)
        key = resources.key_of(wish)
        if key.kind != self._kind.name:
            raise _mismatch(wish, "kind", key.kind, self._kind.name)
        if key.tenant != tenant:
            raise _mismatch(wish, "metadata.tenant", key.tenant, tenant)
        return wish

    def _tenant(self, request: requests.Request) -> str | None:
        """The path's tenant, which must exist; None for all of them."""
        tenant: str | None = request.path_params.get("tenant")
        if tenant is not None:
            self._resource(resources.Key("Tenant", "", tenant))
        return tenant

    def _key(self, request: requests.Request) -> resources.Key:
        path = request.path_params
        return self._kind.key(path["name"], path.get("tenant", ""))

    def _resource(self, key: resources.Key) -> resources.Resource:
        return _found(self._controller, key)


def _found(served: controller.Controller, key: resources.Key) -> resources.Resource:
    """The resource, which must exist."""
    found = served.ledger.state.get(key)
    if found is None:
        plural = registry.KINDS[key.kind].plural
        scope = f" -n {key.tenant}" if key.tenant else ""
        remedy = f"see mizar get {plural}{scope}"
        problem = errors.Problem(str(key), "", "it doesn't exist", remedy, "not_found")
        raise errors.NotFound([problem])
    return found


async def _openapi(_: requests.Request) -> responses.Response:
    return _json(openapi.document())


async def _settled(
    served: controller.Controller, body: object, status: int = 200
) -> responses.Response:
    """The answer, as of now, once all that it may show is on disk."""
    answer = _json(body, status)
    await served.ledger.settled()
    return answer


def _json(body: object, status: int = 200) -> responses.Response:
    return responses.Response(msgspec.json.encode(body), status, media_type=bodies.JSON)


def _results(
    served: controller.Controller, results: list[admission.Result], dry_run: bool = False
) -> answers.ResultBody:
    items = [answers.ResultItem(r.key.kind, r.key.tenant, r.key.name, r.action) for r in results]
    return answers.ResultBody(items, served.ledger.revision, dry_run)


def _mismatch(wish: resources.Resource, field: str, found: str, path: str) -> errors.Invalid:
    message = f"the body says {found!r}, the path {path!r}"
    remedy = "make them equal"
    return errors.Invalid([errors.Problem(str(resources.key_of(wish)), field, message, remedy)])
