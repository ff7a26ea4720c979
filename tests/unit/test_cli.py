"""The verbs, against a server and agents that only acknowledge."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import click
import mizarcli
import pytest
import serverkit
import yaml
from click import testing

from mizar.cli import failures, main, scope

SHOP = """\
kind: Tenant
metadata: {name: acme}
---
kind: VPC
metadata: {name: prod, tenant: acme}
spec: {cidrs: [10.0.0.0/16]}
---
kind: Network
metadata: {name: web, tenant: acme}
spec: {vpc: prod, cidrs: [10.0.1.0/24], switches: 1}
---
kind: Endpoint
metadata: {name: web1, tenant: acme, labels: {app: shop}}
spec: {network: web}
---
kind: Endpoint
metadata: {name: web2, tenant: acme}
spec: {network: web}
"""
SHOP_NAMES = [
    "tenant/acme",
    "vpc/acme/prod",
    "network/acme/web",
    "endpoint/acme/web1",
    "endpoint/acme/web2",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[mizarcli.Server]:
    server = mizarcli.Server(tmp_path).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def shop(server: mizarcli.Server) -> mizarcli.Server:
    """With one host, which has no agent, and two endpoints on it."""
    host = "kind: Host\nmetadata: {name: h1}\nspec: {address: 192.0.2.1}\n---\n"
    server.done("apply", "-f", "-", stdin=host + SHOP)
    return server


def with_agents(
    server: mizarcli.Server, body: Callable[[serverkit.Agents], Awaitable[None]]
) -> None:
    async def whole() -> None:
        async with serverkit.Agents(server) as agents:
            await asyncio.wait_for(body(agents), 30)

    asyncio.run(whole())


def test_apply_says_what_became_of_each(shop: mizarcli.Server) -> None:
    again = shop.done("apply", "-f", "-", stdin=SHOP)
    assert again.splitlines() == [f"{name} unchanged" for name in SHOP_NAMES]
    changed = SHOP.replace("switches: 1", "switches: 2").replace("name: web2", "name: web3")
    said = shop.done("apply", "-f", "-", stdin=changed).splitlines()
    assert said[2:] == [
        "network/acme/web configured",
        "endpoint/acme/web1 unchanged",
        "endpoint/acme/web3 created",
    ]


def test_get_prints_plain_columns(shop: mizarcli.Server) -> None:
    lines = shop.done("get", "ep", "-n", "acme").splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["NAME", "NETWORK", "ADDRESSES", "HOST", "STATUS"],
        ["web1", "web", "10.0.1.2", "h1", "Pending"],
        ["web2", "web", "10.0.1.3", "h1", "Pending"],
    ]
    assert shop.done("get", "endpoints", "-A").startswith("TENANT   NAME")
    wide = shop.done("get", "eps", "-o", "wide", MIZAR_TENANT="acme")
    assert "GENERATION" in wide.splitlines()[0]
    everything = shop.done("-A", "get", "all")
    assert "endpoint/web1" in everything
    assert "host/h1" in everything
    assert shop.done("get", "net", "-n", "acme", "-l", "app=shop") == ""


def test_what_get_prints_as_yaml_applies_unchanged(shop: mizarcli.Server) -> None:
    listing = shop.done("get", "vpc,network,endpoint", "-A", "-o", "yaml")
    assert [item["kind"] for item in yaml.safe_load(listing)["items"]] == [
        "VPC",
        "Network",
        "Endpoint",
        "Endpoint",
    ]
    said = shop.done("apply", "-f", "-", stdin=listing).splitlines()
    assert [line.split()[1] for line in said] == ["unchanged"] * 4


def test_get_one_as_json_and_by_label_as_names(shop: mizarcli.Server) -> None:
    one = json.loads(shop.done("get", "endpoint/acme/web1", "-o", "json"))
    assert list(one) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert one["status"]["addresses"] == ["10.0.1.2"]
    names = shop.done("get", "ep", "-A", "-o", "name", "-l", "app!=db,app")
    assert names == "endpoint/acme/web1\n"


def test_nothing_found_is_no_failure(server: mizarcli.Server) -> None:
    result = server.mizar("get", "vpcs", "-A")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No vpcs found.\n")


def test_describe_tells_what_it_waits_for_and_what_belongs_to_it(shop: mizarcli.Server) -> None:
    serverkit.until(lambda: "Because:" in shop.done("describe", "ep", "web1", "-n", "acme"))
    text = shop.done("describe", "ep", "acme/web1")
    assert "  secondaryAddresses: -" in text
    for line in (
        "Labels:               app=shop",
        "Phase:                Pending",
        "Because:              waiting for host h1 (not connected)",
        "  network:            web",
        "  addresses:          10.0.1.2",
        "  network/acme/web  Ready  10.0.1.0/24",
        "  host/h1  Pending  192.0.2.1",
    ):
        assert line in text.splitlines(), text
    assert "endpoint/acme/web2" in shop.done("describe", "host/h1")
    assert "vpc/acme/prod" in shop.done("describe", "tenant", "acme")
    assert "network/acme/web" in shop.done("describe", "vpc/acme/prod")


def test_delete_by_name_and_by_file(shop: mizarcli.Server) -> None:
    assert shop.done("delete", "ep", "web1", "-n", "acme") == "endpoint/acme/web1 deleted\n"
    missing = shop.mizar("delete", "-f", "-", stdin=SHOP)
    assert missing.exit_code == 1
    assert "Endpoint acme/web1: it doesn't exist" in missing.stderr
    rest = SHOP.replace("name: web1", "name: web2").split("---")[:4]
    said = shop.done("delete", "-f", "-", stdin="---".join(rest))
    assert "tenant/acme deleted" in said.splitlines()
    assert shop.done("get", "all", "-A", "-o", "name") == "host/h1\n"


def test_wait_returns_when_all_is_ready(server: mizarcli.Server) -> None:
    async def body(agents: serverkit.Agents) -> None:
        await agents.join("h1")
        await asyncio.to_thread(server.done, "apply", "-f", "-", stdin=SHOP)
        words = ["wait", "-f", "-", "--timeout", "20s"]
        said = await asyncio.to_thread(server.done, *words, stdin=SHOP)
        assert sorted(said.splitlines()) == sorted(f"{name} condition met" for name in SHOP_NAMES)
        await asyncio.to_thread(server.done, "wait", "--all", "-A", "--timeout", "20s")

    with_agents(server, body)


def test_wait_hears_of_it_and_does_not_poll(shop: mizarcli.Server) -> None:
    waiting = shop.popen("wait", "endpoint/acme/web1", "--for=delete", "--timeout", "20s")
    time.sleep(0.5)
    shop.done("delete", "endpoint/acme/web1")
    out, err = waiting.communicate(timeout=5)
    assert (waiting.returncode, out, err) == (0, "endpoint/acme/web1 condition met\n", "")


def test_wait_gives_up_and_says_what_is_missing(shop: mizarcli.Server) -> None:
    result = shop.mizar("wait", "ep", "web1", "-n", "acme", "--timeout", "1.5s")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: Endpoint acme/web1: still Pending (waiting for host h1 (not connected)) after "
        "1.5s; see mizar describe endpoint/acme/web1, or raise --timeout\n"
    )
    missing = shop.mizar("wait", "ep", "web9", "-n", "acme")
    assert missing.exit_code == 1
    assert "Endpoint acme/web9: it doesn't exist" in missing.stderr
    assert shop.done("wait", "ep/gone/web1", "--for=delete") == "endpoint/gone/web1 condition met\n"


def test_watch_shows_each_change_until_interrupted(shop: mizarcli.Server) -> None:
    watching = shop.popen("get", "networks", "-n", "acme", "--watch")
    assert watching.stdout
    assert watching.stderr
    assert watching.stdout.readline().split()[0] == "NAME"
    assert watching.stdout.readline().split()[0] == "web"
    shop.done("delete", "ep/acme/web1", "ep/acme/web2", "net/acme/web")
    rows = iter(watching.stdout.readline, "")
    assert next(row for row in rows if row.split()[-1] == "deleted").split()[0] == "web"
    watching.send_signal(signal.SIGINT)
    assert watching.wait(5) == 130
    assert watching.stderr.read() == ""
    watching.stdout.close()
    watching.stderr.close()


def test_watch_goes_on_when_the_server_is_back(shop: mizarcli.Server) -> None:
    watching = shop.popen("get", "networks", "-n", "acme", "--watch")
    assert watching.stdout
    assert watching.stderr
    assert [watching.stdout.readline().split()[0] for _ in range(2)] == ["NAME", "web"]
    shop.stop()
    assert "cannot reach the server" in watching.stderr.readline()
    shop.start()
    assert watching.stdout.readline().split()[0] == "web"
    watching.send_signal(signal.SIGINT)
    assert watching.wait(5) == 130
    watching.stdout.close()
    watching.stderr.close()


def test_a_reader_that_leaves_is_told_nothing(shop: mizarcli.Server) -> None:
    listing = shop.popen("get", "all", "-A")
    assert listing.stdout
    assert listing.stderr
    listing.stdout.close()
    assert listing.wait(10) == 1
    assert listing.stderr.read() == ""
    listing.stderr.close()


def editor(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_edit_replaces_what_was_changed(shop: mizarcli.Server, tmp_path: Path) -> None:
    one = editor(tmp_path / "one", "sed -i 's/routers: 2/routers: 1/' $1")
    assert shop.done("edit", "vpc/acme/prod", EDITOR=one) == "vpc/acme/prod configured\n"
    assert json.loads(shop.done("get", "vpc/acme/prod", "-o", "json"))["spec"]["routers"] == 1
    assert shop.done("edit", "vpc/acme/prod", EDITOR=one) == "vpc/acme/prod left as it is\n"


def test_edit_minds_what_users_wrote_meanwhile_and_not_what_the_system_did(
    shop: mizarcli.Server, tmp_path: Path
) -> None:
    mizar = f"'{mizarcli.MIZAR}' --server {shop.address}"
    host = tmp_path / "host.yaml"
    host.write_text("kind: Host\nmetadata: {name: h2}\nspec: {address: 192.0.2.2}\n")
    system = (
        f"{mizar} apply -f {host} >/dev/null\n"
        f"for try in $(seq 100); do {mizar} get vpc/acme/prod -o wide | grep -q h1,h2 && break\n"
        "sleep 0.05; done\n"
        "sed -i 's/labels: {}/labels: {a: b}/' $1"
    )
    one = editor(tmp_path / "one", system)
    assert shop.done("edit", "vpc/acme/prod", EDITOR=one) == "vpc/acme/prod configured\n"
    labelled = tmp_path / "tenant.yaml"
    labelled.write_text("kind: Tenant\nmetadata: {name: acme, labels: {x: y}}\n")
    user = (
        f"{mizar} apply -f {labelled} >/dev/null\nsed -i 's/^  description.*/  description: z/' $1"
    )
    result = shop.mizar("edit", "tenant", "acme", EDITOR=editor(tmp_path / "two", user))
    assert result.exit_code == 1
    Path(result.stderr.split("it is kept in ")[1].strip()).unlink()
    kept = json.loads(shop.done("get", "tenant/acme", "-o", "json"))
    assert (kept["metadata"]["labels"], kept["spec"]["description"]) == ({"x": "y"}, "")


def test_edit_comes_back_with_the_reason(shop: mizarcli.Server, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    twice = editor(
        tmp_path / "twice",
        f"if grep -q immutable {seen} 2>/dev/null; then cp $1 {seen}; exit; fi\n"
        f"echo immutable > {seen}; sed -i 's/vpc: prod/vpc: other/' $1",
    )
    result = shop.mizar("edit", "network/acme/web", EDITOR=twice)
    assert "# Network acme/web: spec.vpc: a network's VPC can't change" in seen.read_text()
    assert "vpc: other" in seen.read_text()
    assert result.exit_code == 1
    assert "error: Network acme/web: spec.vpc: a network's VPC can't change" in result.stderr
    kept = Path(result.stderr.split("it is kept in ")[1].strip())
    assert "vpc: other" in kept.read_text()
    kept.unlink()


def test_every_command_has_a_short_help_that_fits_a_line() -> None:
    for words in ([], ["lab"]):
        listing = testing.CliRunner().invoke(main.main, [*words, "--help"]).stdout
        assert "..." not in listing.split("Commands:")[1]


def test_counters_where_no_agent_ran_say_what_to_do() -> None:
    result = testing.CliRunner().invoke(main.main, ["counters", "--pin-path", "/sys/fs/bpf/none"])
    assert result.exit_code == 1
    assert "no agent has run on this host" in result.stderr


def test_no_server_is_exit_code_3_with_what_to_do() -> None:
    for where in ("unix:/nowhere/server.sock", "http://127.0.0.1:1"):
        result = testing.CliRunner().invoke(main.main, ["get", "hosts", "--server", where])
        assert result.exit_code == 3
        assert result.stderr.startswith(f"error: cannot reach the server at {where}: ")
        assert "is the server running? start it with mizar server, or set MIZAR_SERVER" in (
            result.stderr
        )


def test_a_bug_is_told_in_one_line_and_in_full_on_request() -> None:
    @click.command()
    @scope.options
    @click.pass_context
    def broken(ctx: click.Context) -> None:
        with failures.told(ctx):
            raise ZeroDivisionError("by nothing\nat all")

    result = testing.CliRunner().invoke(broken, [])
    assert result.exit_code == 1
    assert result.stderr == (
        "error: unexpected: ZeroDivisionError: by nothing; "
        "this is a bug: run again with --debug and report it\n"
    )
    assert isinstance(testing.CliRunner().invoke(broken, ["--debug"]).exception, ZeroDivisionError)


def test_help_needs_no_server_and_knows_every_command() -> None:
    for name in main.COMMANDS:
        result = testing.CliRunner().invoke(main.main, [name, "--help"])
        assert result.exit_code == 0, result.output
        assert "Usage:" in result.output


def test_get_imports_nothing_heavy() -> None:
    heavy = {"httpx", "uvicorn", "starlette", "rich", "yaml.loader", "pyroute2", "asyncio"}
    script = (
        "import sys; from mizar.cli import main; import mizar.cli.commands.get; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not heavy & set(loaded)


def test_the_server_says_why_it_cannot_start(server: mizarcli.Server, tmp_path: Path) -> None:
    words = ["server", "--underlay", "192.0.2.0/24", "--listen", server.address]
    second = server.popen(*words, "--store", str(tmp_path / "second.db"))
    _, err = second.communicate(timeout=10)
    assert second.returncode == 1
    assert err == (
        f"error: can't listen on {server.address}: another server does; stop it, or name another\n"
    )
