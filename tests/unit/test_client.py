"""The client: over TCP and a Unix socket, through a server's restart, against what is no server."""

from __future__ import annotations

import contextlib
import errno
import http.server
import os
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import mizarcli
import pytest

from mizar.client import address, errors, rest, waiting
from mizar.model import errors as refusals
from mizar.model import registry, resources

TENANT = registry.KINDS["Tenant"]


def tenant(name: str, **labels: str) -> resources.Tenant:
    return resources.Tenant(metadata=resources.Metadata(name=name, labels=labels))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[mizarcli.Server]:
    server = mizarcli.Server(tmp_path).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("where", ["address", "url"])
def test_it_speaks_over_both_kinds_of_socket(server: mizarcli.Server, where: str) -> None:
    with rest.Client(getattr(server, where)) as client:
        created = client.create(tenant("acme"))
        assert created.metadata.uid
        spec = resources.TenantSpec(description="shop")
        changed = resources.Tenant(metadata=created.metadata, spec=spec)
        replaced = client.replace(changed)
        assert client.get(resources.key_of(created)) == replaced
        with pytest.raises(refusals.Conflict, match="revision"):
            client.replace(changed)
        assert [one.action for one in client.apply([tenant("acme"), tenant("other")])] == [
            "configured",
            "created",
        ]
        assert [one.metadata.name for one in client.list(TENANT)] == ["acme", "other"]
        assert client.list(TENANT, selector="x=y") == []
        client.delete([tenant("acme"), tenant("other")])
        with pytest.raises(refusals.NotFound):
            client.get(resources.key_of(created))


def test_a_kept_connection_is_opened_anew_when_the_server_was_restarted(
    server: mizarcli.Server,
) -> None:
    with rest.Client(server.address) as client:
        client.apply([tenant("acme")])
        server.stop()
        with pytest.raises(errors.Unreachable, match="is the server running"):
            client.list(TENANT)
        server.start()
        assert [one.metadata.name for one in client.list(TENANT)] == ["acme"]
        server.stop()
        server.start()
        assert [one.metadata.name for one in client.list(TENANT)] == ["acme"]


def test_a_watch_tells_what_is_there_then_what_happens(server: mizarcli.Server) -> None:
    with rest.Client(server.address) as client:
        client.apply([tenant("acme", tier="gold"), tenant("poor")])
        with contextlib.closing(client.watch(TENANT, selector="tier=gold", timeout_s=10)) as watch:
            first = next(watch)
            assert (first.type, first.object and first.object.metadata.name) == ("put", "acme")
            assert next(watch) == rest.Event("synced")
            client.apply([tenant("poor", tier="gold"), tenant("acme")])
            last = [next(watch), next(watch)]
            assert sorted((one.type, one.object.metadata.name) for one in last if one.object) == [
                ("delete", "acme"),
                ("put", "poor"),
            ]


def test_a_watch_gives_up_in_time_and_ends_with_the_server(server: mizarcli.Server) -> None:
    with rest.Client(server.address) as client:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            list(client.watch(TENANT, timeout_s=0.3))
        assert time.monotonic() - began < 3
        watch = client.watch(TENANT, timeout_s=10)
        assert next(watch).type == "synced"
        server.stop()
        assert list(watch) == []


def test_waiting_returns_what_was_not_there_in_time(server: mizarcli.Server) -> None:
    host = resources.Host(
        metadata=resources.Metadata(name="h1"), spec=resources.HostSpec(address="192.0.2.1")
    )
    reached: list[resources.Key] = []
    with rest.Client(server.address) as client:
        client.apply([tenant("acme"), host])
        keys = [resources.key_of(tenant("acme")), resources.key_of(host)]
        left = waiting.wait(client, keys, "Ready", 0.5, reached.append)
        assert list(left) == [resources.key_of(host)]
        assert reached == [resources.key_of(tenant("acme"))]
        assert left[resources.key_of(host)].status.phase == "Pending"
        assert list(waiting.wait(client, keys, "delete", 0.0)) == sorted(keys)


def test_waiting_outlasts_a_restart_of_the_server(server: mizarcli.Server) -> None:
    host = resources.Host(
        metadata=resources.Metadata(name="h1"), spec=resources.HostSpec(address="192.0.2.1")
    )
    with rest.Client(server.address) as client, rest.Client(server.address) as other:
        client.apply([host])
        with futures.ThreadPoolExecutor() as pool:
            key = resources.key_of(host)
            gone = pool.submit(waiting.wait, client, [key], "delete", 20.0)
            time.sleep(0.3)
            server.stop()
            time.sleep(0.3)
            server.start()
            assert not gone.done()
            other.delete([host])
            assert gone.result(10) == {}
        server.stop()
        with pytest.raises(errors.Unreachable):
            waiting.wait(client, [key], "delete", 20.0)


class Leaving(http.server.BaseHTTPRequestHandler):
    """A server that stops: its answer is the last on the connection."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b'{"type": "synced"}\n')

    def log_message(self, *_: object) -> None:
        pass


def test_a_watch_on_a_server_that_is_stopping_ends() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Leaving) as leaving:
        threading.Thread(target=leaving.serve_forever, daemon=True).start()
        with rest.Client(f"http://127.0.0.1:{leaving.server_port}") as client:
            assert [event.type for event in client.watch(TENANT, timeout_s=5)] == ["synced"]
        leaving.shutdown()


class Other(http.server.BaseHTTPRequestHandler):
    """Something else's server."""

    def do_GET(self) -> None:
        self.send_response(200 if "hosts" in self.path else 404)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"<htm>")

    def log_message(self, *_: object) -> None:
        pass


def test_what_is_no_mizar_server_is_told_from_one() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with rest.Client(f"http://127.0.0.1:{other.server_port}") as client:
            with pytest.raises(errors.Failed, match=r"answered 404: Not Found; see its log"):
                client.list(TENANT)
            with pytest.raises(errors.Failed, match=r"can't read .*names a Mizar server"):
                client.list(registry.KINDS["Host"])
        other.shutdown()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:/run/x.sock", ("localhost", 0, "/run/x.sock", "")),
        ("unix:///run/x.sock", ("localhost", 0, "/run/x.sock", "")),
        ("unix:x.sock", ("localhost", 0, "x.sock", "")),
        ("http://h1", ("h1", 6180, "", "")),
        ("http://[::1]:80/mizar/", ("::1", 80, "", "/mizar")),
    ],
)
def test_addresses(text: str, expected: tuple[str, int, str, str]) -> None:
    assert address.read(text) == expected


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix://", "h1:6180", "https://h1", "http://h:99999"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no server address"):
        address.read(text)


def test_a_socket_that_is_not_ours_is_no_stopped_server() -> None:
    refused = errors.Unreachable("unix:/run/mizar/server.sock", os.strerror(errno.EACCES))
    assert str(refused).endswith("Permission denied; its socket is root's; use sudo")
