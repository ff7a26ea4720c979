"""The REST API over a real socket: what it answers, what it refuses, and how it starts and ends."""

import signal
import socket
import subprocess
import sys

import pytest
import serverkit

ACME = "/v1/tenants/acme"
YAML = {"content-type": "application/yaml"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = serverkit.Server(tmp_path_factory.mktemp("server")).start()
    with server.client() as client:
        host = serverkit.resource("Host", "h1", address="192.0.2.1")
        serverkit.apply(client, host, *serverkit.shop(["a"], ["h1"]))
    yield server
    server.stop()
    assert "bug" not in server.log(), server.log()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def error(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_a_resource_is_created_read_replaced_and_deleted(client):
    path = f"{ACME}/endpoints"
    created = client.post(path, json=serverkit.endpoint("crud", "h1"))
    assert created.status_code == 201
    assert created.json()["status"]["addresses"]
    read = client.get(f"{path}/crud").json()
    assert read["metadata"]["uid"] == created.json()["metadata"]["uid"]
    read["metadata"]["labels"] = {"tier": "web"}
    replaced = client.put(f"{path}/crud", json=read)
    assert replaced.json()["metadata"]["labels"] == {"tier": "web"}
    stale = error(client.put(f"{path}/crud", json=read), 409)
    assert stale["problems"][0]["field"] == "metadata.revision"
    assert error(client.post(path, json=read), 409)["code"] == "conflict"
    assert client.delete(f"{path}/crud").json()["results"][0]["action"] == "deleted"
    assert error(client.get(f"{path}/crud"), 404)["problems"][0]["object"] == "Endpoint acme/crud"


def test_lists_are_of_one_tenant_or_all_and_select_by_label(client):
    other = serverkit.resource("Tenant", "other", labels={"size": "small", "new": ""})
    serverkit.apply(client, other)
    assert [e["metadata"]["name"] for e in client.get(f"{ACME}/endpoints").json()["items"]] == ["a"]
    assert len(client.get("/v1/endpoints").json()["items"]) == 1
    assert client.get("/v1/tenants/other/endpoints").json()["items"] == []
    assert error(client.get("/v1/tenants/nobody/endpoints"), 404)["code"] == "not_found"
    for selector, names in {
        "size=small": ["other"],
        "size==small,new": ["other"],
        "size!=small": ["acme"],
        "size=large": [],
        "!new": ["acme"],
        "size, size != large": ["other"],
    }.items():
        items = client.get("/v1/tenants", params={"labelSelector": selector}).json()["items"]
        assert [item["metadata"]["name"] for item in items] == names


@pytest.mark.parametrize("selector", ["size in (small)", "=x", "a b", "!size=small", "size=a=b"])
def test_a_selector_that_is_not_understood_is_refused(client, selector):
    answer = client.get("/v1/tenants", params={"labelSelector": selector})
    assert f"{selector!r} is none of label=value" in error(answer, 400)["message"]


def test_a_manifest_is_applied_whole_or_not_at_all(client):
    text = """
kind: Network
metadata: {name: db, tenant: acme}
spec: {vpc: prod, cidrs: [10.0.64.0/24]}
---
kind: Network
metadata: {name: far, tenant: acme}
spec: {vpc: prod, cidrs: [172.16.0.0/24]}
"""
    refused = error(client.post("/v1/apply", content=text, headers=YAML), 422)
    (problem,) = refused["problems"]
    assert (problem["object"], problem["field"]) == ("Network acme/far", "spec.cidrs[0]")
    assert problem["remedy"]
    assert client.get(f"{ACME}/networks/db").status_code == 404
    good = text.replace("172.16.0.0/24", "10.0.65.0/24")
    dry = client.post("/v1/apply?dryRun=true", content=good, headers=YAML).json()
    assert [one["action"] for one in dry["results"]] == ["created", "created"]
    assert client.get(f"{ACME}/networks/db").status_code == 404
    done = client.post("/v1/apply", content=good, headers=YAML).json()
    assert done["results"] == dry["results"]
    again = client.post("/v1/apply", content=good, headers=YAML).json()
    assert {one["action"] for one in again["results"]} == {"unchanged"}
    deleted = client.post("/v1/delete", content=good, headers=YAML).json()
    assert {one["action"] for one in deleted["results"]} == {"deleted"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"{}", {}, 415, "send application/json or application/yaml"),
        (b"{}", {"content-type": "text/html"}, 415, "text/html"),
        (b"a" * (4 << 20) + b"a", YAML, 413, "exceeds 4194304 bytes"),
        (b"\xff\xfe", YAML, 400, "not UTF-8"),
        (b"{", {"content-type": "application/json"}, 400, "not JSON"),
        (b'"\\ud800"', {"content-type": "application/json"}, 400, "not JSON"),
        (b"[" * 100_000, {"content-type": "application/json"}, 400, "not JSON"),
        (b"[" * 100_000, YAML, 422, "nested too deeply"),
        (b"a: &a [x]\nb: &b [*a,*a]\n" + b"kind: *c", YAML, 422, "not valid YAML"),
        (b"", YAML, 422, "no resource"),
        (b"7", {"content-type": "application/json"}, 422, "expected a mapping"),
        (b"kind: Router\n", YAML, 422, "unknown kind"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_with_the_reason(client, body, headers, status, text):
    refused = error(client.post("/v1/apply", content=body, headers=headers), status)
    assert text in refused["message"]


def test_aliases_that_multiply_are_refused_at_once(client):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    lines.append("kind: *h")
    answer = client.post("/v1/apply", content="\n".join(lines), headers=YAML)
    assert "aliases" in error(answer, 422)["message"]


def test_what_path_and_body_say_must_agree(client):
    path = f"{ACME}/endpoints"
    tenant = serverkit.resource("Tenant", "x")
    assert error(client.post(path, json=tenant), 422)["problems"][0]["field"] == "kind"
    elsewhere = serverkit.endpoint("x") | {"metadata": {"name": "x", "tenant": "other"}}
    refused = error(client.post(path, json=elsewhere), 422)
    assert refused["problems"][0]["field"] == "metadata.tenant"
    refused = error(client.put(f"{path}/a", json=serverkit.endpoint("b")), 422)
    assert refused["problems"][0]["field"] == "metadata.name"


def test_routes_methods_and_queries_that_do_not_exist(client):
    assert error(client.get("/v1/routers"), 404)["code"] == "not_found"
    wrong = client.patch(f"{ACME}/endpoints/a")
    assert error(wrong, 405)["code"] == "method_not_allowed"
    assert {"GET", "PUT", "DELETE"} <= set(wrong.headers["allow"].split(", "))
    assert "dryRun" in error(client.post("/v1/apply?dryRun=maybe", json={}), 400)["message"]
    assert "watch" in error(client.get("/v1/tenants?watch=1"), 400)["message"]
    far = client.get("/v1/tenants?watch=true&revision=-1")
    assert "revision" in error(far, 400)["message"]


def test_a_watch_from_a_revision_that_is_not_kept_says_so(client):
    with serverkit.watching(client, "/v1/tenants?watch=true&revision=123456789") as lines:
        told = list(lines)
    assert [line["type"] for line in told] == ["synced", "error"]
    assert told[1]["error"]["code"] == "compacted"


def test_the_description_names_every_kind_and_path(client):
    document = client.get("/v1/openapi.json").json()
    assert {"Host", "Tenant", "VPC", "Network", "Endpoint"} <= set(
        document["components"]["schemas"]
    )
    assert "/v1/tenants/{tenant}/endpoints/{name}" in document["paths"]
    assert client.get("/v1/healthz").json()["status"] == "ok"


def start(tmp_path, listen, store="server.db", underlay=()):
    arguments = listen, str(tmp_path / store), underlay
    code = f"from mizar.server import main\nmain.run(*{arguments!r})"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )


def test_a_socket_in_use_is_refused_and_a_stale_one_replaced(tmp_path):
    server = serverkit.Server(tmp_path).start()
    refused = start(tmp_path, [f"unix:{server.socket}"], "other.db")
    assert refused.returncode
    assert "StartError" in refused.stderr
    assert "another server does" in refused.stderr
    assert "in use by another process" in start(tmp_path, [f"unix:{tmp_path}/other"]).stderr
    server.stop(signal.SIGKILL)
    server.start()
    assert server.stop() < 2
    assert not (tmp_path / "server.sock").exists()


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("unix:{}/file", "a file is there"),
        ("nonsense", "write HOST:PORT"),
        ("127.0.0.1:99999", "write HOST:PORT"),
        ("127.0.0.1:{}", ""),
    ],
)
def test_where_it_can_not_listen_it_says_why(tmp_path, listen, reason):
    (tmp_path / "file").write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = tmp_path if listen.startswith("unix") else taken.getsockname()[1]
        address = listen.format(place)
        failed = start(tmp_path, [address])
    assert f"can't listen on {address}" in failed.stderr
    assert reason in failed.stderr


@pytest.mark.parametrize("prefix", ["10.0.0.0/33", "10.0.0.1/8", "10.0.0.1", "fd00::/8", "hosts"])
def test_an_underlay_that_is_no_prefix_is_refused_at_the_start(tmp_path, prefix):
    failed = start(tmp_path, [f"unix:{tmp_path}/server.sock"], underlay=["192.0.2.0/24", prefix])
    assert f"StartError: --underlay {prefix}: " in failed.stderr
    assert "write it as 10.20.0.0/16" in failed.stderr


def test_a_store_whose_directory_can_not_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    failed = start(tmp_path, [f"unix:{tmp_path}/server.sock"], "file/server.db")
    assert "StartError: store " in failed.stderr
    assert "can't make its directory" in failed.stderr
