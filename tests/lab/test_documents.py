"""The commands in README and tutorial do what the text says: every `sh` block is run, in order.

In a lab of this test's own; what would run these tests again is left out.
"""

import os
import re
import subprocess

import labkit
import pytest

from mizar.lab import fleet

RECURSIVE = ("./dev test", "./dev bench")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("document", ["README.md", "docs/tutorial.md"])
def test_the_commands_of_a_document_work(document: str) -> None:
    text = (labkit.REPOSITORY / document).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines(keepends=True)]
    script = "".join(line for line in lines if not line.startswith(RECURSIVE))
    name = labkit.lab_name("doc")
    lab = fleet.Lab(name)
    environment = {
        **os.environ,
        "MIZAR_LAB": name,
        "MIZAR_SERVER": f"unix:{lab.layout.socket}",
    }
    try:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=labkit.REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        lab.down()
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert blocks
    assert labkit.traces(name) == set()
