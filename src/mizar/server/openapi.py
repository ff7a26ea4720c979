"""The OpenAPI description, made from the registry of kinds and from the structs themselves."""

from __future__ import annotations

from typing import Any, Final

import msgspec

import mizar
from mizar.model import registry, reports
from mizar.server import answers, bodies, drops, problems, watches

VERSION: Final = "3.1.0"
_REFERENCE: Final = "#/components/schemas/{name}"

_TYPES: Final = (
    *(kind.type for kind in registry.KINDS.values()),
    answers.ResultBody,
    answers.HealthBody,
    watches.WatchEvent,
    drops.LossList,
    drops.LossEvent,
    reports.Explanation,
    reports.Trace,
    reports.TraceWish,
    problems.ErrorBody,
)
_MANIFEST: Final[dict[str, Any]] = {
    "oneOf": [
        *({"$ref": _REFERENCE.format(name=name)} for name in registry.KINDS),
        {
            "type": "object",
            "required": ["kind", "items"],
            "properties": {"kind": {"const": "List"}, "items": {"type": "array"}},
        },
    ]
}
_ERRORS: Final = {
    "body": (400, 409, 413, 415, 422, 503),
    "query": (400, 503),
    "name": (404, 503),
    "delete": (404, 409, 422, 503),
}


def document() -> dict[str, Any]:
    """The whole document, as plain data."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_REFERENCE)
    return {
        "openapi": VERSION,
        "info": {"title": "Mizar", "version": mizar.__version__},
        "paths": _paths(),
        "components": {"schemas": schemas},
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {
        "/v1/apply": {"post": _manifest("apply", "dryRun", "tenant")},
        "/v1/delete": {"post": _manifest("delete", "dryRun", "tenant")},
        "/v1/healthz": {"get": _operation("health", 200, _named("HealthBody"), (503,))},
        "/v1/openapi.json": {"get": _operation("openapi", 200, {"type": "object"}, ())},
    }
    paths |= _drops_paths() | _packet_paths()
    for kind in registry.KINDS.values():
        paths |= _kind_paths(kind)
    return paths


def _drops_paths() -> dict[str, Any]:
    """Of all tenants and hosts, and of one tenant."""
    text = {"type": "string"}
    queries = [
        _query("host", text, "on this host"),
        _query("endpoint", text, "of this endpoint"),
        _query("vpc", text, "in this VPC"),
        _query("reason", text, "for this reason"),
        _query("watch", {"type": "boolean"}, "one JSON object a line, for each row that changes"),
    ]
    paths: dict[str, Any] = {}
    for name, path, scope in (
        ("listAllDrops", "/v1/drops", []),
        ("listDrops", "/v1/tenants/{tenant}/drops", [_path_parameter("tenant")]),
    ):
        operation = _operation(name, 200, _named("LossList"), (404, *_ERRORS["query"]))
        operation["responses"]["200"]["content"][drops.LINES] = {"schema": _named("LossEvent")}
        paths[path] = {"get": {**operation, "parameters": queries}, "parameters": scope}
    return paths


def _packet_paths() -> dict[str, Any]:
    """What becomes of an endpoint's packets."""
    endpoint = "/v1/tenants/{tenant}/endpoints/{name}"
    scope = [_path_parameter("tenant"), _path_parameter("name")]
    number = {"type": "integer", "minimum": 0}
    explain = _operation("explain", 200, _named("Explanation"), (400, *_ERRORS["name"], 422))
    explain["parameters"] = [
        _query("to", {"type": "string"}, "an address, or an endpoint: NAME or TENANT/NAME"),
        _query("protocol", {"enum": [*reports.PROTOCOLS]}, "icmp when absent"),
        _query("port", number, "the destination's"),
        _query("sourcePort", number, "of tcp and udp"),
        _query("bytes", number, "length of the IP packet"),
    ]
    begin = _operation("trace", 201, _named("Trace"), (404, *_ERRORS["body"]))
    content = {bodies.JSON: {"schema": _named("TraceWish")}}
    begin["requestBody"] = {"required": True, "content": content}
    told = _operation("getTrace", 200, _named("Trace"), _ERRORS["name"])
    traces = f"{endpoint}/traces"
    return {
        f"{endpoint}/explain": {"get": explain, "parameters": scope},
        traces: {"post": begin, "parameters": scope},
        f"{traces}/{{number}}": {"get": told, "parameters": [*scope, _path_parameter("number")]},
    }


def _kind_paths(kind: registry.Kind) -> dict[str, Any]:
    across, tenant = f"/v1/{kind.plural}", _path_parameter("tenant")
    path = f"/v1/tenants/{{tenant}}/{kind.plural}" if kind.tenanted else across
    scope = [tenant] if kind.tenanted else []
    many = {"get": _list(kind, "list", scope), "post": _create(kind)}
    paths = {
        path: {**many, "parameters": scope},
        path + "/{name}": {**_one(kind), "parameters": [*scope, _path_parameter("name")]},
    }
    return {across: {"get": _list(kind, "listAll", [])}, **paths} if kind.tenanted else paths


def _list(kind: registry.Kind, verb: str, scope: list[Any]) -> dict[str, Any]:
    errors = (404, *_ERRORS["query"]) if scope else _ERRORS["query"]
    items = {"type": "array", "items": _named(kind.name)}
    schema = {
        "type": "object",
        "required": ["items", "revision"],
        "properties": {"items": items, "revision": {"type": "integer"}},
    }
    operation = _operation(f"{verb}{kind.name}", 200, schema, errors)
    operation["responses"]["200"]["content"][watches.LINES] = {"schema": _named("WatchEvent")}
    operation["parameters"] = [
        _query("labelSelector", {"type": "string"}, "by commas: l=value, l!=value, l, !l"),
        _query("watch", {"type": "boolean"}, "one JSON object a line, for each event"),
        _query("revision", {"type": "integer", "minimum": 0}, "watch what came after it"),
    ]
    return operation


def _create(kind: registry.Kind) -> dict[str, Any]:
    operation = _operation(f"create{kind.name}", 201, _named(kind.name), (*_ERRORS["body"], 404))
    return {**operation, "requestBody": _body(kind)}


def _one(kind: registry.Kind) -> dict[str, Any]:
    replace = _operation(f"replace{kind.name}", 200, _named(kind.name), (*_ERRORS["body"], 404))
    done = _named("ResultBody")
    return {
        "get": _operation(f"get{kind.name}", 200, _named(kind.name), _ERRORS["name"]),
        "put": {**replace, "requestBody": _body(kind)},
        "delete": _operation(f"delete{kind.name}", 200, done, _ERRORS["delete"]),
    }


def _manifest(verb: str, *queries: str) -> dict[str, Any]:
    operation = _operation(verb, 200, _named("ResultBody"), (*_ERRORS["body"], 404))
    types = {"dryRun": {"type": "boolean"}, "tenant": {"type": "string"}}
    texts = {"dryRun": "decide, change nothing", "tenant": "for resources that name none"}
    operation["parameters"] = [_query(name, types[name], texts[name]) for name in queries]
    content = {media: {"schema": _MANIFEST} for media in (bodies.JSON, bodies.YAML[0])}
    operation["requestBody"] = {"required": True, "content": content}
    return operation


def _operation(name: str, status: int, schema: dict[str, Any], errors: Any) -> dict[str, Any]:
    responses = {str(status): _response("done", schema)}
    responses |= {str(code): _response("refused", _named("ErrorBody")) for code in errors}
    return {"operationId": name, "responses": responses}


def _response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {bodies.JSON: {"schema": schema}}}


def _body(kind: registry.Kind) -> dict[str, Any]:
    return {"required": True, "content": {bodies.JSON: {"schema": _named(kind.name)}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _named(name: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name=name)}
