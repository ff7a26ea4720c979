"""Writes what is generated, or with ``--check`` says what is stale."""

from __future__ import annotations

import pathlib
import sys

import click

import mizar
from mizar.cli.reference import api, commands, kinds, limits, reasons

ROOT = pathlib.Path(mizar.__file__).parents[2]


def files(root: pathlib.Path) -> dict[str, str]:
    """Every generated file of the tree at ``root``: path -> text."""
    return {
        "docs/reference/kinds.md": kinds.page(),
        "docs/reference/cli.md": commands.page(),
        "docs/reference/api.md": api.page(),
        "docs/reference/reasons.md": reasons.page(root),
        "docs/reference/limits.md": limits.page(root),
        "src/mizar/datapath/reasons.py": reasons.module(root),
        "src/mizar/cli/limits.py": limits.module(root),
    }


def stale(root: pathlib.Path) -> dict[str, str]:
    """Those that the tree at ``root`` doesn't hold as they should be."""
    return {path: text for path, text in files(root).items() if _read(root / path) != text}


def _read(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when something is stale.")
def main(check: bool) -> None:
    """Write docs/reference and the generated modules."""
    found = stale(ROOT)
    for path, text in found.items():
        click.echo(f"{path}: {'stale' if check else 'written'}")
        if not check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text)
    if found and check:
        click.echo("run: python -m mizar.cli.reference", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
