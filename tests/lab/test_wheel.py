"""The built wheel works by itself: a fresh environment, no compiler, no source tree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import labkit
import pytest

READ = """
import json, mizar
from mizar.bpf import objects
found = {name: sorted(objects.shipped(name).programs) for name in ("endpoint", "uplink", "pass")}
print(json.dumps({"at": mizar.__file__, "programs": found}))
"""


@pytest.mark.timeout(300)
def test_the_wheel_has_everything_inside(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    run([*build, str(labkit.REPOSITORY)], {"PATH": os.environ["PATH"]}, tmp_path)
    (wheel,) = tmp_path.glob("mizar-*.whl")
    run([sys.executable, "-m", "venv", "fresh"], {}, tmp_path)
    python = str(tmp_path / "fresh/bin/python")
    pins = str(labkit.REPOSITORY / "requirements.txt")
    run([python, "-m", "pip", "install", "-q", "-c", pins, str(wheel)], {}, tmp_path)
    bare = {"PATH": str(tmp_path / "fresh/bin")}
    found = json.loads(run([python, "-c", READ], bare, tmp_path))
    assert found["at"].startswith(str(tmp_path))
    assert found["programs"]["uplink"] == ["uplink_tcx", "uplink_xdp"]
    assert found["programs"]["endpoint"] == ["endpoint"]
    assert run(["mizar", "version"], bare, tmp_path).strip()
    assert "SPOOFED_ADDRESS" in run(["mizar", "reasons"], bare, tmp_path)
    for command in ("server", "agent"):
        assert "--help" in run(["mizar", command, "--help"], bare, tmp_path)


def run(command: list[str], environment: dict[str, str], directory: Path) -> str:
    """Stdout of a command, with what pip needs to find its packages."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        command,
        cwd=directory,
        env={**pip, "HOME": os.environ.get("HOME", "/root"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout
