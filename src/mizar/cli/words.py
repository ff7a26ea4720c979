"""What a user calls things: ``ep web1``, ``endpoint/web1``, ``endpoint/acme/web1``."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

import click

from mizar.cli import scope
from mizar.model import errors, registry, resources


def kinds(word: str) -> list[registry.Kind]:
    """The kinds that ``word`` names: one, several with commas, or ``all``."""
    if word == "all":
        return list(registry.KINDS.values())
    return [_kind(part) for part in word.split(",")]


def keys(words: Sequence[str], within: scope.Scope) -> list[resources.Key]:
    """The resources meant by ``KIND NAME...`` or by ``KIND/NAME...``.

    A usage error when there is no name, or no tenant where one is needed.
    """
    if not words:
        raise click.UsageError("name what you mean: KIND NAME..., or KIND/NAME...")
    if "/" in words[0]:
        return [_slashed(word, within) for word in words]
    kind = _kind(words[0])
    if len(words) == 1:
        raise click.UsageError(f"which {kind.name.lower()}? give its name after {words[0]!r}")
    return [_named(kind, name, within) for name in words[1:]]


def endpoint(word: str, within: scope.Scope) -> resources.Key:
    """The endpoint meant by ``NAME``, ``TENANT/NAME`` or ``endpoint/TENANT/NAME``."""
    return _named(registry.KINDS["Endpoint"], target(word), within)


def target(word: str) -> str:
    """An address, ``NAME``, ``TENANT/NAME`` or ``endpoint/TENANT/NAME``, without the kind."""
    first, _, rest = word.partition("/")
    return rest if "/" in rest and _kind(first) is registry.KINDS["Endpoint"] else word


def text(key: resources.Key) -> str:
    """``endpoint/acme/web1``: how output names a resource; `keys` reads it back."""
    return "/".join(part for part in (key.kind.lower(), key.tenant, key.name) if part)


def program() -> str:
    """How the user calls this command, to be pasted: through ./dev, from PATH, or by its path."""
    entrance = os.environ.get("MIZAR_DEV")
    if entrance:
        return f"{shlex.quote(entrance)} mizar"
    return "mizar" if shutil.which("mizar") == sys.argv[0] else shlex.quote(sys.argv[0])


def _kind(word: str) -> registry.Kind:
    try:
        return registry.by_word(word)
    except errors.Invalid as refused:
        problem = refused.problems[0]
        raise click.UsageError(f"{problem.message}; {problem.remedy}") from None


def _slashed(word: str, within: scope.Scope) -> resources.Key:
    kind, slash, name = word.partition("/")
    if not slash:
        raise click.UsageError(f"{word!r} names no kind: after KIND/NAME comes KIND/NAME")
    return _named(_kind(kind), name, within)


def _named(kind: registry.Kind, name: str, within: scope.Scope) -> resources.Key:
    if kind.tenanted and "/" in name:
        tenant, _, name = name.partition("/")
        return kind.key(name, tenant)
    return kind.key(name, within.tenant_for(kind))
