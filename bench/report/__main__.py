"""Run every benchmark and write docs/performance.md with its plots.

Called as `./dev bench-report`. --render writes the page anew from the results that are there.
"""

import argparse
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from typing import Any

from report import page
from rig import figures

BENCH = pathlib.Path(__file__).resolve().parents[1]
DOCS = BENCH.parent / "docs"
RESULTS = DOCS / "performance" / "results.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="append_const", const="--quick", dest="options")
    parser.add_argument("--full", action="append_const", const="--full", dest="options")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    given = parser.parse_args()
    failed = [] if given.render else measure(given.options or [])
    for name, text in page.files(page.results(RESULTS.read_text())).items():
        (DOCS / name).write_text(text)
    if failed:
        print(f"not in the report, since they failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measure(options: list[str]) -> list[str]:
    """Write the results of all scripts; returns the names of those that failed."""
    start = time.monotonic()
    rows: list[figures.Row] = []
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for script in sorted(BENCH.glob("*.py")):
            print(f"bench/{script.name}", file=sys.stderr, flush=True)
            target = pathlib.Path(scratch) / f"{script.stem}.json"
            command = [sys.executable, str(script), *options, "--json", str(target)]
            if subprocess.run(command, check=False).returncode:
                failed.append(script.name)
            else:
                rows += figures.read(target.read_text())
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(figures.written(rows, machine=machine(int(time.monotonic() - start))))
    return failed


def machine(seconds: int) -> dict[str, Any]:
    """What the figures depend on, as far as the machine says it."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    words = {name.strip(): value.strip() for name, value in facts.items()}
    commit = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(BENCH), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit.stdout.strip() or "unknown",
        "cpu": words.get("model name", platform.machine()),
        "cpus": os.cpu_count(),
        "virtual": "hypervisor" in words.get("flags", "").split(),
        "kernel": platform.release(),
        "seconds": seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
