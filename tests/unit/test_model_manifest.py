"""Manifests: what is accepted, and that every mistake is named with place and remedy."""

import pathlib
import re
import typing

import pytest

from mizar.model import errors, manifest, registry, resources

ENDPOINT = """
apiVersion: mizar/v1
kind: Endpoint
metadata: {name: web1}
spec: {network: front, addresses: [10.0.0.5]}
"""


def problems(text, tenant="acme"):
    with pytest.raises(errors.Invalid) as caught:
        manifest.parse(text, tenant)
    return caught.value.problems


def test_tenant_is_filled_in_only_where_it_belongs():
    (endpoint,) = manifest.parse(ENDPOINT, "acme")
    assert endpoint.metadata.tenant == "acme"
    (host,) = manifest.parse(
        "{kind: Host, metadata: {name: h1}, spec: {address: 192.0.2.1}}", "acme"
    )
    assert host.metadata.tenant == ""
    (kept,) = manifest.parse(ENDPOINT.replace("name: web1", "name: web1, tenant: other"), "acme")
    assert kept.metadata.tenant == "other"


def test_documents_lists_and_json_are_all_read():
    text = (
        ENDPOINT
        + '---\n---\n{"kind": "List", "items": [{"kind": "Tenant", "metadata": {"name": "acme"}}]}'
    )
    assert [type(resource).__name__ for resource in manifest.parse(text)] == ["Endpoint", "Tenant"]


def test_what_the_system_wrote_is_left_out_but_the_revision():
    text = ENDPOINT.replace("name: web1", "name: web1, uid: x, created: y, revision: 7")
    (endpoint,) = manifest.parse(text + "status: {phase: Ready, nonsense: [1]}\n")
    assert endpoint.status == resources.EndpointStatus()
    assert endpoint.metadata == resources.Metadata(name="web1", revision=7)


@pytest.mark.parametrize(
    ("text", "field", "message", "remedy"),
    [
        ("kind: Endpont\nmetadata: {name: a}", "kind", "unknown kind 'Endpont'", "mean Endpoint?"),
        ("metadata: {name: a}", "kind", "no kind", "Tenant, Host, VPC"),
        ("kind: 7\nmetadata: {name: a}", "kind", "unknown kind '(a whole number)'", "Tenant"),
        (ENDPOINT.replace("addresses", "adresses"), "spec.adresses", "unknown", "mean addresses?"),
        (ENDPOINT.replace("spec:", "spce:"), "spce", "unknown field", "mean spec?"),
        (ENDPOINT.replace("[10.0.0.5]", "10.0.0.5"), "spec.addresses", "got text", "write a list"),
        (ENDPOINT.replace("[10.0.0.5]", "[7]"), "spec.addresses[0]", "expected text", "in quotes"),
        (
            ENDPOINT.replace("name: web1", "name: on"),
            "metadata.name",
            "got true or false",
            "quotes",
        ),
        (ENDPOINT.replace("network: front, ", ""), "spec.network", "missing", "add spec.network"),
        (ENDPOINT.replace("mizar/v1", "mizar/v9"), "apiVersion", "mizar/v9", "mizar/v1"),
        ("kind: Tenant\nmetadata: [a]", "metadata", "expected a mapping, got a list", "indent"),
        ("- kind: Tenant", "", "expected a mapping, got a list", "write a mapping"),
        ("kind: Tenant\nkind: Tenant", "", "line 2, column 1: 'kind' is given twice", "leave one"),
        ("kind: [", "", "not valid YAML: line", "syntax"),
        ("a: &a [*a]\nkind: Tenant\nmetadata: *a", "", "", ""),
        ("{kind: Tenant, metadata: {name: a}, ? [x] : 1}", "", "", ""),
        ("", "", "no resource", "at least one"),
        ("\x00", "", "not valid YAML", ""),
        (
            "kind: VPC\nspec: {routers: 0x" + "f" * 9999 + "}",
            "spec.routers",
            "out of range",
            "smaller",
        ),
        ("kind: VPC\n0x" + "f" * 999 + ": 1", "(a whole number)", "unknown field", ""),
        ('kind: "\\ud800"', "", "not valid YAML", ""),
        ("kind: \ud800", "", "not valid YAML", ""),
        ("kind: List\nitems: [7]", "", "expected a mapping", ""),
        ("kind: List\nitems: 7", "items", "expected a list", ""),
        ("x: 2026-13-45", "", "", ""),
        ("kind: !!python/object:os.system {}", "", "not valid YAML", ""),
        ("kind: Tenant\nmetadata: {name: &a [*a]}", "metadata.name", "", ""),
    ],
)
def test_mistakes_are_named(text, field, message, remedy):
    found = problems(text)
    assert any(p.field == field and message in p.message and remedy in p.remedy for p in found) or (
        not message and found
    ), found


def test_aliases_that_double_and_double_are_refused_at_once():
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)
    )
    for place in ("kind: *a59", "kind: Tenant\nmetadata: {name: *a59}", "apiVersion: *a59"):
        assert problems(bomb + place)
    labels = "kind: Tenant\nmetadata: {name: a, labels: {b: *a59}, tenant: *a59}"
    assert problems(bomb + labels)


def test_every_problem_is_reported_with_its_document():
    text = (
        ENDPOINT
        + "---\nkind: VPC\nmetadata: {name: a, colour: red}\nspec: {cidr: [], routers: two}"
    )
    found = problems(text)
    assert {p.object for p in found} == {"document 2: VPC acme/a"}
    assert [p.field for p in found] == [
        "metadata.colour",
        "spec.cidr",
        "spec.cidrs",
        "spec.routers",
    ]


def test_kinds_answer_to_every_word_kubectl_users_try():
    for word, kind in {
        "ep": "Endpoint", "endpoints": "Endpoint", "Endpoint": "Endpoint", "net": "Network",
        "networks": "Network", "vpc": "VPC", "VPCs": "VPC", "host": "Host", "tenants": "Tenant",
    }.items():  # fmt: skip
        assert registry.by_word(word).name == kind
    with pytest.raises(errors.Invalid, match="did you mean Endpoint"):
        registry.by_word("endpiont")


def test_the_concepts_say_which_fields_may_change_and_which_may_not():
    page = (pathlib.Path(__file__).parents[2] / "docs/concepts.md").read_text()
    told = {
        row[0].strip(): tuple(set(re.findall("`([A-Za-z_]+)`", column)) for column in row[1:])
        for row in re.findall(r"^\| (\w+) \|(.*)\|(.*)\|$", page, re.MULTILINE)
    }
    for name, kind in registry.KINDS.items():
        spec = typing.get_type_hints(kind.type)["spec"]
        fields, fixed = set(spec.__struct_fields__), set(kind.immutable)
        assert told[name] == (fields - fixed, fixed)


def test_columns_print_resources_of_their_kind():
    (endpoint,) = manifest.parse(ENDPOINT)
    kind = registry.KINDS["Endpoint"]
    texts = [column.text(endpoint) for column in (*kind.columns, *kind.wide)]
    assert texts[:4] == ["front", "-", "-", "Pending"]
