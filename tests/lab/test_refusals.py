"""A bad manifest gets one clear message and changes nothing, in the server or on a host."""

import labkit
import msgspec
import pytest

from mizar.lab import fleet
from mizar.model import registry

GOOD = labkit.endpoint("good", "web", "h1")
NETWORK = "kind: Network\nmetadata: {{name: bad, tenant: blue}}\nspec: {{vpc: prod, cidrs: [{}]}}\n"

BAD = {
    "malformed": ("kind: [\n", "line"),
    "unknown kind": ("kind: Endpiont\nmetadata: {name: bad, tenant: blue}\n", "Endpiont"),
    "unknown field": (labkit.endpoint("bad", "web", colour="red"), "colour"),
    "no such network": (labkit.endpoint("bad", "wbe"), "wbe"),
    "no such host": (labkit.endpoint("bad", "web", "h9"), "h9"),
    "address taken": (labkit.endpoint("bad", "web", addresses="[10.0.1.11]"), "10.0.1.11"),
    "address outside": (labkit.endpoint("bad", "web", addresses="[10.0.7.1]"), "10.0.7.1"),
    "gateway": (labkit.endpoint("bad", "web", addresses="[10.0.1.1]"), "10.0.1.1"),
    "CIDR outside the VPC": (NETWORK.format("10.1.0.0/24"), "10.1.0.0/24"),
    "overlapping networks": (NETWORK.format("10.0.1.128/25"), "10.0.1.128/25"),
    "another network of an endpoint": (labkit.endpoint("web1", "db", "h1"), "network"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_document_changes_nothing(lab: fleet.Lab, case: str) -> None:
    text, word = BAD[case]
    before = everything(lab)
    done = labkit.mizar(lab, "apply", "-f", "-", text=f"{GOOD}{text}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert word in done.stderr
    assert everything(lab) == before


@pytest.mark.parametrize("what", ["network/blue/web", "vpc/blue/prod", "tenant/blue", "host/h1"])
def test_what_is_in_use_is_not_deleted(lab: fleet.Lab, what: str) -> None:
    before = everything(lab)
    done = labkit.mizar(lab, "delete", what)
    assert done.returncode == 1
    assert what.rpartition("/")[2] in done.stderr
    assert everything(lab) == before


def everything(lab: fleet.Lab) -> tuple[bytes, list[dict[str, int]]]:
    resources = [item for kind in registry.KINDS for item in lab.all_of(kind)]
    rows = [labkit.rows(lab, host.name) for host in lab.layout.hosts]
    return msgspec.json.encode(resources), rows
