"""`mizar lab up` as a user calls it: a lab that is well is kept, another is started anew."""

import os
import shlex
import subprocess
from pathlib import Path

import labkit
import pytest

from mizar.lab import fleet

NAME = labkit.lab_name("cmd")
WORLD = (
    "kind: Tenant\nmetadata: {name: blue}\n---\n"
    "kind: VPC\nmetadata: {name: prod, tenant: blue}\nspec: {cidrs: [10.0.0.0/16]}\n---\n"
    "kind: Network\nmetadata: {name: web, tenant: blue}\n"
    "spec: {vpc: prod, cidrs: [10.0.1.0/24]}\n---\n"
    + labkit.endpoint("a", "web", "h1")
    + labkit.endpoint("b", "web", "h2")
)
OWN = "kind: Tenant\nmetadata: {name: mine}\n"


def lab_up(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [labkit.MIZAR, "lab", "up", "--name", NAME, "--hosts", "2", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


@pytest.mark.timeout(90)
def test_a_lab_that_is_well_is_kept_and_another_starts_anew(tmp_path: Path) -> None:
    manifest = tmp_path / "world.yaml"
    manifest.write_text(WORLD)
    try:
        first = lab_up("-f", str(manifest), MIZAR_DEV="/a b/dev")
        assert "is up:" in first.stdout, first.stderr
        assert "endpoint/blue/a created" in first.stdout
        assert f"  '/a b/dev' mizar lab down --name {NAME}\n" in first.stdout
        lab = fleet.opened(NAME)
        for process in lab.processes:
            log = lab.layout.run_directory / f"{process}.log"
            assert " level=info event=" in log.read_text()
        lab.apply(OWN)

        again = lab_up("-f", str(manifest), MIZAR_DEV="")
        assert "is kept" in again.stdout, again.stderr
        assert "endpoint/blue/a unchanged" in again.stdout
        assert f"  {shlex.quote(labkit.MIZAR)} lab down --name {NAME}\n" in again.stdout
        assert "mine" in tenants(lab)

        other = lab_up("--mtu", "1400")
        assert other.returncode == 1
        assert "other hosts, modes or MTU" in other.stderr
        assert "mine" in tenants(lab)

        lab.stop("agent-h2")
        anew = lab_up()
        assert "agent-h2 does not run" in anew.stdout, anew.stderr
        assert tenants(lab) == set()
    finally:
        fleet.Lab(NAME).down()
    assert labkit.traces(NAME) == set()


def tenants(lab: fleet.Lab) -> set[str]:
    return {tenant.metadata.name for tenant in lab.all_of("Tenant")}
