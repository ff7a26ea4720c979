"""Bad manifests: the message names object, field and remedy, and nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mizarcli
import pytest

from mizar.client import rest
from mizar.model import errors, registry, resources

BASE = """\
kind: Host
metadata: {name: h1}
spec: {address: 192.0.2.1}
---
kind: Tenant
metadata: {name: acme}
---
kind: VPC
metadata: {name: prod, tenant: acme}
spec: {cidrs: [10.0.0.0/16]}
---
kind: Network
metadata: {name: web, tenant: acme}
spec: {vpc: prod, cidrs: [10.0.1.0/24]}
---
kind: Endpoint
metadata: {name: web1, tenant: acme}
spec: {network: web, addresses: [10.0.1.10]}
"""
WEB2 = "kind: Endpoint\nmetadata: {name: web2, tenant: acme}\nspec: "
DB = "kind: Network\nmetadata: {name: db, tenant: acme}\nspec: "

REFUSED = {
    "unknown kind": (
        "kind: Endpont\nmetadata: {name: web2, tenant: acme}\nspec: {network: web}\n",
        "standard input: document 1: Endpont web2: kind: unknown kind 'Endpont'; "
        "did you mean Endpoint?",
    ),
    "CIDR outside the VPC": (
        DB + "{vpc: prod, cidrs: [10.1.0.0/24]}",
        "Network acme/db: spec.cidrs[0]: 10.1.0.0/24 is outside VPC acme/prod (10.0.0.0/16); "
        "use a range inside, or add one to the VPC",
    ),
    "overlapping networks": (
        DB + "{vpc: prod, cidrs: [10.0.1.128/25]}",
        "Network acme/db: spec.cidrs[0]: 10.0.1.128/25 overlaps Network acme/web (10.0.1.0/24); "
        "use another range of VPC acme/prod",
    ),
    "duplicate address": (
        WEB2 + "{network: web, addresses: [10.0.1.10]}",
        "Endpoint acme/web2: spec.addresses[0]: 10.0.1.10 is in use by Endpoint acme/web1; "
        "use another one, or leave addresses out to be given one",
    ),
    "malformed YAML": (
        "kind: Endpoint\nmetadata: {name: web2, tenant: acme\nspec: {network: web}\n",
        "standard input: manifest: not valid YAML: line 3, column 5: "
        "did not find expected ',' or '}'; correct the syntax",
    ),
    "unknown field": (
        WEB2 + "{network: web, adresses: []}",
        "standard input: document 1: Endpoint acme/web2: spec.adresses: unknown field; "
        "did you mean addresses?",
    ),
    "label not in quotes": (
        "kind: Tenant\nmetadata: {name: x, labels: {app: shop, gold: true}}\n",
        "standard input: document 1: Tenant x: metadata.labels.gold: expected text, "
        "got true or false; write text, in quotes where YAML reads it as something else",
    ),
    "name twice": (
        "kind: Tenant\nmetadata: {name: x}\n---\nkind: Tenant\nmetadata: {name: x}\n",
        "Tenant x: it is named twice in one request; leave one of them out",
    ),
    "one bad of two": (
        WEB2 + "{network: web}\n---\n" + WEB2.replace("web2", "web3") + "{network: nowhere}\n",
        "Endpoint acme/web3: spec.network: Network acme/nowhere doesn't exist; "
        "create Network acme/nowhere first, or in the same manifest",
    ),
    "what can't change": (
        WEB2.replace("web2", "web1") + "{network: web, addresses: [10.0.1.11]}",
        "Endpoint acme/web1: spec.addresses: an endpoint's addresses can't change: its workload "
        "has them configured (it is 10.0.1.10); delete it and create another",
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mizarcli.Server]:
    server = mizarcli.Server(tmp_path_factory.mktemp("refusals")).start()
    try:
        server.done("apply", "-f", "-", stdin=BASE)
        yield server
    finally:
        server.stop()


def declared(server: mizarcli.Server) -> list[tuple[resources.Key, str, object]]:
    """All that users declared, without what the system says of it."""
    with rest.Client(server.address) as client:
        items = [item for kind in registry.KINDS.values() for item in client.list(kind)]
    return [(resources.key_of(item), item.metadata.uid, item.spec) for item in items]


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_manifest_is_refused_whole_with_object_field_and_remedy(
    server: mizarcli.Server, case: str
) -> None:
    manifest, message = REFUSED[case]
    before = declared(server)
    result = server.mizar("apply", "-f", "-", stdin=manifest)
    assert result.stderr == f"error: {message}\n"
    assert result.exit_code == 1
    assert result.stdout == ""
    assert declared(server) == before


def test_every_problem_is_told_at_once(server: mizarcli.Server) -> None:
    manifest = DB + "{vpc: prod, cidrs: 10.0.2.0/24, switches: two}"
    assert server.mizar("apply", "-f", "-", stdin=manifest).stderr.splitlines() == [
        "error: standard input: document 1: Network acme/db: spec.cidrs: expected a list, "
        "got text; write a list, such as [10.0.0.0/16]",
        "error: standard input: document 1: Network acme/db: spec.switches: "
        "expected a whole number, got text; write a whole number",
    ]


def test_what_is_in_use_is_not_deleted(server: mizarcli.Server) -> None:
    before = declared(server)
    result = server.mizar("delete", "vpc", "prod", "-n", "acme")
    assert result.stderr == (
        "error: VPC acme/prod: it is used by Network acme/web; "
        "delete them first, or in the same request\n"
    )
    assert result.exit_code == 1
    assert declared(server) == before


def test_a_name_in_use_is_not_created_again(server: mizarcli.Server) -> None:
    tenant = resources.Tenant(metadata=resources.Metadata(name="acme"))
    with rest.Client(server.address) as client, pytest.raises(errors.Conflict) as refused:
        client.create(tenant)
    assert str(refused.value) == (
        "Tenant acme: metadata.name: the name is in use; use another name, or apply"
    )


def test_files_are_named_and_applied_together_or_not_at_all(
    server: mizarcli.Server, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("kind: Tenant\nmetadata: {name: together}\n")
    (tmp_path / "b.yaml").write_text("kind: Tenant\nmetadata: {nmae: other}\n")
    before = declared(server)
    result = server.mizar("apply", "-f", str(tmp_path))
    assert result.exit_code == 1
    assert f"{tmp_path}/b.yaml: document 1: Tenant (no name): metadata.nmae" in result.stderr
    assert declared(server) == before


def test_a_dry_run_says_what_would_be_and_changes_nothing(server: mizarcli.Server) -> None:
    before = declared(server)
    manifest = WEB2 + "{network: web}"
    said = server.done("apply", "-f", "-", "--dry-run", stdin=manifest)
    assert said == "endpoint/acme/web2 created (dry run)\n"
    said = server.done("delete", "ep/acme/web1", "--dry-run")
    assert said == "endpoint/acme/web1 deleted (dry run)\n"
    assert declared(server) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "endpoints"], "which tenant? endpoints live in one: give -n TENANT, or -A"),
        (["get", "endpoint/web1"], "which tenant? endpoints live in one: give -n TENANT, write"),
        (["get", "endpints"], "unknown kind 'endpints'; did you mean Endpoint?"),
        (["get"], "get what? one of all, tenants, hosts, vpcs, networks, endpoints"),
        (["get", "ep", "a", "-l", "x=y", "-n", "acme"], "give either names or -l, not both"),
        (["get", "vpc,net", "-A", "--watch"], "--watch follows one kind"),
        (["describe", "host"], "which host? give its name after 'host'"),
        (["delete"], "say what to delete: either KIND NAME..., or -f FILE"),
        (["edit", "host/a", "host/b"], "edit one at a time"),
        (["wait", "--all", "-f", "x"], "say what to wait for"),
        (["wait", "host/h1", "--timeout", "soon"], "'soon' is no duration: write 90s, 2m or 1h"),
        (["get", "hosts", "--server", "ftp://x"], "give http://HOST:PORT or unix:/PATH"),
    ],
)
def test_wrong_usage_says_how_it_is_right(
    server: mizarcli.Server, words: list[str], message: str
) -> None:
    result = server.mizar(*words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_file_that_is_not_there(server: mizarcli.Server) -> None:
    result = server.mizar("apply", "-f", "/nowhere/x.yaml")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: /nowhere/x.yaml: No such file or directory; check the path given to -f\n"
    )
