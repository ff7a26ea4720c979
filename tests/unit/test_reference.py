"""What is generated is as the sources say."""

from __future__ import annotations

import shutil
from pathlib import Path

from click import testing

from mizar.bpf import objects
from mizar.cli import limits
from mizar.cli.reference import __main__ as reference
from mizar.cli.reference import headers
from mizar.datapath import reasons

TREE = Path(__file__).resolve().parents[2]


def test_the_tree_is_as_generated() -> None:
    result = testing.CliRunner().invoke(reference.main, ["--check"])
    assert result.exit_code == 0, result.output


def test_a_changed_reason_makes_pages_and_module_stale(tmp_path: Path) -> None:
    for directory in ("bpf", "docs", "src"):
        shutil.copytree(TREE / directory, tmp_path / directory, symlinks=True)
    header = tmp_path / "bpf/reasons.h"
    header.write_text(header.read_text().replace("VLAN tag from a workload", "tagged"))
    assert set(reference.stale(tmp_path)) == {
        "docs/reference/reasons.md",
        "src/mizar/datapath/reasons.py",
    }


def test_reasons_are_the_objects_enum() -> None:
    spec = objects.read(TREE / "src/mizar/bpf/objects/uplink.bpf.o")
    names = [f"REASON_{one.name}" for one in reasons.REASONS]
    values = spec.types.enum("reason")
    assert [values[name] for name in names] == list(range(len(names)))
    assert values["REASON_COUNT"] == len(names)


def test_limits_are_the_headers_and_all_of_them() -> None:
    text = (TREE / "bpf/model.h").read_text()
    kernel = [one for one in limits.LIMITS if one.where == "bpf/model.h"]
    assert len(kernel) == text.count("\tLIMIT_")
    assert {one.name: one.value for one in kernel}["SWITCH_ENDPOINTS"] == 1 << 20


def test_every_reason_of_the_header_is_read() -> None:
    text = (TREE / "bpf/reasons.h").read_text()
    assert len(headers.reasons(TREE)) == text.count("\tREASON(")
