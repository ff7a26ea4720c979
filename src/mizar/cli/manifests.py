"""Manifests named on the command line: files, directories, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from mizar.cli import failures
from mizar.model import errors, manifest, resources

SUFFIXES = (".yaml", ".yml", ".json")


def read(sources: Sequence[str], tenant: str) -> list[resources.Resource]:
    """All resources of the sources, in order; of a directory, its manifests sorted by name.

    ``tenant`` goes to those that need one and name none. Raises `errors.Invalid`
    with the problems of all sources, or a `Failure` when one can't be read.
    """
    found: list[resources.Resource] = []
    problems: list[errors.Problem] = []
    for name, text in _texts(sources):
        try:
            found += manifest.parse(text, tenant)
        except errors.Invalid as invalid:
            problems += [_placed(name, problem) for problem in invalid.problems]
    if problems:
        raise errors.Invalid(problems)
    if not found:
        raise failures.Failure(f"{', '.join(sources)}: no resources in there; check the path")
    return found


def keys(sources: Sequence[str], tenant: str) -> list[resources.Key]:
    """What the sources name; as `read`."""
    return [resources.key_of(item) for item in read(sources, tenant)]


def _texts(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    for source in sources:
        if source == "-":
            yield "standard input", sys.stdin.read()
        elif Path(source).is_dir():
            paths = sorted(p for p in Path(source).iterdir() if p.suffix in SUFFIXES)
            yield from ((str(path), _text(path)) for path in paths)
        else:
            yield source, _text(Path(source))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise failures.Failure(f"{path}: {error.strerror}; check the path given to -f") from error
    except UnicodeDecodeError as error:
        raise failures.Failure(f"{path}: not text; -f takes YAML or JSON") from error


def _placed(name: str, problem: errors.Problem) -> errors.Problem:
    return msgspec.structs.replace(problem, object=f"{name}: {problem.object}")
